import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from blackbox_kd.analysis import logprobs
from blackbox_kd.errors import RecipeError, SetupError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Failed, Message, Reply, Row, Usage
from blackbox_kd.steps import score
from tests.support.fake_server import FakeServer
from tests.support.fakes import FakeContext, rows
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model

ROW = rows({"instruction": "Say it", "response": " yes, 4 \n", "other": "no"})[0]


def config(**fields: Any) -> score.Config:
    return score.Config.model_validate({"step": "score", "model": "m", **fields})


def told(tokens: tuple[int, ...], values: list[float | None]) -> tuple[logprobs.Token, ...]:
    pairs = zip(tokens[1:], values[1:], strict=True)
    return tuple(logprobs.Token(token, value) for token, value in pairs if value is not None)


def teller(values: list[float | None], before: int) -> Any:
    """Replies that tell: a prompt of tokens 0, 1, 2, ... with these log-probabilities, the first `before` asked."""

    def answer(model: str, messages: list[Message], sample: int) -> Reply:
        is_whole = messages[-1]["role"] == "assistant"
        tokens = tuple(range(len(values) if is_whole else before))
        found = told(tokens, values) if is_whole else None
        return logprobs.Scored("", "length", Usage(), "m", None, tokens=tokens, told=found, value="")

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
            found = told((1, 2, 7, 8), [None, -1.0, -2.0, -3.0])
            return logprobs.Scored("", "length", Usage(), "m", None, tokens=(1, 2, 7, 8), told=found, value="")
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


def read(completion: dict[str, Any]) -> Any:
    """The tokens of a prompt, and the log-probabilities of all but the first."""
    found = logprobs.read_prompt(completion)
    assert found is not None
    tokens, tokens_told = found
    return tokens, None if tokens_told is None else [token.logprob for token in tokens_told]


def test_what_a_body_tells_is_taken_only_if_it_is_whole() -> None:
    body: dict[str, Any] = {"prompt_token_ids": [5, 6], "prompt_logprobs": [None, {"6": {"logprob": -1}}]}
    assert read(body) == ((5, 6), [-1.0])
    assert read(json.loads(json.dumps(body | {"prompt_logprobs": None}))) == ((5, 6), None)
    assert read(body | {"prompt_logprobs": [None, {"9": {"logprob": -1}}]}) == ((5, 6), None)
    assert read(body | {"prompt_logprobs": [None]}) == ((5, 6), None)
    untold: list[Any] = [
        None,
        [],
        {},
        {"prompt_token_ids": None},
        {"prompt_token_ids": ["a"]},
        {"prompt_token_ids": []},
    ]
    assert [logprobs.read_prompt(each) for each in untold] == [None] * 6
    several = {"7": {"logprob": -0.1}, "6": {"logprob": -2.5}}  # a server's own likeliest token beside the one asked
    assert read(body | {"prompt_logprobs": [None, several]}) == ((5, 6), [-2.5])


VLLM = {
    "prompt_token_ids": [1, 9690, 198],
    "prompt_logprobs": [
        None,
        {
            "9690": {"logprob": -7.783651351928711, "rank": 133, "decoded_token": "system"},
            "29": {"logprob": -0.9855020046234131, "rank": 1, "decoded_token": "-"},
            "28": {"logprob": -2.0762059688568115, "rank": 2, "decoded_token": ","},
        },
        {
            "198": {"logprob": -1.05333411693573, "rank": 1, "decoded_token": "\n"},
            "30": {"logprob": -1.8485649824142456, "rank": 2, "decoded_token": "."},
        },
    ],
}
"""Of vllm 0.32 and SmolLM2-135M, asked for two: a token that is none of them stands there as a third."""


def test_likeliest_tokens_are_those_of_the_model_and_not_the_text_s_own_where_it_is_none_of_them() -> None:
    _, found = logprobs.read_prompt(VLLM) or ((), None)
    assert found is not None
    assert logprobs.list_likeliest(found, 2) == {
        "tokens": [9690, 198],
        "top": [[29, 28], [198, 30]],
        "logprobs": [[-0.9855, -2.0762], [-1.0533, -1.8486]],
    }
    assert [(token.rank, token.text, token.likeliest) for token in found] == [(133, "system", "-"), (1, "\n", "\n")]


def test_what_is_drawn_beside_the_likeliest_is_one_null_and_the_counts_add_up() -> None:
    _, found = logprobs.read_prompt(VLLM) or ((), None)
    assert found is not None
    random = Random(0)
    drawn = logprobs.list_drawn([logprobs.draw_tokens(token, 2, 1000, random) for token in found])
    assert [sum(counts) for counts in drawn["counts"]] == [1000, 1000]
    by_token = [dict(zip(*each, strict=True)) for each in zip(drawn["top"], drawn["counts"], strict=True)]
    assert by_token[0][29] == pytest.approx(373, abs=50), "e to the power of -0.9855"
    assert by_token[0][None] == pytest.approx(1000 - 373 - 125, abs=50)


def test_a_model_in_this_process_tells_the_likeliest_tokens_ranks_and_pieces_that_a_forward_pass_gives(
    tmp_path: Path,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_rows(tmp_path / "train.jsonl", TEXTS)
    columns = {"ranks": "ranks", "pieces": "pieces", "likeliest": "likeliest"}
    execute(tmp_path, recipe({"provider": "transformers", "model": str(tiny_model())}, top=5, **columns))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    model = AutoModelForCausalLM.from_pretrained(tiny_model()).eval()
    for row, text in zip(rows_of(tmp_path / "run/tables/01_score.jsonl"), TEXTS, strict=True):
        told = row["top_logprobs"]
        before = f"<|im_start|>user\n{text['instruction']}<|im_end|>\n<|im_start|>assistant\n"
        prompt = tokenizer(before, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + told["tokens"]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        best = logits.topk(5)
        assert torch.allclose(torch.tensor(told["logprobs"]), best.values, atol=1e-3)
        assert [each[0] for each in told["top"]] == best.indices[:, 0].tolist()
        assert tokenizer.decode(told["tokens"]).strip() == "".join(row["pieces"])
        order = logits.argsort(-1, descending=True).tolist()
        assert row["ranks"] == [1 + line.index(token) for line, token in zip(order, told["tokens"], strict=True)]
        assert row["likeliest"] == [tokenizer.decode([each[0]]) for each in told["top"]]


def test_draws_are_from_all_of_the_vocabulary_and_the_same_ones_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", TEXTS)
    values = recipe({"provider": "transformers", "model": str(tiny_model())}, draws=50)
    execute(tmp_path, values)
    execute(tmp_path, values, run_dir="again")
    execute(tmp_path, values | {"seed": 1}, run_dir="other")
    first, again, other = (rows_of(tmp_path / name / "tables/01_score.jsonl") for name in ("run", "again", "other"))
    assert first == again
    assert first[0]["top_logprobs"]["tokens"] == other[0]["top_logprobs"]["tokens"]
    assert first != other, "the seed of the run draws"
    for row in first:
        told = row["top_logprobs"]
        assert set(told) == {"tokens", "top", "counts"}
        assert [sum(counts) for counts in told["counts"]] == [50] * row["tokens"]
        assert all(counts == sorted(counts, reverse=True) for counts in told["counts"])
        assert all(len(set(each)) == len(each) for each in told["top"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"top_as": "t"}, "top_as: names a column for what nothing asks for"),
        ({"top": 0}, "greater than or equal to 1"),
    ],
)
def test_fields_that_mean_nothing_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**fields)


def test_draws_from_all_of_the_vocabulary_are_refused_of_a_server_before_anything_is_asked(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", TEXTS)
    served = {"provider": "vllm", "model": "q"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(served, draws=50)))
    with pytest.raises(
        RecipeError, match=r"draws: cannot be had of model 'm' \(q\): provider 'vllm' has no way"
    ) as told:
        load_recipe(tmp_path / "recipe.yaml", env={})
    assert "fix: top: 100 beside it" in str(told.value)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(served, draws=50, top=100)))
    load_recipe(tmp_path / "recipe.yaml", env={})
