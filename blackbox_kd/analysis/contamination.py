"""Held-out rows against training rows, before the first paid call: evidence on rows that were trained on is none.

Two rules decide. A held-out row is an exact duplicate if a training row has the same words, numbers and signs,
whatever their case, spaces and punctuation. It is a near duplicate if at least 80 % of its own 13-grams stand in one
training row; texts with fewer words have exact duplicates only. Both are refused.

The length is GPT-3's (Brown et al. 2020, arXiv:2005.14165, appendix C) and lm-evaluation-harness's; s1
(arXiv:2501.19393) and open-r1 take 8-grams. They flag a row for one n-gram in common. That would flag all rows of a
task made from a template, whose sentences recur with other names and numbers. So here it takes most of a row, and a
row's own n-grams are those that few other held-out rows have: the rest is template.

Memory grows with the held-out table only; training rows are streamed. Of a row's own n-grams only the rarest are
looked up: if 80 % of them stand in a training row, then so does at least one of any 21 %.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.messages import is_conversation, list_texts, read_list
from blackbox_kd.schema import Table

N = 13
"""Words of an n-gram."""
NEAR_SHARE = 0.8
"""Share of a held-out row's n-grams in one training row from which on it is a near duplicate."""
ASKING = ("instruction", "question", "prompt", "messages", "conversations")
"""Columns that hold what a row asks; the first one that is there is compared."""
_EXAMPLES = 3
_SHOWN = 200
"""Characters of an example."""
_TEMPLATE_SHARE, _TEMPLATE_ROWS = 0.05, 3
"""An n-gram is template if more than this share of the held-out rows has it, and at least this many have."""
_SIGNS = "+-*/^=<>%$€£#&|~@()[]{}\\"
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
"""Japanese and Chinese characters: they stand without spaces, so each is taken for a word."""


def split_words(text: str) -> list[str]:
    """The words, numbers and mathematical signs of a text, in lower case.

    Signs count, since without them 5 - 3 and 5 + 3 would be the same question.
    """
    if not text.isascii():
        text = _UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text))
    return text.casefold().translate(_make_spaces()).split()


def hash_grams(found: list[str]) -> list[int]:
    """Hashes of the 13-grams of words, in order; they hold within one process."""
    return list(map(hash, zip(*(found[start:] for start in range(N)), strict=False)))


@functools.cache
def _make_spaces() -> dict[int, str]:
    """Punctuation -> a space, signs -> themselves between spaces."""
    marks = {code: " " for code in range(0x3040) if unicodedata.category(chr(code))[0] in "PZC" or chr(code) == "_"}
    return marks | {ord(sign): f" {sign} " for sign in _SIGNS}


@dataclass(slots=True)
class _HeldOut:
    """What is known of a held-out row; `own` are its n-grams without the template's."""

    text: str
    own: set[int]
    exact: bool = False
    near: bool = False


@dataclass(slots=True)
class _Index:
    """Held-out rows, by their words and by their rarest n-grams."""

    rows: list[_HeldOut] = field(default_factory=list)
    by_words: dict[int, list[_HeldOut]] = field(default_factory=dict)
    by_gram: dict[int, list[_HeldOut]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        found = split_words(text)
        row = _HeldOut(text[:_SHOWN], set(hash_grams(found)))
        self.rows.append(row)
        if found:
            self.by_words.setdefault(hash(tuple(found)), []).append(row)

    def finish(self) -> None:
        """Indexes as many of each row's own n-grams, the rarest first, as a near duplicate cannot lack."""
        rows_with = Counter(gram for row in self.rows for gram in row.own)
        most = max(_TEMPLATE_ROWS - 1, int(_TEMPLATE_SHARE * len(self.rows)))
        for row in self.rows:
            row.own = {gram for gram in row.own if rows_with[gram] <= most}
            needed = int((1 - NEAR_SHARE) * len(row.own) + 1e-9) + 1
            for gram in sorted(row.own, key=lambda gram: (rows_with[gram], gram))[:needed]:
                self.by_gram.setdefault(gram, []).append(row)

    def match(self, text: str) -> None:
        """Marks the held-out rows that a training row duplicates."""
        found = split_words(text)
        for row in self.by_words.get(hash(tuple(found)), ()):
            row.exact = True
        here = hash_grams(found)
        for gram in set(filter(self.by_gram.__contains__, here)):
            for row in self.by_gram[gram]:
                if not (row.exact or row.near) and len(row.own.intersection(here)) >= NEAR_SHARE * len(row.own):
                    row.near = True


def compare(held_out: Table, training: Iterable[Table]) -> dict[str, Any]:
    """Counts of exact and near duplicates of a held-out table among training tables, with examples of both."""
    index = _Index()
    for row in held_out:
        index.add(take_question(row))
    index.finish()
    for table in training:
        for row in table:
            index.match(take_question(row))
    exact = [row.text for row in index.rows if row.exact]
    near = [row.text for row in index.rows if row.near and not row.exact]
    return {
        "table": held_out.name,
        "rows": len(index.rows),
        "exact": len(exact),
        "near": len(near),
        "examples": [*exact, *near][:_EXAMPLES],
    }


def refuse(held_out: Iterable[Table], training: Iterable[Table]) -> list[dict[str, Any]]:
    """Compares every held-out table with the training tables; returns what `compare` does, for each.

    Raises:
        DataError: a held-out row stands among the training rows, exactly or nearly.
    """
    against = list(training)
    found = [compare(table, against) for table in held_out]
    lines = [
        f"held-out table {entry['table']!r}: {entry['exact']:,} of {entry['rows']:,} rows stand among the training "
        f"rows word for word, {entry['near']:,} nearly; such as {entry['examples'][0]!r}"
        for entry in found
        if entry["exact"] or entry["near"]
    ]
    if lines:
        raise DataError("\n".join(lines), fix="take these rows out of one of the tables")
    return found


def take_question(row: Mapping[str, Any]) -> str:
    """What a row asks: its instruction or prompt, of a conversation what it is told, or else all of its text.

    A conversation is told what the user says and what tools give back. Descriptions of tools are not compared: many
    rows that ask for different things have the same tools.
    """
    for name in ASKING:
        if value := row.get(name):
            told = read_list(value) if isinstance(value, str) and value.lstrip().startswith("[{") else value
            return " ".join(_collect_texts(told if is_conversation(told) else value))
    return " ".join(_collect_texts({name: value for name, value in row.items() if name not in ("id", "source_id")}))


_TELLING = ("user", "human", "tool", "function", "observation", "tool_response", "ipython")
"""Speakers who tell the assistant something."""


def _collect_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping) and (speaker := value.get("role", value.get("from"))) is not None:
        return list(list_texts({"content": value.get("content", value.get("value"))})) if speaker in _TELLING else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for item in items for text in _collect_texts(item)]
