"""A run keeps its files to its user and its libraries quiet, also where it is not the command line that runs it."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_kd.calls.batch.store import Store
from blackbox_kd.privacy import hide_key, open_anew
from tests.support.runs import execute, trained

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
TEACH = {
    "name": "demo",
    "data": {"train": {"path": "train.jsonl"}},
    "models": {"teacher": {"provider": "scripted", "price": {"input": 1, "output": 1}}},
    "steps": [
        {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2, "temperature": 1.0},
        {"step": "check", "answer": "number"},
        {"step": "filter", "keep": "sample == 0"},
        {"step": "select", "rows": 4},
        {"step": "format"},
    ],
}


@pytest.fixture
def _everybody_may_read() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def exposed(*places: Path) -> list[str]:
    """What others could read of what lies in folders, the folders themselves left out."""
    inside = [path for place in places for path in place.rglob("*") if not path.is_symlink()]
    return [f"{path} {stat.S_IMODE(path.stat().st_mode):o}" for path in inside if path.stat().st_mode & 0o077]


@pytest.mark.usefixtures("_everybody_may_read")
def test_the_files_of_a_run_are_their_owners_in_a_folder_that_everybody_may_enter(tmp_path: Path) -> None:
    run, ledgers = tmp_path / "run", tmp_path / "ledgers"
    for folder in (run, ledgers):
        folder.mkdir(mode=0o777)
    execute(tmp_path, TEACH, ledger=ledgers / "ledger.sqlite")
    made = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert {"tables/05_format.jsonl", "dataset/train.parquet", "report.md", "manifest.json", "work/lock"} <= made
    assert exposed(run, ledgers) == []


def test_so_are_those_of_a_training() -> None:
    made = {path.name for path in trained().path.rglob("*")}
    assert {"adapter_model.safetensors", "training.json", "chat_template.jinja"} <= made
    assert exposed(trained().path) == []


@pytest.mark.usefixtures("_everybody_may_read")
def test_so_are_the_files_of_a_batch(tmp_path: Path) -> None:
    store = Store(tmp_path / "ledger.sqlite", "run")
    store.folder.mkdir(mode=0o777, parents=True)
    store._write(store.folder / "requests.jsonl", [b"{}\n"])
    assert exposed(store.folder) == []


def test_a_new_file_takes_the_place_of_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "mine")
    with open_anew(tmp_path / "file") as file:
        file.write(b"new")
    assert ((tmp_path / "mine").read_text(), (tmp_path / "file").read_text()) == ("mine", "new")


QUIET = """
import sys
if "late" in sys.argv:
    import huggingface_hub.constants
from blackbox_kd.privacy import switch_off_telemetry
switch_off_telemetry()
import huggingface_hub.constants
print(huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY)
"""


@pytest.mark.parametrize(("when", "said", "is_off"), [("early", "", True), ("late", "", True), ("late", "0", False)])
def test_libraries_report_nothing_unless_the_user_lets_them(when: str, said: str, is_off: bool) -> None:
    env = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key and key != "DO_NOT_TRACK"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": said} if said else {}
    done = subprocess.run([sys.executable, "-c", QUIET, when], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(is_off)


@pytest.mark.parametrize(
    "text",
    [
        "Bearer sk-a/Ky+01 was sent",
        r'{"said": "sk-a\/Ky+01"}',
        r'{"said": "\u0073\u006b\u002D\u0061\u002f\u004b\u0079\u002b01"}',
        r'{"said": "{\"key\": \"s\\u006b-a\\/Ky+01\"}"}',
        "https://elsewhere/?k=sk-a%2FKy%2b01",
        "https://elsewhere/?next=%3Fk%3Dsk-a%252FKy%252B01",
        "<p>sk&#45;a&#x2F;Ky&#043;01</p>",
    ],
)
def test_a_key_is_taken_out_of_a_text_however_it_is_written(text: str) -> None:
    left = hide_key(text, "sk-a/Ky+01")
    assert "[key]" in left
    assert "01" not in left
    assert hide_key(text, "sk-a/Ky+02") == text
    assert hide_key(text, None) == text


def test_a_long_text_of_backslashes_is_looked_through_in_linear_time() -> None:
    text = "\\" * 300_000 + "\\u0073"
    assert hide_key(text, "sk-0123456789abcdef") == text
