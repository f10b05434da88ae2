"""Replies from a script: for trying a recipe out, and for tests. Nothing is sent and nothing is paid.

    models:
      teacher:
        provider: scripted
        replies: ["The answer is {{ reference }}.", "I think it is {{ reference }}."]

A reply is a Jinja template over the row's columns, `sample` and `attempt`. It may also be a mapping with `text`
and what the endpoint would say beside it (`finish_reason`, `usage`). Log-probabilities are a script too: words are
tokens, and one of n letters has -n and is the n-th likeliest.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import jinja2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.analysis.logprobs import CONTINUE, LOGPROBS, TOP
from blackbox_kd.errors import FieldError, RequestRejected, quote_cause
from blackbox_kd.messages import write_plain
from blackbox_kd.models import InProcess, Model, ModelConfig, Price, Setup
from blackbox_kd.models.local import scripted_words
from blackbox_kd.sandbox import own_file
from blackbox_kd.sandbox.examples import make_calls, say
from blackbox_kd.sandbox.jinja import Sandbox
from blackbox_kd.schema import Request, digest

DEFAULT = (
    "Step by step, from what is given to what is asked.\n"
    "{% if reference is defined %}The answer is {{ reference }}.{% else %}That is the answer.{% endif %}"
)


class Entry(BaseModel):
    """One reply, with what the endpoint says beside the text."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: str = ""
    """Template of the reply."""
    tool_calls: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Template of a JSON list of calls: `[{"name": "weather", "arguments": {"city": "Oslo"}}]`."""
    finish_reason: str | None = None
    """`stop`, `length`, `content_filter`; without it, `length` when `max_tokens` cuts the reply off, else `stop`."""
    nats: float | None = Field(default=None, gt=0)
    """Log-probability of a letter, with the sign turned round; 1 without it."""
    usage: dict[str, int] | None = None
    """Tokens as the endpoint would count them; without it, words."""


class Config(ModelConfig):
    """A script. Without `replies` and `function`, the reply states the row's reference, or has the form wanted."""

    local: ClassVar[bool] = True
    canned: ClassVar[bool] = True
    scores: ClassVar[bool] = True

    model: str = "scripted"
    """Name that replies and reports show."""
    replies: list[str | Entry] | dict[str, str | Entry] | None = Field(default=None, min_length=1)
    """A list, from which row, sample and attempt pick one; or replies by a piece of the last user message."""
    function: str | None = None
    """`file.py:name`, relative to the recipe: called with messages, row and sample, it returns the reply, which is
    not a template then. Runs only with --allow-code."""
    stands_in: str | None = None
    """Model in whose place it replies, under --scripted: in the words of the question, and in the form that is read."""
    price: Price | None = None
    """What tokens cost, to try a budget out."""

    @model_validator(mode="after")
    def _one_script(self) -> "Config":
        if self.replies is not None and self.function is not None:
            raise FieldError("replies and function: only one of them can say what the reply is")
        return self

    @property
    def makes_up(self) -> bool:
        """Whether nobody wrote the replies."""
        return self.replies is None and self.function is None

    @property
    def own_price(self) -> Price | None:
        """See `price`."""
        return self.price

    def find_files(self) -> dict[str, str]:
        """The file of the function."""
        return {"function": self.function.rpartition(":")[0]} if self.function else {}

    def list_entries(self) -> list[tuple[str, Entry]]:
        """Each reply, behind the piece of a message that it answers; "" where there is none."""
        script = self.replies or [DEFAULT]
        pairs = script.items() if isinstance(script, dict) else [("", reply) for reply in script]
        return [(piece, reply if isinstance(reply, Entry) else Entry(text=reply)) for piece, reply in pairs]

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        if self.function is None:
            return list(filter(None, map(_find_fault, self.list_entries())))
        file, _, name = self.function.rpartition(":")
        if not file or not name.isidentifier():
            return [("function", f"{self.function!r} does not name a function.", "write function: file.py:name")]
        if not (setup.folder / file).is_file():
            return [("function", f"{file!r} does not exist in {str(setup.folder)!r}.", "name a file beside the recipe")]
        if not setup.allow_code:
            what = f"{self.function!r} is Python code, which a recipe may not run by itself."
            return [("function", what, "read the file, then add --allow-code")]
        return []

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: its script, a function's code included."""
        code = _find_file(self, setup).read_text(encoding="utf-8") if self.function else ""
        return digest([self.model_dump(exclude={"max_concurrency", "price"}), code])


def _find_fault(reply: tuple[str, Entry]) -> tuple[str, str, str] | None:
    """What is wrong with the template of a reply."""
    text = reply[1].text
    try:
        for each in (text, reply[1].tool_calls or ""):
            Sandbox().from_string(each)
    except (jinja2.TemplateError, ValueError, RecursionError, SyntaxError, MemoryError) as error:
        shown = text if len(text) <= 80 else f"{text[:80]}..."
        what = f"the reply {shown!r} is no template: {quote_cause(error).rstrip('.')}."
        return "replies", what, "mend it; braces that are meant as text: {{ '{{' }}"
    return None


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model.

    Raises:
        SetupError: a template cannot be compiled, or the function is not there or not allowed.
    """
    config.refuse_missing(setup)
    return ScriptedModel(config, setup)


class ScriptedModel(InProcess):
    """See `models.Model`."""

    def __init__(self, config: Config, setup: Setup) -> None:
        self.config: ModelConfig = config
        self._replies, self._stands_in = config.replies, config.stands_in
        self.endpoint = f"scripted {setup.name}"
        self._identity = config.identity(setup)
        self._function = _find_function(config, setup) if config.function else None
        self._sandbox = env = Sandbox(keep_trailing_newline=True)
        self._entries = [(piece, entry, env.from_string(entry.text)) for piece, entry in config.list_entries()]
        self._default = env.from_string(DEFAULT)

    def wire(self, request: Request) -> dict[str, Any]:
        """The request and, where a template says it, the reply: both change when the script or the row does."""
        sampling = request.sampling
        wire = {
            "provider": "scripted",
            "model": self.config.model,
            "messages": request.messages,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed,
            "extra": dict(sampling.extra) or None,
            "script": self._identity if self._function else None,
            "form": dict(request.form) or None,
            "tools": list(request.tools) or None,
            "reply": None if self._function else self._render_entry(request),
        }
        return {name: value for name, value in wire.items() if value is not None}

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        """The reply in the form of a chat completion."""
        reply = wire.get("reply")
        if self._function is not None:
            reply = self._function(request.messages, request.row, request.sample)
            if inspect.isawaitable(reply):
                reply = await reply
        entry = Entry.model_validate(reply) if isinstance(reply, Mapping) else Entry(text=str(reply))
        completion = _make_completion(self.config.model, entry, request, self.config.makes_up)
        return json.dumps(completion, ensure_ascii=False), {}

    async def close(self) -> None:
        """Nothing to close."""

    def _render_entry(self, request: Request) -> dict[str, Any]:
        """The entry for a request, with its template rendered."""
        entry, template = self._choose_entry(request)
        values = {**request.row, "sample": request.sample, "attempt": request.attempt}
        try:
            said = {"text": self._sandbox.render(template, values)}
            if entry.tool_calls is not None:
                said["tool_calls"] = self._sandbox.render(self._sandbox.from_string(entry.tool_calls), values)
        except Exception as error:  # a template is code of its own and can raise anything
            raise RequestRejected(f"scripted reply {entry.text!r}: {error}", kind="rejected") from error
        if self.config.makes_up:
            said = self._make_up(said["text"], request)
        return entry.model_copy(update=said).model_dump(exclude_none=True)

    def _make_up(self, text: str, request: Request) -> dict[str, str]:
        """A reply that the step can read, made of a text; the same one whenever it is asked for.

        Where it stands in for a model, every other sample is the same, so that a vote finds a majority and some that
        differ, and it comes with reasoning, so that a recipe that learns from traces finds one.
        """
        asked = write_plain(request.messages[-1])
        sample = request.sample if self._stands_in is None else request.sample % 2
        random = Random(digest([self._stands_in, asked, request.row.id, sample, request.attempt]))
        if self._stands_in is None:
            return {"text": text if request.example is None else request.example(text, random)}
        text = say(asked, request.row.get("reference"), random)
        if request.tools and request.messages[-1]["role"] != "tool":
            return {"text": "", "tool_calls": make_calls(request.tools, request.row.get("reference"), random)}
        said = text if request.example is None else request.example(text, random)
        return {"text": f"<think>\n{say(asked, None, random)}\n</think>\n\n{said}"}

    def _choose_entry(self, request: Request) -> tuple[Entry, jinja2.Template]:
        """The entry for a request: by its message or by its row, never by when it is asked."""
        if isinstance(self._replies, dict):
            asked = [write_plain(message) for message in request.messages if message["role"] == "user"]
            last = asked[-1] if asked else ""
            found = [(entry, template) for piece, entry, template in self._entries if piece in last]
            return found[0] if found else (Entry(text=DEFAULT), self._default)
        start = int(digest(request.row.id, 8), 16)
        _, entry, template = self._entries[(start + request.sample + request.attempt) % len(self._entries)]
        return entry, template


def _make_completion(model: str, entry: Entry, request: Request, is_stand_in: bool) -> dict[str, Any]:
    """A chat completion in OpenAI's form; tokens are counted in words.

    A reply that nobody wrote is not cut at `max_tokens`, which suits the model that it stands in for.
    """
    limit = request.sampling.max_tokens
    text, calls = entry.text, json.loads(entry.tool_calls or "[]")
    finish_reason = entry.finish_reason or ("tool_calls" if calls else "stop")
    if limit is not None and len(text.split()) > limit and entry.finish_reason is None and not is_stand_in:
        text, finish_reason = " ".join(text.split()[:limit]), "length"
    asked = [word for message in request.messages for word in write_plain(message).split()]
    extra = request.sampling.extra
    told = {"logprobs": {"content": scripted_words.tell_reply(text, extra[TOP])}} if extra.get(TOP) else {}
    if extra.get(CONTINUE) and LOGPROBS not in extra:
        text = request.messages[-1]["content"] + text
    completed = min(len(text.split()), limit or len(text.split()))
    words = {"prompt_tokens": len(asked), "completion_tokens": completed, "total_tokens": len(asked) + completed}
    return {
        **scripted_words.tell_prompt(asked, request.sampling.extra, entry.nats or 1.0),
        "id": f"scripted-{digest([request.row.id, request.sample, request.attempt, text], 16)}",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": _make_message(text, calls), "finish_reason": finish_reason, **told}],
        "usage": entry.usage or words,
    }


def _make_message(text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """What the assistant says; arguments are JSON text, as OpenAI has them."""
    if not calls:
        return {"role": "assistant", "content": text}
    functions = [{"name": call["name"], "arguments": json.dumps(call.get("arguments", {}))} for call in calls]
    told = [{"id": f"call_{number}", "type": "function", "function": each} for number, each in enumerate(functions)]
    return {"role": "assistant", "content": text or None, "tool_calls": told}


def _find_file(config: Config, setup: Setup) -> Path:
    return setup.folder / str(config.function).rpartition(":")[0]


def _find_function(config: Config, setup: Setup) -> Callable[..., Any]:
    """The function that the config names."""
    name = str(config.function).rpartition(":")[2]
    return own_file.find_function(_find_file(config, setup), name, f"model {setup.name!r}")
