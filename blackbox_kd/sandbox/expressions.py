"""Expressions over a row's columns, for `filter: keep:` and `split`: `correct and words(response) < 300`.

A subset of Python: columns by name, texts, numbers, True, False and None, lists, `and or not`, comparisons,
`in`, `+ - * / // %` on numbers, `x if y else z`, indexing, and the functions in FUNCTIONS. There are no
attributes, other calls, f-strings, `**`, `%` on texts, comprehensions or lambdas. What is allowed is listed
here by syntax node, and everything else is refused, so an expression from a stranger's recipe can neither
run code nor take long: there are no loops, repetition is bounded, and regular expressions are RE2's, whose
time is linear in the text.

A column that a row lacks or that is None is an error, not a silent False; `x is None` asks for it. So is a
text compared with a number for equality, which is never true: columns of a CSV file are texts.
"""

import ast
import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.sandbox.functions import FUNCTIONS, GROUP_FUNCTIONS, HELPERS, check_pattern
from blackbox_kd.sandbox.mistakes import explain_mistake, explain_values, name_construct

_LONGEST = 1_000
_CONSTANTS = {"true": True, "false": False, "null": None}
"""What YAML and JSON call Python's constants; nobody's columns."""
_ALLOWED = "columns, texts, numbers, lists, and/or/not, comparisons, in, + - * / // %, x if y else z, x[i]"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression: call it with a row.

    Args:
        text: as the recipe has it.
        names: columns that it reads.
        asks_group: whether it asks for something of a group of rows.
    """

    text: str
    names: frozenset[str]
    asks_group: bool
    _run: Callable[[Mapping[str, Any]], Any] = field(repr=False, compare=False)

    def __call__(self, row: Mapping[str, Any]) -> Any:
        """The value for a row.

        Raises:
            DataError: the row lacks a column, a column is None, or the values do not fit the operators; its cause says
                so without the expression.
        """
        try:
            return self._run(row)
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            why = error if isinstance(error, DataError) else explain_values(error)
            raise why.within(f"expression {self.text!r}") from why


def evaluate(text: str, row: Mapping[str, Any]) -> Any:
    """The value of an expression for a row; it is compiled once.

    Raises:
        FieldError: the expression is not allowed, see `parse`.
        DataError: the row does not fit it.
    """
    return parse(text)(row)


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """Checks and compiles an expression.

    Raises:
        FieldError: it is no expression, or it has a construct that is not allowed; the message says which.
    """
    if len(text) > _LONGEST:
        raise FieldError(f"it has {len(text):,} characters, and {_LONGEST:,} are the most")
    builder = _Builder(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python says of a program's style would stand on the user's screen
            body = builder.build(ast.parse(text.strip(), mode="eval").body)
            row = ast.arguments(posonlyargs=[], args=[ast.arg("<row>")], kwonlyargs=[], kw_defaults=[], defaults=[])
            tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(row, body)))
            run = eval(compile(tree, "<expression>", "eval"), {"__builtins__": {}, **HELPERS})
    except SyntaxError as error:
        raise explain_mistake(text, error) from None
    except (RecursionError, MemoryError):
        raise FieldError("it is nested too deeply") from None
    return Expression(text, frozenset(builder.names), builder.asks_group, run)


class _Builder:
    """Turns a parsed expression into one in which every read and every risky operation is checked.

    The names of the helpers, such as `<column>`, cannot be written in an expression.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.names: set[str] = set()
        self.asks_group = False

    def build(self, node: ast.expr, none_ok: bool = False) -> ast.expr:
        match node:
            case ast.Constant(value=str() | bool() | int() | float() | None):
                return node
            case ast.Name(id=name) if name in _CONSTANTS:
                return ast.Constant(_CONSTANTS[name])
            case ast.Name(id=name):
                return self.column(name, none_ok)
            case ast.BoolOp():
                return ast.BoolOp(node.op, [self.build(value) for value in node.values])
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd()):
                return ast.UnaryOp(node.op, self.build(node.operand))
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Div() | ast.FloorDiv()):
                return ast.BinOp(self.build(node.left), node.op, self.build(node.right))
            case ast.BinOp(op=ast.Mult()):
                return _call_helper("<times>", self.build(node.left), self.build(node.right))
            case ast.BinOp(op=ast.Mod()):
                return _call_helper("<rest>", self.build(node.left), self.build(node.right))
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp():
                return ast.IfExp(self.build(node.test), self.build(node.body), self.build(node.orelse))
            case ast.List() | ast.Tuple() | ast.Set():
                return ast.List([self.build(item) for item in node.elts], ast.Load())
            case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper, step=None)):
                ends = [self.build(end) if end else None for end in (lower, upper)]
                return ast.Subscript(self.build(node.value), ast.Slice(*ends), ast.Load())
            case ast.Subscript() if not isinstance(node.slice, ast.Slice):
                key = self.build(node.slice)
                return _call_helper("<item>", self.build(node.value), key, ast.Constant(none_ok))
            case ast.Call():
                return self.call(node, none_ok)
        raise FieldError(
            f"{self.text(node)} is {name_construct(node)}, which is not allowed in an expression",
            exists=f"allowed: {_ALLOWED}, and the functions {', '.join(FUNCTIONS)}",
        )

    def column(self, name: str, none_ok: bool) -> ast.expr:
        self.names.add(name)
        return _call_helper("<column>", ast.Name("<row>", ast.Load()), ast.Constant(name), ast.Constant(none_ok))

    def comparison(self, node: ast.Compare) -> ast.expr:
        """`a < b < c` as `a < b and b < c`; operands compared with None may be None."""
        sides = [node.left, *node.comparators]
        pairs = [self.pair(sides[i], op, sides[i + 1]) for i, op in enumerate(node.ops)]
        return pairs[0] if len(pairs) == 1 else ast.BoolOp(ast.And(), pairs)

    def pair(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.expr:
        with_none = _is_none(left) or _is_none(right)
        if isinstance(op, ast.Is | ast.IsNot) and not with_none:
            raise FieldError(f"{self.text(left)} is compared by `is`, which asks for None only", fix="write == or !=")
        equality = isinstance(op, ast.Eq | ast.NotEq)
        sides = [self.build(side, none_ok=with_none and not isinstance(op, ast.In)) for side in (left, right)]
        if equality and not with_none:
            equal = _call_helper("<equal>", *sides)
            return equal if isinstance(op, ast.Eq) else ast.UnaryOp(ast.Not(), equal)
        return ast.Compare(sides[0], [op], [sides[1]])

    def call(self, node: ast.Call, none_ok: bool) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise FieldError(f"{self.text(node)}: functions take plain arguments only, without names and stars")
        if name == "column":
            return self.column(_write_literal(node, 0), none_ok)
        if name in GROUP_FUNCTIONS:
            return self.group_call(name, node)
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1)
            fix = f"did you mean {close[0]}?" if close else ""
            raise FieldError(f"{self.text(node.func)} is not one of the functions {', '.join(FUNCTIONS)}", fix=fix)
        try:
            inspect.signature(FUNCTIONS[name]).bind(*node.args)
        except TypeError as error:
            raise FieldError(f"{self.text(node)}: {error}") from None
        if name == "matches":
            check_pattern(_write_literal(node, 1))
        return ast.Call(ast.Name(f"<{name}>", ast.Load()), [self.build(argument) for argument in node.args], [])

    def group_call(self, name: str, node: ast.Call) -> ast.expr:
        self.asks_group = True
        if len(node.args) != 1 and not (name == "count" and not node.args):
            raise FieldError(f"{self.text(node)}: {name}() takes one argument, what is asked of each row of the group")
        asked = self.build(node.args[0]) if node.args else ast.Constant(True)
        row = ast.arguments(posonlyargs=[], args=[ast.arg("<row>")], kwonlyargs=[], kw_defaults=[], defaults=[])
        return _call_helper("<group>", ast.Name("<row>", ast.Load()), ast.Constant(name), ast.Lambda(row, asked))

    def text(self, node: ast.expr) -> str:
        return repr(ast.get_source_segment(self.source.strip(), node) or self.source)


def _call_helper(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _is_none(node: ast.expr) -> bool:
    return (isinstance(node, ast.Constant) and node.value is None) or (
        isinstance(node, ast.Name) and _CONSTANTS.get(node.id, node) is None
    )


def _write_literal(node: ast.Call, index: int) -> str:
    match node.args[index : index + 1]:
        case [ast.Constant(value=str(text))]:
            return text
    raise FieldError(f"{ast.unparse(node)}: argument {index + 1} is a text in quotes, known before the run")
