"""`--scripted`: any recipe runs to its end without a key, and nothing of it is taken for evidence or for a reply."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.sandbox.examples import say, write_match, write_value
from blackbox_kd.sandbox.functions import matches
from blackbox_kd.sandbox.json_schema import JsonSchema
from blackbox_kd.schema import ModelRef
from tests.promises.test_recipes import ENV, RECIPES, name_of, replacements
from tests.support.runs import rows_of, write_rows
from tests.support.teachers.azure import KEY
from tests.support.teachers.chat import FakeChat

INVOICE = {
    "type": "object",
    "properties": {"total": {"type": "number", "minimum": 1}, "paid": {"type": ["boolean", "null"]}},
    "required": ["total", "paid"],
    "additionalProperties": False,
}
TOOL = {"name": "pay", "description": "Pays.", "parameters": INVOICE}
STEPS: list[dict[str, Any]] = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "schema": INVOICE, "parsed": "invoice"},
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "labels": ["a", "so so"], "as": "kind"},
    {"step": "generate", "model": "other", "prompt": "student/plain", "regex": r"[A-Z]{3}-\d+", "as": "code"},
    {"step": "generate", "model": "other", "prompt": "student/plain", "after": "Rationale:", "as": "why"},
    {"step": "generate", "model": "other", "prompt": "student/plain", "tools": "offered", "as": "called"},
    {"step": "generate", "models": ["teacher", "other"], "prompt": "student/plain", "as": "said"},
    {"step": "check", "answer": "number", "of": "said"},
    {
        "step": "judge",
        "mode": "scale",
        "models": ["other"],
        "of": "said",
        "criteria": {"style": "short", "sense": "it"},
    },
    {"step": "judge", "mode": "panel", "models": ["teacher", "other"], "of": "said", "score": "reviewed"},
    {"step": "judge", "mode": "pairwise", "models": ["other"], "a": "said", "b": "why"},
    {"step": "score", "model": "local", "of": "said", "output": "scored"},
    {"step": "format", "completion": "said"},
    {"step": "evaluate", "input": "test", "models": ["teacher", "other"], "answer": "number", "judge": "other"},
]


def write_recipe(folder: Path, url: str = "http://127.0.0.1:9/v1", steps: Any = STEPS) -> Path:
    shared = {"offered": [{"type": "function", "function": TOOL}]} if "offered" in str(steps) else {}
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1), **shared} for n in range(4)]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "test.jsonl", [{**row, "instruction": f"Exam: {row['instruction']}"} for row in rows])
    away = {"provider": "openai", "model": "gpt-4.1", "base_url": url, "key_env": "SOME_KEY"}
    models = {"teacher": away, "other": {**away, "model": "gpt-5-mini"}, "local": {"provider": "vllm", "model": "m"}}
    used = {name: model | {"price": {"input": 1, "output": 1}} for name, model in models.items() if name in str(steps)}
    data = {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}}
    data = {name: table for name, table in data.items() if name == "train" or name in str(steps)}
    values = {"name": "demo", "data": data, "models": used, "budget": {"usd": 1}, "steps": steps}
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return folder / "recipe.yaml"


def run(path: Path, folder: Path, env: dict[str, str] | None = None, **how: Any) -> Run:
    recipe = load_recipe(path, env=env or {}, scripted=how.pop("scripted", True))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(recipe, RunOptions(**places, env=env or {}, **how))
    asyncio.run(job.execute())
    return job


def test_every_form_that_a_step_reads_is_made_up(tmp_path: Path) -> None:
    job = run(write_recipe(tmp_path), tmp_path)
    assert [entry["failed"] for entry in job.report["funnel"]] == [{}] * len(STEPS)
    [*_, formatted] = [file for file in sorted((job.path / "tables").glob("*.jsonl")) if "format" in file.name]
    rows = rows_of(formatted)
    assert len(rows) == 8
    for row in rows:
        assert JsonSchema(INVOICE).find_fault(row["invoice"]) == ""
        assert row["kind"] in ("a", "so so")
        assert matches(row["code"], r"\A[A-Z]{3}-\d+\z")
        assert row["why"].strip()
        [call] = row["tool_calls"]
        assert call["function"]["name"] == "pay"
        assert JsonSchema(INVOICE).find_fault(json.loads(call["function"]["arguments"])) == ""
        assert row["correct"] is True
        assert 1 <= row["score"] <= 10
        assert 1 <= row["reviewed"] <= 5
    assert len({row["invoice"]["total"] for row in rows}) > 1, "rows differ"
    assert len({row["gap"] for row in rows}) > 1


def test_a_run_with_made_up_replies_says_so_wherever_it_speaks_of_what_came_out(tmp_path: Path) -> None:
    job = run(write_recipe(tmp_path), tmp_path)
    warning = "**Scripted: the replies of `teacher`, `other`, `local` are made up, and nothing here is evidence.**"
    assert job.path == tmp_path / "run/scripted"
    assert warning in (job.path / "report.md").read_text().splitlines()
    card = (job.path / "dataset/README.md").read_text()
    assert warning in card
    assert "- scripted" in card
    assert json.loads((job.path / "report.json").read_text())["scripted"] == ["teacher", "other", "local"]


def test_nothing_made_up_is_taken_for_a_reply_and_no_real_run_is_touched(tmp_path: Path) -> None:
    async def serve() -> None:
        async with FakeChat() as server:
            path = write_recipe(tmp_path, server.url, [STEPS[5], {"step": "check", "answer": "number", "of": "said"}])
            await asyncio.to_thread(run, path, tmp_path)
            assert not server.seen
            assert not (tmp_path / "ledger.sqlite").exists()
            real = await asyncio.to_thread(run, path, tmp_path, {"SOME_KEY": KEY}, scripted=False)
            assert len(server.seen) == 8
            assert (real.report["models"][0]["replayed"], real.report["scripted"]) == (0, [])
            before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
            before |= {tmp_path / "ledger.sqlite": (tmp_path / "ledger.sqlite").read_bytes()}
            again = await asyncio.to_thread(run, path, tmp_path)
            assert again.report["models"][0]["replayed"] == 4, "what was made up is the same when it is run again"
            changed = [file for file in before if file.read_bytes() != before[file] and "scripted" not in file.parts]
            assert changed == []
            assert len(server.seen) == 8

    asyncio.run(serve())


def test_no_key_is_needed_and_nothing_is_sent(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "https://example.com/v1", STEPS[:2])
    path.write_text(path.read_text().replace('"key_env"', '"batch": true, "thinking": "low", "key_env"'))
    said = command(tmp_path, "run", path.name, "--scripted")
    assert "--scripted: replies are made up in place of teacher; nothing is sent" in said
    assert (tmp_path / "runs/demo/scripted/ledger.sqlite").exists()
    assert not (tmp_path / "runs/ledger.sqlite").exists()
    tried = command(tmp_path, "try", path.name, "1", "--scripted")
    assert "row " in tried
    assert not (tmp_path / "runs/ledger.sqlite").exists()
    refused = command(tmp_path, "run", path.name, "--scripted", "--ledger", "l.sqlite", status=2)
    assert "--ledger means nothing with --scripted" in refused


def command(folder: Path, *words: str, status: int = 0) -> str:
    """What a command says, in a process without a key, for which every host is a port where nobody listens."""
    env = {name: value for name, value in os.environ.items() if "KEY" not in name}
    nobody = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    line = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", *words]
    done = subprocess.run(line, cwd=folder, env={**env, **nobody}, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def keep_here(recipe: Recipe, folder: Path) -> list[str]:
    """What `replacements` changes, but for models that are asked over the network."""
    away = [name for name, model in recipe.models.items() if not model.local]
    return [each for each in replacements(recipe, folder) if not each.startswith(tuple(f"models.{n}=" for n in away))]


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_bundled_recipe_runs_to_its_end(path: Path, tmp_path: Path) -> None:
    changes = keep_here(load_recipe(path, env=ENV), tmp_path)
    recipe = load_recipe(path, overrides=changes, scripted=True, env={})
    options = RunOptions(cache=tmp_path / "cache", run_dir=tmp_path / "run", limit=3, env={})
    job = Run(recipe, options)
    asyncio.run(job.execute())
    assert job.report["status"] == "complete"
    assert all(not entry["failed"] for entry in job.report["funnel"])
    assert rows_of(job.path / "dataset/train.jsonl")
    asked = {ModelRef.parse(entry["name"]).name for entry in job.report["models"] if entry["calls"]}
    assert asked.issuperset(job.report["scripted"])


PARTS: list[dict[str, Any]] = [
    {"type": "string", "enum": ["a", "b"]},
    {"const": 3},
    {"type": "integer", "minimum": 3, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 9},
    {"type": "number", "multipleOf": 0.5},
    {"type": "array", "items": {"type": "string", "minLength": 20, "maxLength": 24}, "minItems": 2, "maxItems": 3},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "email"},
    {"type": "string", "pattern": "^[A-Z]{2}[^0-9]\\d+(a|bc)?$"},
    {"type": ["string", "null"]},
    {"anyOf": [{"type": "null"}, {"type": "string"}]},
    {"oneOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}]},
    {"$ref": "#/$defs/tree"},
]
TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "required": ["name", "below"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("part", PARTS, ids=json.dumps)
def test_a_value_that_is_made_up_fits_its_schema(part: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"it": part}, "required": ["it"], "$defs": {"tree": TREE}}
    check = JsonSchema(schema)
    made = [write_value(schema, Random(seed)) for seed in range(30)]
    assert [check.find_fault(value) for value in made] == [""] * 30


@pytest.mark.parametrize(
    "pattern", ["abc", "[a-f]{2,4}", r"\d{3}-\w+", "(yes|no)+", "a.c", "[^a]b?", r"\s*x{0,3}", "^A$"]
)
def test_a_text_that_is_made_up_matches_its_pattern(pattern: str) -> None:
    made = [write_match(pattern, Random(seed)) for seed in range(30)]
    assert [text for text in made if not matches(text, rf"\A(?:{pattern})\z")] == []


def test_texts_that_are_made_up_stand_in_the_question_so_that_quotes_can_be_looked_for() -> None:
    asked = "Read this.\nThe Heron carries 110 kilograms in its box and never more than two children.\nHow much?"
    schema = {"type": "object", "properties": {"quotes": {"type": "array", "items": {"type": "string"}}}}
    for seed in range(30):
        said = say(asked, None, Random(seed))
        assert said.partition("\n")[0] in asked
        for quote in write_value(schema, Random(seed), said=said)["quotes"]:
            assert len(quote.split()) == 4
            assert quote in asked
    assert write_value({"type": "string"}, Random(0), said="") != "", "nothing is asked"


def test_of_three_that_are_made_up_two_have_the_same_answer_where_none_is_known() -> None:
    lasts = [[say("How many?", None, Random(3 * n + k)).splitlines()[-1] for k in range(3)] for n in range(30)]
    assert {line for each in lasts for line in each} == {"The answer is 1.", "The answer is 2."}
    assert all(len(set(each)) <= 2 for each in lasts)


def test_what_is_said_ends_in_the_answer_or_is_the_answer_where_that_is_an_object() -> None:
    assert say("How many apples?", 3, Random(0)).endswith("The answer is 3.")
    assert say("Read this.", {"a": 1}, Random(0)) == '{"a": 1}'
    assert say("Count.", "SELECT count(*) FROM item", Random(0)) == "SELECT count(*) FROM item"
    texts = Counter(say(f"Question {n} of apples and pears?", None, Random(n)) for n in range(50))
    assert texts.most_common(1)[0][1] == 1
