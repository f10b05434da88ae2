"""How sure a measured share, a gain over the same rows, or a win rate is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

_RESAMPLES = 10_000
_Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better the second of two models is on the same N rows.

    Args:
        gain: share right of the second minus share right of the first, from -1 to 1.
        ci95: 95 % interval of the gain, by bootstrap over the rows. Its width is 0 when all rows changed alike.
        p_value: exact McNemar test: how likely rows that changed would split at least this unevenly by chance.
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
    interval = _import_stats().binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def measure_gain(first: Sequence[bool], second: Sequence[bool], seed: int) -> Gain:
    """The gain of a second model over a first one; both were asked the same rows, in the same order.

    Args:
        first: for each of N rows, whether the first model (the base) is right.
        second: the same for the second model.
        seed: seeds the bootstrap.

    Raises:
        ValueError: the lengths differ or are 0.

    Source: McNemar 1947, Psychometrika 12(2), 153-157; Efron 1979, Ann. Stat. 7(1), 1-26.
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"expected as many results of both models, at least one; got {len(first)}, {len(second)}")
    gained = sum(bool(b) and not a for a, b in zip(first, second, strict=True))
    lost = sum(bool(a) and not b for a, b in zip(first, second, strict=True))
    rows = len(first)
    return Gain(
        gain=(gained - lost) / rows,
        ci95=_resample(gained, lost, rows, seed),
        p_value=_sign_test(gained, lost),
        gained=gained,
        lost=lost,
        rows=rows,
    )


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


def _resample(gained: int, lost: int, rows: int, seed: int) -> tuple[float, float]:
    """The percentile interval of the mean difference.

    A row's difference is 1, -1 or 0, so drawing N rows with replacement is one draw from a multinomial
    distribution: exact, and as quick for a million rows as for ten.
    """
    import numpy as np

    shares = [gained / rows, lost / rows, (rows - gained - lost) / rows]
    counts = np.random.default_rng(seed).multinomial(rows, shares, size=_RESAMPLES)
    low, high = np.percentile((counts[:, 0] - counts[:, 1]) / rows, [2.5, 97.5])
    return float(low), float(high)


def _sign_test(more: int, less: int) -> float:
    """The two-sided exact binomial test of more against less, as if each were as likely."""
    return float(_import_stats().binomtest(more, more + less).pvalue) if more + less else 1.0


def _wilson_of_share(share: float, n: int) -> tuple[float, float]:
    """The Wilson interval of a share that half counts make up; scipy's takes whole counts only."""
    square = _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _import_stats() -> Any:
    """scipy.stats, imported only where evidence is computed: it takes a second."""
    from scipy import stats

    return stats
