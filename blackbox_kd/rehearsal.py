"""A run without its calls: steps work on rows, replies come from the ledger, and what is not there is noted.

The keys of the calls are those of a run, since everything but the sending is a run's own. A probe lets a few
calls of each step through; a run finds their replies in the ledger.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.call import Call
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.replies import Completion
from blackbox_kd.context import RunContext, Shared
from blackbox_kd.errors import CallError
from blackbox_kd.ledger import Ledger
from blackbox_kd.models import Model, ModelConfig
from blackbox_kd.open_models import OpenModels
from blackbox_kd.recipe import Planned, Recipe
from blackbox_kd.run import RunFolder
from blackbox_kd.schema import Dropped, Memory, Outcome, Request, Row, Table, Usage
from blackbox_kd.segment import OWN_ERRORS, failure
from blackbox_kd.streaming import in_order

Env = Mapping[str, str]
Tables = Callable[[str], Table]
NOT_BOUGHT = "not bought"
WINDOW = 64
PATIENCE_S = 60.0
"""How long a probe waits for an endpoint that is out; nobody wants to wait for an estimate."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that a step makes.

    Args:
        model: the model, as the step names it.
        prompt_bytes: size of the messages.
        messages: how many.
        max_tokens: of the reply.
        varies: whether a reply that cannot be used is asked for again.
        usage: tokens of the reply; None if the call is still to be made.
        seconds: how long the reply took; None unless it was bought just now.
        is_first: whether it is the first attempt.
    """

    model: str
    prompt_bytes: int
    messages: int
    max_tokens: int | None
    varies: bool
    usage: Usage | None = None
    seconds: float | None = None
    is_first: bool = True


class Rehearsing(Caller):
    """A caller that buys nothing but its probes: a call whose reply is not in the ledger fails its row.

    Probes of a model with `batch: true` are calls like any other, at the ordinary price: batches take hours.

    Attributes:
        asked: the calls that were asked for, since it was last emptied.
        probes: calls that may still be bought of models that cost something.
        looks_up: whether replies are looked up; the rows of a sample stand for others, whose calls are not made yet.
    """

    def __init__(self, ledger: Ledger, budget: Budget) -> None:
        super().__init__(ledger, budget, patience_s=PATIENCE_S)
        self.asked: list[Asked] = []
        self.probes = 0
        self.looks_up = True
        self._replies = ledger

    async def completion(self, call: Call) -> tuple[Completion, bool]:
        """The reply of the ledger, or of a probe.

        Raises:
            CallError: there is none; the call is among those `asked`.
        """
        sampling, messages = call.request.sampling, call.request.messages
        size = sum(len(message["content"].encode(errors="replace")) for message in messages)
        name, is_first = call.asked.counts.name, call.request.attempt == 0
        asked = Asked(name, size, len(messages), sampling.max_tokens, sampling.varies, is_first=is_first)
        is_paid = self.looks_up and self._replies.get(call.key) is not None
        is_probe = not is_paid and self.looks_up and self.probes > 0 and not call.asked.model.config.local
        if not is_paid and not is_probe:
            self.asked.append(asked)
            raise CallError("the reply is not in the ledger", kind=NOT_BOUGHT)
        self.probes -= is_probe
        began = time.monotonic()
        came, is_replayed = await super().completion(call)
        seconds = None if is_replayed else time.monotonic() - began
        self.asked.append(replace(asked, usage=came.usage or Usage(), seconds=seconds))
        return came, is_replayed


class Unopened:
    """Stands for a model that is not opened: its weights would have to be loaded, or do not exist yet."""

    def __init__(self, config: ModelConfig, name: str) -> None:
        self.config = config
        self.endpoint = name

    def wire(self, request: Request) -> dict[str, Any]:
        """A request that no ledger holds."""
        return {"unopened": self.endpoint, "messages": request.messages}

    async def send(self, wire: dict[str, Any], request: Request) -> NoReturn:
        """Is never called."""
        raise AssertionError("a model that is not open was asked")

    async def close(self) -> None:
        """Nothing to close."""


def has_weights(config: ModelConfig) -> bool:
    """Whether a model is computed in this process, at the speed of this machine."""
    return config.local and bool(getattr(config, "trainable", False))


class RehearsalModels(OpenModels):
    """Models by the names that steps use; those with weights, and versions that training has yet to make, unopened."""

    def __init__(self, recipe: Recipe, env: Env) -> None:
        super().__init__(recipe, Path(), env)
        self._configs = recipe.models
        self.to_be_trained: set[str] = set()

    def exact(self, name: str) -> str:
        """The name itself: no version has been trained."""
        return name

    def config(self, name: str) -> ModelConfig:
        """The config of the model that all versions begin from."""
        return self._configs[name if name in self._configs else name.partition("@")[0]]

    def get(self, name: str) -> Model:
        """The model, open where that costs nothing."""
        config = self.config(name)
        base, _, version = name.partition("@")
        if has_weights(config) or (base in self.to_be_trained and version != "base"):
            return Unopened(config, name)
        return super().get(name if name in self._configs else base)


@dataclass(slots=True)
class Rehearsed:
    """What became of rows in a step.

    Args:
        rows: rows that left it.
        waiting: rows that wait for a reply which is not in the ledger.
        dropped: how many it took out.
        failed: how many it could not work on, those that wait left out.
        asked: the calls that it made or wants to make.
    """

    rows: list[Row] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    dropped: int = 0
    failed: int = 0
    asked: list[Asked] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Books an outcome."""
        if isinstance(outcome, Row):
            self.rows.append(outcome)
        elif isinstance(outcome, Dropped):
            self.dropped += 1
        elif outcome.kind == NOT_BOUGHT:
            self.waiting.append(outcome.row)
        else:
            self.failed += 1


class RehearsalContext(RunContext):
    """The context of a step in a rehearsal; `tables` finds its tables."""

    def __init__(self, shared: Shared, planned: Planned, tables: Tables) -> None:
        super().__init__(shared, planned)
        self._tables = tables

    def table(self, name: str) -> Table:
        """See `schema.Context.table`."""
        return self._tables(name)


class Rehearsal:
    """A recipe in rehearsal.

    Args:
        recipe: the recipe.
        ledger: where replies are looked up, and those of probes kept.
        env: where keys are looked up.
        folder: an empty folder.
    """

    def __init__(self, recipe: Recipe, ledger: Ledger, env: Env, folder: RunFolder) -> None:
        self.ledger = ledger
        self.caller = Rehearsing(ledger, Budget(**recipe.head.budget.model_dump(), spent=ledger.spent()))
        self.models = RehearsalModels(recipe, env)
        self._shared = Shared(recipe, folder, self.models, self.caller)

    def context(self, planned: Planned, tables: Tables) -> RunContext:
        """What a step is given in the rehearsal."""
        return RehearsalContext(self._shared, planned, tables)

    async def rehearse(
        self, planned: Planned, rows: list[Row], tables: Tables, *, probes: int = 0, looks_up: bool = True
    ) -> Rehearsed:
        """Lets a step work on rows.

        Args:
            planned: the step.
            rows: the rows.
            tables: finds tables by name.
            probes: calls that may be bought.
            looks_up: whether replies are looked up in the ledger.
        """
        context = self.context(planned, tables)
        self.caller.asked, self.caller.probes, self.caller.looks_up = [], probes, looks_up
        found = Rehearsed()
        if planned.step.kind == "table":
            name = planned.config.input or "table"
            with suppress(*OWN_ERRORS):  # what it made of rows does not matter, only what it asked
                async for item in planned.step.run(Memory(name, rows), planned.config, context):
                    found.count(item[1] if isinstance(item, tuple) else item)
        else:
            async for outcomes in in_order(rows, lambda row: _outcomes(planned, row, context), WINDOW):
                for outcome in outcomes:
                    found.count(outcome)
        found.asked = self.caller.asked
        return found


async def _outcomes(planned: Planned, row: Row, context: RunContext) -> list[Outcome]:
    """What a row step makes of a row, as `segment` has it."""
    outcomes: list[Outcome] = []
    try:
        if inspect.isasyncgenfunction(planned.step.run):
            async for outcome in planned.step.run(row, planned.config, context):
                outcomes.append(outcome)
        else:
            outcomes.append(await planned.step.run(row, planned.config, context))
    except OWN_ERRORS as error:
        outcomes.append(failure(row, error))
    return outcomes


@contextmanager
def opened(recipe: Recipe, ledger: Path, run: str, env: Env, *, probing: bool) -> Iterator[tuple[Rehearsal, bool]]:
    """A rehearsal, and whether its ledger can hold replies: one that is not there is made for probes alone."""
    with ExitStack() as stack:
        empty = Path(stack.enter_context(TemporaryDirectory(prefix="blackbox-kd-")))
        is_there = ledger.exists() or probing
        file = stack.enter_context(Ledger.open(ledger if is_there else empty / "ledger.sqlite", run=run))
        folder = stack.enter_context(RunFolder(empty / "run"))
        yield Rehearsal(recipe, file, env, folder), is_there
