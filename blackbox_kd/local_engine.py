"""Batched generation with transformers: one batch at a time, each reply decided by its own request alone.

Sampling is by Gumbel noise from a generator of each row's own (Gumbel-max: the largest logit plus noise is a draw
from the softmax), so that neither the rows beside it nor the order of requests changes what a row says.
"""

import copy
import gc
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blackbox_kd.control_tokens import neutralise, pattern
from blackbox_kd.errors import RequestRejected, SetupError
from blackbox_kd.schema import Message

SHARED_PREFIX = 32
"""Tokens that the prompts of a batch must have in common before their keys and values are computed only once."""


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt of a batch.

    Args:
        ids: token ids of the rendered prompt.
        temperature: 0 is greedy.
        top_p: share of the probability that is drawn from.
        top_k: so many likeliest tokens are drawn from; 0 for all.
        max_tokens: the most tokens of the reply.
        stop: texts that end the reply.
        seed: of the row's own noise.
    """

    ids: list[int]
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: tuple[str, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Written:
    """A reply: its text, why it ended, and its number of tokens."""

    text: str
    finish_reason: str
    tokens: int


class Engine:
    """A loaded model.

    Args:
        place: folder or hub id.
        adapter: folder of a LoRA adapter, or None.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU.
        device: `cpu`, `cuda`, or `auto`.
        template_values: values for the chat template, such as `enable_thinking`.

    Raises:
        SetupError: the model cannot be loaded or has no chat template.
    """

    def __init__(
        self, place: str, adapter: str | None, dtype: str, device: str, template_values: dict[str, Any]
    ) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging as hf_logging
        except ImportError as error:
            message = f"provider transformers needs {error.name}\n  fix: pip install 'blackbox-kd[train]'"
            raise SetupError(message) from error
        hf_logging.disable_progress_bar()
        self._torch = torch
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        wanted = ("bfloat16" if self.device.startswith("cuda") else "float32") if dtype == "auto" else dtype
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(adapter or place, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(place, dtype=wanted)
        except (OSError, ValueError) as error:
            raise SetupError(
                f"model {place!r} cannot be loaded: {error}\n  fix: check the name, HF_TOKEN, network"
            ) from error
        if not self._tokenizer.chat_template:
            fix = "use the instruct version, or save a chat_template.jinja beside it"
            raise SetupError(f"model {place!r} has no chat template, so it cannot be asked\n  fix: {fix}")
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter)
            if wanted == "float32":  # in bfloat16 a merge would round the adapter away
                model = model.merge_and_unload(safe_merge=True)
        self._model = model.to(self.device).eval()
        self._template_values = template_values
        self._control = pattern(self._tokenizer)
        ends = self._model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends or [])
        self._ends.add(self._tokenizer.eos_token_id)
        self._prefix: tuple[list[int], Any] = ([], None)

    def tokens_of(self, messages: list[Message]) -> list[int]:
        """The prompt that the chat template makes of messages, as token ids."""
        safe = neutralise(messages, self._control)
        found = self._tokenizer.apply_chat_template(
            safe, add_generation_prompt=True, tokenize=True, return_dict=False, **self._template_values
        )
        limit = self._model.config.max_position_embeddings
        if len(found) >= limit:
            raise RequestRejected(f"the prompt has {len(found)} tokens, the model takes {limit}", kind="too_long")
        return list(found)

    def write(self, jobs: Sequence[Job]) -> list[Written]:
        """Replies to a batch of prompts, in order. Blocks; run it in a thread."""
        torch = self._torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        with torch.inference_mode():
            shared = self._shared_prefix(jobs)
            width = max(len(job.ids) for job in jobs) - shared
            pad = self._tokenizer.pad_token_id or 0
            ids, mask = [], []
            for job in jobs:
                room = width - (len(job.ids) - shared)
                ids.append(job.ids[:shared] + [pad] * room + job.ids[shared:])
                mask.append([1] * shared + [0] * room + [1] * (len(job.ids) - shared))
            prompt = torch.tensor(ids, device=self.device)
            ending = _Ending(self._tokenizer, jobs, prompt.shape[1])
            written = self._model.generate(
                input_ids=prompt,
                attention_mask=torch.tensor(mask, device=self.device),
                past_key_values=self._prefix_cache(len(jobs)) if shared else None,
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max(job.max_tokens for job in jobs),
                    eos_token_id=sorted(self._ends),
                    pad_token_id=pad,
                ),
                logits_processor=LogitsProcessorList([_Noise(jobs, self.device)]),
                stopping_criteria=StoppingCriteriaList([ending]),
            )
        new = written[:, prompt.shape[1] :].tolist()
        return [self._finished(job, tokens) for job, tokens in zip(jobs, new, strict=True)]

    def _finished(self, job: Job, tokens: list[int]) -> Written:
        # Behind max_tokens stands padding, which looks like an end of turn.
        tokens = tokens[: job.max_tokens]
        end = next((at for at, token in enumerate(tokens) if token in self._ends), None)
        said = tokens if end is None else tokens[:end]
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        cuts = [text.index(stop) for stop in job.stop if stop in text]
        if cuts:
            return Written(text[: min(cuts)], "stop", len(said))
        return Written(text, "length", len(said)) if end is None else Written(text, "stop", len(said) + 1)

    def _shared_prefix(self, jobs: Sequence[Job]) -> int:
        """Length of the prefix whose keys and values are kept; computes them when they are not."""
        first, last = min(job.ids for job in jobs), max(job.ids for job in jobs)
        common = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        common = min(common, min(len(job.ids) for job in jobs) - 1)
        known = self._prefix[0]
        if known and common >= len(known) and first[: len(known)] == known and common - len(known) < SHARED_PREFIX:
            return len(known)
        if common < SHARED_PREFIX or len(jobs) == 1:
            return 0
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        prefix = self._torch.tensor([first[:common]], device=self.device)
        self._model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self._prefix = (first[:common], cache)
        return common

    def _prefix_cache(self, rows: int) -> Any:
        cache = copy.deepcopy(self._prefix[1])
        cache.batch_repeat_interleave(rows)
        return cache

    def close(self) -> None:
        """Gives the memory back."""
        self._prefix = ([], None)
        del self._model
        gc.collect()
        if self.device.startswith("cuda"):
            self._torch.cuda.empty_cache()


class _Noise:
    """A logits processor that turns the arg max into a draw, row by row; greedy rows are left alone."""

    def __init__(self, jobs: Sequence[Job], device: str) -> None:
        import torch

        self._jobs = jobs
        self._device = device
        self._generators = [torch.Generator().manual_seed(job.seed) for job in jobs]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        for number, job in enumerate(self._jobs):
            if job.temperature <= 0:
                continue
            row = scores[number].float() / job.temperature
            if job.top_k:
                row = row.masked_fill(row < torch.topk(row, min(job.top_k, row.numel())).values[-1], -torch.inf)
            if job.top_p < 1:
                ordered, order = torch.sort(row, descending=True)
                before = torch.cumsum(torch.softmax(ordered, -1), -1) - torch.softmax(ordered, -1)
                row = row.masked_fill(
                    torch.zeros_like(row).scatter(0, order, (before >= job.top_p).float()).bool(), -torch.inf
                )
            uniform = torch.rand(row.shape, generator=self._generators[number]).clamp_min(1e-20)
            scores[number] = row - torch.log(-torch.log(uniform)).to(self._device)
        return scores


class _Ending:
    """A stopping criterion: each row ends at its own number of tokens or at its own stop texts."""

    def __init__(self, tokenizer: Any, jobs: Sequence[Job], prompt_width: int) -> None:
        self._tokenizer = tokenizer
        self._jobs = jobs
        self._width = prompt_width

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        made = input_ids.shape[1] - self._width
        done = [made >= job.max_tokens or self._has_stop(job, input_ids[n]) for n, job in enumerate(self._jobs)]
        return torch.tensor(done, device=input_ids.device)

    def _has_stop(self, job: Job, ids: Any) -> bool:
        if not job.stop:
            return False
        text = self._tokenizer.decode(ids[self._width :], skip_special_tokens=True)
        return any(stop in text for stop in job.stop)


def seed_of(*parts: object) -> int:
    """A seed of 63 bits made of anything that names a request."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
