"""What a user reads when the ledger's file cannot be used, and what is kept."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.admin import rescue
from blackbox_kd.ledger.connection import PAGE_BYTES, VERSION, explain_fault
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger, Spent
from blackbox_kd.ledger.met import Bought
from blackbox_kd.schema import Usage

NOBODY = 65534


async def buy(ledger: Ledger, key: str, body: str = "{}") -> None:
    intent = await ledger.intend(key, {}, model="teacher", row_id="r1", reserved_usd=0.5)
    assert isinstance(intent, Intent)
    await intent.settle(body, usage=Usage(10, 5), cost_usd=0.25)


@pytest.fixture
async def ledger_of_200(tmp_path: Path) -> Path:
    """A closed ledger with the replies 0 to 199."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, "demo") as ledger:
        for start in range(0, 200, 20):
            numbers = range(start, start + 20)
            await asyncio.gather(*[buy(ledger, str(number), f"reply {number} " + "x" * 1000) for number in numbers])
    return path


def message_of_open(path: Path) -> str:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path, "demo")
    assert before is None or path.read_bytes() == before, "a file that is refused is not changed"
    assert str(path) in str(caught.value)
    return str(caught.value)


class TestRefused:
    async def test_a_newer_version(self, ledger_of_200: Path) -> None:
        with closing(sqlite3.connect(ledger_of_200)) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        message = message_of_open(ledger_of_200)
        assert f"has version {VERSION + 1}; this blackbox-kd reads versions up to {VERSION}" in message
        assert "upgrade blackbox-kd, or name another file" in message

    def test_a_database_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "photos.db"
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE photos (id)")
        message = message_of_open(path)
        assert message.splitlines()[0].endswith("is an SQLite database, but not a ledger")
        assert message.splitlines()[1:] == ["  it was not changed", "  fix: name another file"]

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("Dear diary, " * 1000)
        message = message_of_open(path)
        assert "is not an SQLite database, or its first page is damaged (" in message
        assert message.splitlines()[1:] == [
            "  it was not changed",
            "  fix: name another file, or put a backup in its place",
        ]

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "cannot be opened for writing" in message_of_open(tmp_path)

    async def test_a_truncated_file(self, ledger_of_200: Path) -> None:
        os.truncate(ledger_of_200, ledger_of_200.stat().st_size // 2)
        message = message_of_open(ledger_of_200)
        assert "is damaged (" in message
        assert "\n  it was left as it is\n" in message
        assert "blackbox-kd ledger rescue FILE NEW_FILE" in message


class TestDamaged:
    async def test_a_damaged_page_is_an_error_and_never_a_wrong_reply(self, ledger_of_200: Path) -> None:
        damage(ledger_of_200)
        with Ledger.open(ledger_of_200, "demo") as ledger:
            read = [answer(ledger, str(number)) for number in range(200)]
        wrong = {number: text for number, text in enumerate(read) if text != f"reply {number} " + "x" * 1000}
        assert 1 <= len(wrong) <= 50
        assert all("is damaged (" in text and "it was left as it is" in text for text in wrong.values())

    async def test_whoever_looks_for_many_at_once_gets_the_error_for_the_damaged_ones_alone(
        self, ledger_of_200: Path
    ) -> None:
        damage(ledger_of_200)
        with Ledger.open(ledger_of_200, "demo") as ledger:
            found = await asyncio.gather(*[ledger.fetch(str(n)) for n in range(200)], return_exceptions=True)
            alone = [answer(ledger, str(number)) for number in range(200)]
        assert [each.body if isinstance(each, Bought) else str(each) for each in found] == alone
        assert sum(isinstance(each, LedgerError) for each in found) <= 50

    async def test_the_replies_on_other_pages_can_be_rescued(self, ledger_of_200: Path) -> None:
        damage(ledger_of_200)
        assert 150 <= rescued(ledger_of_200) < 200

    async def test_the_replies_in_what_is_left_of_a_truncated_file_can_be_rescued(self, ledger_of_200: Path) -> None:
        os.truncate(ledger_of_200, ledger_of_200.stat().st_size // 2)
        assert 50 <= rescued(ledger_of_200) < 150

    async def test_a_ledger_of_the_second_version_can_be_rescued_with_its_intents(self, ledger_of_200: Path) -> None:
        with Ledger.open(ledger_of_200, "demo") as ledger:
            await ledger.intend("left", {}, model="m", row_id="r1", reserved_usd=0.5)
        with closing(sqlite3.connect(ledger_of_200)) as db:
            db.executescript("ALTER TABLE intents DROP COLUMN lost_at; PRAGMA user_version = 2")
        new = ledger_of_200.with_name("new.sqlite")
        assert rescue(ledger_of_200, new) == 200
        with Ledger.open(new, "demo") as ledger:
            assert ledger.count_spent().doubtful == 1

    async def test_a_rescue_overwrites_nothing(self, ledger_of_200: Path) -> None:
        with pytest.raises(LedgerError, match="exists") as caught:
            rescue(ledger_of_200, ledger_of_200)
        assert caught.value.fix == "name a file that does not"


def answer(ledger: Ledger, key: str) -> str:
    """A reply, or why there is none."""
    try:
        return ledger.get(key) or "none"
    except LedgerError as error:
        return str(error)


def rescued(path: Path) -> int:
    """How many replies a rescue saves; each of them is right, and the new file is a whole ledger."""
    new = path.with_name("new.sqlite")
    count = rescue(path, new)
    with Ledger.open(new, "demo") as ledger:
        replies = {str(number): ledger.get(str(number)) for number in range(200)}
        assert ledger.count_spent() == Spent(requests=count, tokens=15 * count, usd=0.25 * count)
    kept = {number: reply for number, reply in replies.items() if reply is not None}
    assert kept == {number: f"reply {number} " + "x" * 1000 for number in kept}
    assert len(kept) == count
    with closing(sqlite3.connect(new)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return count


def damage(path: Path) -> None:
    """Overwrites one page of replies, found by what it holds."""
    data = path.read_bytes()
    page = data.index(b"reply 100 x") // PAGE_BYTES
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(b"\xff" * PAGE_BYTES)


class TestReadOnly:
    def test_a_folder_without_the_right_to_write(self) -> None:
        with unwritable(lambda folder: None) as folder:
            message = message_of_open(folder / "ledger.sqlite")
        assert "cannot be opened for writing (" in message
        assert "\n  it was not changed\n" in message
        assert "fix: make the file and its folder writable" in message

    def test_a_file_without_the_right_to_write(self) -> None:
        def make(folder: Path) -> None:
            Ledger.open(folder / "ledger.sqlite", "demo").close()
            (folder / "ledger.sqlite").chmod(0o444)

        with unwritable(make) as folder:
            message = message_of_open(folder / "ledger.sqlite")
        assert "cannot be opened for writing (" in message
        assert "\n  it was not changed\n" in message


@contextmanager
def unwritable(make: Callable[[Path], None]) -> Iterator[Path]:
    """A folder that `make` has filled, while this process has no right to write in it, also if it is root."""
    folder = Path(tempfile.mkdtemp())  # `tmp_path` is below a folder that nobody else may enter
    is_root = os.geteuid() == 0
    try:
        make(folder)
        folder.chmod(0o555)
        if is_root:
            os.seteuid(NOBODY)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


class TestBusy:
    def test_a_file_that_another_program_keeps_locked(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        with closing(sqlite3.connect(path)) as shell, closing(sqlite3.connect(path, timeout=0)) as other:
            shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError) as caught:
                other.execute("BEGIN IMMEDIATE")
        message = str(explain_fault(caught.value, path))
        assert f"ledger {str(path)!r} was kept locked by another program for 30 s (" in message
        assert "fix: close that program and run the same command" in message


FILL_THE_DISK = """
import asyncio, sys
from pathlib import Path
from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.ledger import Ledger, Spent
from blackbox_kd.ledger.admin import rescue
from blackbox_kd.schema import Usage

async def main():
    filler = Path("filler")
    filler.write_bytes(bytes(2_000_000))
    with Ledger.open(Path("ledger.sqlite"), "demo") as ledger:
        kept, message = [], ""
        for number in range(1000):
            intent = await ledger.intend(str(number), {}, model="teacher", row_id="r1", reserved_usd=0.5)
            try:
                await intent.settle("x" * 5000, usage=Usage(10, 5), cost_usd=0.25)
            except LedgerError as error:
                message = str(error)
                break
            kept.append(str(number))
        assert 10 < len(kept) < 1000, len(kept)
        assert "the disk is full (" in message and "all that was stored before is kept" in message, message
        assert "fix: free some space and run the same command" in message, message
        assert all(ledger.get(key) == "x" * 5000 for key in kept)
        assert ledger.get(str(len(kept))) is None
        filler.unlink()
        await intent.settle("late", usage=Usage(10, 5), cost_usd=0.25)
    with Ledger.open(Path("ledger.sqlite"), "demo") as ledger:
        assert ledger.get(str(len(kept))) == "late"
        assert ledger.count_spent().requests == len(kept) + 1
        assert ledger.count_spent().doubtful == 0
    print("ok")

asyncio.run(main())
"""


class TestFullDisk:
    def test_what_was_stored_is_kept_and_the_ledger_goes_on_once_there_is_space(self, tmp_path: Path) -> None:
        mount = f"mount -t tmpfs -o size=4m none {tmp_path}"
        if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode != 0:
            pytest.skip("no file system of 4 MB can be mounted without privileges here")
        script = f'{mount} && cd {tmp_path} && exec "$0" -c "$1"'
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, sys.executable, FILL_THE_DISK],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.stdout == "ok\n", done.stderr


class TestRemoved:
    @pytest.mark.parametrize("how", ["removed", "replaced", "own_with_its_folder"])
    async def test_a_ledger_that_is_removed_while_a_run_goes_on_ends_it_and_what_is_paid_for_is_saved(
        self, tmp_path: Path, how: str
    ) -> None:
        path = tmp_path / "runs/ledger.sqlite"
        ledger = Ledger.open(path, "demo")
        await buy(ledger, "first", "reply 1")
        intent = await ledger.intend("second", {}, model="m", row_id="r", reserved_usd=0.0)
        assert isinstance(intent, Intent)
        shutil.rmtree(path.parent)
        if how != "own_with_its_folder":
            path.parent.mkdir()
        if how == "replaced":
            path.write_bytes(b"")
        late = [buy(ledger, f"later {number}") for number in range(3)]
        settled, *caught = await asyncio.gather(
            intent.settle("reply 2", usage=Usage(), cost_usd=0.0), *late, return_exceptions=True
        )
        assert settled is None
        assert ledger.get("second") == "reply 2"
        with pytest.raises(LedgerError) as at_the_end:
            ledger.close()
        ledger.close()
        [saved] = path.parent.glob("ledger.sqlite.saved-*")  # one, and with nothing beside it
        for error in [*caught, at_the_end.value]:
            assert isinstance(error, LedgerError)
            assert str(error).splitlines() == [
                f"ledger '{path}' was removed or replaced while the run goes on; what it held is in {saved}",
                f"  fix: run the same command with --ledger {saved}: it goes on",
            ]
        with Ledger.open(saved, "demo") as ledger:
            assert [ledger.get(key) for key in ("first", "second", "later 0")] == ["reply 1", "reply 2", None]
            assert ledger.count_spent().doubtful == 0

    async def test_own_a_ledger_that_is_removed_after_the_last_reply_is_saved_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        ledger = Ledger.open(path, "demo")
        await buy(ledger, "first", "reply 1")
        path.unlink()
        with pytest.raises(LedgerError, match="what it held is in"):
            ledger.close()
        [saved] = tmp_path.glob("ledger.sqlite.saved-*")
        with Ledger.open(saved, "demo") as ledger:
            assert ledger.get("first") == "reply 1"
