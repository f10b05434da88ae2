"""The Python API: what it takes and returns, and how it behaves in a real notebook, whose kernel has a running loop."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nbclient.exceptions import CellExecutionError

import blackbox_kd
from blackbox_kd.errors import BudgetReached, RecipeError, UserError
from tests.cli.test_main import serving
from tests.promises.test_kill import stats
from tests.support.notebook import Notebook
from tests.support.runs import QUESTIONS, command, trained, write_rows
from tests.support.tiny import tiny_model

ROWS = {"train": {"path": "train.jsonl"}}
STEPS = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
    {"step": "check", "answer": "number"},
    {"step": "filter", "keep": "correct", "output": "right"},
]
RECIPE: dict[str, Any] = {"name": "demo", "data": ROWS, "models": {"teacher": {"provider": "scripted"}}, "steps": STEPS}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def count_replies(folder: Path) -> int:
    with sqlite3.connect(folder / "runs" / "ledger.sqlite") as db:
        return int(db.execute("select count(*) from replies").fetchone()[0])


def test_a_recipe_may_be_a_mapping_and_its_tables_are_arrow() -> None:
    result = blackbox_kd.run(RECIPE, quiet=True)
    assert (result.path, result.report["status"]) == (Path("runs/demo"), "complete")
    assert result.tables["right"].column("answer").to_pylist() == ["1", "2", "3", "4", "5", "6"]
    assert result.tables["right"].schema.field("correct").type == "bool"
    assert list(result.tables) == ["train", "right", "dropped", "failed"]
    assert result.tables["dropped"].num_rows == 0
    assert result.dataset is not None
    assert result.dataset["right"].num_rows == 6
    assert result.models == {}


def test_what_python_runs_and_what_the_command_line_runs_is_one_run(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    done = command(folder, "run", "recipe.yaml", "--json")
    assert json.loads(done.stdout)["models"][0]["calls"] == 6
    again = blackbox_kd.run("recipe.yaml", quiet=True)
    assert (again.report["models"][0]["calls"], again.report["models"][0]["replayed"]) == (0, 6)
    assert blackbox_kd.load("demo").report == json.loads((folder / "runs/demo/report.json").read_text())
    assert blackbox_kd.load(folder / "runs/demo").tables["right"].num_rows == 6


def test_values_are_set_as_what_they_are_and_not_as_text() -> None:
    changes = {"name": "no", "steps.generate.samples": 2, "steps.2.keep": None, "steps[2].share": 0.5}
    with pytest.raises(RecipeError, match=r"share"):
        blackbox_kd.check(RECIPE, set=changes)
    reply = 'It is "{{ reference }}":\t7 \U0001f600 # {a: 1}'
    changes = {"models.teacher.replies": [reply], "steps.generate.samples": 2}
    result = blackbox_kd.run(RECIPE, set=changes, until="check", quiet=True)
    assert list(result.tables) == ["train", "02_check", "dropped", "failed"]
    assert result.tables["02_check"].column("response")[0].as_py() == 'It is "1":\t7 \U0001f600 # {a: 1}'
    assert result.tables["02_check"].num_rows == 12
    assert RECIPE["steps"][0] == STEPS[0], "the mapping of the caller stays as it was"
    assert "samples" not in STEPS[0]


def test_a_trial_works_beside_the_run_and_models_are_found() -> None:
    assert blackbox_kd.run(RECIPE, limit=2, quiet=True).path == Path("runs/demo/trial")
    result = blackbox_kd.load(trained().path)
    assert list(result.models) == ["student@1"]
    assert (result.models["student@1"] / "adapter_config.json").is_file()
    assert "student on test" in repr(result)
    assert str(result._repr_markdown_()).startswith("# ")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: blackbox_kd.run("nowhere.yaml"), UserError, "recipe 'nowhere.yaml' does not exist"),
        (lambda: blackbox_kd.run({}), RecipeError, "name"),
        (lambda: blackbox_kd.check({**RECIPE, "models": {}}), RecipeError, "recipe:1: steps[0] (generate)"),
        (lambda: blackbox_kd.check({**RECIPE, "seed": object()}), UserError, "a recipe cannot hold a object"),
        (lambda: blackbox_kd.check({**RECIPE, "seed": b"1"}), UserError, "tag"),
        (lambda: blackbox_kd.run(RECIPE, set={"steps.9.model": "x"}), UserError, "steps has no entry '9'"),
        (lambda: blackbox_kd.run(RECIPE, until="train", quiet=True), UserError, "the recipe has no such step"),
        (lambda: blackbox_kd.run("demo.yaml", folder="x"), UserError, "folder= goes with a recipe that is a mapping"),
        (lambda: blackbox_kd.run(RECIPE, limit=0), UserError, "limit=0: no row would be left"),
        (lambda: blackbox_kd.load("nowhere"), UserError, "nowhere: not a run folder"),
        (lambda: blackbox_kd.run(RECIPE, set={"budget.requests": 2}, quiet=True), BudgetReached, "budget.requests"),
    ],
)
def test_what_goes_wrong_is_an_error_of_ours(call: Callable[[], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as found:
        call()
    assert said in str(found.value)


def test_a_mapping_that_holds_itself_and_one_with_a_path_in_it(folder: Path) -> None:
    endless: dict[str, Any] = dict(RECIPE)
    endless["description"] = endless
    with pytest.raises(UserError, match="holds itself"):
        blackbox_kd.check(endless)
    assert blackbox_kd.check({**RECIPE, "data": {"train": {"path": folder / "train.jsonl"}}}) == []


def test_paths_of_a_mapping_begin_where_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(RecipeError, match=r"no file 'train\.jsonl'"):
        blackbox_kd.check(RECIPE)
    assert blackbox_kd.run(RECIPE, folder=folder, quiet=True).tables["right"].num_rows == 6


def test_an_estimate_needs_no_key_and_sends_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    values = {**RECIPE, "models": {"teacher": {"provider": "openai", "model": "gpt-4.1-mini"}}}
    assert blackbox_kd.estimate(values)["total"]["calls"]["likely"] == 6
    assert not (folder / "runs").exists()
    with pytest.raises(RecipeError, match="OPENAI_API_KEY"):
        blackbox_kd.check(values)


def test_nobody_is_asked_where_keys_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = {
        "provider": "openai",
        "model": "m",
        "base_url": "https://stranger.example.com/v1",
        "key_env": "OPENAI_API_KEY",
    }
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    with pytest.raises(RecipeError, match=r"stranger\.example\.com"):
        blackbox_kd.run({**RECIPE, "models": {"teacher": teacher}}, quiet=True)


async def test_it_runs_where_a_loop_runs_already_and_in_a_thread_of_somebody_elses() -> None:
    assert asyncio.get_running_loop().is_running()
    assert blackbox_kd.run(RECIPE, quiet=True).report["status"] == "complete"
    found = await asyncio.to_thread(blackbox_kd.run, RECIPE, quiet=True)
    assert found.report["models"][0]["replayed"] == 6


NOTEBOOK = """
import asyncio, json, blackbox_kd
assert asyncio.get_event_loop().is_running()
RECIPE = json.loads({recipe!r})
"""


@pytest.fixture
def notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(blackbox_kd.__file__).parents[1])]))
    with Notebook(folder) as opened:
        yield opened


def test_a_cell_of_a_notebook_runs_a_recipe_and_shows_how_it_goes_on(notebook: Notebook) -> None:
    notebook.run(NOTEBOOK.format(recipe=json.dumps(RECIPE)))
    said = notebook.run("result = blackbox_kd.run(RECIPE)")
    assert "steps[2] (filter): 6 in, 6 out" in said
    assert notebook.run("result.tables['right'].num_rows") == "6"
    assert notebook.run("result").startswith("Result(runs/demo): complete")
    assert notebook.run("blackbox_kd.estimate(RECIPE)['total']['calls']['likely']") == "0"
    with pytest.raises(CellExecutionError, match="RecipeError"):
        notebook.run("blackbox_kd.check({**RECIPE, 'models': {}})")


def test_a_cell_that_is_interrupted_leaves_no_lock_and_asks_nothing_twice(notebook: Notebook, folder: Path) -> None:
    with serving("0.4") as url:
        teacher = {"provider": "openai", "model": "m", "base_url": url, "price": {"input": 1, "output": 1}}
        models = {"teacher": {**teacher, "max_concurrency": 2}}
        notebook.run(NOTEBOOK.format(recipe=json.dumps({**RECIPE, "models": models, "steps": STEPS[:2]})))
        notebook.run("import os; os.environ['OPENAI_API_KEY'] = 'sk-0'")
        notebook.interrupt_when(lambda: stats(url)["requests"] >= 2)
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            notebook.run("blackbox_kd.run(RECIPE)")
        begun = count_replies(folder)
        assert 2 <= begun < 6
        assert notebook.run("blackbox_kd.run(RECIPE, quiet=True).report['models'][0]['replayed']") == str(begun)
        assert stats(url)["requests"] == 6


def test_a_cell_whose_step_computes_for_minutes_is_broken_off(notebook: Notebook, folder: Path) -> None:
    code = """
from pathlib import Path
from blackbox_kd.sdk import StepConfig, table_step
class Config(StepConfig):
    pass
@table_step()
async def run(table, config: Config, ctx):
    if not Path("computes").exists():
        Path("computes").touch()
        while True:
            pass
    for row in table:
        yield row
"""
    (folder / "hangs.py").write_text(code)
    values = {**RECIPE, "plugins": ["hangs.py"], "steps": [*STEPS, {"step": "hangs"}]}
    notebook.run(NOTEBOOK.format(recipe=json.dumps(values)))
    notebook.interrupt_when((folder / "computes").exists)
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        notebook.run("blackbox_kd.run(RECIPE, allow_code=True)")
    assert notebook.run("blackbox_kd.run(RECIPE, allow_code=True, quiet=True).report['status']") == "'complete'"


@pytest.mark.slow
def test_a_training_in_a_cell_is_ended_with_it_and_a_shorter_run_finds_what_the_longer_one_has(
    notebook: Notebook, folder: Path
) -> None:
    student = {"provider": "transformers", "model": str(tiny_model())}
    train = {"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 4}
    steps = [*STEPS, {"step": "format"}, train, {"step": "filter", "keep": "len(completion) > 0"}]
    values = {**RECIPE, "models": {**RECIPE["models"], "student": student}, "steps": steps}
    notebook.run(NOTEBOOK.format(recipe=json.dumps(values)))
    notebook.interrupt_when((folder / "runs/demo/work/train_student@1.json").exists)
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        notebook.run("blackbox_kd.run(RECIPE)")
    assert "student@1" in notebook.run("blackbox_kd.run(RECIPE, quiet=True).models")
    shorter = blackbox_kd.run(values, until="train", quiet=True)
    assert shorter.path == Path("runs/demo/until_train")
    assert shorter.models == {"student@1": Path("runs/demo/models/student@1")}
    assert shorter.tables["05_train"].num_rows == 6
    assert shorter.report["models"][0]["calls"] == 0
