"""What the YAML parser says -> a problem that says what to do, at the line where the mistake is."""

import re
from typing import Any

import yaml

from blackbox_kd.errors import Problem
from blackbox_kd.paths import read_table

_KNOWN: list[dict[str, Any]] = read_table(__file__)["known"]


def explain_syntax(error: yaml.YAMLError, text: str) -> Problem:
    """The problem that a parser's error stands for."""
    if isinstance(error, yaml.reader.ReaderError):
        at = text[: error.position].count("\n") + 1
        message = f"character {chr(int(error.character))!r} cannot stand in YAML."
        return Problem(at, "", message, "", "take the character out; recipes are plain UTF-8 text")
    mark, start = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    said = " ".join(filter(None, (getattr(error, "problem", None), getattr(error, "context", None))))
    lines = text.split("\n")
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if mark is not None and (unquoted := _find_unquoted(line, mark.column, "flow" in said)):
        key, value = unquoted
        message = f"the value of {key}: has signs in it that YAML takes for its own: quotes, brackets or commas."
        whole = value.replace("'", "''")
        return Problem(_find_line(mark), "", message, "", f"put the whole value into quotes: {key}: '{whole}'")
    for known in _KNOWN:
        if found := re.search(known["says"], said):
            place = start if known.get("at_start") and start is not None else mark
            return Problem(_find_line(place), "", known["what"].format(*found.groups()), "", known["fix"])
    fix = "mend this line; text with special characters wants quotes"
    return Problem(_find_line(mark), "", f"this is not YAML: {said or error}.", "", fix)


def _find_unquoted(line: str, column: int, in_braces: bool) -> tuple[str, str] | None:
    """The field and the value of an expression that is not in quotes, if a line went wrong at a column by that."""
    begun = [found for found in _FIELD.finditer(line) if found.end() <= column]
    if not begun:
        return None
    rest = line[begun[-1].end() :]
    value = rest[: _end(rest) if in_braces else len(rest)].strip()
    is_whole = rest[:1] in "\"'[{" and (in_braces or not _AFTER.match(value))
    return None if is_whole or not _EXPRESSION.search(value) else (begun[-1][1], value)


def _end(text: str) -> int:
    """Where a value ends inside of `{ }`: at a comma or a bracket that is not its own."""
    depth, quote = 0, ""
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}" and depth:
            depth -= 1
        elif sign in ",]}" and not depth:
            return at
    return len(text)


_FIELD = re.compile(r"(?:^\s*(?:- )*|[{,]\s*)(\w+):[ ]+")
_AFTER = re.compile(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\})\s*\S""")
_EXPRESSION = re.compile(r"[()<>]|[=!]=|\b(?:in|and|or|not)\b")


def _find_line(mark: yaml.error.Mark | None) -> int:
    return mark.line + 1 if mark is not None else 1
