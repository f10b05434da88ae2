"""Calls of tools: the names, and the arguments compared by type, as `json` compares fields. No call is an answer, too.

Read are the calls of a message (`tool_calls`), a JSON list of {name, arguments} as a reply's calls are written down,
what chat templates write (`<tool_call>{...}</tool_call>`, `<function=NAME>...</function>`, `[TOOL_CALLS] [...]`,
`<|python_tag|>{...}`), and calls as in Python (`[get_weather(city="Paris")]`). Any other text calls nothing: `[]`.
"""

import ast
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, Literal

from blackbox_kd.answers._json_in_text import find_values, read_value
from blackbox_kd.answers._kind import answer
from blackbox_kd.answers._stated import drop_thought
from blackbox_kd.answers._values import ComparedValues, Counts, Schema
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import quote_value, write_json

Call = dict[str, Any]
"""The `name` of a tool, and its `arguments`, an object."""
_TAG = re.compile(r"<(tool_call|function_call)>\s*(.*?)\s*(?:</\1>|(?=<\1>)|\Z)", re.DOTALL)
_MARK = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>|<\|tool_call\|>)\s*")
_FUNCTION = re.compile(r"<function=(?P<name>[\w.-]{1,200})>(?P<arguments>.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=(?P<name>[\w.-]{1,200})>\s*(?P<value>.*?)\s*</parameter>", re.DOTALL)
_NAMED = re.compile(r"(?P<name>[\w.-]{1,200})\s*(?:\[ARGS\])?\s*(?=\{)")
_PYTHON = re.compile(r"\[?\s*[A-Za-z_][\w.]{0,200}\(")
_LONGEST_PYTHON = 20_000
_TELLING = ('"arguments"', '"parameters"', '"function"')
_CALLED = "()"


@answer
class ToolCall(ComparedValues):
    """Calls of tools."""

    order: Literal["free", "fixed"] = "free"
    """Whether calls count in any order, or only in that of the reference."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        """The calls as a JSON list of {name, arguments}; None where a call begins and cannot be read."""
        calls = _read_calls(drop_thought(text).strip())
        return None if calls is None else write_json(calls)

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        """Whether the same tools are called with the same arguments.

        Raises:
            DataError: the reference holds no calls.
        """
        wanted = _read_reference(reference)
        given = _read_list(read_value(answer))
        if given is None or len(given) != len(wanted):
            return False
        if self.order == "fixed":
            return all(self._is_same(one, other) for one, other in zip(given, wanted, strict=True))
        left = list(given)
        for call in wanted:
            if (found := next((one for one in left if self._is_same(one, call)), None)) is None:
                return False
            left.remove(found)
        return True

    def canonical(self, reference: str, row: Mapping[str, Any]) -> str:
        """The calls of the reference, as `read` writes them."""
        return write_json(_read_reference(reference))

    def match_fields(self, answer: str | None, reference: str, row: Mapping[str, Any]) -> Counts:
        """See `AnswerKind`; the path of an argument begins with the name of its tool."""
        wanted, given = _read_reference(reference), _read_list(read_value(answer)) or []
        found: Counts = {}
        for name in dict.fromkeys(call["name"] for call in (*wanted, *given)):
            # A call without arguments counts, too: it is right by its name.
            mine, theirs = (
                [c["arguments"] | {_CALLED: True} for c in calls if c["name"] == name] for calls in (given, wanted)
            )
            pairs = self.pair(mine, theirs, Schema({}, {})) if self.order == "free" else zip_longest(mine, theirs)
            for one, other in pairs:
                for path, counts in self.compare({name: one}, {name: other}).items():
                    at = path.removesuffix(f".{_CALLED}")
                    before = found.get(at, (0, 0, 0))
                    found[at] = (before[0] + counts[0], before[1] + counts[1], before[2] + counts[2])
        return found

    def _is_same(self, one: Call, other: Call) -> bool:
        counts = self.compare(one["arguments"], other["arguments"])
        return one["name"] == other["name"] and not any(wrong or missed for _, wrong, missed in counts.values())


def _read_reference(reference: str) -> list[Call]:
    value = read_value(reference)
    calls = _read_list(value) if value is not None else _read_calls(reference.strip()) or None
    if calls is None:
        what = f"the reference {quote_value(reference)} holds no calls"
        raise DataError(what, fix='write [{"name": TOOL, "arguments": {...}}], or [] where nothing is to be called')
    return calls


def _read_calls(text: str) -> list[Call] | None:
    """The calls of a text; None where one cannot be read."""
    if functions := list(_FUNCTION.finditer(text)):
        calls = [(each["name"], _read_arguments(each["arguments"])) for each in functions]
        told = [{"name": name, "arguments": arguments} for name, arguments in calls if arguments is not None]
        return told if len(told) == len(calls) else None
    if tags := list(_TAG.finditer(text)):
        read = [_read_one(tag[2]) for tag in tags]
        return None if any(calls is None for calls in read) else [call for calls in read if calls for call in calls]
    if mark := _MARK.search(text):
        return _read_one(text[mark.end() :])
    # Between sentences {"name": "Ann"} is a person.
    values = find_values(text) if any(word in text for word in _TELLING) else []
    return [call for value in values for call in _read_list(value) or []] or _read_python(text) or []


def _read_arguments(text: str) -> dict[str, Any] | None:
    """The arguments of a call that names its function in a tag: an object, or a tag for each; None if unreadable."""
    value = read_value(text)
    if isinstance(value, dict):
        return value
    said = {each["name"]: each["value"] for each in _PARAMETER.finditer(text)}
    if text.strip() and not said:
        return None
    return {name: found if (found := read_value(each)) is not None else each for name, each in said.items()}


def _read_one(text: str) -> list[Call] | None:
    """The calls of what stands behind a mark or between tags."""
    text = text.strip()
    if named := _NAMED.match(text):
        values = find_values(text[named.end() :])
        return [{"name": named["name"], "arguments": values[0]}] if values and isinstance(values[0], dict) else None
    values = find_values(text)
    return (_read_list(values[0]) if values else None) or _read_python(text)


def _read_list(value: Any) -> list[Call] | None:
    """The calls of a value: one of them, several, a message with some, or the last message of a conversation."""
    if isinstance(value, dict):
        if "tool_calls" in value:
            return _read_list(value["tool_calls"] or [])
        call = _read_call(value)
        return None if call is None else [call]
    if not isinstance(value, list):
        return None
    if value and isinstance(value[-1], dict) and "role" in value[-1]:
        return _read_list(value[-1]) if "tool_calls" in value[-1] else []
    calls = [_read_call(item) for item in value]
    return None if any(call is None for call in calls) else [call for call in calls if call is not None]


def _read_call(value: Any) -> Call | None:
    """One call, as OpenAI or a chat template writes it."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = read_value(arguments) if arguments.strip() else {}
        if arguments is None:
            return None
    arguments = {} if arguments is None else arguments
    return {"name": value["name"], "arguments": arguments} if isinstance(arguments, dict) else None


def _read_python(text: str) -> list[Call] | None:
    """Calls with values by their names, alone or in a list; None where a text is something else."""
    text = text.strip().removeprefix("```python").strip("`\n ")
    if not _PYTHON.match(text) or len(text) > _LONGEST_PYTHON:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List) else [tree]
        return [_read_python_call(node) for node in nodes]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _read_python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(each.arg is None for each in node.keywords):
        raise ValueError("no call with values by their names")
    return {"name": ast.unparse(node.func), "arguments": {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}}
