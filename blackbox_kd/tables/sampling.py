"""Rows drawn from tables: with replacement, or by shares that add up, under ids that stay apart."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping

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
                drawn = row.child(f"draw{time}", {})
                drawn.drawn_from = row.id
                yield drawn

    def __len__(self) -> int:
        return self._rows


def shuffle(count: int, rng: random.Random) -> Iterator[int]:
    """The numbers below `count` in random order, each worked out when it is asked for: a few of many cost little."""
    moved: dict[int, int] = {}
    for last in range(count - 1, -1, -1):
        at = rng.randint(0, last)
        yield moved.get(at, at)
        moved[at] = moved.get(last, last)


def share_out(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers in proportion to weights that add up to `total`: the largest remainders are rounded up.

    All are 0 if all weights are.
    """
    mass = sum(weights.values())
    exact = {name: total * weight / mass if mass else 0.0 for name, weight in weights.items()}
    # Without it, rounding would make 2.9999999999999996 of 3.
    found = {name: int(share + 1e-9) for name, share in exact.items()}
    short = total - sum(found.values()) if mass else 0
    for name in sorted(exact, key=lambda name: found[name] - exact[name])[:short]:
        found[name] += 1
    return found


class Ids:
    """Ids that were given out: a row whose id is taken becomes a child of itself."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def own(self, row: Row, tag: str) -> Row:
        """The row, or, if its id is taken, its child `tag`, `tag.2`, ... : the first that is free."""
        found, number = row, 1
        while found.id in self._taken:
            found = row.child(tag if number == 1 else f"{tag}.{number}", {})
            number += 1
        self._taken.add(found.id)
        return found


def weigh(
    gaps: Mapping[str, float], before: Mapping[str, float], *, temperature: float, smooth: float, floor: float
) -> dict[str, float]:
    """The softmax of gaps, smoothed with the weights before; they add up to 1.

    Args:
        gaps: a number for each of at least one name.
        before: weights that are mixed in; none in the beginning.
        temperature: the gaps are divided by it.
        smooth: part of the weights before in the new ones.
        floor: no weight is below this part of an even share.
    """
    top = max(gaps.values())
    powers = {name: math.exp((gap - top) / temperature) for name, gap in gaps.items()}
    now = {name: power / sum(powers.values()) for name, power in powers.items()}
    if before:
        now = {name: smooth * before.get(name, 0.0) + (1 - smooth) * weight for name, weight in now.items()}
    return _raise_to_floor(now, floor / len(now))


def _raise_to_floor(weights: Mapping[str, float], floor: float) -> dict[str, float]:
    """Weights that add up to 1, those below the floor raised to it and the others scaled down for it."""
    low: set[str] = set()
    while True:
        rest = sum(weight for name, weight in weights.items() if name not in low)
        scale = (1 - floor * len(low)) / rest if rest else 0.0
        found = {name: floor if name in low else weight * scale for name, weight in weights.items()}
        below = {name for name, weight in found.items() if weight < floor - 1e-12} - low
        if not below:
            return found
        low |= below
