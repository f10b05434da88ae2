"""Replies out of an export of a ledger: found by what was asked, free of charge, and never one for another."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import RecipeError, TooManyFailed
from blackbox_kd.ledger import admin
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import rows_of, write_rows
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.azure import KEY
from tests.support.teachers.base import FakeTeacher
from tests.support.teachers.chat import FakeChat
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.responses import FakeResponses

STEPS: list[dict[str, Any]] = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2},
    {"step": "generate", "model": "other", "prompt": "rationale/cot", "as": "why"},
]
AWAY = {"provider": "openai", "model": "gpt-4.1", "key_env": "SOME_KEY", "price": {"input": 1, "output": 10}}
VENDORS: dict[str, tuple[type[FakeTeacher], dict[str, Any]]] = {
    "chat": (FakeChat, AWAY),
    "responses": (FakeResponses, {**AWAY, "api": "responses"}),
    "anthropic": (FakeAnthropic, {**AWAY, "provider": "anthropic", "model": "claude-haiku-5-5"}),
    "gemini": (FakeGemini, {**AWAY, "provider": "gemini", "model": "gemini-3.8-flash"}),
}
PAID = ("usage", "cost_usd")


def write(folder: Path, teacher: dict[str, Any], other: dict[str, Any] | None = None, count: int = 3) -> Path:
    write_rows(
        folder / "train.jsonl", [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(count)]
    )
    models = {"teacher": teacher, "other": other or teacher}
    values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": models, "steps": STEPS}
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return folder / "recipe.yaml"


def run(path: Path, folder: Path) -> Run:
    env = {"SOME_KEY": KEY}
    folder.mkdir(exist_ok=True)
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(load_recipe(path, env=env), RunOptions(**places, env=env))
    asyncio.run(job.execute())
    return job


def record(folder: Path, kind: type[FakeTeacher], entry: dict[str, Any], name: str = "told.jsonl") -> list[Any]:
    """Runs with a server, exports its ledger, and returns the rows."""

    async def serve() -> Run:
        async with kind(rule="It is {n}.") as server:
            path = write(folder, {**entry, "base_url": server.url})
            return await asyncio.to_thread(run, path, folder / "real")

    job = asyncio.run(serve())
    with (folder / name).open("w") as out:
        admin.export(folder / "real/ledger.sqlite", out)
    return rows_of(job.path / "tables/02_generate.jsonl")


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_was_recorded_makes_the_same_rows_for_nothing(tmp_path: Path, vendor: str) -> None:
    rows = record(tmp_path, *VENDORS[vendor])
    job = run(write(tmp_path, {"provider": "recorded", "replies": "told.jsonl"}), tmp_path / "again")
    again = rows_of(job.path / "tables/02_generate.jsonl")
    assert [{k: v for k, v in row.items() if k not in PAID} for row in again] == [
        {k: v for k, v in row.items() if k not in PAID} for row in rows
    ]
    assert {row["cost_usd"] for row in again} == {0.0}
    assert job.report["spent"]["usd"] == 0
    assert [entry["served"] for entry in job.report["models"]] == [[VENDORS[vendor][1]["model"]]] * 2
    assert job.report["scripted"] == []


def test_samples_keep_their_replies_and_models_of_one_file_are_told_apart(tmp_path: Path) -> None:
    rows = record(tmp_path, FakeChat, AWAY)
    lines = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    with gzip.open(tmp_path / "told.jsonl.gz", "wt") as out:
        for number, line in enumerate(reversed(lines)):
            body = json.loads(line["body"])
            body["choices"][0]["message"]["content"] = f"{line['model']} {number}"
            out.write(json.dumps({**line, "body": json.dumps(body)}) + "\n")
    recorded = {"provider": "recorded", "replies": "told.jsonl.gz"}
    path = write(tmp_path, {**recorded, "model": "teacher"}, {**recorded, "model": "other"})
    again = rows_of(run(path, tmp_path / "again").path / "tables/02_generate.jsonl")
    assert len(again) == len(rows) == 6
    assert len({row["response"] for row in again}) == 6, "each sample has a reply of its own"
    assert {row["response"].split()[0] for row in again} == {"teacher"}
    assert {row["why"].split()[0] for row in again} == {"other"}
    assert (tmp_path / "again/run/told.jsonl.gz").exists(), "the recipe of the run can be run from there"


def test_a_question_that_nobody_has_asked_fails_its_row_alone_and_says_so(tmp_path: Path) -> None:
    record(tmp_path, FakeChat, AWAY)
    path = write(tmp_path, {"provider": "recorded", "replies": "told.jsonl"}, count=4)
    with pytest.raises(TooManyFailed, match="2 not recorded"):
        run(path, tmp_path / "again")
    failed = rows_of(tmp_path / "again/run/failed.jsonl")
    assert [row["error"].splitlines()[0] for row in failed] == [
        f"sample {n}, attempt 0 is not recorded in 'told.jsonl'" for n in (0, 1)
    ]
    text = path.read_text().replace('"samples": 2', '"samples": 3')
    path.write_text(text)
    with pytest.raises(TooManyFailed):
        run(path, tmp_path / "more")
    errors = [row["error"] for row in rows_of(tmp_path / "more/run/failed.jsonl")]
    assert any(
        "sample 2, attempt 0 is not recorded in 'told.jsonl'; of the question 2 other replies are" in e for e in errors
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "'told.jsonl' does not exist"),
        ("", "'told.jsonl' has no replies"),
        ('{"a": 1}\n', "'told.jsonl' holds no reply of a ledger in line 1"),
        ("no json\n", "'told.jsonl' holds no reply of a ledger in line 1"),
    ],
)
def test_check_reads_the_file(tmp_path: Path, content: str | None, what: str) -> None:
    if content is not None:
        (tmp_path / "told.jsonl").write_text(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, {"provider": "recorded", "replies": "told.jsonl"}))
    assert what in str(caught.value)


def test_a_model_of_which_the_file_has_nothing_is_named(tmp_path: Path) -> None:
    record(tmp_path, FakeChat, AWAY)
    with pytest.raises(RecipeError, match=r"'told.jsonl' has no replies of a model 'judge'"):
        load_recipe(write(tmp_path, {"provider": "recorded", "replies": "told.jsonl", "model": "judge"}))
