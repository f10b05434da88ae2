"""Runs a loop of a recipe: round after round, until its metric does not rise any more, a table is full, or a round
leaves nothing to train on.

Nothing about a loop is stored: a resumed run goes through its rounds again, with replies from the ledger and finished
table steps from the run folder, and comes to the same end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.engine.plan import LoopStages
from blackbox_kd.engine.stage import StageRunner
from blackbox_kd.engine.state import RunState
from blackbox_kd.errors import NoRows, StepError
from blackbox_kd.recipe.loop_config import WIN_RATE, UntilMetric, UntilRows
from blackbox_kd.recipe.spec import Loop
from blackbox_kd.schema import ModelRef


async def run(rounds: LoopStages, shared: RunState, work: StageRunner) -> None:
    """Runs the rounds of a loop, and restores the best round's model.

    Raises:
        StepError: an evaluation had no rows, so that the metric is not known.
    """
    loop = rounds.loop
    _make_empty(rounds, shared)
    watch = Watch(loop, shared)
    last = loop.config.rounds if rounds.is_whole else 1
    for number in range(1, last + 1):
        if watch.ends_with_main(number, rounds):
            break
        try:
            for stage in rounds.stages:
                await work.run(stage.in_round(number))
        except NoRows:
            if not watch.ends_without_rows(number, rounds):
                raise
            break
        if rounds.is_whole and watch.ends(number):
            break
    if rounds.is_whole:
        shared.records.add("loops", (loop.index,), [watch.entry()])


def _make_empty(rounds: LoopStages, shared: RunState) -> None:
    """Makes the tables that steps name before round 1 has written them; `recipe.loops` has checked that it will."""
    named = {name for stage in rounds.stages for planned in stage.steps for name in planned.list_names("table")}
    for name in sorted(named - set(shared.tables)):
        shared.tables.make_empty(name, f"{rounds.loop.index + 1:02}_round0")


@dataclass(slots=True)
class Watch:
    """Follows what ends a loop.

    Args:
        loop: the loop.
        shared: the run's tables, models and records.
        values: the metric of each round, by the round; 0 is an evaluation before the loop.
        versions: the model's version that each was measured on.
        why: why the loop has ended.
    """

    loop: Loop
    shared: RunState
    values: dict[int, float] = field(default_factory=dict)
    versions: dict[int, str] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    why: str = "all rounds were run"
    _seen: int = 0
    _ended_in: int = 0

    def __post_init__(self) -> None:
        until = self.loop.config.until
        if isinstance(until, UntilMetric):
            self._note(0, until)

    def ends(self, number: int) -> bool:
        """Takes in a round that was run; whether the loop ends with it. The best round's model is restored then."""
        until = self.loop.config.until
        if isinstance(until, UntilRows):
            self.rows[number] = len(self.shared.tables[until.table])
            added = self.rows[number] - self.rows.get(number - 1, 0)
            if until.rows is not None and self.rows[number] >= until.rows:
                self.why = f"{until.table} has {self.rows[number]:,} rows"
                return True
            if until.added_below is not None and added < until.added_below:
                self.why = f"round {number} added {max(0, added):,} rows to {until.table}"
                return True
        if isinstance(until, UntilMetric):
            self._note(number, until)
            if number not in self.values:
                raise _explain_unmeasured(self.loop, number, until)
            is_over = number - self.best >= until.patience
            if is_over:
                self.why = (
                    f"no better {until.metric} for {until.patience} {'round' if until.patience == 1 else 'rounds'}"
                )
            if is_over or number == self.loop.config.rounds:
                self.shared.models.versions.restore(self.versions[self.best])
            return is_over
        return False

    def ends_without_rows(self, number: int, rounds: LoopStages) -> bool:
        """Whether a round that found nothing to train on ends the loop, and not the run: what it would have trained is
        trained already. The best round's model is restored then.
        """
        trained = {name for stage in rounds.stages for planned in stage.steps for name in planned.list_names("student")}
        known = {version.ref.name for version in self.shared.models.versions}
        if not trained <= known:
            return False
        self.why = f"round {number} had no rows to train on"
        self._ended_in = number
        if self.values:
            self.shared.models.versions.restore(self.versions[self.best])
        return True

    def ends_with_main(self, number: int, rounds: LoopStages) -> bool:
        """Whether another arm has come to the end of its loop, as the chain as it stands has trained no more."""
        lead = self.shared.lead
        if lead is None or self.shared.recipe.arm == lead.recipe.arm:
            return False
        steps = [planned for stage in rounds.stages for planned in stage.in_round(number).steps]
        if all(lead.records.find("trainings", planned.place) for planned in steps if planned.trains):
            return False
        self.why = f"the chain as it stands has trained nothing in round {number:,}"
        self._ended_in = number - 1
        return True

    @property
    def best(self) -> int:
        """The first round with the best value."""
        return max(self.values, key=lambda number: (self.values[number], -number))

    def entry(self) -> dict[str, Any]:
        """What the report holds of the loop."""
        until = self.loop.config.until
        rounds = max([*self.values, *self.rows, self._ended_in, self._count_rounds()])
        found: dict[str, Any] = {"step": self.loop.label, "rounds": rounds, "most": self.loop.config.rounds}
        found["ended"] = self.why
        if isinstance(until, UntilMetric):
            found |= {"metric": until.metric, "model": until.model, "table": until.on, "best_round": self.best}
            found["restored"] = self.versions[self.best]
            found["values"] = [
                {"round": number, "version": self.versions[number], "value": value}
                for number, value in sorted(self.values.items())
            ]
        if isinstance(until, UntilRows):
            found |= {"table": until.table, "rows": [self.rows[number] for number in sorted(self.rows)]}
        return found

    def _count_rounds(self) -> int:
        return self.loop.config.rounds if self.why == "all rounds were run" else 0

    def _note(self, number: int, until: UntilMetric) -> None:
        """Takes in what was measured since the last round; before the loop, of the version that it begins with."""
        # Of several measures of a round the last one counts. Before the loop, other versions may have been measured:
        # what a loop before this one has rejected must not be what this one is compared with.
        entries = self.shared.records.find("win_rates" if until.metric == WIN_RATE else "evaluations")
        now = _name_version(self.shared.models.exact(until.model))
        for entry in entries[self._seen :]:
            value = _read_metric(entry, until)
            if value is not None and (number or _name_version(str(entry["version"])) == now):
                self.values[number], self.versions[number] = value, str(entry["version"])
        self._seen = len(entries)


def _name_version(version: str) -> ModelRef:
    """A version; that of a model which was never trained is its base."""
    found = ModelRef.parse(version)
    return found if found.version else found.base


def _explain_unmeasured(loop: Loop, number: int, until: UntilMetric) -> StepError:
    """What a round without its metric ends in: no row was answered, or none was judged."""
    return StepError(
        f"{loop.label}: round {number} did not measure the {until.metric} of {until.model!r} on {until.on!r}",
        fix=f"see why its evaluate has no rows to count (is {until.on!r} empty, did all calls fail?), "
        "then run the same command with --retry-failed",
    )


def _read_metric(entry: Mapping[str, Any], until: UntilMetric) -> float | None:
    """The metric in an entry of the report; None if it is of another model or table."""
    if entry["table"] != until.on or entry["model"] != until.model:
        return None
    found = entry.get("metrics", {}).get(until.metric)
    value = entry.get(until.metric) if found is None else found["value"]
    return None if value is None else float(value)
