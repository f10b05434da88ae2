"""`generate: top_logprobs: K` and `begin: COLUMN`: what is asked, what a row holds, who is refused beforehand."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.analysis import logprobs
from blackbox_kd.errors import RecipeError, SetupError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model


def recipe(model: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": "told",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"m": model},
        "steps": [{"step": "generate", "model": "m", "prompt": "student/plain", "max_tokens": 12, **fields}],
    }


def check(folder: Path, values: dict[str, Any]) -> str:
    write_rows(folder / "train.jsonl", [{"instruction": "Hi"}])
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(
            folder / "recipe.yaml", env={"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "MISTRAL_API_KEY": "k"}
        )
    except RecipeError as error:
        return "\n".join(f"{problem.message} {problem.fix}" for problem in error.problems)
    return ""


QUESTIONS = [{"instruction": "What is 2 + 2?"}, {"instruction": "Né 😀?"}]
TINY = {"provider": "transformers", "model": str(tiny_model())}


def test_a_model_in_this_process_tells_what_a_forward_pass_over_its_reply_gives(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    asked = recipe(TINY, top_logprobs=30, temperature=0.6, accept_truncated=True)
    execute(tmp_path, asked)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    model = AutoModelForCausalLM.from_pretrained(tiny_model()).eval()
    for row, question in zip(rows_of(tmp_path / "run/tables/01_generate.jsonl"), QUESTIONS, strict=True):
        told = row["top_logprobs"]
        text = f"<|im_start|>user\n{question['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + told["tokens"]])).logits[0, len(prompt) - 1 : -1]
        best = logits.log_softmax(-1).topk(30)
        assert tokenizer.decode(told["tokens"], skip_special_tokens=True).strip() == row["response"]
        assert [len(each) for each in told["top"]] == [30] * len(told["tokens"])
        assert torch.allclose(torch.tensor(told["logprobs"]), best.values, atol=1e-3), "at temperature 1 in any case"


def test_what_was_told_is_in_the_ledger_and_other_calls_keep_their_keys(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    plain = recipe(TINY, temperature=1.0, accept_truncated=True)
    told = recipe(TINY, temperature=1.0, accept_truncated=True, top_logprobs=3)
    first, again = execute(tmp_path, told), execute(tmp_path, told, run_dir="again")
    assert [run.report["models"][0]["calls"] for run in (first, again)] == [2, 0]
    execute(tmp_path, plain, run_dir="plain")
    names = ("run", "again", "plain")
    with_it, replayed, without = (rows_of(tmp_path / name / "tables/01_generate.jsonl") for name in names)
    assert with_it == replayed
    assert all("top_logprobs" not in row for row in without)


TOLD = {
    "content": [
        {"token": "<th", "logprob": -0.1, "bytes": [60, 116, 104], "top_logprobs": [{"token": "<th", "logprob": -0.1}]},
        {"token": "ink></think>", "logprob": -0.1, "bytes": None, "top_logprobs": []},
        {"token": "It", "logprob": -0.5, "bytes": [73, 116], "top_logprobs": [
            {"token": "No", "logprob": -1.5, "bytes": [78, 111]}, {"token": "It", "logprob": -0.5, "bytes": [73, 116]},
        ]},
        {"token": "\\xf0\\x9f", "logprob": -0.25, "bytes": [240, 159], "top_logprobs": [
            {"token": "\\xf0\\x9f", "logprob": -0.25, "bytes": [240, 159]},
            {"token": "", "logprob": -3.00004, "bytes": []},
        ]},
        {"token": "\\x98\\x80", "logprob": 0.0, "bytes": [152, 128], "top_logprobs": []},
        {"token": "", "logprob": -0.125, "bytes": [], "top_logprobs": []},
    ]
}  # fmt: skip


def test_texts_of_tokens_are_kept_where_no_ids_are_told_and_null_where_a_token_is_no_whole_character() -> None:
    written = logprobs.read_written({"logprobs": TOLD})
    assert written is not None
    assert logprobs.cut_to_text(written, "It😀") == {
        "tokens": ["It", None, None, None],
        "top": [["It", "No"], [None, None], [], []],
        "logprobs": [[-0.5, -1.5], [-0.25, -3.0], [], []],
    }, "the reasoning before it is cut off, the end of the turn stays, and the likeliest one stands first"


def test_ids_are_kept_where_a_vllm_server_tells_them() -> None:
    entry = {"token": "token_id:788", "logprob": -2.96, "bytes": [73, 110], "top_logprobs": [
        {"token": "token_id:788", "logprob": -2.96}, {"token": "token_id:57", "logprob": -2.2094922065734863},
    ]}  # fmt: skip
    written = logprobs.read_written({"logprobs": {"content": [entry]}})
    assert written is not None
    assert logprobs.cut_to_text(written, "In") == {"tokens": [788], "top": [[57, 788]], "logprobs": [[-2.2095, -2.96]]}


@pytest.mark.parametrize(
    "choice", [{}, {"logprobs": None}, {"logprobs": {"content": []}}, {"logprobs": {"content": [1]}}]
)
def test_a_choice_that_tells_nothing_usable_tells_nothing(choice: dict[str, Any]) -> None:
    assert logprobs.read_written(choice) is None


async def test_a_server_is_asked_as_openai_s_api_and_vllm_want_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", QUESTIONS[:1])
    for provider, more in (("openai", {}), ("vllm", {"return_tokens_as_token_ids": True})):
        async with FakeServer() as server:
            values = recipe({"provider": provider, "model": "q", "base_url": server.url}, top_logprobs=5)
            with pytest.raises(SetupError, match="model 'm' does not tell the log-probabilities of what it writes"):
                await asyncio.to_thread(execute, tmp_path, values, run_dir=provider)
            asked = server.seen[-1]
        names = {"logprobs", "top_logprobs", "return_tokens_as_token_ids"}
        assert {name: asked[name] for name in names & asked.keys()} == {"logprobs": True, "top_logprobs": 5, **more}


OPENAI = {"provider": "openai", "model": "gpt-4o"}


@pytest.mark.parametrize(
    ("model", "top", "said"),
    [
        (OPENAI, 20, ""),
        (OPENAI, 21, "top_logprobs: 21 is not taken by model 'm' (gpt-4o): an API tells 20 likeliest tokens at most."),
        (OPENAI | {"refuses": ["response_format"]}, 21, "an API tells 20 likeliest tokens at most."),
        (OPENAI | {"api": "responses"}, 5, "top_logprobs: 5 cannot be told to model 'm' (gpt-4o)"),
        ({"provider": "openai", "model": "gpt-6.2-sol"}, 5, "top_logprobs: 5 is not taken by model 'm'"),
        ({"provider": "anthropic", "model": "claude-opus-5"}, 5, "top_logprobs: 5 cannot be told to model 'm'"),
        ({"provider": "gemini", "model": "gemini-3.8-pro"}, 5, "top_logprobs: 5 cannot be told to model 'm'"),
        ({"provider": "mistral", "model": "mistral-large"}, 5, "top_logprobs: 5 cannot be told to model 'm'"),
        ({"provider": "vllm", "model": "q"}, 200, ""),
        (TINY, 200, ""),
    ],
)  # fmt: skip
def test_a_model_that_cannot_tell_so_many_is_refused_by_check(
    tmp_path: Path, model: dict[str, Any], top: int, said: str
) -> None:
    found = check(tmp_path, recipe(model, top_logprobs=top))
    assert said in found
    assert said or not found


def test_the_scripted_model_tells_words(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", QUESTIONS[:1])
    execute(tmp_path, recipe({"provider": "scripted", "replies": ["It is four"]}, top_logprobs=2))
    [row] = rows_of(tmp_path / "run/tables/01_generate.jsonl")
    assert row["top_logprobs"] == {
        "tokens": ["It", " is", " four"], "top": [[" a", " aa"]] * 3, "logprobs": [[-1, -2]] * 3,
    }  # fmt: skip


def test_a_reply_goes_on_from_its_beginning_and_a_row_without_one_is_asked_as_ever(tmp_path: Path) -> None:
    begun = [{"instruction": "Count", "start": "one two "}, {"instruction": "None yet", "start": None}]
    write_rows(tmp_path / "train.jsonl", begun)
    execute(tmp_path, recipe(TINY, begin="start", temperature=0.6, accept_truncated=True))
    on, anew = (row["response"] for row in rows_of(tmp_path / "run/tables/01_generate.jsonl"))
    assert on.startswith("one two")
    assert len(on) > len("one two")
    assert not anew.startswith("one two")


async def test_a_vllm_server_is_asked_to_write_on_and_an_api_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "Count", "start": " one, two, \n"}])
    async with FakeServer() as server:
        values = recipe({"provider": "vllm", "model": "q", "base_url": server.url}, begin="start")
        await asyncio.to_thread(execute, tmp_path, values)
        asked = server.seen[-1]
    assert asked["messages"][-1] == {"role": "assistant", "content": "one, two,"}
    names = ("add_generation_prompt", "continue_final_message", "echo")
    assert [asked[name] for name in names] == [False, True, True]
    (tmp_path / "other").mkdir()
    values = recipe(OPENAI, begin="instruction")
    assert "begin: cannot be had of model 'm' (gpt-4o): provider 'openai' has no way to ask for it." in check(
        tmp_path / "other", values
    )


def test_the_script_writes_on(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "Count", "start": "one, two,"}])
    execute(tmp_path, recipe({"provider": "scripted", "replies": [" three"]}, begin="start"))
    [row] = rows_of(tmp_path / "run/tables/01_generate.jsonl")
    assert row["response"] == "one, two, three"
