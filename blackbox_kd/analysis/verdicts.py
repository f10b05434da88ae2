"""What a judge is shown, and the numbers of its reply: off the last lines, and only where they stand as asked for.

What a judge quotes stands before its verdict, so a number that the judged text claims for itself is never read. Read
are lines of labels, or a JSON object that has exactly the labels; a remark without numbers may follow a number, and a
courtesy or a word on who won may follow the verdict. A verdict that cannot be read, or is off the scale, is an error;
it is never guessed, clamped, or taken as the lowest.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from blackbox_kd.messages import make_fence
from blackbox_kd.paths import read_patterns

Scale = tuple[float, float]
"""The worst and the best number."""
SHOWN = {"criteria", "low", "high", "fence"}
"""Variables that every prompt of a judge gets besides the texts and the row's columns."""

_NUMBER = re.compile(
    r"([-+\u2212]?\d+(?:[.,]\d+)?)(?:\s*(?:/|out of)\s*(\d+))?(?:\s*(?:points?|pts|punkte?|puntos?|分|点|점))?",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"\s*(?:[,;.(–—]|\s-\s|-\s+(?=[^\W\d])|\s(?:because|since|as|for|due\sto|given|with)\s)(?P<said>[^\d]*)",
    re.IGNORECASE,
)
_UNSURE = re.compile(r"\A\W*(?:or|to|maybe|perhaps|if|of|out)\b|\b(?:rather|actually|wait|instead|no)\b", re.IGNORECASE)
_PATTERNS = read_patterns(__file__)
_CLOSING = _PATTERNS["closing"]
_DISTRUST = _PATTERNS["distrust"]
_MOST_CLOSING = 3
_SCORE_ALONE = re.compile(r"[^\[\]\d]{0,40}\[[^\[\]]*\][^\[\]\d]{0,40}")
_GROUP = re.compile(r"\[([^\[\]]*)\]")
_BULLET = re.compile(r"^\s*(?:[-+•–]|\d+[.)])\s+")
_MARKUP = str.maketrans({"*": None, "`": None, "#": None, ">": None, "_": " ", "：": ":", "＝": "=", "=": ":"})
SHOWN_CHARS = 80
QUALITY = {"quality": "how well the answer does what the task asks for"}
"""What counts where nobody says what does."""


def are_told_apart(criteria: Iterable[str]) -> bool:
    """Whether a verdict on them has a label of its own for each."""
    labels = [plain(name) for name in criteria]
    return len(set(labels)) == len(labels) and all(labels)


def show(texts: Mapping[str, str], criteria: Mapping[str, str], scale: Scale) -> dict[str, Any]:
    """What a judge's prompt gets to show texts, by their variables.

    `fence` is a code for the marks around each text: none of them can hold it, so none can end its own mark.
    """
    low, high = scale
    return {**texts, "criteria": criteria, "low": low, "high": high, "fence": make_fence(texts.values())}


def plain(label: str) -> str:
    """A label as it is compared: without case, markup, double blanks, and what stands in parentheses."""
    return " ".join(re.sub(r"\([^()]*\)", " ", label.translate(_MARKUP)).casefold().split())


def place(number: float, scale: Scale) -> float:
    """Where a number lies on a scale, from 0 (the worst) to 1."""
    return (number - scale[0]) / (scale[1] - scale[0])


@dataclass(frozen=True, slots=True)
class Labelled:
    """Reads the numbers of labels, see `read_labelled`."""

    labels: Sequence[str]
    scale: Scale

    def __call__(self, text: str) -> dict[str, float]:
        """See `read_labelled`."""
        return read_labelled(text, self.labels, self.scale)

    def example(self, text: str, random: Random) -> str:
        """A text with numbers behind it."""
        return "\n".join([text, *(f"{label}: {_draw(self.scale, random)}" for label in self.labels)])


@dataclass(frozen=True, slots=True)
class Bracketed:
    """Reads a whole number in brackets, see `read_bracketed`."""

    scale: Scale

    def __call__(self, text: str) -> int:
        """See `read_bracketed`."""
        return read_bracketed(text, self.scale)

    def example(self, text: str, random: Random) -> str:
        """A text with a number behind it."""
        return f"{text}\n[{_draw(self.scale, random)}]"


def _draw(scale: Scale, random: Random) -> float:
    """A number of a scale, a whole one if there is any; in half of all cases the best, so that many rows pass."""
    low, high = math.ceil(scale[0]), math.floor(scale[1])
    if low > high:
        return round(random.uniform(*scale), 2)
    return high if random.random() < 0.5 else random.randint(low, high)


def read_labelled(text: str, labels: Sequence[str], scale: Scale) -> dict[str, float]:
    """The numbers of N labels, each on a line of its own, which are the last N lines in any order.

    Args:
        text: the judge's reply.
        labels: distinct in their `plain` form.
        scale: what a number must lie on.

    Raises:
        ValueError: other lines stand there, or a number is off the scale.
    """
    said = _without_closing(text, labels)
    if (given := _read_object(said, labels)) is not None:
        return {label: _read_number(given[label], scale) for label in labels}
    before = _split_lines(said)
    lines = before[-len(labels) :]
    wanted = {plain(label): label for label in labels}
    found: dict[str, float] = {}
    for line in lines:
        label, number = _split_label(line, wanted)
        if label not in wanted:
            break
        found[wanted.pop(label)] = _read_number(number, scale)
    above = before[-len(labels) - 1 : -len(labels)]
    if wanted or any(_split_label(line, map(plain, labels))[0] in map(plain, labels) for line in above):
        what = " and ".join(f"'{label}: NUMBER'" for label in labels)
        raise ValueError(f"its last lines are not {what}: {_quote(_split_lines(text)[-max(len(labels), 2) :])}")
    return {label: found[label] for label in labels}


def read_bracketed(text: str, scale: Scale) -> int:
    """The whole number in the last square brackets of the last line; `[4/5]` is 4 on a scale up to 5.

    Raises:
        ValueError: there is none, it is off the scale, or other brackets there hold another number: the last one of
            "[3] out of [5]" is no score.
    """
    last = _split_lines(unicodedata.normalize("NFKC", text))[-1:]
    if last and not _GROUP.search(last[0]):
        earlier = _split_lines(_without_closing(text, ()))[-1:]
        last = earlier if earlier and _SCORE_ALONE.fullmatch(earlier[0]) else last
    groups = _GROUP.findall(last[0]) if last else []
    if not groups:
        raise ValueError(f"its last line has no number in square brackets: {_quote(last)}")
    number = _read_number(groups[-1], scale)
    if any(_read_number(group, scale) != number for group in groups if _match(group)):
        raise ValueError(f"its last line has several numbers in square brackets: {_quote(last)}")
    if number != int(number):
        raise ValueError(f"{groups[-1]!r} is no whole number")
    return int(number)


def _split_lines(text: str) -> list[str]:
    """The lines that say something."""
    return [line for line in text.splitlines() if any(sign.isalnum() for sign in line)]


def _without_closing(text: str, labels: Sequence[str]) -> str:
    """The reply without the lines at its end that say nothing of the numbers: courtesies, and which label won."""
    lines = unicodedata.normalize("NFKC", text).splitlines()
    saying = [number for number, line in enumerate(lines) if any(sign.isalnum() for sign in line)]
    for _ in range(_MOST_CLOSING):
        if not saying or not _closes(lines[saying[-1]], labels):
            break
        lines = lines[: saying.pop()]
    return "\n".join(lines)


def _closes(line: str, labels: Sequence[str]) -> bool:
    if _DISTRUST.search(line):
        return False
    for label in labels:
        opening = re.match(rf"\W*{re.escape(label)}\s(?=[^\W\d])", line, re.IGNORECASE)
        if opening:
            rest = line[opening.end() :]
            return not re.search(r"[\d:=\[]", re.sub("|".join(map(re.escape, labels)), "", rest, flags=re.IGNORECASE))
    return _CLOSING.fullmatch(line) is not None


def _read_object(text: str, labels: Sequence[str]) -> dict[str, str] | None:
    """The values of a flat JSON object at the end of a text that has the labels, each once, and nothing else."""
    body = text.rstrip().removesuffix("```").rstrip()
    start = body.rfind("{")
    if start < 0 or not body.endswith("}"):
        return None
    try:
        pairs = json.loads(body[start:], object_pairs_hook=list)
    except ValueError:
        return None
    wanted = {plain(label): label for label in labels}
    if sorted(plain(name) for name, _ in pairs) != sorted(wanted):
        return None
    return {wanted[plain(name)]: json.dumps(value).strip('"') for name, value in pairs}


def _split_label(line: str, labels: Iterable[str]) -> tuple[str, str]:
    """The label of a line, as it is compared, and what stands behind it."""
    known = set(labels)
    body = _BULLET.sub("", line).translate(_MARKUP)
    label, _, number = body.rpartition(":")
    if plain(label) not in known:  # a remark behind the number may hold a colon
        label, _, number = body.partition(":")
        label = label if _match(number) else ""
    return (plain(label), number) if plain(label) in known else ("", "")


def _match(text: str) -> re.Match[str] | None:
    """A number, behind which a remark may stand that is sure of it and holds no other number."""
    text = text.strip(" .[]")
    number = _NUMBER.match(text)
    if number is None or number.end() == len(text):
        return number
    remark = _REMARK.fullmatch(text, number.end())
    return number if remark and not _UNSURE.search(remark["said"]) else None


def _read_number(text: str, scale: Scale) -> float:
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
