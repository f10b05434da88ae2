"""The data set that a run leaves: TRL's columns, as JSON lines and Parquet."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd import shapes, yaml_source
from blackbox_kd.errors import DataError
from blackbox_kd.recipe import Recipe
from blackbox_kd.run import write_whole
from blackbox_kd.schema import Row

TRL_COLUMNS = ("prompt", "completion", "chosen", "rejected", "messages")
HELD_BACK = {"input_ids", "labels", "seq_lengths", "image", "images", "tools", "chat_template_kwargs", "text"}
"""Names that TRL gives a meaning of its own (trl 1.16, SFTTrainer): columns called so are left out."""
BATCH = 1000


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Writes the recipe as it was run, overrides applied."""
    text = yaml_source.dump(recipe.source.values)
    write_whole(path, f"# {recipe.file}, as it was run\n{text}")


def write_dataset(folder: Path, rows: Iterable[Row]) -> Path:
    """Writes `train.jsonl` and `train.parquet`; returns the path of the first.

    Rows of a known shape get TRL's columns; other rows are written as they are. Columns beside TRL's stay when
    their values are plain.

    Raises:
        DataError: there are no rows.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / "train.jsonl"
    part = folder / "train.jsonl.part"
    kinds: dict[str, str] = {}
    with part.open("w", encoding="utf-8") as file:
        for row in _converted(rows):
            for name, value in row.items():
                kinds[name] = _joined(kinds.get(name), value)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.replace(target)
    _write_parquet(target, folder / "train.parquet", kinds)
    return target


def _converted(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    shape: str | None = None
    for number, row in enumerate(rows):
        if number == 0:
            try:
                shape = shapes.recognise(row.keys())
            except DataError:
                shape = None
        plain = {name: value for name, value in row.items() if _is_plain(value) and name not in HELD_BACK}
        if shape is None:
            yield {name: value for name, value in row.items() if name not in HELD_BACK}
        else:
            beside = {name: value for name, value in plain.items() if name not in TRL_COLUMNS}
            yield {**shapes.convert(row, shape), **beside}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _joined(kind: str | None, value: object) -> str:
    """The Parquet kind that holds all values of a column so far: mixed columns become text."""
    if value is None:
        return kind or "null"
    if isinstance(value, list) and all(
        isinstance(item, Mapping) and {"role", "content"} == set(item) for item in value
    ):
        new = "messages"
    else:
        new = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(value), "json")
    if kind in (None, "null", new):
        return new
    return "float" if {kind, new} == {"int", "float"} else "json" if "json" in (kind, new) else "str"


def _write_parquet(source: Path, target: Path, kinds: dict[str, str]) -> None:
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
    with pq.ParquetWriter(part, schema) as writer, source.open(encoding="utf-8") as file:
        while batch := [json.loads(line) for line in islice(file, BATCH)]:
            rows = [{name: _as_kind(row.get(name), kind) for name, kind in kinds.items()} for row in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    part.replace(target)


def _as_kind(value: Any, kind: str) -> Any:
    if value is None or kind in ("messages", "bool", "int"):
        return value
    if kind == "float":
        return float(value)
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
