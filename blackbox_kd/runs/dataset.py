"""The data set that a run leaves: TRL's columns, as JSON lines and Parquet."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import chain, islice
from pathlib import Path
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.calls import ends
from blackbox_kd.errors import DataError, NoRows
from blackbox_kd.privacy import link_or_copy, open_anew
from blackbox_kd.runs.manifest import DataConfig
from blackbox_kd.runs.parquet import join_kinds, write_parquet
from blackbox_kd.schema import Row
from blackbox_kd.tables import conversion, formats
from blackbox_kd.tables.sources import PEEK
from blackbox_kd.tables.stored import StoredTable
from blackbox_kd.tables.turns import Notes

LEFT_OUT = "left_out.jsonl"
"""Beside the data set: the rows that it lacks because nothing can be learnt from them, each with its reason."""
TRL_COLUMNS = ("prompt", "completion", "chosen", "rejected", "messages")
HELD_BACK = {"input_ids", "labels", "seq_lengths", "image", "images", "tools", "chat_template_kwargs", "text"}
"""Names that TRL gives a meaning of its own (trl 1.16, SFTTrainer): columns called so do not stand beside its own."""
ENDED = ("finish_reason", "finish_reasons", "finishReason", "stop_reason", "done_reason")
"""Columns in which makers of data sets say why a reply ended."""
USAGE = "usage"
"""The column with the tokens of a reply, of which a data set has the cost alone."""
ONLY = "train"
"""What the files of a data set of one table are called; of several, each table has files of its own name."""
HASHED = re.compile(r"(.+)-[0-9a-f]{8}\.parquet")
"""Files that are named by their content, too: what `datasets` has cached of a folder it knows by the card alone."""


def write_tables(
    folder: Path,
    tables: Mapping[str, StoredTable],
    written: Mapping[str, Set[str]],
    say: Callable[[str], None] = lambda text: None,
) -> list[DataConfig]:
    """Writes a data set of one or several tables; returns what the manifest holds of each.

    Args:
        folder: of the data set.
        tables: by the name of the config that each becomes.
        written: columns that steps have written, by the name of the table.
        say: is told what a user should know of the rows.
    """
    found = []
    for name, table in tables.items():
        stem, of_steps = ONLY if len(tables) == 1 else name, written.get(table.name, frozenset())
        path = write_dataset(folder, table, name=stem, written=of_steps, say=say).with_suffix(".parquet")
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        hashed = f"{stem}-{sha[:8]}.parquet"
        link_or_copy(path, folder / hashed)
        lost = count_left_out(folder, stem)
        files = [f"{stem}.jsonl", path.name, hashed, *([_name_left_out(folder, stem).name] if lost else [])]
        config = DataConfig(
            name=name,
            table=table.name,
            source=table.sha256,
            rows=count_rows(folder, stem),
            left_out=dict(lost),
            parquet=hashed,
            sha256=sha,
            files=files,
        )
        found.append(config)
    return found


def remove_stale(folder: Path, before: Iterable[str], now: Iterable[str]) -> None:
    """Removes the files that an earlier data set of the folder had, and those that are named by another content."""
    now = set(now)
    tables = {name.removesuffix(".jsonl") for name in now}
    named = [(match[1], match[0]) for path in folder.iterdir() if (match := HASHED.fullmatch(path.name))]
    for name in {*before, *(file for table, file in named if table in tables)} - now:
        (folder / name).unlink(missing_ok=True)


def write_dataset(
    folder: Path,
    rows: Iterable[Row],
    method: str | None = None,
    *,
    name: str = ONLY,
    written: Set[str] = frozenset(),
    say: Callable[[str], None] = lambda text: None,
    parquet: bool = True,
) -> Path:
    """Writes `train.jsonl` and `train.parquet`; returns the path of the first.

    Rows of a known shape get TRL's columns; columns beside TRL's stay when their values are plain. Those from which
    nothing can be learnt go to `left_out.jsonl`, each with its reason. Rows of no known shape stay as they are.

    Args:
        folder: of the data set.
        rows: N rows of one shape.
        method: how a model is about to be trained on them, such as `sft`; None if none is.
        name: what the file is called, without its ending.
        written: columns that steps have written; what is said of other rows is said by whoever made them.
        say: is told what a user should know: rows that are left out, parts of rows and columns that are not used.
        parquet: whether it is written as Parquet, too: training reads the JSON lines.

    Raises:
        DataError: a model is about to be trained, and there are no rows that its method can use.
    """
    iterator = iter(rows)
    first = list(islice(iterator, PEEK))
    seen = _Seen(_recognise(first, method), written, has_labels=method == "kto")
    for place in (folder.parent, folder):  # the mode is of the last folder alone
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"{name}.jsonl"
    _write_lines(target, _name_left_out(folder, name), chain(first, iterator), seen)
    if method is not None and not seen.kinds:
        raise _explain_nothing(folder)
    for line in seen.describe(count_left_out(folder, name), count_rows(folder, name)):
        say(line)
    if parquet:
        write_parquet(target, target.with_suffix(".parquet"), seen.kinds)
    return target


def _write_lines(target: Path, left: Path, rows: Iterable[Row], seen: "_Seen") -> None:
    """Writes the rows that can be used to one file, the others with their reasons to another if there are any."""
    part, refused = (path.with_name(f"{path.name}.part") for path in (target, left))
    with open_anew(part) as kept, open_anew(refused) as lost:
        for row in rows:
            try:
                kept.write(_write_line(seen.convert(row)))
            except DataError as error:
                lost.write(_write_line({"id": row.id, "reason": error.what, "row": row}))
    part.replace(target)
    refused.replace(left)
    if not left.stat().st_size:
        left.unlink()


class _Seen:
    """Converts rows one at a time, and knows what it has seen.

    Args:
        shape: of the rows; None if they stay as they are.
        written: columns that steps have written.
        has_labels: whether bad answers are learnt from, too, and each says which one it is.

    Attributes:
        kinds: the Parquet kind of each column of the converted rows.
    """

    def __init__(self, shape: str | None, written: Set[str], *, has_labels: bool = False) -> None:
        self._has_labels = has_labels
        self.kinds: dict[str, str] = {}
        self._shape = shape
        self._written = written
        self._ignored = set() if shape is None else formats.list_ignored(shape, written)
        self._columns: dict[str, None] = {}
        self._notes = Notes()
        self._pairs: set[int] = set()

    def convert(self, row: Row) -> dict[str, Any]:
        """The row as the data set has it.

        Raises:
            DataError: nothing can be learnt from it.
        """
        self._columns |= dict.fromkeys(name for name, value in row.items() if value not in (None, ""))
        made = dict(row) if self._shape is None else self._convert(row, self._shape)
        for name, value in made.items():
            self.kinds[name] = join_kinds(self.kinds.get(name), value)
        return made

    def _convert(self, row: Row, shape: str) -> dict[str, Any]:
        missing = [name for name in formats.SHAPES[shape] if name not in row]
        if missing:
            raise DataError(f"column {missing[0]!r} is missing")
        label = {"label": formats.read_label(row, self._written)} if self._has_labels else {}
        ignored = {*self._ignored, *formats.LABELLED} if label else self._ignored
        own = {name: value for name, value in row.items() if name not in ignored}
        made = conversion.convert(own, shape, self._notes) | label
        used = {name for name in formats.list_used(shape) if not _is_plain(row.get(name))}
        not_beside = {*HELD_BACK, *TRL_COLUMNS, *made, *used, USAGE}
        self._find_swapped(made)
        self._find_cut(row)
        # A step writes the weight beside the prompt: files of the data set keep it where the step's rows have it.
        weight = {"weight": made.pop("weight")} if "weight" in made and "prompt" in self._written else {}
        beside = {name: value for name, value in row.items() if name in weight or name not in not_beside} | weight
        return made | {name: v if _is_plain(v) else json_text.write_text(v) for name, v in beside.items()}

    def _find_swapped(self, made: Mapping[str, Any]) -> None:
        """Notes a pair whose sides an earlier row has the other way round."""
        if "chosen" not in made:
            return
        prompt, better, worse = (json_text.encode(made[name]) for name in ("prompt", "chosen", "rejected"))
        if hash((prompt, worse, better)) in self._pairs:
            self._notes["the same pair stands in an earlier row with its sides swapped"] += 1
        self._pairs.add(hash((prompt, better, worse)))

    def _find_cut(self, row: Row) -> None:
        """Notes an answer that its maker says was cut off: of rows of our own steps a recipe has decided that."""
        for name in ENDED:
            said = row.get(name)
            word = ends.read_word({"finish_reason": said[-1] if isinstance(said, list) and said else said})
            if name not in self._written and ends.classify(word) is ends.End.CUT:
                self._notes[
                    f"{name} says that the answer was cut off ({word}): the student would learn to stop there"
                ] += 1

    def describe(self, lost: Counter[str], kept: int) -> list[str]:
        """What a user should know of the rows, once they are written."""
        total = kept + lost.total()
        counts = [(f"left out: {reason}", count) for reason, count in lost.most_common()]
        told = [f"{count:,} of {total:,} rows: {what}" for what, count in counts + self._notes.most_common()]
        if self._shape is None or self._written:
            return told
        refused = set(formats.MEANINGFUL)
        used = formats.list_used(self._shape) | refused | {"id", "source_id"}
        unused = [name for name in self._columns if name not in used]
        return told + ([f"columns that are not used: {', '.join(unused)}"] if unused else [])


def _name_left_out(folder: Path, name: str) -> Path:
    return folder / (LEFT_OUT if name == ONLY else f"{name}.{LEFT_OUT}")


def count_left_out(folder: Path, name: str = ONLY) -> Counter[str]:
    """How many rows a data set lacks because nothing can be learnt from them, by reason."""
    return Counter(reason for _, reason in list_left_out(folder, name))


def list_left_out(folder: Path, name: str = ONLY) -> Iterator[tuple[str, str]]:
    """The id of each of these rows, the one that it came with if it did, and the reason."""
    path = _name_left_out(folder, name)
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from ((row["row"].get("source_id") or row["id"], row["reason"]) for row in map(json.loads, file))


def count_rows(folder: Path, name: str = ONLY) -> int:
    """How many rows a data set has."""
    with (folder / f"{name}.jsonl").open("rb") as file:
        return sum(1 for _ in file)


def _recognise(first: list[Row], method: str | None) -> str | None:
    """The shape of rows, by the columns of the first ones: a single row need not have all of them."""
    try:
        shape = formats.recognise(dict.fromkeys(name for row in first for name in row))
    except DataError:
        if method is not None and first:
            raise
        return None
    if method is None and shape == "text":  # a document, for all that anybody knows
        return None
    if method is not None and (wrong := formats.refuse_method(method, shape)):
        needs, other = ("chosen, rejected", "sft") if method == "dpo" else ("prompt, completion", "dpo")
        raise DataError(f"{wrong}", fix=f"give it rows with {needs}, or method: {other}")
    return shape


def _explain_nothing(folder: Path) -> DataError:
    reasons = count_left_out(folder)
    if not reasons:
        return NoRows("there are no rows to train on", fix="look at the steps before, they kept none")
    listed = "; ".join(f"{count:,} times: {reason}" for reason, count in reasons.most_common())
    return DataError(
        f"nothing can be learnt from any of the {reasons.total():,} rows",
        exists=listed,
        fix=f"name other columns in a step format, or mend the rows; they are in {folder / LEFT_OUT}",
    )


def _write_line(value: Mapping[str, Any]) -> bytes:
    return json_text.encode(value) + b"\n"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
