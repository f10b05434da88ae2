"""Reads the raw body of a chat completion: a usable reply, or the fault that makes it unusable."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from blackbox_kd.analysis.logprobs import Scored, read_prompt, read_written
from blackbox_kd.calls import billing, ends, markup, prices, tool_calls
from blackbox_kd.calls.ends import End
from blackbox_kd.calls.refusals import explain_refusal
from blackbox_kd.errors import Refusal, ReplyFault
from blackbox_kd.messages import write_plain
from blackbox_kd.models import Price
from blackbox_kd.models.http import error_body
from blackbox_kd.models.http.status import quote
from blackbox_kd.schema import Message, Reply, T, Usage


class Completion:
    """A raw body, decoded once.

    Args:
        body: JSON text as the endpoint sent it; what is no reply makes a fault of `reply`.
        convert: makes a chat completion of a vendor's own form, see `models.Model.convert`.
    """

    def __init__(self, body: str, convert: Callable[[Any], Any] = lambda value: value) -> None:
        self._body = body
        try:
            self._value: Any = convert(error_body.decode(body))
        except (ValueError, RecursionError):
            self._value = None
        said = self._value.get("usage") if isinstance(self._value, dict) else None
        self.usage = billing.read_usage(said)
        """Its tokens; None if it does not say."""
        self.billed_usd = billing.read_bill(said)
        """What the endpoint says that it bills; None if it does not say."""
        self._choice = _find_choice(self._value) if isinstance(self._value, dict) else None
        self.ended = "" if self._choice is None else ends.read_word(self._choice)
        """Why it ended, see `ends.read_word`; "" where there is no choice."""

    def compute_cost(self, price: Price | None) -> float | None:
        """What it did cost in USD: what the endpoint says that it bills, else by its price; None if neither is known.

        A bill of nothing is taken for one where no price says otherwise: gateways write 0 for what they do not know.
        """
        billed = self.billed_usd
        return billed if billed or (price is None and billed is not None) else prices.compute_cost(price, self.usage)

    def reply(
        self,
        cost_usd: float | None,
        read: Callable[..., T],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        accept_truncated: bool = False,
        replayed: bool = False,
        question: Sequence[Message] = (),
        has_tools: bool = False,
    ) -> Reply[T]:
        """The reply, which did cost so much, and what `read` makes of its text; see `parse`."""
        choice = self._choice or self._refuse_body()
        end = ends.classify(self.ended)
        message = self._read_message(choice, end, has_tools=has_tools)
        parts = markup.split(_join_text(message.get("content")))
        calls = tool_calls.read(message, tools, are_checked=not accept_truncated) if tools else []
        reasoning = parts.reasoning or _find_reasoning(message)
        cut = end is End.CUT or not parts.is_whole
        if cut and not accept_truncated:
            raise ReplyFault(self._cut_off(end, parts.text), kind="truncated")
        prompt = read_prompt(self._value) if accept_truncated else None
        if not (parts.text or calls or cut) and prompt is None:
            where = f", but {len(reasoning):,} characters of reasoning" if reasoning else ""
            raise ReplyFault(f"the reply has no text{where} (finish_reason {self.ended!r})", kind="empty")
        if not accept_truncated and not parts.is_plain:
            _refuse_markup(parts.text, question)
        reply = Reply(
            text=parts.text,
            finish_reason="tool_calls" if calls else _OF_ENDS.get(end, self.ended),
            usage=self.usage or Usage(),
            model=str(self._value.get("model") or ""),
            cost_usd=cost_usd,
            reasoning=reasoning,
            replayed=replayed,
            value=read(parts.text, calls) if tools else read(parts.text),
            tool_calls=calls,
            written=read_written(choice),
        )
        return reply if prompt is None else Scored.of(reply, *prompt)

    def _refuse_body(self) -> NoReturn:
        """Raises ReplyFault, as the body has no choice."""
        if not isinstance(self._value, dict) and error_body.is_stream(self._body):
            raise self._make_fault("the endpoint streams its reply, which it was not asked to")
        if not isinstance(self._value, dict):
            raise self._make_fault("the body is not a chat completion")
        if reason := _explain_block(self._value):
            raise ReplyFault(f"the endpoint withheld the reply: it blocks the prompt ({reason})", kind="refused")
        raise self._make_fault("the body has no choices")

    def _read_message(self, choice: dict[str, Any], end: End, *, has_tools: bool) -> dict[str, Any]:
        """The message of a choice that ended well, or was cut."""
        if error := choice.get("error") or self._value.get("error"):
            raise self._make_fault(f"the endpoint broke the reply off ({quote(error_body.describe(error))})")
        message = choice.get("message")
        if isinstance(message, dict) and message.get("refusal"):
            raise explain_refusal(message["refusal"])
        if end is End.WITHHELD:
            who = "the model refused" if self.ended == "refusal" else "a content filter of the endpoint withheld it"
            kind = "refused" if self.ended in ends.NO_CATEGORY else f"refused: {self.ended}"
            fault = ReplyFault if self.ended in (*ends.NO_CATEGORY, *ends.OF_THE_TEXT) else Refusal
            raise fault(f"there is no reply: {who} (finish_reason {self.ended!r})", kind=kind)
        if end is End.BROKEN:
            raise self._make_fault(f"the endpoint broke the reply off (finish_reason {self.ended!r})")
        if end is End.UNKNOWN:
            raise self._make_fault(f"how the reply ended is {_describe_unknown(self.ended)}, so it may not be whole")
        if end is End.TOOL and not has_tools:
            raise self._make_fault(f"the reply calls a tool, and none was offered (finish_reason {self.ended!r})")
        if not isinstance(message, dict):
            raise self._make_fault("the first choice has no message")
        return message

    def _make_fault(self, what: str) -> ReplyFault:
        return ReplyFault(f"{what}: {quote(self._body)!r}", kind="unreadable")

    def _cut_off(self, end: End, text: str) -> str:
        after = f" after {self.usage.completion_tokens:,} tokens" if self.usage else ""
        if end is not End.CUT:
            return f"the reasoning of the reply never ends{after}"
        if self.ended in ends.CONTEXT_FULL:
            return f"the reply was cut off{after}, as the context of the model is full; ask with a shorter prompt"
        if not text and self.usage and self.usage.reasoning_tokens:
            return f"the reply was cut off{after}, all of them hidden reasoning; raise max_tokens"
        return f"the reply was cut off{after}; raise max_tokens or ask for shorter replies"


def parse(body: str, price: Price | None, *, accept_truncated: bool = False) -> Reply:
    """The reply that a body holds.

    Args:
        body: the JSON text of a chat completion, as the endpoint sent it.
        price: of the model; None if it is not known.
        accept_truncated: let a reply through that was cut off, as evaluations do; its text can be empty, also where
            the reply was asked for what it tells about its prompt.

    Raises:
        ReplyFault: of kind `unreadable` (not a chat completion, broken off, or ended for an unknown reason), `refused`
            (by the model or a content filter; a Refusal where a category is named), `truncated` (cut off, or
            reasoning that never ends), `empty`, or `markup` (a chat template's is left in the text).
    """
    completion = Completion(body)
    return completion.reply(completion.compute_cost(price), str, accept_truncated=accept_truncated)


_OF_ENDS = {End.CUT: "length", End.GOOD: "stop"}
_THOUGHTS = (("content", "thinking"), ("reasoning_details", "text"), ("reasoning_details", "summary"))
"""Lists that hold reasoning in parts, and the field of a part: of Mistral, and of OpenRouter."""


def _find_reasoning(message: Mapping[str, Any]) -> str:
    """What a message has beside its text: in a field of its own, or in parts."""
    if said := _join_text(message.get("reasoning") or message.get("reasoning_content")):
        return said
    if isinstance(message.get("content"), str) and "reasoning_details" not in message:
        return ""
    found = [(message[name], field) for name, field in _THOUGHTS if isinstance(message.get(name), list)]
    parts = [part.get(field) for parts, field in found for part in parts if isinstance(part, dict)]
    return "\n".join(filter(None, map(_join_text, parts)))


def _join_text(content: Any) -> str:
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


def _refuse_markup(text: str, question: Sequence[Message]) -> None:
    """Raises ReplyFault if a text has markup in it of which the question does not speak."""
    for found in markup.find_left(text):
        if not any(found in write_plain(message) for message in question):
            at = text.find(found)
            around = quote(text[max(0, at - 40) : at + 80])
            raise ReplyFault(
                f"the reply has {found!r} in it, which is markup of a chat template ({around!r}); the server's parser "
                "for the reasoning or the tools of this model is off, or wrong",
                kind="markup",
            )


def _describe_unknown(word: str) -> str:
    return "not said (finish_reason is missing)" if word == ends.NOT_SAID else f"not known (finish_reason {word!r})"


def _find_choice(completion: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else None


def _explain_block(completion: Mapping[str, Any]) -> str:
    """Why a Gemini endpoint gave no candidate at all, or ""."""
    feedback = completion.get("promptFeedback") or completion.get("prompt_feedback")
    reason = (feedback.get("blockReason") or feedback.get("block_reason")) if isinstance(feedback, dict) else None
    return quote(str(reason)) if reason else ""
