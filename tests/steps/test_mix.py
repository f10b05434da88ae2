import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from blackbox_kd.errors import DataError, StepError
from blackbox_kd.schema import Dropped, Failed, Row
from blackbox_kd.steps import mix
from blackbox_kd.tables.sampling import weigh
from tests.support.fakes import FakeContext, outcomes, rows
from tests.support.runs import execute, write_rows


def table(name: str, count: int, **columns: Any) -> list[Row]:
    return [Row({**row, "id": f"{name}{row.id}"}) for row in rows(*({"from": name, **columns} for _ in range(count)))]


NEW, OLD = table("new", 10), table("old", 10)


async def mixed(ctx: FakeContext | None = None, **fields: Any) -> list[Row | Dropped]:
    config = mix.Config.model_validate({"step": "mix", **fields})
    return await outcomes(mix, [], config, ctx or FakeContext(tables={"new": NEW, "old": OLD, "none": []}))


def taken(found: list[Row | Dropped]) -> list[Row]:
    return [row for row in found if isinstance(row, Row)]


def origins(found: list[Row | Dropped]) -> Counter[str]:
    return Counter(row["from"] for row in taken(found))


async def test_weights_repeat_and_thin_out_tables_and_say_what_was_left() -> None:
    found = await mixed(tables={"new": 2.0, "old": 0.3})
    assert origins(found) == {"new": 20, "old": 3}
    assert len({row.id for row in taken(found)}) == 23
    assert Counter(item.reason for item in found if isinstance(item, Dropped)) == {"not drawn": 7}


async def test_with_a_number_of_rows_the_weights_are_shares() -> None:
    assert origins(await mixed(tables={"new": 3, "old": 1}, rows=8)) == {"new": 6, "old": 2}


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 5), st.floats(0.05, 5))
async def test_there_are_as_many_rows_as_asked_for_and_every_row_is_taken_or_dropped(
    count: int, new: float, old: float
) -> None:
    found = await mixed(tables={"new": new, "old": old, "none": 1}, rows=count)
    assert origins(found).total() == count
    assert abs(origins(found)["new"] - count * new / (new + old)) < 1 + 1e-6
    assert len({row.id for row in taken(found)}) == count
    originals = {row.id for row in taken(found)} | {item.row.id for item in found if isinstance(item, Dropped)}
    assert originals >= {row.id for row in [*NEW, *OLD]}


async def test_the_same_table_comes_out_of_every_run_and_order_only_without_shuffle() -> None:
    assert await mixed(tables={"new": 1, "old": 1}) == await mixed(tables={"new": 1, "old": 1})
    plain = [row["from"] for row in taken(await mixed(tables={"new": 1, "old": 1}, shuffle=False))]
    shuffled = [row["from"] for row in taken(await mixed(tables={"new": 1, "old": 1}))]
    assert plain == ["new"] * 10 + ["old"] * 10
    assert shuffled != plain


async def test_without_shuffle_the_rows_that_are_drawn_stand_in_the_order_of_their_tables() -> None:
    numbers = {row.id: number for number, row in enumerate([*NEW, *OLD])}

    def places(found: list[Row | Dropped]) -> list[int]:
        return [numbers[row.id.partition(".")[0]] for row in taken(found)]

    assert places(await mixed(tables={"new": 1, "old": 1}, shuffle=False)) == [*range(20)]
    fewer = places(await mixed(tables={"new": 0.5, "old": 0.5}, shuffle=False))
    assert fewer == sorted(fewer)
    assert set(fewer[:5]) != {*range(5)}, "which rows are drawn is up to chance"
    counted = places(await mixed(tables={"old": 1, "new": 1}, rows=8, shuffle=False))
    assert [number >= 10 for number in counted] == [True] * 4 + [False] * 4
    assert (counted[:4], counted[4:]) == (sorted(counted[:4]), sorted(counted[4:]))
    twice = taken(await mixed(tables={"new": 2}, shuffle=False))
    assert [row.id for row in twice][:4] == ["newr0", "newr0.copy1", "newr1", "newr1.copy1"]
    replayed = places(await mixed(tables={"new": 1}, replay={"table": "old", "share": 0.3}, shuffle=False))
    assert replayed[:10] == [*range(10)]
    assert replayed[10:] == sorted(replayed[10:])


async def test_a_history_that_is_appended_to_round_after_round_stays_in_the_order_of_the_rounds() -> None:
    history: list[Row] = []
    for number in (1, 2, 3):
        answers = [Row(id=f"q{question}.{number}", round=number) for question in range(9)]
        ctx = FakeContext(tables={"history": history, "answers": answers})
        history = taken(await mixed(ctx, tables={"history": 1, "answers": 1}, shuffle=False))
    assert [row.id for row in history] == [f"q{question}.{number}" for number in (1, 2, 3) for question in range(9)]


async def test_rows_of_several_tables_with_one_id_stay_apart_however_often_they_meet() -> None:
    same = [Row(id="x", **{"from": name}) for name in "abc"]
    tables = {name: [row] for name, row in zip("abc", same, strict=True)}
    first = taken(await mixed(FakeContext(tables=tables), tables={"a": 1, "b": 1, "c": 1}, shuffle=False))
    assert [(row.id, row["from"]) for row in first] == [("x", "a"), ("x.from_b", "b"), ("x.from_c", "c")]
    again = FakeContext(tables={"cache": first, "b": tables["b"]})
    second = taken(await mixed(again, tables={"cache": 1, "b": 1}, shuffle=False))
    assert sorted(row.id for row in second) == ["x", "x.from_b", "x.from_b.2", "x.from_c"]


async def test_a_pool_is_appended_to_or_replaced_by_the_tables_that_are_named() -> None:
    tables = {"cache": OLD, "train_pool": OLD, "new": NEW}
    for made in ("first", "second"):
        tables["new"] = table(made, 5)
        ctx = FakeContext(tables=tables)
        cache = taken(await mixed(ctx, tables={"cache": 1, "new": 1}))
        train_pool = taken(await mixed(ctx, tables={"new": 1}))
        tables |= {"cache": cache, "train_pool": train_pool}
    assert Counter(row["from"] for row in tables["cache"]) == {"old": 10, "first": 5, "second": 5}
    assert Counter(row["from"] for row in tables["train_pool"]) == {"second": 5}


# Replay.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"replay": {"table": "old", "share": 0.2}}, {"new": 10, "old": 3}),
        ({"replay": {"table": "old", "share": 0.01}}, {"new": 10, "old": 1}),
        ({"replay": {"table": "old", "share": 0.5}}, {"new": 10, "old": 10}),
        ({"replay": {"table": "old", "share": 0.9}}, {"new": 10, "old": 10}),
        ({"replay": {"table": "none", "share": 0.2}}, {"new": 10}),
        ({"replay": {"table": "old", "share": 0.25}, "rows": 8}, {"new": 6, "old": 2}),
        ({"replay": {"table": "old", "share": 0.25}, "rows": 9}, {"new": 6, "old": 3}),
        ({"replay": {"table": "none", "share": 0.25}, "rows": 8}, {"new": 8}),
    ],
)
async def test_at_least_a_share_of_the_result_is_replayed_as_far_as_there_are_rows(
    fields: dict[str, Any], expected: dict[str, int]
) -> None:
    assert origins(await mixed(tables={"new": 1}, **fields)) == expected


async def test_what_is_replayed_is_drawn_by_the_seed_and_a_row_that_is_in_both_is_there_under_two_ids() -> None:
    found = taken(await mixed(tables={"new": 1}, replay={"table": "old", "share": 0.3}))
    assert found == taken(await mixed(tables={"new": 1}, replay={"table": "old", "share": 0.3}))
    assert {row.id for row in found if row["from"] == "old"} != {"oldr0", "oldr1", "oldr2", "oldr3"}
    both = FakeContext(tables={"new": NEW, "again": NEW})
    found = taken(await mixed(both, tables={"new": 1}, replay={"table": "again", "share": 0.5}))
    assert len({row.id for row in found}) == 20


# Gap.

ROWS = [row for name in ("algebra", "logic") for row in table(name, 30, topic=name)]
GAP = {"by": "topic", "teacher": "teacher", "student": "student", "on": "dev"}


def evaluated(ctx: FakeContext, model: str, on: str = "dev", **accuracies: float | None) -> None:
    slices = {name: {"n": 9, "accuracy": accuracy} for name, accuracy in accuracies.items()}
    ctx.record("evaluations", [{"model": model, "table": on, "accuracy": 0.5, "slices": {"topic": slices}}])


def gap_context(pool: list[Row] = ROWS) -> FakeContext:
    ctx = FakeContext(tables={"pool": pool})
    evaluated(ctx, "teacher", algebra=0.9, logic=0.9)
    evaluated(ctx, "student", algebra=0.7, logic=0.8)
    return ctx


async def test_domains_in_which_the_student_is_farther_behind_get_more_rows() -> None:
    ctx = gap_context()
    found = await mixed(ctx, tables={"pool": 1}, rows=20, gap={**GAP, "floor": 0})
    # softmax of 0.2/0.1 and 0.1/0.1: e / (e + 1)
    assert origins(found) == {"algebra": 15, "logic": 5}
    assert Counter(item.reason for item in found if isinstance(item, Dropped)) == {"not drawn": 40}
    [entry] = ctx.recorded["mixtures"]
    assert entry["weights"] == pytest.approx({"algebra": 0.7310586, "logic": 0.2689414})
    assert entry["gaps"] == pytest.approx({"algebra": 0.2, "logic": 0.1})
    assert entry["rows"] == {"algebra": 15, "logic": 5}


async def test_the_latest_figures_count_and_weights_move_half_the_way_from_those_before() -> None:
    now = 0.5 * 0.7310586 + 0.5 * 0.2689414
    weights = await after_a_round(steps=("steps[3].loop.steps[0] (mix)",) * 2)
    assert weights == pytest.approx({"algebra": now, "logic": 1 - now})


@pytest.mark.parametrize(
    "how",
    [
        {"steps": ("steps[3].loop.steps[0] (mix)", "steps[3].loop.steps[1] (mix)")},
        {"rounds": (1, 3)},
        {"rounds": (2, 2)},
        {"rounds": (0, 0)},
        {"before": {"student": "another"}},
        {"before": {"teacher": "another"}},
    ],
)
async def test_weights_are_smoothed_with_those_of_the_same_step_and_models_in_the_round_before_only(
    how: dict[str, Any],
) -> None:
    assert await after_a_round(**how) == pytest.approx({"algebra": 0.2689414, "logic": 0.7310586})


async def after_a_round(
    steps: tuple[str, str] = ("steps[3].loop.steps[0] (mix)",) * 2,
    rounds: tuple[int, int] = (1, 2),
    before: dict[str, str] | None = None,
) -> dict[str, float]:
    """The weights of a second mixture, after a first one in which algebra had the larger gap."""
    ctx = InALoop(tables={"pool": ROWS})
    for model in ("teacher", "another"):
        evaluated(ctx, model, algebra=0.9, logic=0.9)
    evaluated(ctx, "student", algebra=0.7, logic=0.8)
    ctx.enter(steps[0], rounds[0])
    await mixed(ctx, tables={"pool": 1}, rows=20, gap={**GAP, **(before or {})})
    evaluated(ctx, "student", algebra=0.9, logic=0.8)
    evaluated(ctx, "student", on="other", algebra=0.0, logic=0.8)
    ctx.enter(steps[1], rounds[1])
    await mixed(ctx, tables={"pool": 1}, rows=20, gap=GAP)
    return dict(ctx.recorded["mixtures"][1]["weights"])


class InALoop(FakeContext):
    """Notes the step and the round with what is recorded, as a run does."""

    def enter(self, step: str, number: int) -> None:
        self.round, self.step = number, f"{step}, round {number}" if number else step

    def record(self, key: str, entries: list[dict[str, Any]]) -> None:
        where = {"step": self.step} | ({"round": self.round} if self.round else {})
        super().record(key, [{**entry, **where} for entry in entries])

    def reported_in_round(self, key: str, number: int) -> list[dict[str, Any]]:
        step = self.step.removesuffix(f", round {self.round}") + f", round {number}"
        return [entry for entry in self.recorded.get(key, []) if entry["step"] == step]


def test_a_resumed_run_notices_that_the_weights_of_an_earlier_round_are_others(tmp_path: Path) -> None:
    dev = [{"instruction": f"dev {t} {n}?", "reference": "7", "topic": t} for t in "ab" for n in range(2)]
    write_rows(tmp_path / "dev.jsonl", dev)
    write_rows(tmp_path / "train.jsonl", [{"instruction": f"{t} {n}?", "topic": t} for t in "ab" for n in range(9)])
    exam = {"step": "evaluate", "input": "dev", "models": ["teacher", "student"], "answer": "number", "by": ["topic"]}
    mixture = {"step": "mix", "tables": {"train": 1}, "rows": 6, "gap": {**GAP, "floor": 0}, "output": "drawn"}
    values = {
        "name": "smoothed",
        "data": {"train": {"path": "train.jsonl"}, "dev": {"path": "dev.jsonl", "held_out": True}},
        "models": {
            "teacher": {"provider": "scripted", "replies": ["The answer is 7."]},
            "student": {"provider": "scripted", "replies": ["The answer is {{ 7 if topic == 'a' else 8 }}."]},
        },
        "steps": [exam, {"loop": {"rounds": 2, "steps": [mixture]}}],
    }
    first = execute(tmp_path, values)
    manifest = next((tmp_path / "run").glob("manifest.json"))
    told = json.loads(manifest.read_text())
    [stage] = [stage for name, stage in told["stages"].items() if "round1" in name and "mixtures" in stage["report"]]
    stage["report"]["mixtures"][0]["weights"] = {"a": 1.0, "b": 0.0}
    manifest.write_text(json.dumps(told))
    again = execute(tmp_path, values)
    weights = [entry["weights"] for entry in (*first.report["mixtures"], *again.report["mixtures"])]
    assert weights[1]["a"] == pytest.approx(0, abs=1e-3)
    assert weights[2] == {"a": 1.0, "b": 0.0}
    assert weights[3]["a"] == pytest.approx(0.5, abs=1e-3)


async def test_a_row_without_the_domains_column_fails_alone() -> None:
    pool = [*ROWS, Row(id="bare", **{"from": "nobody"})]
    found = await mixed(gap_context(pool), tables={"pool": 1}, rows=20, gap=GAP)
    [failed] = [item for item in found if isinstance(item, Failed)]
    assert (failed.row.id, failed.kind, failed.error) == (
        "bare",
        "data",
        "column 'topic' is missing, by which rows are drawn",
    )
    assert len(taken(found)) == 20


async def test_no_domain_falls_below_its_floor_and_the_weights_still_add_up_to_one() -> None:
    ctx = FakeContext(tables={"pool": ROWS})
    evaluated(ctx, "teacher", algebra=1.0, logic=0.0)
    evaluated(ctx, "student", algebra=0.0, logic=0.0)
    await mixed(ctx, tables={"pool": 1}, rows=20, gap=GAP)
    assert ctx.recorded["mixtures"][0]["weights"] == pytest.approx({"algebra": 0.9, "logic": 0.1})


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.floats(0.01, 2), st.floats(0, 1), st.floats(0, 0.9))
def test_weights_are_a_distribution_above_the_floor(
    gaps: list[float], temperature: float, floor: float, smooth: float
) -> None:
    domains = {f"d{number}": gap for number, gap in enumerate(gaps)}
    found = weigh(domains, {"d0": 1.0}, temperature=temperature, floor=floor, smooth=smooth)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= floor / len(gaps) - 1e-9
    ranked = sorted(domains.keys() - {"d0"}, key=lambda domain: domains[domain])
    assert all(found[a] <= found[b] + 1e-9 for a, b in itertools.pairwise(ranked))


async def test_rows_of_a_domain_that_nobody_was_asked_about_are_dropped_and_an_absent_domain_leaves_its_share() -> None:
    pool = [*table("algebra", 4, topic="algebra"), *table("music", 3, topic="music")]
    found = await mixed(gap_context(pool), tables={"pool": 1}, rows=6, gap=GAP)
    assert origins(found) == {"algebra": 6}
    assert len({row.id for row in taken(found)}) == 6
    assert Counter(item.reason for item in found if isinstance(item, Dropped)) == {"domain not evaluated": 3}


async def test_a_missing_evaluation_is_an_error_that_says_which_step_to_add() -> None:
    ctx = FakeContext(tables={"pool": ROWS})
    evaluated(ctx, "teacher", algebra=0.9)
    with pytest.raises(StepError, match=r"model 'student' on table 'dev' by 'topic' yet\n  fix: .*models: \[student\]"):
        await mixed(ctx, tables={"pool": 1}, rows=20, gap=GAP)
    evaluated(ctx, "student", logic=0.9)
    with pytest.raises(DataError, match="no value of 'topic' in common"):
        await mixed(ctx, tables={"pool": 1}, rows=20, gap=GAP)


async def test_replay_and_gap_share_the_rows() -> None:
    ctx = gap_context()
    ctx._tables["old"] = FakeContext(tables={"old": OLD}).table("old")
    found = await mixed(ctx, tables={"pool": 1}, rows=20, gap=GAP, replay={"table": "old", "share": 0.2})
    assert origins(found) == {"algebra": 12, "logic": 4, "old": 4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tables": {"pool": 1}, "gap": GAP}, "gap: needs rows:"),
        ({"tables": {"pool": 2}, "rows": 3, "gap": GAP}, "give each table the weight 1"),
        ({"tables": {"pool": 0}}, "weights must be above 0"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        mix.Config.model_validate({"step": "mix", **fields})


def test_a_table_replayed_beside_itself_is_a_problem_and_no_call_is_made_for_a_gap() -> None:
    config = mix.Config.model_validate({"step": "mix", "tables": {"a": 1}, "replay": {"table": "a", "share": 0.2}})
    assert [problem[0] for problem in config.problems()] == ["replay.table"]
    config = mix.Config.model_validate({"step": "mix", "tables": {"a": 1}, "rows": 4, "gap": GAP})
    assert config.problems() == []
    assert config.calls_per_row() == 0


def answers_of(name: str, **answers: str) -> list[Row]:
    return [Row({"id": f"{name}.{q}", "instruction": q, "answer": answer}) for q, answer in answers.items()]


EARLIER, LATER = answers_of("earlier", a="old", b="old"), answers_of("later", b="new", c="new")


async def updated(**fields: Any) -> tuple[dict[str, str], Counter[str]]:
    ctx = FakeContext(tables={"earlier": EARLIER, "later": LATER, "none": []})
    found = await mixed(ctx, tables={"earlier": 1, "none": 1, "later": 1}, **fields)
    reasons = Counter(item.reason for item in found if isinstance(item, Dropped))
    return {row["instruction"]: row["answer"] for row in taken(found)}, reasons


async def test_a_later_table_updates_an_earlier_one_by_a_column_and_the_rest_stays() -> None:
    once = {"another table has it": 1}
    assert await updated(by="instruction") == ({"a": "old", "b": "new", "c": "new"}, once)
    assert await updated(by="instruction", take="first") == ({"a": "old", "b": "old", "c": "new"}, once)


async def test_several_rows_of_one_table_with_the_same_value_all_stay() -> None:
    ctx = FakeContext(tables={"earlier": [*EARLIER, *answers_of("more", a="again")], "later": LATER})
    found = await mixed(ctx, tables={"earlier": 1, "later": 1}, by="instruction", shuffle=False)
    assert [row["answer"] for row in taken(found)] == ["old", "again", "new", "new"]


async def test_a_row_that_does_not_say_what_it_is_of_fails() -> None:
    ctx = FakeContext(tables={"earlier": [*EARLIER, Row({"id": "x", "answer": "?"})], "later": LATER})
    [failed] = [
        item
        for item in await mixed(ctx, tables={"earlier": 1, "later": 1}, by="instruction")
        if isinstance(item, Failed)
    ]
    assert (failed.row.id, failed.error) == ("x", "column 'instruction' is missing, which says what is the same")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tables": {"a": 1, "b": 1}, "take": "first"}, "take: needs by:"),
        ({"tables": {"a": 1}, "by": "instruction"}, "by: is for rows of several tables"),
    ],
)
def test_an_update_of_nothing_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        mix.Config.model_validate({"step": "mix", **fields})
