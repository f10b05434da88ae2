"""What the answers of models to the same questions come to: accuracy, gains, and how far models agree."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.analysis import statistics
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import ModelRef, Row

Same = Callable[[str, str, Row], bool]
"""Says of an answer, a reference and a row whether the answer is right."""
Answered = Mapping[str, Mapping[str, Row]]
"""By model, in the recipe's order, and by question: the row with its `answer`, `correct` and `finish_reason`."""
TEACHER = "teacher"


def accuracy(
    rows: Sequence[Row], by: Sequence[str] = (), more: Callable[[Sequence[Row]], Mapping[str, Any]] = lambda rows: {}
) -> dict[str, Any]:
    """How many of a model's answers are right, with the interval, and the same for the values of each column.

    Args:
        rows: of N questions; those that nobody reads have neither an answer nor `correct`.
        by: the columns.
        more: what else is told of rows.
    """
    is_read = not rows or rows[0]["correct"] is not None
    right = sum(bool(row["correct"]) for row in rows)
    found: dict[str, Any] = {
        "n": len(rows),
        "accuracy": right / len(rows) if rows and is_read else None,
        "ci95": list(statistics.wilson(right, len(rows))) if rows and is_read else None,
        "right": right if is_read else None,
        "read": sum(row["answer"] is not None for row in rows) if is_read else None,
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        **more(rows),
    }
    for column in by:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[write_text(row[column])].append(row)
        slices = {value: accuracy(group, more=more) for value, group in sorted(groups.items())}
        found.setdefault("slices", {})[column] = slices
    return found


def find_pairs(answered: Answered, untrained: Collection[str] = ()) -> Iterator[tuple[str, str, list[str]]]:
    """Which model is compared with which other one, and the questions that both have answered.

    Each is compared with its `@base`, or else with the first model, and with each one that is never trained; no two of
    them twice.

    Args:
        answered: the models and their rows.
        untrained: models that the recipe never trains: what they reach is what a student can hope for.
    """
    bases = {model: str(ModelRef.parse(model).base) for model in answered}
    first = next(iter(answered), "")
    pairs = [(m, base if base in answered and base != m else first) for m, base in bases.items()]
    pairs += [(model, other) for model in answered for other in answered if other in untrained]
    seen: set[frozenset[str]] = set()
    for model, against in pairs:
        both = _list_common(answered, model, against)
        if model != against and both and frozenset((model, against)) not in seen:
            seen.add(frozenset((model, against)))
            yield model, against, both


def gains(answered: Answered, seed: int, untrained: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """What each model is better by than those that it is compared with: see `find_pairs`."""
    for model, against, both in find_pairs(answered, untrained):
        after = [answered[model][key] for key in both]
        before = [answered[against][key] for key in both]
        gain = statistics.measure_gain(_list_right(before), _list_right(after), seed=seed)
        yield {
            "model": model,
            "against": against,
            "n": len(both),
            "gain": gain.gain,
            "ci95": list(gain.ci95),
            "p_value": gain.p_value,
            "gained": gain.gained,
            "lost": gain.lost,
            "split": _split(before, after, gain.gain, seed),
        }


def _list_right(rows: Sequence[Row]) -> list[bool]:
    return [bool(row["correct"]) for row in rows]


def _split(before: Sequence[Row], after: Sequence[Row], gain: float, seed: int) -> dict[str, Any]:
    """What a gain is made of: answers that can be read, which is form, and answers that are right.

    Only rows where both models can be read tell of the second: there the paired difference is one of answers. Where
    one of them cannot be read nobody knows what it would have answered, and the difference is booked as one of form.

    Args:
        before: answers of the model that is compared with, to N questions.
        after: those of the other model to the same questions, in the same order.
        gain: of the second over the first.
        seed: seeds the bootstrap.
    """
    read = [(one["answer"] is not None, other["answer"] is not None) for one, other in zip(before, after, strict=True)]
    at = [number for number, each in enumerate(read) if all(each)]
    alike = [False] * (len(read) - len(at))  # no difference, so that the parts are points of all rows and add up
    answers = statistics.measure_gain(
        [*alike, *_list_right([before[n] for n in at])], [*alike, *_list_right([after[n] for n in at])], seed=seed
    )
    return {
        "read": sum(other for _, other in read),
        "against_read": sum(one for one, _ in read),
        "both_read": len(at),
        "by_form": gain - answers.gain,
        "by_answers": answers.gain,
        "ci95": list(answers.ci95),
        "p_value": answers.p_value,
    }


def agreements(answered: Answered, is_equal: Same) -> Iterator[dict[str, Any]]:
    """In how many questions each model gives the same answer as the model `teacher`, or else the first one.

    An answer that cannot be read is the same as none. Beside accuracy this tells a student that has learnt the task
    from one that has learnt its teacher's mistakes: `same_wrong` counts wrong answers that both gave.

    Source: Stanton et al. 2021, arXiv:2106.05945 (fidelity is not generalisation).
    """
    with_whom = TEACHER if TEACHER in answered else next(iter(answered))
    for model in answered:
        both = _list_common(answered, model, with_whom)
        if model == with_whom or not both:
            continue
        same = [key for key in both if _is_same(answered[model][key], answered[with_whom][key], is_equal)]
        yield {
            "model": model,
            "against": with_whom,
            "n": len(both),
            "agreement": len(same) / len(both),
            "ci95": list(statistics.wilson(len(same), len(both))),
            "same": len(same),
            "same_wrong": sum(not answered[model][key]["correct"] for key in same),
        }


def _list_common(answered: Answered, model: str, other: str) -> list[str]:
    return [key for key in answered[model] if key in answered[other]]


def _is_same(row: Row, other: Row, is_equal: Same) -> bool:
    own, theirs = row["answer"], other["answer"]
    if own is None or theirs is None:
        return False
    if own == theirs:
        return True
    try:
        return is_equal(str(own), str(theirs), row)
    except DataError:  # a verifier that reads references cannot read what a model made up
        return False
