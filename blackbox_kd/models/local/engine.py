"""A model loaded with transformers, and the replies that it writes; each is decided by its own request alone."""

import gc
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blackbox_kd.errors import CallError, RequestRejected, SetupError
from blackbox_kd.models.local import loading, texts
from blackbox_kd.privacy import switch_off_telemetry
from blackbox_kd.schema import Message
from blackbox_kd.weights import conversation, load
from blackbox_kd.weights.control_tokens import find_pattern, neutralise, neutralise_value
from blackbox_kd.weights.precision import allow_quicker_float32

if TYPE_CHECKING:
    from blackbox_kd.models.local.scoring import Found

ROWS = {"cpu": 32, "cuda": 128}
"""Texts written at once when the recipe does not say. On two cores more bring little; a GPU has room for them."""
STEPS = 8
"""Tokens per text after which the engine looks who else has come to wait, if nobody is done before."""


@dataclass(slots=True, eq=False)
class LocalRequest:
    """One request.

    Args:
        messages: what is asked.
        temperature: 0 is greedy.
        top_p: share of the probability that is drawn from.
        top_k: so many likeliest tokens are drawn from; 0 for all.
        max_tokens: the most tokens of the reply.
        stop: texts that end the reply.
        seed: of the request's own noise.
        tools: what the reply may call.
        scored: whether the log-probabilities of the messages are wanted, the last one left open, and no reply.
        is_open: whether the reply goes on from the last message.
        top: how many of the likeliest tokens are told at each place.
        draws: how many tokens are drawn at each place of what is scored.
    """

    messages: list[Message]
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    seed: int
    scored: bool = False
    is_open: bool = False
    top: int = 0
    draws: int = 0
    tools: Sequence[Mapping[str, Any]] = ()
    text: Any = field(default=None, init=False)
    dropped: bool = field(default=False, init=False)

    def drop(self) -> None:
        """Nobody waits for the reply any more."""
        self.dropped = True
        if self.text is not None:
            self.text.dropped = True


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a job.

    Args:
        text: the reply.
        finish_reason: why it ended.
        prompt: token ids of the prompt.
        tokens: how many the reply has.
        found: at the prompt's tokens, the first one left out; None if that was not wanted.
        texts: of each of these its own and the likeliest one's; None if they were not wanted.
        told: id and text of each token of the reply, and the likeliest ones in its place; empty if not wanted.
    """

    text: str
    finish_reason: str
    prompt: list[int]
    tokens: int
    found: "list[Found] | None" = None
    texts: Sequence[tuple[str, str] | None] = ()
    told: Sequence[tuple[int, str, Sequence[tuple[int, float]]]] = ()


class Engine:
    """A loaded model. For one thread.

    Args:
        place: folder, or hub id and commit.
        adapter: folder of a LoRA adapter, or None.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU.
        device: `cpu`, `cuda`, or `auto`.
        template_values: values for the chat template, such as `enable_thinking`.
        rows: the most replies written at once; None for what suits the device.
        chat_template: text of a template in place of the model's own.

    Raises:
        SetupError: the model cannot be loaded or has no chat template.
    """

    def __init__(
        self,
        place: str,
        adapter: str | None,
        dtype: str,
        device: str,
        template_values: dict[str, Any],
        rows: int | None = None,
        chat_template: str | None = None,
    ) -> None:
        switch_off_telemetry()
        try:
            import torch
            from transformers.utils import logging as hf_logging
        except ImportError as error:
            message = f"provider transformers needs {error.name}"
            raise SetupError(message, fix="pip install 'blackbox-kd[train]'") from error
        hf_logging.disable_progress_bar()
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        wanted = ("bfloat16" if self.device.startswith("cuda") else "float32") if dtype == "auto" else dtype
        self._tokenizer, self._model = loading.load(place, adapter, wanted, chat_template)
        if not self._tokenizer.chat_template:
            fix = "use the instruct version, or chat_template: plain beside its name"
            raise SetupError(f"model {place!r} has no chat template, so it cannot be asked", fix=fix)
        loading.move(self._model, self.device)
        allow_quicker_float32()
        self._template_values = template_values
        self._control = find_pattern(self._tokenizer)
        self._ends = set(load.find_ends(self._tokenizer, self._model, template_values))
        self._limit = load.find_context_length(self._model.config) or sys.maxsize
        self._jobs: dict[Any, LocalRequest] = {}
        self._unscored: list[LocalRequest] = []
        self._writer = self._choose_writer(rows or ROWS["cpu" if self.device == "cpu" else "cuda"])

    def _choose_writer(self, rows: int) -> Any:
        from blackbox_kd.models.local.decoding import Decoder, fits
        from blackbox_kd.models.local.generating import Generating
        from blackbox_kd.models.local.kv_slots import ATTENTION

        own = self._model.config._attn_implementation
        try:
            self._model.set_attn_implementation(ATTENTION)
        except ValueError:  # no attention at all, or one that is computed in the model's own way alone
            return Generating(self._model, rows, sorted(self._ends))
        if fits(self._model):
            return Decoder(self._model, rows)
        self._model.set_attn_implementation(own)
        return Generating(self._model, rows, sorted(self._ends))

    @property
    def busy(self) -> bool:
        """Whether replies are in the making."""
        return bool(self._writer.busy or self._unscored)

    def tokens_of(
        self, messages: list[Message], tools: Sequence[Mapping[str, Any]] = (), *, is_open: bool = False
    ) -> list[int]:
        """The prompt that the chat template makes of messages, as token ids; `is_open`: it ends within the last one."""
        if conversation.uses_tools(messages, tools) and not conversation.takes_tools(self._tokenizer):
            raise RequestRejected(conversation.NO_TOOLS, fix=conversation.GIVE_TOOLS, kind="chat_template")
        try:
            found = conversation.encode(
                self._tokenizer,
                neutralise(messages, self._control),
                neutralise_value(list(tools), self._control),
                asks=not is_open,
                continue_final_message=is_open,
                **self._template_values,
            )
        except Exception as error:  # a template is code of its own and can raise anything
            what, fix = load.explain_refusal(error, messages)
            raise RequestRejected(what, fix=fix, kind="chat_template") from error
        if len(found) >= self._limit:
            raise RequestRejected(f"the prompt has {len(found)} tokens, the model takes {self._limit}", kind="too_long")
        return found

    def advance(self, new: list[LocalRequest]) -> list[tuple[LocalRequest, Written | CallError]]:
        """Takes new jobs in, writes on for a moment, returns what is done. Blocks; run it in a thread."""
        ended: list[tuple[LocalRequest, Written | CallError]] = []
        for job in new:
            try:
                if job.scored:
                    self._unscored.append(job)
                else:
                    self._begin(job)
            except CallError as error:
                ended.append((job, error))
        ended += self._score_next()
        for _ in range(STEPS):
            if not self._writer.busy:
                break
            ended += [self._take_ended(text) for text in self._writer.step()]
            if ended:
                break
        return ended

    def _score_next(self) -> list[tuple[LocalRequest, Written | CallError]]:
        """The next job whose log-probabilities are wanted; one at a time, so that others are written on between."""
        from blackbox_kd.models.local.scoring import score_tokens

        self._unscored = [job for job in self._unscored if not job.dropped]
        for job in self._unscored[:1]:
            self._unscored.remove(job)
            try:
                prompt = self.tokens_of(job.messages, is_open=True)
            except CallError as error:
                return [(job, error)]
            except ValueError as error:  # a template that changes the last turn, so that it cannot be left open
                return [(job, RequestRejected(f"the chat template cannot hold the text: {error}", kind="rejected"))]
            found = score_tokens(self._model, prompt, top=job.top, draws=job.draws, seed=job.seed)
            said: list[tuple[str, str] | None] = [None] * len(found)
            if job.top:
                likeliest = [texts.decode(self._tokenizer, [each.top[0][0]]) for each in found]
                said = list(zip(texts.split(self._tokenizer, prompt)[1:], likeliest, strict=True))
            return [(job, Written("", "length", prompt, 0, found, said))]
        return []

    def _begin(self, job: LocalRequest) -> None:
        from blackbox_kd.models.local.decoding import Generation
        from blackbox_kd.models.local.sampling import Draw

        prompt = self.tokens_of(job.messages, job.tools, is_open=job.is_open)
        draw = Draw(job.temperature, job.top_p, job.top_k, job.seed)
        room = min(job.max_tokens, self._limit - len(prompt))
        job.text = Generation(prompt, draw, room, lambda tokens: self._has_ended(job, tokens), job.top)
        self._jobs[job.text] = job
        self._writer.waiting.append(job.text)

    def _has_ended(self, job: LocalRequest, tokens: list[int]) -> bool:
        if tokens[-1] in self._ends:
            return True
        if not job.stop:
            return False
        # A token stands for at least one byte, so a stop text that has just been finished lies in these.
        tail = max(len(stop.encode()) for stop in job.stop) + 8
        text = self._tokenizer.decode(tokens[-tail:], skip_special_tokens=True)
        return any(stop in text for stop in job.stop)

    def _take_ended(self, text: Any) -> tuple[LocalRequest, Written]:
        job, tokens = self._jobs.pop(text), text.tokens
        by_itself = tokens[-1] in self._ends
        own = tokens[:-1] if by_itself else tokens
        said = texts.decode(self._tokenizer, own, after=text.prompt[-1:] if job.is_open else [])
        cuts = [said.index(stop) for stop in job.stop if stop in said]
        said = said[: min(cuts)] if cuts else said
        said = f"{job.messages[-1]['content']}{said}" if job.is_open else said
        reason = "stop" if by_itself or cuts else "length"
        told = zip(tokens, texts.split(self._tokenizer, tokens), text.likeliest, strict=True) if job.top else ()
        return job, Written(said, reason, text.prompt, len(tokens), told=list(told))

    def close(self) -> None:
        """Gives the memory back."""
        import torch

        self._jobs.clear()
        self._unscored.clear()
        del self._writer, self._model
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def make_seed(*parts: object) -> int:
    """A seed of 63 bits made of anything that names a request."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
