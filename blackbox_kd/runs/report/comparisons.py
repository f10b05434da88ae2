"""The parts of a report that stand beside accuracy: agreement with the teacher, win rates, the price of a gain."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blackbox_kd.analysis import statistics
from blackbox_kd.printable import quote_code
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.report.format import format_interval, format_percent

MEASURED = ("evaluations", "comparisons", "agreements", "win_rates")
"""Lists of the report whose entries are what a step has measured with a prompt."""
LEVEL = 0.05
"""How likely at most it may be that any gain of a report that is called real is chance."""
_ABOUT = ("model", "version", "against", "judge", "table", "round")
"""What an entry is about; `prompt` and `step` say how and where it was measured."""


def name_prompts(lists: Mapping[str, list[dict[str, Any]]], recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """The lists, each entry of what was measured with the `prompt` that its step has asked with."""
    exams = {label: planned.config.exam() for planned in recipe.steps for label in planned.labels}

    def find_prompt(entry: Mapping[str, Any]) -> str | None:
        exam = exams.get(entry["step"])
        return None if exam is None else exam.prompts.get(entry["model"], exam.prompt)

    return {
        key: [{**entry, "prompt": find_prompt(entry)} for entry in entries] if key in MEASURED else entries
        for key, entries in lists.items()
    }


def tell_apart(entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    """What sets an entry apart from others about the same: its prompt, or else its step; "" where nothing has to.

    The same measured again, with the same result, is no other thing.
    """
    about = [other for other in entries if all(other.get(key) == entry.get(key) for key in _ABOUT)]
    here = {**entry, "step": None}
    others = [other for other in about if {**other, "step": None} != here]
    if not others:
        return ""
    if entry.get("prompt") and all(other.get("prompt") != entry["prompt"] for other in others):
        return f"prompt {quote_code(entry['prompt'])}"
    return str(entry["step"])


def name_measured(entry: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The model of an evaluation, and how it was asked where it was asked in several ways."""
    apart = tell_apart(entry, evaluations)
    return f"{entry['model']} ({apart})" if apart else str(entry["model"])


def list_measures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """All that an evaluation has measured, by metric: value and interval."""
    return {"accuracy": {"value": entry["accuracy"], "ci95": entry["ci95"]}, **entry.get("metrics", {})}


def correct(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons with `p_holm`: the p value of each, corrected for how many of them the report makes."""
    found = statistics.adjust([entry.get("p_value") for entry in comparisons])
    return [{**entry, **({"p_holm": p} if p is not None else {})} for entry, p in zip(comparisons, found, strict=True)]


def find_side(entry: Mapping[str, Any]) -> int:
    """1 if a gain is real, -1 if a loss is, 0 if it may be chance: the interval and the test have to say so.

    Of metrics for which earlier versions have recorded no test the interval alone tells.
    """
    low, high = entry["ci95"] or (0, 0)
    p_value = find_p_value(entry)
    if p_value is not None and p_value >= LEVEL:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def find_p_value(entry: Mapping[str, Any]) -> float | None:
    """The p value that a comparison is judged by: the corrected one, where it was corrected."""
    found = entry.get("p_holm", entry.get("p_value"))
    return None if found is None else float(found)


def price_gains(comparisons: Iterable[Mapping[str, Any]], spent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Comparisons with `usd_per_point`: what the run has paid so far for each point (0.01) that was gained.

    None where the gain is not real, nothing was paid, or not all of the cost is known: what may be chance has no price.
    A benchmark is not what was paid for.
    """

    def is_bought(entry: Mapping[str, Any]) -> bool:
        return find_side(entry) > 0 and not entry.get("is_benchmark")

    usd = None if spent["usd_unknown"] else spent["usd"] or None
    return [
        {**entry, "usd_per_point": usd / (100 * entry["gain"]) if usd and is_bought(entry) else None}
        for entry in comparisons
    ]


def describe(report: Mapping[str, Any]) -> list[str]:
    """The sections of `report.md`; no lines where there is nothing to say."""
    entries, rates = report.get("agreements", []), report.get("win_rates", [])
    agreements = [f"- {_describe_agreement(entry, _describe_place(entry, entries))}" for entry in entries]
    win_rates = [f"- {_describe_win_rate(entry, _describe_place(entry, rates))}" for entry in rates]
    lines = ["## Agreement", "", *agreements, ""] if agreements else []
    return [*lines, "## Win rates", "", *win_rates, ""] if win_rates else lines


def _describe_agreement(entry: Mapping[str, Any], where: str) -> str:
    wrong = f" Of these {entry['same']:,} answers, {entry['same_wrong']:,} are wrong." if entry["same"] else ""
    return (
        f"On the same {entry['n']:,} rows of `{entry['table']}`{where}, `{entry['model']}` gives the answer of "
        f"`{entry['against']}` in {format_percent(entry['agreement'])} (95 % interval "
        f"{format_interval(entry['ci95'])}).{wrong}"
    )


def _describe_win_rate(entry: Mapping[str, Any], where: str) -> str:
    who = f"`{entry['model']}` against `{entry['against']}` on `{entry['table']}`{where}"
    if not entry["n"]:
        return f"{who}: `{entry['judge']}` gave no verdict."
    return (
        f"{who}, judged by `{entry['judge']}` in both orders on {entry['n']:,} rows: {entry['wins']:,} won, "
        f"{entry['losses']:,} lost, {entry['ties']:,} tied. With ties as halves it wins "
        f"{format_percent(entry['win_rate'])} (95 % interval {format_interval(entry['ci95'])}; sign test "
        f"p = {entry['p_value']:.2g}). Its scores come to {format_percent(entry['score_ratio'])} of the other's."
    )


def _describe_place(entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> str:
    """In what round an entry was measured, and what sets it apart from others."""
    parts = [f"round {entry['round']}" if entry.get("round") else "", tell_apart(entry, entries)]
    return "".join(f", {part}" for part in parts if part)
