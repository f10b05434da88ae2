"""What a step asks of how a model writes, beside what: from where it goes on, and which tokens it found likely."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from blackbox_kd.analysis import logprobs
from blackbox_kd.errors import SetupError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Message, Reply, Row, Sampling
from blackbox_kd.sdk.context import Context
from blackbox_kd.sdk.fields import Column
from blackbox_kd.sdk.sampling import SamplingConfig

TOP_LOGPROBS = "top_logprobs"
"""The column for what is told of a reply's tokens."""


class WrittenConfig(SamplingConfig):
    """Fields of a step that can tell more of a reply than its text."""

    top_logprobs: int | None = Field(default=None, ge=1, le=1000)
    """So many of the tokens that the model found likeliest at each place of the reply are told in the column
    `top_logprobs`, as `{tokens, top, logprobs}`, which `train: method: topk` learns from. APIs tell 20 at most, a vLLM
    server as many as its `--max-logprobs` says, and a model in this process any number."""
    begin: Column | None = None
    """Column with the beginning of the reply, from which the model writes on; `as` has both. Only vLLM servers and
    models in this process can be asked so."""

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """The sampling fields, and what not every model can be asked."""
        given = {logprobs.TOP: ("top_logprobs", self.top_logprobs), logprobs.CONTINUE: ("begin", self.begin)}
        return super().set_for(field) | {name: entry for name, entry in given.items() if entry[1] is not None}

    def sampling_for(self, row: Row) -> tuple[Sampling, list[Message]]:
        """How the reply is drawn, and the turn that it begins with, if it does."""
        begun = write_text(row[self.begin]).strip() if self.begin is not None and row[self.begin] is not None else ""
        more: dict[str, Any] = {} if self.top_logprobs is None else logprobs.ask_written(self.top_logprobs)
        more |= {"echo": True, **logprobs.OPEN} if begun else {}
        turns: list[Message] = [{"role": "assistant", "content": begun}] if begun else []
        return (replace(self.sampled, extra={**self.sampled.extra, **more}) if more else self.sampled), turns

    def list_told(self, reply: Reply[Any], text: str, model: str, ctx: Context) -> dict[str, Any]:
        """The column of what is told of the tokens of the text that is kept, if it is asked for.

        Raises:
            SetupError: nothing is told; the first reply of a model says so of all.
        """
        if self.top_logprobs is None:
            return {}
        if reply.written is None:
            what = f"{ctx.step}: model {model!r} does not tell the log-probabilities of what it writes"
            raise SetupError(what, fix="take top_logprobs: out, or a model of provider vllm or transformers")
        return {TOP_LOGPROBS: logprobs.cut_to_text(reply.written, text)}
