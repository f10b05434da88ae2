"""The parts of a report that are of one arm or seed, and what arms and seeds come to side by side."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from blackbox_kd.analysis import seeds
from blackbox_kd.analysis.accuracy import MAIN
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.report import comparisons
from blackbox_kd.schema import BASE, ModelRef

OF_VARIANTS = (
    "evaluations", "comparisons", "agreements", "win_rates", "requirements", "trainings", "loops", "mixtures",
    "benchmarks",
)  # fmt: skip
"""Lists of the report whose entries are each of one arm and one seed, where the recipe has some."""

Lists = Mapping[str, list[dict[str, Any]]]


def join(recorded: Sequence[tuple[Recipe, Lists]]) -> dict[str, list[dict[str, Any]]]:
    """The lists of all arms and seeds, each entry with the prompt that it was measured with, its arm and its seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for recipe, lists in recorded:
        for key, entries in comparisons.name_prompts(lists, recipe).items():
            found.setdefault(key, []).extend({**entry, **recipe.marks} for entry in entries)
    return found


def select(report: Mapping[str, Any], recipe: Recipe | None = None) -> dict[str, Any]:
    """The report with the entries of one arm and seed alone: those of a recipe, or of the chain as it stands."""
    variants = report.get("variants") or [{}]
    marks = variants[0] if recipe is None else recipe.marks
    return {
        key: [entry for entry in value if {k: entry[k] for k in marks if k in entry} in ({}, marks)]
        if key in OF_VARIANTS
        else value
        for key, value in report.items()
    }


def describe_marks(entry: Mapping[str, Any]) -> str:
    """Which arm and seed an entry is of, to stand behind its name; empty where there are none."""
    told = [f"{key} {entry[key]}" for key in ("arm", "seed") if entry.get(key) is not None]
    return "".join(f", {part}" for part in told)


def tabulate(lists: Lists) -> list[dict[str, Any]]:
    """What the comparisons of each arm come to over all seeds: with other models, and with the arm `main`."""
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in (*lists.get("comparisons", ()), *lists.get("arm_gains", ())):
        about = (entry.get("arm"), *(entry[key] for key in ("step", "table", "model", "against")))
        grouped.setdefault((*about, entry.get("metric", "accuracy"), entry.get("round", 0)), []).append(entry)
    return [_sum_up(about, entries) for about, entries in grouped.items()]


def _sum_up(about: tuple[Any, ...], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    arm, step, table, model, against, metric, number = about
    gains, intervals = [entry["gain"] for entry in entries], [entry["ci95"] for entry in entries]
    told = {"step": step, "table": table, "model": model, "against": against, "metric": metric}
    told |= {"n": min(entry["n"] for entry in entries), "gains": gains}
    told |= {"seeds": [entry["seed"] for entry in entries if entry.get("seed") is not None]}
    told |= ({"arm": arm} if arm else {}) | ({"round": number} if number else {})
    if not all(intervals):
        return {**told, "gain": fmean(gains), "ci95": None, "p_value": None}
    found = seeds.combine(gains, intervals)
    p_value = entries[0].get("p_value") if found.p_value is None else found.p_value
    return {**told, "gain": found.gain, "ci95": list(found.ci95), "p_value": p_value}


def describe(report: Mapping[str, Any]) -> list[str]:
    """The section of `report.md`: arms and seeds side by side, each in points of the metric; no lines without any."""
    entries = [entry for entry in report.get("arms", []) if _is_of_interest(entry, report)]
    if not entries:
        return []
    lines = ["## Arms and seeds", "", "| arm | model | table | rows | updates | metric | against | points | seeds | |"]
    lines.append("|---" * 10 + "|")
    for entry in entries:
        rows, updates = _find_amounts(entry, report)
        each = ", ".join(f"{100 * gain:+.1f}" for gain in entry["gains"]) if len(entry["gains"]) > 1 else "1"
        cells = [entry.get("arm") or "-", f"`{entry['model']}`", entry["table"], rows, updates, entry["metric"]]
        cells += [
            f"`{entry['against']}`",
            f"{100 * entry['gain']:+.1f} ({_write_interval(entry)})",
            each,
            _judge(entry),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    several = any(len(entry["gains"]) > 1 for entry in entries)
    told = "Arms are trained on as many rows and with as many updates as `main`. " if any(map(_arm_of, entries)) else ""
    told += "Intervals are for other rows like these" + (" and other seeds of training." if several else ".")
    if any(len(entry["gains"]) == 2 for entry in entries):
        told += " Two seeds tell little of how much seeds matter: such an interval is too narrow for 95 %; take three."
    return [*lines, "", told, ""]


def tell(report: Mapping[str, Any]) -> list[str]:
    """The same in lines for a screen."""
    entries = [entry for entry in report.get("arms", []) if _is_of_interest(entry, report)]
    return [
        f"{entry['model']} of {entry.get('arm') or 'all seeds'} against {entry['against']} on {entry['table']}: "
        f"{entry['metric']} {100 * entry['gain']:+.1f} points ({_write_interval(entry)}"
        f"{_count_seeds(entry)}): {_judge(entry)}"
        for entry in entries
    ]


def _count_seeds(entry: Mapping[str, Any]) -> str:
    return f"; {len(entry['gains'])} seeds" if len(entry["gains"]) > 1 else ""


def _write_interval(entry: Mapping[str, Any]) -> str:
    if entry["ci95"] is None:
        return "no interval"
    level = "about 90 %" if len(entry["gains"]) == 2 else "95 %"
    return level + " interval {:+.1f} to {:+.1f}".format(*(100 * end for end in entry["ci95"]))


def _arm_of(entry: Mapping[str, Any]) -> bool:
    return entry.get("arm") not in (None, MAIN)


def _is_of_interest(entry: Mapping[str, Any], report: Mapping[str, Any]) -> bool:
    """Whether a comparison is one of what was trained: all else is the same in all arms and of all seeds."""
    trained = {ModelRef.parse(each["model"]).name for each in report.get("trainings", [])}
    ref = ModelRef.parse(entry["model"])
    return ref.name in trained and ref.version != BASE and (entry["against"] != MAIN or _arm_of(entry))


def _find_amounts(entry: Mapping[str, Any], report: Mapping[str, Any]) -> tuple[str, str]:
    """Rows and updates of the last training of an arm's model."""
    name = ModelRef.parse(entry["model"]).name
    own = [
        each
        for each in report.get("trainings", [])
        if ModelRef.parse(each["model"]).name == name and each.get("arm") == entry.get("arm")
    ]
    return (f"{own[-1]['rows']:,}", f"{own[-1]['steps']:,}") if own else ("-", "-")


def _judge(entry: Mapping[str, Any]) -> str:
    """What a gain is worth: an interval and a test have to speak for it."""
    low, high = entry["ci95"] or (0, 0)
    if low <= 0 <= high or (entry["p_value"] is not None and entry["p_value"] >= 0.05):
        return "may be chance"
    return "better" if low > 0 else "worse"
