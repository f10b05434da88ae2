"""Recorded runs of the bundled recipes, replayed with the network off: no call, the same rows.

A change that breaks one changes what users' ledgers and data sets are worth: it goes into the changelog, and the
recording is made anew (`make golden RECIPE=name`, see `golden/record.py`).
"""

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import BudgetReached, TooManyFailed
from blackbox_kd.paths import find_bundled
from tests.promises.golden import replay
from tests.promises.golden.replay import RECORDINGS
from tests.support.runs import rows_of

MOST_BYTES = 300_000
"""Of one recording."""
ASKING = [recording for recording in RECORDINGS if replay.how(recording).replies]
"""Those of recipes that ask before they train: a recording ends where training begins."""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*where: Any) -> None:
        raise AssertionError(f"a replay calls nobody: {where[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def ready(recording: Path, folder: Path) -> None:
    """Fills the ledger of a folder; skips the test if the recording speaks of weights that are not installed."""
    missing = replay.missing_weights(replay.load(recording), replay.how(recording).until)
    if missing:
        pytest.skip(f"{recording.name}: {missing}")
    assert replay.fill(folder / "ledger.sqlite", rows_of(recording / "replies.jsonl")) == replay.how(recording).replies


def called(job: Any) -> dict[str, int]:
    counts = job.report["models"]
    return {name: sum(entry[name] for entry in counts) for name in ("calls", "replayed", "retried")}


def test_every_recipe_has_a_recording() -> None:
    recorded = {recording.name for recording in RECORDINGS}
    assert recorded == {file.stem for file in find_bundled("recipes").glob("*.yaml")}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_a_recorded_run_is_replayed_without_a_call_and_ends_in_the_same_rows(recording: Path, tmp_path: Path) -> None:
    ready(recording, tmp_path)
    told = replay.how(recording)
    job = replay.run(recording, replay.load(recording, None, replay.NOTHING), tmp_path)
    assert job.report["status"] == "complete"
    assert called(job)["calls"] == 0
    assert called(job)["replayed"] == (told.replayed or told.replies)
    assert job.report["spent"]["requests"] == job.report["spent"]["doubtful"] == 0
    assert replay.tables(tmp_path / "run") == told.tables
    assert rows_of(tmp_path / "run/dataset/train.jsonl") == rows_of(recording / "dataset.jsonl")
    assert (tmp_path / "run/dataset/train.jsonl").read_bytes() == (recording / "dataset.jsonl").read_bytes()


@pytest.mark.parametrize("recording", ASKING, ids=lambda recording: recording.name)
def test_another_character_in_a_prompt_is_a_call_which_a_replay_does_not_make(recording: Path, tmp_path: Path) -> None:
    ready(recording, tmp_path)
    recipe = replay.load(recording)
    place = tmp_path / "recipes"
    place.mkdir()
    text = (find_bundled("recipes") / f"{recording.name}.yaml").read_text()
    (place / "recipe.yaml").write_text(re.sub(r"(schema|database|tools|file): \.\./data/", r"\1: data/", text))
    shutil.copytree(find_bundled("data"), place / "data", ignore=shutil.ignore_patterns("*.jsonl", "*.gz"))
    for name, prompt in recipe.prompts.items():
        mine = place / "prompts" / f"{name}.jinja"
        mine.parent.mkdir(parents=True, exist_ok=True)
        text = prompt.path.read_text()
        before, end, after = text.rpartition("{% enduser %}")
        mine.write_text(f"{before.rstrip()}.\n{end}{after}" if end else f"{text.rstrip()}.\n")
    changed = replay.load(recording, place / "recipe.yaml", replay.NOTHING)
    ends: tuple[type[Exception], str] = (BudgetReached, r"0 requests of budget\.requests = 0 spent; the next call")
    if any(model.provider == "recorded" for model in recipe.models.values()):
        ends = (TooManyFailed, "[1-9] not recorded")
    with pytest.raises(ends[0], match=ends[1]):
        replay.run(recording, changed, tmp_path)


def test_another_word_in_a_recorded_reply_is_seen_in_the_rows(tmp_path: Path) -> None:
    [recording] = [each for each in RECORDINGS if each.name == "rationales_only"]
    other = Path(shutil.copytree(recording, tmp_path / "rationales_only"))
    text = (other / "replies.jsonl").read_text()
    (other / "replies.jsonl").write_text(text.replace("The answer is", "So the answer is"))
    replay.fill(tmp_path / "ledger.sqlite", rows_of(other / "replies.jsonl"))
    job = replay.run(other, replay.load(other, None, replay.NOTHING), tmp_path)
    assert called(job)["calls"] == 0
    assert replay.tables(tmp_path / "run") != replay.how(recording).tables


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_a_recording_is_small_and_holds_nothing_of_the_machine_that_made_it(recording: Path) -> None:
    files = [file for file in recording.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".jsonl"}
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    for trace in ("/home/", "/root/", "/tmp/", "/work/", "Bearer", "sk-of-nobody"):
        assert trace not in text
    for reply in rows_of(recording / "replies.jsonl"):
        assert json.loads(reply["body"])["choices"], "the body as it came"
