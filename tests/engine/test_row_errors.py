"""Whose fault an error is: steps of one's own that break in every way, one of them asking a server that counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import DataError, StepMistake, TooManyFailed
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, rows_of, write_rows

ROWS = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(40)]


def write_step(folder: Path, kind: str, body: str, *, helpers: str = "", fields: str = "pass") -> None:
    """Writes the step `mine`."""
    lines = [
        '"""A step of a test."""',
        "import json",
        "import textwrap",
        "from blackbox_kd.sdk import Context, Dropped, Row, StepConfig, row_step, table_step",
        helpers,
        "class Config(StepConfig):",
        f"    {fields}",
        f"@{kind}_step()",
        f"async def run({kind}, config: Config, ctx):",
        *(f"    {line}" for line in body.splitlines()),
    ]
    (folder / "mine.py").write_text("\n".join(lines) + "\n")


def run(folder: Path, kind: str, body: str, *, helpers: str = "", **changes: Any) -> Run:
    write_step(folder, kind, body, helpers=helpers)
    write_rows(folder / "train.jsonl", ROWS)
    values = {"name": "demo", "plugins": ["mine.py"], "data": {"train": {"path": "train.jsonl"}}}
    return execute(folder, values | {"steps": [{"step": "mine"}]} | changes, allow_code=True)


def failed(folder: Path) -> list[dict[str, Any]]:
    return rows_of(folder / "run" / "failed.jsonl")


MISTAKES = {
    "TypeError": "row['instruction'] + 1",
    "AttributeError": "row['instruction'].lowercase()",
    "KeyError": "{'a': 1}['b']",
    "AssertionError": "check(row)",
    "IndexError": "row['instruction'].split()[99]",
    "NameError": "lenght(row['instruction'])",
    "JSONDecodeError": "json.loads(row['instruction'])",
}
HELPER = "def check(row):\n    assert row['instruction'] == ''"
FORMS = {
    "row": ("row", "return row | {{'n': {}}}"),
    "fan-out": ("row", "yield row.child('a', {{}})\nyield row | {{'n': {}}}"),
    "rows of a table": (
        "table",
        "async def work(row):\n    return [row | {{'n': {}}}]\n"
        "async for outcome in ctx.each(table, work):\n    yield outcome",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_a_step_ends_the_run_at_the_third_row(tmp_path: Path, form: str, name: str) -> None:
    kind, body = FORMS[form]
    with pytest.raises(StepMistake) as caught:
        run(tmp_path, kind, body.format(MISTAKES[name]), helpers=HELPER)
    said = str(caught.value)
    lines = (tmp_path / "mine.py").read_text().splitlines()
    wrong = "assert row" if name == "AssertionError" else MISTAKES[name]
    number, line = next((number, line.strip()) for number, line in enumerate(lines, 1) if wrong in line)
    assert said.startswith(f"steps[0] (mine): {name}: ")
    assert f"mine.py:{number}: {line}\n" in said
    assert ("decoder.py:" in said) == (name == "JSONDecodeError")
    assert "raised for 3 rows, so no more is asked" in said
    assert f"fix: mend {tmp_path / 'mine.py'}, then run the same command" in said
    assert "retry" not in said
    assert [entry["kind"] for entry in failed(tmp_path)] == [name, name]
    assert all('mine.py", line' in entry["traceback"] for entry in failed(tmp_path))
    assert not any("blackbox_kd" in entry["traceback"] for entry in failed(tmp_path))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("ValueError", "if row['reference'] != '7':\n    raise ValueError('no seven')\nreturn row"),
        ("ValueError", "return row | {'n': int(row['instruction'])}"),
        ("ZeroDivisionError", "return row | {'n': 1 // (int(row['reference']) - int(row['reference']))}"),
        ("UnicodeEncodeError", "return row | {'n': (row['instruction'] + chr(233)).encode('ascii')}"),
        ("OverflowError", "return row | {'n': 10.0 ** (int(row['reference']) + 400)}"),
    ],
)
def test_what_a_step_itself_finds_wrong_with_a_value_fails_the_row_with_its_traceback(
    tmp_path: Path, name: str, body: str
) -> None:
    with pytest.raises(
        TooManyFailed, match=rf"steps\[0\] \(mine\): (39|40) of 40 rows failed: (39|40) {name}"
    ) as caught:
        run(tmp_path, "row", body)
    assert "retry-failed" not in str(caught.value)
    assert len(failed(tmp_path)) >= 39
    assert {entry["kind"] for entry in failed(tmp_path)} == {name}
    assert f'{tmp_path / "mine.py"}", line 1' in failed(tmp_path)[0]["traceback"]
    allowed = run(tmp_path, "row", body, max_failed_share=1)
    assert allowed.accounts[0].failed.total() >= 39, "every row was worked on, and the run did not end before"
    assert allowed.report["status"] in ("complete", f"no row is left of 40: 40 failed at steps[0] (mine) (40 {name})")


def test_a_column_that_a_row_lacks_is_bad_data_and_a_key_of_something_else_is_not(tmp_path: Path) -> None:
    job = run(tmp_path, "row", "return row | {'n': row['score']}", max_failed_share=1)
    assert job.report["funnel"][0]["failed"] == {"data": 40}
    assert failed(tmp_path)[0]["error"] == "column 'score' is missing"
    assert "traceback" not in failed(tmp_path)[0]
    with pytest.raises(StepMistake, match="KeyError: 'score'"):
        run(tmp_path, "row", "return row | {'n': dict(row)['score']}", max_failed_share=1)


def test_two_rows_may_be_odd_and_other_lines_count_alone(tmp_path: Path) -> None:
    body = (
        "n = int(row['reference'])\n"
        "if n in (3, 4):\n"
        "    row['instruction'] + 1\n"
        "if n in (5, 6):\n"
        "    row['instruction'].lowercase()\n"
        "return row"
    )
    job = run(tmp_path, "row", body, max_failed_share=0.5)
    assert job.report["funnel"][0]["failed"] == {"AttributeError": 2, "TypeError": 2}


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("for row in table:\n    yield row['instruction'] + 1", StepMistake, "TypeError: can only concatenate"),
        ("for row in table:\n    yield row | {'n': row['score']}", DataError, "column 'score' is missing"),
        ("yield [row for row in table][99]", StepMistake, "IndexError: list index out of range"),
    ],
)
def test_an_error_outside_of_any_row_of_a_table_step_names_the_step(
    tmp_path: Path, body: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        run(tmp_path, "table", body)
    assert str(caught.value).startswith(f"steps[0] (mine): {said}")


ASKS = "reply = await ctx.ask('teacher', Ask(ctx.render('student/plain', row), Sampling(temperature=0), row))"


@pytest.mark.parametrize("kind", ["row", "table"])
async def test_no_more_is_bought_once_a_mistake_is_seen(tmp_path: Path, kind: str) -> None:
    body = {
        "row": f"{ASKS}\nreturn row | {{'n': reply.text + 1}}",
        "table": f"async def work(row):\n    {ASKS}\n    return [row | {{'n': reply.text + 1}}]\n"
        "async for outcome in ctx.each(table, work):\n    yield outcome",
    }[kind]
    imports = "from blackbox_kd.sdk import ModelName, PromptName\nfrom blackbox_kd.schema import Ask, Sampling"
    write_step(
        tmp_path, kind, body, helpers=imports, fields="model: ModelName\n    prompt: PromptName = 'student/plain'"
    )
    write_rows(tmp_path / "train.jsonl", ROWS)
    async with FakeServer() as server:
        teacher = {"provider": "openai", "model": "m", "base_url": server.url, "max_concurrency": 2}
        values = {"name": "demo", "plugins": ["mine.py"], "data": {"train": {"path": "train.jsonl"}}}
        values |= {"models": {"teacher": teacher}, "steps": [{"step": "mine", "model": "teacher"}]}
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        env = {"OPENAI_API_KEY": "k"}
        recipe = load_recipe(tmp_path / "recipe.yaml", allow_code=True, env=env)
        places = {"cache": tmp_path / "cache", "run_dir": tmp_path / "run", "ledger": tmp_path / "ledger.sqlite"}
        job = Run(recipe, RunOptions(**places, env=env))
        with pytest.raises(StepMistake, match="TypeError"):
            await job.execute()
        assert 3 <= server.stats()["requests"] <= 8, "of 40 rows"
    assert job.report["status"].startswith("steps[0] (mine): TypeError")
    assert job.report["spent"]["requests"] == server.stats()["requests"]
