"""What the calls to one model came to, for the progress view and the report."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.calls import ends
from blackbox_kd.models.http import names, terms
from blackbox_kd.schema import Usage

logger = logging.getLogger(__name__)

MOST_ENDS = 20
"""Reasons that are told apart: an endpoint may say another one each time."""
SIZE_OF_PROMPT = 1000
BYTES_OF_TOKEN = 8
"""Bytes of UTF-8 that a token stands for at most in a text of some length: about 4 in English, fewer in all else."""


@dataclass(slots=True)
class Counts:
    """Calls to one model in this invocation.

    Args:
        name: the model's name in the recipe.
        calls: replies that came over the wire, usable or not.
        replayed: replies taken from the ledger.
        retried: replies asked for again because they could not be used, and requests sent again after a fault.
        unknown_cost: of `calls`, those whose cost is not known.
        cost_usd: cost of the other ones.
        saved_usd: what the endpoint's cache has saved on `calls`, by the prices of what it reads and keeps.
        usage: tokens of `calls`.
        served: the model strings that the endpoint returned, and how often.
        faults: answers that were no reply, by kind.
        ends: why replies ended, those from the ledger too, by `ends.read_word`.
        sampled: replies, those from the ledger too, at the model's own temperature, as it does not take the one that
            was asked for.
        short_prompts: of `calls`, those whose prompt the endpoint counted far too few tokens of.
        beyond: replies that used more tokens than was set aside for them, while a budget limits that.
        beyond_tokens: the tokens that they used beyond.
        asked: the vendor's name of the model; "" where a server may call it anything.
        has_told_dearer: whether it was told that the endpoint bills more than the price that is known.
    """

    name: str
    calls: int = 0
    replayed: int = 0
    retried: int = 0
    unknown_cost: int = 0
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    usage: Usage = field(default_factory=Usage)
    served: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    short_prompts: int = 0
    beyond: int = 0
    beyond_tokens: int = 0
    asked: str = ""
    has_told_dearer: bool = False

    def count_end(self, word: str) -> None:
        """Counts why a reply ended, and tells of a reason that nobody knows: such replies are not used."""
        if len(self.ends) >= MOST_ENDS and word not in self.ends:
            word = word and "others"
        if word and word not in self.ends and ends.classify(word) is ends.End.UNKNOWN:
            said = "do not say how they ended" if word == ends.NOT_SAID else f"end for an unknown reason, {word!r}"
            logger.warning("model %r: replies %s; they are not used", self.name, said)
        if word:
            self.ends[word] += 1

    def check_prompt(self, size: int, usage: Usage) -> None:
        """Compares the tokens of a prompt with its size in bytes: some servers cut long prompts without a word."""
        if not (size >= SIZE_OF_PROMPT and usage.prompt_tokens and size > BYTES_OF_TOKEN * usage.prompt_tokens):
            return
        if not self.short_prompts:
            logger.warning(
                "model %r: the endpoint counts %s tokens in a prompt of %s bytes: it may have cut the prompt without a "
                "word, as Ollama does at OLLAMA_CONTEXT_LENGTH",
                self.name,
                f"{usage.prompt_tokens:,}",
                f"{size:,}",
            )
        self.short_prompts += 1

    def count_beyond(self, used: Usage, prompt: int, reply: int) -> None:
        """Counts a reply that used more than the `prompt` and `reply` tokens that its call could, and tells of it."""
        if not self.beyond:
            logger.warning(
                "model %r: the endpoint bills more than it was asked for (%s prompt and %s completion tokens, where %s "
                "and %s were the most): calls in flight may pass the budget by as much; later ones have more set aside",
                self.name,
                *(f"{count:,}" for count in (used.prompt_tokens, used.completion_tokens, prompt, reply)),
            )
        self.beyond += 1
        self.beyond_tokens += max(0, used.prompt_tokens - prompt) + max(0, used.completion_tokens - reply)

    def tell_dearer(self, times: float) -> None:
        """Tells of an endpoint that bills more than the price that is known."""
        if not self.has_told_dearer:
            self.has_told_dearer = True
            logger.warning(
                "model %r: the endpoint bills %.3g times the price that is known of it; calls in flight may pass the "
                "budget by as much, and later ones have more set aside",
                self.name,
                times,
            )

    def count_bought(self, usage: Usage, cost_usd: float | None, saved_usd: float = 0.0) -> None:
        """Counts a reply that came over the wire."""
        self.calls += 1
        self.usage += usage
        self.saved_usd += saved_usd
        if cost_usd is None:
            self.unknown_cost += 1
        else:
            self.cost_usd += cost_usd

    def count_served(self, model: str) -> None:
        """Counts the model string of a usable reply, and says when another one appears: rows would differ."""
        if not model:
            return
        if model not in self.served and self._is_rerouted(model):
            logger.warning(
                "model %r: %r was asked for, and %r answers in its place; the report counts such replies",
                self.name,
                self.asked,
                model,
            )
        elif model not in self.served and len(self.served) == 1:
            before = next(iter(self.served))
            logger.warning(
                "model %r: the endpoint now answers as %r, before as %r; the report counts both",
                self.name,
                model,
                before,
            )
        self.served[model] += 1

    def _is_rerouted(self, served: str) -> bool:
        """Whether another model answers than the one that is asked for.

        What somebody calls a model on a server of their own is no vendor's name: those are known, or a gateway's.
        """
        is_a_name = "/" in self.asked or terms.has_vendor(self.asked)
        return is_a_name and not names.is_a_file(served) and not names.is_same(self.asked, served)

    def add(self, other: "Counts") -> None:
        """Adds the sums of another model."""
        self.calls += other.calls
        self.replayed += other.replayed
        self.unknown_cost += other.unknown_cost
        self.cost_usd += other.cost_usd
        self.saved_usd += other.saved_usd
        self.usage += other.usage

    def totals(self) -> dict[str, Any]:
        """The sums; `cost_usd` is None as soon as the cost of one call is not known."""
        return {
            "calls": self.calls,
            "replayed": self.replayed,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost_usd": None if self.unknown_cost else self.cost_usd,
            "cache_saved_usd": self.saved_usd,
        }

    def entry(self) -> dict[str, Any]:
        """The counts as `report.json` holds them."""
        return {
            "name": self.name,
            **self.totals(),
            "cached_tokens": self.usage.cached_tokens,
            "cache_write_tokens": self.usage.cache_write_tokens,
            "reasoning_tokens": self.usage.reasoning_tokens,
            "unknown_cost": self.unknown_cost,
            "retried": self.retried,
            "faults": dict(sorted(self.faults.items())),
            "ends": ends.describe_counts(self.ends.items()),
            "sampled": self.sampled,
            "short_prompts": self.short_prompts,
            "beyond": self.beyond,
            "beyond_tokens": self.beyond_tokens,
            "served": sorted(self.served),
            "rerouted": {model: count for model, count in sorted(self.served.items()) if self._is_rerouted(model)},
        }
