"""What a step is given that is tried."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blackbox_kd.engine import training
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.estimate.dry_run import Tables
from blackbox_kd.engine.state import RunState
from blackbox_kd.errors import CallError, StepError
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.schema import Ask, Reply, Row, T, Table
from blackbox_kd.sdk.context import Benchmarked


@dataclass(slots=True)
class Asked:
    """What a model was asked for a row, and what came.

    Args:
        model: its name, with its version.
        ask: what was asked.
        reply: what came.
        error: why nothing came that can be used.
    """

    model: str
    ask: Ask[Any]
    reply: Reply[Any] | None = None
    error: CallError | None = None

    def entry(self) -> dict[str, Any]:
        """As JSON holds it."""
        ask, reply = self.ask, self.reply
        told = {"model": self.model, "sample": ask.sample, "messages": ask.messages}
        told |= {"tools": [*ask.tools]} if ask.tools else {}
        told |= {"form": dict(ask.form)} if ask.form else {}
        if reply is None:
            return told | {"text": None, "error": self.error and self.error.what}
        usage = {"prompt_tokens": reply.usage.prompt_tokens, "completion_tokens": reply.usage.completion_tokens}
        cost = {"cost_usd": reply.cost_usd, "replayed": reply.replayed}
        return told | {
            "text": reply.text,
            "reasoning": reply.reasoning,
            "tool_calls": reply.tool_calls,
            **usage,
            **cost,
            "error": None,
        }


class TryContext(RunContext):
    """The context of a step that is tried: it notes what is asked, and looks at what a training would see.

    Attributes:
        asked: what was asked.
        seen: of trainings, see `training.look`.
    """

    def __init__(self, shared: RunState, planned: PlannedStep, tables: Tables) -> None:
        super().__init__(shared, planned)
        self.asked: list[Asked] = []
        self.seen: list[dict[str, Any]] = []
        self._tables = tables

    async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
        """See `sdk.context.Context.ask`."""
        noted = Asked(self._shared.models.exact(model), ask)
        self.asked.append(noted)
        try:
            reply = await super().ask(model, ask)
        except CallError as error:
            noted.error = error
            raise
        noted.reply = reply
        return reply

    def table(self, name: str) -> Table:
        """See `sdk.context.Context.table`."""
        return self._tables(name)

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        """See `sdk.context.Context.train`; nothing is trained."""
        self.seen.append(await training.look(self._shared, self._planned, model, method, settings, rows))

    async def benchmark(self, models: Sequence[str], asked: Mapping[str, Any]) -> Benchmarked:
        """See `sdk.context.Context.benchmark`.

        Raises:
            StepError: always.
        """
        raise StepError(f"{self.step}: no benchmark is asked for a try", fix="try a step that asks a model")
