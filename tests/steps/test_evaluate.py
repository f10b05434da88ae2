import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd import answers
from blackbox_kd.analysis import accuracy
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.errors import CallError, ReplyFault
from blackbox_kd.runs.report.schema import find_fault
from blackbox_kd.schema import Failed, Message, Outcome, Reply, Row, Usage
from blackbox_kd.steps import evaluate
from tests.support.fakes import FakeContext, outcomes, rows

QUESTIONS = rows(
    *({"instruction": f"q{number}", "reference": str(number), "kind": "ab"[number % 2]} for number in range(8))
)


def answer(model: str, messages: list[Message], sample: int) -> str | Reply:
    number = int(messages[0]["content"].rsplit("q", 1)[1])
    if model == "student":
        return f"The answer is {number}."
    if number == 0:
        return Reply("so I thi", "length", Usage(1, 5), model, value="so I thi")
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


def test_the_questions_prompt_is_shown_to_the_student_and_declares_no_hint() -> None:
    config = evaluate.Config(step="evaluate", models=["m"], answer="number", prompt="exam/plain")
    assert config.shown_to_student() == [("prompt", "exam/plain", False)]


async def test_rows_hold_what_a_history_of_rounds_needs() -> None:
    ctx = FakeContext(answer)
    ctx.round = 2
    config = evaluate.Config(step="evaluate", models=["student"], answer="number")
    found = await outcomes(evaluate, QUESTIONS[:1], config, ctx)
    columns = ("id", "question", "model", "round", "instruction", "reference", "answer", "correct")
    assert [found[0][name] for name in columns] == ["r0.student.2", "r0", "student", 2, "q0", "0", "0", True]


def test_the_same_question_has_another_id_in_every_round_and_outside_of_a_loop_none_of_a_round() -> None:
    async def ids(round: int) -> list[str]:
        ctx = FakeContext(answer)
        ctx.round = round
        config = evaluate.Config(step="evaluate", models=["student"], answer="number")
        return [row.id for row in await outcomes(evaluate, QUESTIONS[:1], config, ctx)]

    assert [asyncio.run(ids(round)) for round in (0, 1, 2)] == [["r0.student"], ["r0.student.1"], ["r0.student.2"]]


PLANNED: Any = SimpleNamespace(step=SimpleNamespace(file=Path(evaluate.__file__), code=""))


class Guarding(FakeContext):
    """Errors of a row make it a failed row, as in a run."""

    async def each(
        self, rows: Iterable[Row], work: Callable[[Row], Awaitable[list[Outcome]]]
    ) -> AsyncIterator[Outcome]:
        for row in rows:
            try:
                for outcome in await work(row):
                    yield outcome
            except Exception as error:
                yield Mistakes().fail_row(PLANNED, row, error)


@pytest.mark.parametrize(
    ("kind", "reference"), [("number", "Paris"), ("number", None), ("exact", None), ("exact", ""), ("boolean", "")]
)
async def test_a_reference_that_cannot_be_read_fails_its_row_for_every_model_alike(
    kind: str, reference: str | None
) -> None:
    said = {"base": "", "student": "The answer is None."}
    table = rows({"instruction": "q0", "reference": reference}, {"instruction": "q1", "reference": "1"})
    config = evaluate.Config(step="evaluate", models=["base", "student"], answer=kind)
    ctx = Guarding(lambda model, messages, sample: said[model])
    failed = [row for row in await outcomes(evaluate, table, config, ctx) if isinstance(row, Failed)]
    assert [(row.kind, row.row.id) for row in failed] == [("data", "r0"), ("data", "r0")]
    assert [(entry["model"], entry["n"]) for entry in ctx.recorded["evaluations"]] == [("base", 1), ("student", 1)]


def says(**said: str) -> FakeContext:
    """Every model says the same to all questions, but `{n}`, which is the question's number."""
    return FakeContext(lambda model, messages, _: said[model].replace("{n}", messages[0]["content"].rsplit("q", 1)[1]))


async def agreements(ctx: FakeContext, *models: str, kind: str = "number") -> list[dict[str, Any]]:
    config = evaluate.Config(step="evaluate", models=list(models), answer=kind)
    await outcomes(evaluate, QUESTIONS, config, ctx)
    return ctx.recorded["agreements"]


async def test_models_agree_where_they_read_as_the_same_answer_right_or_wrong() -> None:
    ctx = says(base="The answer is 3.", student="So it is 3.0.")
    [entry] = await agreements(ctx, "base", "student")
    assert (entry["model"], entry["against"], entry["table"], entry["n"]) == ("student", "base", "t", 8)
    assert (entry["agreement"], entry["same"], entry["same_wrong"]) == (1.0, 8, 7)
    assert entry["ci95"] == pytest.approx([0.6756, 1.0], abs=1e-4)


async def test_agreement_is_that_with_the_teacher_where_it_is_among_the_models() -> None:
    ctx = says(base="The answer is 3.", student="The answer is {n}.", teacher="The answer is {n}.")
    found = await agreements(ctx, "base", "student", "teacher")
    assert [(e["model"], e["against"], e["same"]) for e in found] == [("base", "teacher", 1), ("student", "teacher", 8)]
    assert len(ctx.asked) == 24, "it costs no call"


async def test_answers_that_cannot_be_read_are_no_agreement() -> None:
    [entry] = await agreements(says(base="no idea", student="no idea"), "base", "student")
    assert (entry["same"], entry["agreement"]) == (0, 0.0)


async def test_an_agreement_needs_two_models() -> None:
    assert await agreements(says(base="1"), "base") == []


async def test_a_verifier_that_cannot_read_what_a_model_made_up_finds_no_agreement() -> None:
    table = rows({"instruction": "q1", "reference": "a", "choices": ["cat", "dog"]})
    kind = answers.kind("choice")
    both = {
        name: {"r0": table[0] | {"answer": said, "correct": False}} for name, said in (("a", "A"), ("b", "made up"))
    }
    assert [entry["same"] for entry in accuracy.agreements(both, kind.same)] == [0]


JUDGED = {"models": ["teacher", "student"], "judge": "referee"}


def referee(verdicts: Mapping[tuple[str, str], str]) -> FakeContext:
    """`verdicts` by the two answers in the order in which the judge sees them; it is shown nothing else here."""

    def reply(model: str, messages: list[Message], sample: int) -> str:
        if model != "referee":
            return f"{model} on q{messages[0]['content'].rsplit('q', 1)[1]}"
        first, second = json.loads(messages[0]["content"])
        return verdicts[first, second]

    class Shows(Guarding):
        def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
            if "candidate_1" not in row:
                return super().render(prompt, row)
            shown = [row[name].split(" on ")[0] for name in ("candidate_1", "candidate_2")]
            return [{"role": "user", "content": json.dumps(shown)}]

    return Shows(reply)


def scores(first: float, second: float) -> str:
    return f"The first one is shorter.\nAnswer 1: {first}\nAnswer 2: {second}"


async def compared(ctx: FakeContext, **fields: object) -> tuple[dict[str, Any], list[Row | Failed]]:
    config = evaluate.Config.model_validate({"step": "evaluate", **JUDGED, **fields})
    found = await outcomes(evaluate, rows({"instruction": "q1"}, {"instruction": "q2"}), config, ctx)
    return ctx.recorded["win_rates"][0], found


@pytest.mark.parametrize(
    ("student_first", "student_second", "verdict"),
    [((8, 6), (5, 7), "win"), ((5, 8), (9, 5), "loss"), ((8, 6), (7, 5), "tie"), ((6, 6), (5, 7), "tie")],
)
async def test_who_is_better_in_both_orders_wins_and_all_else_is_a_tie(
    student_first: tuple[int, int], student_second: tuple[int, int], verdict: str
) -> None:
    ctx = referee({("student", "teacher"): scores(*student_first), ("teacher", "student"): scores(*student_second)})
    entry, found = await compared(ctx)
    student = [row for row in found if isinstance(row, Row) and row["model"] == "student"]
    assert {row["verdict"] for row in student} == {verdict}
    assert {"win": entry["wins"], "loss": entry["losses"], "tie": entry["ties"]}[verdict] == 2
    assert entry["win_rate"] == {"win": 1.0, "loss": 0.0, "tie": 0.5}[verdict]


async def test_scores_are_the_means_over_both_orders_and_their_sums_make_the_ratio() -> None:
    ctx = referee({("student", "teacher"): scores(6, 9), ("teacher", "student"): scores(7, 4)})
    entry, found = await compared(ctx)
    student = [row for row in found if isinstance(row, Row) and row["model"] == "student"]
    assert [(row["score"], row["against_score"]) for row in student] == [(5.0, 8.0)] * 2
    assert entry["score_ratio"] == pytest.approx(10 / 16)
    assert (entry["model"], entry["against"], entry["judge"], entry["n"]) == ("student", "teacher", "referee", 2)


async def test_what_was_read_of_a_verdict_counts_and_the_verdict_is_not_read_again() -> None:
    def reply(model: str, messages: list[Message], sample: int) -> str | Reply[Any]:
        text = "no number in here"
        return Reply(text, "stop", Usage(1, 1), model, value=(7.0, 4.0)) if model == "referee" else text

    _, found = await compared(Guarding(reply))
    student = [row for row in found if isinstance(row, Row) and row["model"] == "student"]
    assert [(row["score"], row["against_score"]) for row in student] == [(5.5, 5.5)] * 2


async def test_a_win_rate_needs_no_right_answer_and_then_measures_no_accuracy() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): scores(5, 7)})
    _, found = await compared(ctx)
    assert set(ctx.recorded) == {"win_rates"}
    assert {(row["answer"], row["correct"]) for row in found} == {(None, None)}


async def test_the_judge_compares_with_the_model_that_is_named_whatever_the_order_of_the_models() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): scores(5, 7)})
    entry, found = await compared(ctx, models=["student", "teacher"], against_model="teacher")
    assert (entry["model"], entry["wins"]) == ("student", 2)
    assert {row["verdict"] for row in found if row["model"] == "teacher"} == {None}


async def test_a_verdict_that_cannot_be_read_is_asked_for_anew_then_fails_its_row_and_is_no_score() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): "Both are fine."})
    entry, found = await compared(ctx)
    failed = [row for row in found if isinstance(row, Failed)]
    assert [(row.kind, row.row["model"]) for row in failed] == [("unreadable", "student")] * 2
    assert (entry["n"], entry["win_rate"], entry["score_ratio"]) == (0, None, None)
    assert sum(call[0] == "referee" for call in ctx.asked) == 2 * (1 + 3)


async def test_an_unread_verdict_takes_no_answer_out_of_the_accuracy() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): "Both are fine."})
    config = evaluate.Config.model_validate({"step": "evaluate", **JUDGED, "answer": "number"})
    await outcomes(evaluate, rows({"instruction": "q1", "reference": "1"}), config, ctx)
    assert [(entry["model"], entry["n"]) for entry in ctx.recorded["evaluations"]] == [("teacher", 1), ("student", 1)]


async def test_the_judges_change_of_mind_between_the_orders_is_counted() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): scores(7, 5)})
    await compared(ctx)
    assert ctx.counted == {"orders|referee|first": 2}


async def test_the_judge_has_its_own_sampling() -> None:
    ctx = referee({("student", "teacher"): scores(8, 6), ("teacher", "student"): scores(7, 5)})
    await compared(ctx, judge_temperature=0.5, judge_max_tokens=99)
    drawn = {call[0]: (call[2].temperature, call[2].max_tokens) for call in ctx.asked}
    assert drawn == {"teacher": (0.0, 512), "student": (0.0, 512), "referee": (0.5, 99)}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"models": ["a", "b"], "judge": "j", "against": "gold"}, "against"),
        ({"models": ["a", "b"], "answer": "number", "judge_prompt": "p"}, "judge_prompt"),
        ({"models": ["a", "b"], "answer": "number", "judge_temperature": 0.2}, "judge_temperature"),
        ({"models": ["a"], "judge": "j"}, "judge"),
        ({"models": ["a", "b", "a"], "answer": "number"}, "models"),
        ({"models": ["a", "b"], "judge": "j", "against_model": "c"}, "against_model"),
        ({"models": ["a", "b"], "judge": "j", "mode": "scale", "against_model": "a"}, "against_model"),
        ({"models": ["a"], "judge": "j", "mode": "scale", "criteria": {"a b": "x", "A_b": "y"}}, "criteria"),
        ({"models": ["a"], "answer": "number", "mode": "scale"}, "mode"),
        ({"models": ["a"], "answer": "number", "criteria": {"a": "b"}}, "criteria"),
        ({"models": ["a"], "answer": "number", "hint": "rule"}, "hint"),
    ],
)
def test_fields_that_do_not_go_together_are_problems(fields: dict[str, Any], at: str) -> None:
    config = evaluate.Config.model_validate({"step": "evaluate", **fields})
    assert [problem[0] for problem in config.problems()] == [at]


def test_an_answer_kind_or_a_judge_is_needed() -> None:
    with pytest.raises(ValidationError, match=r"answer\n  Field required"):
        evaluate.Config(step="evaluate", models=["a", "b"])


def test_a_judge_makes_two_more_calls_for_each_model_but_one() -> None:
    config = evaluate.Config.model_validate({"step": "evaluate", "models": ["a", "b", "c"], "judge": "j"})
    assert config.calls_per_row() == 3 + 2 * 2
    assert config.columns_after({"id"}) == {"id", "score", "against_score", "verdict"}


class Grading(Guarding):
    """A judge who is shown the candidate and the hint alone; what it gives is told by the model that answered."""

    def __init__(self, given: Mapping[str, str]) -> None:
        def reply(model: str, messages: list[Message], sample: int) -> str:
            said = messages[0]["content"]
            return given[said.split(" on ")[0]] if model == "referee" else f"{model} on q{said.rsplit('q', 1)[1]}"

        super().__init__(reply)

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        if "candidate" not in row:
            return super().render(prompt, row)
        assert (prompt, row["low"], row["high"]) == ("judge/scale", 1, 10)
        return [{"role": "user", "content": f"{row['candidate']} [{row.get('hint')}]"}]


RULE = {"instruction": "q1", "reference": "student on q1", "rule": "Never say no."}
GRADED = {"models": ["base", "student"], "judge": "referee", "mode": "scale", "criteria": {"tone": "t", "rule": "r"}}


async def graded(ctx: FakeContext, **fields: object) -> list[Row | Failed]:
    config = evaluate.Config.model_validate({"step": "evaluate", **GRADED, **fields})
    return await outcomes(evaluate, rows(RULE, RULE | {"instruction": "q2"}), config, ctx)


async def test_a_judge_grades_each_answer_of_every_model_by_criteria_and_their_mean_is_a_metric() -> None:
    ctx = Grading({"base": "So.\ntone: 4\nrule: 1", "student": "So.\ntone: 10\nrule: 7"})
    found = [row for row in await graded(ctx, hint="rule") if isinstance(row, Row)]
    assert {(row["model"], row["score"]) for row in found} == {("base", 2.5), ("student", 8.5)}
    assert found[-1]["scores"] == {"tone": 10, "rule": 7}
    assert found[-1]["verdict"].startswith("So.")
    assert [call[1][0]["content"] for call in ctx.asked if call[0] == "referee"][-1] == "student on q2 [Never say no.]"
    base, student = (entry["metrics"]["score"]["value"] for entry in ctx.recorded["evaluations"])
    assert (base, student) == (pytest.approx(1.5 / 9), pytest.approx(7.5 / 9))
    [gain] = ctx.recorded["comparisons"]
    assert (gain["metric"], gain["model"], gain["gain"]) == ("score", "student", pytest.approx(6 / 9))
    assert "win_rates" not in ctx.recorded
    assert find_fault("evaluations", [{**entry, "step": "s"} for entry in ctx.recorded["evaluations"]]) is None


async def test_an_answer_without_a_verdict_has_no_score_and_is_right_or_wrong_all_the_same() -> None:
    ctx = Grading({"base": "tone: 4\nrule: 1", "student": "I cannot tell."})
    found = await graded(ctx, answer="exact")
    assert [(row.kind, row.row["model"]) for row in found if isinstance(row, Failed)] == [("unreadable", "student")] * 2
    base, student = ctx.recorded["evaluations"]
    assert (base["n"], student["n"], student["right"]) == (2, 2, 1)
    assert student["metrics"]["score"] == {"value": None, "ci95": None}
    assert [entry.get("metric", "accuracy") for entry in ctx.recorded["comparisons"]] == ["accuracy"]


async def test_a_column_that_is_written_is_graded_without_asking_for_answers() -> None:
    ctx = Grading({"written": "tone: 7\nrule: 7"})
    config = evaluate.Config.model_validate({"step": "evaluate", **GRADED, "of": "said", "models": []})
    assert config.calls_by_model() == {"referee": 1}
    await outcomes(evaluate, rows(RULE | {"said": "written on q1"}), config, ctx)
    assert [call[0] for call in ctx.asked] == ["referee"]
    assert ctx.recorded["evaluations"][0]["metrics"]["score"]["value"] == pytest.approx(6 / 9)


def test_a_judge_who_grades_is_asked_once_for_each_reply_and_writes_other_columns() -> None:
    config = evaluate.Config.model_validate(
        {"step": "evaluate", **GRADED, "models": ["a"], "samples": 3, "temperature": 1, "hint": "rule"}
    )
    assert config.problems() == []
    assert config.calls_by_model() == {"a": 3, "referee": 3}
    assert config.columns_after({"id"}) == {"id", "score", "scores", "verdict"}
    assert config.list_derived() == {"verdict": {"rule"}}, "for its words can quote the hint"
    exam = config.exam()
    assert (exam.metrics, exam.against, exam.is_graded, exam.is_checked) == (("score",), None, True, False)


COLOURS = rows(
    *({"instruction": f"q{n}", "reference": "red" if n < 5 else "blue", "kind": "ab"[n % 2]} for n in range(8))
)


def paint(model: str, messages: list[Message], sample: int) -> str:
    """The base says red always, the student is right but once, the teacher is always."""
    number = int(messages[0]["content"].rsplit("q", 1)[1])
    right = "red" if number < 5 else "blue"
    return "red" if model == "student@base" else "blue" if model == "student" and number == 0 else right


async def painted(*models: str, trains: str = "student", **fields: object) -> FakeContext:
    ctx = FakeContext(paint)
    ctx.trains = {trains}
    config = evaluate.Config.model_validate({"step": "evaluate", "models": list(models), "answer": "exact", **fields})
    await outcomes(evaluate, COLOURS, config, ctx)
    return ctx


async def test_metrics_are_told_with_their_intervals_and_the_tables_that_belong_to_them() -> None:
    ctx = await painted("student@base", metrics=["macro_f1"])
    [entry] = ctx.recorded["evaluations"]
    assert list(entry["metrics"]) == ["macro_f1", "accuracy"]
    assert entry["metrics"]["macro_f1"]["value"] == pytest.approx((2 * 5 / (2 * 5 + 3)) / 2)
    low, high = entry["metrics"]["macro_f1"]["ci95"]
    assert low < entry["metrics"]["macro_f1"]["value"] < high
    assert entry["metrics"]["accuracy"] == {"value": entry["accuracy"], "ci95": entry["ci95"]}
    assert [(each["name"], each["recall"], each["support"]) for each in entry["classes"]] == [
        ("blue", 0.0, 3),
        ("red", 1.0, 5),
    ]
    assert entry["confusion"] == [
        {"wanted": "blue", "answer": "red", "n": 3},
        {"wanted": "red", "answer": "red", "n": 5},
    ]


async def test_accuracy_alone_is_told_as_it_always_was() -> None:
    ctx = await painted("student@base", "student")
    assert not {"metrics", "classes", "confusion", "fields"} & ctx.recorded["evaluations"][0].keys()
    assert ["metric" in entry for entry in ctx.recorded["comparisons"]] == [False]


async def test_every_metric_is_compared_between_the_same_models_as_accuracy() -> None:
    ctx = await painted("student@base", "student", metrics=["macro_f1", "micro_f1"])
    found = {entry.get("metric", "accuracy"): entry for entry in ctx.recorded["comparisons"]}
    assert {(e["model"], e["against"], e["n"]) for e in found.values()} == {("student", "student@base", 8)}
    assert list(found) == ["accuracy", "macro_f1", "micro_f1"]
    values = {entry["model"]: entry["metrics"]["macro_f1"]["value"] for entry in ctx.recorded["evaluations"]}
    assert found["macro_f1"]["gain"] == pytest.approx(values["student"] - values["student@base"])
    assert found["macro_f1"]["ci95"][0] <= found["macro_f1"]["gain"] <= found["macro_f1"]["ci95"][1]


async def test_slices_tell_every_metric() -> None:
    ctx = await painted("student", metrics=["macro_f1"], by=["kind"])
    slices = ctx.recorded["evaluations"][0]["slices"]["kind"]
    assert {value: entry["metrics"]["macro_f1"]["value"] for value, entry in slices.items()} == {
        "a": pytest.approx((2 * 2 / 5 + 2 / 3) / 2),
        "b": 1.0,
    }


async def test_each_model_is_compared_with_its_base_and_with_those_that_are_never_trained() -> None:
    pairs = [
        (entry["model"], entry["against"])
        for entry in (await painted("student@base", "student", "teacher", "oracle")).recorded["comparisons"]
    ]
    assert pairs == [
        ("student", "student@base"),
        ("teacher", "student@base"),
        ("oracle", "student@base"),
        ("student", "teacher"),
        ("student", "oracle"),
        ("teacher", "oracle"),
    ]


async def test_without_a_model_that_is_never_trained_the_comparisons_are_those_with_the_first_one() -> None:
    ctx = await painted("student@base", "student")
    assert [(e["model"], e["against"]) for e in ctx.recorded["comparisons"]] == [("student", "student@base")]


async def test_each_model_has_its_own_prompt_where_it_has_one_and_a_version_that_of_its_model() -> None:
    ctx = await painted("student@base", "student", "teacher", prompts={"student": "brief", "teacher": "long"})
    asked = {model: messages[0]["content"].partition(" ")[0] for model, messages, *_ in ctx.asked}
    assert asked == {"student@base": "brief", "student": "brief", "teacher": "long"}
    config = evaluate.Config(step="evaluate", models=["a", "b"], answer="exact", prompts={"b": "long"})
    assert config.shown_to_student() == [("prompt", "student/plain", False), ("prompts.b", "long", False)]
    config = evaluate.Config(step="evaluate", models=["b"], answer="exact", prompts={"b": "long"})
    assert config.shown_to_student() == [("prompts.b", "long", False)], "nobody is shown the other one"


async def test_a_column_that_was_written_is_measured_and_nobody_is_asked() -> None:
    ctx = FakeContext(paint)
    table = rows(
        {"said": "It is red.", "reference": "red"},
        {"said": None, "reference": "red"},
        {"said": {"a": 1}, "reference": '{"a": 1.0}'},
    )
    config = evaluate.Config.model_validate({"step": "evaluate", "of": "said", "answer": "exact"})
    found = await outcomes(evaluate, table, config, ctx)
    assert [(row["model"], row["response"], row["correct"]) for row in found] == [
        ("said", "It is red.", False),
        ("said", "", False),
        ("said", '{"a": 1}', True),
    ]
    assert ctx.asked == []
    assert config.calls_by_model() == {}
    assert [(e["model"], e["right"], e["read"]) for e in ctx.recorded["evaluations"]] == [("said", 1, 2)]


async def test_a_written_column_may_be_of_a_model() -> None:
    ctx = FakeContext(paint)
    config = evaluate.Config(step="evaluate", of="said", models=["student"], answer="exact")
    [row] = await outcomes(evaluate, rows({"said": "red", "reference": "red"}), config, ctx)
    assert (row["model"], row["correct"], ctx.asked) == ("student", True, [])


async def test_a_metric_that_needs_no_answer_is_told_without_one() -> None:
    ctx = FakeContext(paint)
    config = evaluate.Config.model_validate({"step": "evaluate", "models": ["a", "b"], "metrics": ["rouge_l"]})
    await outcomes(evaluate, COLOURS, config, ctx)
    first, _ = ctx.recorded["evaluations"]
    assert (first["metrics"]["rouge_l"]["value"], first["accuracy"], first["right"], first["read"]) == (
        1.0,
        None,
        None,
        None,
    )
    assert [(e["metric"], e["gain"]) for e in ctx.recorded["comparisons"]] == [("rouge_l", 0.0)]
    assert "agreements" not in ctx.recorded
    assert find_fault("evaluations", [{**entry, "step": "s"} for entry in ctx.recorded["evaluations"]]) is None


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"of": "said", "models": ["a", "b"], "answer": "exact"}, ["models"]),
        ({"of": "said", "answer": "exact", "prompts": {"a": "p"}}, ["prompts.a", "prompts"]),
        ({"of": "said", "judge": "j"}, ["judge", "judge"]),
        ({"models": ["a"], "answer": "exact", "prompts": {"b": "p"}}, ["prompts.b"]),
        ({"models": ["a"], "answer": "exact", "require": {"metric": "macro_f1", "at_least": 0.5}}, ["require.metric"]),
        ({"models": ["a", "b"], "judge": "j", "require": {"at_least": 0.5}}, ["require.metric"]),
    ],
)
def test_fields_of_metrics_that_do_not_go_together_are_problems(fields: dict[str, Any], at: list[str]) -> None:
    config = evaluate.Config.model_validate({"step": "evaluate", **fields})
    assert [problem[0] for problem in config.problems()] == at


def test_models_may_be_left_out_only_where_a_column_is_measured() -> None:
    with pytest.raises(ValidationError, match="missing") as told:
        evaluate.Config.model_validate({"step": "evaluate", "answer": "exact"})
    assert told.value.errors()[0]["loc"] == ("models",)


async def test_the_classes_are_those_of_the_label_set_in_its_order_and_one_that_never_occurs_is_not_in_the_mean() -> (
    None
):
    labels = ["green", "red", "blue"]
    ctx = await painted("student@base", answer={"label": {"labels": labels}}, metrics=["macro_f1"])
    [entry] = ctx.recorded["evaluations"]
    assert [(each["name"], each["support"], each["f1"]) for each in entry["classes"]] == [
        ("green", 0, None),
        ("red", 5, pytest.approx(10 / 13)),
        ("blue", 3, 0.0),
    ]
    assert entry["metrics"]["macro_f1"]["value"] == pytest.approx(5 / 13)


async def test_answers_that_are_written_otherwise_and_are_the_same_are_one_class() -> None:
    said = {"q0": "The answer is 3.0", "q1": "it is three", "q2": "4"}
    ctx = FakeContext(lambda model, messages, sample: said[messages[0]["content"].rsplit(" ", 1)[1]])
    table = rows(*({"instruction": key, "reference": ref} for key, ref in zip(said, ("3", "3.00", "3"), strict=True)))
    config = evaluate.Config(step="evaluate", models=["m"], answer="number", metrics=["macro_f1"])
    await outcomes(evaluate, table, config, ctx)
    [entry] = ctx.recorded["evaluations"]
    assert entry["confusion"] == [{"wanted": "3", "answer": "3", "n": 2}, {"wanted": "3", "answer": "4", "n": 1}]


async def test_fields_are_counted_over_all_rows_and_each_is_told() -> None:
    said = {"q0": '{"total": 3, "tags": ["a"]}', "q1": "nothing"}
    ctx = FakeContext(lambda model, messages, sample: said[messages[0]["content"].rsplit(" ", 1)[1]])
    table = rows(*({"instruction": key, "reference": {"total": 3, "tags": ["a", "b"]}} for key in said))
    config = evaluate.Config(
        step="evaluate", models=["m"], answer={"json": {"lists": "sets"}}, metrics=["field_f1"], by=["instruction"]
    )
    await outcomes(evaluate, table, config, ctx)
    [entry] = ctx.recorded["evaluations"]
    assert [(each["name"], each["precision"], each["recall"], each["support"]) for each in entry["fields"]] == [
        ("total", 1.0, 0.5, 2),
        ("tags", 1.0, 0.25, 4),
    ]
    assert entry["metrics"]["field_f1"]["value"] == pytest.approx(2 * 2 / (2 * 2 + 0 + 4))
    assert "classes" not in entry
