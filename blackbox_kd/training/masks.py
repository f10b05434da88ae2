"""Which tokens of a conversation are learnt: those of the assistant's turns that a recipe means.

Where TRL has a training template for the model, the marks in it say what the assistant writes. For other models it is
what the conversation up to the end of a turn has beyond the conversation up to its beginning.

Source   trl 1.16, `chat_template_utils`: training templates, and the masks of assistants that come of their marks
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise, takewhile
from typing import Any, NamedTuple

from blackbox_kd.errors import DataError
from blackbox_kd.weights import conversation
from blackbox_kd.weights.template_values import split_values

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

    def split(self) -> dict[str, list[int]]:
        """What is asked and what is said, as TRL names the tokens of both."""
        return {"prompt_ids": self.ids[: self.first], "completion_ids": self.ids[self.first :]}


def find_template(tokenizer: Any) -> str | None:
    """The template in which marks say what the assistant writes: the model's own, or TRL's; None if there is none."""
    from trl import get_training_chat_template
    from trl.chat_template_utils import has_generation_markers

    own = tokenizer.get_chat_template()
    if has_generation_markers(own):
        return str(own)
    values, bare = split_values(own)
    known = copy.copy(tokenizer)
    known.chat_template = bare  # TRL knows templates by their very text
    try:
        return values + str(get_training_chat_template(known))
    except ValueError:  # TRL knows no such model
        return None


def list_ways(tokenizer: Any) -> Iterator[Any]:
    """The tokenizer, and where TRL mends its template for training a copy with that one."""
    yield tokenizer
    if (template := find_template(tokenizer)) is not None:
        other = copy.copy(tokenizer)
        other.chat_template = template
        yield other


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
    """A conversation with the labels of some of its turns; what stands before the first is as the model is asked it.

    Args:
        tokenizer: of the model.
        messages: the conversation.
        tools: definitions that the assistant may call, or their JSON text.
        learnt: numbers of the messages that are learnt, in order.
        template: that of `find_template`; None to go by the model's own alone.

    Raises:
        DataError: the turns cannot be told apart, or a template writes them differently when others follow.
    """
    if not learnt:
        raise DataError("no turn of the assistant is learnt", fix="take the row out, or the weight 0 of its answer")
    find = _find_by_prefixes if template is None else _find_by_marks
    return _tokenize(tokenizer, find(tokenizer, messages, tools, learnt, template))


def _is_learnt(message: Mapping[str, Any]) -> bool:
    return bool(message["role"] == "assistant" and message.get("weight") != 0)


class _Text(NamedTuple):
    """A conversation as a template writes it, and where in it the turns are that are learnt: from, to."""

    text: str
    spans: list[tuple[int, int]]


def _find_by_prefixes(tokenizer: Any, messages: Messages, tools: Any, learnt: Sequence[int], _: str | None) -> _Text:
    text, spans = conversation.write(tokenizer, messages, tools), []
    for turn in learnt:
        before = conversation.write(tokenizer, messages[:turn], tools, asks=True)
        to = text if turn + 1 == len(messages) else conversation.write(tokenizer, messages[: turn + 1], tools)
        for part, what in ((before, "what comes before it"), (to, "the turn itself")):
            if not text.startswith(part):
                raise DataError(_explain_difference(turn, what, part, text), fix=_FIX)
        spans.append((len(before), len(to)))
    return _Text(text, spans)


def _find_by_marks(
    tokenizer: Any, messages: Messages, tools: Any, learnt: Sequence[int], template: str | None
) -> _Text:
    text, marks = conversation.write_marked(tokenizer, messages, tools, template or "")
    turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if len(marks) != len(turns):
        raise DataError(
            f"the chat template marks {len(marks)} turns of the assistant, and the conversation has {len(turns)}",
            fix="turns: last",
        )
    spans = [span for turn, span in zip(turns, marks, strict=True) if turn in learnt]
    first, start = learnt[0], spans[0][0]
    if not first:
        return _Text(text, spans)
    asked = conversation.write(tokenizer, messages[:first], tools, asks=True)
    begun = (
        asked[start:]
        if asked.startswith(text[:start])
        else _find_begun(tokenizer, messages[:first], tools, asked, text[:start])
    )
    for turn, (at, _) in zip(learnt, spans, strict=True):
        if not text.startswith(begun, at):
            what = "the beginning of the turn"
            raise DataError(_explain_difference(turn, what, begun, text[at:]), fix=_FIX)
    before = start + len(begun)
    moved = len(asked) - before
    return _Text(asked + text[before:], [(at + len(begun) + moved, to + moved) for at, to in spans])


def _find_begun(tokenizer: Any, prompt: Messages, tools: Any, asked: str, before: str) -> str:
    """What of a turn is written for the model when it is asked, where the turns before stand there in another form."""
    cue = asked.removeprefix(conversation.write(tokenizer, prompt, tools))
    outside = next(length for length in range(len(cue), -1, -1) if before.endswith(cue[:length]))
    return cue[outside:]


def _tokenize(tokenizer: Any, found: _Text) -> Tokens:
    """The tokens of a text, cut where turns begin and end as they are when the model is asked and answers."""
    text, spans = found
    cuts = sorted({cut for span in spans for cut in span if 0 < cut < len(text)})
    ids = _encode(tokenizer, text)
    parts = [_encode(tokenizer, text[at:to]) for at, to in pairwise([0, *cuts, len(text)])]
    bounds, joined = [0, *accumulate(map(len, parts))], list(chain.from_iterable(parts))
    if joined != ids:
        before = [_encode(tokenizer, text[:cut]) for cut in cuts]
        if all(ids[: len(part)] == part for part in before):
            bounds = [0, *map(len, before), len(ids)]
        elif _decode(tokenizer, joined) == _decode(tokenizer, ids):
            ids = joined  # a token would reach over the end of the prompt, which the model is asked without
        else:
            raise DataError("the tokenizer writes an answer differently behind its prompt", fix=_FIX)
    place = dict(zip([0, *cuts, len(text)], bounds, strict=True))
    labels = [IGNORED] * len(ids)
    for at, to in spans:
        labels[place[at] : place[to]] = ids[place[at] : place[to]]
    return Tokens(ids, labels)


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _explain_difference(turn: int, what: str, alone: str, text: str) -> str:
    """Where a template writes the beginning of a conversation differently once there is more of it."""
    at = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, text, strict=False)))
    shown, instead = (found[max(0, at - 12) : at + 36] for found in (alone, text))
    return (
        f"message {turn + 1}: the chat template writes {what} differently when more follows, so the student would be "
        f"trained on another conversation than it is served: {shown!r}, then {instead!r}"
    )
