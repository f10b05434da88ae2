"""Loops: rounds, carried tables, what ends them, the best round's model."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blackbox_kd.engine.loop import Watch
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.records import Records
from blackbox_kd.errors import DataError, RecipeError, StepError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.loop_config import LoopConfig, UntilRows
from blackbox_kd.recipe.spec import Loop
from tests.support.runs import HELD_OUT, QUESTIONS, execute, rows_of, write_rows
from tests.support.tiny import tiny_model

DEV = [{"instruction": f"Say {n} + 3.", "reference": str(n + 3)} for n in range(60, 64)]
BASE: dict[str, Any] = {
    "name": "looped",
    "data": {
        "train": {"path": "train.jsonl"},
        "dev": {"path": "dev.jsonl"},
        "test": {"path": "test.jsonl", "held_out": True},
    },
    "models": {"teacher": {"provider": "scripted"}, "student": {"provider": "transformers"}},
}
TRAIN = {"step": "train", "model": "student", "max_steps": 1, "r": 2, "batch_size": 2}


def looped(steps: list[dict[str, Any]], after: tuple[dict[str, Any], ...] = (), **loop: Any) -> dict[str, Any]:
    models = {**BASE["models"], "student": {"provider": "transformers", "model": str(tiny_model())}}
    return {**BASE, "models": models, "steps": [{"loop": {**loop, "steps": steps}}, *after]}


def run(folder: Path, values: dict[str, Any]) -> Any:
    write_rows(folder / "dev.jsonl", DEV)
    used = json.dumps(values["steps"])
    data = {name: source for name, source in values["data"].items() if f'"{name}"' in used or name == "train"}
    models = {name: model for name, model in values["models"].items() if f'"{name}"' in used or f"{name}@" in used}
    return execute(folder, {**values, "data": data, "models": models})


def problems(folder: Path, values: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        run(folder, values)
    return [problem.message for problem in caught.value.problems]


COLLECT = [
    {"step": "generate", "input": "train", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
    {"step": "filter", "keep": "len(response) > 0", "output": "new"},
    {"step": "mix", "tables": {"pool": 1, "new": 1}, "shuffle": False, "output": "pool"},
]


def test_a_table_written_again_is_carried_to_the_next_round_and_is_empty_before_the_first(tmp_path: Path) -> None:
    job = run(tmp_path, looped(COLLECT, rounds=3))
    sizes = [(entry["round"], entry["in"], entry["out"]) for entry in job.report["funnel"] if "(mix)" in entry["step"]]
    n = len(QUESTIONS)
    assert sizes == [(1, n, n), (2, 2 * n, 2 * n), (3, 3 * n, 3 * n)]
    assert len(rows_of(tmp_path / "run" / "dataset" / "train.jsonl")) == 3 * n


def test_each_round_asks_anew_what_can_vary_and_never_what_cannot(tmp_path: Path) -> None:
    job = run(tmp_path, looped(COLLECT, rounds=2))
    assert job.report["models"][0]["calls"] == 2 * len(QUESTIONS)
    other = tmp_path / "greedy"
    other.mkdir()
    job = run(other, looped([{**COLLECT[0], "temperature": 0.0}, *COLLECT[1:]], rounds=2))
    assert (job.report["models"][0]["calls"], job.report["models"][0]["replayed"]) == (len(QUESTIONS), len(QUESTIONS))


def test_a_loop_ends_when_its_table_has_enough_rows(tmp_path: Path) -> None:
    n = len(QUESTIONS)
    job = run(tmp_path, looped(COLLECT, rounds=5, until={"table": "pool", "rows": 2 * n}))
    (loop,) = job.report["loops"]
    assert (loop["rounds"], loop["most"], loop["rows"]) == (2, 5, [n, 2 * n])
    assert loop["ended"] == f"pool has {2 * n} rows"


def test_a_loop_ends_when_a_round_adds_fewer_rows_than_it_has_to(tmp_path: Path) -> None:
    n = len(QUESTIONS)
    grown = run(tmp_path, looped(COLLECT, rounds=3, until={"table": "pool", "added_below": n}))
    (loop,) = grown.report["loops"]
    assert (loop["rounds"], loop["ended"]) == (3, "all rounds were run")
    other = tmp_path / "more"
    other.mkdir()
    job = run(other, looped(COLLECT, rounds=3, until={"table": "pool", "added_below": n + 1}))
    (loop,) = job.report["loops"]
    assert (loop["rounds"], loop["rows"], loop["ended"]) == (1, [n], f"round 1 added {n} rows to pool")


EXAM = {"step": "evaluate", "input": "dev", "models": ["student"], "answer": "number", "max_tokens": 4}
LEARN = [*COLLECT[:1], {"step": "format"}, TRAIN, EXAM]


def test_the_student_of_each_round_is_asked_and_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    test = {**EXAM, "input": "test", "models": ["student@base", "student@1", "student"]}
    values = looped(LEARN, (test,), rounds=2, until={"metric": "accuracy", "model": "student", "on": "dev"})
    job = run(tmp_path, values)
    measured = [(e["table"], e["model"], e.get("version"), e.get("round")) for e in job.report["evaluations"]]
    assert measured[:2] == [("dev", "student", "student@1", 1), ("dev", "student", "student@2", 2)]
    assert [entry["model"] for entry in job.report["trainings"]] == ["student@1", "student@2"]
    (loop,) = job.report["loops"]
    assert loop["values"][0]["round"] == 1
    restored = loop["restored"]
    assert measured[-1] == ("test", "student", restored, None)
    assert (tmp_path / "run" / "models" / "student").resolve().name == restored == "student@1"
    calls = sum(entry["calls"] for entry in job.report["models"])
    tables = {file.name: file.read_bytes() for file in (tmp_path / "run" / "tables").glob("*.jsonl")}
    again = run(tmp_path, values)
    assert calls > 0
    assert sum(entry["calls"] for entry in again.report["models"]) == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "run" / "tables").glob("*.jsonl")} == tables
    for name in ("evaluations", "trainings", "loops", "funnel"):
        assert again.report[name] == job.report[name]


FEWER = [
    {"step": "mix", "tables": {"pool": 0.1}, "output": "pool"},
    {"step": "format", "completion": "reference"},
    TRAIN,
]
"""6 rows, 1 row, none."""


def test_a_round_without_rows_to_train_on_ends_the_loop_and_the_run_goes_on_with_the_student_that_it_has(
    tmp_path: Path,
) -> None:
    values = looped(FEWER, ({**EXAM, "input": "test", "models": ["student"]},), rounds=5)
    start = {"step": "filter", "input": "train", "keep": "len(reference) > 0", "output": "pool"}
    values = {**values, "steps": [start, *values["steps"]]}
    job = run(tmp_path, values)
    assert job.report["status"] == "complete"
    (loop,) = job.report["loops"]
    assert (loop["rounds"], loop["most"], loop["ended"]) == (2, 5, "round 2 had no rows to train on")
    assert [entry["model"] for entry in job.report["trainings"]] == ["student@1"]
    assert job.report["evaluations"][0]["version"] == "student@1"
    again = run(tmp_path, values)
    assert again.report["loops"] == job.report["loops"]


def test_a_loop_that_has_never_had_rows_to_train_on_ends_the_run(tmp_path: Path) -> None:
    start = {"step": "filter", "input": "train", "keep": "reference == 'none'", "output": "pool"}
    values = looped(FEWER, rounds=5)
    with pytest.raises(DataError, match="there are no rows to train on"):
        run(tmp_path, {**values, "steps": [start, *values["steps"]]})


@pytest.mark.parametrize(("values", "restored"), [([0.5, 0.4], "s@1"), ([0.4, 0.5], "s@2")])
def test_where_a_round_has_no_rows_the_best_round_before_it_is_restored(values: list[float], restored: str) -> None:
    watch, models, _ = watched([*values], patience=5)
    [planned] = [SimpleNamespace(list_names=lambda kind: ["s"])]
    rounds = SimpleNamespace(stages=[SimpleNamespace(steps=[planned])])
    assert watch.ends_without_rows(3, rounds)  # type: ignore[arg-type]
    assert (models.exact("s"), watch.entry()["restored"], watch.entry()["rounds"]) == (restored, restored, 3)


NO_MODELS: Any = SimpleNamespace(models={})
"""A recipe whose models nobody asks."""


def watched(values: list[float | None], **until: Any) -> tuple[Watch, ModelPool, int]:
    """A loop whose rounds bring these values; the watch, the models, and the round that it ended in."""
    shared = SimpleNamespace(records=Records(), models=ModelPool(NO_MODELS, Path(), {}), tables={})
    config = LoopConfig(rounds=10, until={"metric": "accuracy", "model": "s", "on": "dev", **until}, steps=[{}])
    watch = Watch(Loop(4, config, 1), shared)  # type: ignore[arg-type]
    for number, value in enumerate(values, 1):
        shared.models.versions.add("s", Path(str(number)))
        entry = {"model": "s", "version": f"s@{number}", "table": "dev", "accuracy": value}
        shared.records.add("evaluations", (number,), [entry])
        if watch.ends(number):
            return watch, shared.models, number
    return watch, shared.models, 0


@pytest.mark.parametrize(
    ("patience", "values", "ended", "restored"),
    [
        (1, [0.2, 0.5, 0.5, 0.9], 3, "s@2"),  # as good is not better
        (1, [0.2, 0.1, 0.9], 2, "s@1"),
        (2, [0.2, 0.1, 0.9, 0.1, 0.1, 1.0], 5, "s@3"),
    ],
)
def test_patience_counts_rounds_without_a_better_value(
    patience: int, values: list[float | None], ended: int, restored: str
) -> None:
    watch, models, number = watched(values, patience=patience)
    assert (number, models.exact("s"), watch.entry()["restored"]) == (ended, restored, restored)


def test_a_loop_ends_by_any_metric_that_its_evaluate_tells() -> None:
    until = {"metric": "macro_f1", "model": "s", "on": "dev"}
    shared = SimpleNamespace(records=Records(), models=ModelPool(NO_MODELS, Path(), {}), tables={})
    watch = Watch(Loop(4, LoopConfig(rounds=10, until=until, steps=[{}]), 1), shared)  # type: ignore[arg-type]
    for number, (accuracy, f1) in enumerate([(0.2, 0.4), (0.3, 0.1)], 1):
        shared.models.versions.add("s", Path(str(number)))
        metrics = {"macro_f1": {"value": f1, "ci95": [0.0, 1.0]}}
        entry = {"model": "s", "version": f"s@{number}", "table": "dev", "accuracy": accuracy, "metrics": metrics}
        shared.records.add("evaluations", (number,), [entry])
        assert watch.ends(number) is (number == 2)
    assert (watch.entry()["metric"], watch.entry()["restored"]) == ("macro_f1", "s@1")
    assert [each["value"] for each in watch.entry()["values"]] == [0.4, 0.1]


def test_a_model_trained_after_a_restored_one_is_the_next_version_and_starts_from_it() -> None:
    _, models, _ = watched([0.5, 0.1])
    assert models.exact("s") == "s@1"
    models.versions.add("s", Path("3"))
    assert models.exact("s") == "s@3"


def test_a_round_without_a_measure_ends_the_run() -> None:
    what = r"steps\[4\] \(loop\): round 1 did not measure the accuracy of 's' on 'dev'\n  fix: \S"
    with pytest.raises(StepError, match=what):
        watched([None])


def test_a_model_that_was_measured_before_the_loop_is_restored_if_no_round_beats_it() -> None:
    shared = SimpleNamespace(records=Records(), models=ModelPool(NO_MODELS, Path(), {}), tables={})
    shared.records.add("evaluations", (0,), [{"model": "s", "version": "s", "table": "dev", "accuracy": 0.7}])
    config = LoopConfig(rounds=1, until={"metric": "accuracy", "model": "s", "on": "dev"}, steps=[{}])
    watch = Watch(Loop(0, config, 1), shared)  # type: ignore[arg-type]
    shared.models.versions.add("s", Path("1"))
    shared.records.add("evaluations", (1,), [{"model": "s", "version": "s@1", "table": "dev", "accuracy": 0.6}])
    watch.ends(1)
    assert shared.models.exact("s") == "s@base"


def test_a_second_loop_begins_with_what_the_first_one_restored_and_not_with_what_it_rejected() -> None:
    first, models, _ = watched([0.5, 0.9, 0.6])
    assert models.exact("s") == "s@2"
    second = Watch(first.loop, first.shared)
    assert (second.values, second.versions) == ({0: 0.9}, {0: "s@2"})
    models.versions.add("s", Path("4"))
    better = {"model": "s", "version": "s@4", "table": "dev", "accuracy": 0.7}
    first.shared.records.add("evaluations", (4,), [better])
    assert second.ends(1)
    assert models.exact("s") == "s@2", "0.7 is better than the 0.6 of the student that the first loop rejected"


def test_of_several_measures_of_the_version_that_a_loop_begins_with_the_latest_counts() -> None:
    shared = SimpleNamespace(records=Records(), models=ModelPool(NO_MODELS, Path(), {}), tables={})
    shared.models.versions.add("s", Path("1"))
    measured = [("s@base", 0.9), ("s@1", 0.3), ("s@1", 0.4)]
    entries = [{"model": "s", "version": version, "table": "dev", "accuracy": value} for version, value in measured]
    shared.records.add("evaluations", (0,), entries)
    config = LoopConfig(rounds=1, until={"metric": "accuracy", "model": "s", "on": "dev"}, steps=[{}])
    assert Watch(Loop(0, config, 1), shared).values == {0: 0.4}  # type: ignore[arg-type]


UNTIL = {"metric": "accuracy", "model": "student", "on": "dev"}


WINS = {**UNTIL, "metric": "win_rate"}
AT_2 = {**EXAM, "input": "test", "models": ["student@2"]}


def judged(*models: str, by: str) -> list[dict[str, Any]]:
    """A round that ends in an evaluation by a judge alone."""
    return [*LEARN[:3], {"step": "evaluate", "input": "dev", "models": list(models), "judge": by}]


@pytest.mark.parametrize(
    ("steps", "after", "loop", "what"),
    [
        ([{**COLLECT[0], "input": None}, *COLLECT[1:]], (), {}, "the first step of a loop must name the table"),
        (COLLECT, (), {"until": {"table": "pol", "rows": 9}}, "'pol' is written by no step of the loop"),
        (
            COLLECT,
            (),
            {"until": {"table": "pool", "rows": 9, "added_below": 2}},
            "ends at a number of rows, or when few",
        ),
        (COLLECT, (), {"until": {"table": "pool"}}, "ends at a number of rows, or when few are added"),
        (LEARN[:3], (), {"until": UNTIL}, "no evaluate of the loop asks 'student' about 'dev'"),
        (LEARN[:2], (), {"until": UNTIL}, "'student' is trained by no step of the loop"),
        (
            LEARN,
            (),
            {"until": {**UNTIL, "metric": "macro_f1"}},
            "metric: 'macro_f1' is measured by no evaluate that asks 'student' about 'dev'",
        ),
        (LEARN, (EXAM,), {"until": UNTIL}, "decided what steps[0] (loop) did: what is measured on it is no evidence"),
        ([{**COLLECT[0], "input": "pool"}, *COLLECT[1:]], (), {}, "table 'pool' is read here, but written only by"),
        ([*COLLECT, {"loop": {"steps": COLLECT}}], (), {}, "a loop cannot hold another loop"),
        ([*COLLECT[:2], {"step": "filter", "keep": "corect"}], (), {}, "expression 'corect' uses 'corect'"),
        (
            [*COLLECT, {"step": "filter", "keep": "instruction != ''", "output": "pool"}],
            (),
            {},
            "table 'pool' exists already",
        ),
        (
            judged("teacher", "student@base", by="student"),
            (),
            {"until": WINS},
            "no evaluate of the loop asks 'student'",
        ),
        (judged("student", "teacher", by="teacher"), (), {"until": WINS}, "so 'student' has no win rate of its own"),
        (judged("teacher", "student", by="teacher"), (), {"until": UNTIL}, "has only a judge"),
        (LEARN, (AT_2,), {"rounds": 1}, "model 'student@2' does not exist at this point of the chain"),
        (LEARN, (AT_2,), {"rounds": 3, "until": UNTIL}, "'student@2' may not exist: steps[0] (loop) can end before"),
        (COLLECT, ({**TRAIN, "input": "train"},), {}, "make no shape that training knows"),
    ],
)
def test_a_wrong_loop_is_refused(
    tmp_path: Path, steps: list[dict[str, Any]], after: tuple[dict[str, Any], ...], loop: dict[str, Any], what: str
) -> None:
    clean = [{key: value for key, value in step.items() if value is not None} for step in steps]
    assert any(what in message for message in problems(tmp_path, looped(clean, after, **loop)))


def test_a_column_that_a_carried_table_lacks_from_round_2_on_is_reported_as_such(tmp_path: Path) -> None:
    steps = [
        {"step": "generate", "input": "train", "model": "teacher", "prompt": "student/plain", "as": "instruction",
         "keep": [], "output": "train"},
        {"step": "filter", "keep": "len(reference) > 0"},
    ]  # fmt: skip
    first = {"step": "filter", "input": "train", "keep": "len(reference) > 0"}
    with pytest.raises(RecipeError) as caught:
        run(tmp_path, looped([first, *steps[:1]], rounds=2))
    (problem,) = caught.value.problems
    assert problem.message == "expression 'len(reference) > 0' uses 'reference', which no earlier step writes."
    assert problem.expected.startswith("this is so from round 2 on; columns here: ")


def checked(
    folder: Path, steps: list[dict[str, Any]], after: tuple[dict[str, Any], ...] = (), **loop: Any
) -> list[str]:
    """What the check says of a recipe with a loop, without a run."""
    values = looped(steps, after, **loop)
    used = json.dumps(values["steps"])
    values = {**values, "data": {name: BASE["data"][name] for name in BASE["data"] if f'"{name}"' in used}}
    values["models"] = {name: model for name, model in values["models"].items() if f'"{name}' in used}
    for name, rows in (("train", QUESTIONS), ("dev", DEV), ("test", HELD_OUT)):
        write_rows(folder / f"{name}.jsonl", rows)
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(folder / "recipe.yaml", env={})
    except RecipeError as error:
        return [problem.message for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("loop", "version"),
    [
        ({"rounds": 3}, "student@3"),
        ({"rounds": 3, "until": {**UNTIL, "patience": 2}}, "student@2"),
        ({"rounds": 2, "until": {**UNTIL, "patience": 5}}, "student@2"),
    ],
)
def test_a_version_that_a_loop_is_sure_to_train_can_be_named_after_it(
    tmp_path: Path, loop: dict[str, Any], version: str
) -> None:
    assert checked(tmp_path, LEARN, ({**AT_2, "models": [version]},), **loop) == []
    later = f"{version[:-1]}{int(version[-1]) + 1}"
    assert len(checked(tmp_path, LEARN, ({**AT_2, "models": [later]},), **loop)) == 1


GAP = {"by": "instruction", "teacher": "teacher", "student": "student", "on": "dev"}
DRAW = {"step": "mix", "tables": {"train": 1}, "rows": 4, "gap": GAP, "output": "drawn"}
BOTH = {**EXAM, "models": ["teacher", "student"], "by": ["instruction"]}


@pytest.mark.parametrize(
    ("exam", "said"),
    [
        (BOTH, []),
        (
            {**BOTH, "by": []},
            ["'teacher' on table 'dev' by 'instruction' comes before this step, and none of 'student'"],
        ),
        (
            {**BOTH, "models": ["teacher", "student@base"]},
            ["'student' on table 'dev' by 'instruction' comes before this step"],
        ),
        (
            {**BOTH, "input": "test"},
            ["'teacher' on table 'dev' by 'instruction' comes before this step, and none of 'student'"],
        ),
        (
            {**BOTH, "answer": None, "judge": "teacher"},
            ["'teacher' on table 'dev' by 'instruction' comes before this step, and none of 'student'"],
        ),
    ],
)
def test_a_gap_is_drawn_by_once_both_models_were_measured_by_its_column(
    tmp_path: Path, exam: dict[str, Any], said: list[str]
) -> None:
    exam = {name: value for name, value in exam.items() if value is not None}
    found = checked(tmp_path, [COLLECT[0], {"step": "format"}, TRAIN, exam, DRAW])
    assert found == [f"no evaluation of model {what}." for what in said]


def test_a_gap_needs_its_figures_in_round_1_and_a_prompt_can_wait_for_them(tmp_path: Path) -> None:
    first = {**COLLECT[0], "context": {"evaluation": "dev", "model": "student"}}
    assert checked(tmp_path, [first, *LEARN[1:]]) == []
    (found,) = checked(tmp_path, [first, *LEARN[1:3]])
    assert found == "no evaluation of model 'student' on table 'dev' comes before this step."
    (found,) = checked(tmp_path, [DRAW, COLLECT[0], *LEARN[1:3], BOTH])
    assert found.endswith("'teacher' on table 'dev' by 'instruction' comes before this step, and none of 'student'.")


def test_what_decides_is_no_table_that_the_model_learns_from_even_through_others(tmp_path: Path) -> None:
    exam = {**EXAM, "input": "train"}
    (found,) = checked(tmp_path, [*LEARN[:3], exam], until={**UNTIL, "on": "train"})
    assert found == "until.on: 'student' learns from rows of 'train', so its answers there prove nothing."
    assert checked(tmp_path, LEARN, until=UNTIL) == []
    f1 = {**EXAM, "metrics": ["macro_f1"]}
    assert checked(tmp_path, [*LEARN[:3], f1], until={**UNTIL, "metric": "macro_f1"}) == []


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ({**UNTIL, "patience": 0}, ["field 'until.patience' must be a whole number of at least 1, not 0."]),
        ({**UNTIL, "metric": "acuracy"}, ["until.metric: unknown metric 'acuracy'."]),
        ({"metric": "accuracy", "on": "dev"}, ["field 'until.model' is missing."]),
        ({**UNTIL, "patence": 1}, ["unknown field 'until.patence'."]),
        ({"table": "new", "rows": 0}, ["field 'until.rows' must be a whole number of at least 1, not 0."]),
        (
            {"table": "new"},
            ["field 'until' is {table: 'new'}: a loop by a table ends at a number of rows, or when few are added."],
        ),
    ],
)
def test_a_mistake_in_until_is_told_once_and_of_the_form_that_is_meant(
    tmp_path: Path, until: dict[str, Any], said: list[str]
) -> None:
    assert checked(tmp_path, LEARN, until=until)[: len(said) + 1] == said


def test_the_fields_that_a_message_lists_are_those_of_the_form_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        run(tmp_path, looped(COLLECT, until={"table": "new", "rows": 3, "row": 4}))
    assert [problem.expected for problem in caught.value.problems] == ["fields here: added_below, rows, table"]
    assert LoopConfig(until={"table": "new", "rows": 3}, steps=[{}]).until == UntilRows(table="new", rows=3)
