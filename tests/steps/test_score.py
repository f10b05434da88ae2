import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.analysis import logprobs
from blackbox_kd.errors import SetupError
from blackbox_kd.schema import Failed, Message, Reply, Row, Usage
from blackbox_kd.steps import score
from tests.support.fake_server import FakeServer
from tests.support.fakes import FakeContext, rows
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model

ROW = rows({"instruction": "Say it", "response": " yes, 4 \n", "other": "no"})[0]


def config(**fields: Any) -> score.Config:
    return score.Config.model_validate({"step": "score", "model": "m", **fields})


def teller(values: list[float | None], before: int) -> Any:
    """Replies that tell: a prompt of tokens 0, 1, 2, ... with these log-probabilities, the first `before` asked."""

    def answer(model: str, messages: list[Message], sample: int) -> Reply:
        is_whole = messages[-1]["role"] == "assistant"
        tokens = tuple(range(len(values) if is_whole else before))
        told = tuple(values) if is_whole else None
        return logprobs.Scored("", "length", Usage(), "m", None, tokens=tokens, logprobs=told, value="")

    return answer


async def test_the_sum_and_the_mean_are_over_the_tokens_of_the_text_alone() -> None:
    row = await score.run(ROW, config(), FakeContext(teller([None, -9.0, -1.0, -0.5, -0.25], 2)))
    assert isinstance(row, Row)
    assert row["logprob"] == pytest.approx(-1.75)
    assert row["logprob_mean"] == pytest.approx(-1.75 / 3)
    assert row["tokens"] == 3


async def test_the_text_is_asked_for_as_an_open_last_turn_without_blanks_around_it() -> None:
    ctx = FakeContext(teller([None, -1.0], 1))
    await score.run(ROW, config(prompt="p"), ctx)
    (_, whole, with_text, _), (_, before, before_text, _) = ctx.asked
    assert whole == [{"role": "user", "content": "p | Say it"}, {"role": "assistant", "content": "yes, 4"}]
    assert before == whole[:1]
    assert with_text.extra == {
        "prompt_logprobs": 0,
        "return_token_ids": True,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    assert (with_text.temperature, with_text.max_tokens, before_text.max_tokens) == (0.0, 1, 1)


async def test_a_template_that_writes_differently_before_a_reply_ends_the_prompt_where_the_two_part() -> None:
    def answer(model: str, messages: list[Message], sample: int) -> Reply:
        if messages[-1]["role"] == "assistant":
            return logprobs.Scored(
                "", "length", Usage(), "m", None, tokens=(1, 2, 7, 8), logprobs=(None, -1.0, -2.0, -3.0), value=""
            )
        return logprobs.Scored("x", "length", Usage(), "m", tokens=(1, 2, 50, 51, 52), value="x")  # opens its reasoning

    row = await score.run(ROW, config(), FakeContext(answer))
    assert isinstance(row, Row)
    assert (row["logprob"], row["tokens"]) == (-5.0, 2)


async def test_two_scores_of_a_row_stand_in_columns_of_their_own() -> None:
    row: Any = ROW
    for fields, values in (
        ({"as": "small"}, [None, -4.0]),
        ({"as": "large", "mean": "m", "tokens": "n"}, [None, -1.0]),
    ):
        row = await score.run(row, config(**fields), FakeContext(teller(values, 1)))
    assert {name: row[name] for name in row if name not in ROW} == {
        "small": -4.0, "small_mean": -4.0, "small_tokens": 1, "large": -1.0, "m": -1.0, "n": 1,
    }  # fmt: skip


async def test_a_row_without_text_fails() -> None:
    empty = await score.run(ROW | {"response": " \n"}, config(), FakeContext(teller([None, -1.0], 1)))
    assert isinstance(empty, Failed)
    assert (empty.kind, empty.error) == ("empty", "column 'response' holds no text")
    swallowed = await score.run(ROW, config(), FakeContext(teller([None, -1.0], 2)))
    assert isinstance(swallowed, Failed)
    assert "the chat template leaves nothing of column 'response'" in swallowed.error


async def test_an_endpoint_that_tells_nothing_about_its_prompt_ends_the_run_with_a_fix() -> None:
    with pytest.raises(SetupError, match="model 'm' cannot score: the reply has no log-probabilities") as caught:
        await score.run(ROW, config(), FakeContext(lambda *_: "yes"))
    assert "fix: a model of provider vllm" in str(caught.value)


def recipe(model: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": "scored",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"m": model},
        "steps": [{"step": "score", "model": "m", **fields}],
    }


TEXTS = [
    {"instruction": "What is 2 + 2?", "response": "It is 4."},
    {"instruction": "And né?", "response": "\n\nDazu: 😀 <|im_end|>"},
]


def test_a_model_in_this_process_scores_as_a_forward_pass_by_hand_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_rows(tmp_path / "train.jsonl", TEXTS)
    run = execute(tmp_path, recipe({"provider": "transformers", "model": str(tiny_model())}))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    model = AutoModelForCausalLM.from_pretrained(tiny_model()).eval()
    found = rows_of(tmp_path / "run/tables/01_score.jsonl")
    said = ["It is 4.", "Dazu: 😀 < |im_end|>"]  # stripped, and without control tokens
    for row, text, wanted in zip(found, (TEXTS[0]["instruction"], TEXTS[1]["instruction"]), said, strict=True):
        before = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        prompt = tokenizer(before, add_special_tokens=False)["input_ids"]
        own = tokenizer(wanted, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + own])).logits[0].double().log_softmax(-1)
        by_hand = [float(logits[len(prompt) + at - 1, token]) for at, token in enumerate(own)]
        assert row["tokens"] == len(own)
        assert row["logprob"] == pytest.approx(sum(by_hand), abs=1e-4)
        assert row["logprob_mean"] == pytest.approx(sum(by_hand) / len(own), abs=1e-5)
    assert run.report["spent"]["requests"] == 4


def test_a_run_again_finds_the_log_probabilities_in_the_ledger(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", TEXTS)
    values = recipe({"provider": "transformers", "model": str(tiny_model())})
    execute(tmp_path, values)
    again = execute(tmp_path, values, run_dir="again")
    assert [model["calls"] for model in again.report["models"]] == [0]
    first, second = (rows_of(tmp_path / name / "tables/01_score.jsonl") for name in ("run", "again"))
    assert first == second


async def test_a_vllm_server_is_asked_in_its_own_form_and_its_answer_read(tmp_path: Path) -> None:
    import asyncio

    write_rows(tmp_path / "train.jsonl", TEXTS[:1])
    async with FakeServer(always="prompt_logprobs") as server:
        values = recipe({"provider": "vllm", "model": "q", "base_url": server.url}, **{"as": "lp"})
        await asyncio.to_thread(execute, tmp_path, values)
        whole = next(body for body in server.seen if "prompt_logprobs" in body)
        assert (whole["prompt_logprobs"], whole["add_generation_prompt"], whole["continue_final_message"]) == (
            0,
            False,
            True,
        )
        assert whole["messages"][-1] == {"role": "assistant", "content": "It is 4."}
        assert [body["max_tokens"] for body in server.seen] == [1, 1]
    [row] = rows_of(tmp_path / "run/tables/01_score.jsonl")
    assert (row["lp"], row["lp_tokens"]) == (-0.5 * 3, 3)  # the server: half a nat for each word


def test_the_scripted_model_gives_a_word_as_much_as_it_has_letters(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", TEXTS[:1])
    execute(tmp_path, recipe({"provider": "scripted"}))
    [row] = rows_of(tmp_path / "run/tables/01_score.jsonl")
    assert (row["logprob"], row["tokens"]) == (-(2 + 2 + 2), 3)


def test_a_server_without_log_probabilities_ends_the_run_and_not_row_after_row(tmp_path: Path) -> None:
    import asyncio

    write_rows(tmp_path / "train.jsonl", [{"instruction": f"q{n}", "response": "r"} for n in range(3)])

    async def main() -> None:
        async with FakeServer() as server:
            await asyncio.to_thread(
                execute, tmp_path, recipe({"provider": "vllm", "model": "q", "base_url": server.url})
            )

    with pytest.raises(SetupError, match=r"steps\[0\] \(score\): model 'm' cannot score"):
        asyncio.run(main())


def test_what_a_body_tells_is_taken_only_if_it_is_whole() -> None:
    told: dict[str, Any] = {"prompt_token_ids": [5, 6], "prompt_logprobs": [None, {"6": {"logprob": -1}}]}
    assert logprobs.read_prompt(told) == ((5, 6), (None, -1.0))
    assert logprobs.read_prompt(json.loads(json.dumps(told | {"prompt_logprobs": None}))) == ((5, 6), None)
    assert logprobs.read_prompt(told | {"prompt_logprobs": [None, {"9": {"logprob": -1}}]}) == ((5, 6), None)
    assert logprobs.read_prompt(told | {"prompt_logprobs": [None]}) == ((5, 6), None)
    untold: list[Any] = [
        None,
        [],
        {},
        {"prompt_token_ids": None},
        {"prompt_token_ids": ["a"]},
        {"prompt_token_ids": []},
    ]
    assert [logprobs.read_prompt(body) for body in untold] == [None] * 6
    several = {"7": {"logprob": -0.1}, "6": {"logprob": -2.5}}  # a server's own likeliest token beside the one asked
    assert logprobs.read_prompt(told | {"prompt_logprobs": [None, several]}) == ((5, 6), (None, -2.5))
