"""YAML of strangers -> plain values that know their lines.

Safe values only, at most 1 MB, no aliases (308 bytes of them can become 269 MB), no tags, no key twice. Scalars are
those of YAML 1.2: `no` and `12:30` are text. `--set` changes values before anything is checked.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from blackbox_kd.errors import Problem
from blackbox_kd.recipe.yaml_errors import explain_syntax

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_DIGITS = 300
"""No number in a recipe is longer; Python refuses to read one of more than 4,300 digits."""

MAX_WHOLE = 2**53
"""Beyond it JSON of other programs loses digits, and a database soon has no room."""

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2's core schema, infinities and not-a-number left out."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - pyyaml declares it so


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would not read as text, and writes a value out each time it occurs."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - pyyaml declares it so
        first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *resolvers]
        for first, resolvers in {
            **dict.fromkeys(yaml.SafeDumper.yaml_implicit_resolvers, ()),
            **_Loader.yaml_implicit_resolvers,
        }.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(str(path)))


def dump(values: Any) -> str:
    """Values as YAML that `read` reads back as they are."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


@dataclass(slots=True)
class Source:
    """A recipe's values and where they stand.

    Args:
        values: mappings, lists and scalars.
        lines: 1-based line of each value by its path; of a mapping's entry, the line of its key.
        problems: what is wrong with the text itself.
        overrides: options of the command line that were applied, as they were written, by the path changed.
    """

    values: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overrides: dict[Path, str] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Line of a value, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def note(self, path: Path) -> str:
        """Says that a value was given on the command line, or made on the way to one that was; empty if neither."""
        made = path if path and path not in self.lines else None
        given = [
            text
            for place, text in self.overrides.items()
            if path[: len(place)] == place or (made and place[: len(made)] == made)
        ]
        return f"given by {given[-1]}" if given else ""


def read(text: str) -> Source:
    """Reads YAML; what is wrong with it is in `problems`, and `values` is None then."""
    source = Source()
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        source.problems.append(refuse_size(size))
        return source
    try:
        _refuse_dangers(text, source)
        if not source.problems:
            node = _Loader(text).get_single_node()
            if node is not None:
                source.values = _convert(node, (), source)
    except yaml.YAMLError as error:
        source.problems.append(explain_syntax(error, text))
    if source.problems:
        source.values = None
    return source


def refuse_size(size: int) -> Problem:
    """The problem of a recipe with too many bytes."""
    message = f"the recipe has {size:,} bytes; at most {MAX_BYTES:,} are read."
    return Problem(1, "", message, "", "keep rows in a data file and name it under data:")


def _refuse_dangers(text: str, source: Source) -> None:
    """Looks for anchors, aliases, tags and deep nesting before any value is built; stops at the first of them."""
    depth = 0
    for token in yaml.scan(text, Loader=_Loader):
        line = token.start_mark.line + 1
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
            kind, sign = ("alias", "*") if isinstance(token, yaml.AliasToken) else ("anchor", "&")
            message = f"{kind} '{sign}{token.value}' is not read: a few bytes of them can become gigabytes."
            source.problems.append(Problem(line, "", message, "", "write the value out"))
        elif isinstance(token, yaml.TagToken):
            message = f"tag {''.join(part or '' for part in token.value)!r} is not read: recipes hold plain values."
            source.problems.append(Problem(line, "", message, "", "take the tag out, or put the text into quotes"))
        elif isinstance(token, _OPENING):
            depth += 1
            if depth > MAX_DEPTH:
                message = f"nested deeper than {MAX_DEPTH} levels."
                source.problems.append(Problem(line, "", message, "", "take brackets or indentation out"))
        elif isinstance(token, _CLOSING):
            depth -= 1
        if source.problems:
            return


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _convert(node: yaml.Node, path: Path, source: Source) -> Any:
    source.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(node, path, source)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, (*path, index), source) for index, item in enumerate(node.value)]
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind in ("int", "float"):
        if (number := _parse_number(text, kind)) is None:
            what = f"number {text if len(text) <= 40 else f'{text[:40]}...'} is too large."
            source.problems.append(Problem(node.start_mark.line + 1, "", what, "", "write a smaller one"))
        return number
    return text


def _parse_number(text: str, kind: str) -> int | float | None:
    """A number; None if it is too large to be one."""
    if len(text) > MAX_DIGITS:
        return None
    number = float(text) if kind == "float" else int(text, 0 if text[:2] in ("0o", "0x") else 10)
    return number if math.isfinite(number) and (kind == "float" or abs(number) <= MAX_WHOLE) else None


def _convert_mapping(node: yaml.MappingNode, path: Path, source: Source) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            fix = "put text that starts with a bracket into quotes"
            source.problems.append(
                Problem(line, format_path(path), "a bracket where a field's name should be.", "", fix)
            )
            continue
        key = str(key_node.value)
        if key in values:
            first = source.lines[(*path, key)]
            message = f"field {key!r} stands here and in line {first}; the second would hide the first."
            source.problems.append(Problem(line, format_path(path), message, "", "rename or remove one of them"))
            continue
        source.lines[(*path, key)] = line
        values[key] = _convert(value_node, (*path, key), source)
    return values


def format_path(path: Path) -> str:
    """A path as it is written in messages: `steps[0].samples`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def quote(value: object) -> str:
    """A value as messages show it, as a recipe would write it: in full if it is short."""
    text = _write_flow(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _write_flow(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_write_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_write_flow, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def parse_path(text: str, values: Any) -> Path:
    """The path that `steps.0.samples`, `steps[0].samples` or `steps.generate.samples` names in `values`.

    A key that holds a dot is found as it stands; parts that `values` does not have are taken as they are written.

    Raises:
        ValueError: a part is no position or step of a list, or stands below a value that has no parts.
    """
    rest = re.sub(r"\[(-?\d+)\]", r".\1", text).split(".")
    if not all(rest):
        raise ValueError("a part of the path is empty")
    path: Path = ()
    while rest:
        count = 1
        key: str | int = rest[0]
        if isinstance(values, list):
            key = _parse_position(values, rest[0], path)
            values = values[key]
        elif isinstance(values, dict):
            count = next((n for n in range(len(rest), 0, -1) if ".".join(rest[:n]) in values), 1)
            key = ".".join(rest[:count])
            values = values.get(key)
        elif values is not None:
            raise ValueError(f"{format_path(path)} is {quote(values)}, which has no field {key!r}")
        path, rest = (*path, key), rest[count:]
    return path


def _parse_position(items: list[Any], key: str, path: Path) -> int:
    if re.fullmatch(r"-?\d+", key) and -len(items) <= int(key) < len(items):
        return int(key) % len(items)
    names = [item.get("step") if isinstance(item, dict) else None for item in items]
    named = [index for index, name in enumerate(names) if name == key]
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(f"{len(named)} steps are called {key!r}; use a position: {', '.join(map(str, named))}")
    have = f"positions 0 to {len(items) - 1}" if items else "no entries"
    steps = f" and steps {', '.join(map(str, filter(None, names)))}" if any(names) else ""
    raise ValueError(f"{format_path(path)} has no entry {key!r}, but {have}{steps}")
