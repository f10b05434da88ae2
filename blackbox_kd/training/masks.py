"""Which tokens of a conversation are learnt: those of the assistant's turns that a recipe means.

Where TRL has a training template for the model, the marks in it say what the assistant writes. For other models it is
what the conversation up to the end of a turn has beyond the conversation up to its beginning.

Source   trl 1.16, `chat_template_utils`: training templates, and the masks of assistants that come of their marks
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from blackbox_kd.errors import DataError
from blackbox_kd.messages import read_tools
from blackbox_kd.weights import conversation

IGNORED = -100
"""Label of what is not trained on."""
_FIX = "turns: last, or a chat template that writes a turn the same way whatever follows it"

Messages = Sequence[Mapping[str, Any]]


class Tokens(NamedTuple):
    """A conversation of T tokens.

    Args:
        ids: of the tokens.
        labels: the ids of those that are learnt, IGNORED for the others.
    """

    ids: list[int]
    labels: list[int]

    @property
    def learnt(self) -> int:
        """How many of the tokens are learnt."""
        return len(self.labels) - self.labels.count(IGNORED)

    @property
    def first(self) -> int:
        """Where the first one is that is learnt."""
        return next(at for at, label in enumerate(self.labels) if label != IGNORED)


def find_template(tokenizer: Any) -> str | None:
    """The template in which marks say what the assistant writes: the model's own, or TRL's; None if there is none."""
    from trl import get_training_chat_template
    from trl.chat_template_utils import has_generation_markers

    if has_generation_markers(tokenizer.chat_template):
        return str(tokenizer.chat_template)
    try:
        return str(get_training_chat_template(tokenizer))
    except ValueError:  # TRL knows no such model
        return None


def find_learnt(prompt: Messages, completion: Messages, *, earlier: bool) -> list[int]:
    """Numbers of the messages that are learnt: the assistant's, without those that weigh nothing.

    Args:
        prompt: what is asked.
        completion: what is learnt in any case.
        earlier: whether the turns of the prompt are learnt, too.
    """
    first = 0 if earlier else len(prompt)
    return [at for at, message in enumerate([*prompt, *completion]) if at >= first and _is_learnt(message)]


def count_turns(messages: Messages) -> int:
    """How many turns the assistant has in a conversation."""
    return sum(message["role"] == "assistant" for message in messages)


def mask(tokenizer: Any, messages: Messages, tools: Any, learnt: Sequence[int], template: str | None) -> Tokens:
    """A conversation with the labels of some of its turns.

    Args:
        tokenizer: of the model.
        messages: the conversation.
        tools: definitions that the assistant may call, or their JSON text.
        learnt: numbers of the messages that are learnt.
        template: that of `find_template`.

    Raises:
        DataError: the turns cannot be told apart, or a template writes them differently when others follow.
    """
    if template is not None:
        return _mask_by_marks(tokenizer, messages, tools, learnt, template)
    return _mask_by_prefixes(tokenizer, messages, tools, learnt)


def _is_learnt(message: Mapping[str, Any]) -> bool:
    return bool(message["role"] == "assistant" and message.get("weight") != 0)


def _mask_by_marks(tokenizer: Any, messages: Messages, tools: Any, learnt: Sequence[int], template: str) -> Tokens:
    found = tokenizer.apply_chat_template(
        [conversation.show_message(message) for message in messages],
        tools=read_tools(tools) or None,
        chat_template=template,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    ids = list(found["input_ids"])
    marks = groupby(enumerate(found["assistant_masks"]), key=lambda pair: bool(pair[1]))
    spans = [[at for at, _ in group] for is_marked, group in marks if is_marked]
    turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if len(spans) != len(turns):
        raise DataError(
            f"the chat template marks {len(spans)} turns of the assistant, and the conversation has {len(turns)}",
            fix="turns: last",
        )
    wanted = {at for turn, span in zip(turns, spans, strict=True) if turn in learnt for at in span}
    return Tokens(ids, [token if at in wanted else IGNORED for at, token in enumerate(ids)])


def _mask_by_prefixes(tokenizer: Any, messages: Messages, tools: Any, learnt: Sequence[int]) -> Tokens:
    ids = conversation.encode(tokenizer, messages, tools)
    labels = [IGNORED] * len(ids)
    for turn in learnt:
        start = conversation.encode(tokenizer, messages[:turn], tools, asks=True)
        end = conversation.encode(tokenizer, messages[: turn + 1], tools)
        for before, what in ((start, "what comes before it"), (end, "the turn itself")):
            if ids[: len(before)] != before:
                raise DataError(_explain_difference(tokenizer, turn, what, before, ids), fix=_FIX)
        labels[len(start) : len(end)] = ids[len(start) : len(end)]
    return Tokens(ids, labels)


def _explain_difference(tokenizer: Any, turn: int, what: str, alone: list[int], ids: list[int]) -> str:
    """Where a template writes the beginning of a conversation differently once there is more of it."""
    at = next(
        (at for at, pair in enumerate(zip(alone, ids, strict=False)) if pair[0] != pair[1]), min(len(alone), len(ids))
    )
    shown, instead = (tokenizer.decode(tokens[at : at + 12]) for tokens in (alone, ids))
    return (
        f"message {turn + 1}: the chat template writes {what} differently when more follows, so the student would be "
        f"trained on another conversation than it is served: {shown!r}, then {instead!r}"
    )
