"""Log-probabilities of the tokens of a text: of one that stands in a prompt, or of one that a model writes.

They are asked for and answered in vLLM's form (`prompt_logprobs`) and OpenAI's (`top_logprobs`). A text in a prompt is
the last turn, an assistant's, and left open: neither an end of turn nor a next turn follows. Where it begins is found
by a second request that ends before it, since only the tokens of both say what the two share; a chat template may
write anything between them.

What a model finds likely at each token of a text is one value of a row, `{tokens, top, logprobs}`: the T tokens of the
text, at each of them the likeliest ones, and their natural logarithms at temperature 1. Tokens are ids where the
endpoint tells ids, and texts otherwise; None is a token that has no text of its own. In place of `logprobs` there are
`counts` where tokens were drawn: then nothing is missing, while likeliest tokens leave a rest of the probability out.

Source   Shum et al. 2024, arXiv:2408.12168 (top-5); Anshumann et al. 2025, arXiv:2503.16870 (drawn tokens)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from math import exp
from random import Random
from typing import Any, NamedTuple

from blackbox_kd.schema import Reply, Sampling, T

LOGPROBS, TOP = "prompt_logprobs", "top_logprobs"
TOKENS, TOKENS_TOLD = "return_token_ids", "prompt_token_ids"
CONTINUE, DRAWS, DRAWN = "continue_final_message", "draws", "prompt_draws"
OPEN = {"add_generation_prompt": False, CONTINUE: True}
"""Fields of a request whose last turn, an assistant's, is not closed."""
WITH_TEXT = Sampling(
    temperature=0.0,
    max_tokens=1,
    extra={LOGPROBS: 0, TOKENS: True, **OPEN},
    defaults=frozenset({"temperature"}),
)
"""Asks for the log-probabilities of the messages; the last one is the text. A server writes one token at least."""
BEFORE_TEXT = Sampling(temperature=0.0, max_tokens=1, extra={TOKENS: True}, defaults=frozenset({"temperature"}))
"""Asks for the tokens of the messages that stand before the text."""
DIGITS = 4
"""Of a log-probability in a row."""
BY_ID = "token_id:"
"""What vLLM puts before an id in place of a token's text."""


class Token(NamedTuple):
    """A token of a text that a model was shown.

    Args:
        id: in the model's vocabulary.
        logprob: natural logarithm of its probability.
        rank: how many tokens are as likely or likelier; None where it is not told.
        text: its own text; None where it is not told.
        top: id, logarithm and text of each of the likeliest tokens, likeliest first; the token itself is among them
            in any case.
        drawn: how often each id was drawn at its place; None stands for all that are not told.
    """

    id: int
    logprob: float
    rank: int | None = None
    text: str | None = None
    top: Sequence[tuple[int, float, str | None]] = ()
    drawn: Mapping[int | None, int] | None = None

    @property
    def likeliest(self) -> str | None:
        """The text of the likeliest one."""
        return self.top[0][2] if self.top else None


@dataclass(slots=True)
class Scored(Reply[T]):
    """A reply that tells about its prompt.

    Args:
        tokens: the N token ids of the prompt.
        told: what is said of N - 1 of them, all but the first; None where it was not asked for.
    """

    tokens: tuple[int, ...] = ()
    told: tuple[Token, ...] | None = None

    @staticmethod
    def of(reply: Reply[T], tokens: tuple[int, ...], told: tuple[Token, ...] | None) -> "Scored[T]":
        """A reply with what it tells about its prompt."""
        said = {each.name: getattr(reply, each.name) for each in fields(Reply)}
        return Scored(**said, tokens=tokens, told=told)


def ask_likeliest(top: int, draws: int | None = None) -> Sampling:
    """`WITH_TEXT` that asks for the likeliest tokens at each place, too, or for tokens drawn there."""
    drawn = {} if draws is None else {DRAWS: draws}
    return replace(WITH_TEXT, extra={**WITH_TEXT.extra, LOGPROBS: top, **drawn})


def ask_written(top: int) -> dict[str, Any]:
    """Fields of a request that ask for the likeliest tokens at each place of a reply."""
    return {"logprobs": True, TOP: top}


def read_prompt(completion: Any) -> tuple[tuple[int, ...], tuple[Token, ...] | None] | None:
    """Tokens of the prompt and what is told of them, out of a decoded chat completion; None if it tells neither."""
    found = completion.get(TOKENS_TOLD) if isinstance(completion, dict) else None
    if not isinstance(found, list) or not found or not all(type(token) is int for token in found):
        return None
    entries, drawn = completion.get(LOGPROBS), completion.get(DRAWN)
    if not isinstance(entries, list) or len(entries) != len(found):
        return tuple(found), None
    if not isinstance(drawn, list) or len(drawn) != len(found):
        drawn = [None] * len(found)
    told = [_read_token(*each) for each in zip(found[1:], entries[1:], drawn[1:], strict=True)]
    return tuple(found), tuple(token for token in told if token) if all(told) else None


def _read_token(token: int, entry: Any, drawn: Any) -> Token | None:
    entries = entry if isinstance(entry, Mapping) else {}
    told = {int(name): value for name, value in entries.items() if isinstance(value, Mapping) and _is_number(value)}
    if token not in told:
        return None
    likely = sorted(((-float(each["logprob"]), name) for name, each in told.items()), key=lambda pair: pair[0])
    top = [(name, -least, told[name].get("decoded_token")) for least, name in likely]
    own = told[token]
    counts: dict[int | None, int] | None = None
    if isinstance(drawn, Mapping):
        counts = {int(name): count for name, count in drawn.items()}
    return Token(token, float(own["logprob"]), own.get("rank"), own.get("decoded_token"), top, counts)


def _is_number(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("logprob"), int | float)


def read_tokens(whole: Reply, before: Reply) -> list[Token]:
    """The T tokens of the text itself.

    Args:
        whole: what came for `WITH_TEXT`.
        before: what came for `BEFORE_TEXT`.

    Raises:
        ValueError: the endpoint does not tell them.
    """
    if not isinstance(whole, Scored) or whole.told is None:
        raise ValueError("the reply has no log-probabilities of its prompt")
    if not isinstance(before, Scored):
        raise ValueError("the reply does not say which tokens its prompt has")
    pairs = zip(whole.tokens, before.tokens, strict=False)
    shared = max(1, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return list(whole.told[shared - 1 :])


def list_likeliest(tokens: Sequence[Token], most: int) -> dict[str, Any]:
    """The value of a row, of tokens that a model was shown: at each at most so many of the likeliest."""
    return _list_pairs(tokens, "logprobs", [[(i, round(v, DIGITS)) for i, v, _ in t.top[:most]] for t in tokens])


def list_drawn(tokens: Sequence[Token]) -> dict[str, Any]:
    """The value of a row, of tokens that a model was shown: what was drawn in place of each.

    Raises:
        ValueError: nothing was drawn.
    """
    if any(token.drawn is None for token in tokens):
        raise ValueError("the reply has no drawn tokens")
    return _list_pairs(tokens, "counts", [Counter(token.drawn).most_common() for token in tokens])


def _list_pairs(tokens: Sequence[Token], name: str, pairs: Sequence[Sequence[tuple[Any, Any]]]) -> dict[str, Any]:
    top, values = ([[pair[at] for pair in each] for each in pairs] for at in (0, 1))
    return {"tokens": [token.id for token in tokens], "top": top, name: values}


def draw_tokens(token: Token, most: int, draws: int, random: Random) -> Token:
    """A token with so many drawn in its place, of its likeliest ones; all that is drawn beside them is None."""
    ids, values = [i for i, _, _ in token.top[:most]], [exp(value) for _, value, _ in token.top[:most]]
    rest = max(0.0, 1.0 - sum(values))
    return token._replace(drawn=Counter(random.choices([*ids, None], [*values, rest], k=draws)))


class Written(NamedTuple):
    """What is told of the T tokens that a model wrote.

    Args:
        likeliest: the value of a row.
        texts: UTF-8 of each token; of the end of a turn nothing.
    """

    likeliest: dict[str, Any]
    texts: Sequence[bytes]


def read_written(choice: Mapping[str, Any]) -> Written | None:
    """What a choice of a chat completion tells of its tokens; None if nothing."""
    said = choice.get("logprobs")
    entries = said.get("content") if isinstance(said, Mapping) else None
    if not isinstance(entries, list) or not entries:
        return None
    try:
        top = [
            sorted(((each["logprob"], _name(each)) for each in entry[TOP]), key=lambda e: -e[0]) for entry in entries
        ]
        tokens = [_name(entry) for entry in entries]
        texts = [bytes(entry["token"].encode() if entry.get("bytes") is None else entry["bytes"]) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    logprobs = [[round(value, DIGITS) for value, _ in each] for each in top]
    names = [[name for _, name in each] for each in top]
    return Written({"tokens": tokens, "top": names, "logprobs": logprobs}, texts)


def _name(entry: Mapping[str, Any]) -> int | str | None:
    """The id of a token, or its text; None where that is no whole character."""
    token = entry["token"]
    if token.startswith(BY_ID):
        return int(token.removeprefix(BY_ID))
    try:
        return token if entry.get("bytes") is None else bytes(entry["bytes"]).decode() or None
    except UnicodeDecodeError:
        return None


def cut_to_text(written: Written, text: str) -> dict[str, Any]:
    """The tokens of a part of what was written: without the reasoning before it, say. The end of the turn stays."""
    begin, wanted, ends = b"".join(written.texts).rfind(text.encode()), len(text.encode()), []
    place = 0
    for each in written.texts:
        place += len(each)
        ends.append(place)
    if begin < 0 or not wanted:
        return written.likeliest
    first = next(at for at, end in enumerate(ends) if end > begin)
    last = next(at for at, end in enumerate(ends) if end >= begin + wanted) + 1
    while first and not written.texts[first - 1]:  # the first bytes of a character
        first -= 1
    while last < len(ends) and not written.texts[last]:
        last += 1
    return {name: values[first:last] for name, values in written.likeliest.items()}
