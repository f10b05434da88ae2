"""One of several options, read as its label: (B), B., "Answer: B", "option B", or the option's own text.

The options are the row's column `choices`: a list of texts (labelled A, B, C, ...), an object from label to
text, or an object with the lists `label` and `text`. Without that column the labels are the letters A to Z,
and texts cannot be read. The last stated answer wins; "A or B" states none. Without one the last sentence that chooses
a label decides: what it rules out ("A is wrong", "not C") is not chosen, and where it is unsure nothing is.
"""

import re
import string
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers import _choosing
from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import plain
from blackbox_kd.answers._stated import find_affirmed, find_retracted, prepare, sentences
from blackbox_kd.answers.exact import normal
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text

_LABEL = re.compile(
    r"\W{0,4}(?:(?:option|choice|letter|la|el|il|le|die|den|der|das|het|opción|opção|ข้อ)\s\W{0,3})?(?P<label>\w{1,3})(?!\w|['’]\w)",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"[)\]:*,'\"]|\.(?!\d)|\s[-–—:=]|[\s.)\]}*:\"']*$")
_REASON = re.compile(r"\s(?:because|since|as|is|was|for|due|given|which|that|and|with|based)\b")
_PRONOUNS = ("A", "I")
_ANOTHER = re.compile(r"[)\]*.,\s]{0,4}(?:\bor\b|\band\b|/|&|,)\s?(?:option\s|choice\s)?[(\[*]{0,3}([A-Z\d]{1,3})\b")
_MARKED = re.compile(r"(?<!\w)[(\[](\w{1,3})[)\]]|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\W{1,4}([A-Z\d]{1,3})\b(?!['’])")
_DENIED_TEXT = re.compile(r"\b(?:not|rather than|instead of|nicht|pas|no|non|не)\s(?:the\s|an?\s)?\Z")
_OTHER_TEXT = re.compile(r"\s(?:or|oder|ou|o|или)\s")
_MOST_SENTENCES = 40


@answer
class Choice(AnswerKind):
    """One of the options of a row."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The label of the option that the text states last, as it is written in `choices`."""
        options = choices(row)
        text = prepare(text)
        statements = find_affirmed(text)
        if statements and (rest := find_retracted(text, statements[0])) is not None:
            return _read_end(rest, options)
        for statement in statements:
            said = plain(statement.text)
            if not _choosing.is_sure(next(iter(sentences(said)), "")):
                return None
            if found := _in_line(_choosing.remove_denied(said), options):
                return _single(found)
        return _read_end(text, options)

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether a label is the right one; the reference is a label, an option's text, or an index from 0.

        Raises:
            DataError: the reference is none of the options.
        """
        options = choices(row)
        wanted = _find_wanted(str(reference), options)
        return label(str(answer), options) == wanted or normal(str(answer)) == normal(str(reference))


def _read_end(text: str, options: Mapping[str, str]) -> str | None:
    """The option that the last sentence which chooses one does; else the one that the last line holds the text of."""
    lines = [line for line in plain(text).splitlines() if line.strip()]
    if len(lines) > 1 and _opening(lines[-2], options) and _opening(lines[-1], options):
        return None  # a list of the options, not a choice
    for said in sentences("\n".join(lines))[:-_MOST_SENTENCES:-1]:
        found = _choose(said, options)
        if found is not None:
            return _single(found)
    last = _choosing.remove_denied(lines[-1]) if lines else ""
    parts = re.split(r"(?<=[.!?])\s", last)
    held = next(filter(None, (_match_text(part, options) for part in parts[:-20:-1] if _choosing.is_sure(part))), set())
    return _single(held)


def _choose(said: str, options: Mapping[str, str]) -> set[str] | None:
    """The labels that a sentence chooses, none where it is unsure of them; None if it chooses nothing."""
    left = _choosing.remove_denied(said)
    found, decided = (
        {name for each in names(left) if (name := label(each, options))}
        for names in (_choosing.list_mentioned, _choosing.list_decided)
    )
    opening = _opening(left, options)
    if not found and not opening:
        return None
    if not _choosing.is_sure(said):
        return set()
    if len(opening) > 1 or (len(found) > 1 and len(decided) == 1):
        return opening if len(opening) > 1 else decided
    if len(opening) == 1 and len(found) > 1 and _choosing.has_cue(left.split(",")[0]):
        return opening
    return found or opening if opening or _choosing.has_cue(left) else None


def choices(row: Mapping[str, Any]) -> dict[str, str]:
    """The options of a row, from label to text; the letters without texts where the row has no `choices`.

    Raises:
        DataError: the column is not a list or an object of options.
    """
    given = row.get("choices")
    if given is None:
        return dict.fromkeys(string.ascii_uppercase, "")
    if isinstance(given, Mapping) and set(given) == {"label", "text"}:
        given = dict(zip(given["label"], given["text"], strict=True))
    if isinstance(given, list | tuple) and 0 < len(given) <= len(string.ascii_uppercase):
        given = dict(zip(string.ascii_uppercase, given, strict=False))
    if not isinstance(given, Mapping) or not given:
        raise DataError(
            f"column 'choices' holds {write_text(given)[:80]!r}; expected a list of at most 26 texts, or an object "
            "from label to text"
        )
    return {write_text(name): write_text(text) for name, text in given.items()}


def label(text: str, options: Mapping[str, str]) -> str | None:
    """The label that a text is, whatever its case and the brackets around it."""
    bare = text.strip(" ()[].:*\"'").casefold()
    return next((name for name in options if name.casefold() == bare), None)


def _find_wanted(reference: str, options: Mapping[str, str]) -> str:
    if (found := label(reference, options)) is not None:
        return found
    for name, text in options.items():
        if text and normal(text) == normal(reference):
            return name
    if reference.strip().isdecimal() and int(reference.strip()) < len(options):
        return list(options)[int(reference.strip())]
    shown = ", ".join(f"{name}: {text}" if text else name for name, text in list(options.items())[:8])
    raise DataError(f"the reference {reference!r} is none of the options ({shown})")


def _single(found: set[str]) -> str | None:
    return next(iter(found)) if len(found) == 1 else None


def _in_line(line: str, options: Mapping[str, str]) -> set[str]:
    """The options that a line states; more than one where it hedges."""
    return _opening(line, options) or _find_marked(line, options) or _match_text(line, options)


def _opening(line: str, options: Mapping[str, str]) -> set[str]:
    """The option whose label a line begins with, and the other one of "A or B".

    A letter is a label when it is closed ("b)", "B.", "B" alone), or a capital before more words; "A dog" and
    "I think" are words, unless a reason follows.
    """
    match = _LABEL.match(line)
    name = match and label(match["label"], options)
    if not match or not name:
        return set()
    rest = line[match.end() :]
    if not _CLOSED.match(rest):
        capital = match["label"] == name and rest.startswith((" ", "/", "&"))
        if not capital or (name in _PRONOUNS and not _REASON.match(rest) and not _ANOTHER.match(rest)):
            return set()
    another = _ANOTHER.match(rest)
    other = label(another[1], options) if another else None
    return {name, other} if other else {name}


def _find_marked(line: str, options: Mapping[str, str]) -> set[str]:
    """Every option that a line names by a marked label: (B), option B."""
    names = {label(match[1] or match[2], options) for match in _MARKED.finditer(line)}
    return {name for name in names if name}


def _match_text(line: str, options: Mapping[str, str]) -> set[str]:
    """The option whose text a line begins with, or else all whose text it holds; the longest of nested texts."""
    line = normal(line)
    texts = {name: normal(text) for name, text in options.items() if normal(text)}
    places = {name: match for name, text in texts.items() if (match := _whole_words(text).search(line))}
    held = {name: at.start() for name, at in places.items() if not _DENIED_TEXT.search(line, 0, at.start())}
    if 0 in held.values() and not _OTHER_TEXT.match(line, max(places[name].end() for name in held if held[name] == 0)):
        held = {name: start for name, start in held.items() if start == 0}
    return {a for a in held if not any(texts[a] != texts[b] and texts[a] in texts[b] for b in held)}


def _whole_words(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
