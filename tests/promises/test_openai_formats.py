"""One recipe through chat completions, Responses, and Azure's two APIs: by the command line, of real processes."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import command, rows_of, write_rows
from tests.support.teachers.azure import KEY, FakeAzure
from tests.support.teachers.responses import FakeResponses

RULE = "We add the parts. The answer is {n}.\nquality: 7"
ROWS = 8
ENV = {"AZURE_OPENAI_API_KEY": KEY}
WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat", {"provider": "openai"}),
    "responses": ("responses", {"provider": "openai", "api": "responses"}),
    "azure": ("azure", {"provider": "azure"}),
    "azure before v1": ("azure", {"provider": "azure", "api_version": "2024-10-21"}),
}


def write(folder: Path, url: str, **fields: Any) -> None:
    folder.mkdir(exist_ok=True)
    write_rows(
        folder / "train.jsonl", [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(ROWS)]
    )
    teacher = {"model": "gpt-5-mini", "base_url": url, "price": {"input": 1, "output": 10}}
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher | fields},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "rationale/cot", "samples": 2},
            {"step": "check", "answer": "number"},
            {"step": "judge", "mode": "scale", "models": ["teacher"]},
            {"step": "format"},
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))


@asynccontextmanager
async def serving(name: str, *options: str) -> AsyncIterator[tuple[str, Process]]:
    """The URL of a server that is a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.support.teachers.{name}", "--rule", RULE, *options, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip(), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def found_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of a run."""
    return {path.name: rows_of(path) for path in sorted((folder / "runs/demo/tables").glob("*.jsonl"))}


@pytest.mark.slow
async def test_the_same_rows_come_from_all_of_them_and_a_second_run_asks_for_nothing(tmp_path: Path) -> None:
    found = {}
    for way, (server, fields) in WAYS.items():
        folder = tmp_path / way
        async with serving(server) as (url, _):
            write(folder, url, **fields)
            said = await asyncio.to_thread(command, folder, "run", "recipe.yaml", **ENV)
            assert said.returncode == 0, said.stderr
        found[way] = found_in(folder)
        # Nobody listens any more: what is found is in the ledger.
        said = await asyncio.to_thread(command, folder, "run", "recipe.yaml", "--run-dir", "runs/again", **ENV)
        assert said.returncode == 0, said.stderr
        report = json.loads((folder / "runs/again/report.json").read_text())
        assert (report["models"][0]["replayed"], report["models"][0]["calls"]) == (4 * ROWS, 0)
    (name, rows), *_ = reversed(found["chat"].items())
    assert name.endswith("format.jsonl")
    assert len(rows) == 2 * ROWS
    assert "We add the parts. The answer is" in rows[0]["completion"][0]["content"]
    assert all(each == found["chat"] for each in found.values())


@pytest.mark.parametrize("way", ["responses", "azure"])
async def test_a_run_that_is_killed_while_its_batch_goes_on_hands_in_nothing_twice(tmp_path: Path, way: str) -> None:
    kind = {"responses": FakeResponses, "azure": FakeAzure}[way]
    async with kind(batches=["never"], rule=RULE) as fake:
        write(tmp_path, fake.url, batch=True, **WAYS[way][1])
        code = "from blackbox_kd.cli.main import main; main()"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "run", "recipe.yaml", cwd=tmp_path, env=dict(os.environ) | ENV, stderr=PIPE
        )
        await fake.files.until("look", 2)
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        fake.files.release.set()
        said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", **ENV)
        assert said.returncode == 0, said.stderr
        assert "handed in by an earlier process, is taken up" in said.stderr
        assert fake.files.sizes() == [2 * ROWS, 2 * ROWS]
        assert set(fake.files.answered.values()) == {1}
        report = json.loads((tmp_path / "runs/demo/report.json").read_text())
        assert (report["spent"]["requests"], report["spent"]["doubtful"]) == (4 * ROWS, 0)


@pytest.mark.parametrize("way", ["responses", "azure before v1"])
async def test_a_budget_is_not_passed(tmp_path: Path, way: str) -> None:
    server, fields = WAYS[way]
    async with serving(server) as (url, _):
        write(tmp_path, url, **fields)
        values = json.loads((tmp_path / "recipe.yaml").read_text()) | {"budget": {"usd": 0.002}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", **ENV)
    assert said.returncode == 3, said.stderr
    report = json.loads((tmp_path / "runs/demo/report.json").read_text())
    assert report["spent"]["usd"] <= 0.002
