"""What the ledger promises after a crash of the process (SIGKILL) and of the machine (a cut or damaged log)."""

import asyncio
import json
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.schema import Usage

CONCURRENCY = 16


def reply_to(key: str) -> str:
    return json.dumps({"answer": f"to {key}"})


class CountingServer:
    """Answers keys over TCP after up to 8 ms, and counts how often each was asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.was_asked = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        start = asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                key = line.decode().strip()
                self.asked[key] += 1
                self.was_asked.set()
                await asyncio.sleep(random.random() * 0.008)
                writer.write(f"{reply_to(key)}\n".encode())
        except ConnectionError:
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    server = CountingServer()
    yield server
    server.close()


def ask_all(path: Path, port: int, keys: list[str], settled: Path) -> None:
    """A run: asks what the ledger does not have, and notes each reply in `settled` once it is stored."""

    async def worker(ledger: Ledger, todo: Iterator[str], notes: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for key in todo:
            if ledger.get(key) is not None:
                continue
            intent = await ledger.intend(key, {"key": key}, model="teacher", row_id=key, reserved_usd=0.5)
            if not isinstance(intent, Intent):
                continue  # another process has bought it in the meantime
            writer.write(f"{key}\n".encode())
            body = (await reader.readline()).decode().strip()
            await intent.settle(body, usage=Usage(10, 5), cost_usd=0.25)
            os.write(notes, f"{key}\n".encode())
        writer.close()

    async def main() -> None:
        todo = iter(keys)
        notes = os.open(settled, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        with Ledger.open(path, "demo") as ledger:
            await asyncio.gather(*[worker(ledger, todo, notes) for _ in range(CONCURRENCY)])

    asyncio.run(main())


def start(*args: Any) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=ask_all, args=args)
    process.start()
    return process


def in_flight(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [key for (key,) in db.execute("SELECT key FROM intents WHERE repeated_by IS NULL")]


def kill_and_resume(tmp_path: Path, server: CountingServer, kills: int, calls: int) -> None:
    """Kills a run at random moments, starts it again each time, lets the last one finish, and compares."""
    path, settled = tmp_path / "ledger.sqlite", tmp_path / "settled"
    moments = random.Random(7)
    keys = [f"k{number}" for number in range(calls)]
    asked_when_stored: dict[str, int] = {}
    left_in_flight: Counter[str] = Counter()

    for _ in range(kills):
        server.was_asked.clear()
        process = start(path, server.port, keys, settled)
        assert server.was_asked.wait(60)
        process.join(moments.random() * 0.2)
        process.kill()
        process.join()
        for key in settled.read_text().split() if settled.exists() else []:
            asked_when_stored.setdefault(key, server.asked[key])
        left_in_flight.update(in_flight(path))
    assert len(asked_when_stored) < calls, "the run was over before the last kill: nothing was tested"

    process = start(path, server.port, keys, settled)
    process.join()
    assert process.exitcode == 0

    with Ledger.open(path, "demo") as ledger:
        assert {key: ledger.get(key) for key in keys} == {key: reply_to(key) for key in keys}
        assert {key: server.asked[key] for key in asked_when_stored} == asked_when_stored, (
            "a stored reply was asked again"
        )
        bought_again = {key: count - 1 for key, count in server.asked.items() if count > 1}
        assert ledger.count_repeated() == left_in_flight.total()
        assert all(count <= left_in_flight[key] for key, count in bought_again.items())
        assert left_in_flight.total() <= kills * CONCURRENCY
        spent = ledger.count_spent()
        assert (spent.requests, spent.usd) == (calls, calls * 0.25)
        assert (spent.doubtful, spent.doubtful_usd) == (left_in_flight.total(), left_in_flight.total() * 0.5)
    assert in_flight(path) == []


class TestKill:
    def test_ten_kills_lose_no_stored_reply_and_count_every_repeated_call(
        self, tmp_path: Path, server: CountingServer
    ) -> None:
        kill_and_resume(tmp_path, server, kills=10, calls=3000)

    @pytest.mark.slow
    def test_a_hundred_kills_lose_no_stored_reply_and_count_every_repeated_call(
        self, tmp_path: Path, server: CountingServer
    ) -> None:
        kill_and_resume(tmp_path, server, kills=100, calls=50000)

    def test_two_processes_of_which_one_is_killed_over_and_over(self, tmp_path: Path, server: CountingServer) -> None:
        path = tmp_path / "ledger.sqlite"
        moments = random.Random(7)
        keys = [f"k{number}" for number in range(3000)]
        steady = start(path, server.port, keys, tmp_path / "settled")
        while steady.is_alive():
            shaky = start(path, server.port, keys[::-1], tmp_path / "settled by those that were killed")
            shaky.join(0.3 + moments.random())
            shaky.kill()
            shaky.join()
        assert steady.exitcode == 0
        with Ledger.open(path, "demo") as ledger:
            assert {key: ledger.get(key) for key in keys} == {key: reply_to(key) for key in keys}
            assert server.asked.total() <= ledger.count_spent().requests + ledger.count_spent().doubtful
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def write_and_keep_the_log(folder: Path, count: int = 40) -> tuple[Path, list[int]]:
    """A copy of a ledger with all replies still in its log, and how long the log was when each was stored."""
    path = folder / "ledger.sqlite"
    Ledger.open(path, "demo").close()
    lengths = []
    copy = folder / "copy"
    copy.mkdir()
    with Ledger.open(path, "demo") as ledger:
        for number in range(count):
            key = str(number)
            intent = await ledger.intend(key, {}, model="teacher", row_id=key, reserved_usd=0.5)
            assert isinstance(intent, Intent)
            await intent.settle(reply_to(key) * 100, usage=Usage(10, 5), cost_usd=0.25)
            lengths.append(Path(f"{path}-wal").stat().st_size)
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            shutil.copy(folder / name, copy / name)
    return copy, lengths


def check_after_power_cut(folder: Path, intact_bytes: int, lengths: list[int]) -> None:
    """What was stored within the intact part of the log is there; of the rest, nothing or the right thing."""
    with Ledger.open(folder / "ledger.sqlite", "demo") as ledger:
        for number, length in enumerate(lengths):
            reply = ledger.get(str(number))
            promised = length <= intact_bytes
            assert reply == reply_to(str(number)) * 100 or (reply is None and not promised)
        assert ledger.count_spent().requests + ledger.count_spent().doubtful <= len(lengths)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class TestPowerCut:
    """`settle` returns after an fsync, so a power cut spares at least the length that the log had then."""

    async def test_a_log_that_was_cut_short_keeps_all_that_was_stored_before_the_cut(self, tmp_path: Path) -> None:
        saved, lengths = await write_and_keep_the_log(tmp_path)
        cuts = random.Random(7).sample(range(lengths[-1]), 40)
        for at in [*cuts, *lengths[-3:], 0]:
            folder = shutil.copytree(saved, tmp_path / "cut", dirs_exist_ok=False)
            os.truncate(folder / "ledger.sqlite-wal", at)
            check_after_power_cut(folder, at, lengths)
            shutil.rmtree(folder)

    async def test_a_log_with_a_damaged_tail_keeps_all_that_was_stored_before_the_damage(self, tmp_path: Path) -> None:
        saved, lengths = await write_and_keep_the_log(tmp_path)
        places = random.Random(8)
        for _ in range(40):
            folder = shutil.copytree(saved, tmp_path / "damaged", dirs_exist_ok=False)
            at = places.randrange(32, lengths[-1])  # the first 32 bytes are the log's header, written once
            with (folder / "ledger.sqlite-wal").open("r+b") as log:
                log.seek(at)
                byte = log.read(1)[0]
                log.seek(at)
                log.write(bytes([byte ^ 1 << places.randrange(8)]))
            check_after_power_cut(folder, at, lengths)
            shutil.rmtree(folder)

    async def test_garbage_after_the_last_commit_is_ignored(self, tmp_path: Path) -> None:
        folder, lengths = await write_and_keep_the_log(tmp_path)
        with (folder / "ledger.sqlite-wal").open("ab") as log:
            log.write(random.Random(9).randbytes(10_000))
        check_after_power_cut(folder, lengths[-1], lengths)


TRACED = """
import asyncio, os, sys
from pathlib import Path
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.schema import Usage

async def buy(ledger, key):
    intent = await ledger.intend(key, {}, model="teacher", row_id=key, reserved_usd=0.5)
    os.write(1, b"intended ")
    await intent.settle("{}", usage=Usage(10, 5), cost_usd=0.25)
    os.write(1, b"settled ")

async def main():
    with Ledger.open(Path(sys.argv[1]), "demo") as ledger:
        os.write(1, b"one-by-one ")
        for number in range(20):
            await buy(ledger, str(number))
        os.write(1, b"together ")
        await asyncio.gather(*[buy(ledger, f"t{number}") for number in range(200)])
        os.write(1, b"end ")

asyncio.run(main())
"""


def events(tmp_path: Path) -> list[str]:
    """What a traced process did in order: `fsync` of the log, and the words that it wrote."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-s", "64", "-e", "trace=fsync,fdatasync,write", "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", TRACED, str(tmp_path / "ledger.sqlite")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = []
    for line in trace.read_text().splitlines():
        if re.search(r"(fsync|fdatasync)(\(\d+<[^>]*-wal>\)| resumed).* = 0", line):
            found.append("fsync")
        elif word := re.search(r'write\(1<[^>]*>, "([a-z-]+) "', line):
            found.append(word[1])
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
class TestFsync:
    def test_every_intent_and_every_reply_is_on_disk_before_the_caller_goes_on(self, tmp_path: Path) -> None:
        happened = events(tmp_path)
        one_by_one = happened[happened.index("one-by-one") + 1 : happened.index("together")]
        assert one_by_one == ["fsync", "intended", "fsync", "settled"] * 20
        together = happened[happened.index("together") + 1 : happened.index("end")]
        assert Counter(together)["settled"] == 200
        assert 2 <= Counter(together)["fsync"] <= 100, "400 writes share the fsyncs of a few commits"
