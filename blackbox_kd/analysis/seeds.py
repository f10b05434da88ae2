"""What gains of several trainings that differ in their seed come to, with an interval over rows and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, variance

from blackbox_kd.analysis.statistics import import_stats

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class SeedGain:
    """A gain over S seeds, all measured on the same rows.

    Args:
        gain: mean over the seeds.
        ci95: 95 % interval for other rows like these and other seeds.
        p_value: of no gain at all, by the same variance; None of a single seed, whose rows have a test of their own.
    """

    gain: float
    ci95: tuple[float, float]
    p_value: float | None


def combine(gains: Sequence[float], intervals: Sequence[Sequence[float]]) -> SeedGain:
    """The mean gain of S seeds, its interval by two sources of variance: the rows, and the seeds.

    What the rows contribute is recovered from the interval of each seed, for each side by itself; it does not get less
    with more seeds, as all of them are measured on the same rows. What the seeds contribute is the variance of their
    gains, with as many degrees of freedom as they allow: three seeds that differ make a wide interval.

    Args:
        gains: of each seed.
        intervals: their 95 % intervals over the rows.

    Raises:
        ValueError: there is none, or not as many intervals.

    Source: Zou and Donner 2008, Stat. Med. 27(10), 1693-1702 (variances recovered from limits); Satterthwaite 1946,
    Biometrics Bull. 2(6), 110-114 (degrees of freedom of their sum).
    """
    if not gains or len(gains) != len(intervals):
        raise ValueError(f"expected as many intervals as gains, at least one; got {len(gains)}, {len(intervals)}")
    gain, count = fmean(gains), len(gains)
    if count == 1:
        return SeedGain(gain, (intervals[0][0], intervals[0][1]), None)
    of_seeds = variance(gains) / count
    ends, student = [], import_stats().t
    for side in (0, 1):
        of_rows = fmean(((limit[side] - each) / Z95) ** 2 for each, limit in zip(gains, intervals, strict=True))
        freedom = (of_rows + of_seeds) ** 2 / (of_seeds**2 / (count - 1)) if of_seeds else inf
        error = sqrt(of_rows + of_seeds)
        ends.append((gain + (1 if side else -1) * float(student.ppf(0.975, freedom)) * error, error, freedom))
    # No gain is as far off as the side of the interval that is nearer to it tells.
    _, error, freedom = ends[gain < 0]
    p_value = float(2 * student.sf(abs(gain) / error, freedom)) if error else float(not gain)
    return SeedGain(gain, (max(-1.0, ends[0][0]), min(1.0, ends[1][0])), p_value)
