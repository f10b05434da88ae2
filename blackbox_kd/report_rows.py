"""Rows of a run to read: a few of each table, in Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from blackbox_kd.run import StoredTable
from blackbox_kd.schema import Row

COUNT = 5
LONGEST = 1200
"""Characters of a text that are shown."""
ASKED = ("instruction", "prompt", "reference")
SAID = ("response", "rationale", "completion", "chosen", "rejected", "messages", "conversations", "output", "score")


def in_words(tables: list[StoredTable]) -> list[str]:
    """The lines of the sections, one for each table that has rows."""
    return [line for table in tables if len(table) for line in _section(table)]


def _section(table: StoredTable) -> Iterator[str]:
    groups = _spread(table)
    what = "questions, each as every model answered it" if "question" in groups[0][0] else "rows"
    total = len({row.get("question", row.id) for row in table})
    yield from (f"## {len(groups)} of {total:,} {what} (`{table.path.name}`)", "")
    for number, rows in enumerate(groups, 1):
        first = rows[0]
        yield from (f"**{number}.** `{first.get('question', first.id)}`", "")
        for name, value in _asked(first).items():
            yield from _item(name, value)
        for row in rows:
            for name, value in _said(row).items():
                yield from _item(name, value)
        yield ""


def _spread(table: StoredTable) -> list[list[Row]]:
    """Some rows, evenly spread over the table; where several models answered a question, their rows together."""
    names = list(dict.fromkeys(row.get("question", row.id) for row in table))
    step = max(1, len(names) // COUNT)
    groups: dict[str, list[Row]] = {name: [] for name in names[::step][:COUNT]}
    for row in table:
        groups.get(row.get("question", row.id), []).append(row)
    return list(groups.values())


def _asked(row: Row) -> dict[str, Any]:
    names = [name for name in ASKED if row.get(name) not in (None, "")]
    if "instruction" in names and "prompt" in names:
        names.remove("prompt")  # it repeats the instruction
    return {name: row[name] for name in names}


def _said(row: Row) -> dict[str, Any]:
    """What was answered, by whom, and whether it is right; of a row with other columns, all of them."""
    names = [name for name in SAID if row.get(name) not in (None, "")]
    if "response" in names and "completion" in names:
        names.remove("completion")
    if not names:
        known = {"id", "question", "source_id", *ASKED}
        return {name: value for name, value in row.items() if name not in known and value is not None}
    found = {name: row[name] for name in names}
    first = next(iter(found))
    by = f"`{row['model']}`" if "question" in row else f"{first} of `{row['model']}`" if row.get("model") else first
    label = ", ".join(filter(None, (by, _verdict(row))))
    return {label: found.pop(first), **found}


def _verdict(row: Row) -> str:
    if row.get("correct") is None:
        return ""
    read = "no answer read" if row.get("answer") is None else f"read as {row['answer']}"
    return f"right, {read}" if row["correct"] else f"wrong, {read}"


def _item(name: str, value: Any) -> Iterator[str]:
    """A short text beside its name, any other as a block below it, line by line and without markup."""
    text = _text(value)
    if "\n" in text or "<" in text or len(text) > 200:
        yield from (f"- {name}:", "", *(f"      {line}".rstrip() for line in text.split("\n")), "")
    else:
        yield f"- {name}: {text}"


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value):
        turns = [(turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))) for turn in value]
        text = "\n".join(f"{role}: {said}" for role, said in turns)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.strip() if len(text) <= LONGEST else f"{text[:LONGEST].strip()} [...]"
