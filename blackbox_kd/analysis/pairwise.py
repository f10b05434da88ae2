"""Two models' answers to the same questions before a judge, in both orders: who wins, how often, and by how much."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from statistics import fmean
from typing import Any

from blackbox_kd.analysis import statistics, verdicts
from blackbox_kd.concurrency import all_of
from blackbox_kd.schema import Row, digest

SCALE = (1, 10)
ANSWERS = ("Answer 1", "Answer 2")
"""What the two texts are called in the prompt and in the verdict."""
SHOWN = {"candidate_1", "candidate_2", "criteria", "low", "high", "fence"}
"""Variables that the judge's prompt gets besides the row's columns."""
WIN, LOSS, TIE = "win", "loss", "tie"
Scores = tuple[float, float]
"""What a judge gives two answers, in the order in which it was shown them."""


async def judge(row: Row, other: str, ask: Callable[[Row], Awaitable[Scores]]) -> dict[str, Any]:
    """What a judge says of the row's response and another one.

    Args:
        row: holds the question and `response`.
        other: the other model's response.
        ask: gives what `read_scores` reads in the judge's reply to a prompt with these values.

    Returns:
        `score` and `against_score`, each the mean over both orders; `verdict`, a tie where the orders disagree;
        `gaps`, the score minus the other's in each order.
    """
    own = str(row["response"])
    orders = (own, other), (other, own)
    (own_1, other_1), (other_2, own_2) = await all_of(*(_ask(row, first, second, ask) for first, second in orders))
    gaps = (own_1 - other_1, own_2 - other_2)
    verdict = WIN if min(gaps) > 0 else LOSS if max(gaps) < 0 else TIE
    return {
        "score": fmean((own_1, own_2)),
        "against_score": fmean((other_1, other_2)),
        "verdict": verdict,
        "gaps": gaps,
    }


async def _ask(row: Row, first: str, second: str, ask: Callable[[Row], Awaitable[Scores]]) -> Scores:
    low, high = SCALE
    shown = {"candidate_1": first, "candidate_2": second, "criteria": {}, "low": low, "high": high}
    return await ask(row | shown | {"fence": digest(sorted((first, second)), 12)})


def read_scores(text: str) -> Scores:
    """The scores in a judge's reply.

    Raises:
        ValueError: they cannot be read.
    """
    found = verdicts.read_labelled(text, ANSWERS, SCALE)
    return found[ANSWERS[0]], found[ANSWERS[1]]


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the judged rows of a model come to; `win_rate` is None if there are none.

    `score_ratio` is the sum of its scores as a share of the sum of the other's.

    Source: Jiang et al. 2023, arXiv:2305.12870 (the score as a share of the teacher's).
    """
    judged_rows = [row for row in rows if row["verdict"] is not None]
    counts = {kind: sum(row["verdict"] == kind for row in judged_rows) for kind in (WIN, LOSS, TIE)}
    found: dict[str, Any] = {"n": len(judged_rows), "win_rate": None, "ci95": None, "p_value": None}
    found |= {"wins": counts[WIN], "losses": counts[LOSS], "ties": counts[TIE], "score_ratio": None}
    if judged_rows:
        rate = statistics.win_rate(counts[WIN], counts[LOSS], counts[TIE])
        against = sum(row["against_score"] for row in judged_rows)
        found |= {"win_rate": rate.rate, "ci95": list(rate.ci95), "p_value": rate.p_value}
        found |= {"score_ratio": sum(row["score"] for row in judged_rows) / against}
    return found
