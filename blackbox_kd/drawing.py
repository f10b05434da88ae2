"""A table from which rows are drawn with replacement."""

import random
from collections import Counter
from collections.abc import Iterator

from blackbox_kd.schema import Row, Table


class Drawn:
    """`rows` rows of a table, drawn uniformly with replacement, in the order of the table.

    Each drawing of a row is a row of its own: `r7` drawn twice is `r7.draw0` and `r7.draw1`. From a table without rows
    none are drawn: in a loop a branch can run empty, and that does not end the run.

    Args:
        table: the table that is drawn from; it is read once each time this is iterated.
        rows: how many are drawn.
        rng: decides which.
    """

    def __init__(self, table: Table, rows: int, rng: random.Random) -> None:
        self.name = table.name
        self._table = table
        self._rows = rows if len(table) else 0
        self._times = Counter(rng.randrange(len(table)) for _ in range(self._rows))

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self._table):
            for time in range(self._times[number]):
                yield row.child(f"draw{time}", {})

    def __len__(self) -> int:
        return self._rows
