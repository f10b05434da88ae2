"""Gains over several seeds: the interval knows rows and seeds."""

import numpy as np
import pytest

from blackbox_kd.analysis.seeds import combine
from blackbox_kd.analysis.statistics import measure_gain


def test_one_seed_keeps_its_interval_and_seeds_that_agree_do_not_make_the_rows_surer() -> None:
    assert combine([0.1], [(0.0, 0.3)]).ci95 == (0.0, 0.3)
    same = combine([0.1, 0.1, 0.1], [(0.0, 0.3)] * 3)
    assert same.ci95 == pytest.approx((0.0, 0.3)), "the rows are the same ones"
    assert same.p_value == pytest.approx(0.05, abs=1e-6)


def test_seeds_that_differ_make_a_wide_interval_as_there_are_few_of_them() -> None:
    found = combine([0.3, 0.0, 0.0], [(g - 1e-6, g + 1e-6) for g in (0.3, 0.0, 0.0)])
    assert found.gain == pytest.approx(0.1)
    # Student's t of 2 degrees of freedom: 4.303 standard errors of 0.1.
    assert found.ci95 == pytest.approx((0.1 - 0.4303, 0.1 + 0.4303), abs=1e-3)
    assert found.p_value is not None
    assert found.p_value > 0.4


def test_no_gains_and_other_numbers_of_intervals_are_refused() -> None:
    for gains, intervals in (([], []), ([0.1], [])):
        with pytest.raises(ValueError, match="as many intervals as gains"):
            combine(gains, intervals)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "lowest"), [(2, 0.86), (3, 0.92)])
@pytest.mark.parametrize(("rows", "spread"), [(50, 0.0), (50, 0.1), (200, 0.05), (500, 0.1)])
def test_how_often_the_interval_covers_the_true_gain(rows: int, spread: float, seeds: int, lowest: float) -> None:
    rng = np.random.default_rng(1)
    covered, draws = 0, 2_000
    for _ in range(draws):
        gains, intervals = [], []
        base, skill = rng.random(rows) < 0.4, rng.random(rows)
        for _seed in range(seeds):
            right = skill < 0.6 + rng.normal(0, spread)
            gain = measure_gain([bool(b) for b in base], [bool(r) for r in right])
            gains.append(gain.gain)
            intervals.append(gain.ci95)
        low, high = combine(gains, intervals).ci95
        covered += low <= 0.2 <= high
    assert lowest <= covered / draws <= 0.995
