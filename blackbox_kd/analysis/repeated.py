"""What several replies of a model to each question come to: one right among them, and what most of them say."""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any

from blackbox_kd.analysis import statistics, voting
from blackbox_kd.schema import Row

Same = Callable[[str, str, Row], bool]


def estimate_pass(right: int, of: int, k: int) -> float:
    """How likely at least one of k replies is right, when `right` of `of` replies to the question were.

    Args:
        right: replies that are right.
        of: all replies, at least k.
        k: how many replies one would ask for.

    Raises:
        ValueError: there are fewer replies than k, or more right ones than replies.

    Source: Chen et al. 2021, arXiv:2107.03374, equation 1 (the estimate without bias).
    """
    if not (1 <= k <= of and 0 <= right <= of):
        raise ValueError(f"expected 1 <= k <= replies and as many right ones at most, got k {k}, {right} of {of}")
    return 1 - comb(of - right, k) / comb(of, k)


def score_questions(rows: Sequence[Row], samples: int, same: Same) -> dict[str, dict[str, float]]:
    """By metric and question, from 0 to 1: `pass@k` for k of 2, 4, ... and all, and `maj@k` for all replies.

    Questions to which fewer replies came are left out: they would tell less than k replies do. Without an answer that
    is commoner than any other one, the majority is wrong.

    Args:
        rows: the replies of one model.
        samples: replies that each question was asked for.
        same: says whether two answers are the same.
    """
    groups = {key: part for key, part in voting.group(rows, "question").items() if len(part) == samples}
    tries = [k for k in (2**power for power in range(1, samples.bit_length())) if k < samples] + [samples]
    right = {key: sum(bool(row["correct"]) for row in part) for key, part in groups.items()}
    found = {f"pass@{k}": {key: estimate_pass(right[key], samples, k) for key in groups} for k in tries}
    return {**found, f"maj@{samples}": {key: float(_is_right(part, same)) for key, part in groups.items()}}


def measure(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """The mean of each metric over the questions, with its interval."""
    means = {name: list(each.values()) for name, each in scores.items() if each}
    return {
        name: {"value": sum(each) / len(each), "ci95": list(statistics.bound_share(each))}
        for name, each in means.items()
    }


def compare(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """By how much a second model is better, by the metrics that are either right or wrong of a question."""
    found = {}
    for name in after.keys() & before.keys():
        common = [key for key in after[name] if key in before[name]]
        first, second = ([each[name][key] for key in common] for each in (before, after))
        if common and all(value in (0, 1) for value in (*first, *second)):
            sides = ([bool(value) for value in side] for side in (first, second))
            found[name] = statistics.measure_gain(*sides).write()
    return dict(sorted(found.items()))


def _is_right(rows: Sequence[Row], same: Same) -> bool:
    most = voting.find_majority(rows, "answer", same)
    return most is not None and bool(most.row["correct"])
