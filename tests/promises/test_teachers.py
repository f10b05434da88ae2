"""One recipe with a teacher of each vendor: the same rows from all, within any budget, and never bought twice."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BudgetReached
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import rows_of, write_rows
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.azure import KEY, FakeAzure
from tests.support.teachers.base import FakeTeacher
from tests.support.teachers.chat import FakeChat
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.mistral import FakeMistral
from tests.support.teachers.responses import FakeResponses

RULE = "We add the parts. The answer is {n}.\nquality: 7"
VENDORS: Mapping[str, tuple[type[FakeTeacher], dict[str, Any]]] = {
    "openai": (FakeChat, {"provider": "openai", "model": "gpt-6-luna"}),
    "responses": (FakeResponses, {"provider": "openai", "model": "gpt-6-luna", "api": "responses"}),
    "azure": (FakeAzure, {"provider": "azure", "model": "gpt-6-luna"}),
    "anthropic": (FakeAnthropic, {"provider": "anthropic", "model": "claude-haiku-5-5"}),
    "gemini": (FakeGemini, {"provider": "gemini", "model": "gemini-3.8-flash"}),
    "mistral": (FakeMistral, {"provider": "mistral", "model": "mistral-small-2603"}),
}
ROWS, SAMPLES = 12, 2
CALLS = 2 * ROWS * SAMPLES
STEPS: list[dict[str, Any]] = [
    {"step": "generate", "model": "teacher", "prompt": "rationale/cot", "samples": SAMPLES, "max_tokens": 64},
    {"step": "check", "answer": "number"},
    {"step": "judge", "mode": "scale", "models": ["teacher"], "max_tokens": 64},
    {"step": "format"},
]
OF_VENDORS = ("usage", "cost_usd", "reasoning")
"""Columns of what vendors count in ways of their own, and give beside a text."""


async def run(folder: Path, url: str, fields: Mapping[str, Any], **head: Any) -> Run:
    """Runs the recipe; a step's defaults are for the vendor's models to take or not."""
    write_rows(
        folder / "train.jsonl", [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(ROWS)]
    )
    price = {"input": 1, "output": 10}
    teacher = {"base_url": url, "key_env": "TEACHERS_KEY", "max_concurrency": 4, "price": price, **fields}
    values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"teacher": teacher}}
    (folder / "recipe.yaml").write_text(json.dumps({**values, "steps": STEPS, **head}))
    env = {"TEACHERS_KEY": KEY}
    options = RunOptions(cache=folder / "cache", run_dir=folder / "run", ledger=folder / "ledger.sqlite", env=env)
    job = Run(load_recipe(folder / "recipe.yaml", env=env), options)
    await job.execute()
    return job


def made(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of a run."""
    return {
        file.name: [{name: row[name] for name in row if name not in OF_VENDORS} for row in rows_of(file)]
        for file in sorted((folder / "run/tables").glob("*.jsonl"))
    }


async def test_all_vendors_teach_the_same_rows(tmp_path: Path) -> None:
    found = {}
    for name, (kind, fields) in VENDORS.items():
        folder = tmp_path / name
        folder.mkdir()
        async with kind(rule=RULE) as server:
            job = await run(folder, server.url, fields)
        assert job.report["spent"]["requests"] == CALLS, name
        found[name] = made(folder)
    assert [name for name, rows in found.items() if rows != found["openai"]] == []
    *_, last = found["openai"].values()
    assert len(last) == ROWS * SAMPLES
    assert last[0]["completion"][0]["content"].startswith("We add the parts. The answer is")


@pytest.mark.parametrize("name", VENDORS)
async def test_no_wire_format_passes_a_budget_and_another_budget_buys_nothing_again(tmp_path: Path, name: str) -> None:
    kind, fields = VENDORS[name]
    most = 0.004
    async with kind(rule=RULE) as server:
        with pytest.raises(BudgetReached):
            await run(tmp_path, server.url, fields, budget={"usd": most})
        spent = json.loads((tmp_path / "run/report.json").read_text())["spent"]
        assert 0 < spent["usd"] <= most
        assert 0 < server.answered.total() == spent["requests"] < CALLS
        assert spent["doubtful"] == 0
        await run(tmp_path, server.url, fields, budget={"usd": 50})
        assert server.answered.total() == CALLS, "what the first run has bought is not bought again"
        job = await run(tmp_path, server.url, fields)
        assert server.answered.total() == CALLS
        assert job.report["models"][0]["replayed"] == CALLS
