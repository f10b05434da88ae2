"""Intervals and tests against published and hand-computed values, and their coverage."""

import subprocess
import sys

import numpy as np
import pytest

from blackbox_kd.analysis.statistics import measure_gain, wilson, win_rate


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe 1998, Stat. Med. 17, 857-872, table I, method 3 (Wilson's score interval)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected k of n"):
        wilson(k, n)


def test_wilson_covers_95_percent() -> None:
    rng = np.random.default_rng(0)
    for share, n in ((0.1, 40), (0.5, 30), (0.9, 100)):
        intervals = [wilson(k, n) for k in range(n + 1)]
        covered = [intervals[k][0] <= share <= intervals[k][1] for k in rng.binomial(n, share, size=4_000)]
        assert 0.93 < np.mean(covered) < 0.98


def paired(gained: int, lost: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [False] * gained + [True] * lost + [True] * both + [False] * neither
    second = [True] * gained + [False] * lost + [True] * both + [False] * neither
    return first, second


def test_a_gain_is_the_difference_of_the_shares() -> None:
    found = measure_gain(*paired(gained=9, lost=3, both=20, neither=8), seed=0)
    assert found.gain == pytest.approx(6 / 40)
    assert (found.gained, found.lost, found.rows) == (9, 3, 40)


def test_the_p_value_is_mcnemars_exact_one() -> None:
    # 2 * (C(12,0) + ... + C(12,3)) / 2**12
    assert measure_gain(*paired(9, 3, 20, 8), seed=0).p_value == pytest.approx(2 * 299 / 4096)
    assert measure_gain(*paired(5, 5, 0, 0), seed=0).p_value == 1
    assert measure_gain(*paired(0, 0, 5, 5), seed=0).p_value == 1


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = paired(9, 3, 20, 8)
    assert measure_gain(*rows, seed=4) == measure_gain(*rows, seed=4)


def test_the_interval_is_that_of_resampled_rows() -> None:
    first, second = paired(30, 10, 100, 60)
    difference = np.array(second, dtype=int) - np.array(first, dtype=int)
    drawn = np.random.default_rng(1).choice(difference, size=(4_000, 200)).mean(axis=1)
    assert measure_gain(first, second, seed=0).ci95 == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)


def test_the_interval_covers_95_percent() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for seed in range(300):
        first = rng.random(200) < 0.5
        second = np.where(rng.random(200) < 0.3, rng.random(200) < 0.8, first)
        low, high = measure_gain(list(first), list(second), seed=seed).ci95
        covered.append(low <= 0.3 * (0.8 - 0.5) <= high)
    assert 0.91 < np.mean(covered) < 0.99


def test_rows_must_be_paired() -> None:
    with pytest.raises(ValueError, match="as many results of both models"):
        measure_gain([True], [True, False], seed=0)
    with pytest.raises(ValueError, match="at least one"):
        measure_gain([], [], seed=0)


def test_a_tie_is_half_a_win_and_no_evidence() -> None:
    found = win_rate(wins=8, losses=2, ties=10)
    assert found.rate == pytest.approx(0.65)
    assert found.p_value == pytest.approx(2 * 56 / 1024)
    assert found.ci95[0] < 0.65 < found.ci95[1]


def test_without_ties_a_win_rate_has_wilsons_interval() -> None:
    assert win_rate(8, 2).ci95 == pytest.approx(wilson(8, 10))


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 3, 0)])
def test_a_win_rate_needs_comparisons(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected counts"):
        win_rate(*counts)


def test_the_module_is_imported_without_scipy() -> None:
    code = "import sys, blackbox_kd.analysis.statistics; print('scipy' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
