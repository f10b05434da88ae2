"""How sure a measured share, a gain over the same rows, or a win rate is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from typing import Any

_Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""
_STEPS = 60
"""Halvings of the range in which the end of an interval is looked for: more than a float tells apart."""

_EXACT = 1_000
"""Sums whose signs are drawn without drawing: above that the normal distribution is as good."""


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better the second of two models is on the same N rows.

    Args:
        gain: share right of the second minus share right of the first, from -1 to 1.
        ci95: 95 % score interval of the gain; it has a width also where no row changed, or all did.
        p_value: exact McNemar test: how likely rows that changed would split at least this unevenly by chance. With
            clusters, how likely their sums would, if each could as well have had the other sign.
        gained: rows that only the second has right.
        lost: rows that only the first has right.
        rows: N.
    """

    gain: float
    ci95: tuple[float, float]
    p_value: float
    gained: int
    lost: int
    rows: int

    def write(self) -> dict[str, Any]:
        """The gain as reports hold it."""
        told = {"n": self.rows, "gain": self.gain, "ci95": list(self.ci95), "p_value": self.p_value}
        return {**told, "gained": self.gained, "lost": self.lost}


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often one text is preferred to another.

    Args:
        rate: wins and half of the ties, as a share of all comparisons.
        ci95: Wilson interval of the rate. Ties vary less than wins and losses do, so with them it is too wide
            rather than too narrow.
        p_value: exact sign test of wins against losses; ties say nothing about either.
    """

    rate: float
    ci95: tuple[float, float]
    p_value: float
    wins: int
    losses: int
    ties: int


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share: k of n, both counts.

    Raises:
        ValueError: n is not positive, or k is not between 0 and n.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22(158), 209-212.
    """
    if not (n > 0 and 0 <= k <= n):
        raise ValueError(f"expected k of n with n > 0 and 0 <= k <= n, got {k!r} of {n!r}")
    return _wilson_of_share(k / n, n)


def measure_gain(first: Sequence[bool], second: Sequence[bool], clusters: Sequence[Hashable] | None = None) -> Gain:
    """The gain of a second model over a first one; both were asked the same rows, in the same order.

    Args:
        first: for each of N rows, whether the first model (the base) is right.
        second: the same for the second model.
        clusters: of each row, to what it belongs whose rows are alike; None if each row stands for itself.

    Raises:
        ValueError: the lengths differ or are 0.

    Source: McNemar 1947, Psychometrika 12(2), 153-157; Tango 1998, Stat. Med. 17(8), 891-908 (the interval); Rao and
    Scott 1992, Biometrics 48(2), 577-585 (clusters).
    """
    rows = len(first)
    if rows != len(second) or rows == 0 or (clusters is not None and len(clusters) != rows):
        raise ValueError(f"expected as many results of both models, at least one; got {rows}, {len(second)}")
    change = [bool(b) - bool(a) for a, b in zip(first, second, strict=True)]
    gained, lost = change.count(1), change.count(-1)
    times = 1.0 if clusters is None else compute_design_effect(change, clusters)
    return Gain(
        gain=(gained - lost) / rows,
        ci95=_bound_gain(gained / times, lost / times, rows / times),
        p_value=_sign_test(gained, lost) if clusters is None else _flip_signs(_add_up(change, clusters)),
        gained=gained,
        lost=lost,
        rows=rows,
    )


def adjust(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values of several comparisons, so that the chance of any false finding among them stays below the level.

    Args:
        p_values: of each comparison; None of those that have none, which are not counted.

    Source: Holm 1979, Scand. J. Stat. 6(2), 65-70.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for left, (p, place) in zip(range(len(known), 0, -1), known, strict=True):
        highest = max(highest, min(1.0, left * p))
        found[place] = highest
    return found


def bound_share(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """The 95 % interval of the mean of N values from 0 to 1, at least one; it has a width also where all are equal.

    Values between 0 and 1 vary less than right and wrong do, so with them it is too wide rather than too narrow.

    Args:
        values: of each row.
        clusters: of each row, to what it belongs whose rows are alike; None if each row stands for itself.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22(158), 209-212; Rao and Scott 1992, Biometrics 48(2), 577-585.
    """
    times = 1.0 if clusters is None else compute_design_effect(values, clusters)
    return _wilson_of_share(sum(values) / len(values), len(values) / times)


def compute_design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """By how much the mean of N values varies more than that of N values that have nothing to do with each other.

    At least 1, as less is found by chance; where no two values differ, as if each cluster were one row.

    Args:
        values: of each row.
        clusters: to what each row belongs.
    """
    rows, names = len(values), set(clusters)
    mean = sum(values) / rows
    alone = sum((value - mean) ** 2 for value in values)
    if len(names) < 2 or alone < 1e-12:
        return rows / len(names)
    together = sum(total**2 for total in _add_up([value - mean for value in values], clusters))
    return max(1.0, together * len(names) / (len(names) - 1) / alone)


def _add_up(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The sum of the values of each cluster."""
    sums: dict[Hashable, float] = dict.fromkeys(clusters, 0)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value
    return list(sums.values())


def win_rate(wins: int, losses: int, ties: int = 0) -> WinRate:
    """How often one side wins, ties counted as half a win.

    Raises:
        ValueError: a count is negative, or all are 0.
    """
    total = wins + losses + ties
    if min(wins, losses, ties) < 0 or not total:
        raise ValueError(f"expected counts with a positive sum, got {wins} wins, {losses} losses, {ties} ties")
    rate = (wins + ties / 2) / total
    return WinRate(rate, _wilson_of_share(rate, total), _sign_test(wins, losses), wins, losses, ties)


def _bound_gain(gained: float, lost: float, rows: float) -> tuple[float, float]:
    """The score interval of a paired difference: the differences that the rows do not speak against.

    Args:
        gained: rows that only the second has right; with clusters, in rows that have nothing to do with each other.
        lost: those that only the first has right.
        rows: all.
    """
    gain = (gained - lost) / rows

    def measure_distance(other: float) -> float:
        """How many standard errors the gain lies above another one; the errors are those of the other one."""
        b, c = (2 * rows - gained + lost) * other - gained - lost, -lost * other * (1 - other)
        only_first = (sqrt(max(0.0, b * b - 8 * rows * c)) - b) / (4 * rows)
        square = rows * (2 * only_first + other * (1 - other))
        away = gained - lost - rows * other
        return away / sqrt(square) if square > 1e-12 else away * 1e9

    def find_end(low: float, high: float, distance: float) -> float:
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if measure_distance(middle) > distance else (low, middle)
        return (low + high) / 2

    return find_end(-1.0, gain, _Z95), find_end(gain, 1.0, -_Z95)


def _flip_signs(sums: Sequence[float]) -> float:
    """How likely whole numbers add up to at least as much as they do, either way, if the sign of each were chance."""
    import numpy as np

    sizes = [abs(round(each)) for each in sums if each]
    if len(sizes) > _EXACT:
        return erfc(abs(sum(sums)) / sqrt(2 * sum(size**2 for size in sizes)))
    ways = np.ones(1)
    for size in sizes:  # of each sum that is possible, how likely it is; they are 2 apart from each other or less
        longer = np.zeros(len(ways) + 2 * size)
        longer[: len(ways)] += ways / 2
        longer[2 * size :] += ways / 2
        ways = longer
    reached = np.abs(np.arange(len(ways)) - sum(sizes)) >= abs(sum(sums)) - 0.5
    return float(min(1.0, ways[reached].sum()))


def _sign_test(more: int, less: int) -> float:
    """The two-sided exact binomial test of more against less, as if each were as likely."""
    return float(import_stats().binomtest(more, more + less).pvalue) if more + less else 1.0


def _wilson_of_share(share: float, n: float) -> tuple[float, float]:
    """The Wilson interval of a share, of counts that need not be whole."""
    square = _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def import_stats() -> Any:
    """scipy.stats, imported only where evidence is computed: it takes a second."""
    from scipy import stats

    return stats
