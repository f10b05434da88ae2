"""Asks a student, and what it was before, the questions of standard benchmarks, to see what it has forgotten.

Reads    nothing by name
Writes   nothing
Drops    nothing
Calls    none: lm-evaluation-harness asks the weights, in a process of its own
Source   Gao et al. 2021, lm-evaluation-harness; intervals as in `evaluate`
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from blackbox_kd.analysis import benchmarks
from blackbox_kd.sdk import Context, Field, Outcome, ScoringModel, StepConfig, Table, find_named_twice, table_step


class Config(StepConfig):
    """Fields of `benchmark`. The rows of its table pass by."""

    models: list[ScoringModel] = Field(min_length=1)
    """Models that are asked, whose weights are at hand; each is compared with its `@base`, or else with the first."""
    tasks: list[str] = Field(min_length=1)
    """Tasks or groups of lm_eval (`arc_easy`, `gsm8k`, `mmlu`), or .yaml files of one's own, relative to the recipe, as
    are the files that they name. Such a file can run code: `--allow-code`."""
    few_shot: int | None = Field(default=None, ge=0, le=100)
    """Examples before each question; as many as the task says if left out."""
    limit: int | None = Field(default=None, ge=1)
    """The first so many questions of each task alone: for a try."""
    chat: bool = False
    """Whether questions are asked through the chat template; published numbers mostly are not."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Models and tasks named twice."""
        twice = next((name for at, name in enumerate(self.tasks) if name in self.tasks[:at]), None)
        found = [("tasks", f"task {twice!r} is named twice; it would only say the same again.", "name it once")]
        return find_named_twice(self.models) + (found if twice is not None else [])

    def files(self) -> dict[str, str]:
        """Tasks of one's own."""
        return {f"tasks[{at}]": name for at, name in enumerate(self.tasks) if name.endswith((".yaml", ".yml"))}

    def runs_code(self) -> set[str]:
        """See `files`."""
        return set(self.files())

    def needs(self) -> dict[str, str]:
        """What the process imports."""
        return {"lm_eval": "benchmarks", "torch": "train", "transformers": "train", "peft": "train"}

    def calls_by_model(self) -> Counter[str]:
        """None: nothing goes through the ledger."""
        return Counter()


ASKED = {"tasks", "few_shot", "limit", "chat"}
"""Fields that decide what is asked."""


@table_step(aside=True, held_out=True)
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    found, overlaps, harness = await ctx.benchmark(config.models, config.model_dump(include=ASKED))
    untrained = [model for model in config.models if not ctx.is_trained(model)]
    for at, overlap in enumerate(overlaps):
        results = {model: each[at] for model, each in found.items()}
        about: dict[str, Any] = {"harness": harness, "chat": config.chat, "overlap": overlap}
        ctx.record(
            "benchmarks", [{"model": model, **benchmarks.describe(each), **about} for model, each in results.items()]
        )
        gains = benchmarks.compare(results, untrained, ctx.seed)
        ctx.record("comparisons", [{**gain, "is_benchmark": True} for gain in gains])
    for row in table:
        yield row
