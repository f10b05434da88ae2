"""Where a run works: a trial and a shorter run keep away from what a longer one has left."""

import json
from pathlib import Path

import pytest

from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.manifest import Reached
from blackbox_kd.runs.workplace import Reach, Workplace, find_workplace


def left(folder: Path, step: tuple[int, int], limit: int | None = None) -> Path:
    """A run folder whose manifest says how far a run has gone."""
    folder.mkdir(parents=True)
    manifest = {"blackbox_kd": "0.1.0", "stages": {}, "reached": {"step": list(step), "limit": limit}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def left_by_an_earlier_version(folder: Path, *tables: str) -> Path:
    """A run folder whose manifest does not say how far: only the names of its tables do."""
    (folder / "tables").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"blackbox_kd": "0.1.0", "stages": {}}))
    for name in tables:
        (folder / "tables" / f"{name}.jsonl").touch()
    return folder


def test_a_whole_run_works_in_its_folder_whatever_is_there(tmp_path: Path) -> None:
    run = left(tmp_path / "run", (9, 0))
    assert find_workplace(run, Reach((4, 0)), is_named=False, until=None) == Workplace(run, run)


def test_a_trial_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    place = find_workplace(run, Reach((4, 0), 3), is_named=False, until=None)
    assert (place.run, place.path, place.longer) == (run, run / "trial", None)
    assert place.why == f"a trial with --limit 3: works in {run / 'trial'}"


@pytest.mark.parametrize(
    ("there", "limit", "where"),
    [(None, 3, "."), ((9, 3), 3, "."), ((9, 3), 5, "."), ((9, 5), 3, "trial"), ((9, None), 3, "trial")],
)
def test_a_trial_works_in_a_folder_that_was_named_if_no_fuller_run_has(
    tmp_path: Path, there: tuple[int, int | None] | None, limit: int, where: str
) -> None:
    run = tmp_path / "run"
    if there is not None:
        left(run, (there[0], 0), there[1])
    assert find_workplace(run, Reach((9, 0), limit), is_named=True, until=None).path == run / where


@pytest.mark.parametrize(
    ("there", "step", "is_shorter"),
    [((3, 0), (2, 0), True), ((3, 0), (3, 0), False), ((3, 0), (4, 0), False), ((3, 2), (3, 1), True)],
)
def test_a_run_up_to_a_step_works_apart_where_another_has_gone_further(
    tmp_path: Path, there: tuple[int, int], step: tuple[int, int], is_shorter: bool
) -> None:
    run = left(tmp_path / "run", there)
    place = find_workplace(run, Reach(step), is_named=False, until="filter")
    assert (place.path, place.longer) == ((run / "until_filter", run) if is_shorter else (run, None))


def test_a_trial_up_to_a_step_keeps_away_from_a_longer_trial(tmp_path: Path) -> None:
    run = left(tmp_path / "run", (9, 0))
    trial = left(run / "trial", (9, 0), 3)
    place = find_workplace(run, Reach((2, 0), 3), is_named=False, until="1")
    assert place == Workplace(run, trial / "until_1", trial, place.why)


@pytest.mark.parametrize(
    ("tables", "step"),
    [
        (("00_train", "03_filter", "05_format"), (5, 0)),
        (("00_train", "05_round1_02_filter", "05_round2_03_mix_pool", "05_round0_pool"), (5, 3)),
        (("00_train",), None),
        ((), None),
    ],
)
def test_of_what_an_earlier_version_left_the_tables_tell_how_far_it_came(
    tmp_path: Path, tables: tuple[str, ...], step: tuple[int, int] | None
) -> None:
    run = left_by_an_earlier_version(tmp_path / "run", *tables)
    assert Reach.read(run) == (None if step is None else Reach(step))


@pytest.mark.parametrize("manifest", ["{half", "[]", "7", '{"reached": 3}', '{"reached": {"step": []}}'], ids=str)
def test_a_damaged_manifest_says_nothing(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert Reach.read(tmp_path) is None


def test_a_run_that_stops_early_does_not_make_the_folder_a_shorter_runs(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "long") as folder:
        Reach((6, 0)).set(folder)
        Reach((2, 0), 5).note(folder)
        assert folder.manifest.reached == Reached(step=(6, 0), limit=None)
    with RunFolder(tmp_path / "fresh") as folder:
        Reach((2, 0), 5).note(folder)
        Reach((3, 0), 4).note(folder)
        assert folder.manifest.reached == Reached(step=(3, 0), limit=5)
