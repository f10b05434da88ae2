"""Texts of token ids, without control tokens."""

from typing import Any


def decode(tokenizer: Any, tokens: list[int], *, after: list[int] | None = None) -> str:
    """The text of tokens; behind others, where a tokenizer drops the blank that a text of its own begins with."""
    before = tokenizer.decode(after, skip_special_tokens=True) if after else ""
    return str(tokenizer.decode([*(after or ()), *tokens], skip_special_tokens=True)[len(before) :])


def split(tokenizer: Any, tokens: list[int]) -> list[str]:
    """The text of each token; of a character that takes several, the last one has it, the others have none."""
    texts, done = [], 0
    for at in range(len(tokens)):
        piece = decode(tokenizer, tokens[done : at + 1], after=tokens[max(0, done - 1) : done])
        is_whole = not piece.endswith("\ufffd")
        texts.append(piece if is_whole else "")
        done = at + 1 if is_whole else done
    return texts
