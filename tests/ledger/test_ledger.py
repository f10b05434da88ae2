"""What the ledger promises, apart from crashes (`test_ledger_crash`)."""

import asyncio
import json
import multiprocessing
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from blackbox_kd.errors import AskedElsewhere, LedgerError
from blackbox_kd.ledger import admin, adopt, sqlite_file
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger, Spent, compute_key
from blackbox_kd.ledger.met import Bought
from blackbox_kd.schema import Usage

WIRE = {"endpoint": "https://api.example/v1", "model": "m", "messages": [{"role": "user", "content": "2 + 2?"}]}
USAGE = Usage(prompt_tokens=10, completion_tokens=5)


def body(text: str) -> str:
    return json.dumps({"choices": [{"message": {"content": text}}]}, ensure_ascii=False)


async def intend(
    ledger: Ledger, key: str, usd: float | None = 0.5, tokens: int = 100, *, yields: bool = False
) -> Intent:
    return may_send(await try_to_intend(ledger, key, usd, tokens, yields=yields))


def bought(text: str) -> Bought:
    return Bought(body(text), 0.25)


async def try_to_intend(
    ledger: Ledger, key: str, usd: float | None = 0.5, tokens: int = 100, *, yields: bool = False
) -> Intent | Bought:
    return await ledger.intend(
        key, WIRE, model="teacher", row_id="r1", reserved_usd=usd, reserved_tokens=tokens, yields=yields
    )


def may_send(found: Intent | str) -> Intent:
    assert isinstance(found, Intent), "another process has bought it"
    return found


async def buy(ledger: Ledger, key: str, text: str = "4", usage: Usage = USAGE, cost: float | None = 0.25) -> None:
    intent = await intend(ledger, key)
    await intent.settle(body(text), usage=usage, cost_usd=cost)


def query(path: Path, sql: str) -> list[Any]:
    """What anybody with SQLite reads."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


class TestKeys:
    CALL: ClassVar[dict[str, Any]] = {"row_id": "r1", "sample": 0, "attempt": 0, "round": 0}

    def test_a_key_stays_what_it_is_from_release_to_release(self) -> None:
        assert compute_key(WIRE, **self.CALL) == "a509d9986855573957c74932b878d45efd9724d1556697af20fce5151c301120"

    def test_the_order_of_the_fields_of_a_request_does_not_matter(self) -> None:
        assert compute_key(dict(reversed(WIRE.items())), **self.CALL) == compute_key(WIRE, **self.CALL)

    @pytest.mark.parametrize(
        "other", [{"row_id": "r2"}, {"sample": 1}, {"attempt": 1}, {"round": 1}], ids=lambda other: next(iter(other))
    )
    def test_each_part_of_a_call_makes_another_key(self, other: dict[str, Any]) -> None:
        assert compute_key(WIRE, **self.CALL | other) != compute_key(WIRE, **self.CALL)

    def test_another_request_makes_another_key(self) -> None:
        assert compute_key(WIRE | {"temperature": 0.7}, **self.CALL) != compute_key(WIRE, **self.CALL)

    def test_text_without_a_utf8_form_has_a_key_too(self) -> None:
        keys = {compute_key({"content": text}, **self.CALL) for text in ("\ud83d", "\ud83e", "?")}
        assert len(keys) == 3


class TestReplies:
    async def test_a_reply_is_there_after_the_ledger_was_closed_and_opened(self, path: Path) -> None:
        raw = body("Zwölf, 12 — 十二\n\u2028 🙂")
        with Ledger.open(path, "demo") as ledger:
            assert ledger.get("k") is None
            intent = await intend(ledger, "k")
            await intent.settle(raw, usage=USAGE, cost_usd=0.25)
            assert ledger.get("k") == raw
        with Ledger.open(path, "another run") as ledger:
            assert ledger.get("k") == raw

    async def test_what_many_look_for_at_once_is_found_for_each(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await asyncio.gather(*[buy(ledger, str(number), str(number)) for number in range(0, 300, 2)])
            found = await asyncio.gather(*[ledger.fetch(str(number)) for number in [*range(300), 8]])
            assert found == [None if number % 2 else bought(str(number)) for number in [*range(300), 8]]

    async def test_who_stops_looking_leaves_the_others_to_find(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "k", "4")
            first, second = ledger.fetch("k"), ledger.fetch("k")
            first.cancel()
            assert await second == bought("4")

    def test_a_ledger_serves_one_event_loop_after_another_whatever_became_of_the_first(self, path: Path) -> None:
        async def leave(ledger: Ledger) -> None:
            ledger.fetch("k")
            left = asyncio.ensure_future(intend(ledger, "left"))
            await asyncio.sleep(0)
            assert not left.done()

        with Ledger.open(path, "demo") as ledger:
            asyncio.run(leave(ledger))
            asyncio.run(buy(ledger, "k", "4"))

            async def look() -> Bought | None:
                return await ledger.fetch("k")

            assert asyncio.run(look()) == bought("4")

    async def test_a_body_that_is_no_json_is_kept_as_it_came(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            for key, text in (("html", "<html>502</html>"), ("empty", "")):
                intent = await intend(ledger, key)
                await intent.settle(text, usage=Usage(), cost_usd=None)
            assert (ledger.get("html"), ledger.get("empty")) == ("<html>502</html>", "")

    async def test_text_without_a_utf8_form_is_stored_readably(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            intent = await ledger.intend("k", {"content": "\ud83d"}, model="teacher", row_id="r1", reserved_usd=0)
            await may_send(intent).settle("a\ud83db", usage=USAGE, cost_usd=0)
            assert ledger.get("k") == "a?b"
        assert query(path, "SELECT wire FROM replies") == [('{"content":"\\ud83d"}',)]

    async def test_anybody_can_read_the_file_with_sqlite_during_a_run(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "k", "four")
            assert query(path, "SELECT count(*) FROM replies") == [(1,)]
            text = "json_extract(body, '$.choices[0].message.content'), json_extract(wire, '$.model')"
            columns = "run, model, row_id, prompt_tokens, completion_tokens, cost_usd"
            assert query(path, f"SELECT {text}, {columns} FROM replies") == [
                ("four", "m", "demo", "teacher", "r1", 10, 5, 0.25)
            ]

    async def test_the_file_is_for_its_owner_alone(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "k")
            modes = {part.name: part.stat().st_mode & 0o777 for part in path.parent.iterdir()}
        assert modes == {"ledger.sqlite": 0o600, "ledger.sqlite-wal": 0o600, "ledger.sqlite-shm": 0o600}

    async def test_folders_on_the_way_are_made(self, path: Path) -> None:
        with Ledger.open(path.parent / "a" / "b #1?%" / "ledger.sqlite", "demo") as ledger:
            await buy(ledger, "k")
            assert ledger.get("k") == body("4")

    async def test_the_write_ahead_log_does_not_grow_for_ever(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            for number in range(40):
                await buy(ledger, str(number), "x" * 2**20)
            assert Path(f"{path}-wal").stat().st_size < 20 * 2**20
        assert query(path, "SELECT count(*) FROM replies") == [(40,)]

    async def test_thousands_of_calls_at_once_are_all_kept(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await asyncio.gather(*[buy(ledger, str(number), f"answer {number}") for number in range(2000)])
            assert [ledger.get(str(number)) for number in range(2000)] == [body(f"answer {n}") for n in range(2000)]
            assert ledger.count_spent().requests == 2000


class TestIntents:
    async def test_an_intent_is_in_the_file_before_the_request_is_sent_and_gone_with_its_reply(
        self, path: Path
    ) -> None:
        with Ledger.open(path, "demo") as ledger:
            intent = await intend(ledger, "k")
            intents = "SELECT key, run, model, row_id, reserved_usd, reserved_tokens FROM intents"
            assert query(path, intents) == [("k", "demo", "teacher", "r1", 0.5, 100)]
            await intent.settle(body("4"), usage=USAGE, cost_usd=0.25)
            assert query(path, intents) == []

    async def test_an_abandoned_call_leaves_its_kind_and_no_reservation(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            for _ in range(3):
                intent = await intend(ledger, "k")
                await intent.abandon("rate_limited")
            assert ledger.get("k") is None
        assert query(path, "SELECT * FROM abandoned") == [("demo", "teacher", "rate_limited", 3)]
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_spent() == Spent()

    async def test_a_call_bought_since_it_was_looked_up_is_not_bought_again(self, path: Path) -> None:
        with Ledger.open(path, "demo") as one, Ledger.open(path, "demo") as other:
            assert other.get("k") is None
            await buy(one, "k", "from one")
            assert await try_to_intend(other, "k") == bought("from one")
            assert query(path, "SELECT count(*) FROM intents") == [(0,)]

    async def test_when_two_ask_the_same_at_the_same_moment_both_replies_are_kept_and_the_first_is_used(
        self, path: Path
    ) -> None:
        with Ledger.open(path, "demo") as one, Ledger.open(path, "demo") as other:
            first, second = await intend(one, "k"), await intend(other, "k")
            await first.settle(body("first"), usage=USAGE, cost_usd=0.25)
            await second.settle(body("second"), usage=USAGE, cost_usd=0.5)
            assert one.get("k") == other.get("k") == body("first")
            assert one.count_spent() == Spent(requests=2, tokens=30, usd=0.75)

    async def test_an_intent_that_yields_is_not_written_while_another_process_has_the_call_in_flight(
        self, path: Path
    ) -> None:
        with Ledger.open(path, "demo") as one, Ledger.open(path, "other") as other:
            intent = await intend(one, "k")
            assert other.in_flight_elsewhere("k")
            assert not one.in_flight_elsewhere("k"), "its own"
            with pytest.raises(AskedElsewhere):
                await intend(other, "k", yields=True)
            assert query(path, "SELECT run FROM intents") == [("demo",)]
            await intent.settle(body("4"), usage=USAGE, cost_usd=0.25)
            assert not other.in_flight_elsewhere("k")
            assert await try_to_intend(other, "k", yields=True) == bought("4")

    async def test_of_two_intents_in_one_commit_only_the_one_that_yields_waits(self, path: Path) -> None:
        with Ledger.open(path, "demo") as one, Ledger.open(path, "other") as other:
            await intend(one, "k")
            found = await asyncio.gather(intend(other, "k", yields=True), intend(other, "k"), return_exceptions=True)
            assert [type(each) for each in found] == [AskedElsewhere, Intent]
            assert query(path, "SELECT run FROM intents ORDER BY run") == [("demo",), ("other",)]

    async def test_a_lost_call_is_in_flight_no_more_and_its_money_stays_booked(self, path: Path) -> None:
        with Ledger.open(path, "demo") as one, Ledger.open(path, "other") as other:
            lost = await intend(one, "k")
            await lost.lose()
            assert not other.in_flight_elsewhere("k")
            again = await intend(other, "k", yields=True)
            await again.settle(body("4"), usage=USAGE, cost_usd=0.25)
            with pytest.raises(LedgerError, match="'k' has been settled, abandoned or lost already"):
                await lost.lose()
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_spent() == Spent(doubtful=1, doubtful_usd=0.5, doubtful_tokens=100)

    async def test_a_process_that_has_ended_has_nothing_in_flight(self, path: Path) -> None:
        with Ledger.open(path, "demo") as one:
            await intend(one, "k")
        with Ledger.open(path, "other") as other:
            assert not other.in_flight_elsewhere("k")
            await intend(other, "k", yields=True)
            assert other.count_repeated() == 1

    async def test_one_key_can_be_in_flight_twice_in_one_process(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            first, second = await asyncio.gather(intend(ledger, "k"), intend(ledger, "k"))
            await second.abandon("rate_limited")
            await first.settle(body("4"), usage=USAGE, cost_usd=0.25)
            assert query(path, "SELECT count(*) FROM intents") == [(0,)]

    async def test_an_intent_ends_once(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            intent = await intend(ledger, "k")
            await intent.settle(body("4"), usage=USAGE, cost_usd=0.25)
            for end in (lambda: intent.abandon("rate_limited"), intent.lose):
                with pytest.raises(LedgerError, match="'k' has been settled, abandoned or lost already"):
                    await end()
            assert ledger.get("k") == body("4")

    async def test_a_cancelled_intent_leaves_nothing_because_nothing_was_sent(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            task = asyncio.create_task(intend(ledger, "k"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_spent().doubtful == 0
            await buy(ledger, "k")
            assert ledger.count_repeated() == 0

    async def test_a_reply_is_stored_even_if_nobody_waits_for_it_any_more(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            intent = await intend(ledger, "k")
            task = asyncio.ensure_future(intent.settle(body("4"), usage=USAGE, cost_usd=0.25))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with Ledger.open(path, "demo") as ledger:
            assert ledger.get("k") == body("4")
            assert ledger.count_spent() == Spent(requests=1, tokens=15, usd=0.25)

    async def test_what_cannot_be_stored_fails_alone(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            intents = await asyncio.gather(*(intend(ledger, str(n)) for n in range(8)))
            ends = [
                intent.settle(body("4"), usage=Usage(2**70 if n == 3 else 10, 5), cost_usd=0.25)
                for n, intent in enumerate(intents)
            ]
            results = await asyncio.gather(*ends, return_exceptions=True)
            assert [type(result) for result in results] == [OverflowError if n == 3 else type(None) for n in range(8)]
            await intents[3].settle(body("4"), usage=USAGE, cost_usd=0.25)
            assert all(ledger.get(str(n)) == body("4") for n in range(8))

    async def test_a_closed_ledger_says_so(self, path: Path) -> None:
        ledger = Ledger.open(path, "demo")
        ledger.close()
        ledger.close()
        with pytest.raises(LedgerError, match=r"ledger\.sqlite' is closed"):
            await intend(ledger, "k")


class TestSpent:
    async def test_it_covers_all_invocations_of_one_run_and_no_other(self, path: Path) -> None:
        for number, run in enumerate(["demo", "other", "demo"]):
            with Ledger.open(path, run) as ledger:
                await buy(ledger, str(number), usage=Usage(100, 20, cached_tokens=50, reasoning_tokens=10), cost=0.125)
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_spent() == Spent(requests=2, tokens=240, usd=0.25)
        with Ledger.open(path, "new") as ledger:
            assert ledger.count_spent() == Spent()

    async def test_an_unknown_cost_is_not_zero(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "known", cost=0.125)
            await buy(ledger, "unknown", cost=None)
            await buy(ledger, "uncounted", usage=Usage(), cost=None)
            assert ledger.count_spent() == Spent(
                requests=3, tokens=30, usd=0.125, usd_unknown=2, doubtful_tokens=100, doubtful_usd=1.0
            )

    async def test_a_call_left_in_flight_counts_with_the_most_it_can_have_cost(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "a")
            await intend(ledger, "b", usd=0.75, tokens=300)
            await intend(ledger, "c", usd=None, tokens=0)
            assert ledger.count_spent().doubtful == 0, "its own calls in flight are the budget's business"
        with Ledger.open(path, "demo") as ledger:
            left = Spent(requests=1, tokens=15, usd=0.25, doubtful=2, doubtful_tokens=300, doubtful_usd=0.75)
            assert ledger.count_spent() == left
            await buy(ledger, "b")
            assert (ledger.count_spent().requests, ledger.count_spent().doubtful) == (2, 2), (
                "the first one may be charged for too"
            )


class TestRepeated:
    async def test_a_call_left_in_flight_counts_as_repeated_once_it_is_sent_again(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await intend(ledger, "k")
            await intend(ledger, "never asked again")
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_repeated() == 0
            await buy(ledger, "k")
            await buy(ledger, "new")
            assert ledger.count_repeated() == 1
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_repeated() == 1
        with Ledger.open(path, "other") as ledger:
            assert ledger.count_repeated() == 0

    async def test_a_retry_within_one_process_is_not_a_repetition(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await intend(ledger, "timed out")
            await buy(ledger, "timed out")
            assert ledger.count_repeated() == 0

    async def test_several_tries_of_one_process_are_one_call(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await intend(ledger, "k")
            await intend(ledger, "k")
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "k")
            assert ledger.count_repeated() == 1
            assert ledger.count_spent().doubtful == 2

    async def test_a_live_process_keeps_its_intents_and_a_killed_one_does_not(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger, in_other_process(leave_in_flight, path) as other:
            intent = await intend(ledger, "k")
            await intent.abandon("rate_limited")
            assert ledger.count_repeated() == 0
            other.kill()
            await intend(ledger, "k")
            assert ledger.count_repeated() == 1

    async def test_a_pid_that_was_handed_out_again_is_not_mistaken_for_the_dead_process(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await intend(ledger, "k")
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE processes SET closed_at = NULL, started = 'before this process got its pid'")
        assert query(path, "SELECT pid FROM processes") == [(os.getpid(),)]
        with Ledger.open(path, "demo") as ledger:
            await intend(ledger, "k")
            assert ledger.count_repeated() == 1


def leave_in_flight(path: Path, ready: Any) -> None:
    async def main() -> None:
        ledger = Ledger.open(path, "demo")
        await intend(ledger, "k")
        ready.set()
        await asyncio.sleep(600)

    asyncio.run(main())


def buy_many(path: Path, ready: Any, name: str = "", count: int = 0) -> None:
    async def main() -> None:
        with Ledger.open(path, "demo") as ledger:
            ready.set()
            for start in range(0, count, 20):
                await asyncio.gather(*[buy(ledger, f"{name}{n}", f"{name} {n}") for n in range(start, start + 20)])

    asyncio.run(main())


class Other:
    """A process that uses the ledger, started from nothing."""

    def __init__(self, work: Any, path: Path, *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.ready = context.Event()
        self.process = context.Process(target=work, args=(path, self.ready, *args))
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@contextmanager
def in_other_process(work: Any, path: Path) -> Iterator[Other]:
    other = Other(work, path)
    try:
        assert other.ready.wait(60)
        yield other
    finally:
        other.kill()


class TestTwoProcesses:
    def test_they_can_create_and_fill_one_ledger_at_once_without_loss(self, path: Path) -> None:
        others = [Other(buy_many, path, name, 600) for name in "abc"]
        for other in others:
            other.process.join()
        assert [other.process.exitcode for other in others] == [0, 0, 0]
        with Ledger.open(path, "demo") as ledger:
            assert ledger.count_spent() == Spent(requests=1800, tokens=1800 * 15, usd=1800 * 0.25)
            for name in "abc":
                assert all(ledger.get(f"{name}{n}") == body(f"{name} {n}") for n in range(600))
        assert query(path, "PRAGMA integrity_check") == [("ok",)]


class TestLookingUp:
    async def test_no_lookup_reads_all_replies(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "a" * 64)
        asked = [
            (sqlite_file.SQL["reply_to"], 1),
            (sqlite_file.SQL["replies_to"], 1),
            (sqlite_file.SQL["left_by_others"], 2),
        ]
        asked += [(adopt.OVERRULED, 1)]
        with closing(sqlite3.connect(path)) as db:
            for sql, values in asked:
                plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", ["[]"] * values)]
                assert not [line for line in plan if line.startswith(("SCAN replies", "SCAN intents"))]

    async def test_keys_that_begin_alike_are_told_apart(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await asyncio.gather(*(buy(ledger, "same beginning, other " + end, end) for end in ("one", "two")))
            assert ledger.get("same beginning, other two") == body("two")
            assert await ledger.fetch("same beginning, other one") == bought("one")
            assert await ledger.fetch("same beginning, other three") is None

    async def test_a_ledger_of_the_first_version_is_taken_over(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "old", "kept")
        with closing(sqlite3.connect(path)) as db:
            db.executescript(
                "DROP INDEX replies_by_key_start; CREATE INDEX replies_by_key ON replies (key); PRAGMA user_version = 1"
            )
        with Ledger.open(path, "demo") as ledger:
            assert ledger.get("old") == body("kept")
        names = {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'index'")}
        assert "replies_by_key_start" in names
        assert "replies_by_key" not in names
        assert query(path, "PRAGMA user_version") == [(4,)]

    async def test_a_ledger_of_the_third_version_is_taken_over_and_learns(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "old", "kept")
        with closing(sqlite3.connect(path)) as db:
            db.executescript("DROP TABLE refused_fields; PRAGMA user_version = 3")
        for _ in range(2):
            with Ledger.open(path, "demo") as ledger:
                assert ledger.get("old") == body("kept")
                await ledger.note_refused("http://here m", "m", "temperature")
                assert ledger.find_refused("http://here m", "m") == ["temperature"]
                assert ledger.find_refused("http://here m", "other") == []
        assert query(path, "PRAGMA user_version") == [(4,)]

    @pytest.mark.parametrize("is_old", [False, True])
    async def test_what_was_learnt_of_models_goes_along_into_another_ledger(self, path: Path, is_old: bool) -> None:
        merged, saved = path.with_name("merged.sqlite"), path.with_name("saved.sqlite")
        with Ledger.open(path, "shard") as ledger:
            await buy(ledger, "a", "kept")
            await ledger.note_refused("http://here m", "m", "temperature")
        if is_old:
            with closing(sqlite3.connect(path)) as db:
                db.executescript("DROP TABLE refused_fields; PRAGMA user_version = 3")
        Ledger.open(merged, "demo").close()
        adopt.adopt(merged, path, "shard", "demo")
        assert admin.rescue(path, saved) == 1
        for file in (merged, saved):
            with Ledger.open(file, "demo") as ledger:
                assert ledger.get("a") == body("kept")
                assert ledger.find_refused("http://here m", "m") == ([] if is_old else ["temperature"])

    async def test_a_ledger_of_the_second_version_is_taken_over_with_its_intents(self, path: Path) -> None:
        with Ledger.open(path, "demo") as ledger:
            await buy(ledger, "old", "kept")
            await intend(ledger, "left")
        with closing(sqlite3.connect(path)) as db:
            db.executescript("ALTER TABLE intents DROP COLUMN lost_at; PRAGMA user_version = 2")
        with Ledger.open(path, "demo") as ledger, Ledger.open(path, "other") as other:
            assert ledger.get("old") == body("kept")
            assert ledger.count_spent().doubtful == 1
            intent = await intend(ledger, "new")
            await intent.lose()
            assert not other.in_flight_elsewhere("new")
        assert query(path, "PRAGMA user_version") == [(4,)]
