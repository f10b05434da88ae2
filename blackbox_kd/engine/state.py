"""What the steps of a run share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.calls.caller import Caller
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.row_errors import Mistakes
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.lineage import Lineage
from blackbox_kd.tables.stored import StoredTable


class RunState:
    """What all steps of a run share.

    Args:
        recipe: the recipe.
        folder: the run folder.
        models: the open models.
        caller: asks them.
        tables: tables by name; `#3` is what steps[3] wrote without giving it a name.
        report: lists of the report that steps append to.
        trained: models that were trained, and the folders of their versions.
        taught: the table that each of these versions, such as `student@1`, was trained on.
        lineage: of the tables.
        on_event: is told how training goes on.
        mistakes: tells errors of rows from mistakes of steps.
        asking: calls to models of others that are under way and whose replies would be lost.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, models: ModelPool, caller: Caller) -> None:
        self.recipe = recipe
        self.folder = folder
        self.models = models
        self.caller = caller
        self.tables: dict[str, StoredTable] = {}
        self.report: dict[str, list[dict[str, Any]]] = {}
        self.trained: list[tuple[str, Path]] = []
        self.mistakes = Mistakes()
        self.taught: dict[str, StoredTable] = {}
        self.lineage = Lineage(recipe)
        self.asking = 0
        self.on_event: Callable[[Mapping[str, Any]], None] = lambda event: None
