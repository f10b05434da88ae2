"""Reads the raw body of a chat completion: a usable reply, or the fault that makes it unusable."""

from collections.abc import Callable
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.calls import prices
from blackbox_kd.errors import ReplyFault
from blackbox_kd.logprobs import Scored, prompt_of
from blackbox_kd.models import Price
from blackbox_kd.models.http.status import quote
from blackbox_kd.schema import Reply, T, Usage

OPEN, CLOSE = "<think>", "</think>"
MOST_TOKENS = 2**40
"""A count above it is nonsense (JSON knows Infinity)."""


class Completion:
    """A raw body, decoded once.

    Args:
        body: the JSON text of a chat completion, as the endpoint sent it; anything else makes a fault of `reply`.
    """

    def __init__(self, body: str) -> None:
        self._body = body
        try:
            self._value: Any = json_text.decode(body)
        except (ValueError, RecursionError):
            self._value = None
        self.usage = _usage(self._value)
        """Its tokens; None if it does not say."""

    def reply(
        self, price: Price | None, read: Callable[[str], T], *, accept_truncated: bool = False, replayed: bool = False
    ) -> Reply[T]:
        """The reply, and what `read` makes of its text; see `parse`."""
        choice = self._choice()
        message = choice["message"]
        finish_reason = str(choice.get("finish_reason") or "stop")
        if finish_reason == "content_filter":
            raise ReplyFault("a content filter of the endpoint withheld the reply", kind="refused")
        if message.get("refusal"):
            raise ReplyFault(f"the model refused: {quote(str(message['refusal']))}", kind="refused")
        text, reasoning, closed = _without_reasoning(_text(message.get("content")))
        cut = finish_reason == "length" or not closed
        if cut and not accept_truncated:
            raise ReplyFault(self._cut_off(finish_reason), kind="truncated")
        prompt = prompt_of(self._value) if accept_truncated else None
        if not text and not cut and prompt is None:
            raise ReplyFault(f"the reply has no text (finish_reason {finish_reason!r})", kind="empty")
        reply = Reply(
            text=text,
            finish_reason=finish_reason,
            usage=self.usage or Usage(),
            model=str(self._value.get("model") or ""),
            cost_usd=prices.cost(price, self.usage),
            reasoning=reasoning or _text(message.get("reasoning") or message.get("reasoning_content")),
            replayed=replayed,
            value=read(text),
        )
        return reply if prompt is None else Scored.of(reply, *prompt)

    def _choice(self) -> dict[str, Any]:
        """The first choice, which has a message."""
        if not isinstance(self._value, dict):
            raise self._unreadable("the body is not a chat completion")
        choices = self._value.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            raise self._unreadable("the body has no choices")
        if not isinstance(choice.get("message"), dict):
            raise self._unreadable("the first choice has no message")
        if choice.get("finish_reason") in ("error", "abort"):
            raise self._unreadable("the endpoint broke the reply off")
        return choice

    def _unreadable(self, what: str) -> ReplyFault:
        return ReplyFault(f"{what}: {quote(self._body)!r}", kind="unreadable")

    def _cut_off(self, finish_reason: str) -> str:
        after = f" after {self.usage.completion_tokens:,} tokens" if self.usage else ""
        if finish_reason == "length":
            return f"the reply was cut off{after}; raise max_tokens or ask for shorter replies"
        return f"the reasoning of the reply never ends{after}"


def parse(body: str, price: Price | None, *, accept_truncated: bool = False) -> Reply:
    """The reply that a body holds.

    Args:
        body: the JSON text of a chat completion, as the endpoint sent it.
        price: of the model; None if it is not known.
        accept_truncated: let a reply through that was cut off, as evaluations do; its text can be empty, also where
            the reply was asked for what it tells about its prompt.

    Raises:
        ReplyFault: of kind `unreadable` (not a chat completion), `refused` (by the model or a content filter),
            `truncated` (cut off, or reasoning that never ends) or `empty`.
    """
    return Completion(body).reply(price, str, accept_truncated=accept_truncated)


def _text(content: Any) -> str:
    """A message's content, which may come as a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        return ""
    try:
        content.isascii() or content.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no table could hold it
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return content


def _without_reasoning(content: str) -> tuple[str, str, bool]:
    """Text, reasoning, and whether the reasoning came to its end.

    A server without a reasoning parser leaves the reasoning in the content. Where the chat template has
    opened the block already, only its end can be seen.
    """
    text = content.strip()
    opened = text.startswith(OPEN)
    head, found, tail = text.partition(CLOSE)
    if found and (opened or OPEN not in head):
        return tail.strip(), head.removeprefix(OPEN).strip(), True
    if opened:
        return "", text.removeprefix(OPEN).strip(), False
    return text, "", True


def _usage(completion: Any) -> Usage | None:
    """Tokens of a completion; None if it does not say them, or says what cannot be: no prompt has 0 tokens.

    Some endpoints leave hidden reasoning out of `completion_tokens`, but bill it: it is in `total_tokens`.
    """
    found = completion.get("usage") if isinstance(completion, dict) else None
    if not isinstance(found, dict):
        return None
    prompt = _count(found, "prompt_tokens")
    if not prompt or not _is_count(found.get("completion_tokens")):
        return None
    completed = max(_count(found, "completion_tokens"), _count(found, "total_tokens") - prompt)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completed,
        cached_tokens=_count(found.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(found.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(found: Any, name: str) -> int:
    value = found.get(name) if isinstance(found, dict) else None
    return int(value) if value is not None and _is_count(value) else 0


def _is_count(value: Any) -> bool:
    """Whether it is a number of tokens, or left out."""
    return value is None or (isinstance(value, (int, float)) and 0 <= value < MOST_TOKENS)
