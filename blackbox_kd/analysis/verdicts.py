"""What a judge is shown, and the numbers of its reply: off the last lines, and only where they stand as asked for.

What a judge quotes stands before its verdict, so a number that the judged text claims for itself is never read. A
verdict that cannot be read, or is off the scale, is an error; it is never guessed, clamped, or taken as the lowest.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.schema import digest

Scale = tuple[float, float]
"""The worst and the best number."""
SHOWN = {"criteria", "low", "high", "fence"}
"""Variables that every prompt of a judge gets besides the texts and the row's columns."""

_NUMBER = re.compile(r"([-+\u2212]?\d+(?:[.,]\d+)?)(?:\s*(?:/|out of)\s*(\d+))?(?:\s*points?)?")
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_BULLET = re.compile(r"^\s*(?:[-+•–]|\d+[.)])\s+")
_MARKUP = str.maketrans({"*": None, "`": None, "#": None, ">": None, "_": " ", "：": ":", "＝": "=", "=": ":"})
SHOWN_CHARS = 80


def show(texts: Mapping[str, str], criteria: Mapping[str, str], scale: Scale) -> dict[str, Any]:
    """What a judge's prompt gets to show texts, by their variables.

    `fence` is a code for the marks around each text: none of them can hold it, so none can end its own mark.
    """
    low, high = scale
    fence = digest(sorted(texts.values()), 12)
    return {**texts, "criteria": criteria, "low": low, "high": high, "fence": fence}


def plain(label: str) -> str:
    """A label as it is compared: without case, markup, double blanks, and what stands in parentheses."""
    return " ".join(re.sub(r"\([^()]*\)", " ", label.translate(_MARKUP)).casefold().split())


def read_labelled(text: str, labels: Sequence[str], scale: Scale) -> dict[str, float]:
    """The numbers of N labels, each on a line of its own, which are the last N lines in any order.

    Args:
        text: the judge's reply.
        labels: distinct in their `plain` form.
        scale: what a number must lie on.

    Raises:
        ValueError: other lines stand there, or a number is off the scale.
    """
    lines = _split_lines(text)[-len(labels) :]
    wanted = {plain(label): label for label in labels}
    found: dict[str, float] = {}
    for line in lines:
        label, _, number = _BULLET.sub("", line).translate(_MARKUP).rpartition(":")
        known = wanted.pop(plain(label), None)
        if known is None:
            break
        found[known] = _number(number, scale)
    if wanted:
        what = " and ".join(f"'{label}: NUMBER'" for label in labels)
        raise ValueError(f"its last lines are not {what}: {_quote(lines)}")
    return {label: found[label] for label in labels}


def read_bracketed(text: str, scale: Scale) -> int:
    """The whole number in the last square brackets of the last line; `[4/5]` is 4 on a scale up to 5.

    Raises:
        ValueError: there is none, it is off the scale, or other brackets there hold another number: the last one of
            "[3] out of [5]" is no score.
    """
    last = _split_lines(text)[-1:]
    groups = _GROUP.findall(last[0]) if last else []
    if not groups:
        raise ValueError(f"its last line has no number in square brackets: {_quote(last)}")
    number = _number(groups[-1], scale)
    if any(_number(group, scale) != number for group in groups if _match(group)):
        raise ValueError(f"its last line has several numbers in square brackets: {_quote(last)}")
    if number != int(number):
        raise ValueError(f"{groups[-1]!r} is no whole number")
    return int(number)


def _split_lines(text: str) -> list[str]:
    """The lines that say something."""
    return [line for line in text.splitlines() if any(sign.isalnum() for sign in line)]


def _match(text: str) -> re.Match[str] | None:
    return _NUMBER.fullmatch(text.strip(" .[]"))


def _number(text: str, scale: Scale) -> float:
    low, high = scale
    match = _match(text)
    if match is None:
        raise ValueError(f"{text.strip()!r} is no number")
    number = float(match[1].replace(",", ".").replace("\u2212", "-"))
    if match[2] is not None and float(match[2]) != high:
        raise ValueError(f"{text.strip()!r} is not on the scale up to {high:g}")
    if not low <= number <= high:
        raise ValueError(f"{number:g} is not on the scale from {low:g} to {high:g}")
    return number


def _quote(lines: Sequence[str]) -> str:
    text = " | ".join(line.strip() for line in lines)
    return repr(text if len(text) <= SHOWN_CHARS else f"[...] {text[-SHOWN_CHARS:]}")
