"""Runs the arms and seeds of a recipe after the chain as it stands; what they have in common with it is run once."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blackbox_kd.engine import loop
from blackbox_kd.engine.data import find_flowing
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import LoopStages, Stage, plan, plan_until
from blackbox_kd.engine.stage import StageRunner
from blackbox_kd.engine.state import RunState
from blackbox_kd.recipe.changed import find_changed
from blackbox_kd.recipe.spec import Recipe


@dataclass(slots=True)
class Variants:
    """The variants of a recipe, as far as they were run.

    Args:
        lead: what the steps of the chain as it stands share.
        work: what has run them.
        until: the last step that is run.
        states: what the steps of each variant share, in the order in which they were run.
    """

    lead: RunState
    work: StageRunner
    until: str | None
    states: list[RunState] = field(default_factory=list)

    async def run(self) -> None:
        """Runs all of them, one after the other: each begins with memory of its own."""
        for variant in self.lead.recipe.variants:
            async with AsyncExitStack() as stack:
                models = self.lead.models.branch(variant)
                stack.push_async_callback(models.close)
                await self._run(variant, models)

    async def _run(self, variant: Recipe, models: ModelPool) -> None:
        lead = self.lead
        shared = RunState(
            variant,
            lead.folder,
            models,
            lead.caller,
            mistakes=lead.mistakes,
            on_event=lead.on_event,
            refuse_late=lead.refuse_late,
            lead=lead,
            main=self._find_main(variant),
        )
        self.states.append(shared)
        for name in variant.data:
            if name in lead.tables:
                shared.tables.start(lead.tables[name], flows=name == find_flowing(variant))
        work, changed = self.work.branch(shared), find_changed(lead.recipe, variant)
        for part in plan(variant, plan_until(variant, self.until)):
            stages = part.stages if isinstance(part, LoopStages) else [part]
            steps = [planned for stage in stages for planned in stage.steps]
            if any(planned.at in changed for planned in steps):
                await (loop.run(part, shared, work) if isinstance(part, LoopStages) else work.run(part))
            else:
                await self._take(part, shared, work)

    def _find_main(self, variant: Recipe) -> RunState | None:
        """The chain as it stands with the seed of another arm."""
        states = [self.lead, *self.states] if variant.arm != self.lead.recipe.arm else []
        own = (self.lead.recipe.arm, variant.training_seed)
        return next((state for state in states if (state.recipe.arm, state.recipe.training_seed) == own), None)

    async def _take(self, part: Stage | LoopStages, shared: RunState, work: StageRunner) -> None:
        """Takes over what was run for the chain as it stands; where its stages are cut otherwise, runs the part."""
        if isinstance(part, LoopStages):
            for each in self.lead.done.values():
                if each.stage.first.loop is not None and each.stage.first.index == part.loop.index:
                    work.take(each)
            place = (part.loop.index,)
            shared.records.take(self.lead.records, place)
            for entry in shared.records.find("loops", place):
                if "restored" in entry:
                    shared.models.versions.restore(entry["restored"])
            return
        done = self.lead.done.get(part.first.place)
        if done is not None and [p.at for p in done.stage.steps] == [p.at for p in part.steps]:
            work.take(done)
        else:
            await work.run(part)

    def list_recorded(self) -> list[tuple[Recipe, Mapping[str, list[dict[str, Any]]]]]:
        """What the steps of the variants alone have recorded, each with its recipe."""
        return [(shared.recipe, shared.records.find_own()) for shared in self.states]

    def list_trained(self) -> list[tuple[Recipe, list[tuple[str, Path]]]]:
        """The models that the variants alone have trained, and their folders."""
        known = {version.folder for version in self.lead.models.versions}
        return [
            (s.recipe, [(v.ref.name, v.folder) for v in s.models.versions if v.folder not in known])
            for s in self.states
        ]
