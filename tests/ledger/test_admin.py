"""What the owner of a ledger sees of it, exports and prunes."""

import io
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blackbox_kd.errors import LedgerError
from blackbox_kd.ledger.admin import Abandoned, Unanswered, export, prune, summary
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.schema import Usage


async def intend(ledger: Ledger, key: str, model: str = "teacher") -> Intent:
    intent = await ledger.intend(key, {"ask": "Grüße"}, model=model, row_id="r1", reserved_usd=0.5)
    assert isinstance(intent, Intent)
    return intent


async def buy(ledger: Ledger, key: str, model: str = "teacher", cost: float | None = 0.25) -> None:
    intent = await intend(ledger, key, model)
    await intent.settle(f"reply to {key} Ü", usage=Usage(10, 5), cost_usd=cost)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Run `a`: two calls of the teacher, one of the judge, one left in flight; run `b`: one call, a rate limit."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path, "a") as ledger:
        await buy(ledger, "a1")
        await buy(ledger, "a2", cost=None)
        await buy(ledger, "a3", model="judge")
        await intend(ledger, "a4")
    with Ledger.open(path, "b") as ledger:
        intent = await intend(ledger, "b1")
        await intent.abandon("rate_limited")
        await buy(ledger, "b1")
    return path


def keys(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [key for (key,) in db.execute("SELECT key FROM replies ORDER BY id")]


def make_older(path: Path, key: str, days: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        time = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{days} days')"
        db.execute(f"UPDATE replies SET created_at = {time} WHERE key = ?", (key,))


class TestSummary:
    async def test_it_counts_calls_tokens_and_cost_by_run_and_model(self, path: Path) -> None:
        held = summary(path)
        lines = [(b.run, b.model, b.calls, b.prompt_tokens, b.completion_tokens, b.cost_usd) for b in held.bought]
        assert lines == [
            ("a", "judge", 1, 10, 5, 0.25),
            ("a", "teacher", 2, 20, 10, 0.25),
            ("b", "teacher", 1, 10, 5, 0.25),
        ]
        assert [line.cost_unknown for line in held.bought] == [0, 1, 0]
        assert held.unanswered == [Unanswered("a", "teacher", calls=1, repeated=0, reserved_usd=0.5)]
        assert held.abandoned == [Abandoned("b", "teacher", "rate_limited", 1)]
        assert held.size_bytes == path.stat().st_size

    async def test_times_are_utc(self, path: Path) -> None:
        line = summary(path, run="b").bought[0]
        assert line.first == line.last
        age = datetime.now(UTC) - datetime.fromisoformat(line.first)
        assert timedelta(0) <= age < timedelta(minutes=5)

    async def test_it_can_be_of_one_run(self, path: Path) -> None:
        held = summary(path, run="b")
        assert [(line.run, line.calls) for line in held.bought] == [("b", 1)]
        assert held.unanswered == []

    async def test_it_can_be_read_during_a_run(self, path: Path) -> None:
        with Ledger.open(path, "c") as ledger:
            await buy(ledger, "c1")
            assert summary(path, run="c").bought[0].calls == 1
            assert summary(path).size_bytes > path.stat().st_size

    def test_without_a_ledger_it_says_so_and_makes_none(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match=r"there is no ledger '.*none\.sqlite'") as caught:
            summary(tmp_path / "none.sqlite")
        assert caught.value.fix == "name one that a run has written"
        assert list(tmp_path.iterdir()) == []


class TestExport:
    async def test_every_reply_is_a_line_of_json_with_the_columns_by_name(self, path: Path) -> None:
        out = io.StringIO()
        assert export(path, out) == 4
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        assert [line["key"] for line in lines] == ["a1", "a2", "a3", "b1"]
        chosen = {
            name: lines[1][name] for name in ("run", "model", "row_id", "prompt_tokens", "cost_usd", "body", "wire")
        }
        assert chosen == {
            "run": "a",
            "model": "teacher",
            "row_id": "r1",
            "prompt_tokens": 10,
            "cost_usd": None,
            "body": "reply to a2 Ü",
            "wire": '{"ask":"Grüße"}',
        }

    async def test_it_can_be_of_one_run(self, path: Path) -> None:
        out = io.StringIO()
        assert export(path, out, run="b") == 1
        assert json.loads(out.getvalue())["key"] == "b1"


class TestPrune:
    async def test_a_run_can_be_removed_with_all_that_is_known_of_it(self, path: Path) -> None:
        assert prune(path, run="a") == 3
        assert keys(path) == ["b1"]
        assert summary(path, run="a").unanswered == []
        assert prune(path, run="b") == 1
        assert summary(path).abandoned == []

    async def test_old_replies_can_be_removed(self, path: Path) -> None:
        make_older(path, "a1", days=40)
        make_older(path, "b1", days=20)
        assert prune(path, before=datetime.now(UTC) - timedelta(days=30)) == 1
        assert keys(path) == ["a2", "a3", "b1"]

    async def test_run_and_age_together_must_both_hold(self, path: Path) -> None:
        make_older(path, "a1", days=40)
        make_older(path, "b1", days=40)
        assert prune(path, run="a", before=datetime.now(UTC) - timedelta(days=30)) == 1
        assert keys(path) == ["a2", "a3", "b1"]

    async def test_a_pruned_reply_can_be_bought_again(self, path: Path) -> None:
        prune(path, run="a")
        with Ledger.open(path, "a") as ledger:
            assert ledger.get("a1") is None
            await buy(ledger, "a1")
            assert ledger.count_spent().requests == 1

    async def test_what_a_running_process_has_in_flight_stays(self, path: Path) -> None:
        with Ledger.open(path, "a") as ledger:
            intent = await intend(ledger, "now")
            prune(path, run="a")
            assert [line.calls for line in summary(path, run="a").unanswered] == [1]
            await intent.settle("late", usage=Usage(10, 5), cost_usd=0.25)
            assert ledger.get("now") == "late"

    async def test_the_space_goes_back_to_the_disk(self, path: Path) -> None:
        with Ledger.open(path, "big") as ledger:
            for number in range(20):
                intent = await intend(ledger, f"big {number}")
                await intent.settle("x" * 100_000, usage=Usage(10, 5), cost_usd=0.25)
        assert path.stat().st_size > 2_000_000
        prune(path, run="big")
        assert path.stat().st_size < 200_000

    async def test_it_never_removes_everything_by_default(self, path: Path) -> None:
        with pytest.raises(ValueError, match="give run= or before="):
            prune(path)
        with pytest.raises(ValueError, match="has no time zone"):
            prune(path, before=datetime(2030, 1, 1))
        assert len(keys(path)) == 4
