"""Intervals and tests against published and hand-computed values, and their coverage."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom

from blackbox_kd.analysis.statistics import adjust, bound_share, measure_gain, wilson, win_rate
from blackbox_kd.runs.report import comparisons


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
    found = measure_gain(*paired(gained=9, lost=3, both=20, neither=8))
    assert found.gain == pytest.approx(6 / 40)
    assert (found.gained, found.lost, found.rows) == (9, 3, 40)


def test_the_p_value_is_mcnemars_exact_one() -> None:
    # 2 * (C(12,0) + ... + C(12,3)) / 2**12
    assert measure_gain(*paired(9, 3, 20, 8)).p_value == pytest.approx(2 * 299 / 4096)
    assert measure_gain(*paired(5, 5, 0, 0)).p_value == 1
    assert measure_gain(*paired(0, 0, 5, 5)).p_value == 1


@pytest.mark.parametrize(("gained", "lost", "rows"), [(9, 3, 40), (0, 0, 20), (12, 0, 12), (1, 0, 44), (30, 10, 200)])
def test_the_interval_holds_what_the_score_test_does_not_rule_out(gained: int, lost: int, rows: int) -> None:
    found = measure_gain(*paired(gained, lost, 0, rows - gained - lost)).ci95
    assert found == pytest.approx(keep_by_score(gained, lost, rows), abs=2e-3)


def keep_by_score(gained: int, lost: int, rows: int) -> tuple[float, float]:
    """The ends of the differences whose score statistic is small, with the nuisance rate found by search."""
    kept = []
    for difference in np.linspace(-1, 1, 2001):
        rates = np.linspace(max(0.0, -difference), min(1.0, (1 - difference) / 2 if difference < 1 else 0.0), 4001)
        other, same = rates + difference, 1 - 2 * rates - difference
        counts = ((lost, rates), (gained, other), (rows - gained - lost, same))
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [np.where(n > 0, n * np.log(p), 0.0) for n, p in counts]
        likely = np.nan_to_num(sum(parts), nan=-np.inf)
        rate = rates[int(np.argmax(likely))]
        square = rows * (2 * rate + difference * (1 - difference))
        away = gained - lost - rows * difference
        if abs(away) <= 1.959964 * np.sqrt(max(square, 0)) + 1e-9:
            kept.append(float(difference))
    return min(kept), max(kept)


@pytest.mark.parametrize("counts", [(0, 0, 10, 10), (0, 0, 5, 0), (7, 0, 0, 0), (0, 7, 0, 0), (1, 0, 0, 0)])
def test_own_an_interval_always_has_a_width(counts: tuple[int, int, int, int]) -> None:
    found = measure_gain(*paired(*counts))
    assert found.ci95[0] < found.ci95[1]
    assert -1 <= found.ci95[0] <= found.gain <= found.ci95[1] <= 1


@pytest.mark.parametrize("rows", [4, 10, 20, 200, 2000])
def test_four_gained_and_none_lost_is_never_real(rows: int) -> None:
    found = measure_gain(*paired(4, 0, rows - 4, 0))
    assert found.p_value == pytest.approx(0.125)
    entry = {"ci95": list(found.ci95), "p_value": found.p_value}
    assert comparisons.find_side(entry) == 0
    assert comparisons.find_side(entry | {"p_holm": 0.125}) == 0


CELLS = [(0.02, 0.01), (0.05, 0.0), (0.05, 0.02), (0.1, 0.05), (0.2, 0.05), (0.3, 0.1), (0.5, 0.05)]
"""How likely a row is gained, and lost."""


@pytest.mark.parametrize("rows", [20, 50, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (100, 200, 500))])
@pytest.mark.parametrize(("gained", "lost"), CELLS)
def test_the_interval_covers_95_percent(gained: float, lost: float, rows: int) -> None:
    """Where fewer than five rows are expected to change, counts are too few for any interval to be as narrow."""
    changed = binom.pmf(range(rows + 1), rows, gained + lost)
    ends: dict[tuple[int, int], tuple[float, float]] = {}
    total = covered = 0.0
    for change in np.flatnonzero(changed > 1e-6):
        for more, chance in enumerate(binom.pmf(range(change + 1), change, gained / (gained + lost))):
            if (weight := chance * changed[change]) > 1e-7:
                less = int(change) - more
                low, high = ends[more, less] = measure_gain(*paired(more, less, 0, rows - more - less)).ci95
                total, covered = total + weight, covered + weight * (low <= gained - lost <= high)
    assert total > 0.999
    assert covered / total >= 0.93
    assert covered / total <= (0.975 if rows * (gained + lost) >= 5 else 1.0)
    drawn = np.random.default_rng(0).multinomial(rows, [gained, lost, 1 - gained - lost], size=2_000)
    seen = [ends[more, less] for more, less, _ in drawn if (more, less) in ends]
    share = np.mean([low <= gained - lost <= high for low, high in seen])
    assert share == pytest.approx(covered / total, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.0, 0.5, 0.9])
def test_own_with_clusters_the_interval_covers_95_percent_too(together: float) -> None:
    """Sixty clusters of four rows, of which a part does whatever the first row of the cluster does."""
    rng, covered, alone = np.random.default_rng(1), [], []
    clusters = [number for number in range(60) for _ in range(4)]
    for _ in range(2_000):
        change = rng.choice([1, -1, 0], p=[0.3, 0.1, 0.6], size=(60, 4))
        change = np.where(rng.random((60, 1)) < together, change[:, :1], change).ravel()
        rows = ([bool(each == -1) for each in change], [bool(each == 1) for each in change])
        low, high = measure_gain(*rows, clusters).ci95
        covered.append(low <= 0.2 <= high)
        low, high = measure_gain(*rows).ci95
        alone.append(low <= 0.2 <= high)
    assert 0.93 <= np.mean(covered) <= 0.98
    assert together == 0 or np.mean(alone) < np.mean(covered) - 0.05


def test_copies_of_a_row_are_no_evidence_where_they_are_a_cluster() -> None:
    rows = paired(9, 3, 20, 8)
    copied = tuple([each for each in side for _ in range(5)] for side in rows)
    clusters = [number for number in range(40) for _ in range(5)]
    found, once = measure_gain(*copied, clusters), measure_gain(*rows)
    assert found.p_value == pytest.approx(once.p_value)
    assert found.ci95 == pytest.approx(once.ci95, abs=0.005)
    assert measure_gain(*copied).ci95[0] > 0 > found.ci95[0]
    assert bound_share([float(each) for each in copied[1]], clusters) == pytest.approx(wilson(29, 40), abs=0.005)


def test_signs_of_many_clusters_are_judged_by_the_normal_distribution_as_by_all_ways() -> None:
    rng = np.random.default_rng(3)
    change = rng.choice([1, -1], p=[0.52, 0.48], size=1_100)
    rows = ([bool(each == -1) for each in change], [bool(each == 1) for each in change])
    assert measure_gain(*rows, list(range(1_100))).p_value == pytest.approx(measure_gain(*rows).p_value, abs=0.01)
    few = tuple(side[:900] for side in rows)
    assert measure_gain(*few, list(range(900))).p_value == pytest.approx(measure_gain(*few).p_value)


def test_p_values_of_several_comparisons_are_corrected_as_holm_has_it() -> None:
    # The smallest times 4, the next one times 3, and none below one that is smaller.
    assert adjust([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert adjust([0.9, 0.8]) == [1.0, 1.0]
    assert adjust([None, 0.2]) == [None, 0.2]
    assert adjust([]) == []


def test_rows_must_be_paired() -> None:
    with pytest.raises(ValueError, match="as many results of both models"):
        measure_gain([True], [True, False])
    with pytest.raises(ValueError, match="at least one"):
        measure_gain([], [])


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
