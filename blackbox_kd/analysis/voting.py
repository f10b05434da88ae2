"""What most of several answers to a question say."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Row


class Majority(NamedTuple):
    """The commonest answer of a group."""

    row: Row
    """The first row that has it."""
    share: float
    """Share of the rows that have it."""


def group(rows: Sequence[Row], per: str) -> dict[str, list[Row]]:
    """Rows by the text of a column."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[write_text(row[per])].append(row)
    return found


def find_majority(rows: Sequence[Row], column: str, same: Callable[[str, str, Row], bool] | None) -> Majority | None:
    """The commonest answer of some rows; None where there is none, or two are equally common.

    Args:
        rows: of a group; those whose column is empty have no answer, nor those whose answer cannot be compared with
            itself, as a query that fails.
        column: with the answers.
        same: says of an answer, another one and its row whether they are the same; equal texts are in any case.

    Source: Wang et al. 2023, arXiv:2203.11171 (self-consistency).
    """
    alike: list[list[Row]] = []
    for row in rows:
        if (text := _read(row, column, same)) is not None:
            own = next((each for each in alike if _is_same(text, each[0], column, same)), None)
            if own is None:
                alike.append([row])
            else:
                own.append(row)
    ranked = sorted(alike, key=len, reverse=True)
    if not ranked or (len(ranked) > 1 and len(ranked[0]) == len(ranked[1])):
        return None
    return Majority(ranked[0][0], len(ranked[0]) / len(rows))


def vote(
    rows: Sequence[Row], per: str, column: str, same: Callable[[str, str, Row], bool] | None, *, min_share: float
) -> Iterator[tuple[Row, Majority | None]]:
    """Each row with the commonest answer of its group; None where there is none, or fewer have it than `min_share`."""
    found = {key: find_majority(each, column, same) for key, each in group(rows, per).items()}
    for row in rows:
        most = found[write_text(row[per])]
        yield row, most if most is not None and most.share >= min_share else None


def _read(row: Row, column: str, same: Callable[[str, str, Row], bool] | None) -> str | None:
    text = "" if row[column] is None else write_text(row[column])
    try:
        is_one = bool(text.strip()) and (same is None or same(text, text, row))
    except DataError:
        return None
    return text if is_one else None


def _is_same(text: str, first: Row, column: str, same: Callable[[str, str, Row], bool] | None) -> bool:
    other = write_text(first[column])
    try:
        return text == other or (same is not None and same(text, other, first))
    except DataError:  # what one says of the other it need not say of itself: a row names its own database
        return False
