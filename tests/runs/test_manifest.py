"""The manifest as types: what version 0.1 has left loads, what a later one has added stays, and what is damaged counts
for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd import __version__
from blackbox_kd.runs.manifest import Manifest, read_manifest

LEFT = Path(__file__).parent.parent / "promises" / "left_by_0_1" / "run"


def held(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def test_what_0_1_has_left_loads_and_is_written_as_it_was() -> None:
    manifest = read_manifest(LEFT)
    assert json.loads(manifest.write()) == held(LEFT)
    assert len(manifest.stages) > 10
    trained = [model for stage in manifest.stages.values() for model, _ in stage.trained]
    assert set(trained) == {"student"}


def test_what_a_later_version_has_added_is_kept(tmp_path: Path) -> None:
    later = held(LEFT) | {"blackbox_kd": "9.9", "colour": "blue"}
    name = next(iter(later["stages"]))
    later["stages"][name] |= {"seconds": 3.5}
    (tmp_path / "manifest.json").write_text(json.dumps(later))
    assert json.loads(read_manifest(tmp_path).write()) == later | {"blackbox_kd": __version__}


@pytest.mark.parametrize(
    "text",
    ["{half", "[]", '{"stages": 3}', '{"blackbox_kd": "0.1.0", "stages": {"01_select": {"fingerprint": "f"}}}', "\xff"],
)
def test_a_damaged_manifest_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    assert read_manifest(tmp_path) == Manifest(blackbox_kd=__version__)


def test_a_folder_without_a_manifest_has_finished_nothing(tmp_path: Path) -> None:
    assert read_manifest(tmp_path).stages == {}
    assert json.loads(read_manifest(tmp_path).write()) == {"blackbox_kd": __version__, "stages": {}, "tables": {}}
