"""A context for testing steps alone: replies come from a function, prompts show the row."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blackbox_kd.analysis.metrics import Metric
from blackbox_kd.errors import UnusableText
from blackbox_kd.sandbox.own_file import find_function
from blackbox_kd.schema import Ask, Message, Outcome, Reply, Row, Sampling, T, Usage, digest
from blackbox_kd.sdk.context import Benchmarked
from blackbox_kd.sdk.registry import Registry


class FakeTable:
    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        self.name = name
        self._rows = list(rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def rows(*columns: Mapping[str, Any]) -> list[Row]:
    return [Row({"id": f"r{number}", **each}) for number, each in enumerate(columns)]


class FakeContext:
    """`answer(model, messages, sample)` gives the text of a reply, or one that was read already, or raises."""

    def __init__(
        self,
        answer: Callable[[str, list[Message], int], str | Reply] = lambda model, messages, sample: "",
        tables: Mapping[str, Iterable[Row]] | None = None,
        held_out: Iterable[str] = (),
    ) -> None:
        self._held_out = set(held_out)
        self.seed = 7
        self.step = "steps[0] (test)"
        self.round = 0
        self.counted: Counter[str] = Counter()
        self.asked: list[tuple[str, list[Message], Sampling, int]] = []
        self.trained: list[tuple[str, str, Mapping[str, Any], list[Row]]] = []
        self.benchmarked: list[tuple[list[str], Mapping[str, Any]]] = []
        self.reached: Benchmarked = ({}, [], "lm_eval 0")
        self.recorded: dict[str, list[dict[str, Any]]] = {}
        self.trains: set[str] = set()
        self.main_rows: list[Row] = []
        self._answer = answer
        self._tables = {name: FakeTable(name, content) for name, content in (tables or {}).items()}

    async def ask(self, model: str, ask: Ask[T]) -> Reply[T]:
        for attempt in range(ask.tries if ask.sampling.varies else 1):
            self.asked.append((model, ask.messages, ask.sampling, ask.sample))
            answer = self._answer(model, ask.messages, ask.sample)
            if isinstance(answer, Reply):
                return answer
            try:
                value = ask.value_of(answer)
            except UnusableText as error:
                fault = UnusableText(f"{error} ({attempt + 1} attempts)", kind=error.kind)
                continue
            return Reply(answer, "stop", Usage(3, 2), f"{model}-served", 0.01, value=value)
        raise fault

    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        shown = [str(example["instruction"]) for example in row.get("examples", [])]
        return [{"role": "user", "content": " | ".join([prompt, *shown, str(row.get("instruction"))])}]

    def table(self, name: str) -> FakeTable:
        return self._tables[name]

    def is_held_out(self, name: str) -> bool:
        return name in self._held_out

    def rng(self, *parts: object) -> random.Random:
        return random.Random(digest([self.seed, *map(str, parts)], 16))

    async def each(
        self, rows: Iterable[Row], work: Callable[[Row], Awaitable[list[Outcome]]]
    ) -> AsyncIterator[Outcome]:
        for row in rows:
            for outcome in await work(row):
                yield outcome

    async def train(self, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]) -> None:
        self.trained.append((model, method, settings, list(rows)))

    def list_main_rows(self) -> list[Row]:
        return self.main_rows

    async def benchmark(self, models: Sequence[str], asked: Mapping[str, Any]) -> Benchmarked:
        self.benchmarked.append((list(models), asked))
        return self.reached

    def find_function(self, file: str, name: str) -> Callable[..., Any]:
        return find_function(Path(file), name, self.step)

    def metric(self, name: str) -> Metric:
        return Registry().find_metric(name)

    def is_trained(self, model: str) -> bool:
        return model.partition("@")[0] in self.trains

    def record(self, key: str, entries: list[dict[str, Any]]) -> None:
        self.recorded.setdefault(key, []).extend(entries)

    def reported_in_round(self, key: str, number: int) -> list[dict[str, Any]]:
        return [entry for entry in self.recorded.get(key, []) if entry.get("round", 0) == number]

    def reported(self, key: str) -> list[dict[str, Any]]:
        return self.recorded.get(key, [])

    def count(self, **amounts: float) -> None:
        self.counted.update(amounts)  # type: ignore[arg-type]


async def outcomes(step: Any, table: Iterable[Row], config: Any, ctx: FakeContext) -> list[Any]:
    """All that a table step yields."""
    return [item async for item in step.run(FakeTable("t", table), config, ctx)]
