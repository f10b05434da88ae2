"""All that the author of a step imports: `from blackbox_kd.sdk import StepConfig, row_step, Row, Context, ...`."""

from pydantic import Field

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Ask, Context, Dropped, Failed, Outcome, Reply, Row, Table
from blackbox_kd.sdk.fields import (
    Answer,
    Column,
    Expression,
    FromEarlier,
    ModelName,
    NewColumn,
    NewTable,
    PromptName,
    ReportedTable,
    ScoringModel,
    StudentName,
    TableName,
)
from blackbox_kd.sdk.registry import StepConfig, row_step, table_step
from blackbox_kd.sdk.sampling import SamplingConfig

__all__ = [
    "Answer",
    "Ask",
    "Column",
    "Context",
    "DataError",
    "Dropped",
    "Expression",
    "Failed",
    "Field",
    "FromEarlier",
    "ModelName",
    "NewColumn",
    "NewTable",
    "Outcome",
    "PromptName",
    "Reply",
    "ReportedTable",
    "Row",
    "SamplingConfig",
    "ScoringModel",
    "StepConfig",
    "StudentName",
    "Table",
    "TableName",
    "row_step",
    "table_step",
]
