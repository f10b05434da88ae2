"""What evaluations have measured, as types: the part of report.json that evidence is."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Of 95 %: its low and its high end."""


class Part(BaseModel):
    """A part of the report."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, use_attribute_docstrings=True)

    def write(self) -> dict[str, Any]:
        """The part as JSON holds it; what was not set is left out."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Recorded(Part):
    """What a step has recorded."""

    step: str
    round: int = 0
    arm: str | None = None
    """Which arm of the recipe it is of, where it has some."""
    seed: int | None = None
    """Which of `seeds:` it is of."""


class Measure(Part):
    """The value of a metric."""

    value: float | None
    """None without rows, and where it is not defined."""
    ci95: Interval | None


class Slice(Part):
    """Right answers among some rows."""

    n: int
    accuracy: float | None
    """None without rows, and where no answers are read; so are `right` and `read`."""
    ci95: Interval | None
    right: int | None
    read: int | None
    """Answers that could be read."""
    truncated: int
    """Replies that were cut off."""
    metrics: dict[str, Measure] = Field(default_factory=dict)
    """All metrics, where the recipe names others than accuracy."""


class Share(Part):
    """How well a class of answers, or a field of them, is found; a share of nothing is None."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    """Rows of the class; of a field, its values in the references."""


class Confusion(Part):
    """Answers of a class that were given for those of another one, or rightly for its own."""

    wanted: str
    answer: str | None
    """None: no answer could be read."""
    n: int


class Evaluation(Slice, Recorded):
    """How many answers of a model are right."""

    table: str
    model: str
    version: str = ""
    """Which training of the model it was."""
    failed: int = 0
    """Replies that did not come: `n` counts the others alone."""
    slices: dict[str, dict[str, Slice]] = Field(default_factory=dict)
    """The same by the values of columns."""
    classes: list[Share] = Field(default_factory=list)
    """With an F1 of classes: each class that is wanted, answered or of the label set."""
    confusion: list[Confusion] = Field(default_factory=list)
    """Those that there are."""
    fields: list[Share] = Field(default_factory=list)
    """With `field_f1`: the fields."""


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


class GainSlice(Part):
    """How much better a model is on some of the rows."""

    n: int
    gain: float
    ci95: Interval
    p_value: float
    """McNemar's test, exact; no correction for how many slices there are."""
    gained: int
    lost: int


class Comparison(Recorded):
    """How much better a model is than another one, on the same rows."""

    table: str
    model: str
    against: str
    n: int
    metric: str = "accuracy"
    """What is compared."""
    gain: float
    """Difference of the accuracies, or of another metric."""
    ci95: Interval | None
    """Of accuracies, Tango's score interval; of other metrics, that of a paired bootstrap over the rows."""
    p_value: float | None = None
    """Of accuracies: McNemar's test, exact; of other metrics, a permutation test."""
    p_holm: float | None = None
    """The same by Holm's correction for all comparisons of the report. A gain is real where the interval lies above 0
    and this is below 0.05."""
    gained: int | None = None
    """Of accuracies: rows that this model alone has right."""
    lost: int | None = None
    split: GainSplit | None = None
    """None in what earlier versions have recorded."""
    slices: dict[str, dict[str, GainSlice]] = Field(default_factory=dict)
    """Of accuracies: the same by the values of columns."""
    is_benchmark: bool = False
    """Whether it is about a standard benchmark, which `table` names then, and no evidence on the recipe's task."""
    usd_per_point: float | None = None
    """What a point (0.01) of the gain has cost; None where the gain may be chance or the bill is not known."""


class ArmGain(Part):
    """What a comparison of an arm comes to over all seeds."""

    arm: str | None = None
    step: str
    table: str
    model: str
    against: str
    """The model that it is compared with; `main`: the same model of the chain as it stands."""
    metric: str
    n: int
    """Rows; of several seeds, the fewest."""
    seeds: list[int] = Field(default_factory=list)
    """Empty where the recipe names none."""
    gains: list[float]
    """Of each seed."""
    gain: float
    """Their mean."""
    ci95: Interval | None
    """For other rows like these and other seeds; None as soon as one seed has none."""
    p_value: float | None


class BenchmarkValue(Part):
    """What lm_eval tells of a metric."""

    value: float
    stderr: float | None
    """The standard error; None where it knows none."""
    ci95: Interval | None
    """None of what is no mean of shares over the questions."""
    higher_is_better: bool | None = None


class QuestionsLearnt(Part):
    """Questions of a benchmark that stand among the rows that a model was trained on."""

    rows: int
    exact: int
    near: int


class Benchmark(Recorded):
    """What a model reaches in a standard benchmark; how models differ in it stands among the comparisons."""

    model: str
    version: str = ""
    """Which training of the model it was."""
    task: str
    n: int
    """Questions."""
    few_shot: int
    """Examples before each question."""
    chat: bool
    """Whether it was asked through the chat template."""
    harness: str
    """What has asked, such as `lm_eval 0.4.13`."""
    versions: list[str]
    """Of the task, or of those of a group."""
    metrics: dict[str, BenchmarkValue]
    """By name; how answers were filtered stands behind it in parentheses."""
    overlap: QuestionsLearnt | None
    """None where it is not known what the models have learnt."""


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


class Requirement(Recorded):
    """What a model had to reach for the run to go on."""

    table: str
    model: str
    metric: str
    at_least: float
    value: float | None
    ci95: Interval | None
    n: int
    is_met: bool | None
    """None: not measured, as a script has answered, or there were too few rows."""
    is_ceiling: bool
    """Whether rows are learnt from the model, which is never trained itself: what learns can hardly be better."""


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
