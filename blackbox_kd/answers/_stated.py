r"""Where a text states its answer. The kinds say what an answer looks like; this says where to look.

A statement is one of

    <answer>42</answer>         the tags of R1-style prompts; what is never closed ends with its line
    \boxed{42}                  also \fbox; braces may nest
    The answer is 42.           any "answer" followed by a verb, a colon or an equals sign; see `_languages`
    ## Final answer             a heading, with the answer on the next line
    #### 42                     GSM8K's mark, on the last line, or with a bare value: else it is a Markdown heading

A text may go on after its answer: with a question of its own, whose answer is none to this one, or with second
thoughts, after which what it had stated no longer counts.

Texts come from models, so every search here takes time linear in the text, whatever it holds.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blackbox_kd.answers._languages import COPULA, NEXT, PHRASE, SECOND_THOUGHT
from blackbox_kd.answers._plain import clean, part_scripts


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
_AROUND = " \t\r\n:*_\"'`"
_LONGEST_TEXT = 200_000
"""Characters of a text that are looked at, counted from its end."""
_MOST = 50
"""Statements of each form that are looked at, counted from the end of the text."""
_HEADING = re.compile(r"^[#*_ \t]{0,8}(?:the\s)?(?:final\s)?answer[#*_ \t]{0,8}$", re.IGNORECASE | re.MULTILINE)
_NEGATED = re.compile(
    r"\W*(?:(?:definitely|certainly|clearly|simply)\s)?(?:(?:not|never)\b|(?:nicht|pas|non|niet|nie|не)\s\w)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\"')\]*]{0,3}\s+(?P<next>\S))|[。।](?=.)")
_ITEM_MARK = re.compile(r"[\W_]{0,8}\d{1,3}[.)]")
_REASON = re.compile(
    r"\s(?:because|since|as|given|due|although|though|even|while|whereas|which|but\snot|weil|da|obwohl|parce|car|puisque"
    r"|porque|aunque|perché|poiché|anche|потому|так\sкак|хотя)\b|因为|因為|虽然",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"\w+\Z")
_HASHED = re.compile(r"^####[ \t]*([^\n]{1,40})$", re.MULTILINE)
_HASHED_ANYWHERE = re.compile(r"^####[ \t]*[-+$€£¥(]{0,2}(?:\d|[A-Z]\b)", re.MULTILINE)
_BARE_VALUE = re.compile(r"[(\[$€£¥]{0,2}(?:[-+]?[\d.,/']{1,30}\s?%?|[A-Z])[)\]]?[.]?\s*")
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], object]], ...] = (
    (PHRASE, lambda match: not match["doubt"]),
    (_BOX, bool),
    (_HEADING, bool),
    (_HASHED_ANYWHERE, bool),
    (re.compile("<answer>"), bool),
)
"""What a statement begins with, and which of its matches count."""
_STARTER = re.compile(
    r"[\"')\]*]{0,3}\s+(?:I|It|The|This|That|These|We|You|He|She|They|So|Let|And|But|If|Please|Because|Is|Isn't)\b"
)
"""Words that begin a sentence, so that a capital before them is no initial of a name."""
_ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "st", "mt", "vs", "etc", "jr", "sr", "prof", "inc", "ltd", "co", "fig", "approx"]
)


def drop_thought(text: str) -> str:
    """The text without a chain of thought in `<think>` tags before it, unless nothing follows them."""
    _, mark, rest = text.rpartition("</think>")
    return rest if mark and rest.strip() else text


def prepare(text: str) -> str:
    """What a text says to the question, in the form that statements are looked for in."""
    text = part_scripts(clean(drop_thought(text)[-_LONGEST_TEXT:]))
    end = find_next_question(text)
    return text if end is None else text[:end]


def find_next_question(text: str) -> int | None:
    """Where a text that has stated an answer goes on with a question of its own, or another turn; None if nowhere."""
    firsts = [
        next((match.end() for match in pattern.finditer(text) if keeps(match)), None) for pattern, keeps in _FORMS
    ]
    begun = [end for end in firsts if end is not None]
    found = NEXT.search(text, min(begun)) if begun else None
    return found.start() if found else None


def find_retracted(text: str, statement: Statement) -> str | None:
    """What a text says from where it takes a statement back; None if it does not."""
    for found in SECOND_THOUGHT.finditer(text, statement.end):
        if text[statement.end : found.start()].strip(_AROUND):
            return text[found.start() :]
    return None


def find_statements(text: str) -> list[Statement]:
    """The statements of an answer, the last one first."""
    found = [*_find_tagged(text), *_find_hashed(text)]
    for match in list(_BOX.finditer(text))[-_MOST:]:
        content, end = _read_braced(text, match.end())
        if content is not None:
            found.append(Statement(match.start(), content, end))
    for match in list(PHRASE.finditer(text))[-_MOST:]:
        if not match["doubt"]:
            found.append(_read_announced(text, match))
    found += [_read_announced(text, match) for match in list(_HEADING.finditer(text))[-_MOST:]]
    return sorted(found, key=lambda statement: statement.start, reverse=True)


def find_affirmed(text: str) -> list[Statement]:
    """The statements that say what the answer is, not what it is not; the last one first."""
    return [statement for statement in find_statements(text) if not _NEGATED.match(statement.text)]


def cut_off(text: str) -> bool:
    r"""Whether the text ends inside a `\boxed{`: the digits there may be the front of a longer number."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    return start >= 0 and _read_braced(text, text.index("{", start) + 1)[0] is None


def sentence(text: str) -> str:
    """The first sentence of a text; "Dr." and the initials of a name end none."""
    return text[: next(_sentence_ends(text), len(text))]


def sentences(text: str) -> list[str]:
    """The sentences of a text; each line has its own."""
    found: list[str] = []
    for line in text.splitlines():
        start = 0
        for end in _sentence_ends(line, names=False):
            if start or not _ITEM_MARK.fullmatch(line, 0, end):
                found.append(line[start:end])
                start = end
        found.append(line[start:])
    return [each for each in found if each.strip()]


def _sentence_ends(text: str, names: bool = True) -> Iterator[int]:
    """Where sentences end; `names` says whether a capital and a full stop begin a name, as in "J. K. Rowling"."""
    for match in _SENTENCE_END.finditer(text):
        following = match["next"]
        if following and not (following in "\"'([$" or (following.isalpha() and not following.islower())):
            continue
        word = _LAST_WORD.search(text, max(0, match.start() - 20), match.start())
        is_name = names and not _STARTER.match(text, match.end())
        if not (match[0] == "." and word and _is_abbreviation(word[0], is_name)):
            yield match.end()


def _is_abbreviation(word: str, names: bool) -> bool:
    return word.casefold() in _ABBREVIATIONS or (names and len(word) == 1 and word.isupper() and word.isalpha())


def claim(said: str) -> str:
    """The part of a sentence that says something, without the reasons that it gives and what it grants."""
    found = _REASON.search(said)
    return said[: found.start()] if found else said


def last_line(text: str) -> str:
    """The last line with a letter or a digit in it, or "" if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if re.search(r"\w", line)), "")


def _find_tagged(text: str) -> list[Statement]:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    closed = [Statement(start, text[start + 8 : end].strip(), end)] if start >= 0 else []
    start = text.find("<answer>", max(end, 0))
    if start < 0:
        return closed
    content = text[start + 8 : start + 8 + _LONGEST].lstrip().partition("\n")[0].partition("<")[0].strip()
    return [*closed, Statement(start, content, start + 8)]


def _find_hashed(text: str) -> list[Statement]:
    """The line with GSM8K's mark; of several with bare values the first, unless the text took it back in between."""
    marked = [match for match in _HASHED.finditer(text) if _BARE_VALUE.fullmatch(match[1])]
    body = text.rstrip()
    start = body.rfind("\n") + 1
    mark, line = body[start : start + 4], body[start + 4 :].strip()
    if marked and not SECOND_THOUGHT.search(text, marked[0].end()):
        first = marked[0]
        return [Statement(first.start(), first[1].strip(), first.start() + 4, True)]
    return [Statement(start, line, start + 4, True)] if mark == "####" and line.strip("#") else []


def _read_braced(text: str, start: int) -> tuple[str | None, int]:
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


def _read_announced(text: str, phrase: re.Match[str]) -> Statement:
    """What a phrase states: the rest of its line or, if that says nothing, the next line that does."""
    start = position = phrase.end()
    is_beside = "\n" not in phrase[0][len(phrase[0].rstrip()) :]
    for _ in range(8):  # an answer that is not within eight lines is not what the phrase announced
        end = text.find("\n", position)
        line = text[position : min(end if end >= 0 else len(text), position + _LONGEST)].strip(_AROUND)
        if re.search(r"\w", line) and not text.startswith("```", position):
            return Statement(phrase.start(), COPULA.sub("", line), start, is_beside)
        if end < 0:
            break
        position, is_beside = end + 1, False
    return Statement(phrase.start(), "", start)
