"""Expressions of `filter` and `split`: a small, safe part of Python over a row's columns.

    correct and score >= 4
    len(response) < 2000 and not contains(response, "as an AI")
    gap >= 1.0 if judged else False

An expression comes from a stranger's recipe. It is parsed, every node is held against a list of what is allowed,
and only then compiled; there are no attributes, no calls but the listed ones, no f-strings, no comprehensions.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from blackbox_kd.errors import DataError

MAX_LENGTH = 500
MAX_NODES = 200
MAX_TEXT = 1_000_000


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {type(value).__name__}")
    return value


def _matches(text: object, pattern: object) -> bool:
    """Whether a pattern occurs in the first 10,000 characters: a bound on what a bad pattern can cost."""
    return re.search(_text(pattern), _text(text)[:10_000]) is not None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "lower": lambda text: _text(text).lower(),
    "upper": lambda text: _text(text).upper(),
    "strip": lambda text: _text(text).strip(),
    "startswith": lambda text, start: _text(text).startswith(_text(start)),
    "endswith": lambda text, end: _text(text).endswith(_text(end)),
    "contains": lambda text, part: _text(part) in _text(text),
    "matches": _matches,
    "words": lambda text: len(_text(text).split()),
    "abs": abs,
    "min": min,
    "max": max,
    "round": round,
    "number": float,
    "text": str,
}
"""Functions that an expression may call."""

_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt,
    ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.IfExp, ast.Name, ast.Load, ast.Constant, ast.Subscript,
    ast.List, ast.Tuple, ast.Call,
)  # fmt: skip
_WORDS = {
    ast.Attribute: "attributes (a dot behind a name)",
    ast.Pow: "**",
    ast.JoinedStr: "f-strings",
    ast.ListComp: "comprehensions",
    ast.SetComp: "comprehensions",
    ast.DictComp: "comprehensions",
    ast.GeneratorExp: "comprehensions",
    ast.Lambda: "lambda",
    ast.NamedExpr: ":=",
    ast.Starred: "*",
    ast.Slice: "slices",
    ast.Dict: "{...}",
    ast.Set: "{...}",
}
_NUMERIC: dict[str, Callable[[Any, Any], Any]] = {
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
}


def _numeric(kind: str, left: object, right: object) -> Any:
    """Arithmetic on numbers only: `*` would repeat and `%` would format text."""
    for side in (left, right):
        if not isinstance(side, int | float):
            raise TypeError(f"arithmetic needs numbers, not {type(side).__name__}")
    return _NUMERIC[kind](left, right)


class _Guard(ast.NodeTransformer):
    """Replaces arithmetic that text would make expensive by a call that takes numbers only."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        kind = type(node.op).__name__
        if kind not in _NUMERIC:
            return node
        function = ast.Name(id="\0numeric", ctx=ast.Load())
        call = ast.Call(func=function, args=[ast.Constant(kind), node.left, node.right], keywords=[])
        return ast.copy_location(call, node)


class Expression:
    """A checked expression.

    Args:
        text: as the recipe has it.
        names: columns that it reads.
    """

    def __init__(self, text: str, names: frozenset[str], code: CodeType) -> None:
        self.text = text
        self.names = names
        self._code = code

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value for a row.

        Raises:
            DataError: the row lacks a column, or a value cannot be used so.
        """
        try:
            values = {name: row[name] for name in self.names}
        except KeyError as error:
            raise DataError(f"expression {self.text!r}: the row has no column {error}") from None
        try:
            return eval(self._code, {"__builtins__": {}, **FUNCTIONS, "\0numeric": _numeric}, values)
        except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, re.error) as error:
            raise DataError(f"expression {self.text!r}: {error}") from error

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the value for a row is true; raises as `value` does."""
        return bool(self.value(row))


@lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Checks an expression.

    Raises:
        ValueError: it is no expression, or holds what is not allowed; the message says what is.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not an expression: {getattr(error, 'msg', error)}") from None
    nodes = list(ast.walk(tree))
    if len(nodes) > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} parts")
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        _check(node, called)
    names = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called}
    guarded = ast.fix_missing_locations(_Guard().visit(tree))
    return Expression(text, frozenset(names), compile(guarded, "<expression>", "eval"))


def _check(node: ast.AST, called: set[int]) -> None:
    if not isinstance(node, _ALLOWED):
        if isinstance(node, ast.keyword | ast.expr_context):
            raise ValueError("named arguments are not allowed")
        what = _WORDS.get(type(node), type(node).__name__)
        raise ValueError(
            f"{what} are not allowed; names, numbers, texts, and/or/not, comparisons, + - * / and {_listed()} are"
        )
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            name = node.func.id if isinstance(node.func, ast.Name) else "this"
            raise ValueError(f"{name}(...) cannot be called; functions: {_listed()}")
        if node.keywords:
            raise ValueError("named arguments are not allowed")
    if isinstance(node, ast.Name) and (node.id.startswith("_") or (node.id in FUNCTIONS and id(node) not in called)):
        raise ValueError(f"{node.id!r} is no column")
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float | bool | None):
        raise ValueError(f"{node.value!r} is not allowed")


def _listed() -> str:
    return ", ".join(sorted(FUNCTIONS))
