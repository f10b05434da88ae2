"""Steps and how they are found: `@row_step` and `@table_step`, the registry, plugins, which may be metrics, too.

A step is a module of `steps/` (or a plugin of the recipe) with one decorated function `run`. Its name is the
file's name, its config class is the annotation of `run`'s `config`, and a mark on a field of the config says what
the field names (`ModelName`, `TableName`, ...), so that a recipe is checked without knowing any step. A step with
several forms has a config class for each: the annotation is their union.
"""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, get_args, get_type_hints

from blackbox_kd import answers
from blackbox_kd.analysis import metrics
from blackbox_kd.analysis.metrics import Metric
from blackbox_kd.errors import SetupError
from blackbox_kd.paths import list_modules
from blackbox_kd.schema import digest
from blackbox_kd.sdk.step_config import StepConfig

StepKind = Literal["row", "table"]


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the registry knows it.

    Args:
        name: its name in a recipe.
        kind: `row` steps see one row at a time and stream; `table` steps see whole tables.
        forms: its config class, or one for each of its forms.
        reads: columns it reads; `{field}` stands for the value of a config field.
        writes: columns it writes, likewise.
        drops: reasons for which it drops rows; `{field}` likewise.
        passes_over: those of them that say nothing against a row: others were taken in its place.
        merges: a field with names of tables that the step reads instead of `input`.
        aside: whether the step stands aside of the flow: what it writes is found by its `output` name alone.
        held_out: whether it may read held-out tables.
        version: of the rows that it writes: raised by hand when the same input comes to give other rows.
        run: the function itself.
        doc: the module's docstring.
        file: where it is written.
    """

    name: str
    kind: StepKind
    forms: tuple[type[StepConfig], ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    drops: tuple[str, ...]
    passes_over: tuple[str, ...]
    merges: str | None
    aside: bool
    held_out: bool
    version: int
    run: Callable[..., Any]
    doc: str
    file: Path

    @property
    def code(self) -> str:
        """What a step of somebody's own is written in; empty for those of the package, which have a version."""
        is_ours = self.run.__module__.startswith("blackbox_kd.steps.")
        return "" if is_ours else self.file.read_text(encoding="utf-8")

    @property
    def kinds(self) -> list["Step"]:
        """The step as `run` declares it, and as `run_table` does for those of its forms that look at tables."""
        module = sys.modules[self.run.__module__]
        second = getattr(module, "run_table", None)
        return [self] if second is None or second is self.run else [self, second.step]

    @property
    def all_forms(self) -> list[type[StepConfig]]:
        """The config classes of all its kinds."""
        return [form for kind in self.kinds for form in kind.forms]

    def of(self, config: StepConfig) -> "Step":
        """The kind that the step is of with a config."""
        return next(kind for kind in self.kinds if isinstance(config, kind.forms))


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def row_step(
    *, reads: Sequence[str] = (), writes: Sequence[str] = (), drops: Sequence[str] = (), version: int = 1
) -> Decorator:
    """Declares `async def run(row, config, ctx)`: it returns an outcome, or yields several (fan-out)."""
    return _declare("row", reads, writes, drops, version=version)


def table_step(
    *,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    drops: Sequence[str] = (),
    passes_over: Sequence[str] = (),
    merges: str | None = None,
    aside: bool = False,
    held_out: bool = False,
    version: int = 1,
) -> Decorator:
    """Declares `async def run(table, config, ctx)`: it yields outcomes, or pairs of a table's name and an outcome.

    A finished table step is not run again while its `version`, its fields and its inputs are the same.

    Beside a row step it declares `run_table`, for forms of the step that look at whole tables.
    """
    how = {
        "passes_over": tuple(passes_over),
        "merges": merges,
        "aside": aside,
        "held_out": held_out,
        "version": version,
    }
    return _declare("table", reads, writes, drops, **how)


def _declare(
    kind: StepKind, reads: Sequence[str], writes: Sequence[str], drops: Sequence[str], **how: Any
) -> Decorator:
    def decorate(run: Callable[..., Any]) -> Callable[..., Any]:
        module = sys.modules[run.__module__]
        file = Path(module.__file__ or run.__module__)
        if kind == "table" and not inspect.isasyncgenfunction(run):
            raise TypeError("run() of a table step must be `async def` and yield its outcomes")
        if not (inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run)):
            raise TypeError("run() must be `async def`")
        config = get_type_hints(run).get("config")
        forms = get_args(config) if isinstance(config, UnionType) else (config,)
        if not all(inspect.isclass(form) and issubclass(form, StepConfig) for form in forms):
            raise TypeError("run() must annotate `config` with a subclass of StepConfig")
        for pattern in (*reads, *writes):
            if pattern.startswith("{") and not any(pattern[1:-1] in form.model_fields for form in forms):
                raise TypeError(f"{pattern} names no field of {' or '.join(form.__name__ for form in forms)}")
        run.__dict__["step"] = Step(
            name=file.stem,
            kind=kind,
            forms=forms,
            reads=tuple(reads),
            writes=tuple(writes),
            drops=tuple(drops),
            passes_over=how.get("passes_over", ()),
            merges=how.get("merges"),
            aside=how.get("aside", False),
            held_out=how.get("held_out", False),
            version=how["version"],
            run=run,
            doc=module.__doc__ or "",
            file=file,
        )
        return run

    return decorate


class Registry:
    """The steps and the metrics that a recipe may use: those of the package, and the recipe's plugins."""

    def __init__(self) -> None:
        self._plugins: dict[str, Step] = {}
        self._answers: list[str] = []
        self._metrics: dict[str, Metric] = {}

    def names(self) -> list[str]:
        """Names of all steps."""
        package = importlib.import_module("blackbox_kd.steps")
        return sorted({*list_modules(package.__path__[0]), *self._plugins})

    def answers(self) -> list[str]:
        """Names of all kinds of answers."""
        return sorted([*answers.kinds(), *self._answers])

    def get(self, name: str) -> Step:
        """The step of a name.

        Raises:
            KeyError: there is none.
        """
        if name in self._plugins:
            return self._plugins[name]
        if name not in self.names():
            raise KeyError(name)
        return _find_step(importlib.import_module(f"blackbox_kd.steps.{name}"))

    def metrics(self) -> list[str]:
        """Names of all metrics."""
        return sorted({*metrics.names(), *self._metrics})

    def find_metric(self, name: str) -> Metric:
        """The metric of a name.

        Raises:
            KeyError: there is none.
        """
        return self._metrics[name] if name in self._metrics else metrics.find(name)

    def add_plugin(self, file: Path) -> Step | None:
        """Loads a step or a metric, a kind of answer, or one of each, from a user's file; returns the step.

        This runs the file: ask for `--allow-code` first.

        Raises:
            SetupError: the file cannot be loaded, declares none of them, or has the name of another one.
        """
        if file.suffix != ".py":
            raise SetupError("not a Python file (.py)")
        if file.stem in self.names():
            raise SetupError(f"there is a step {file.stem!r} already; a file's name is the name of its step")
        name = f"blackbox_kd_plugin_{digest(str(file.resolve()), 8)}_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
            at = f"line {lines[-1]}: " if lines else ""
            raise SetupError(f"cannot be loaded: {at}{type(error).__name__}: {error}") from error
        if is_kind := name in answers.DECLARED:
            if file.stem in answers.kinds():
                raise SetupError(
                    f"there is a kind of answer {file.stem!r} already; a file's name is the name of its kind"
                )
            answers.PLUGINS[file.stem] = answers.DECLARED[name]
            self._answers.append(file.stem)
        metric = getattr(module.__dict__.get("run"), "metric", None)
        if isinstance(metric, Metric) and metric.file == file:
            if metric.name in self.metrics():
                raise SetupError(f"there is a metric {metric.name!r} already; a file's name is the name of its metric")
            self._metrics[metric.name] = metric
            return None
        if is_kind and "run" not in module.__dict__:
            return None
        step = _find_step(module)
        self._plugins[step.name] = step
        return step


def _find_step(module: ModuleType) -> Step:
    step = getattr(getattr(module, "run", None), "step", None)
    if not isinstance(step, Step) or step.run.__module__ != module.__name__:
        file = Path(module.__file__ or module.__name__).name
        raise SetupError(
            f"{file}: a step needs a function `run` of its own under @row_step or @table_step, a metric one under "
            "@metric, a kind of answer a class under @answer"
        )
    return step
