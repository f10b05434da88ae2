"""Two texts that answer the same question before a judge, in both orders: who wins, how often, and by how much."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Any

from blackbox_kd.analysis import statistics, verdicts
from blackbox_kd.concurrency import all_of
from blackbox_kd.schema import Reply, Row

SCALE = (1, 10)
ANSWERS = ("Answer 1", "Answer 2")
"""What the two texts are called in the prompt and in the verdict."""
SHOWN = {"candidate_1", "candidate_2", *verdicts.SHOWN}
"""Variables that the judge's prompt gets besides the row's columns."""
WIN, LOSS, TIE = "win", "loss", "tie"

Pair = tuple[float, float]
Ask = Callable[[Row, Callable[[str], Pair]], Coroutine[Any, Any, Reply[Pair]]]
"""Gives the judge's reply to a prompt with these values, and what a function reads in it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge says of the texts `a` and `b`: first where `a` was shown first, then where `b` was.

    Args:
        a: the scores of `a`.
        b: the scores of `b`.
        replies: what the judge wrote.
    """

    a: Pair
    b: Pair
    replies: tuple[str, str]

    @property
    def means(self) -> Pair:
        """The scores of `a` and of `b` over both orders, so that its place earns a text nothing."""
        return fmean(self.a), fmean(self.b)

    @property
    def gaps(self) -> Pair:
        """By how much `a` is better in each order."""
        return self.a[0] - self.b[0], self.a[1] - self.b[1]

    @property
    def verdict(self) -> str:
        """Whether `a` wins; a tie where the orders disagree."""
        return WIN if min(self.gaps) > 0 else LOSS if max(self.gaps) < 0 else TIE


@dataclass(frozen=True, slots=True)
class _Read:
    """Reads the scores of the two texts."""

    labelled: verdicts.Labelled

    def __call__(self, text: str) -> Pair:
        found = self.labelled(text)
        return found[ANSWERS[0]], found[ANSWERS[1]]

    def example(self, text: str, random: Random) -> str:
        """See `Labelled.example`."""
        return self.labelled.example(text, random)


async def judge(
    row: Row,
    a: str,
    b: str,
    ask: Ask,
    *,
    scale: verdicts.Scale = SCALE,
    criteria: Mapping[str, str] | None = None,
) -> Comparison:
    """Lets a judge compare two texts, in both orders at once.

    Args:
        row: holds the question.
        a: a text.
        b: another one.
        ask: asks the judge.
        scale: the worst and the best score.
        criteria: what counts, meanings by name.
    """

    def show(first: str, second: str) -> Row:
        return row | verdicts.show({"candidate_1": first, "candidate_2": second}, criteria or {}, scale)

    read = _Read(verdicts.Labelled(ANSWERS, scale))
    a_first, b_first = await all_of(ask(show(a, b), read), ask(show(b, a), read))
    (a_1, b_1), (b_2, a_2) = a_first.value, b_first.value
    return Comparison((a_1, a_2), (b_1, b_2), (a_first.text, b_first.text))


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
