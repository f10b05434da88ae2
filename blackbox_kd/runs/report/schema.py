"""What report.json holds, as types; `blackbox-kd schema --report` prints them as JSON Schema.

Entries may hold more than is said here: what a plugin adds, and what a later version has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from blackbox_kd.runs.report.measured import (
    Agreement,
    ArmGain,
    Benchmark,
    Comparison,
    Evaluation,
    Part,
    Recorded,
    Requirement,
    WinRate,
)
from blackbox_kd.training.artefacts import Result
from blackbox_kd.training.seen import Preflight

SCHEMA_VERSION = 1


class Balance(Part):
    """Rows of one step: in + added = out + dropped + failed."""

    step: str
    """Such as `steps[0] (generate)`."""
    rows_in: int = Field(alias="in")
    """Rows that it was given."""
    added: int
    """Rows that it made beyond one for each."""
    out: int
    dropped: dict[str, int]
    """By reason."""
    failed: dict[str, int]
    """By class of error."""
    counts: dict[str, int | float] = Field(default_factory=dict)
    """What the step itself has counted: `unread` rows, in which no answer could be read; `other_numbers`, dropped as
    too similar to a row that differs in numbers alone; `redacted email` and others, personal data that was replaced."""
    round: int = 0
    """Round of its loop, from 1; 0 outside of one."""
    arm: str | None = None
    seed: int | None = None


class ModelUse(Part):
    """Calls to one model in the last invocation of the run."""

    name: str
    calls: int
    """Replies that came over the wire."""
    replayed: int
    """Replies taken from the ledger."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    """None as soon as the cost of one call is not known."""
    cached_tokens: int = 0
    """Of the prompt tokens, those that the endpoint read from its cache."""
    cache_write_tokens: int = 0
    """Of the prompt tokens, those that it put into its cache."""
    cache_saved_usd: float = 0
    """What that cache has saved, against the price of prompt tokens without one; below 0 where it was hardly read."""
    reasoning_tokens: int = 0
    """Of the completion tokens, those of hidden reasoning."""
    served: list[str] = Field(default_factory=list)
    """What the endpoint calls the model."""
    rerouted: dict[str, int] = Field(default_factory=dict)
    """Models that have answered in place of the one that was asked for, and how many usable replies each."""


class Bill(Part):
    """What all invocations of the run together have paid."""

    requests: int
    tokens: int
    usd: float
    """Of the calls whose cost is known."""
    usd_unknown: int
    """Calls whose cost is not known."""
    doubtful: int
    """Requests without a reply, which may have been charged for."""
    repeated: int
    """Requests that were sent again because an earlier process left them without a reply."""


class Loss(Part):
    """A step that dropped most of its rows for one reason."""

    step: str
    reason: str
    rows: int
    of: int
    """Rows that something became of."""
    example: dict[str, Any] | None
    """A row that was dropped for it."""
    round: int = 0


class BadLines(Part):
    """Lines of a file (of documents, files) that could not be read, and were left out as the recipe says."""

    table: str
    file: str
    left_out: int


class DataSet(Part):
    """The data set that the run has written."""

    rows: int
    left_out: dict[str, int]
    """Rows from which nothing can be learnt, by reason."""


class Overlap(Part):
    """Rows of a held-out table that stand among training rows."""

    table: str
    rows: int
    exact: int
    near: int


class Answer(Part):
    """What a student answered to a question under way; greedily, with at most 64 tokens."""

    step: int
    """Optimizer steps that were taken before."""
    prompt: list[dict[str, Any]]
    reference: list[dict[str, Any]]
    answer: str
    cut_off: bool = False


class Training(Result, Recorded):
    """A training."""

    model: str
    """The version that it has made, such as `student@1`."""
    begun_from: str = ""
    """The version that it went on from, such as `student@base`."""
    folder: str | None = None
    """Its folder in `models/` where a finished training with other settings has the one of that name."""
    method: str
    left_out: dict[str, int] = Field(default_factory=dict)
    """Rows from which nothing can be learnt, by reason."""
    preflight: Preflight | None = None
    """What was seen of the rows before."""
    answers: list[Answer] = Field(default_factory=list)
    """To the first rows that were kept back, or if none were, to the first ones that were learnt."""


class LoopEnd(Recorded):
    """How a loop has ended."""

    rounds: int
    """That were run."""
    most: int
    """That might have been run."""
    ended: str
    """Why, in words."""


class Mixture(Recorded):
    """Rows that were drawn by a gap between two models."""

    by: str
    table: str
    teacher: str
    student: str
    gaps: dict[str, float]
    weights: dict[str, float]
    rows: dict[str, int]


class Judging(Part):
    """How far judges agree: with each other, with checked answers, when two texts change places; and with length."""

    step: str
    round: int = 0
    agreement: list[dict[str, Any]] = Field(default_factory=list)
    checked: list[dict[str, Any]] = Field(default_factory=list)
    orders: list[dict[str, Any]] = Field(default_factory=list)
    lengths: list[dict[str, Any]] = Field(default_factory=list)


class Variant(Part):
    """One of the arms of a recipe, with one of its seeds."""

    arm: str | None = None
    seed: int | None = None


class Report(Part):
    """The report of a run."""

    schema_version: int
    recipe: str
    paper: str | None
    seed: int
    variants: list[Variant] = Field(default_factory=list)
    """Arms and seeds of the recipe in the order in which they are run; the first one is the chain as it stands."""
    scripted: list[str] = Field(default_factory=list)
    """Models whose replies were made up, so that nothing of the run is evidence."""
    status: str
    """`complete`, or why the run has ended, in a line."""
    ended: str
    """What kind of an end it was: complete, no rows, merged, stopped, budget or error."""
    written_at: str
    """UTC."""
    funnel: list[Balance]
    bad_lines: list[BadLines] = Field(default_factory=list)
    losses: list[Loss] = Field(default_factory=list)
    tables: list[str]
    """Files in `tables/`, without their ending, that this run has written or taken over."""
    dataset: DataSet | None
    """None if this run has written none."""
    models: list[ModelUse]
    spent: Bill
    evaluations: list[Evaluation]
    comparisons: list[Comparison]
    contamination: list[Overlap]
    judges: list[Judging]
    agreements: list[Agreement] = Field(default_factory=list)
    win_rates: list[WinRate] = Field(default_factory=list)
    requirements: list[Requirement] = Field(default_factory=list)
    trainings: list[Training] = Field(default_factory=list)
    loops: list[LoopEnd] = Field(default_factory=list)
    mixtures: list[Mixture] = Field(default_factory=list)
    arm_gains: list[Comparison] = Field(default_factory=list)
    """By how much each arm's model is better than that of the arm `main` with the same seed, on the same rows."""
    arms: list[ArmGain] = Field(default_factory=list)
    """The same of all seeds together, and of each arm what `comparisons` says of it."""
    benchmarks: list[Benchmark] = Field(default_factory=list)
    environment: dict[str, str]
    """Versions of Python and of packages."""


RECORDED = (
    "evaluations", "comparisons", "arm_gains", "agreements", "win_rates", "requirements", "trainings", "loops",
    "mixtures", "benchmarks",
)  # fmt: skip
"""Lists that steps append to; a step of somebody's own may have others."""
_ENTRIES: dict[str, TypeAdapter[Any]] = {
    key: TypeAdapter(annotation) for key in RECORDED if (annotation := Report.model_fields[key].annotation) is not None
}


def find_fault(key: str, entries: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with entries that are to be recorded; None if nothing is, or if the list is somebody's own."""
    if key not in _ENTRIES:
        return None
    try:
        _ENTRIES[key].validate_python(entries)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"
    return None
