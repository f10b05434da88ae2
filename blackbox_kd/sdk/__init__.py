"""All that the author of a step imports: `from blackbox_kd.sdk import StepConfig, row_step, Row, Context, ...`.

A step is a Python file with `class Config(StepConfig)` and `async def run` under `@row_step` or `@table_step`; its
name in a recipe is the file's. CONTRIBUTING.md has one, from the first line to the command that runs it.

- The config: `StepConfig`, or `SamplingConfig` for a step that asks models, or `FormConfig` for one that can want a
  `ReplyForm` of what they say, `WrittenConfig` for one that tells of a reply's tokens, and `ToolsConfig` for one that
  offers `Tools`, or `RunsToolsConfig` for one that can run what is called (`add_up` says what several replies took), or
  `RedactingConfig` for one that can take personal data out; `Field` for limits and defaults, and on the fields what
  their text names, so that `check` finds what is wrong with it: `ModelName`, `ScoringModel`, `WeightsModel`,
  `StudentName`, `TrainedName`, `TableName`, `ReportedTable`, `NewTable`, `PromptName`, `Column`, `NewColumn`,
  `Expression`, `Template`, `TextColumn`, `Answer`. `FromEarlier` takes the value of an earlier step, `FromFile` what a
  file beside the recipe holds; a `Value` is what a recipe gives to a column, such as a `Computed` one, which
  `compute_value` works out and of which `find_read` tells the columns; `Examples` and `ShownBeside`, one thing `Shown`
  or several, say what a prompt shows besides its row, and `choose_examples` and `find_context` find it; `Novelty` says
  how alike rows may be. The methods of `StepConfig` tell the check and the engine what no field says: `problems()`, for
  which there is `find_named_twice`, `exam()`, which gives an `Exam`, `new_adapter()`, which gives an `Adapter`, and
  others.
- What `run` gets: a `Row` or a `Table`, the config, and a `Context`, which asks models, renders prompts, reads tables
  and draws by the run's seed. An `Ask` is what a model is asked: each `Message` of the chat, the `Sampling`, and a
  function that reads what the step wants, such as a `Reading`; a `Reply` is what comes of it, and `all_of` waits for
  several, and `ask_in_turn` for one after the other, each by an `Asking`. `list_usable` finds the rows of another
  table that have what the step needs; `expressions` evaluates what an `Expression` says; `write_text` makes a text of
  any value of a row, and `quote_value` the beginning of one for messages.
- A kind of answer of one's own is a class `AnswerKind` under `@answer`, with `read` and `same`.
- A metric of one's own is a function `run` under `@metric` in a file of its own: of the replies of one model, each a
  `Graded`, it gives a number from 0 to 1. A step that measures names metrics by `MetricName`, says what is `Required`,
  and may let a judge compare (`JudgingConfig`), or measures them (`MeasuringConfig`).
- What it makes (`Outcome`): a `Row`, a `Dropped` row with the reason, or a `Failed` one with the error.
- What it raises: `DataError` for a row that cannot be worked on, `StepError` and `SetupError` for what ends the run,
  each with what is wrong, `exists=` and `fix=`; in a validator of the config `FieldError`. A call raises `CallError`;
  it is a `ReplyFault` where the text cannot be used.
"""

from pydantic import Field

from blackbox_kd.analysis.metrics import Graded, metric
from blackbox_kd.answers import AnswerKind, answer
from blackbox_kd.concurrency import all_of
from blackbox_kd.errors import CallError, DataError, FieldError, ReplyFault, SetupError, StepError
from blackbox_kd.json_text import quote_value, write_text
from blackbox_kd.sandbox import expressions
from blackbox_kd.schema import Ask, Dropped, Failed, Message, Outcome, Reply, Row, Sampling, Table
from blackbox_kd.sdk.context import Context
from blackbox_kd.sdk.few_shot import Examples, Shown, ShownBeside, choose_examples, find_context
from blackbox_kd.sdk.fields import (
    Answer,
    Column,
    Expression,
    FromEarlier,
    FromFile,
    MetricName,
    ModelName,
    NewColumn,
    NewTable,
    PromptName,
    ReportedTable,
    ScoringModel,
    StudentName,
    TableName,
    Template,
    TextColumn,
    TrainedName,
    WeightsModel,
)
from blackbox_kd.sdk.in_turn import Asking, ask_in_turn
from blackbox_kd.sdk.judging import JudgingConfig
from blackbox_kd.sdk.measuring import MeasuringConfig
from blackbox_kd.sdk.novelty import Novelty
from blackbox_kd.sdk.offered_tools import Tools, ToolsConfig
from blackbox_kd.sdk.other_tables import list_usable
from blackbox_kd.sdk.reading import Reading, ReplyForm
from blackbox_kd.sdk.redaction import RedactingConfig
from blackbox_kd.sdk.registry import row_step, table_step
from blackbox_kd.sdk.reply_form import FormConfig
from blackbox_kd.sdk.run_tools import RunsToolsConfig, add_up
from blackbox_kd.sdk.sampling import SamplingConfig, find_named_twice
from blackbox_kd.sdk.step_config import Adapter, Exam, Required, StepConfig
from blackbox_kd.sdk.values import Computed, Value, compute_value, find_read
from blackbox_kd.sdk.written import WrittenConfig

__all__ = [
    "Adapter",
    "Answer",
    "AnswerKind",
    "Ask",
    "Asking",
    "CallError",
    "Column",
    "Computed",
    "Context",
    "DataError",
    "Dropped",
    "Exam",
    "Examples",
    "Expression",
    "Failed",
    "Field",
    "FieldError",
    "FormConfig",
    "FromEarlier",
    "FromFile",
    "Graded",
    "JudgingConfig",
    "MeasuringConfig",
    "Message",
    "MetricName",
    "ModelName",
    "NewColumn",
    "NewTable",
    "Novelty",
    "Outcome",
    "PromptName",
    "Reading",
    "RedactingConfig",
    "Reply",
    "ReplyFault",
    "ReplyForm",
    "ReportedTable",
    "Required",
    "Row",
    "RunsToolsConfig",
    "Sampling",
    "SamplingConfig",
    "ScoringModel",
    "SetupError",
    "Shown",
    "ShownBeside",
    "StepConfig",
    "StepError",
    "StudentName",
    "Table",
    "TableName",
    "Template",
    "TextColumn",
    "Tools",
    "ToolsConfig",
    "TrainedName",
    "Value",
    "WeightsModel",
    "WrittenConfig",
    "add_up",
    "all_of",
    "answer",
    "ask_in_turn",
    "choose_examples",
    "compute_value",
    "expressions",
    "find_context",
    "find_named_twice",
    "find_read",
    "list_usable",
    "metric",
    "quote_value",
    "row_step",
    "table_step",
    "write_text",
]
