"""What the columns of somebody's data are for a job: which is the text, which the right answer. Guessed, and said."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd import messages
from blackbox_kd.errors import DataError, did_you_mean, list_names
from blackbox_kd.json_text import write_text
from blackbox_kd.tables.turns import read_conversation

Rows = list[dict[str, Any]]

TEXTS = """
instruction text message question prompt input query request problem ticket utterance sentence body content comment
review description document email title subject
""".split()  # noqa: SIM905 - as a list it would be no better to read
"""Names of columns with what is asked, the likeliest first."""
ANSWERS = """
reference label labels class category intent topic tag answer target expected gold solution calls tool_calls output
json response completion
""".split()  # noqa: SIM905
"""Names of columns with a right answer, the likeliest first."""
MOST_LABELS = 100
"""Values of a column that may be labels of one job."""


@dataclass(slots=True)
class Found:
    """What was found in somebody's data.

    Args:
        rows: with `instruction` or `messages` (of documents `text`), and where there is one `reference`.
        told: what the user should know of it, a line each.
    """

    rows: Rows
    told: list[str] = field(default_factory=list)


def read_asked(rows: Rows, text: str | None, right: str | None, labels: Sequence[str] | None = None) -> Found:
    """Rows of a text and perhaps a right answer.

    Args:
        rows: as they are in the file.
        text: the user's name of the column with the text; guessed if None.
        right: the same of the right answer.
        labels: those that are known, where right answers are labels.

    Raises:
        DataError: no column has texts, or there is no column of a name.
    """
    names = _list_columns(rows)
    told = []
    if text is None:
        text = _guess_text(rows, [name for name in names if name != right])
    if right is None:
        others = [name for name in names if name != text]
        right = _guess_right(rows, others, labels)
        if right is None and labels is not None and (may_be := _list_repeating(rows, others)):
            told.append(
                f"no column is called a label; if one of these is, name it by --reference: {list_names(may_be)}"
            )
    for given in filter(None, (text, right)):
        if given not in names:
            fix = did_you_mean(given, names) or "name one of them"
            raise DataError(f"there is no column {given!r}", exists=f"columns: {list_names(names)}", fix=fix)
    kept = {text: "instruction", "tools": "tools"} | ({right: "reference"} if right else {})
    what = {text: "the text (instruction)", right: "the right answer (reference)", "tools": "what may be called"}
    told = [*(f"column {name!r}: {what[name]}" for name in kept if name in names), *told]
    if gone := [name for name in names if name not in kept]:
        told.append(f"left out: {list_names(gone)}")
    found = ({new: row[old] for old, new in kept.items() if not _is_empty(row.get(old))} for row in rows)
    asked = [row | {"instruction": write_text(row["instruction"])} for row in found if "instruction" in row]
    if labels is not None:
        asked = [row | _tidy_label(row) for row in asked]
    return _leave_out_repeats(asked, len(rows), told)


def read_conversations(rows: Rows, text: str | None, right: str | None) -> Found:
    """Rows of a conversation each; of a text and an answer it is one turn of each.

    Raises:
        DataError: there are neither conversations nor texts.
    """
    names = _list_columns(rows)
    lists = [name for name in names if any(_read_messages(row.get(name)) for row in rows)]
    column = text if text in lists else next(iter(lists), None)
    if column is None:
        found = read_asked(rows, text, right)
        return Found([_ask({"messages": list(_make_turns(row))}) for row in found.rows], found.told)
    told = [f"column {column!r}: the conversation (messages)"]
    if gone := [name for name in names if name not in (column, "tools")]:
        told.append(f"left out: {list_names(gone)}")
    kept = []
    for row in rows:
        turns = _read_messages(row.get(column))
        if any(turn["role"] == "user" for turn in turns):
            tools = {} if _is_empty(row.get("tools")) else {"tools": row["tools"]}
            kept.append(_ask({"messages": turns, **tools}))
    return _leave_out_repeats(kept, len(rows), told)


def read_passages(rows: Rows, text: str | None) -> Found:
    """Rows of a passage each, and of the document that it is from."""
    found = read_asked(rows, text, None)
    source = next((name for name in ("source", "file", "document") if name in _list_columns(rows)), None)
    sources = {write_text(row.get(text or "text")): row.get(source) for row in rows} if source else {}
    passages = []
    for row in found.rows:
        known = sources.get(row["instruction"])
        passages.append({"text": row["instruction"]} | ({} if known is None else {"source": known}))
    return Found(passages, found.told)


def _read_messages(value: object) -> list[dict[str, Any]]:
    """The messages that a value holds; none where it holds no conversation."""
    turns = messages.read_list(value)
    if not messages.is_conversation(turns):
        return []
    if all("role" in turn for turn in turns or ()):
        return [dict(turn) for turn in messages.tidy(turns)]
    try:
        return [
            {"role": turn.role, "content": turn.content}
            for turn in read_conversation(turns, "conversations", Counter())
        ]
    except DataError:
        return []


def _make_turns(row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    yield {"role": "user", "content": row["instruction"]}
    if "reference" in row:
        yield {"role": "assistant", "content": write_text(row["reference"])}


def _ask(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a conversation with what is asked in it as a text, too: that is what judges are shown."""
    turns = row["messages"]
    before = turns[:-1] if turns[-1]["role"] == "assistant" else turns
    return row | {"instruction": messages.join_plain(before)}


def _list_columns(rows: Rows) -> list[str]:
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name != "id"]


def _guess_text(rows: Rows, names: Sequence[str]) -> str:
    """The column with the text: by its name, else the one with the longest texts."""
    texts = {name: _list_texts(rows, name) for name in names}
    usable = [name for name in names if texts[name]]
    if not usable:
        raise DataError(
            "no column has texts",
            exists=f"columns: {list_names(names)}",
            fix="name one by --text, or give another file",
        )
    if known := _find_named(TEXTS, usable):
        return known
    return max(usable, key=lambda name: sum(map(len, texts[name])))


def _guess_right(rows: Rows, names: Sequence[str], labels: Sequence[str] | None) -> str | None:
    """The column with right answers: the one that holds the labels that are known, else by its name."""
    filled = {name: _list_values(rows, name) for name in names}
    filled = {name: values for name, values in filled.items() if values}
    if labels is None:
        return _find_named(ANSWERS, list(filled))
    known = {label.lower() for label in labels}
    holding = [name for name, values in filled.items() if known >= {value.lower() for value in values}]
    return next(iter(holding), None) or _find_named(ANSWERS, _list_repeating(rows, names))


def _list_repeating(rows: Rows, names: Sequence[str]) -> list[str]:
    """The columns whose values come again, as labels do."""
    values = {name: _list_values(rows, name) for name in names}
    return [name for name, own in values.items() if 1 < len(set(own)) <= min(MOST_LABELS, max(2, len(own) // 2))]


def _list_values(rows: Rows, name: str) -> list[str]:
    return [" ".join(write_text(row[name]).split()) for row in rows if not _is_empty(row.get(name))]


def _find_named(known: Iterable[str], names: Sequence[str]) -> str | None:
    """The first of some names under which a column is known, whatever its case and what stands around it."""
    plain = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)}
    whole = next((plain[word] for word in known if word in plain), None)
    parts = {part: name for key, name in reversed(plain.items()) for part in key.split("_")}
    return whole or next((parts[word] for word in known if word in parts), None)


def _list_texts(rows: Rows, name: str) -> list[str]:
    return [row[name] for row in rows if isinstance(row.get(name), str) and row[name].strip()]


def _tidy_label(row: Mapping[str, Any]) -> dict[str, str]:
    return {"reference": " ".join(write_text(row["reference"]).split())} if "reference" in row else {}


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _leave_out_repeats(rows: Rows, before: int, told: list[str]) -> Found:
    """Rows of which no two ask the same: one would be learnt from and the other held out."""
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        kept.setdefault(" ".join(row["instruction"].lower().split()), row)
    if before > len(rows):
        told.append(f"{before - len(rows):,} rows without a text left out")
    if len(rows) > len(kept):
        told.append(f"{len(rows) - len(kept):,} rows that ask what another one asks left out")
    return Found(list(kept.values()), told)
