"""JSON lines as Parquet: one kind for all values of a column."""

import json
from collections.abc import Mapping, Set
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from blackbox_kd.messages import FIELDS
from blackbox_kd.privacy import open_anew

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1000
INT64 = range(-(2**63), 2**63)


def join_kinds(kind: str | None, value: object) -> str:
    """The Parquet kind that holds all values of a column so far: mixed columns become text.

    That of messages names the keys that they have, as `messages role content tool_calls`.
    """
    if value is None:
        return kind or "null"
    if isinstance(value, list) and all(map(_is_message, value)):
        new = _name_messages({"role", "content"}.union(*value))
    elif isinstance(value, int) and value not in INT64:
        new = "str"
    else:
        new = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value), "json")
    if kind in (None, "null", new):
        return new
    if _is_of_messages(str(kind)) and _is_of_messages(new):
        return _name_messages({*str(kind).split(), *new.split()})
    return "float" if {kind, new} == {"int", "float"} else "json" if "json" in (kind, new) else "str"


def _name_messages(keys: Set[str]) -> str:
    return " ".join(["messages", *(key for key in FIELDS if key in keys)])


def _is_of_messages(kind: str) -> bool:
    return kind.startswith("messages ")


def _is_message(item: object) -> bool:
    """Whether a value is a message of text, or of calls whose arguments are text: all have the same type then."""
    if not isinstance(item, Mapping) or not {"role", "content"} <= item.keys() <= set(FIELDS):
        return False
    texts = all(isinstance(item[key], str) for key in item.keys() - {"tool_calls", "weight"})
    calls = item.get("tool_calls", [])
    return texts and isinstance(item.get("weight", 0), int) and isinstance(calls, list) and all(map(_is_call, calls))


def _is_call(call: object) -> bool:
    if not isinstance(call, Mapping) or not {"type", "function"} <= call.keys() <= {"id", "type", "function"}:
        return False
    function = call["function"]
    is_function = isinstance(function, Mapping) and function.keys() == {"name", "arguments"}
    return is_function and all(isinstance(text, str) for text in (*function.values(), call["type"], call.get("id", "")))


def read_arrow(source: Path) -> "pa.Table":
    """JSON lines as an Arrow table, of the kinds that Parquet would have."""
    import pyarrow.parquet as pq

    kinds: dict[str, str] = {}
    with source.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            kinds |= {name: join_kinds(kinds.get(name), value) for name, value in row.items()}
    with TemporaryDirectory(prefix="blackbox-kd-") as folder:
        target = Path(folder) / "table.parquet"
        write_parquet(source, target, kinds)
        return pq.read_table(target)


def write_parquet(source: Path, target: Path, kinds: Mapping[str, str]) -> None:
    """Writes JSON lines as Parquet.

    Args:
        source: the JSON lines.
        target: the Parquet file.
        kinds: the kind of each column, see `join_kinds`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _choose_type(kind)) for name, kind in kinds.items()])
    part = target.with_suffix(".part")
    with open_anew(part) as out, pq.ParquetWriter(out, schema) as writer, source.open(encoding="utf-8") as file:
        while batch := [json.loads(line) for line in islice(file, BATCH)]:
            columns = [_convert([row.get(name) for row in batch], kind) for name, kind in kinds.items()]
            arrays = [pa.array(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    part.replace(target)


def _choose_type(kind: str) -> Any:
    import pyarrow as pa

    if not _is_of_messages(kind):
        return {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}.get(kind, pa.string())
    function = pa.struct([("name", pa.string()), ("arguments", pa.string())])
    call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", function)])
    types = {"tool_calls": pa.list_(call), "weight": pa.int64()}
    return pa.list_(pa.struct([(key, types.get(key, pa.string())) for key in kind.split()[1:]]))


def _convert(values: list[Any], kind: str) -> list[Any]:
    """The values of a column as its Parquet kind holds them."""
    if kind == "float":
        return [None if value is None else float(value) for value in values]
    if kind == "json":
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    if kind == "str":
        texts = (str, type(None))
        return [value if isinstance(value, texts) else json.dumps(value, ensure_ascii=False) for value in values]
    return values
