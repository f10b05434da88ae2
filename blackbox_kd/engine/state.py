"""What the steps of a run share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blackbox_kd.calls.caller import Caller
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.plan import Stage
from blackbox_kd.engine.records import Place, Records
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.tables import RunTables
from blackbox_kd.engine.versions import Version
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.tables.stored import StoredTable


@dataclass(frozen=True, slots=True)
class Done:
    """A stage that was run.

    Args:
        stage: the stage.
        tables: that it has written.
        trained: versions of models that it has made.
    """

    stage: Stage
    tables: Sequence[StoredTable]
    trained: Sequence[Version]


class RunState:
    """What all steps of a run share; each part of it is changed by its own methods alone.

    Args:
        recipe: the recipe.
        folder: the run folder.
        models: the open models, and the versions that training has made of them.
        caller: asks them.
        mistakes: tells errors of rows from mistakes of steps.
        on_event: is told how training goes on.
        refuse_late: raises where the run is to end, and nothing long may begin.
        overwrite: whether a training may take the place of a finished one of other settings.
        lead: what the steps of the recipe share that this one is a variant of.
        main: what those share of the chain as it stands with the same seed, in another arm.

    Attributes:
        tables: tables by name.
        records: what steps have recorded for the report.
        done: stages that were run, by the place of their first step.
        asking: calls to models of others that are under way and whose replies would be lost.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        models: ModelPool,
        caller: Caller,
        *,
        mistakes: Mistakes | None = None,
        on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
        refuse_late: Callable[[], None] = lambda: None,
        overwrite: bool = False,
        lead: "RunState | None" = None,
        main: "RunState | None" = None,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.models = models
        self.caller = caller
        self.mistakes = mistakes or Mistakes()
        self.on_event = on_event
        self.refuse_late = refuse_late
        self.overwrite = overwrite
        self.lead, self.main = lead, main
        self.done: dict[Place, Done] = {}
        self.tables: RunTables = RunTables(recipe, folder, None if lead is None else lead.tables)
        self.records = Records()
        self.asking = 0

    def find_main_table(self, planned: PlannedStep) -> StoredTable | None:
        """In another arm, the table that a step has written for the chain as it stands; None if there is none."""
        done = None if self.main is None else self.main.done.get(planned.place)
        return None if done is None else done.tables[0]
