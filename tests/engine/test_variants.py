"""Arms and seeds of a recipe: one run, the teacher's calls once, students of equal rows and updates side by side."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from blackbox_kd.engine import equal
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.records import Records
from blackbox_kd.engine.run import Run
from blackbox_kd.engine.sharding.merge import merge
from blackbox_kd.engine.sharding.shard import Shard
from blackbox_kd.engine.versions import Versions
from blackbox_kd.errors import BudgetReached, RecipeError, StepError
from blackbox_kd.recipe.changed import find_changed
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model

ROWS = 8
EXAM = {"step": "evaluate", "input": "test", "answer": "number", "models": ["student"], "max_tokens": 2}
UNFILTERED = {"unfiltered": {"set": {"steps.3.input": "checked"}}}


def make(folder: Path, **changes: Any) -> Path:
    for name, start in (("train", 0), ("test", 100)):
        rows = [
            {"instruction": f"What is the number of {n}?", "reference": str(n % 7)} for n in range(start, start + ROWS)
        ]
        write_rows(folder / f"{name}.jsonl", rows)
    training = {"step": "train", "model": "student", "epochs": 1, "batch_size": 4, "r": 4}
    values = {
        "name": "armed",
        "seed": 3,
        "seeds": [3, 4],
        "arms": UNFILTERED,
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {
            "teacher": {"provider": "scripted", "replies": ["The answer is 1.", "Well, the answer is 2."]},
            "student": {"provider": "transformers", "model": str(tiny_model())},
        },
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2, "temperature": 1.0},
            {"step": "check", "answer": "number", "against": None, "output": "checked"},
            {"step": "select", "per": "instruction", "best": 1, "by": "shortest"},
            {"step": "format"},
            training,
            {**EXAM, "against": "reference"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump({k: v for k, v in {**values, **changes}.items() if v}))
    return folder / "recipe.yaml"


def problems(folder: Path, **changes: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(make(folder, **changes))
    return str(caught.value)


def command(folder: Path) -> list[str]:
    return [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()", "run", str(folder / "recipe.yaml")]


def outcome(folder: Path) -> dict[str, Any]:
    run = folder / "runs" / "armed"
    report = json.loads((run / "report.json").read_text())
    return {
        "tables": {file.name: rows_of(file) for file in (run / "tables").glob("*.jsonl")},
        "weights": {str(f.relative_to(run)): f.read_bytes() for f in run.glob("models*/student@1/adapter_model.*")},
        **{name: report[name] for name in ("variants", "evaluations", "comparisons", "arm_gains", "arms")},
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_arms_with_two_seeds_are_one_run_that_a_kill_does_not_change(tmp_path: Path) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        folder.mkdir()
        make(folder)
    done = subprocess.run(command(quiet), cwd=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = quiet / "runs" / "armed"
    report = json.loads((run / "report.json").read_text())
    both = [("main", 3), ("main", 4), ("unfiltered", 3), ("unfiltered", 4)]
    assert [(each["arm"], each["seed"]) for each in report["variants"]] == both
    assert [(t["arm"], t["seed"], t["settings"]["seed"]) for t in report["trainings"]] == [(*e, e[1]) for e in both]
    assert {(t["rows"], t["steps"]) for t in report["trainings"]} == {(ROWS, 2)}
    assert report["trainings"][2]["notes"] == [
        f"{ROWS} of its {2 * ROWS} rows are drawn, as many as the chain as it stands has"
    ]
    [teacher] = [each for each in report["models"] if each["name"] == "teacher"]
    assert teacher["calls"] == 2 * ROWS, "asked once for all arms and seeds"
    [gain] = [each for each in report["arms"] if each["against"] == "main" and each["metric"] == "accuracy"]
    assert (gain["arm"], gain["seeds"], len(gain["gains"]), gain["n"]) == ("unfiltered", [3, 4], 2, ROWS)
    assert "| unfiltered | `student` | test | 8 | 2 | accuracy | `main` |" in (run / "report.md").read_text()
    weights = outcome(quiet)["weights"]
    assert len(weights) == len(set(weights.values())) == 4
    ids = {name: [row["id"] for row in rows] for name, rows in outcome(quiet)["tables"].items()}
    assert ids["06_evaluate.jsonl"] == ids["06_evaluate.unfiltered.seed4.jsonl"], "no id tells of an arm or a seed"

    process = subprocess.Popen(command(killed), cwd=killed, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (killed / "runs/armed/models.seed4/student@1").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "runs/armed/models.unfiltered").exists(), "it was killed in the middle"
    done = subprocess.run(command(killed), cwd=killed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert outcome(killed) == outcome(quiet)


FEW = {"step": "filter", "keep": "number(reference) <= 3"}
ALL_ROWS = {"all_rows": {"set": {"steps.0.keep": "number(reference) <= 99"}}}
SHORT = {"step": "train", "model": "student", "max_steps": 1, "batch_size": 4, "r": 4}


def chain(folder: Path, **changes: Any) -> dict[str, Any]:
    asked = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
    steps = [FEW, asked, {"step": "format"}, SHORT, {**EXAM, "against": "reference", "max_tokens": 1}]
    values = yaml.safe_load(make(folder, seeds=None, arms=ALL_ROWS, steps=steps).read_text())
    values["models"]["teacher"]["price"] = {"input": 1, "output": 1}
    return {**values, **changes}


def count_calls(job: Run) -> tuple[int, int, int]:
    """Calls to the teacher that were made now, those that the ledger had, and those that were paid for twice."""
    [teacher] = [each for each in job.report["models"] if each["name"] == "teacher"]
    return teacher["calls"], teacher["replayed"], job.report["spent"]["repeated"]


def test_an_arm_asks_what_the_chain_has_not_asked_in_shards_too_and_goes_on_where_it_was_stopped(
    tmp_path: Path,
) -> None:
    values = chain(tmp_path)
    for number in (1, 2):
        shard = Shard(number, 2)
        execute(tmp_path, values, run_dir=f"run/shards/{number}-of-2", shard=shard)
    found = load_recipe(tmp_path / "recipe.yaml")
    merge(
        found, tmp_path / "run", tmp_path / "ledger.sqlite", ModelPool(found, tmp_path / "cache", {}), lambda text: None
    )
    # The shards have asked of five of the eight rows; the budget ends within the three that the arm has besides.
    with pytest.raises(BudgetReached):
        execute(tmp_path, {**values, "budget": {"requests": 6}})
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "models").glob("**/adapter_model.*")}
    job = execute(tmp_path, values)
    made, replayed, repeated = count_calls(job)
    assert made in (1, 2, 3)
    assert (made + replayed, repeated) == (5 + ROWS, 0)
    assert {file: file.stat().st_mtime_ns for file in before} == before != {}, "main is not trained again"
    assert [(t["arm"], t["rows"], t["steps"]) for t in job.report["trainings"]] == [("main", 5, 1), ("all_rows", 5, 1)]
    assert job.report["trainings"][1]["notes"] == ["5 of its 8 rows are drawn, as many as the chain as it stands has"]


def test_what_does_not_differ_is_shared_and_a_recipe_without_seeds_stays_what_it_was(tmp_path: Path) -> None:
    recipe = load_recipe(make(tmp_path))
    changed = {v.suffix: sorted(at[1] for at in find_changed(recipe, v)) for v in recipe.variants}
    assert changed == {".seed4": [4, 5], ".unfiltered": [3, 4, 5], ".unfiltered.seed4": [3, 4, 5]}
    plain = load_recipe(make(tmp_path, seeds=None, arms=None))
    assert (plain.variants, plain.arm, plain.training_seed, plain.marks) == ([], None, None, {})


def test_a_loop_that_trains_is_another_one_for_each_seed_as_a_whole(tmp_path: Path) -> None:
    inner = [
        {"step": "filter", "input": "train", "keep": "reference != '0'"},
        {"step": "format", "completion": "reference"},
        {"step": "train", "model": "student", "max_steps": 1},
    ]
    recipe = load_recipe(make(tmp_path, arms=None, models=only_student(), steps=[{"loop": {"steps": inner}}, EXAM]))
    [variant] = recipe.variants
    assert {planned.at for planned in variant.steps} == find_changed(recipe, variant)


def only_student() -> dict[str, Any]:
    return {"student": {"provider": "transformers", "model": str(tiny_model())}}


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"Main!": {"set": {"steps.3.input": "checked"}}}, "'Main!' cannot be the name of an arm"),
        ({"seed1": {"set": {"steps.3.input": "checked"}}}, "'seed1' cannot be the name of an arm"),
        ({"other": {"set": {"data.train.path": "x"}}}, "an arm changes what stands below steps and models"),
        ({"other": {"set": {"steps.9.input": "x"}}}, "steps has no entry '9'"),
        ({"other": {"set": {"steps.3.input": "nobody"}}}, "arms.other, steps[3] (format): unknown table 'nobody'"),
        ({"other": {"set": {"steps.4.epochs": 2}}}, "epochs would be other than in the chain as it stands"),
        ({"other": {"set": {"steps.5.max_tokens": 3}}}, "no training differs, so that there is nothing to compare"),
        ({"other": {"set": {"steps.3.input": "checked", "steps.5.metrics": ["rouge_l"]}}}, "the exam is another one"),
    ],
)
def test_an_arm_that_could_not_be_compared_is_refused(tmp_path: Path, arms: dict[str, Any], said: str) -> None:
    assert said in problems(tmp_path, arms=arms)


def test_seeds_that_would_pay_a_teacher_once_more_or_repeat_nothing_are_refused(tmp_path: Path) -> None:
    assert "3 stands there twice" in problems(tmp_path, seeds=[3, 3])
    assert "-1 is below 0" in problems(tmp_path, seeds=[0, -1])
    own = yaml.safe_load(make(tmp_path).read_text())["steps"]
    fixed = [*own[:4], {**own[4], "seed": 1}, own[5]]
    assert "seed: would be the same for all of seeds:" in problems(tmp_path, steps=fixed)
    paid = {"provider": "openai", "model": "fake", "base_url": "http://localhost:1/v1"}
    asks = [
        *own[:5],
        {"step": "generate", "input": "train", "model": "student", "prompt": "student/plain", "as": "draft"},
        {"step": "generate", "model": "teacher", "prompt": "student/plain", "as": "better"},
        {"step": "format", "completion": "better"},
        own[5],
    ]
    said = problems(tmp_path, steps=asks, models={**only_student(), "teacher": paid})
    assert "asks 'teacher' about what a trained model decides, which each of seeds: would pay for" in said


def test_a_model_may_have_as_many_updates_as_another_had_up_to_the_version_that_its_name_means() -> None:
    versions = Versions()
    shared = SimpleNamespace(records=Records(), models=SimpleNamespace(exact=versions.complete))
    made = [("s@1", "s@base", 5), ("s@2", "s@1", 3), ("c@1", "c@base", 9), ("s@3", "s@2", 4)]
    for number, (version, begun, steps) in enumerate(made):
        versions.add(version[0], Path(version))
        entry = {"model": version, "begun_from": begun, "steps": steps}
        shared.records.add("trainings", (number,), [entry])
    asked = {"max_steps": {"of": "s"}, "epochs": 2.0}
    assert equal.fill_updates(shared, asked) == {"max_steps": 12, "epochs": 2.0}  # type: ignore[arg-type]
    versions.restore("s@2")
    assert equal.fill_updates(shared, asked)["max_steps"] == 8  # type: ignore[arg-type]
    assert equal.fill_updates(shared, {"max_steps": 7}) == {"max_steps": 7}  # type: ignore[arg-type]
    versions.restore("s@base")
    with pytest.raises(StepError, match="'s' is here as it came, so that there is no number of updates to take over"):
        equal.fill_updates(shared, asked)  # type: ignore[arg-type]


def test_a_control_is_trained_with_the_updates_of_the_student_before_it(tmp_path: Path) -> None:
    own = yaml.safe_load(make(tmp_path).read_text())["steps"]
    student, control = {**own[4], "epochs": 2}, {**own[4], "model": "control", "max_steps": {"as": "student"}}
    control.pop("epochs")
    models = {**yaml.safe_load((tmp_path / "recipe.yaml").read_text())["models"]}
    models["control"] = {**models["student"]}
    steps = [*own[:4], student, {**own[3], "input": "train", "completion": "reference"}, control]
    options = {"arms": None, "seeds": None, "models": models, "data": {"train": {"path": "train.jsonl"}}}
    assert "'student' is trained by no step before this one" in problems(tmp_path, steps=[*own[:4], control], **options)
    job = execute(tmp_path, yaml.safe_load(make(tmp_path, steps=steps, **options).read_text()))
    assert [(entry["model"], entry["steps"]) for entry in job.report["trainings"]] == [
        ("student@1", 4),
        ("control@1", 4),
    ]


def test_an_arm_that_changes_a_step_in_a_loop_ends_it_where_the_chain_did(tmp_path: Path) -> None:
    inner = [
        {"step": "mix", "tables": {"pool": 0.1}, "output": "pool"},
        {"step": "format", "completion": "reference"},
        SHORT,
    ]
    start = {"step": "filter", "input": "train", "keep": "len(reference) > 0", "output": "pool"}
    arms = {"all_rows": {"set": {"steps.1.loop.steps.0.tables": {"pool": 1.0}}}}
    steps = [start, {"loop": {"rounds": 5, "steps": inner}}, {**EXAM, "max_tokens": 1}]
    made = make(tmp_path, seeds=None, arms=arms, models=only_student(), steps=steps)
    job = execute(tmp_path, yaml.safe_load(made.read_text()))
    told = [(loop["arm"], loop["rounds"], loop["ended"]) for loop in job.report["loops"]]
    assert told == [
        ("main", 2, "round 2 had no rows to train on"),
        ("all_rows", 1, "the chain as it stands has trained nothing in round 2"),
    ]
    assert [(t["arm"], t["rows"], t["steps"]) for t in job.report["trainings"]] == [("main", 1, 1), ("all_rows", 1, 1)]
