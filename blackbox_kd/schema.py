"""The words that all parts share: rows, models by their names, requests and replies."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from random import Random
from typing import Any, Generic, NoReturn, Protocol, Self, cast

from typing_extensions import TypeVar

from blackbox_kd.errors import FieldError, MissingColumn, UnusableText

T = TypeVar("T", default=str)

RESERVED = (
    *("model", "messages", "stream", "stream_options", "n", "best_of", "use_beam_search"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"),
)
"""Fields of a request that only we set: each reply is one call, read whole, and no longer than the budget knows of."""


def refuse_reserved(extra: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are.

    Raises:
        FieldError: one of them is not for a recipe to set.
    """
    taken = next((name for name in RESERVED if name in extra), None)
    if taken is not None:
        fix = "a step says max_tokens: N" if taken.startswith("max_") else ""
        raise FieldError(f"the field {taken!r} cannot be set here, as it decides what is paid and read", fix=fix)
    return extra


Message = dict[str, Any]
"""One chat message: `role` (system, user, assistant, tool), `content`, and what else `messages.FIELDS` names."""


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


def digest(value: object, length: int = 64) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:length]


BASE = "base"
"""The version that a model has before any training."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as steps name it: `teacher`, or of one that is trained a version: `student@base`, `student@2`.

    Args:
        name: its name under `models:`.
        version: `base` for the model as it came, or a training by its number, from 1; empty for the one that the bare
            name means, which is the latest or the one that a loop has restored.
    """

    name: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The model of a name as it stands in a recipe or a report."""
        name, _, version = text.partition("@")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name

    @property
    def base(self) -> Self:
        """The model as it came."""
        return replace(self, version=BASE)


class Row(dict[str, Any]):
    """One candidate: its columns by name, `id` among them. `row | {...}` is a new row."""

    drawn_from: str | None = None
    """Id of the row that this one is a drawing of, for the step that has its rows drawn; no column, so never stored."""

    @property
    def id(self) -> str:
        """What names the row in tables, the ledger and messages."""
        return str(self["id"])

    def __missing__(self, column: str) -> NoReturn:
        raise MissingColumn(column)

    def __or__(self, other: Mapping[str, Any]) -> "Row":  # type: ignore[override]
        return Row({**self, **other})

    def child(self, tag: str, columns: Mapping[str, Any]) -> "Row":
        """A row made from this one: its columns, `columns` over them, and an id that extends its id."""
        return Row({**self, **columns, "id": f"{self.id}.{tag}"})


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that a step takes out of the run, and why; counted by `reason`."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that could not be worked on.

    Args:
        row: the row.
        kind: the class of the error.
        error: what went wrong.
        traceback: where a step raised it.
        fix: what mends it; `error` may say so, too.
    """

    row: Row
    kind: str
    error: str
    traceback: str = field(default="", compare=False)
    fix: str = field(default="", compare=False)


Outcome = Row | Dropped | Failed
"""What becomes of a row in a step."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn. None leaves the field out of the request: the endpoint's default holds."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the request body, as the endpoint names them (`reasoning_effort`, `response_format`)."""
    defaults: frozenset[str] = frozenset()
    """Those fields that the recipe did not set: they are left out where a model does not take them."""

    @property
    def varies(self) -> bool:
        """Whether asking again can bring another reply."""
        return self.temperature is None or self.temperature > 0


TRIES = 3
"""The most replies to one question that are asked for until one can be used, unless a step says so."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """What a step asks, of one model or of several.

    Args:
        messages: what is asked.
        sampling: how the reply is drawn.
        row: the row that it is for.
        sample: index among the samples of the row.
        read: reads what the step wants out of the text of a reply. A ValueError says that it is not in there, and so
            does an UnusableText, whose `kind` the row is then counted under.
        accept_truncated: take a reply that was cut off.
        tries: the most replies that are asked for until one can be used; one, where another could not differ.
        form: fields of the request that hold a model to a form, as chat completions call them.
        tools: definitions of what a reply may call, as OpenAI writes them; `read` is then given the calls, too.
    """

    messages: list[Message]
    sampling: Sampling
    row: Row
    sample: int = 0
    read: Callable[..., T] | None = None
    accept_truncated: bool = False
    tries: int = TRIES
    form: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()

    def value_of(self, text: str, calls: Sequence[Mapping[str, Any]] = ()) -> T:
        """What `read` makes of a text and its calls of tools; the text itself if there is no `read`.

        Raises:
            UnusableText: the step cannot use the text.
        """
        if self.read is None:
            return cast(T, text)
        try:
            return self.read(text, calls) if self.tools else self.read(text)
        except ValueError as error:
            raise UnusableText(str(error), kind="unreadable") from error


@dataclass(slots=True)
class Request:
    """One call: what is asked, how it is sampled, and which row, sample and attempt it is for."""

    messages: list[Message]
    sampling: Sampling
    row: Row
    sample: int = 0
    attempt: int = 0
    cap: int | None = None
    """The most tokens that the endpoint is told to let through where the recipe says nothing. It keeps a budget, or
    leaves room for reasoning, and is no part of the question."""
    refused: frozenset[str] = frozenset()
    """Fields that the model was found not to take; they are not sent, and no part of the question either."""
    form: Mapping[str, Any] = field(default_factory=dict)
    """See `Ask.form`: a part of the question, of which as much is sent as the model takes."""
    tools: Sequence[Mapping[str, Any]] = ()
    """See `Ask.tools`."""
    example: Callable[[str, Random], str] | None = None
    """Makes of a text a reply that the step can read."""


@dataclass(slots=True)
class Usage:
    """Tokens of one reply, as the endpoint counted them.

    Of `prompt_tokens` some may have been read from the endpoint's cache (`cached_tokens`), and others put there
    (`cache_write_tokens`, some of them for an hour); of `completion_tokens` some may be hidden reasoning.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    def entry(self) -> dict[str, int]:
        """The counts as rows hold them; what was put into a cache is in there where anything was."""
        found = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        found |= {"cached_tokens": self.cached_tokens, "reasoning_tokens": self.reasoning_tokens}
        return found | ({"cache_write_tokens": self.cache_write_tokens} if self.cache_write_tokens else {})

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(slots=True)
class Reply(Generic[T]):
    """One usable reply.

    Args:
        text: what the model wrote, without its hidden reasoning.
        finish_reason: `stop`, `tool_calls`, or `length` for a reply that was cut, whatever the endpoint calls it.
        usage: tokens.
        model: the model string that the server returned, which may be a dated snapshot.
        cost_usd: None when no price is known; never 0 for unknown.
        reasoning: hidden reasoning that the endpoint returned beside the text, or "".
        replayed: whether the reply came from the ledger, at no cost now.
        value: what `Ask.read` made of the text; the text itself if there was no `read`.
        tool_calls: what the reply calls of the tools that were offered, as OpenAI writes it.
        written: what the endpoint tells of the tokens of the reply, see `analysis.logprobs.read_written`.
    """

    text: str
    finish_reason: str
    usage: Usage
    model: str
    cost_usd: float | None = None
    reasoning: str = ""
    replayed: bool = False
    value: T = field(kw_only=True)
    tool_calls: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    written: Any = field(default=None, kw_only=True)


class Table(Protocol):
    """Rows of a run under a name, read from disk each time: iterating twice is fine, memory stays flat."""

    name: str

    def __iter__(self) -> Iterator[Row]: ...
    def __len__(self) -> int: ...


@dataclass(slots=True)
class Memory:
    """A table in memory."""

    name: str
    rows: Sequence[Row]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
