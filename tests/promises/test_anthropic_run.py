"""Whole runs with Claude for a teacher, by the command line, in processes that are killed while their batches go on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promises import test_batch_run as batched
from tests.promises.test_batch_run import CALLS, report, run, stopped, tables
from tests.support.fake_batches import FakeBatches
from tests.support.runs import rows_of
from tests.support.teachers.anthropic import FakeAnthropic


def recipe(folder: Path, server: Any, model: str = "m", **changes: Any) -> None:
    """The recipe of `test_batch_run` with Claude for its teacher."""
    batched.recipe(folder, server, of_teacher={"provider": "anthropic", "model": model}, **changes)


@pytest.mark.slow
async def test_a_run_in_batches_has_the_rows_of_an_ordinary_one_and_of_another_vendor_at_half_the_cost(
    tmp_path: Path,
) -> None:
    ordinary, together, other = tmp_path / "ordinary", tmp_path / "together", tmp_path / "other"
    async with FakeAnthropic(batches=["expire:30", "lines:rate_limit_error,api_error"]) as server:
        recipe(ordinary, server, batch=False)
        await run(ordinary)
        assert (server.answered.total(), server.sizes()) == (CALLS, [])
        recipe(together, server)
        said = await run(together)
        assert server.sizes() == [80, 50, 2]
        assert "teacher: batch msgbatch_0 expired, 30 requests done" in said
        assert "teacher: batch msgbatch_2 completed, 2 requests done" in said
        async with FakeBatches() as openai:
            batched.recipe(other, openai)
            await run(other)
        assert tables(together) == tables(ordinary) == tables(other)
        paid, half = report(ordinary)["spent"], report(together)["spent"]
        assert half["requests"] == paid["requests"] == CALLS
        assert half["usd"] == 0.5 * paid["usd"] > 0
        recipe(together, server, batch=False)
        await run(together)
        assert report(together)["models"][0]["replayed"] == CALLS
        assert server.sizes() == [80, 50, 2]


async def test_a_run_killed_after_it_handed_in_goes_on_without_handing_in_again(tmp_path: Path) -> None:
    async with FakeAnthropic(batches=["never"]) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "look", 2)
        server.desk.release.set()
        said = await run(tmp_path)
        assert "msgbatch_0, handed in by an earlier process, is taken up" in said
        assert server.sizes() == [CALLS]
        assert set(server.answered.values()) == {1}
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)
        assert not (tmp_path / "runs/ledger.sqlite.batches").exists()


async def test_a_run_killed_before_it_knew_of_its_batch_finds_it_by_what_it_holds(tmp_path: Path) -> None:
    async with FakeAnthropic(batches=["never"], faults={"create": ["lost_hang"]}) as server:
        recipe(tmp_path, server)
        await stopped(tmp_path, server, "create", 1)
        await stopped(tmp_path, server, "list", 2)
        server.desk.release.set()
        await run(tmp_path)
        assert (server.sizes(), server.desk.requests["create"]) == ([CALLS], 1)
        spent = report(tmp_path)["spent"]
        assert (spent["requests"], spent["repeated"], spent["doubtful"]) == (CALLS, 0, 0)


@pytest.mark.slow
async def test_a_budget_holds_for_batches_and_a_killed_one_is_counted_once(tmp_path: Path) -> None:
    async with FakeAnthropic(batches=["never"]) as server:
        recipe(tmp_path, server, budget={"requests": 30})
        await stopped(tmp_path, server, "look", 2)
        server.desk.release.set()
        assert "budget reached" in await run(tmp_path, status=3)
        assert server.sizes() == [30]
        assert report(tmp_path)["spent"]["requests"] == 30


STEPS: list[dict[str, Any]] = [
    {"step": "generate", "model": "teacher", "prompt": "rationale/cot", "samples": 2},
    {"step": "check", "answer": "number"},
    {"step": "judge", "mode": "pairwise", "models": ["teacher"], "a": "response", "b": "reference"},
    {"step": "format"},
]


async def test_what_a_model_was_found_not_to_take_is_left_out_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    """The judge has a temperature that nobody asked for; a run with another budget and in batches finds all replies."""
    async with FakeAnthropic(
        always="refuse:temperature", rule="The answer is {n}.\nAnswer 1: 7\nAnswer 2: 3"
    ) as server:
        recipe(tmp_path, server, "claude-of-next-year", batch=False, steps=STEPS)
        said = await run(tmp_path)
        assert "takes no temperature" in said
        refused = [body for body in server.seen if "temperature" in body]
        assert 1 <= len(refused) <= 4, "no more than were in flight before the first answer"
        answered, spent = server.answered.total(), report(tmp_path)["spent"]
        assert answered == spent["requests"] == len(server.seen) - len(refused)

        for changes in ({"budget": {"usd": 5}}, {"batch": True}):
            recipe(tmp_path, server, "claude-of-next-year", **({"batch": False} | changes), steps=STEPS)
            await run(tmp_path)
            assert (server.answered.total(), server.sizes()) == (answered, [])


PRICE = {"input": 1, "output": 10, "cached": 0.1, "cache_write": 1.25}


def long_recipe(folder: Path, server: FakeAnthropic, **changes: Any) -> None:
    """A recipe whose rows share a system text that is long enough to be kept: 400 words."""
    steps = [{"step": "generate", "model": "teacher", "prompt": "long", "temperature": None, "max_tokens": 50}]
    recipe(folder, server, "claude-opus-5", batch=False, steps=steps, **changes)
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    values["models"]["teacher"] |= {"price": PRICE, "thinking": "off", "max_concurrency": 20}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    system = "Reason in short steps, and state each result. " * 50
    (folder / "long.jinja").write_text(
        f"{{% system %}}{system}{{% endsystem %}}{{% user %}}{{{{ instruction }}}}{{% enduser %}}"
    )


async def test_a_system_text_that_all_rows_share_is_paid_for_once_and_kept_for_all_others(tmp_path: Path) -> None:
    async with FakeAnthropic() as server:
        long_recipe(tmp_path, server)
        await run(tmp_path)
        [teacher] = report(tmp_path)["models"]
        assert teacher["cached_tokens"] == 400 * (batched.ROWS - 1)
        assert teacher["cache_write_tokens"] == 400
        rest = 6 * 1 * batched.ROWS + 4 * 10 * batched.ROWS
        paid = (400 * 1.25 + 400 * 0.1 * (batched.ROWS - 1) + rest) / 1e6
        assert round(teacher["cost_usd"], 9) == round(paid, 9)


async def test_a_budget_holds_where_what_is_kept_costs_more_than_what_is_sent(tmp_path: Path) -> None:
    usd = 0.0045
    async with FakeAnthropic() as server:
        long_recipe(tmp_path, server, budget={"usd": usd})
        assert "budget reached" in await run(tmp_path, status=3)
        spent = report(tmp_path)["spent"]
        assert 0 < spent["usd"] <= usd
        assert spent["requests"] == len(server.seen) > 1


async def test_thinking_is_a_column_and_a_refusal_fails_its_row_with_its_category(tmp_path: Path) -> None:
    async with FakeAnthropic(["refusal:reasoning_extraction"]) as server:
        steps = [STEPS[0] | {"samples": 1, "temperature": None}, STEPS[1]]
        recipe(tmp_path, server, "claude-haiku-5-5", batch=False, steps=steps, max_failed_share=0.5)
        await run(tmp_path)
        rows = rows_of(tmp_path / "runs/batched/tables/02_check.jsonl")
        assert {row["reasoning"] for row in rows} == {"It is a sum. I add."}
        assert len(rows) == batched.ROWS - 1
        assert report(tmp_path)["funnel"][0]["failed"] == {"refused: reasoning_extraction": 1}
        assert len(server.seen) == batched.ROWS, "a refusal is not asked again"
