"""What is seen of the rows of a training before it begins, and what memory it will take, as files hold both."""

from pydantic import BaseModel, ConfigDict, Field

ARTEFACT = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
"""Of all that a training reads and leaves: what a later version has added is kept, and nothing is changed."""


class Refused(BaseModel):
    """A row that no model can be trained on as it is."""

    model_config = ARTEFACT

    number: int
    """Of the row, from 0."""
    where: str
    """The row as messages name it."""
    reason: str
    exists: str = ""
    fix: str


class Bar(BaseModel):
    """Rows of about the same length."""

    model_config = ARTEFACT

    above: int
    up_to: int
    """Tokens of them: more than `above`."""
    rows: int


class Stretch(BaseModel):
    """A part of a row, as its tokens say it."""

    model_config = ARTEFACT

    trained: bool
    """Whether the loss is on it."""
    text: str


class Memory(BaseModel):
    """What a training will take, in MiB: an estimate from the model's config and the lengths of rows alone."""

    model_config = ARTEFACT

    parameters: int
    trained_parameters: int
    weights_mb: float
    """Those of a teacher among them."""
    optimizer_mb: float
    """Gradients, and the two means of AdamW."""
    activations_mb: float
    """Of the longest row, as it would be computed."""
    total_mb: float
    device: str
    free_mb: float
    """Free now, with nothing loaded."""
    tokens_a_pass: int
    """That would be computed at once."""
    checkpointing: bool
    """Whether activations would be computed twice, and few of them kept."""


class Preflight(BaseModel):
    """What was seen of the rows before a training."""

    model_config = ARTEFACT

    rows: int
    """That can be learnt from, those above `max_length` included."""
    refused: list[Refused] = Field(default_factory=list)
    """Rows that a training would stop at; the other counts are without them."""
    tokens: int = 0
    """Of all rows, prompts included."""
    trained_tokens: int = 0
    """That the loss is on."""
    lengths: list[Bar] = Field(default_factory=list)
    """Tokens of rows, of the longer text where a row has two."""
    longest: int = 0
    median: int = 0
    max_length: int = 0
    too_long: int = 0
    """Rows above `max_length`."""
    evaluation_rows: int = 0
    """That are kept back for the evaluation loss."""
    turns: int = 0
    """Turns of the assistant that are learnt."""
    turns_left_out: int = 0
    """Turns of the assistant that are read and not learnt."""
    duplicates: int = 0
    """Rows that stand there once more, token by token."""
    control_tokens: dict[str, int] = Field(default_factory=dict)
    """Control tokens in the text of rows, which were made harmless, and how often they stood there."""
    ends: dict[str, int] = Field(default_factory=dict)
    """The tokens by which the student learns to end its turn, and in how many answers."""
    example: dict[str, list[Stretch]] = Field(default_factory=dict)
    """The first row as it is trained on, by what is learnt of it."""
    memory: Memory | None = None
    """Where no training follows; after one, `peak_memory_mb` says what it took."""
    warnings: list[str] = Field(default_factory=list)
    """What is odd about the rows that are kept back."""
