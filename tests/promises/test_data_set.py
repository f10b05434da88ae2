"""The data set of a run: which rows it has, that readers get these and no other run's, and that no trial spoils it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd.errors import BudgetReached, UserError
from blackbox_kd.runs import browse
from blackbox_kd.runs.folder import RunFolder
from tests.support.runs import command, execute, rows_of, trained, write_rows
from tests.support.tiny import tiny_model

ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
CHECK = {"step": "check", "answer": "number"}
KEEP = {"step": "filter", "keep": "correct"}
TRAIN = {"step": "train", "model": "student", "max_steps": 1, "r": 2, "batch_size": 2}


def recipe(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A recipe with what its steps name: a scripted teacher, tiny students, `train` and a held-out `test`."""
    used = json.dumps(steps)
    tiny = {"provider": "transformers", "model": str(tiny_model())}
    models = {"teacher": {"provider": "scripted"}, "student": tiny, "control": tiny, "plain": tiny}
    data = {"train": {"path": "train.jsonl"}}
    if '"test"' in used:
        data["test"] = {"path": "test.jsonl", "held_out": True}  # type: ignore[dict-item]
    named = {name: model for name, model in models.items() if f'"{name}"' in used or f'"{name}@' in used}
    return {"name": "demo", "data": data, "models": named, "steps": list(steps), **changes}


def loaded(run: Path, cache: Path, name: str | None = None) -> list[dict[str, Any]]:
    """The rows that `load_dataset` gives, as TRL would get them."""
    import datasets

    return list(datasets.load_dataset(str(run / "dataset"), name, cache_dir=str(cache), split="train"))


def card(run: Path) -> dict[str, Any]:
    text = (run / "dataset/README.md").read_text()
    return dict(yaml.safe_load(text.split("---")[1]))


def rows(run: Path, name: str = "train") -> list[dict[str, Any]]:
    return rows_of(run / f"dataset/{name}.jsonl")


def told(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "manifest.json").read_text())["dataset"])


def files(folder: Path) -> dict[str, bytes]:
    """All that stands in a run's folder, but for what other runs have of their own in it, and its locks."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    apart = [name for name in found if name.parts[0] not in ("trial", "work") and not name.parts[0].startswith("until")]
    return {str(name): found[name].read_bytes() for name in apart}


# What readers get.


def test_two_runs_are_two_data_sets_in_one_cache(tmp_path: Path) -> None:
    first = execute(tmp_path, recipe(ASK, CHECK), run_dir="a").path
    brief = {"teacher": {"provider": "scripted", "replies": ["It is {{ reference }}."]}}
    second = execute(tmp_path, recipe(ASK, CHECK, models=brief), run_dir="b").path
    for run in (first, second, first):
        assert [row["response"] for row in loaded(run, tmp_path / "cache")] == [row["response"] for row in rows(run)]
    assert rows(first) != rows(second)


def test_a_data_set_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(ASK, CHECK)).path
    before, hashed = loaded(run, tmp_path / "cache"), set((run / "dataset").glob("train-*.parquet"))
    execute(tmp_path, recipe(ASK, CHECK, {"step": "filter", "keep": "reference != '1'"}))
    after = loaded(run, tmp_path / "cache")
    assert (len(before), len(after)) == (6, 5)
    assert [row["id"] for row in after] == [row["id"] for row in rows(run)]
    now = set((run / "dataset").glob("train-*.parquet"))
    assert len(hashed) == len(now) == 1
    assert not hashed & now, "the file of the earlier rows is gone"


def test_own_a_data_set_with_other_columns_or_in_a_moved_folder_is_read_as_it_is(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(ASK)).path
    assert "answer" not in loaded(run, tmp_path / "cache")[0]
    execute(tmp_path, recipe(ASK, CHECK))
    assert [row["answer"] for row in loaded(run, tmp_path / "cache")] == [row["answer"] for row in rows(run)]
    moved = run.rename(tmp_path / "moved")
    execute(tmp_path, recipe(ASK | {"temperature": 0.5, "samples": 2}))
    assert len(loaded(moved, tmp_path / "cache")) == 6
    assert len(loaded(run, tmp_path / "cache")) == 12


def test_the_file_that_readers_get_is_the_very_parquet_file_and_the_manifest_has_its_hash(tmp_path: Path) -> None:
    import hashlib

    run = execute(tmp_path, recipe(ASK, CHECK)).path
    [config] = told(run)["configs"]
    assert card(run)["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": config["parquet"]}]}
    ]
    whole = run / "dataset/train.parquet"
    assert (run / "dataset" / config["parquet"]).samefile(whole)
    assert config["sha256"] == hashlib.sha256(whole.read_bytes()).hexdigest()
    assert config["parquet"] == f"train-{config['sha256'][:8]}.parquet"


# Which rows it has.


def test_the_data_set_has_the_name_of_the_table_that_it_came_from(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(ASK, CHECK, KEEP | {"output": "taught"})).path
    assert [config["config_name"] for config in card(run)["configs"]] == ["taught"]
    assert [config["table"] for config in told(run)["configs"]] == ["taught"]
    assert "They are the table `taught` of its run." in (run / "dataset/README.md").read_text()
    assert len(loaded(run, tmp_path / "cache")) == len(loaded(run, tmp_path / "cache", "taught")) == 6


FORMATS = (
    ASK,
    CHECK,
    KEEP | {"output": "right"},
    {"step": "format", "output": "lessons"},
    {"step": "filter", "input": "right", "keep": "reference != '1'"},
    {"step": "format", "completion": "reference", "output": "answers"},
)


def test_several_formatted_tables_become_several_configs(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(*FORMATS)).path
    assert [(c["config_name"], c.get("default")) for c in card(run)["configs"]] == [
        ("lessons", True),
        ("answers", None),
    ]
    lessons, answers = (loaded(run, tmp_path / "cache", name) for name in ("lessons", "answers"))
    assert loaded(run, tmp_path / "cache") == lessons
    assert [row["completion"][0]["content"] for row in answers] == ["2", "3", "4", "5", "6"]
    assert [row["id"] for row in lessons] == [row["id"] for row in rows(run, "lessons")]
    assert browse.find_dataset(run) == {
        "path": str(run / "dataset"),
        "rows": 11,
        "current": True,
        "configs": [
            {"name": "lessons", "table": "lessons", "rows": 6},
            {"name": "answers", "table": "answers", "rows": 5},
        ],
    }
    assert not (run / "dataset/train.jsonl").exists()


def test_own_one_config_after_several_leaves_nothing_of_them_behind(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(*FORMATS)).path
    execute(tmp_path, recipe(*FORMATS[:4]))
    names = {path.name for path in (run / "dataset").iterdir()}
    [hashed] = (name for name in names if name.startswith("train-"))
    assert names == {"README.md", "recipe.yaml", "prompts", "inputs", "train.jsonl", "train.parquet", hashed}


def test_own_a_table_that_a_later_step_has_read_is_no_config(tmp_path: Path) -> None:
    mixed = {"step": "mix", "tables": {"lessons": 1}, "output": "shuffled"}
    run = execute(tmp_path, recipe(*FORMATS[:4], mixed)).path
    assert [config["name"] for config in told(run)["configs"]] == ["shuffled"]


EXAM = {"step": "evaluate", "input": "train", "models": ["teacher"], "answer": "number", "output": "answers"}


@pytest.mark.parametrize(
    "behind",
    [
        (EXAM, {"step": "filter", "input": "answers", "keep": "correct"}),
        (EXAM, {"step": "filter", "input": "answers", "keep": "correct"}, {"step": "format", "output": "formatted"}),
        (EXAM | {"input": "test"}, {"step": "select", "input": "test", "by": "retrieve", "index": "right"}),
    ],
    ids=["a filter", "own_ a filter and a format", "own_ held-out rows that are looked up for"],
)
def test_rows_behind_an_evaluation_are_never_in_it(tmp_path: Path, behind: tuple[dict[str, Any], ...]) -> None:
    run = execute(tmp_path, recipe(ASK, CHECK, KEEP | {"output": "right"}, *behind)).path
    assert [config["table"] for config in told(run)["configs"]] == ["right"]
    assert [row["id"] for row in rows(run)] == [f"{row['id']}" for row in rows_of(run / "tables/03_filter_right.jsonl")]


def test_own_a_recipe_that_only_evaluates_makes_no_data_set(tmp_path: Path) -> None:
    job = execute(tmp_path, recipe(EXAM))
    assert job.report["dataset"] is None
    assert not (job.path / "dataset").exists()


def test_a_table_is_found_by_the_name_that_the_recipe_gives_it(tmp_path: Path) -> None:
    looped = {
        "loop": {
            "rounds": 2,
            "steps": [
                ASK | {"input": "train", "output": "new"},
                {"step": "mix", "tables": {"pool": 1, "new": 1}, "shuffle": False, "output": "pool"},
            ],
        }
    }
    steps = [looped, {"step": "split", "outputs": {"small": 0.5, "big": 0.5}}]
    values = recipe(*steps, models={"teacher": {"provider": "scripted"}})
    run = execute(tmp_path, values).path
    assert {path.stem for path in (run / "tables").glob("*.jsonl")} == {
        "00_train",
        "01_round0_new",
        "01_round0_pool",
        *(f"01_round{n}_{name}" for n in (1, 2) for name in ("01_generate_new", "02_mix_pool")),
        "02_split_big",
        "02_split_small",
    }
    for name, file in (
        ("pool", "01_round2_02_mix_pool"),
        ("new", "01_round2_01_generate_new"),
        ("big", "02_split_big"),
    ):
        assert browse.read_rows(run, name, 99) == rows_of(run / f"tables/{file}.jsonl")


def test_own_a_name_is_not_taken_for_the_end_of_another(tmp_path: Path) -> None:
    steps = [ASK | {"output": "pool"}, {"step": "filter", "keep": "reference == '1'", "output": "train_pool"}]
    run = execute(tmp_path, recipe(*steps)).path
    assert len(browse.read_rows(run, "pool", 99)) == 6
    assert len(browse.read_rows(run, "train_pool", 99)) == 1
    assert len(browse.read_rows(run, "train", 99)) == 6


@pytest.mark.parametrize(
    ("dataset", "configs"),
    [
        ("asked", {"asked": 6}),
        ({"all": "asked", "some": "right"}, {"all": 6, "some": 5}),
        ({"only": "right"}, {"only": 5}),
    ],
    ids=str,
)
def test_a_recipe_can_say_what_its_data_set_is(tmp_path: Path, dataset: Any, configs: dict[str, int]) -> None:
    keep = {"step": "filter", "keep": "reference != '1'", "output": "right"}
    run = execute(tmp_path, recipe(ASK | {"output": "asked"}, keep, {"step": "format"}, dataset=dataset)).path
    assert {config["name"]: config["rows"] for config in told(run)["configs"]} == configs
    assert {name: len(loaded(run, tmp_path / "cache", name)) for name in configs} == configs


# Trials and shorter runs.


def test_a_trial_leaves_a_finished_run_and_its_data_set_as_they_were(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "train.jsonl", ({"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(9))
    )
    (tmp_path / "recipe.yaml").write_text(
        json.dumps(recipe(ASK, CHECK, KEEP, {"step": "format"}, budget={"requests": 9}))
    )
    run = tmp_path / "runs/demo"
    assert command(tmp_path, "run", "recipe.yaml").returncode == 0
    before = files(run)
    done = command(tmp_path, "run", "recipe.yaml", "--limit", "3", "--until", "generate")
    assert (done.returncode, done.stdout) == (0, "report: runs/demo/trial/report.md\n"), done.stderr
    assert "a trial with --limit 3: works in runs/demo/trial" in done.stderr
    assert files(run) == before
    assert len(rows(run / "trial")) == 3
    assert command(tmp_path, "run", "recipe.yaml").returncode == 0
    after = files(run)
    changing = {"report.json", "report.md", "manifest.json"}  # when it was written, and which replies were there
    assert {name: after[name] for name in after.keys() - changing} == {n: before[n] for n in before.keys() - changing}
    assert len(rows(run)) == 9
    assert "3  dataset/" in command(tmp_path, "show", "demo/trial").stdout


def test_a_run_up_to_a_step_leaves_a_longer_runs_data_set_as_it_was(tmp_path: Path) -> None:
    run = execute(tmp_path, recipe(ASK, CHECK, KEEP, {"step": "format"})).path
    before = files(run)
    job = execute(tmp_path, recipe(ASK, CHECK, KEEP, {"step": "format"}), until="check")
    assert job.path == run / "until_check"
    assert [row["answer"] for row in rows(job.path)] == [str(n + 1) for n in range(6)]
    assert files(run) == before
    assert sum(entry["calls"] for entry in job.report["models"]) == 0


def test_own_a_run_that_goes_on_further_works_in_its_folder(tmp_path: Path) -> None:
    first = execute(tmp_path, recipe(ASK, CHECK, KEEP), until="generate")
    second = execute(tmp_path, recipe(ASK, CHECK, KEEP), until="check")
    third = execute(tmp_path, recipe(ASK, CHECK, KEEP))
    assert first.path == second.path == third.path == tmp_path / "run"
    assert "answer" in rows(third.path)[0]


def test_own_trials_and_shorter_runs_take_from_the_one_budget_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe(ASK, CHECK, budget={"requests": 8})))
    write_rows(
        tmp_path / "train.jsonl", ({"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6))
    )
    trial = command(tmp_path, "run", "recipe.yaml", "--limit", "4", "--set", "steps.0.temperature=0.5")
    assert trial.returncode == 0, trial.stderr
    whole = command(tmp_path, "run", "recipe.yaml")
    assert whole.returncode == 3, "4 of 8 calls are spent, and 6 are wanted"
    assert json.loads((tmp_path / "runs/demo/report.json").read_text())["spent"]["requests"] == 8


@pytest.mark.parametrize(("first", "second"), [(".", "trial"), ("trial", "."), ("until_filter", "trial")])
def test_own_a_run_does_not_work_at_two_places_at_once(tmp_path: Path, first: str, second: str) -> None:
    run = tmp_path / "run"
    busy = pytest.raises(UserError, match="another process runs in this folder")
    with RunFolder(run / first, run=run), busy:
        RunFolder(run / second, run=run)


def test_own_a_stopped_run_puts_no_part_in_the_place_of_a_whole_data_set(tmp_path: Path) -> None:
    exam = {"step": "evaluate", "input": "test", "models": ["student"], "answer": "number", "max_tokens": 3}
    steps = (ASK, CHECK, {"step": "format"}, TRAIN)
    run = execute(tmp_path, recipe(*steps)).path
    before = files(run / "dataset")
    judged = exam | {"models": ["student@base", "student"], "judge": "teacher"}
    with pytest.raises(BudgetReached):
        execute(
            tmp_path,
            recipe(
                *steps[:2], {"step": "filter", "keep": "reference == '1'"}, *steps[2:], judged, budget={"requests": 7}
            ),
        )
    assert files(run / "dataset") == before
    report = json.loads((run / "report.json").read_text())
    assert report["dataset"] is None
    assert len(report["trainings"]) == 1


# After a training.


def test_the_data_set_is_written_again_where_the_training_is_taken_over(tmp_path: Path) -> None:
    steps = (ASK, CHECK, {"step": "format"}, TRAIN)
    run = execute(tmp_path, recipe(*steps)).path
    before = files(run / "dataset")
    manifest = json.loads((run / "manifest.json").read_text())
    for key in ("dataset", "reached", "tables"):
        del manifest[key]
    (run / "manifest.json").write_text(json.dumps(manifest))
    for name in ("train.jsonl", "train.parquet"):
        (run / "dataset" / name).write_text("spoilt")
    again = execute(tmp_path, recipe(*steps))
    assert files(run / "dataset") == before
    assert len(rows(run)) == 6
    assert sum(entry["calls"] for entry in again.report["models"]) == 0


def test_a_shorter_run_takes_over_a_training_of_a_longer_one(tmp_path: Path) -> None:
    exam = {"step": "evaluate", "input": "test", "models": ["student"], "answer": "number", "max_tokens": 3}
    steps = (ASK, CHECK, {"step": "format"}, TRAIN, exam)
    run = execute(tmp_path, recipe(*steps)).path
    before = files(run)
    job = execute(tmp_path, recipe(*steps), until="train")
    assert job.path == run / "until_train"
    assert job.report["trainings"] == json.loads((run / "report.json").read_text())["trainings"]
    assert not (job.path / "models/student@1").exists(), "it was not trained again"
    assert files(run) == before
    assert rows(job.path) == rows(run)


def test_the_card_names_those_alone_who_made_the_rows() -> None:
    run = trained().path
    text = (run / "dataset/README.md").read_text()
    assert "- `teacher`" in text
    assert "- `student`" not in text
    assert "(evaluate)" not in text
    assert "(train)" not in text, "what is learnt from the rows is no part of how they were made"
