"""Runs against endpoints that speak chat completions in ways of their own: rows, what was sent, and what went wrong."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BlackboxError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_answers import completion_of
from tests.support.runs import QUESTIONS, rows_of, write_rows
from tests.support.teachers.compatible import (
    THOUGHT,
    FakeBedrock,
    FakeCompatible,
    FakeDeepSeek,
    FakeLlamaCpp,
    FakeOllama,
    FakeOpenRouter,
    FakeTogether,
    FakeVllm,
)

KEY = "sk-compatible-0123456789"
STEP = {"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 200}


@dataclass
class Ran:
    """A run that has ended.

    Args:
        status: of the process.
        said: the error.
        report: as its file holds it, and in words.
        rows: that it kept.
    """

    status: int
    said: str
    report: dict[str, Any]
    words: str
    rows: list[dict[str, Any]] = field(default_factory=list)


async def run(folder: Path, server: FakeCompatible, entry: Mapping[str, Any] | None = None, **step: Any) -> Ran:
    """A run of the step's questions; the server stands in as the proxy of the host that the recipe names."""
    write_rows(folder / "train.jsonl", QUESTIONS)
    teacher = {"provider": "openai", "model": server.model, "base_url": server.base_url, "key_env": "SOME_KEY"}
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {**teacher, "price": {"input": 1, "output": 10}, **(entry or {})}},
        "steps": [STEP | step],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", server.url)
        patch.setenv("SOME_KEY", KEY)
        job = Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places))
        try:
            await job.execute()
        except BlackboxError as error:
            return Ran(error.exit_status, str(error), job.report, (folder / "run/report.md").read_text())
    rows = rows_of(folder / "run/tables/01_generate.jsonl")
    return Ran(0, "", job.report, (folder / "run/report.md").read_text(), rows)


def expected(server: FakeCompatible) -> list[str]:
    """The texts that any endpoint gives."""
    made = (completion_of("ok", body, server.rule) for body in server.seen)
    return sorted(completion["choices"][0]["message"]["content"] for completion in made)


ALL = [FakeDeepSeek, FakeOpenRouter, FakeTogether, FakeBedrock, FakeOllama, FakeLlamaCpp, FakeVllm]
OFF = {
    FakeDeepSeek: {"thinking": {"type": "disabled"}},
    FakeOpenRouter: {"reasoning": {"effort": "none"}},
    FakeTogether: {"reasoning": {"enabled": False}},
    FakeOllama: {"reasoning_effort": "none"},
}
"""What `thinking: off` is there, of those whose models can be told so."""


@pytest.mark.parametrize("kind", ALL)
async def test_every_endpoint_gives_the_same_rows_with_its_reasoning_beside_them(
    tmp_path: Path, kind: type[FakeCompatible]
) -> None:
    async with kind() as server:
        ran = await run(tmp_path, server)
        assert ran.status == 0, ran.said
        assert sorted(row["response"] for row in ran.rows) == expected(server)
        assert len(ran.rows) == len(QUESTIONS)
        assert {row["reasoning"] for row in ran.rows} == {THOUGHT}
        assert {headers["Authorization"] for headers in server.seen_headers} == {f"Bearer {KEY}"}
        again = await run(tmp_path, server)
        assert again.rows == ran.rows
        assert sum(server.answered.values()) == len(QUESTIONS)


@pytest.mark.parametrize("kind", OFF)
async def test_thinking_is_turned_off_as_the_endpoint_calls_it(tmp_path: Path, kind: type[FakeCompatible]) -> None:
    async with kind() as server:
        ran = await run(tmp_path, server, {"thinking": "off"})
        assert ran.status == 0, ran.said
        assert sorted(row["response"] for row in ran.rows) == expected(server)
        assert not any(row.get("reasoning") for row in ran.rows)
        own = {name: value for name, value in server.seen[0].items() if "reasoning" in name or name == "thinking"}
        assert own == OFF[kind]
        ledger = (tmp_path / "ledger.sqlite").read_bytes()
        assert b'"reasoning_effort":"none"' in ledger, "what is kept is what chat completions call it"


@pytest.mark.parametrize("kind", [FakeDeepSeek, FakeTogether])
async def test_the_word_of_others_for_it_would_be_refused_there(tmp_path: Path, kind: type[FakeCompatible]) -> None:
    async with kind() as server:
        assert server.refuse({"reasoning_effort": "none"}) is not None
        assert server.refuse({"reasoning_effort": "low"}) is None


@dataclass(frozen=True)
class Ending:
    """What an odd answer comes to: the exit status, what is said, and the requests that were sent."""

    status: int
    says: str
    sent: int | None = None
    rows: int = 0


NUMBER = len(QUESTIONS)
WELL = Ending(0, "The run is complete", NUMBER + 1, NUMBER)
ENDINGS: dict[tuple[type[FakeCompatible], str], Ending] = {
    (FakeDeepSeek, "busy"): WELL,
    (FakeDeepSeek, "limit"): WELL,
    (FakeDeepSeek, "overloaded"): WELL,
    (FakeOpenRouter, "inside"): WELL,
    (FakeOpenRouter, "broken"): WELL,
    (FakeOpenRouter, "down"): WELL,
    (FakeTogether, "limit"): WELL,
    (FakeBedrock, "limit"): WELL,
    (FakeOllama, "busy"): WELL,
    (FakeLlamaCpp, "loading"): WELL,
    (FakeVllm, "abort"): WELL,
    (FakeVllm, "old"): Ending(0, "The run is complete", NUMBER, NUMBER),
}
"""What the first request is answered with, and no later one."""
ALWAYS: dict[tuple[type[FakeCompatible], str], Ending] = {
    (FakeDeepSeek, "poor"): Ending(1, "add credit to the account"),
    (FakeOpenRouter, "poor"): Ending(1, "add credit to the account"),
    (FakeOpenRouter, "gone"): Ending(2, "check `model`"),
    (FakeOpenRouter, "flagged"): Ending(1, "refused"),
    (FakeOpenRouter, "refused"): Ending(1, "the model refused"),
    (FakeTogether, "poor"): Ending(1, "add credit to the account"),
    (FakeTogether, "gone"): Ending(2, "check `model`"),
    (FakeBedrock, "key"): Ending(1, "Authentication failed"),
    (FakeOllama, "gone"): Ending(2, "model 'm' not found"),
    (FakeLlamaCpp, "long"): Ending(1, "exceeds the available context size"),
    (FakeVllm, "long"): Ending(1, "maximum context length is 2048 tokens"),
    (FakeVllm, "gone"): Ending(2, "does not exist"),
}
"""What all requests are."""


@pytest.mark.parametrize(("kind", "word"), ENDINGS)
async def test_an_answer_that_is_chance_costs_a_try_and_no_row(
    tmp_path: Path, kind: type[FakeCompatible], word: str
) -> None:
    async with kind([word]) as server:
        ran = await run(tmp_path, server)
        ending = ENDINGS[kind, word]
        assert (ran.status, len(server.seen), len(ran.rows)) == (ending.status, ending.sent, ending.rows), ran.said
        assert ending.says in ran.words


@pytest.mark.parametrize(("kind", "word"), ALWAYS)
async def test_an_answer_that_stands_ends_in_what_it_means(
    tmp_path: Path, kind: type[FakeCompatible], word: str
) -> None:
    async with kind(always=word) as server:
        ran = await run(tmp_path, server)
        ending = ALWAYS[kind, word]
        assert (ran.status, len(ran.rows)) == (ending.status, ending.rows), ran.said
        assert ending.says in ran.said + ran.words
        assert KEY not in ran.said + ran.words


async def test_what_openrouter_bills_counts_more_than_any_price(tmp_path: Path) -> None:
    async with FakeOpenRouter() as server:
        ran = await run(tmp_path, server)
        assert ran.report["spent"]["usd"] == pytest.approx(0.5 * NUMBER)


async def test_deepseeks_own_count_of_cached_tokens_is_read(tmp_path: Path) -> None:
    async with FakeDeepSeek() as server:
        ran = await run(tmp_path, server, {"price": {"input": 1, "output": 10, "cached": 0.1}})
        [told] = ran.report["models"]
        assert 0 < told["cached_tokens"] <= told["prompt_tokens"] / 2
        assert told["reasoning_tokens"] == 5 * NUMBER


async def test_what_openrouter_would_drop_in_silence_is_refused_and_told(tmp_path: Path) -> None:
    async with FakeOpenRouter() as server:
        ran = await run(tmp_path, server, sampling_seed=3)
        assert ran.status == 1
        assert "No endpoints found that can handle the requested parameters" in ran.said
        assert "require_parameters: false" in ran.said
        assert server.dropped == []


async def test_a_recipe_may_let_openrouter_drop_it_and_say_where_it_is_asked(tmp_path: Path) -> None:
    async with FakeOpenRouter() as server:
        routing = {"require_parameters": False, "order": ["Some"]}
        ran = await run(tmp_path, server, {"extra_body": {"provider": routing}}, sampling_seed=3)
        assert ran.status == 0, ran.said
        assert set(server.dropped) == {"seed"}
        assert server.seen[0]["provider"] == routing
        await run(tmp_path, server, {"extra_body": {"provider": {"order": ["Some"]}}})
        assert server.seen[-1]["provider"] == {"require_parameters": True, "order": ["Some"]}


async def test_what_a_recipe_says_of_reasoning_at_openrouter_goes_over_its_level(tmp_path: Path) -> None:
    async with FakeOpenRouter() as server:
        ran = await run(tmp_path, server, {"thinking": "low", "extra_body": {"reasoning": {"exclude": True}}})
        assert ran.status == 0, ran.said
        assert server.seen[0]["reasoning"] == {"effort": "low", "exclude": True}
        assert "reasoning_effort" not in server.seen[0]


async def test_a_number_of_tokens_of_reasoning_is_told_to_openrouter_in_its_own_words(tmp_path: Path) -> None:
    async with FakeOpenRouter() as server:
        ran = await run(tmp_path, server, {"thinking": 100, "extra_body": {"reasoning": {"exclude": False}}})
        assert ran.status == 0, ran.said
        assert server.seen[0]["reasoning"] == {"max_tokens": 100, "exclude": False}
        assert "thinking_token_budget" not in server.seen[0]
        assert b'"thinking_token_budget":100' in (tmp_path / "ledger.sqlite").read_bytes()


async def test_a_default_that_no_provider_takes_is_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", [{"instruction": f"What is {n}?", "reference": str(n)} for n in range(4)])
    async with FakeOpenRouter(lacks=frozenset({"temperature"})) as server:
        exam = {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}
        teacher = {"provider": "openai", "model": "some/model", "base_url": server.base_url, "key_env": "SOME_KEY"}
        data = {"test": {"path": "test.jsonl", "held_out": True}}
        values = {"name": "exam", "data": data, "models": {"teacher": teacher}, "steps": [exam]}
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        places = {"cache": tmp_path / "cache", "run_dir": tmp_path / "run", "ledger": tmp_path / "ledger.sqlite"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", server.url)
            patch.setenv("SOME_KEY", KEY)
            await Run(load_recipe(tmp_path / "recipe.yaml"), RunOptions(**places)).execute()
        assert "temperature" not in server.seen[-1]
        assert sum(server.answered.values()) == 4
        assert "4 replies were drawn at its own temperature" in (tmp_path / "run/report.md").read_text()


async def test_a_prompt_that_ollama_cuts_in_silence_is_noticed(tmp_path: Path) -> None:
    async with FakeOllama() as server:
        fits = await run(tmp_path, server)
        assert fits.report["models"][0]["short_prompts"] == 0
        long = [{"instruction": f"{number}: " + "one two three four " * 2000} for number in range(3)]
        write_rows(tmp_path / "long.jsonl", long)
        recipe = json.loads((tmp_path / "recipe.yaml").read_text())
        recipe["data"]["train"]["path"] = "long.jsonl"
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        places = {"cache": tmp_path / "cache", "run_dir": tmp_path / "cut", "ledger": tmp_path / "ledger.sqlite"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", server.url)
            patch.setenv("SOME_KEY", KEY)
            job = Run(load_recipe(tmp_path / "recipe.yaml"), RunOptions(**places))
            await job.execute()
        [told] = job.report["models"]
        assert told["short_prompts"] == 3
        assert told["prompt_tokens"] == 3 * FakeOllama.num_ctx
        assert "n" not in server.seen[-1]
        assert "may have cut" in (tmp_path / "cut/report.md").read_text()
