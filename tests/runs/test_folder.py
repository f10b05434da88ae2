import hashlib
import json
import random
import stat
from pathlib import Path

import pytest

from blackbox_kd import __version__
from blackbox_kd.errors import UserError
from blackbox_kd.privacy import write_whole
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.manifest import FinishedStage, TableFile
from blackbox_kd.runs.report.schema import Balance
from blackbox_kd.schema import Row
from blackbox_kd.tables.ordered_writer import OrderedLines
from blackbox_kd.tables.stored import StoredTable


def test_rows_written_in_any_order_are_stored_in_theirs(tmp_path: Path) -> None:
    stored = []
    for seed in (1, 2):
        places = [(number, f"r{number}.{sample}") for number in range(20) for sample in range(12)]
        random.Random(seed).shuffle(places)
        lines = OrderedLines(tmp_path / f"t{seed}.jsonl")
        for number, name in places:
            lines.add(number, name, {"id": name})
        stored.append(lines.finish())
    assert stored[0] == stored[1]
    ids = [json.loads(line)["id"] for line in (tmp_path / "t1.jsonl").read_text().splitlines()]
    assert ids[:12] == [f"r0.{sample}" for sample in range(12)]
    assert ids[12] == "r1.0"


def test_tables_longer_than_what_is_read_at_once_are_stored_in_order_too(tmp_path: Path) -> None:
    numbers = [*range(300), *range(600, 300, -1)]
    numbers[5:5] = [1000]
    lines = OrderedLines(tmp_path / "t.jsonl")
    for number in numbers:
        lines.add(number, f"r{number}", {"id": f"r{number}", "text": "ü" * 5000})
    rows, sha256 = lines.finish()
    written = (tmp_path / "t.jsonl").read_bytes()
    assert [json.loads(line)["id"] for line in written.splitlines()] == [f"r{number}" for number in sorted(numbers)]
    assert (rows, sha256) == (601, hashlib.sha256(written).hexdigest())


def test_a_table_without_rows_is_an_empty_file(tmp_path: Path) -> None:
    lines = OrderedLines(tmp_path / "t.jsonl")
    assert lines.finish() == (0, hashlib.sha256(b"").hexdigest())
    assert (tmp_path / "t.jsonl").read_bytes() == b""


def test_a_run_that_stops_leaves_no_table_that_looks_finished(tmp_path: Path) -> None:
    lines = OrderedLines(tmp_path / "t.jsonl")
    lines.add(0, "a", {"id": "a"})
    assert not (tmp_path / "t.jsonl").exists()
    lines.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_stored_table_can_be_read_twice_and_knows_its_rows(tmp_path: Path) -> None:
    lines = OrderedLines(tmp_path / "t.jsonl")
    lines.add(1, "b", {"id": "b", "text": "zwei \u2028 Zeilen"})
    lines.add(0, "a", {"id": "a", "text": "eins"})
    table = StoredTable("t", lines.path, *lines.finish())
    assert list(table) == list(table) == [Row(id="a", text="eins"), Row(id="b", text="zwei \u2028 Zeilen")]
    assert len(table) == 2


def test_a_folder_is_private_and_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run"):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        with pytest.raises(UserError, match="another process runs in this folder"):
            RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "run").close()


def finished(fingerprint: str, *tables: TableFile) -> FinishedStage:
    account = Balance.model_validate(Account("steps[0] (select)").entry())
    return FinishedStage(fingerprint=fingerprint, tables=list(tables), account=account, report={})


def test_a_stage_is_finished_only_with_the_same_fingerprint_and_its_files(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        lines = folder.table_lines("01_select")
        lines.add(0, "a", {"id": "a"})
        table = StoredTable("t", lines.path, *lines.finish())
        written = TableFile(name="t", path=folder.describe(table.path), rows=table.rows, sha256=table.sha256)
        folder.note_stage("01_select", finished("f", written))
        folder.save()
    with RunFolder(tmp_path / "run") as folder:
        found = folder.find_finished("01_select", ["f"])
        assert found is not None
        assert list(found.tables()[0]) == [Row(id="a")]
        assert folder.find_finished("01_select", ["other"]) is None
        lines.path.unlink()
        assert folder.find_finished("01_select", ["f"]) is None


def test_what_another_version_has_finished_counts(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.note_stage("01_select", finished("f"))
        folder.manifest.blackbox_kd = "0.0.1"
        folder.save()
    with RunFolder(tmp_path / "run") as folder:
        assert folder.find_finished("01_select", ["g", "f"]) is not None
        folder.save()
        assert json.loads((tmp_path / "run/manifest.json").read_text())["blackbox_kd"] == __version__


def test_a_damaged_manifest_means_that_nothing_is_skipped(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        (folder.path / "manifest.json").write_text("{half")
    with RunFolder(tmp_path / "run") as folder:
        assert folder.manifest.stages == {}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "one")
    write_whole(tmp_path / "a.txt", "two")
    assert (tmp_path / "a.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
