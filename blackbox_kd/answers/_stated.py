r"""Where a text states its answer. The kinds say what an answer looks like; this says where to look.

A statement is one of

    <answer>42</answer>         the tags of R1-style prompts
    \boxed{42}                  also \fbox; braces may nest
    The answer is 42.           any "answer" followed by a verb, a colon or an equals sign
    ## Final answer             a heading, with the answer on the next line
    #### 42                     GSM8K's mark, on the last line only: elsewhere it is a Markdown heading

Texts come from models, so every search here takes time linear in the text, whatever it holds.
"""

import re
from typing import NamedTuple


class Statement(NamedTuple):
    """One statement of an answer."""

    start: int
    """Where in the text the statement begins."""
    text: str
    """What it states: the content of a tag or a box, or what follows a phrase on its line."""
    end: int
    """Where the phrase ends and the answer begins; for tags and boxes where they end."""
    beside: bool = False
    """Whether the answer stands on the line of its phrase, where no list begins."""


_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
_LONGEST = 4_000
"""Characters of a statement that are looked at."""
_MOST = 50
"""Statements of each form that are looked at, counted from the end of the text."""
_PHRASE = re.compile(
    r"""(?P<doubt>\b(?:if|whether|suppose|assume|assuming|unless|until)\s(?:that\s)?)?
        (?:\b(?:the|my|our)\s)?
        \b(?:answers?|final\sresult)\b
        (?:\s(?:to|for|of)\s[^.\n:=]{1,80}?)?
        ["'*_`]{0,4}
        (?:
            \s{0,3}\b(?:is|are|was|equals|becomes|(?:would|will|should|must|has\sto|comes\sout\sto)\sbe)\b
            (?:,?\s(?:therefore|thus|then|hence|simply|just|clearly|indeed|actually|still)\b,?){0,3}
            ["'*_`]{0,4}\s{0,3}:?
          | \s{0,3}[:=]
        )""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(r"^[#*_ \t]{0,8}(?:the\s)?(?:final\s)?answer[#*_ \t]{0,8}$", re.IGNORECASE | re.MULTILINE)
_NEGATED = re.compile(r"\W*(?:(?:definitely|certainly|clearly|simply)\s)?(?:not|never)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?P<word>\w+)[.!?](?=[\"'”*]{0,3}\s+[A-Z\"“])")
_ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "st", "mt", "no", "vs", "etc", "jr", "sr", "prof", "inc", "ltd", "co", "fig", "approx"]
)


def spoken(text: str) -> str:
    """The text without a chain of thought in `<think>` tags before it, unless nothing follows them."""
    _, mark, rest = text.rpartition("</think>")
    return rest if mark and rest.strip() else text


def stated(text: str) -> list[Statement]:
    """The statements of an answer, the last one first."""
    found = [*_tagged(text), *_hashed(text)]
    for match in list(_BOX.finditer(text))[-_MOST:]:
        content, end = _braced(text, match.end())
        if content is not None:
            found.append(Statement(match.start(), content, end))
    for match in list(_PHRASE.finditer(text))[-_MOST:]:
        if not match["doubt"]:
            found.append(_announced(text, match))
    found += [_announced(text, match) for match in list(_HEADING.finditer(text))[-_MOST:]]
    return sorted(found, key=lambda statement: statement.start, reverse=True)


def affirmed(text: str) -> list[Statement]:
    """The statements that say what the answer is, not what it is not; the last one first."""
    return [statement for statement in stated(text) if not _NEGATED.match(statement.text)]


def cut_off(text: str) -> bool:
    r"""Whether the text ends inside a `\boxed{`: the digits there may be the front of a longer number."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    return start >= 0 and _braced(text, text.index("{", start) + 1)[0] is None


def sentence(text: str) -> str:
    """The first sentence of a text; "Dr." and the initials of a name end none."""
    for match in _SENTENCE_END.finditer(text):
        word = match["word"]
        if word.casefold() not in _ABBREVIATIONS and not (len(word) == 1 and word.isupper()):
            return text[: match.end()]
    return text


def last_line(text: str) -> str:
    """The last line with a letter or a digit in it, or "" if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if re.search(r"\w", line)), "")


def _tagged(text: str) -> list[Statement]:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return [Statement(start, text[start + 8 : end].strip(), end)] if start >= 0 else []


def _hashed(text: str) -> list[Statement]:
    body = text.rstrip()
    start = body.rfind("\n") + 1
    mark, line = body[start : start + 4], body[start + 4 :].strip()
    return [Statement(start, line, start + 4, True)] if mark == "####" and line.strip("#") else []


def _braced(text: str, start: int) -> tuple[str | None, int]:
    """What stands between an open brace before `start` and its closing one, and where that ends.

    A brace that is never closed holds what is before the end of the formula, or the rest of its line if
    more text follows. If the text ends there, it holds nothing (None).
    """
    depth = 1
    for position in range(start, min(len(text), start + _LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position].strip(), position + 1
    line, newline, _ = text[start : start + _LONGEST].partition("\n")
    if closed := re.search(r"\\[\])]|\$", line):
        return line[: closed.start()].strip(), start + closed.start()
    return (line.strip() if newline else None), start + len(line)


def _announced(text: str, phrase: re.Match[str]) -> Statement:
    """What a phrase states: the rest of its line or, if that says nothing, the next line that does."""
    start = position = phrase.end()
    is_beside = "\n" not in phrase[0][len(phrase[0].rstrip()) :]
    for _ in range(8):  # an answer that is not within eight lines is not what the phrase announced
        end = text.find("\n", position)
        line = text[position : min(end if end >= 0 else len(text), position + _LONGEST)].strip(" \t:*_\"'`\r")
        if re.search(r"\w", line) and not text.startswith("```", position):
            return Statement(phrase.start(), line, start, is_beside)
        if end < 0:
            break
        position, is_beside = end + 1, False
    return Statement(phrase.start(), "", start)
