"""What is wrong with an expression, in words of recipes: what Python says of it speaks of Python."""

import ast
import re

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.paths import read_table
from blackbox_kd.sandbox.functions import UnlikeValues

_TABLE = read_table(__file__)
_KINDS: dict[str, str] = _TABLE["kinds"]
_PYTHON: list[dict[str, str]] = _TABLE["values"]
"""What Python says of values that do not fit, and what it means."""


def explain_values(error: Exception) -> DataError:
    """What is wrong with the values of an expression, in words of recipes."""
    said = str(error)
    for known in _PYTHON:
        if found := re.fullmatch(known["says"], said):
            parts = [_KINDS.get(part, part) for part in found.groups()]
            is_mixed = {"text", "a number"} <= set(parts)
            said, fix = known["means"].format(*parts), "number(...) turns text into a number" if is_mixed else ""
            return UnlikeValues(said, fix=fix) if isinstance(error, TypeError) else DataError(said)
    return UnlikeValues(said) if isinstance(error, TypeError) else DataError(said)


def name_construct(node: ast.expr) -> str:
    """What a construct is that expressions do not have."""
    known = {
        ast.Attribute: "an attribute (write row['key'] for a key of an object)",
        ast.JoinedStr: "an f-string",
        ast.Lambda: "a lambda",
        ast.Dict: "an object",
        ast.NamedExpr: "an assignment",
        ast.Starred: "a star",
        ast.Subscript: "a slice with a step",
    }
    if isinstance(node, ast.BinOp):
        return "the operator **" if isinstance(node.op, ast.Pow) else "a bit operation (write and, or, not)"
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return "a comprehension"
    return known.get(type(node), f"of the kind {type(node).__name__}")


def explain_mistake(text: str, error: SyntaxError) -> FieldError:
    """What is wrong with a text that is no expression, and what is written in its place."""
    text = text.strip()
    if not text:
        return FieldError("it is empty", fix="write what must hold, such as score >= 4")
    rest = text[error.offset - 1 :] if error.offset and error.msg != "invalid decimal literal" else ""
    where = f"at {rest[:20]!r}" if rest else "at its end" if not error.offset else f"in {text[:20]!r}"
    said = "" if error.msg == "invalid syntax" else f": {error.msg.partition(' (')[0]}"
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|[=!<>]=", "", text)
    hint = next((hint for sign, hint in _SIGNS.items() if sign in bare), "")
    if "never closed" in error.msg or "unterminated" in error.msg:
        hint = "inside of { } a comma ends a value; put the whole expression into quotes there"
    if not rest and not error.offset:
        hint = "write what it is compared with, or take the last word out"
    return FieldError(f"it goes wrong {where}{said}", fix=hint or _BETWEEN)


_BETWEEN = "write and, or, or a comparison between; a column whose name is no word is column('NAME')"
_SIGNS: dict[str, str] = _TABLE["signs"]
"""Signs of other languages and of word processors, and what is written here."""
