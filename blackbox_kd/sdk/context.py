"""What a step is given besides its row and its config."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from blackbox_kd.analysis.benchmarks import TaskResult
from blackbox_kd.analysis.metrics import Metric
from blackbox_kd.schema import Ask, Message, Outcome, Reply, Row, T, Table

Benchmarked = tuple[dict[str, list[TaskResult]], list[dict[str, Any] | None], str]
"""Results by model and in the order of the tasks; how many questions of each task stand among the rows that were
learnt, None if nobody knows these; and who has asked."""


class Context(Protocol):
    """What a step may use besides its row and its config."""

    seed: int
    step: str
    """Name under which messages speak of this step, such as `steps[3] (train)`."""
    round: int
    """Round of the loop that the step is in, from 1; 0 outside of a loop."""

    async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
        """One reply of a model, from the ledger if it was paid for before, with what the step reads out of it.

        Raises:
            CallError: no usable reply could be had; the runner turns it into a failed row.
            BudgetReached: the call does not fit into the budget.
        """
        ...

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        """A prompt with a row's columns in it, as chat messages."""
        ...

    def table(self, name: str) -> Table:
        """A table by name."""
        ...

    def is_held_out(self, name: str) -> bool:
        """Whether a table is held out, or made of one that is: nothing that trains may read what it holds."""
        ...

    def rng(self, *parts: object) -> random.Random:
        """A generator seeded by the run's seed, the step and `parts`: the same in every run and order."""
        ...

    def each(self, rows: Iterable[Row], work: "Callable[[Row], Awaitable[list[Outcome]]]") -> AsyncIterator[Outcome]:
        """Work on rows side by side; outcomes come in the order of the rows; an error of a row fails it."""
        ...

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """Train the next version of a model in a process of its own.

        Raises:
            StepError: the training process ended with an error.
        """
        ...

    def list_main_rows(self) -> list[Row]:
        """In an arm of the recipe, the rows that this step has written for the chain as it stands; else none."""
        ...

    async def benchmark(self, models: Sequence[str], asked: Mapping[str, Any]) -> Benchmarked:
        """Ask models the questions of standard benchmarks, each model in a process of its own.

        Args:
            models: their names.
            asked: which tasks, and how.

        Raises:
            UserError: there is no such task, or its questions cannot be had.
            StepError: the process ended with an error, or a model has no weights at hand.
        """
        ...

    def find_function(self, file: str, name: str) -> Callable[..., Any]:
        """A function of a Python file beside the recipe, where the user has allowed code.

        Raises:
            SetupError: the file cannot be loaded, or has no such function.
        """
        ...

    def metric(self, name: str) -> Metric:
        """A metric by its name, of the package or of a plugin."""
        ...

    def is_trained(self, model: str) -> bool:
        """Whether the recipe trains a model, which may be named with a version."""
        ...

    def record(self, key: str, entries: list[dict[str, Any]]) -> None:
        """Append entries to a list of the run's report, such as `evaluations`."""
        ...

    def reported(self, key: str) -> list[dict[str, Any]]:
        """The entries that steps have appended to a list of the report so far, oldest first."""
        ...

    def reported_in_round(self, key: str, number: int) -> list[dict[str, Any]]:
        """The entries that this same step has appended to a list of the report in a round of its loop, from 1."""
        ...

    def count(self, **amounts: float) -> None:
        """Add to the step's own counters, which the report shows."""
        ...
