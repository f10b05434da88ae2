"""How far judges agree: with each other, with checked answers, and with themselves when two answers change places; and
how often the longer of two texts wins.

A row step sees one row at a time and may run in shards, so all that it can leave are counters, which add up. What a
counter counts stands in its name, from the general to the particular: `agree|a|b|above 3|both` are the rows of which
both reviewers, `a` and `b`, said yes when they were asked whether the score is above 3. The first part says what is
measured, so that others' counters in the same account are left alone; the last one is the cell of a table, and the
parts between name the table. Names of models have no `|`, nor has what is asked.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from blackbox_kd.analysis import statistics

MEAN = "(mean)"
"""Stands for all judges together; no model can be called so."""
_CELLS = {(True, True): "both", (True, False): "first", (False, True): "second", (False, False): "none"}
_BOTH, _FIRST, _SECOND, _NONE = _CELLS.values()
Counts = Mapping[str, float]


def count_numbers(numbers: Mapping[str, float], above: float, correct: bool | None) -> Counter[str]:
    """What one row adds: who said the same, who was on the same side, and who was right.

    Args:
        numbers: each judge's number.
        above: the threshold; a number equal to it is not above it.
        correct: whether the judged answer is right; None if nobody checked it.
    """
    question = f"above {above:g}"
    found: Counter[str] = Counter()
    for (first, one), (second, other) in combinations(numbers.items(), 2):
        found[_join_parts("agree", first, second, question, _CELLS[one > above, other > above])] += 1
        found[_join_parts("agree", first, second, question, "equal")] += one == other
    if correct is not None:
        # The panel as a whole, too: its mean is what rows are kept by, and it can be right where each judge errs.
        mean = sum(numbers.values()) / len(numbers)
        for judge, number in {**numbers, MEAN: mean}.items():
            found[_join_parts("checked", judge, question, _CELLS[number > above, correct])] += 1
    return found


def count_orders(gaps: Mapping[str, tuple[float, float]]) -> Counter[str]:
    """What one compared pair of texts adds.

    Args:
        gaps: each judge's gap, score of `a` minus score of `b`: with `a` shown first, and with `b` shown first.
    """
    found: Counter[str] = Counter()
    for judge, (a_first, b_first) in gaps.items():
        # Two opposite verdicts are bias by position, told by the side that won; one tie may be an honest close call.
        if _sign(a_first) == _sign(b_first):
            kind = "same"
        elif _sign(a_first) * _sign(b_first) < 0:
            kind = "first" if a_first > 0 else "second"
        else:
            kind = "tie"
        found[_join_parts("orders", judge, kind)] += 1
    # Judges are compared by both orders together, so that a common bias for the first place is no agreement.
    for (first, one), (second, other) in combinations({judge: sum(pair) for judge, pair in gaps.items()}.items(), 2):
        found[_join_parts("agree", first, second, "a better", _CELLS[one > 0, other > 0])] += 1
        found[_join_parts("agree", first, second, "a better", "equal")] += _sign(one) == _sign(other)
    return found


def count_pairs(gaps: Mapping[str, tuple[float, float]], a: str, b: str) -> Counter[str]:
    """What one compared pair adds of both kinds."""
    return count_orders(gaps) + count_lengths(gaps, a, b)


def count_lengths(gaps: Mapping[str, tuple[float, float]], a: str, b: str) -> Counter[str]:
    """What one compared pair adds where a judge names a winner over both orders: whether that is the longer text.

    Args:
        gaps: as for `count_orders`.
        a: a text.
        b: another one; of texts of one length neither is longer.
    """
    longer = _sign(len(a) - len(b))
    sides = {judge: _sign(sum(pair)) for judge, pair in gaps.items()}
    won = {judge: "longer" if side == longer else "shorter" for judge, side in sides.items() if side and longer}
    return Counter(_join_parts("length", judge, kind) for judge, kind in won.items())


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _join_parts(*parts: str) -> str:
    return "|".join(parts)


@dataclass(frozen=True, slots=True)
class Square:
    """Two verdicts of yes or no on the same N rows.

    Args:
        both: rows where both said yes.
        first: where only the first did.
        second: where only the second did.
        none: where neither did.
    """

    both: int
    first: int
    second: int
    none: int

    @property
    def rows(self) -> int:
        """N."""
        return self.both + self.first + self.second + self.none

    @property
    def same(self) -> int:
        """Rows on which the two agree."""
        return self.both + self.none

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond that of two who say yes as often, but blindly; None if they cannot differ.

        Source: Cohen 1960, Educ. Psychol. Meas. 20(1), 37-46.
        """
        yes, other = (self.both + self.first) / self.rows, (self.both + self.second) / self.rows
        by_chance = yes * other + (1 - yes) * (1 - other)
        return None if by_chance == 1 else (self.same / self.rows - by_chance) / (1 - by_chance)


def summarise(counts: Counts) -> dict[str, list[dict[str, Any]]]:
    """What the counters of a step say, as `report.json` holds it; empty if nothing was counted."""
    found = {
        "agreement": list(_summarise_agreement(counts)),
        "checked": list(_summarise_checks(counts)),
        "orders": list(_summarise_orders(counts)),
        "lengths": list(_summarise_lengths(counts)),
    }
    return {name: entries for name, entries in found.items() if entries}


def _group_counts(counts: Counts, kind: str) -> Iterator[tuple[list[str], dict[str, int]]]:
    """The counters of a kind: the parts of the name but the first and the last, and the counts by the last."""
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for name, amount in counts.items():
        counter, _, parts = name.partition("|")
        if counter == kind:
            *middle, last = parts.split("|")
            groups.setdefault(tuple(middle), {})[last] = int(amount)
    yield from ((list(middle), amounts) for middle, amounts in groups.items())


def _make_square(amounts: Mapping[str, int]) -> Square:
    return Square(*(amounts.get(cell, 0) for cell in (_BOTH, _FIRST, _SECOND, _NONE)))


def _summarise_agreement(counts: Counts) -> Iterator[dict[str, Any]]:
    for (first, second, question), amounts in _group_counts(counts, "agree"):
        square = _make_square(amounts)
        yield {
            "reviewers": [first, second],
            "question": question,
            "rows": square.rows,
            "equal": amounts.get("equal", 0),
            "same_side": square.same,
            "ci95": list(statistics.wilson(square.same, square.rows)),
            "kappa": square.kappa,
            "both": square.both,
            "only_first": square.first,
            "only_second": square.second,
            "neither": square.none,
        }


def _summarise_checks(counts: Counts) -> Iterator[dict[str, Any]]:
    for (judge, question), amounts in _group_counts(counts, "checked"):
        square = _make_square(amounts)
        right, wrong = square.both + square.second, square.first + square.none
        yield {
            "judge": judge,
            "question": question,
            "rows": square.rows,
            "right": right,
            "right_accepted": square.both,
            "right_accepted_ci95": _find_interval(square.both, right),
            "wrong": wrong,
            "wrong_accepted": square.first,
            "wrong_accepted_ci95": _find_interval(square.first, wrong),
            "kappa": square.kappa,
        }


def _summarise_orders(counts: Counts) -> Iterator[dict[str, Any]]:
    for (judge,), amounts in _group_counts(counts, "orders"):
        rows = sum(amounts.values())
        changed = rows - amounts.get("same", 0)
        yield {
            "judge": judge,
            "rows": rows,
            "changed": changed,
            "ci95": list(statistics.wilson(changed, rows)),
            "first_won_twice": amounts.get("first", 0),
            "second_won_twice": amounts.get("second", 0),
            "tie_in_one_order": amounts.get("tie", 0),
        }


def _summarise_lengths(counts: Counts) -> Iterator[dict[str, Any]]:
    for (judge,), amounts in _group_counts(counts, "length"):
        rows, longer = sum(amounts.values()), amounts.get("longer", 0)
        yield {"judge": judge, "rows": rows, "longer_won": longer, "ci95": list(statistics.wilson(longer, rows))}


def _find_interval(k: int, n: int) -> Sequence[float] | None:
    return list(statistics.wilson(k, n)) if n else None
