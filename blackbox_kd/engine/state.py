"""What the steps of a run share."""

from collections.abc import Callable, Mapping
from typing import Any

from blackbox_kd.calls.caller import Caller
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.records import Records
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.engine.tables import RunTables
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.folder import RunFolder


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

    Attributes:
        tables: tables by name.
        records: what steps have recorded for the report.
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
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.models = models
        self.caller = caller
        self.mistakes = mistakes or Mistakes()
        self.on_event = on_event
        self.refuse_late = refuse_late
        self.overwrite = overwrite
        self.tables = RunTables(recipe, folder)
        self.records = Records()
        self.asking = 0
