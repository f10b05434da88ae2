"""report.json as types: the schema that is printed holds for what runs write, also for what version 0.1 has left."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from blackbox_kd.errors import StepError
from blackbox_kd.runs.report.schema import RECORDED, Report, find_fault
from tests.support.runs import command, execute, trained

LEFT = Path(__file__).parents[2] / "promises" / "left_by_0_1" / "run" / "report.json"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_report_of_a_run_with_a_training_is_what_the_printed_schema_says(tmp_path: Path) -> None:
    done = command(tmp_path, "schema", "--report")
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    report = read(trained().path / "report.json")
    assert list(validator.iter_errors(report)) == []
    assert (report["ended"], len(report["trainings"]), len(report["comparisons"])) == ("complete", 1, 3)
    del report["spent"]["usd"]
    report["funnel"][0]["in"] = "many"
    assert {error.json_path for error in validator.iter_errors(report)} == {"$.spent", "$.funnel[0].in"}


def test_a_report_that_0_1_has_left_loads() -> None:
    left = read(LEFT)
    report = Report.model_validate(left | {"ended": "complete"})
    assert report.write() == left | {"ended": "complete"}
    assert len(report.trainings) > 2
    assert report.trainings[0].settings.adapter == "lora"
    assert report.loops[0].rounds > 0


@pytest.mark.parametrize("key", RECORDED)
def test_entries_that_a_step_records_are_those_of_their_list(key: str) -> None:
    fault = find_fault(key, [{"step": "steps[0] (mine)", "colour": "blue"}])
    assert fault is not None
    assert fault.endswith("Field required")
    assert find_fault("colours", [{"step": "steps[0] (mine)", "colour": "blue"}]) is None


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("ctx.record('evaluations', [{'model': 'm', 'right': 3}])", "'evaluations' .*: n: Field required"),
        ("ctx.record('mixtures', [{'by': 3}])", "'mixtures' .*: by: Input should be a valid string"),
    ],
)
def test_a_step_that_records_what_cannot_stand_in_the_report_is_named(tmp_path: Path, body: str, fault: str) -> None:
    assert_named(tmp_path, body, fault)


def assert_named(folder: Path, body: str, fault: str) -> None:
    write_step(folder, body)
    with pytest.raises(StepError, match=rf"steps\[0\] \(mine\): what it records under {fault}\n  fix: "):
        run(folder)


def write_step(folder: Path, body: str) -> None:
    (folder / "mine.py").write_text(
        '"""A step of a test."""\n'
        "from blackbox_kd.sdk import StepConfig, table_step\n"
        "class Config(StepConfig):\n"
        "    pass\n"
        "@table_step()\n"
        "async def run(table, config: Config, ctx):\n"
        f"    {body}\n"
        "    for row in table:\n"
        "        yield row\n"
    )


def run(folder: Path) -> dict[str, Any]:
    values = {"name": "demo", "plugins": ["mine.py"], "data": {"train": {"path": "train.jsonl"}}}
    return execute(folder, values | {"steps": [{"step": "mine"}]}, allow_code=True).report


def test_lists_of_a_step_of_ones_own_stand_in_the_report(tmp_path: Path) -> None:
    write_step(tmp_path, "ctx.record('colours', [{'colour': 'blue', 'of': table.name}])")
    expected = [{"colour": "blue", "of": "train", "step": "steps[0] (mine)"}]
    assert run(tmp_path)["colours"] == expected
    assert run(tmp_path)["colours"] == read(tmp_path / "run" / "report.json")["colours"] == expected
