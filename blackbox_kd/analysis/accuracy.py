"""What the answers of models to the same questions come to: accuracy, gains, and how far models agree."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.analysis import statistics, voting
from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import BASE, ModelRef, Row

Same = Callable[[str, str, Row], bool]
"""Says of an answer, a reference and a row whether the answer is right."""
Answered = Mapping[str, Mapping[str, Row]]
"""By model, in the recipe's order, and by question: the row with its `answer`, `correct` and `finish_reason`."""
TEACHER = "teacher"
MAIN = "main"
"""What the chain as it stands is called beside the arms of a recipe."""


def name_reply(row: Row) -> str:
    """What a reply is to: the question, and which of several replies to it."""
    return f"{row['question']}.{row['sample']}" if row.get("sample") is not None else str(row["question"])


def accuracy(
    rows: Sequence[Row],
    by: Sequence[str] = (),
    more: Callable[[Sequence[Row]], Mapping[str, Any]] = lambda rows: {},
    cluster: str | None = None,
) -> dict[str, Any]:
    """How many of a model's answers are right, with the interval, and the same for the values of each column.

    Args:
        rows: of N questions; those that nobody reads have neither an answer nor `correct`.
        by: the columns.
        more: what else is told of rows.
        cluster: column with what rows belong to that are alike.
    """
    is_read = not rows or rows[0]["correct"] is not None
    right = sum(bool(row["correct"]) for row in rows)
    clusters = list_clusters(rows, cluster)
    found: dict[str, Any] = {
        "n": len(rows),
        "accuracy": right / len(rows) if rows and is_read else None,
        "ci95": list(statistics.bound_share(_list_right(rows), clusters)) if rows and is_read else None,
        "right": right if is_read else None,
        "read": sum(row["answer"] is not None for row in rows) if is_read else None,
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        **more(rows),
    }
    for column in by:
        slices = {
            value: accuracy(part, (), more, cluster) for value, part in sorted(voting.group(rows, column).items())
        }
        found.setdefault("slices", {})[column] = slices
    return found


def list_clusters(rows: Sequence[Row], cluster: str | None) -> list[str] | None:
    """What each row belongs to; None where each stands for itself."""
    return None if cluster is None else [write_text(row[cluster]) for row in rows]


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


def list_compared(
    answered: Answered, main: Sequence[Row], is_trained: Callable[[str], bool]
) -> Iterator[tuple[str, Answered]]:
    """What is compared with what, by lists of the report: the models of an exam, and each of an arm with its like.

    Args:
        answered: the models and their rows.
        main: in an arm, the rows of the same exam of the chain as it stands.
        is_trained: whether the recipe trains a model.
    """
    yield "comparisons", answered
    for model, rows in answered.items():
        own = {name_reply(row): row for row in main if row["model"] == model}
        if own and is_trained(model) and ModelRef.parse(model).version != BASE:
            yield "arm_gains", {MAIN: own, model: rows}


def gains(
    answered: Answered, untrained: Collection[str] = (), by: Sequence[str] = (), cluster: str | None = None
) -> Iterator[dict[str, Any]]:
    """What each model is better by than those that it is compared with: see `find_pairs`.

    Args:
        answered: the models and their rows.
        untrained: models that the recipe never trains.
        by: columns by whose values the gain is also told.
        cluster: column with what rows belong to that are alike.
    """
    for model, against, both in find_pairs(answered, untrained):
        after = [answered[model][key] for key in both]
        before = [answered[against][key] for key in both]
        found = {"model": model, "against": against, **_compare(before, after, cluster)}
        for column in by:
            parts = sorted(voting.group(after, column).items())
            slices = {
                value: _compare([answered[against][name_reply(row)] for row in own], own, cluster)
                for value, own in parts
            }
            found.setdefault("slices", {})[column] = slices
        yield {**found, "split": _split(before, after, found["gain"], cluster)}


def _compare(before: Sequence[Row], after: Sequence[Row], cluster: str | None) -> dict[str, Any]:
    return statistics.measure_gain(_list_right(before), _list_right(after), list_clusters(after, cluster)).write()


def _list_right(rows: Sequence[Row]) -> list[bool]:
    return [bool(row["correct"]) for row in rows]


def _split(before: Sequence[Row], after: Sequence[Row], gain: float, cluster: str | None) -> dict[str, Any]:
    """What a gain is made of: answers that can be read, which is form, and answers that are right.

    Only rows where both models can be read tell of the second: there the paired difference is one of answers. Where
    one of them cannot be read nobody knows what it would have answered, and the difference is booked as one of form.

    Args:
        before: answers of the model that is compared with, to N questions.
        after: those of the other model to the same questions, in the same order.
        gain: of the second over the first.
        cluster: column with what rows belong to that are alike.
    """
    read = [(one["answer"] is not None, other["answer"] is not None) for one, other in zip(before, after, strict=True)]
    at = {number for number, each in enumerate(read) if all(each)}
    # Elsewhere there is no difference, so that the parts are points of all rows and add up.
    first, second = (
        [bool(row["correct"]) and place in at for place, row in enumerate(rows)] for rows in (before, after)
    )
    answers = statistics.measure_gain(first, second, list_clusters(after, cluster))
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
