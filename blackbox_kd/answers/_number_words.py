"""Numbers in words: English up to the billions, Chinese and Japanese numerals, and up to twelve in other languages.

A number in words is read where it is all that an answer begins with; "one of the boxes" and "two or three" are none.
"""

import re
from fractions import Fraction

from blackbox_kd.paths import read_patterns, read_table

_TABLE = read_table(__file__)
_TENS: list[str] = _TABLE["tens"]
_SMALL: dict[str, int] = {word: value for value, word in enumerate(_TABLE["below_20"])}
_SMALL |= {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_SCALES: dict[str, int] = _TABLE["scales"]
_FOREIGN: dict[str, set[int]] = {}
for _words in _TABLE["others"].values():
    for _value, _word in enumerate(_words.split()):
        _FOREIGN.setdefault(_word, set()).add(_value)
_HAN_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_HAN_PLACES = {"十": 10, "百": 100, "千": 1000}
_HAN_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN_AFTER = re.compile(r"\s?(?:$|[.,。、;)!]|です|個|个|元|人|只|岁|歳|円|名|本|枚|次|天|条|位|张|分(?!之)|米)")
_END = re.compile(r"\s{0,3}(?:$|[.,;!)*_\"'\]])")
_HAN = re.compile(f"[{''.join((*_HAN_DIGITS, *_HAN_PLACES, *_HAN_MYRIADS))}]{{1,20}}")
_TOKEN = re.compile(r"[\s-]{0,3}([^\W\d_]{1,16})")
_MORE = re.compile(
    rf"(?:[\s,-]{{1,3}}[^\W\d_]{{1,12}})?[\s,-]{{1,3}}(?:and\s)?(?:{'|'.join((*_SMALL, 'hundred', *_SCALES))})\b"
    r"|[\s-][^\W\d_]{2,8}ths\b"
)
_DOUBTFUL = read_patterns(__file__)["doubtful"]


def read_words(text: str) -> Fraction | None:
    """The number in words that a text begins with; None if it begins with none, or is in doubt about it."""
    text = text.lstrip(" *_\"'([$€£").casefold()
    negative = re.match(r"(?:minus|negative)\s", text)
    text = text[negative.end() :] if negative else text
    value, end = _read_english(text)
    if value is None:
        value, end = _read_others(text)
    if value is None or _DOUBTFUL.match(text, end) or _MORE.match(text, end):
        return None
    return -value if negative else value


def _read_english(text: str) -> tuple[Fraction | None, int]:
    """The longest number at the beginning: its parts fall from scale to scale, as in "two thousand and five"."""
    total, group, end, position = 0, -1, 0, 0
    floor, last = 10**12, ""
    while token := _TOKEN.match(text, position):
        word = token[1]
        if word in _SMALL and _fits(group, _SMALL[word], last):
            group = max(group, 0) + _SMALL[word]
        elif word == "hundred" and 0 < group < 20:
            group *= 100
        elif word in _SCALES and group > 0 and _SCALES[word] < floor:
            floor = _SCALES[word]
            total, group = total + group * floor, -1
        elif word == "and" and end and (half := re.match(r"\s{1,3}a\s{1,3}half\b", text[token.end() :][:16])):
            return total + max(group, 0) + Fraction(1, 2), token.end() + half.end()
        elif not (word == "and" and last in ("hundred", *_SCALES)):
            break
        position, last = token.end(), word
        end = end if word == "and" else position
    return (Fraction(total + max(group, 0)), end) if end else (None, 0)


def _fits(group: int, value: int, last: str) -> bool:
    """Whether a small number can follow what stands before it: "twenty one" is one number, "one twenty" is two."""
    if group < 0:
        return True
    if last in ("hundred", "and") and group % 100 == 0:
        return value > 0
    return group % 100 >= 20 and group % 10 == 0 and 0 < value < 10 and last in _TENS


def _read_others(text: str) -> tuple[Fraction | None, int]:
    """The number at the beginning, where nothing follows that could make another word or number of it."""
    if han := _HAN.match(text):
        value = _read_han(han[0]) if _HAN_AFTER.match(text, han.end()) else None
        return (None if value is None else Fraction(value)), han.end()
    word = _TOKEN.match(text)
    values = _FOREIGN.get(word[1], set()) if word and _END.match(text, word.end()) else set()
    return (Fraction(next(iter(values))), word.end()) if word and len(values) == 1 else (None, 0)


def _read_han(text: str) -> int | None:
    """A number in Chinese numerals, with its places written out: 四十二, not 四二."""
    total = group = digit = 0
    has_digit = False
    for sign in text:
        if sign in _HAN_DIGITS:
            if has_digit and digit:
                return None
            digit, has_digit = _HAN_DIGITS[sign], True
        elif sign in _HAN_PLACES:
            group, digit, has_digit = group + (digit if has_digit else 1) * _HAN_PLACES[sign], 0, False
        else:
            total, group, digit, has_digit = (total + group + digit) * _HAN_MYRIADS[sign], 0, 0, False
    return total + group + digit
