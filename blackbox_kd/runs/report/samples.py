"""Rows of a run to read: a few of each table, in Markdown."""

from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from typing import Any

from blackbox_kd.json_text import write_text
from blackbox_kd.messages import write_plain
from blackbox_kd.printable import escape_markdown, escape_text, quote_code
from blackbox_kd.schema import Row
from blackbox_kd.tables.stored import StoredTable

COUNT = 5
LONGEST = 1200
"""Characters of a text that are shown."""
ASKED = ("instruction", "prompt", "reference")
SAID = ("response", "rationale", "completion", "chosen", "rejected", "messages", "conversations", "output", "score")


def describe(tables: list[StoredTable]) -> list[str]:
    """The lines of the sections, one for each table that has rows."""
    lines = [line for table in tables if len(table) for line in _write_section(table)]
    return [line for before, line in pairwise(["", *lines]) if before or line]


def _write_section(table: StoredTable) -> Iterator[str]:
    first = next(iter(table))
    if _is_answer(first):
        total, groups = _choose_questions(table)
        what = "questions, each as every model answered it"
    else:
        total, what = len(table), "rows"
        groups = [[row] for row in islice(table, 0, None, max(1, total // COUNT))][:COUNT]
    yield from (f"## {len(groups)} of {total:,} {what} (`{table.path.name}`)", "")
    for number, rows in enumerate(groups, 1):
        name = str(rows[0]["question"]) if _is_answer(rows[0]) else rows[0].id
        yield from (f"**{number}.** {quote_code(name)}", "")
        items = [*_take_question(rows[0]).items(), *(item for row in rows for item in _take_reply(row).items())]
        yield from (line for name, value in items for line in write_item(name, value))
        yield ""


def _is_answer(row: Row) -> bool:
    """Whether a row is a model's answer to a question of an `evaluate`."""
    return row.id.startswith(f"{row.get('question')}.{row.get('model')}")


def _choose_questions(table: StoredTable) -> tuple[int, list[list[Row]]]:
    """How many questions there are, and the answers of all models to some of them, evenly spread."""
    names = list(dict.fromkeys(row["question"] for row in table))
    groups: dict[str, list[Row]] = {name: [] for name in names[:: max(1, len(names) // COUNT)][:COUNT]}
    for row in table:
        groups.get(row["question"], []).append(row)
    return len(names), list(groups.values())


def _take_question(row: Row) -> dict[str, Any]:
    names = [name for name in ASKED if row.get(name) not in (None, "")]
    if "instruction" in names and "prompt" in names:
        names.remove("prompt")  # it repeats the instruction
    return {name: row[name] for name in names}


def _take_reply(row: Row) -> dict[str, Any]:
    """What was answered, by whom, and whether it is right; of a row with other columns, all of them."""
    if _is_answer(row):
        return {f"{quote_code(str(row['model']))}{_write_verdict(row)}": row["response"] or "(nothing)"}
    names = [name for name in SAID if row.get(name) not in (None, "")]
    if "response" in names and "completion" in names:
        names.remove("completion")
    if not names:
        known = {"id", "source_id", *ASKED}
        return {escape_markdown(name): value for name, value in row.items() if name not in known and value is not None}
    found = {name: row[name] for name in names}
    first = next(iter(found))
    by = f" of {quote_code(str(row['model']))}" if row.get("model") else ""
    return {f"{first}{by}{_write_verdict(row)}": found.pop(first), **found}


def _write_verdict(row: Row) -> str:
    if row.get("correct") is None:
        return ""
    if row.get("answer") is None:
        return f" (wrong: no answer can be read{', cut off' if row.get('finish_reason') == 'length' else ''})"
    return f" ({'right' if row['correct'] else 'wrong'}: read as {escape_markdown(str(row['answer']))})"


def write_item(name: str, value: Any) -> Iterator[str]:
    """A short text beside its name, any other as a block below it, line by line and without markup."""
    text = escape_text(_write_value(value))
    if "\n" in text or "<" in text or len(text) > 200:
        yield from (f"- {name}:", "", *(f"      {line}".rstrip() for line in text.split("\n")), "")
    else:
        yield f"- {name}: {escape_markdown(text)}"


def _write_value(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
        text = "\n".join(f"{turn.get('role', turn.get('from'))}: {write_plain(turn)}" for turn in value)
    else:
        text = write_text(value)
    return text.strip() if len(text) <= LONGEST else f"{text[:LONGEST].strip()} [...]"
