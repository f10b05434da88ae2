"""The tables of an estimate: rows that are there, and rows that stand for those that are not."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from blackbox_kd.estimate.numbers import BYTES_PER_TOKEN, Case, Span
from blackbox_kd.schema import Row

SAMPLE = 64
"""Rows whose prompts are rendered for the length of those of rows that are not there yet."""
UNSEEN = "word " * 80
"""Stands for a text of which nothing is known."""
WORD = "word "


@dataclass(frozen=True, slots=True)
class Guess:
    """Stands in a row for a reply that a model has yet to write.

    Args:
        text: what it will be like.
        times: how long it will be, in lengths of `text`.
    """

    text: str
    times: Span

    def told(self, case: Case) -> str:
        """A text of the length that it has in a case."""
        length = round(len(self.text) * self.times.at(case))
        return (self.text * math.ceil(length / max(1, len(self.text))))[:length]


@dataclass(slots=True)
class Level:
    """What is known of a table.

    Args:
        known: rows that are there for certain.
        rest: how many there will be besides.
        like: rows that the rest will be like; replies that are not written yet are guesses in them.
        assumed: what the number of the rest was guessed by.
    """

    known: list[Row]
    rest: Span
    like: list[Row]
    assumed: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all of its rows are known."""
        return not self.rest.high

    def total(self) -> Span:
        """All rows."""
        return self.rest + len(self.known)

    def shown(self) -> list[Row]:
        """The rows that a prompt can show of it."""
        return self.known if self.is_whole else self.known or self.like


def evenly(rows: list[Row]) -> list[Row]:
    """Some of the rows, from all parts of the table."""
    return rows[:: max(1, math.ceil(len(rows) / SAMPLE))]


def told(rows: Iterable[Row], case: Case) -> list[Row]:
    """The rows as they are in a case, with a text for each guess."""
    return [
        Row({name: value.told(case) if isinstance(value, Guess) else value for name, value in row.items()})
        for row in rows
    ]


def has_guesses(rows: Iterable[Row]) -> bool:
    """Whether the rows are not the same in all cases."""
    return any(isinstance(value, Guess) for row in rows for value in row.values())


def written(rows: list[Row], columns: list[str], finished: list[Row], reply: Span | None, into: list[str]) -> list[Row]:
    """Rows with the columns that a step has yet to write into them.

    Args:
        rows: the rows.
        columns: the columns.
        finished: rows that have them, whose values are taken; if there are none, a placeholder is.
        reply: tokens of a reply, where models write the columns.
        into: of the columns, those that are sure to hold a reply: what stands in them is replaced.
    """
    finished = evenly(finished)
    if finished:
        values = [{name: row[name] for name in columns if name in row} for row in finished]
        if reply is not None and reply.likely:
            times, texts = reply / reply.likely, into or columns
            values = [{name: _guessed(value, times, name in texts) for name, value in row.items()} for row in values]
        return [row | values[number % len(values)] for number, row in enumerate(rows)]
    if reply is None:
        return [Row(dict.fromkeys(columns, UNSEEN)) | row for row in rows]
    unseen = Guess(WORD, reply * BYTES_PER_TOKEN / len(WORD))
    return [Row(dict.fromkeys(columns, unseen)) | row | dict.fromkeys(into, unseen) for row in rows]


def _guessed(value: Any, times: Span, is_reply: bool) -> Any:
    return Guess(value, times) if is_reply and isinstance(value, str) else value
