"""JSON lines as Parquet: one kind for all values of a column."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from blackbox_kd.privacy import open_anew

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1000
INT64 = range(-(2**63), 2**63)


def join_kinds(kind: str | None, value: object) -> str:
    """The Parquet kind that holds all values of a column so far: mixed columns become text."""
    if value is None:
        return kind or "null"
    if isinstance(value, list) and all(map(_is_message, value)):
        new = "messages"
    elif isinstance(value, int) and value not in INT64:
        new = "str"
    else:
        new = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value), "json")
    if kind in (None, "null", new):
        return new
    return "float" if {kind, new} == {"int", "float"} else "json" if "json" in (kind, new) else "str"


def _is_message(item: object) -> bool:
    return (
        isinstance(item, Mapping)
        and set(item) == {"role", "content"}
        and all(isinstance(text, str) for text in item.values())
    )


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

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    types = {
        "bool": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "messages": pa.list_(message),
    }
    schema = pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])
    part = target.with_suffix(".part")
    with open_anew(part) as out, pq.ParquetWriter(out, schema) as writer, source.open(encoding="utf-8") as file:
        while batch := [json.loads(line) for line in islice(file, BATCH)]:
            columns = [_convert([row.get(name) for row in batch], kind) for name, kind in kinds.items()]
            arrays = [pa.array(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    part.replace(target)


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
