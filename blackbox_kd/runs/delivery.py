"""What a run hands over when it ends: its data set with a card and the recipe, and the cards of its models."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from blackbox_kd.errors import StepError
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import cards, carried, dataset, model_card
from blackbox_kd.runs.cards import Made
from blackbox_kd.runs.examples import describe_example, read_lost
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.lineage import Behind, Lineage
from blackbox_kd.runs.manifest import WrittenDataSet
from blackbox_kd.runs.report import arms
from blackbox_kd.tables.stored import StoredTable

FOLDER = "dataset"
BEFORE = ("train.jsonl", "train.parquet", dataset.LEFT_OUT)
"""Files of a data set that no manifest tells of."""


class Delivery:
    """The data set of a run, as far as it has come.

    Args:
        folder: the run's.
        recipe: what is run.
        options: of the command, such as `--limit 3`.
    """

    def __init__(self, folder: RunFolder, recipe: Recipe, options: str = "") -> None:
        self.made: Made | None = None
        self._folder = folder
        self._recipe = recipe
        self._options = options
        self._stale: set[str] = set()

    def write_recipe(self) -> None:
        """Writes the recipe into the run's folder, with what it needs beside it."""
        carried.write(self._recipe, self._folder.path, self._folder.path, self._options)

    def write_dataset(
        self,
        tables: Mapping[str, StoredTable],
        lineage: Lineage,
        *,
        is_complete: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Writes the data set, unless a run that is not complete would put a part in the place of a whole.

        Args:
            tables: by the names of their configs; none if the run has no data set.
            lineage: of the run's tables.
            is_complete: whether the run has come to its end.
            say: is told what a user should know of the rows.
        """
        if not tables or not (is_complete or self._may_replace(tables)):
            return
        before, place = self._folder.manifest.dataset, self._folder.path / FOLDER
        self._stale = set(BEFORE if before is None else before.list_files())
        configs = dataset.write_tables(place, tables, self._recipe.written, say)
        behind = Behind()
        for table in tables.values():
            behind |= lineage.trace(table)
        self.made = Made(configs, behind.steps, behind.models, data=behind.data)
        beside = [] if before is None else before.beside
        self._folder.note_dataset(WrittenDataSet(complete=is_complete, configs=configs, beside=beside))
        self._folder.save()

    def _may_replace(self, tables: Mapping[str, StoredTable]) -> bool:
        """Whether no earlier run has left a whole data set, or one of these very tables."""
        told = self._folder.manifest.dataset
        if told is None:
            return not (self._folder.path / FOLDER / BEFORE[0]).exists()
        same = {config.name: config.source for config in told.configs}
        return not told.complete or same == {name: table.sha256 for name, table in tables.items()}

    def refuse_empty(self) -> None:
        """Ends a run whose data set lacks all of its rows.

        Raises:
            StepError: nothing can be learnt from any of them.
        """
        told = self.summary()
        if told is None or told["rows"] or not told["left_out"]:
            return
        total = sum(told["left_out"].values())
        reasons = "; ".join(f"{count:,} times: {reason}" for reason, count in told["left_out"].items())
        place = self._folder.path / FOLDER
        files = [place / name for name in BEFORE[2:] if (place / name).exists()]
        first = [f"such as {describe_example(row)}" for file in files for row in read_lost(file, 1)]
        raise StepError(
            f"the data set is empty: nothing can be learnt from any of its {total:,} rows",
            exists="\n".join([reasons, *first]),
            fix=f"mend the steps that wrote them; the rows are in {place}",
        )

    def summary(self) -> dict[str, Any] | None:
        """What the report holds of the data set; None if this run has written none."""
        if self.made is None:
            return None
        left_out: Counter[str] = sum((Counter(config.left_out) for config in self.made.configs), Counter())
        return {"rows": sum(config.rows for config in self.made.configs), "left_out": dict(left_out)}

    def write_cards(self, report: Mapping[str, Any], trained: Iterable[tuple[str, Path]] = ()) -> None:
        """Writes the cards: for what this run has made, not an earlier one.

        Args:
            report: what `report.json` holds.
            trained: models and the folders of their versions.
        """
        folder, recipe = self._folder, self._recipe
        own = arms.select(report)
        model_card.write_models(recipe, own, ((model, path) for model, path in trained if folder.owns(path)))
        if self.made is None:
            return
        place = folder.path / FOLDER
        beside = carried.write(recipe, folder.path, place, self._options, is_public=True)
        inputs = [Path(file).stem for file in beside if file.startswith(f"{carried.INPUTS}/")]
        made = replace(self.made, inputs=inputs)
        write_whole(place / "README.md", cards.write_data_card(recipe, report, made))
        assert folder.manifest.dataset is not None
        told = folder.manifest.dataset.model_copy(update={"beside": ["README.md", *beside]})
        folder.note_dataset(told)
        dataset.remove_stale(place, self._stale, told.list_files())
        folder.save()
