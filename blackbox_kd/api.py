"""From Python: runs, checks and estimates of recipes, and what a run has left.

    import blackbox_kd

    result = blackbox_kd.run("recipe.yaml", set={"steps.generate.samples": 2})
    result.tables["rows"].to_pandas()

A recipe is the path of a YAML file, the name of a bundled one, or a mapping with the same fields. All of it works in a
notebook, too: what asks models has a thread and an event loop of its own. Nothing is asked on stdin. What goes wrong is
raised as an error of `blackbox_kd.errors`; interrupting a cell ends the run as Ctrl-C does, and the same cell goes on.
"""

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blackbox_kd.engine import event_loop, packages, pricing
from blackbox_kd.engine.descriptors import raise_limit
from blackbox_kd.engine.estimate.estimate import Estimate
from blackbox_kd.engine.estimate.tables import AnyKey, EstimateOptions
from blackbox_kd.engine.progress import PlainView, View
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.engine.signals import Thread, stoppable
from blackbox_kd.errors import UserError
from blackbox_kd.paths import find_cache_folder, find_config_folder
from blackbox_kd.privacy import switch_off_telemetry
from blackbox_kd.recipe import trust as recipe_trust
from blackbox_kd.recipe.load import build_recipe, find_recipe, load_recipe
from blackbox_kd.recipe.notes import Note, Notes
from blackbox_kd.recipe.overrides import take
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.yaml_source import Source
from blackbox_kd.runs import browse
from blackbox_kd.runs.parquet import read_arrow
from blackbox_kd.runs.report.gains import describe_evidence

if TYPE_CHECKING:
    import pyarrow as pa

RecipeLike = str | Path | Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Tables(Mapping[str, "pa.Table"]):
    """Tables by name, each read when it is asked for.

    Args:
        path: the folder that they lie in.
        files: theirs, by name.
    """

    path: Path
    files: Mapping[str, Path]

    def __getitem__(self, name: str) -> "pa.Table":
        return read_arrow(self.files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"Tables({', '.join(self.files)})"


@dataclass(frozen=True, repr=False)
class Result:
    """What a run has left in its folder.

    Args:
        path: the run's folder.
        report: what `report.json` holds; empty if no run there has ended.
    """

    path: Path
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tables(self) -> Tables:
        """The tables of the run by the names that the recipe gives them, else by their files: `02_filter`.

        `dropped` and `failed` hold the rows that steps took out, and why.
        """
        return Tables(self.path, browse.name_tables(self.path))

    @property
    def dataset(self) -> Tables | None:
        """The data set by its configs, `default` if it has but one; None if there is none. Its `path` is for
        `datasets.load_dataset`.
        """
        files = browse.list_dataset_files(self.path)
        return Tables(self.path / "dataset", files) if files else None

    @property
    def models(self) -> dict[str, Path]:
        """The folders of what was trained, adapters or weights, by versions such as `student@1`."""
        return browse.find_models(self.path)

    def __repr__(self) -> str:
        return "\n".join([f"Result({self.path}): {self.report.get('status')}", *describe_evidence(self.report)])

    def _repr_markdown_(self) -> str | None:
        report = self.path / "report.md"
        return report.read_text(encoding="utf-8") if report.is_file() else None


def run(
    recipe: RecipeLike,
    *,
    set: Mapping[str, Any] | None = None,
    limit: int | None = None,
    until: str | None = None,
    extend: int | None = None,
    retry_failed: bool = False,
    allow_code: bool = False,
    trust: Sequence[str] = (),
    folder: str | Path | None = None,
    run_dir: str | Path | None = None,
    ledger: str | Path | None = None,
    quiet: bool = False,
) -> Result:
    """Runs a recipe, or goes on where an earlier run of it stopped; nothing paid for is asked again.

    Args:
        recipe: a path, the name of a bundled recipe, or a mapping.
        set: values of the recipe that are changed, by their paths.
        limit: at most so many rows of each table; the run works in `trial/` then.
        until: name or position of the last step that is run.
        extend: rows that are taken beyond those of the run so far.
        retry_failed: ask anew for rows that failed.
        allow_code: let the recipe's plugins and functions run.
        trust: hosts that keys and files of the recipe may be sent to; remembered.
        folder: where paths of a mapping begin; the working directory if left out.
        run_dir: the run's folder; `runs/NAME` if left out.
        ledger: the file of paid replies; `runs/ledger.sqlite` if left out.
        quiet: say nothing on stderr.

    Raises:
        UserError: the recipe or an argument is wrong.
        BudgetReached, StepError, TooManyFailed: the run ended early; everything paid for is kept.
        KeyboardInterrupt: it was stopped; everything paid for is kept.
    """
    _check_limit(limit)
    notes, view = Notes(), View() if quiet else PlainView()
    found = _load(recipe, folder, set, allow_code, notes)
    recipe_trust.settle(found, os.environ, find_config_folder(), given=trust)
    for line in [*notes.told, *(note.text(found.file) for note in notes.list_warnings())]:
        view.say(line)
    places: dict[str, Any] = {"run_dir": _as_path(run_dir), "ledger": _as_path(ledger), "extend": extend}
    options = RunOptions(find_cache_folder(), limit=limit, until=until, retry_failed=retry_failed, view=view, **places)
    job, thread = Run(found, options), Thread()
    _start(thread, lambda: stoppable(job, view.say, thread.hear))
    return Result(job.path, job.report)


def check(
    recipe: RecipeLike,
    *,
    set: Mapping[str, Any] | None = None,
    allow_code: bool = False,
    folder: str | Path | None = None,
) -> list[Note]:
    """Checks a recipe without running anything; returns what is no mistake and yet to be known.

    Raises:
        RecipeError: with every problem at once, in `problems`.
    """
    notes = Notes()
    found = _load(recipe, folder, set, allow_code, notes)
    packages.refuse_missing(found, found.steps)
    _start(Thread(), lambda: pricing.check(found, find_cache_folder(), os.environ))
    return notes.list_all()


def estimate(
    recipe: RecipeLike,
    *,
    set: Mapping[str, Any] | None = None,
    limit: int | None = None,
    until: str | None = None,
    probe: int = 0,
    allow_code: bool = False,
    trust: Sequence[str] = (),
    folder: str | Path | None = None,
    run_dir: str | Path | None = None,
    ledger: str | Path | None = None,
) -> dict[str, Any]:
    """What the rest of a run will cost, low, likely and high, as `blackbox-kd estimate --json` has it.

    Nothing is sent and no key is needed, but for `probe`: so many calls of each step that asks a paid model are made,
    for measured lengths; the run will not buy them again.

    Raises:
        UserError: the recipe or an argument is wrong.
    """
    _check_limit(limit)
    env: Mapping[str, str] = dict(os.environ) if probe else AnyKey()
    notes = Notes()
    found = _load(recipe, folder, set, allow_code, notes, env)
    if probe:
        recipe_trust.settle(found, env, find_config_folder(), given=trust)
    options = EstimateOptions(
        run_dir=_as_path(run_dir) or Path("runs") / found.name,
        ledger=_as_path(ledger) or Path("runs") / "ledger.sqlite",
        env=env,
        limit=limit,
        until=until,
        probe=probe,
    )
    job, thread = Estimate(found, options), Thread()
    _start(thread, lambda: stoppable(job, View().say, thread.hear))
    return job.told


def load(run: str | Path) -> Result:
    """What an earlier run has left, by its folder or its name in `runs/`.

    Raises:
        UserError: there is no such run.
    """
    folder = browse.find_run(Path(run))
    return Result(folder, browse.read_report(folder))


def _load(
    recipe: RecipeLike,
    folder: str | Path | None,
    changes: Mapping[str, Any] | None,
    allow_code: bool,
    notes: Notes,
    env: Mapping[str, str] = os.environ,
) -> Recipe:
    overrides = list((changes or {}).items())
    if not isinstance(recipe, Mapping):
        if folder is not None:
            raise UserError("folder= goes with a recipe that is a mapping", fix="take it out: paths start at the file")
        path = find_recipe(str(recipe))
        return load_recipe(path, overrides=overrides, allow_code=allow_code, env=env, notes=notes)
    source = Source(values=take(dict(recipe)))
    place = Path(folder or "").resolve()
    return build_recipe(
        source, file="recipe", folder=place, overrides=overrides, allow_code=allow_code, env=env, notes=notes
    )


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit}: no row would be left", fix="give 1 or more, or leave it out for all rows")


def _start(thread: Thread, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see cli.app: read by OpenMP when torch is loaded
    switch_off_telemetry()
    raise_limit()
    thread.run(lambda: event_loop.run(main()))


def _as_path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)
