"""Rows drawn by shares: whole numbers that add up, and ids that stay apart when a row is taken more than once."""

from collections.abc import Mapping

from blackbox_kd.schema import Row


def quotas(weights: Mapping[str, float], total: int) -> dict[str, int]:
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
