"""The data set that a run leaves: TRL's columns, as JSON lines and Parquet."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import DataError
from blackbox_kd.privacy import open_anew
from blackbox_kd.schema import Row
from blackbox_kd.tables import conversion, formats
from blackbox_kd.tables.sources import PEEK
from blackbox_kd.tables.turns import Notes

LEFT_OUT = "left_out.jsonl"
"""Beside the data set: the rows that it lacks because nothing can be learnt from them, each with its reason."""
TRL_COLUMNS = ("prompt", "completion", "chosen", "rejected", "messages")
HELD_BACK = {"input_ids", "labels", "seq_lengths", "image", "images", "tools", "chat_template_kwargs", "text"}
"""Names that TRL gives a meaning of its own (trl 1.16, SFTTrainer): columns called so do not stand beside its own."""
BATCH = 1000
INT64 = range(-(2**63), 2**63)


def write_dataset(
    folder: Path,
    rows: Iterable[Row],
    method: str | None = None,
    *,
    written: Set[str] = frozenset(),
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Writes `train.jsonl` and `train.parquet`; returns the path of the first.

    Rows of a known shape get TRL's columns; columns beside TRL's stay when their values are plain. Those from which
    nothing can be learnt go to `left_out.jsonl`, each with its reason. Rows of no known shape stay as they are.

    Args:
        folder: of the data set.
        rows: N rows of one shape.
        method: how a model is about to be trained on them, such as `sft`; None if none is.
        written: columns that steps have written; what is said of other rows is said by whoever made them.
        say: is told what a user should know: rows that are left out, parts of rows and columns that are not used.

    Raises:
        DataError: a model is about to be trained, and there are no rows that its method can use.
    """
    iterator = iter(rows)
    first = list(islice(iterator, PEEK))
    seen = _Seen(_shape(first, method), written)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / "train.jsonl"
    part, refused = folder / "train.jsonl.part", folder / f"{LEFT_OUT}.part"
    with ExitStack() as files:
        kept = files.enter_context(open_anew(part))
        lost = files.enter_context(open_anew(refused))
        for row in chain(first, iterator):
            try:
                kept.write(_line(seen.convert(row)))
            except DataError as error:
                lost.write(_line({"id": row.id, "reason": str(error), "row": row}))
    part.replace(target)
    refused.replace(folder / LEFT_OUT)
    if not (folder / LEFT_OUT).stat().st_size:
        (folder / LEFT_OUT).unlink()
    if method is not None and not seen.kinds:
        raise _nothing_to_learn(folder)
    _write_parquet(target, folder / "train.parquet", seen.kinds)
    for line in seen.describe(folder):
        say(line)
    return target


class _Seen:
    """Converts rows one at a time, and knows what it has seen.

    Args:
        shape: of the rows; None if they stay as they are.
        written: columns that steps have written.

    Attributes:
        kinds: the Parquet kind of each column of the converted rows.
    """

    def __init__(self, shape: str | None, written: Set[str]) -> None:
        self.kinds: dict[str, str] = {}
        self._shape = shape
        self._written = written
        self._ignored = set() if shape is None else formats.list_ignored(shape, written)
        self._columns: dict[str, None] = {}
        self._notes = Notes()

    def convert(self, row: Row) -> dict[str, Any]:
        """The row as the data set has it.

        Raises:
            DataError: nothing can be learnt from it.
        """
        self._columns |= dict.fromkeys(name for name, value in row.items() if value not in (None, ""))
        made = dict(row) if self._shape is None else self._as_messages(row, self._shape)
        for name, value in made.items():
            self.kinds[name] = _join(self.kinds.get(name), value)
        return made

    def _as_messages(self, row: Row, shape: str) -> dict[str, Any]:
        missing = [name for name in formats.SHAPES[shape] if name not in row]
        if missing:
            raise DataError(f"column {missing[0]!r} is missing")
        own = {name: value for name, value in row.items() if name not in self._ignored}
        made = conversion.convert(own, shape, self._notes)
        not_beside = {*HELD_BACK, *TRL_COLUMNS, *made}
        return made | {name: value for name, value in row.items() if _is_plain(value) and name not in not_beside}

    def describe(self, folder: Path) -> list[str]:
        """What a user should know of the rows, once they are written."""
        lost = left_out(folder)
        total = rows_in(folder) + lost.total()
        counts = [(f"left out: {reason}", count) for reason, count in lost.most_common()]
        told = [f"{count:,} of {total:,} rows: {what}" for what, count in counts + self._notes.most_common()]
        if self._shape is None or self._written:
            return told
        refused = {*formats.ASKED, *formats.THOUGHT, *formats.UNUSABLE}
        used = formats.list_used(self._shape) | refused | {"id", "source_id"}
        unused = [name for name in self._columns if name not in used]
        return told + ([f"columns that are not used: {', '.join(unused)}"] if unused else [])


def left_out(folder: Path) -> Counter[str]:
    """How many rows a data set lacks because nothing can be learnt from them, by reason."""
    if not (folder / LEFT_OUT).exists():
        return Counter()
    with (folder / LEFT_OUT).open(encoding="utf-8") as file:
        return Counter(json.loads(line)["reason"] for line in file)


def rows_in(folder: Path) -> int:
    """How many rows a data set has."""
    with (folder / "train.jsonl").open("rb") as file:
        return sum(1 for _ in file)


def _shape(first: list[Row], method: str | None) -> str | None:
    """The shape of rows, by the columns of the first ones: a single row need not have all of them."""
    try:
        shape = formats.recognise(dict.fromkeys(name for row in first for name in row))
    except DataError:
        if method is not None and first:
            raise
        return None
    if method is None and shape == "text":  # a document, for all that anybody knows
        return None
    if method is not None and (wrong := formats.not_for(method, shape)):
        needs, other = ("chosen, rejected", "sft") if method == "dpo" else ("prompt, completion", "dpo")
        raise DataError(f"{wrong}\n  fix: give it rows with {needs}, or method: {other}")
    return shape


def _nothing_to_learn(folder: Path) -> DataError:
    reasons = left_out(folder)
    if not reasons:
        return DataError("there are no rows to train on\n  fix: look at the steps before, they kept none")
    listed = "; ".join(f"{count:,} times: {reason}" for reason, count in reasons.most_common())
    return DataError(
        f"nothing can be learnt from any of the {reasons.total():,} rows\n"
        f"  {listed}\n  fix: mend the rows; {folder / LEFT_OUT} has each with its reason"
    )


def _line(value: Mapping[str, Any]) -> bytes:
    return json_text.encode(value) + b"\n"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _join(kind: str | None, value: object) -> str:
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
    with open_anew(part) as out, pq.ParquetWriter(out, schema) as writer, source.open(encoding="utf-8") as file:
        while batch := [json.loads(line) for line in islice(file, BATCH)]:
            columns = [_as_kind([row.get(name) for row in batch], kind) for name, kind in kinds.items()]
            arrays = [pa.array(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    part.replace(target)


def _as_kind(values: list[Any], kind: str) -> list[Any]:
    """The values of a column as its Parquet kind holds them."""
    if kind == "float":
        return [None if value is None else float(value) for value in values]
    if kind == "json":
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    if kind == "str":
        texts = (str, type(None))
        return [value if isinstance(value, texts) else json.dumps(value, ensure_ascii=False) for value in values]
    return values
