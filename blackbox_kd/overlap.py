"""Held-out rows against training rows, before the first paid call: evidence on rows that were trained on is none.

Two rules. An exact duplicate, after case, punctuation and white space are taken away, is always refused. A near
duplicate is a held-out row of which at least 80 % of the 13-grams of words stand in one training row; texts with
fewer words have exact duplicates only. GPT-3 and lm-eval use 13-grams, s1 and open-r1 8-grams; a single shared
n-gram is not enough here, because tasks made from templates share whole sentences.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Table

N = 13
NEAR_SHARE = 0.8
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def grams(found: list[str]) -> set[int]:
    """Hashes of the 13-grams of words."""
    return {hash(tuple(found[at : at + N])) for at in range(len(found) - N + 1)}


def _text(row: Mapping[str, Any]) -> str:
    """What a row asks: its instruction, or else all of its text."""
    for name in ("instruction", "question", "prompt"):
        if isinstance(row.get(name), str):
            return str(row[name])
    return " ".join(str(value) for name, value in row.items() if name != "id" and isinstance(value, str))


def compare(held_out: Table, training: Iterable[Table]) -> dict[str, Any]:
    """Counts of exact and near duplicates of a held-out table among training tables, with examples.

    Memory grows with the held-out table only; training tables are streamed.
    """
    exact: dict[tuple[str, ...], list[str]] = defaultdict(list)
    postings: dict[int, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for row in held_out:
        found = words(_text(row))
        exact[tuple(found)].append(row.id)
        own = grams(found)
        sizes[row.id] = len(own)
        for gram in own:
            postings[gram].append(row.id)
    duplicates: dict[str, str] = {}
    near: dict[str, str] = {}
    for table in training:
        for row in table:
            found = words(_text(row))
            for name in exact.get(tuple(found), ()):
                duplicates.setdefault(name, _text(row))
            hits = Counter(name for gram in grams(found) for name in postings.get(gram, ()))
            for name, count in hits.items():
                if count >= NEAR_SHARE * sizes[name] and name not in duplicates:
                    near.setdefault(name, _text(row))
    near = {name: text for name, text in near.items() if name not in duplicates}
    return {
        "table": held_out.name,
        "rows": len(held_out),
        "exact": len(duplicates),
        "near": len(near),
        "examples": [text[:200] for text in [*duplicates.values(), *near.values()][:3]],
    }


def refuse(held_out: Iterable[Table], training: Iterable[Table]) -> list[dict[str, Any]]:
    """Compares every held-out table with the training tables.

    Raises:
        DataError: a held-out row stands among the training rows, exactly or nearly.
    """
    against = list(training)
    found = [compare(table, against) for table in held_out]
    bad = [entry for entry in found if entry["exact"] or entry["near"]]
    if bad:
        lines = [
            f"held-out table {entry['table']!r}: {entry['exact']} of {entry['rows']} rows stand among the training "
            f"rows word for word, {entry['near']} nearly; such as {entry['examples'][0]!r}"
            for entry in bad
        ]
        raise DataError("\n".join(lines) + "\n  fix: take these rows out of one of the tables")
    return found
