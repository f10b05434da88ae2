"""The config of a step: the fields that every step has, and what the check and the engine ask it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from blackbox_kd.sdk.fields import Answer, MetricName, NewTable, TableName, references


@dataclass(frozen=True, slots=True)
class Exam:
    """What a step measures of models and reports, so that other steps and loops can go by it.

    Args:
        models: those that answer.
        prompt: template of what they are asked.
        is_checked: whether answers are compared with the right ones: there is an accuracy.
        by: columns by whose values the accuracy is told.
        against: the model that a judge compares the others with: they have a win rate; None without a judge.
        metrics: what is measured of each model, beside a win rate.
        prompts: templates of models that are asked otherwise, by the model as the step names it.
        is_graded: whether a judge gives answers numbers: there is a score.
    """

    models: tuple[str, ...]
    prompt: str
    is_checked: bool
    by: tuple[str, ...] = ()
    against: str | None = None
    metrics: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    is_graded: bool = False


FEWEST = 20
"""Rows by which it can be told whether a model is good enough."""


class Required(BaseModel):
    """What models that a step measures must reach; the run ends where one of them is below."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    metric: MetricName = "accuracy"
    """One of `metrics`."""
    at_least: float = Field(ge=0, le=1)
    """The lowest value that will do, such as 0.8."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter that a training leaves.

    Args:
        shape: what an adapter cannot change while it is trained on, by the step's names.
        given: those of them that the recipe has said: the others are as in the adapter that training goes on from.
        from_base: whether it goes on from the model as the recipe has it, whatever was trained before.
    """

    shape: Mapping[str, Any]
    given: frozenset[str]
    from_base: bool


class StepConfig(BaseModel):
    """Fields that every step has."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
    told_by: ClassVar[str] = ""
    """Of a step with several forms, a config class for each: the field by which a recipe says that it means this one.
    By its value, where it can be one of a few only (`mode: panel`); otherwise by being there (`novelty: {...}`)."""

    step: str
    """Name of the step: a module of `steps/`, or a plugin's."""
    input: TableName | None = None
    """Table that the step reads; without it, the table the step before it wrote."""
    output: NewTable | None = None
    """Name under which later steps find what this step writes."""

    @classmethod
    def find_told(cls) -> FieldInfo:
        """The field by which the form is told."""
        return next(entry for name, entry in cls.model_fields.items() if cls.told_by in (name, entry.alias))

    @classmethod
    def told_values(cls) -> tuple[Any, ...]:
        """The values of `told_by` that mean this form; none where it only has to be there."""
        annotation = cls.find_told().annotation
        return get_args(annotation) if get_origin(annotation) is Literal else ()

    @classmethod
    def is_meant(cls, values: Mapping[str, Any]) -> bool:
        """Whether the fields of a recipe mean this form."""
        if not cls.told_by:
            return True
        if told := cls.told_values():
            return values.get(cls.told_by, cls.find_told().default) in told
        return values.get(cls.told_by) is not None

    def prompt_variables(self) -> set[str]:
        """Variables that the step itself gives to its prompts, besides the row's columns."""
        return set()

    def variables_made_of(self) -> dict[str, set[str]]:
        """Of `prompt_variables`, those that the step makes of columns of the row, and of which."""
        return {}

    def expression_columns(self) -> set[str]:
        """Columns of the step's own making that its expressions see, besides the row's."""
        return set()

    def columns_for(self, field: str) -> set[str]:
        """Those of `expression_columns` that are there when a field is worked out: all of them, as a rule."""
        return self.expression_columns()

    def do_without(self, field: str) -> str:
        """What a recipe can write where the column of a field is missing and the step can do without; else nothing."""
        return ""

    def list_removed(self) -> set[str]:
        """Columns of the step's own making that its rows do not have in the end."""
        return set()

    def columns_after(self, columns: set[str]) -> set[str]:
        """Of the columns of the rows that the step reads, those that its own rows still have."""
        return columns

    def unwritten(self) -> set[str]:
        """Of the columns that the step's decorator names, those that its rows do not get with these fields."""
        return set()

    def list_derived(self) -> dict[str, set[str]]:
        """Columns that the step makes of others without a call, and of which."""
        return {}

    def looks_at_groups(self) -> bool:
        """Whether its expressions see the rows of a group: `mean(score)`."""
        return False

    def texts(self) -> set[str]:
        """Columns with text that a student is to learn; `response`, `better` and `worse` always are."""
        return set()

    def list_read(self) -> set[str]:
        """Columns that the step reads besides those that its decorator and its fields name."""
        return set()

    def begins_rows(self) -> bool:
        """Whether what it writes begins a row of its own: the right answers that were in view are those of others."""
        return False

    def columns_beside(self) -> list[tuple[str, str, str]]:
        """Columns that the step reads of tables beside its own: triples of a field, the table and the column."""
        return []

    def numbers(self) -> set[str]:
        """Fields with a column or an expression whose values must be numbers."""
        return set()

    def lists(self) -> set[str]:
        """Fields with an expression whose values must be lists."""
        return set()

    def said_by_student(self) -> set[str]:
        """Of the columns that the step reads, those with what the student shall say."""
        return set()

    def problems(self) -> list[tuple[str, str, str]]:
        """What is wrong between the fields: triples of a field, what is wrong, and the fix."""
        return []

    def files(self) -> dict[str, str]:
        """Files that fields name, relative to the recipe, by the fields."""
        return {}

    def runs_code(self) -> set[str]:
        """Fields whose `files` can run code, which a recipe may not do by itself."""
        return set()

    def runs_on(self) -> set[str]:
        """Fields that say what the step runs on: what it writes does not depend on them."""
        return set()

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """Fields of requests that the recipe sets for the models of a field: the step's names for them, and values."""
        return {}

    def shown_to_student(self) -> list[tuple[str, str, bool]]:
        """Prompts whose text the student sees: triples of a field, the prompt, and whether it may show the answer."""
        return []

    def shown_to_asked(self) -> list[tuple[str, str, bool]]:
        """Prompts whose text the models see that the step names, one of which may be a student; triples likewise."""
        return []

    def list_compared(self) -> set[str]:
        """Tables that the step reads only to keep its rows apart from them: they may be held out."""
        return set()

    def draws_by_row(self) -> bool:
        """Whether the step parts its rows by lot, each for itself: what belongs together would come apart."""
        return False

    def keeps_held_out(self) -> bool:
        """Whether the step may read a held-out table: what it writes of one is held out, too."""
        return False

    def redacts(self) -> bool:
        """Whether personal data is taken out of its rows: what shows them before should not leave the machine."""
        return False

    def needs(self) -> dict[str, str]:
        """Packages that the step needs beyond those that are always there, and the extra that brings each."""
        return {}

    def rows_to_draw(self) -> int | None:
        """Rows that are drawn from the step's table, with replacement; None for each of its rows once."""
        return None

    def most_rows(self) -> int | None:
        """The most rows that the step writes, whatever it reads."""
        return None

    def outcomes_per_row(self) -> int:
        """Outcomes that a table step gives for each row that it reads, for the display of its progress."""
        return 1

    def answer_kind(self) -> Answer | None:
        """The kind of answer that `answer_columns` are compared by; None if none are."""
        return None

    def answer_columns(self) -> set[str]:
        """Columns with a right answer, which no student may see."""
        return set()

    def reply_form(self) -> Any:
        """The form in which the step wants replies, a `reading.ReplyForm`; None if any text will do."""
        return None

    def learns_by(self) -> str | None:
        """The method by which the step trains its model on its rows, such as `sft`, whose shape is checked then."""
        return None

    def same_tokens(self) -> dict[str, str]:
        """Models whose tokens must be the same, by the fields that name them."""
        return {}

    def passes_on(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Fields whose values go on to a library: its dataclass, `trl.trainer.sft_config:SFTConfig`, and the values."""
        return {}

    def new_adapter(self) -> Adapter | None:
        """The adapter that a training leaves; None if it leaves whole weights, or trains nothing."""
        return None

    def amounts(self) -> dict[str, Any]:
        """How much is learnt in a training, by field: the same in all arms of a recipe."""
        return {}

    def training_seed(self) -> int | None:
        """The seed of a training, where the recipe gives it one of its own."""
        return None

    def exam(self) -> Exam | None:
        """What the step measures of models and reports."""
        return None

    def requires(self) -> Required | None:
        """What the run ends without; None if it goes on whatever the step finds."""
        return None

    def calls_by_model(self) -> Mapping[str, float]:
        """Calls that a row takes of each model on average, for the estimate: one of each that is named."""
        return Counter(mention.value for mention in references(self) if mention.kind == "model")

    def rows_per_row(self) -> float:
        """Rows that a step which asks makes of one: one for each call."""
        return self.calls_per_row()

    def calls_per_row(self) -> float:
        """Calls that a row takes of all models together."""
        return sum(self.calls_by_model().values())
