"""Equations inside a text: wrong results are found by calculation and replaced.

Source: Magister et al. 2023, arXiv:2212.08410 (an external calculator over the chain's equations, before the check).
"""

import re
from fractions import Fraction

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_EQUATION = re.compile(rf"(?<![\w.])(\(?-?{_NUMBER}(?:\s*[-+*/×÷x]\s*\(?-?{_NUMBER}\)?)+)\s*=\s*\$?(-?{_NUMBER})")
_TOKEN = re.compile(rf"\s*({_NUMBER}|[-+*/×÷x()])")
_ROUNDING = Fraction(1, 200)
"""A result may differ so far from the exact one before it counts as wrong: it was rounded to two decimals."""


def fix(text: str) -> str:
    """`text` with the right result behind each equation such as `3 + 4 = 8`; later uses of it stay as they are."""

    def mend(match: re.Match[str]) -> str:
        value = calculate(match[1])
        stated = Fraction(match[2].replace(",", ""))
        if value is None or abs(value - stated) <= _ROUNDING * max(Fraction(1), abs(value)):
            return match[0]
        return match[0][: match.start(2) - match.start()] + _write_number(value)

    return _EQUATION.sub(mend, text)


def calculate(expression: str) -> Fraction | None:
    """The exact value of sums and products of numbers; None if it is not such an expression."""
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != re.sub(r"\s", "", expression) or len(tokens) > 60:
        return None
    try:
        value, rest = _sum(tokens)
    except (ZeroDivisionError, IndexError, ValueError):
        return None
    return value if not rest else None


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _product(tokens)
    while tokens and tokens[0] in "+-":
        sign = 1 if tokens[0] == "+" else -1
        term, tokens = _product(tokens[1:])
        value += sign * term
    return value, tokens


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _atom(tokens)
    while tokens and tokens[0] in "*/×÷x":
        factor, rest = _atom(tokens[1:])
        value = value / factor if tokens[0] in "/÷" else value * factor
        tokens = rest
    return value, tokens


def _atom(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "-":
        value, rest = _atom(tokens[1:])
        return -value, rest
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        if rest[0] != ")":
            raise ValueError(rest[0])
        return value, rest[1:]
    return Fraction(tokens[0].replace(",", "")), tokens[1:]


def _write_number(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.2f}".rstrip("0").rstrip(".")
