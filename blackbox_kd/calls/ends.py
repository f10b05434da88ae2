"""Why replies ended: the words of all endpoints in one table.

An endpoint may say any word. One that is not in the table is never a good end: a reply that was cut or withheld
would pass as finished.

Source   the values of `finish_reason`, `stop_reason` and `finishReason` in the SDKs of OpenAI, Anthropic, Google,
         Mistral and OpenRouter, and in vLLM and Ollama; text-generation-inference, Cohere and Bedrock by their manuals
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from blackbox_kd.paths import read_table


class End(StrEnum):
    """What an end says about the reply."""

    GOOD = "good"
    CUT = "cut"
    WITHHELD = "withheld"
    TOOL = "tool call"
    BROKEN = "broken"
    UNKNOWN = "unknown"


_ENDS = {word: End(end) for end, words in read_table(__file__).items() for word in words}
_NAMES_OF_TYPES = ("finishreason.", "finish_reason_", "stopreason.")
"""What gateways written in typed languages leave in front of a value."""
CONTEXT_FULL = ("model_length", "model_context_window_exceeded")
"""Cut ends that no larger `max_tokens` would move."""
NO_CATEGORY = ("content_filter", "content_filtered", "guardrail_intervened", "refusal", "sensitive")
"""Withheld ends that do not say for what; the others are categories."""
OF_THE_TEXT = ("recitation", "language")
"""Categories of what was said and not of what was asked, so that another reply may well pass."""
REFUSED = "refusal"
LONGEST = 60
NOT_SAID = "not said"
"""Stands for a reason that is missing."""


def read_word(choice: Mapping[str, Any]) -> str:
    """The reason of a choice, without case; the vendor's own (`native_finish_reason`) where a gateway gives a better
    one, or none itself; REFUSED of a message with a refusal, which OpenAI says to have ended well.
    """
    message = choice.get("message")
    if (
        isinstance(message, dict)
        and message.get("refusal")
        and classify(_fold(choice.get("finish_reason"))) is End.GOOD
    ):
        return REFUSED
    plain = choice.get("finish_reason")
    if "native_finish_reason" not in choice:
        return plain if isinstance(plain, str) and plain in _ENDS else _fold(plain)
    said, native = _fold(plain), _fold(choice["native_finish_reason"])
    if said == NOT_SAID:
        return native
    is_worse = classify(said) is End.GOOD and classify(native) not in (End.GOOD, End.TOOL, End.UNKNOWN)
    return native if is_worse else said


def classify(word: str) -> End:
    """What a reason means; UNKNOWN for any that is not in the table, and for none at all."""
    return _ENDS.get(word) or (End.WITHHELD if word.startswith("image_") else End.UNKNOWN)


def describe_counts(words: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Counts by what a person reads: `good (stop)`, `cut (length)`; good ones first."""
    order = list(End)
    found = sorted(words, key=lambda pair: (order.index(classify(pair[0])), pair[0]))
    return {f"{classify(word)} ({word})": count for word, count in found}


def _fold(value: Any) -> str:
    if isinstance(value, str) and value in _ENDS:
        return value
    if value is None or value == "":
        return NOT_SAID
    word = value.strip().casefold() if isinstance(value, str) else repr(value)
    if len(word) > LONGEST:
        word = f"{word[:LONGEST]}..."
    for prefix in _NAMES_OF_TYPES:
        if word not in _ENDS:
            word = word.removeprefix(prefix)
    return word
