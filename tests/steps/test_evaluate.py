import pytest

from blackbox_kd.errors import CallError, ReplyFault
from blackbox_kd.schema import Message, Reply, Row, Usage
from blackbox_kd.steps import evaluate
from tests.fakes import FakeContext, outcomes, rows

QUESTIONS = rows(
    *({"instruction": f"q{number}", "reference": str(number), "kind": "ab"[number % 2]} for number in range(8))
)


def answer(model: str, messages: list[Message], sample: int) -> str | Reply:
    number = int(messages[0]["content"].rsplit("q", 1)[1])
    if model == "student":
        return f"The answer is {number}."
    if number == 0:
        return Reply("so I thi", "length", Usage(1, 5), model)
    return "The answer is 3." if number % 2 else "no idea"


async def evaluated(**fields: object) -> tuple[FakeContext, list[Row]]:
    ctx = FakeContext(answer)
    config = evaluate.Config.model_validate(
        {"step": "evaluate", "models": ["student@base", "student"], "answer": "number", **fields}
    )
    return ctx, await outcomes(evaluate, QUESTIONS, config, ctx)


async def test_every_model_is_asked_every_question_with_the_same_prompt_and_greedy_decoding() -> None:
    ctx, found = await evaluated()
    assert len(found) == 16
    base, student = ctx.asked[:8], ctx.asked[8:]
    assert {call[0] for call in base} == {"student@base"}
    assert [call[1:] for call in base] == [call[1:] for call in student]
    assert base[0][2].temperature == 0


async def test_the_report_says_right_read_and_truncated_with_a_wilson_interval() -> None:
    ctx, _ = await evaluated()
    base, student = ctx.recorded["evaluations"]
    assert (base["model"], base["table"], base["n"]) == ("student@base", "t", 8)
    assert (base["right"], base["accuracy"], base["read"], base["truncated"]) == (1, 0.125, 4, 1)
    assert (student["right"], student["accuracy"], student["read"]) == (8, 1.0, 8)
    assert student["ci95"] == pytest.approx([0.6756, 1.0], abs=1e-4)


async def test_a_student_is_compared_with_its_base_on_the_same_rows() -> None:
    ctx, _ = await evaluated()
    [comparison] = ctx.recorded["comparisons"]
    assert (comparison["model"], comparison["against"], comparison["n"]) == ("student", "student@base", 8)
    assert comparison["gain"] == pytest.approx(0.875)
    assert comparison["ci95"][0] > 0
    assert comparison["p_value"] == pytest.approx(2 / 2**7)


async def test_slices_tell_the_accuracy_by_the_values_of_a_column() -> None:
    ctx, _ = await evaluated(by=["kind"])
    slices = ctx.recorded["evaluations"][0]["slices"]["kind"]
    assert {value: (entry["n"], entry["right"]) for value, entry in slices.items()} == {"a": (4, 0), "b": (4, 1)}


async def test_an_error_of_a_call_is_left_to_the_runner() -> None:
    def broken(model: str, messages: list[Message], sample: int) -> str:
        raise ReplyFault("refused", kind="refused")

    config = evaluate.Config(step="evaluate", models=["m"], answer="number")
    with pytest.raises(CallError):
        await outcomes(evaluate, QUESTIONS, config, FakeContext(broken))
