"""Whole runs on scripted models: what is written, what balances, and what a second run does not ask again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BudgetReached, DataError, StepError, TooManyFailed, UserError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer

QUESTIONS = [{"question": f"What is {number} + 1?", "gold": str(number + 1)} for number in range(10)]


def recipe_values(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe whose teacher is right on even samples only."""
    lines = [json.dumps(question) for question in QUESTIONS]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    values: dict[str, Any] = {
        "name": "demo",
        "seed": 3,
        "data": {"train": {"path": "train.jsonl", "rename": {"question": "instruction", "gold": "reference"}}},
        "models": {
            "teacher": {
                "provider": "scripted",
                "replies": ["{% if sample % 2 %}It is 99.{% else %}The answer is {{ reference }}.{% endif %}"],
            }
        },
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 4, "temperature": 1.0},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
            {"step": "select", "per": "instruction", "best": 1},
            {"step": "format"},
        ],
    }
    return values | changes


async def run(folder: Path, values: dict[str, Any], **options: Any) -> Run:
    allow_code = options.pop("allow_code", False)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    recipe = load_recipe(folder / "recipe.yaml", allow_code=allow_code)
    job = Run(
        recipe, RunOptions(cache=folder / "cache", run_dir=folder / "run", ledger=folder / "ledger.sqlite", **options)
    )
    await job.execute()
    return job


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def calls(job: Run) -> tuple[int, int]:
    """Calls made now, and calls answered by the ledger."""
    return sum(m["calls"] for m in job.report["models"]), sum(m["replayed"] for m in job.report["models"])


async def test_a_chain_writes_its_tables_its_data_set_and_a_funnel_that_balances(tmp_path: Path) -> None:
    job = await run(tmp_path, recipe_values(tmp_path))
    assert [(entry["in"], entry["added"], entry["out"]) for entry in job.report["funnel"]] == [
        (10, 30, 40),
        (40, 0, 40),
        (40, 0, 20),
        (20, 0, 10),
        (10, 0, 10),
    ]
    assert job.report["funnel"][2]["dropped"] == {"not (correct)": 20}
    assert job.report["status"] == "complete"
    rows = lines_of(tmp_path / "run/dataset/train.jsonl")
    assert len(rows) == 10
    assert rows[0]["prompt"] == [{"role": "user", "content": "What is 0 + 1?"}]
    assert rows[0]["completion"] == [{"role": "assistant", "content": "The answer is 1."}]
    dropped = lines_of(tmp_path / "run/dropped.jsonl")
    assert len(dropped) == 30
    assert {entry["reason"] for entry in dropped} == {"not (correct)", "not the best"}
    assert lines_of(tmp_path / "run/failed.jsonl") == []


async def test_running_again_asks_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    first = await run(tmp_path, recipe_values(tmp_path))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("**/*.jsonl")}
    again = await run(tmp_path, recipe_values(tmp_path))
    assert calls(first) == (40, 0)
    assert calls(again) == (0, 40)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("**/*.jsonl")} == before
    assert again.report["funnel"] == first.report["funnel"]


async def test_only_the_calls_that_changed_are_made_again(tmp_path: Path) -> None:
    values = recipe_values(tmp_path)
    await run(tmp_path, values)
    values["steps"][0]["samples"] = 5
    assert calls(await run(tmp_path, values)) == (10, 40)
    values["steps"][0]["max_tokens"] = 99
    assert calls(await run(tmp_path, values)) == (50, 0)


async def test_until_stops_after_a_step_and_limit_takes_the_first_rows(tmp_path: Path) -> None:
    job = await run(tmp_path, recipe_values(tmp_path), until="filter", limit=3)
    assert [entry["step"] for entry in job.report["funnel"]] == [
        "steps[0] (generate)",
        "steps[1] (check)",
        "steps[2] (filter)",
    ]
    assert job.report["funnel"][0]["in"] == 3
    with pytest.raises(UserError, match="--until 'sort': the recipe has no such step"):
        await run(tmp_path, recipe_values(tmp_path), until="sort")


async def test_rows_whose_reply_is_cut_off_fail_by_name_and_too_many_end_the_run_with_an_error(tmp_path: Path) -> None:
    values = recipe_values(tmp_path)
    values["models"]["teacher"]["replies"] = [{"text": "It is", "finish_reason": "length"}]
    values["steps"][0] |= {"samples": 1, "temperature": 0}
    with pytest.raises(TooManyFailed, match="10 of 10 rows failed: 10 truncated\n"):
        await run(tmp_path, values)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["funnel"][0]["failed"] == {"truncated": 10}
    failed = lines_of(tmp_path / "run/failed.jsonl")
    assert len(failed) == 10
    assert failed[0]["row"]["instruction"].startswith("What is")


async def test_a_budget_stops_the_run_before_the_call_that_would_break_it_and_nothing_is_lost(tmp_path: Path) -> None:
    values = recipe_values(tmp_path, budget={"requests": 7})
    with pytest.raises(BudgetReached):
        await run(tmp_path, values)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["spent"]["requests"] == 7
    assert report["status"] != "complete"
    values["budget"] = {"requests": 40}
    job = await run(tmp_path, values)
    assert calls(job) == (33, 7)
    assert job.report["status"] == "complete"


async def test_held_out_rows_that_stand_among_the_training_rows_are_refused_before_the_first_call(
    tmp_path: Path,
) -> None:
    values = recipe_values(tmp_path)
    (tmp_path / "test.jsonl").write_text(json.dumps({"instruction": "what is 3 + 1", "reference": "4"}) + "\n")
    values["data"]["test"] = {"path": "test.jsonl", "held_out": True}
    values["steps"].append({"step": "evaluate", "input": "test", "models": ["teacher"]})
    with pytest.raises(DataError, match="test"):
        await run(tmp_path, values)
    assert json.loads((tmp_path / "run/report.json").read_text())["spent"]["requests"] == 0


async def test_evaluate_stands_aside_of_the_flow_and_is_skipped_when_nothing_changed(tmp_path: Path) -> None:
    values = recipe_values(tmp_path)
    (tmp_path / "test.jsonl").write_text(json.dumps({"instruction": "And 50 + 1?", "reference": "51"}) + "\n")
    values["data"]["test"] = {"path": "test.jsonl", "held_out": True}
    values["steps"].insert(1, {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"})
    first = await run(tmp_path, values)
    assert [(e["model"], e["n"], e["accuracy"]) for e in first.report["evaluations"]] == [("teacher", 1, 1.0)]
    assert first.report["funnel"][-1]["out"] == 10
    again = await run(tmp_path, values)
    assert calls(again) == (0, 40)
    assert again.report["evaluations"] == first.report["evaluations"]


async def test_a_step_of_ones_own_runs_from_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(
        '"""Writes the response in capitals."""\n'
        "from blackbox_kd.sdk import StepConfig, row_step\n"
        "class Config(StepConfig):\n"
        "    mark: str = '!'\n"
        "@row_step(reads=['response'], writes=['response'])\n"
        "async def run(row, config: Config, ctx):\n"
        "    return row | {'response': row['response'].upper() + config.mark}\n"
    )
    values = recipe_values(tmp_path, plugins=["shout.py"])
    values["steps"].insert(4, {"step": "shout", "mark": "?"})
    await run(tmp_path, values, allow_code=True)
    rows = lines_of(tmp_path / "run/dataset/train.jsonl")
    assert rows[0]["completion"] == [{"role": "assistant", "content": "THE ANSWER IS 1.?"}]


async def test_a_column_that_some_rows_lack_fails_those_rows_alone(tmp_path: Path) -> None:
    values = recipe_values(tmp_path, max_failed_share=0.5)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps({"question": "What is 7 + 7?"}) + "\n")
    values["data"]["train"].pop("rename")
    values["steps"] = [
        {"step": "generate", "model": "teacher", "prompt": "p", "temperature": 0},
        {"step": "filter", "keep": "gold == '3'"},
    ]
    (tmp_path / "p.jinja").write_text("{{ question }}")
    values["models"]["teacher"]["replies"] = ["fine"]
    job = await run(tmp_path, values)
    entry = job.report["funnel"][1]
    assert (entry["in"], entry["out"], sum(entry["failed"].values())) == (11, 1, 1)


def plugin(folder: Path, name: str, kind: str, *body: str) -> None:
    """Writes a step of one's own; `kind` is row or table."""
    what = {"row": "row", "table": "table"}[kind]
    lines = ['"""A step of a test."""', f"from blackbox_kd.sdk import Context, Dropped, Row, StepConfig, {kind}_step"]
    lines += ["class Config(StepConfig):", "    pass", f"@{kind}_step()"]
    lines += [f"async def run({what}, config: Config, ctx):", *(f"    {line}" for line in body)]
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("table", ["rows = list(table)", "for row in [rows[0], *rows[:-1]]:", "    yield row"]),
        ("table", ["for row in table:", "    yield row", "    yield row | {'again': True}"]),
        ("table", ["for row in table:", "    yield row | {'id': 'same'}"]),
        ("row", ["yield row", "yield row"]),
        ("row", ["return row | {'id': 'same'}"]),
    ],
    ids=["in place of another", "beside itself", "under one id", "of a row step", "of a row step under one id"],
)
async def test_a_step_that_writes_two_rows_of_one_id_is_named_with_the_id(
    tmp_path: Path, kind: str, body: list[str]
) -> None:
    plugin(tmp_path, "twice", kind, *body)
    values = recipe_values(tmp_path, plugins=["twice.py"], models={}, steps=[{"step": "twice", "output": "pairs"}])
    with pytest.raises(StepError, match=r"steps\[0\] \(twice\): two rows of table 'pairs' have the id '(\w{16}|same)'"):
        await run(tmp_path, values, allow_code=True)
    assert [file.name for file in (tmp_path / "run/tables").iterdir()] == ["00_train.jsonl"]
    assert json.loads((tmp_path / "run/manifest.json").read_text())["stages"] == {}


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        ("row", ["return dict(row)"], "dict"),
        ("row", ["row['more'] = 1"], "NoneType"),
        ("table", ["for row in table:", "    yield 'pairs', list(row)"], "list"),
        ("row", ["return Row(text='new')"], "a row without an id"),
        ("table", ["for row in table:", "    yield Row(text='new')"], "a row without an id"),
        ("table", ["for row in table:", "    yield 'other', row"], "a row to the table 'other'"),
    ],
)
async def test_a_step_that_returns_what_is_no_row_is_named(
    tmp_path: Path, kind: str, body: list[str], what: str
) -> None:
    plugin(tmp_path, "odd", kind, *body)
    values = recipe_values(tmp_path, plugins=["odd.py"], models={}, steps=[{"step": "odd", "output": "pairs"}])
    with pytest.raises(StepError, match=rf"steps\[0\] \(odd\): gave {what}") as caught:
        await run(tmp_path, values, allow_code=True)
    assert "fix: " in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("What", "Whut", 1),
        lambda text: text[text.index("\n") + 1 :],
        lambda text: text + text.splitlines()[0].replace('"id":"', '"id":"x') + "\n",
    ],
    ids=["a word of the same length", "a row less", "a row more"],
)
async def test_a_table_of_a_finished_step_that_was_edited_is_neither_taken_nor_written_over(
    tmp_path: Path, edit: Callable[[str], str]
) -> None:
    first = await run(tmp_path, recipe_values(tmp_path))
    table = tmp_path / "run/tables/04_select.jsonl"
    whole = table.read_text()
    table.write_text(edit(whole))
    edited = table.read_text()
    assert edited != whole
    with pytest.raises(
        UserError, match=r"steps\[3\] \(select\): .*04_select.jsonl is not what the step wrote"
    ) as caught:
        await run(tmp_path, recipe_values(tmp_path))
    assert "fix: take the file away" in str(caught.value)
    assert table.read_text() == edited
    table.unlink()
    again = await run(tmp_path, recipe_values(tmp_path))
    assert table.read_text() == whole
    assert again.report["funnel"] == first.report["funnel"]


async def test_an_account_without_money_ends_the_run_and_the_fix_is_its_last_line(tmp_path: Path) -> None:
    async with FakeServer(always="402") as server:
        teacher = {"provider": "openai", "model": "m", "base_url": server.url}
        with pytest.raises(StepError) as caught:
            await run(tmp_path, recipe_values(tmp_path, models={"teacher": teacher}))
    first, last = str(caught.value).splitlines()
    assert first.startswith(
        f"steps[0] (generate): model 'teacher': {server.url}/chat/completions: 402 Payment Required"
    )
    assert first.endswith("; everything paid for is kept")
    assert last == "  fix: add credit to the account, or raise its budget at the gateway, then run the same command"
