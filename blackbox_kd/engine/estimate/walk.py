"""The walk of an estimate: along the steps of a recipe with what is known of its tables."""

from collections import Counter
from dataclasses import replace
from inspect import isasyncgenfunction
from statistics import fmean

from blackbox_kd.engine import pricing
from blackbox_kd.engine.estimate.assumptions import (
    KEPT,
    REASONING_SHARE,
    REPLY_SHARE,
    Asking,
    Line,
    count_besides,
    measure_share,
)
from blackbox_kd.engine.estimate.costs import CACHE_HITS
from blackbox_kd.engine.estimate.dry_run import Rehearsal, Rehearsed
from blackbox_kd.engine.estimate.dry_transport import DryCall, Probed
from blackbox_kd.engine.estimate.spans import CASES, NOTHING, Span
from blackbox_kd.engine.estimate.tables import (
    EstimateOptions,
    Level,
    Levels,
    has_guesses,
    sample_evenly,
    tell_rows,
    write_guesses,
)
from blackbox_kd.engine.records import Place
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Path
from blackbox_kd.schema import Memory, ModelRef, Row
from blackbox_kd.sdk.fields import resolve
from blackbox_kd.sdk.reading import shorten
from blackbox_kd.tables.sampling import Drawn

SHOWN_CHARS = 200
"""Of what is wrong with a probe."""


class Walk:
    """Goes along the steps of a recipe with what is known of its tables.

    Args:
        recipe: the recipe.
        options: how it would be run.
        rehearsal: of it.
        before: the walk of the recipe that this one is a variant of, if it is one.

    Attributes:
        gone: the steps that were gone past and not taken over, each with whether it is certain.
        apart: where steps stand that are not the same in all variants.
        lines: the calls of each step to each model.
        notes: what was assumed, and what was measured.
    """

    def __init__(
        self, recipe: Recipe, options: EstimateOptions, rehearsal: Rehearsal, before: "Walk | None" = None
    ) -> None:
        self.lines: list[Line] = []
        self.recipe, self.rehearsal, self._before = recipe, rehearsal, before
        self.gone: list[tuple[PlannedStep, bool]] = []
        self.apart: set[Path] = set()
        self._passed: dict[Place, tuple[PlannedStep, dict[str, Level]]] = {}
        self._rests: dict[tuple[Place, str], Span] = {}
        self._options = options
        self._levels: Levels = Levels(recipe, options, None if before is None else before._levels)
        self.notes = self._levels.notes
        self._last = next((name for name, source in recipe.data.items() if not source.held_out), None)
        self._finished: dict[str, list[Row]] = {}
        self._paid: dict[tuple[str, str], list[DryCall]] = {}

    async def step(self, planned: PlannedStep, is_certain: bool = True) -> None:
        """Goes past a step; one that is not certain is in a round that may not come."""
        before = len(self.lines)
        self.gone.append((planned, is_certain))
        await self._step(planned, self._options.probe if is_certain and planned.round <= 1 else 0)
        if not is_certain:
            self.lines[before:] = [line.at_most() for line in self.lines[before:]]
            self.notes.append(f"steps[{planned.index}] (loop): all rounds are run; the low estimate has the fewest")
        self._passed[planned.place] = planned, {name: self._levels.level(name) for name in planned.outputs}

    def take(self, planned: PlannedStep) -> None:
        """Goes past a step that is the same in the recipe that this one is a variant of, and counted there."""
        assert self._before is not None
        self._passed[planned.place] = _, levels = self._before._passed[planned.place]
        for name, level in levels.items():
            self._levels.write(name, level)
        models = self.rehearsal.models
        models.to_be_trained |= set(planned.list_names("student"))
        models.shared |= set(planned.list_names("student"))
        self._last = self._last if planned.step.aside else planned.outputs[0]

    async def _step(self, planned: PlannedStep, probes: int) -> None:
        students = set(planned.list_names("student"))
        self.rehearsal.models.to_be_trained |= students
        self.rehearsal.models.shared -= students
        self.notes += [f"{planned.label}: the time that training takes is not counted"] if students else []
        level = self._find_input(planned)
        if (rows := planned.config.rows_to_draw()) is not None:
            level = self._draw(planned, level, rows)
        asks = planned.config.calls_per_row() > 0
        others = [each.value for each in planned.references if each.kind == "table" and each.field != "input"]
        is_exact = all(self._levels.level(name).is_whole for name in others)
        found, reply = Rehearsed(), None
        if level.known and (asks or planned.step.kind == "row" or (level.is_whole and is_exact and _can_run(planned))):
            tables, probes = self._levels.find_shown("likely"), probes if is_exact else 0
            found = await self.rehearsal.rehearse(planned, level.known, tables, probes=probes, looks_up=is_exact)
        if asks:
            like = await self._rehearse_like(planned, level, others, is_exact)
            reply = self._add_lines(planned, level, found, like, is_exact)
        self._pass_on(planned, level, found, reply, is_exact)

    async def _rehearse_like(
        self, planned: PlannedStep, level: Level, others: list[str], is_exact: bool
    ) -> tuple[list[DryCall], list[DryCall], list[DryCall]]:
        """Calls of rows that are not there yet, or whose prompts are not known yet: in the low, likely, high case."""
        # Where prompts show other tables that are not known yet, the prompts of known rows are not known either.
        rows = level.like if is_exact else sample_evenly([*level.known, *level.like])
        if not rows or (is_exact and not level.rest.high):
            return [], [], []
        is_same = not has_guesses([*rows, *(row for name in others for row in self._levels.level(name).list_shown())])
        found = []
        # Texts that are yet to be written are longer in the high case than in the low one, and with them the prompts
        # that show them; where no such text is shown, one rehearsal stands for all cases.
        for case in CASES[:1] if is_same else CASES:
            shown = tell_rows(rows, case), self._levels.find_shown(case)
            found.append((await self.rehearsal.rehearse(planned, *shown, looks_up=False)).asked)
        return found[0], found[len(found) // 2], found[-1]

    def _add_lines(
        self,
        planned: PlannedStep,
        level: Level,
        found: Rehearsed,
        like: tuple[list[DryCall], list[DryCall], list[DryCall]],
        is_exact: bool,
    ) -> Span | None:
        """Adds the calls of a step; returns the tokens of a reply, if there are any."""
        calls = planned.config.calls_by_model()
        replies: list[Span] = []
        for name in dict.fromkeys([*calls, *(asked.model for asked in found.asked)]):
            own = [asked for asked in found.asked if asked.model == name]
            per_row = calls.get(name, 0)
            # A row whose first call has no reply yet does not get to its second one.
            unseen = (len(level.known) - found.failed) * per_row - sum(not asked.attempt for asked in own)
            rest = level.rest * per_row + max(0.0, unseen)
            if not is_exact:  # these calls are like others, too: their prompts are not known yet
                own, rest = [], rest + len(own)
            low, likely, high = ([asked for asked in case if asked.model == name] for case in like)
            self._rests[planned.place, name] = rest
            place, other = (planned.key, name), self._find_same(planned, name)
            if other is not None:
                rest = count_besides(rest, other._rests.get((planned.place, name), NOTHING))
            before = self._paid.get(place) or (other._paid.get(place, []) if other is not None else [])
            asking = Asking(own, rest, likely, (low, high), before)
            self._paid[place] = asking.seen
            self._add_line(planned, level, name, asking)
            self._note_probes(planned, name, [probed for probed in found.probed if probed.model == name])
            replies.append(asking.reply())
        replies = [reply for reply in replies if reply.high]
        if not replies:
            return None
        shortest, longest = min(reply.low for reply in replies), max(reply.high for reply in replies)
        return Span(shortest, fmean(reply.likely for reply in replies), longest)

    def _add_line(self, planned: PlannedStep, level: Level, name: str, asking: Asking) -> None:
        models = self.rehearsal.models
        tariff = pricing.find_tariff(models, name)
        met = tariff.met if tariff else []
        line = asking.line(planned.label, name, models.config(name), met)
        line.marks = self.recipe.marks if planned.at in self.apart else {}
        if self._before is not None and not (line.calls.high or line.paid):
            return  # all of it is counted where it was met first
        self.lines.append(line)
        if not line.calls.high:
            return
        measured = f"as long as the {line.measured:,} in the ledger"
        how = measured if line.measured else f"of {REPLY_SHARE.percent()} of max_tokens"
        is_open = not line.measured and any(call.room for call in [*asking.found, *asking.like])
        thought = f", hidden reasoning {REASONING_SHARE.percent()} of its room" if is_open else ""
        guessed = level.assumed if level.rest.high else ()
        self.notes += [*guessed, f"{planned.label}, {name}: replies {how}{thought}"]
        if len(met) > 1:
            self.notes.append(f"{name}: its price changes within two days; the high estimate has the dearest")
        caching = asking.estimate_caching(met)
        if caching.read.likely:
            how = "as in the ledger" if caching.is_measured else f"{CACHE_HITS.percent()} of what they share"
            self.notes.append(
                f"{planned.label}, {name}: {caching.read.likely:.0%} of the prompts is read from the endpoint's cache "
                f"({how}); that saves ${line.saved.likely:.4f}"
            )
        if (unusable := asking.measure_unusable()) is not None:
            seen = f"as of {len(asking.seen):,} in the ledger"
            self.notes.append(f"{planned.label}, {name}: {unusable.percent()} of the replies cannot be used, {seen}")

    def _find_same(self, planned: PlannedStep, name: str) -> "Walk | None":
        """The walk of the recipe that this one is a variant of, if its step asks the same model in the same way."""
        before = self._before
        found = None if before is None else before._passed.get(planned.place)
        own = {"input", "output"}
        if found is None or found[0].config.model_dump(exclude=own) != planned.config.model_dump(exclude=own):
            return None
        name = ModelRef.parse(name).name
        is_trained = name in self.rehearsal.models.to_be_trained - self.rehearsal.models.shared
        assert before is not None
        return before if before.recipe.models[name] == self.recipe.models[name] and not is_trained else None

    def _note_probes(self, planned: PlannedStep, name: str, probed: list[Probed]) -> None:
        """Says what was wrong with probes."""
        faults = [probe.fault for probe in probed if probe.fault is not None]
        if faults:
            kind, _ = Counter(fault.kind for fault in faults).most_common(1)[0]
            said = shorten(next(fault.what for fault in faults if fault.kind == kind), SHOWN_CHARS)
            count = f"{len(faults):,} of {len(probed):,} probes could not be used"
            self.notes.append(f"{planned.label}, {name}: {count}: {kind}: {said}")

    def _pass_on(
        self, planned: PlannedStep, level: Level, found: Rehearsed, reply: Span | None, is_exact: bool
    ) -> None:
        """Notes what the step will write, as far as that is known: later steps are estimated on it.

        Args:
            planned: the step.
            level: what is known of the table that it reads.
            found: what became of the known rows in it.
            reply: tokens of a reply, where models write what it writes.
            is_exact: whether the tables that it looks at beside its own are known, so that its prompts are a run's.
        """
        config, step, names = planned.config, planned.step, planned.outputs
        self._last = self._last if step.aside else names[0]
        if step.kind == "table" and level.is_whole and is_exact and found.is_whole:
            # The step was run on the very rows of a run, and came to its end: these are its tables.
            for name in names:
                rows = [*found.named.get(name, []), *(found.named.get("", []) if name == names[0] else [])]
                self._levels.write(name, Level(rows, NOTHING, sample_evenly(rows)))
            return
        if level.is_whole and planned.trains and not (step.drops or step.writes):
            # It was not run here, as that would have trained; but such a step hands its rows on as they are.
            self._levels.write(names[0], level)
            return
        kept, assumed = Span.of(1), level.assumed
        if step.drops:
            # Rows that wait for a reply are neither kept nor dropped so far, and tell nothing of the share.
            kept = measure_share(len(found.rows), found.dropped)
            how = "" if kept is KEPT else f", as of {len(found.rows) + found.dropped:,} rows with paid replies"
            assumed += (f"{planned.label}: {kept.percent()} of the rows pass{how}",)
        if step.kind == "row":
            # A step that yields makes a row of each reply. Rows that got through it, with replies from the ledger, stay
            # known: the replies to what later steps ask about them may be in the ledger, too.
            fan_out = max(1, config.rows_per_row()) if isasyncgenfunction(step.run) else 1
            if fan_out > 1 and not config.calls_per_row() and level.rest.high:
                assumed += (f"{planned.label}: {fan_out:g} rows of each row that is not there yet",)
            known, rest = found.rows, (level.rest * fan_out + len(found.waiting)) * kept
        else:
            # Of the rows of a table step that was not run to its end, none is certain: with all rows there, it could
            # have chosen others. One that stands aside writes a row for each model that it has asked.
            fan_out = max(1, config.rows_per_row()) if step.aside else 1
            known, rest = [], level.total() * kept * fan_out
            most = config.most_rows()
            rest = rest if most is None else rest.each(min, most)
        passed = Level(known, rest, self._guess_written(planned, level, found, reply), assumed)
        for name in names:
            self._levels.write(name, passed)

    def _guess_written(self, planned: PlannedStep, level: Level, found: Rehearsed, reply: Span | None) -> list[Row]:
        """Rows like those that the step will write."""
        new = planned.list_names("new column")
        columns = [*resolve(planned.step.writes, planned.config), *new]
        finished = found.rows or self._finished.get(planned.key, [])
        self._finished[planned.key] = sample_evenly(finished)
        like = sample_evenly([*found.waiting, *level.like] or level.known)
        return write_guesses(like, columns, finished, reply, new)

    def _find_input(self, planned: PlannedStep) -> Level:
        if planned.step.merges is not None:
            return self._levels.merge(planned.merged)
        name = planned.config.input or self._last
        return self._levels.level(name) if name is not None else Level([], NOTHING, [])

    def _draw(self, planned: PlannedStep, level: Level, rows: int) -> Level:
        """The rows that a step has drawn from its table; known ones are drawn as a run will draw them."""
        if level.known and level.is_whole:
            rng = self.rehearsal.context(planned, self._levels.find_shown("likely")).rng("rows")
            return replace(level, known=list(Drawn(Memory("drawn", level.known), rows, rng)))
        return Level([], Span.of(rows) if level.total().high else NOTHING, level.like, assumed=level.assumed)


def _can_run(planned: PlannedStep) -> bool:
    """Whether a table step that asks no model only looks at rows.

    One that trains does more, one with packages of its own would load an encoder, and what one reads from the report
    can be of a model that is not trained yet.
    """
    return not (planned.config.needs() or planned.list_names("reported table") or planned.trains)
