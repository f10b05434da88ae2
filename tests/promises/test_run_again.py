"""What a run carries can be run: the recipe in its folder and in its data set find all they need, and call nobody."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.runs import carried
from tests.support.runs import command, rows_of, write_rows
from tests.support.tiny import tiny_model

NOBODY = "http://127.0.0.1:9/v1"
"""Where no server is."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server in a process of its own."""
    run = [sys.executable, "-m", "tests.support.fake_server"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def project(folder: Path, server: str, **changes: Any) -> Path:
    """A recipe in a folder of its own, with data, prompts and a plugin that lie around it; returns its path."""
    for name in ("recipes/prompts", "recipes/steps", "shared/prompts", "data"):
        (folder / name).mkdir(parents=True)
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1), "private": "x"} for n in range(4)]
    (folder / "data/a.csv").write_text(
        "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows[:2])
    )
    (folder / "data/b.csv").write_text(
        "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in rows[2:])
    )
    write_rows(folder / "data/test.jsonl", [{"instruction": "And 70 + 1?", "reference": "71"}])
    (folder / "recipes/prompts/ask.jinja").write_text("{% include 'parts/tone.jinja' %} {{ instruction }}")
    (folder / "recipes/prompts/parts").mkdir()
    (folder / "recipes/prompts/parts/tone.jinja").write_text("Be brief.")
    (folder / "shared/prompts/ask.jinja").write_text("{% include 'tone.jinja' %} Again: {{ instruction }}")
    (folder / "shared/prompts/tone.jinja").write_text("Be long.")
    (folder / "recipes/steps/shout.py").write_text(
        '"""Writes the response in capitals."""\n'
        "from blackbox_kd.sdk import Row, StepConfig, row_step\n"
        "@row_step(reads=['response'], writes=['response'])\n"
        "async def run(row, config: StepConfig, ctx):\n"
        "    return row | {'response': row['response'].upper()}\n"
    )
    ask = {"step": "generate", "model": "teacher", "temperature": 0.7}
    values = {
        "name": "demo",
        "data": {
            "train": {"path": "../data/[ab].csv", "rename": {"question": "instruction", "answer": "reference"}},
            "test": {"path": "../data/test.jsonl", "held_out": True},
        },
        "models": {
            "teacher": {"provider": "openai", "model": "m", "base_url": server, "price": {"input": 1, "output": 1}}
        },
        "plugins": ["steps/shout.py"],
        "max_failed_share": 1.0,
        "steps": [
            {**ask, "prompt": "ask", "output": "asked"},
            {"step": "shout"},
            {**ask, "input": "asked", "prompt": "../shared/prompts/ask", "as": "again"},
            {**ask, "prompt": "student/plain", "as": "third"},
            {"step": "format", "completion": "again"},
            {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number", "prompt": "student/plain"},
        ],
    }
    (folder / "recipes/mine.yaml").write_text(json.dumps(values | changes))
    return folder / "recipes/mine.yaml"


def run(folder: Path, recipe: str, *options: str) -> dict[str, Any]:
    """Runs a recipe; returns the report."""
    done = command(folder, "run", recipe, "--allow-code", "--json", *options, OPENAI_API_KEY="sk-of-nobody")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def calls(report: dict[str, Any]) -> tuple[int, int]:
    """Calls made now, and replies of the ledger."""
    return sum(m["calls"] for m in report["models"]), sum(m["replayed"] for m in report["models"])


@pytest.mark.parametrize("recipe", ["runs/demo/recipe.yaml", "runs/demo/dataset/recipe.yaml"])
def test_the_recipe_that_a_run_carries_is_run_from_the_ledger(tmp_path: Path, server: str, recipe: str) -> None:
    project(tmp_path, server)
    bought = calls(run(tmp_path, "recipes/mine.yaml"))
    assert bought == (13, 0)
    rows = rows_of(tmp_path / "runs/demo/dataset/train.jsonl")
    for name in ("recipes", "data", "shared"):
        shutil.rmtree(tmp_path / name)
    for _ in range(2):  # it is written anew each time that it is run
        assert calls(run(tmp_path, recipe)) == (0, 12), "the evaluation is taken over"
        assert rows_of(tmp_path / "runs/demo/dataset/train.jsonl") == rows


def test_own_a_data_set_is_run_again_where_it_was_copied_to(tmp_path: Path, server: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    project(here, server)
    assert calls(run(here, "recipes/mine.yaml")) == (13, 0)
    shutil.copytree(here / "runs/demo/dataset", there / "dataset")
    shutil.copy(here / "runs/ledger.sqlite", there / "ledger.sqlite")
    rows = rows_of(here / "runs/demo/dataset/train.jsonl")
    shutil.rmtree(here)
    assert calls(run(there, "dataset/recipe.yaml", "--ledger", "ledger.sqlite")) == (0, 13)
    assert rows_of(there / "runs/demo/dataset/train.jsonl") == rows


def test_own_the_text_of_a_prompt_is_kept_when_its_file_changes(tmp_path: Path, server: str) -> None:
    project(tmp_path, server)
    run(tmp_path, "recipes/mine.yaml")
    (tmp_path / "recipes/prompts/parts/tone.jinja").write_text("Be rude.")
    assert calls(run(tmp_path, "runs/demo/recipe.yaml")) == (0, 12)
    assert calls(run(tmp_path, "recipes/mine.yaml"))[0] > 0


def test_own_what_a_trial_carries_says_how_it_was_run(tmp_path: Path, server: str) -> None:
    project(tmp_path, server)
    bought = calls(run(tmp_path, "recipes/mine.yaml", "--limit", "2", "--until", "format"))
    assert bought == (6, 0)
    trial = tmp_path / "runs/demo/trial"
    assert (trial / "recipe.yaml").read_text().split("\n")[0] == (
        "# mine.yaml, as it was run; run it with --limit 2 --until format to make the same"
    )
    shutil.rmtree(tmp_path / "data")
    assert calls(run(tmp_path, "runs/demo/trial/dataset/recipe.yaml", "--limit", "2", "--until", "format")) == (0, 6)
    assert len(rows_of(trial / "inputs/train.jsonl")) == 4, "all rows are kept, so that the whole recipe can be run"


def test_no_path_of_the_machine_is_in_a_data_set(tmp_path: Path, server: str) -> None:
    (tmp_path / "models").mkdir()
    student = shutil.copytree(tiny_model(), tmp_path / "models/mine")
    models = {
        "teacher": {"provider": "openai", "model": "m", "base_url": server, "price": {"input": 1, "output": 1}},
        "student": {
            "provider": "transformers",
            "model": str(student),
            "chat_template": str(tmp_path / "shared/chat.jinja"),
        },
    }
    steps = [
        {"step": "generate", "model": "teacher", "prompt": str(tmp_path / "shared/prompts/ask"), "temperature": 0.7},
        {"step": "format"},
        {"step": "train", "model": "student", "max_steps": 1, "r": 2},
    ]
    data = {"train": {"path": str(tmp_path / "data/a.csv"), "rename": {"question": "instruction"}}}
    project(tmp_path, server, models=models, steps=steps, data=data)
    shutil.copy(tiny_model() / "chat_template.jinja", tmp_path / "shared/chat.jinja")
    run(tmp_path, "recipes/mine.yaml")
    dataset = tmp_path / "runs/demo/dataset"
    for path in dataset.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
    text = (dataset / "recipe.yaml").read_text()
    assert "# models.student.model is a place of its maker's: --set models.student.model=FOLDER\n" in text
    assert yaml.safe_load(text)["models"]["student"] == {
        "provider": "transformers", "model": "./mine", "chat_template": "files/chat.jinja"
    }  # fmt: skip
    kept = load_recipe(tmp_path / "runs/demo/recipe.yaml", allow_code=True, env={"OPENAI_API_KEY": "sk-of-nobody"})
    assert kept.models["student"].model == str(student)
    changed = f"models.student.model={student}"
    assert calls(run(tmp_path, "runs/demo/dataset/recipe.yaml", "--set", changed)) == (0, 2)


def test_rows_that_are_many_are_pointed_at(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from blackbox_kd.tables import sources

    project(tmp_path, server)
    recipe = load_recipe(tmp_path / "recipes/mine.yaml", allow_code=True, env={"OPENAI_API_KEY": "sk-of-nobody"})
    run_folder, published = tmp_path / "run", tmp_path / "run/dataset"
    published.mkdir(parents=True)
    monkeypatch.setattr(carried, "MOST_BYTES", 60)
    for name in recipe.data:
        found = list(carried.read_and_keep(run_folder, recipe, name, None))
        assert found == list(sources.read(recipe.data[name], recipe.folder))
    carried.write(recipe, run_folder, run_folder)
    carried.write(recipe, run_folder, published, is_public=True)
    own, public = (yaml.safe_load((place / "recipe.yaml").read_text()) for place in (run_folder, published))
    assert own["data"]["train"]["path"] == f"{tmp_path}/recipes/../data/[ab].csv"
    assert public["data"]["train"]["path"] == "inputs/[ab].csv"
    assert own["data"]["test"] == public["data"]["test"] == {"path": "inputs/test.jsonl", "held_out": True}
    note = "# data.train is too large to stand beside this file: --set data.train.path=FILE\n"
    assert note in (published / "recipe.yaml").read_text()
    assert note not in (run_folder / "recipe.yaml").read_text()


def test_a_card_says_which_rows_stand_beside_the_data_set(tmp_path: Path, server: str) -> None:
    project(tmp_path, server)
    run(tmp_path, "recipes/mine.yaml")
    text = (tmp_path / "runs/demo/dataset/README.md").read_text()
    assert (
        "`inputs/` of its run has the rows that the recipe starts from (`train`, `test`), those of exams included."
        in text
    )


def test_the_two_prompts_of_one_name_keep_their_own_parts(tmp_path: Path, server: str) -> None:
    project(tmp_path, server)
    run(tmp_path, "recipes/mine.yaml")
    again = load_recipe(tmp_path / "runs/demo/dataset/recipe.yaml", allow_code=True, env={"OPENAI_API_KEY": "sk"})
    assert {
        name: prompt.render({"instruction": "1 + 1?"})[-1]["content"] for name, prompt in again.prompts.items()
    } == {
        "ask": "Be brief. 1 + 1?",
        "own1/ask": "Be long. Again: 1 + 1?",
        "student/plain": "1 + 1?",
    }


def test_own_a_broken_row_that_a_run_does_not_want_stops_nothing(tmp_path: Path, server: str) -> None:
    project(tmp_path, server)
    with (tmp_path / "data/b.csv").open("a") as file:
        file.write("What is 9 + 1?,10\n" * 60 + "one,two,three\n")  # `check` looks at the first rows
    with (tmp_path / "data/test.jsonl").open("a") as file:
        file.write("".join('{"instruction": "x", "reference": "y"}\n' for _ in range(60)) + "{half\n")
    report = run(tmp_path, "recipes/mine.yaml", "--limit", "2", "--until", "generate")
    assert report["funnel"][0]["in"] == 2
    assert not list((tmp_path / "runs/demo/trial/inputs").iterdir())
