"""What report.json holds, as types; `blackbox-kd schema --report` prints them as JSON Schema.

Entries may hold more than is said here: what a plugin adds, and what a later version has.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blackbox_kd.training.artefacts import Result

SCHEMA_VERSION = 1
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Of 95 %: its low and its high end."""


class Part(BaseModel):
    """A part of the report."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, use_attribute_docstrings=True)

    def write(self) -> dict[str, Any]:
        """The part as JSON holds it; what was not set is left out."""
        return self.model_dump(by_alias=True, exclude_unset=True)


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
    """What the step itself has counted."""
    round: int = 0
    """Round of its loop, from 1; 0 outside of one."""


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
    served: list[str] = Field(default_factory=list)
    """What the endpoint calls the model."""


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


class DataSet(Part):
    """The data set that the run has written."""

    rows: int
    left_out: dict[str, int]
    """Rows from which nothing can be learnt, by reason."""


class Recorded(Part):
    """What a step has recorded."""

    step: str
    round: int = 0


class Slice(Part):
    """Right answers among some rows."""

    n: int
    accuracy: float | None
    """None without rows."""
    ci95: Interval | None
    right: int
    read: int
    """Answers that could be read."""
    truncated: int
    """Replies that were cut off."""


class Evaluation(Slice, Recorded):
    """How many answers of a model are right."""

    table: str
    model: str
    version: str = ""
    """Which training of the model it was."""
    slices: dict[str, dict[str, Slice]] = Field(default_factory=dict)
    """The same by the values of columns."""


class GainSplit(Part):
    """What a gain is made of: answers that can be read, which is form, and answers that are right."""

    read: int
    """Replies of the model in which an answer could be read."""
    against_read: int
    """The same of the model that it is compared with."""
    both_read: int
    """Rows where both could be read."""
    by_form: float
    """Part of the gain from rows where one of the two could not be read; the two parts add up to the gain."""
    by_answers: float
    """Part of the gain from rows where both could be read."""
    ci95: Interval
    """Of `by_answers`."""
    p_value: float
    """McNemar's test, exact, over the rows where both could be read."""


class Comparison(Recorded):
    """How much better a model is than another one, on the same rows."""

    table: str
    model: str
    against: str
    n: int
    gain: float
    """Difference of the accuracies."""
    ci95: Interval
    p_value: float
    """McNemar's test, exact."""
    gained: int
    lost: int
    split: GainSplit | None = None
    """None in what earlier versions have recorded."""
    usd_per_point: float | None = None
    """What a point (0.01) of the gain has cost; None where the gain may be chance or the bill is not known."""


class Agreement(Recorded):
    """In how many rows two models give the same answer."""

    table: str
    model: str
    against: str
    n: int
    agreement: float
    ci95: Interval
    same: int
    same_wrong: int
    """Of `same`, answers that are wrong."""


class WinRate(Recorded):
    """How often a judge prefers the answer of a model."""

    table: str
    model: str
    against: str | None
    judge: str
    n: int
    win_rate: float | None
    """With ties as halves; None without verdicts."""
    ci95: Interval | None
    p_value: float | None
    """Sign test."""
    wins: int
    losses: int
    ties: int
    score_ratio: float | None


class Overlap(Part):
    """Rows of a held-out table that stand among training rows."""

    table: str
    rows: int
    exact: int
    near: int


class Training(Result, Recorded):
    """A training."""

    model: str
    """The version that it has made, such as `student@1`."""
    method: str
    left_out: dict[str, int] = Field(default_factory=dict)
    """Rows from which nothing can be learnt, by reason."""


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
    """How far the judges of a step agree: with each other, with checked answers, and when two texts change places."""

    step: str
    round: int = 0
    agreement: list[dict[str, Any]] = Field(default_factory=list)
    checked: list[dict[str, Any]] = Field(default_factory=list)
    orders: list[dict[str, Any]] = Field(default_factory=list)


class Report(Part):
    """The report of a run."""

    schema_version: int
    recipe: str
    paper: str | None
    seed: int
    status: str
    """`complete`, or why the run has ended, in a line."""
    ended: str
    """What kind of an end it was: complete, no rows, merged, stopped, budget or error."""
    written_at: str
    """UTC."""
    funnel: list[Balance]
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
    trainings: list[Training] = Field(default_factory=list)
    loops: list[LoopEnd] = Field(default_factory=list)
    mixtures: list[Mixture] = Field(default_factory=list)
    environment: dict[str, str]
    """Versions of Python and of packages."""


RECORDED = ("evaluations", "comparisons", "agreements", "win_rates", "trainings", "loops", "mixtures")
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
