r"""A formula, compared symbolically by math-verify: 1/2 is \frac{1}{2} is 0.5, and (x+1)^2 is x^2+2x+1.

Read is the last box, else the formula of the last answer phrase, else the last formula, else the last number.

math-verify guards itself by SIGALRM, which works in the main thread only, so its time limits are off here.
Instead, formulas that could keep it busy for long (power towers, large factorials, sums, integrals) are not
evaluated: they are right only if they are written as the reference is.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from blackbox_kd.answers import number
from blackbox_kd.answers._kind import AnswerKind, answer
from blackbox_kd.answers._plain import clean
from blackbox_kd.answers._stated import cut_off, find_affirmed, find_retracted, prepare, sentence
from blackbox_kd.errors import DataError, SetupError

_NUMBER = number.Number()
_FORMULA = re.compile(
    r"\$\$?([^$]{1,400})\$\$?|\\\(([^$]{1,400}?)\\\)|\\\[([^$]{1,400}?)\\\]|\\begin\{([pbvB]?matrix|array)\}[^$]{1,400}?\\end\{\4\}"
)
_FUNCTIONS = r"sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|sqrt|pi|min|max|and|or"
_PROSE = re.compile(rf"(?<![\\A-Za-z])(?!(?:{_FUNCTIONS})(?![A-Za-z]))[A-Za-z]{{2,}}")
_ENVIRONMENT = re.compile(
    r"\\(?:text|mathrm|operatorname)\s?\{[^{}]*\}|\\(?:begin|end)\{[a-zA-Z*]{1,10}\}(?:\{[lcr|]{1,9}\})?"
)
_FILLING = re.compile(r"[\s:*_\"'`]{0,20}")
_STATES_AGAIN = re.compile(r"\\(?:boxed|fbox)")
_SIGNS = str.maketrans(
    {"×": r"\times ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "°": r"^{\circ}", "≤": r"\le ", "≥": r"\ge "}
)
_SET = re.compile(r"\{[^{}]*\}")
_NAMED = re.compile(r"^[A-Za-z]\w{0,2}(?:=|\\in)")
_UNLIKE = ({"set", "tuple"}, {"set", "value"}, {"tuple", "value"}, {"matrix", "value"})
_ROWS = re.compile(r"\[\s?\[[^\[\]]*\](?:\s?,\s?\[[^\[\]]*\]){0,20}\s?\]")
_IN_BRACKETS = re.compile(r"(?:\b(?:is|are)|[:=])\s(\\?[{(\[][^\n]{1,200}[)\]}])\.?\Z")
_LONGEST = 300
_ENDLESS = re.compile(r"\\(?:sum|prod|int|iint|oint|lim)(?![A-Za-z])|\d{4,}\s*\}?\s*!|[!)}]\s*!|\*\*")
_BINOMIAL = re.compile(r"\\[dt]?binom[^A-Za-z]*\d{4,}")
_POWER = re.compile(r"(\S?)\s*\^\s*(?:\{\s*[-+]?(\d+)\s*\}|(\d)|)")
_LARGEST_POWER = {"number": 10_000, "letter": 1_000, "sum": 20}
_TOWER = re.compile(r"\^\s*\{[^{}]*\^")


@answer
class Math(AnswerKind):
    """A formula."""

    needs = ("math_verify", "math")

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The last formula that the text states, as LaTeX without its delimiters."""
        text = prepare(text)
        if cut_off(text):
            return None
        statements = find_affirmed(text)
        if statements and (rest := find_retracted(text, statements[0])) is not None:
            return _read_end(rest, row)
        for statement in statements:
            start = _FILLING.match(text, statement.end)
            block = (
                _FORMULA.match(text, start.end())
                if start and not text.startswith(("\\boxed", "\\fbox"), statement.start)
                else None
            )
            if block and not _STATES_AGAIN.search(block[0]):
                return _bare(block[0])
            if found := _formula(statement.text, statement.beside):
                return found
        return _read_end(text, row)

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether two formulas are equal, as text or symbolically.

        Raises:
            DataError: the reference holds nothing but punctuation.
            SetupError: math-verify is not installed.
        """
        given, wanted = _bare(str(answer)), _bare(str(reference))
        if not any(unicodedata.category(char)[0] in "LNS" for char in wanted):  # letters, numbers, symbols
            raise DataError(f"the reference {reference!r} holds no formula; `answer: math` compares formulas")
        if not given:
            return False
        if _compact(given) == _compact(wanted):
            return True
        if not (_quick(given) and _quick(wanted)) or {_shape(given), _shape(wanted)} in _UNLIKE:
            return False
        verify = _math_verify().verify
        return bool(verify(_parse(wanted), _parse(given), timeout_seconds=None))


def _read_end(text: str, row: Mapping[str, Any]) -> str | None:
    """The last formula; all of a text that is no prose; else its number."""
    if spans := list(_FORMULA.finditer(text)):
        return _bare(spans[-1][0])
    said = text.strip()
    if brackets := _IN_BRACKETS.search(said[-_LONGEST:]):
        return _bare(brackets[1])
    return (
        _bare(said) or None
        if len(said) <= _LONGEST and not _PROSE.search(_ENVIRONMENT.sub("", said))
        else _NUMBER.read(text, row)
    )


def _formula(stated: str, beside: bool) -> str | None:
    """The formula of a statement: its last span of LaTeX, all of it if it is no prose, or its number."""
    if spans := list(_FORMULA.finditer(stated)):
        return _bare(spans[-1][0])
    said = sentence(stated).strip(" *_`\"'")
    if not said or not _PROSE.search(_ENVIRONMENT.sub("", said)):
        return _bare(said) or None
    again = ("The answer is " if beside else "The answer is\n") + stated
    return _NUMBER.read(again, {}) or (said if stated.startswith("\\") else None)


def _bare(text: str) -> str:
    """A formula without the delimiters around it; sets and matrices of plain brackets as LaTeX writes them."""
    text = clean(text).translate(_SIGNS).strip()
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            text = text[len(left) : -len(right)].strip()
    text = text.rstrip(".。").strip()
    if _SET.fullmatch(text):
        return f"\\{text[:-1]}\\}}"
    if _ROWS.fullmatch(text):
        rows = " \\\\ ".join(row.replace(",", " & ") for row in re.findall(r"\[([^\[\]]*)\]", text))
        return rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}"
    return text


def _shape(formula: str) -> str:
    """Whether a formula is a set, a tuple or interval, a matrix, a list without brackets, or one value."""
    bare = _NAMED.sub("", _compact(formula))
    if bare.startswith("\\begin{"):
        return "matrix"
    if bare.startswith("\\{") and bare.endswith("\\}"):
        return "set"
    if "," not in bare:
        return "value"
    return "tuple" if bare[0] in "([" and bare[-1] in ")]" else "list"


def _compact(text: str) -> str:
    return re.sub(r"\s|\\[,;!:]|\\left|\\right", "", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))


def _quick(formula: str) -> bool:
    """Whether evaluating a formula ends soon, judged by how it is written."""
    if len(formula) > _LONGEST or _ENDLESS.search(formula) or _BINOMIAL.search(formula):
        return False
    expansion = 1
    for base, braced, digit in _POWER.findall(formula):
        exponent = int((braced or digit or "1")[:9])
        kind = "number" if base.isdigit() else "letter" if base.isalpha() else "sum"
        if kind == "sum":
            expansion *= max(exponent, 1)
        if exponent > _LARGEST_POWER[kind] or expansion > _LARGEST_POWER["sum"]:
            return False
    if _TOWER.search(formula):
        return not re.search(r"\d\s*\}?\s*\^|\d\d", formula) and formula.count("^") <= 3
    return True


@functools.lru_cache(maxsize=4096)
def _parse(formula: str) -> Any:
    """What math-verify makes of a formula: a list of its readings, empty where it has none."""
    library = _math_verify()
    latex = [library.LatexExtractionConfig()]  # its other reader evaluates plain text as Python expressions
    return library.parse(f"${formula}$", extraction_config=latex, parsing_timeout=None)


@functools.cache
def _math_verify() -> Any:
    try:
        import math_verify
    except ImportError as error:
        raise SetupError(
            "`answer: math` needs the package math-verify, which is not installed; "
            "install it: pip install 'blackbox-kd[math]'"
        ) from error
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns about every call without a time limit
    return math_verify
