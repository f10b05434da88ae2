"""The part of a report that says how far judges can be trusted."""

from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.analysis import judge_agreement

MEAN = "the mean of all"


def collect_judges(funnel: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each step that judged, what its counters say of its judges, as `report.json` holds it.

    Args:
        funnel: the steps' accounts.
    """
    found = []
    for account in funnel:
        said = judge_agreement.summarise(account.get("counts", {}))
        if said:
            where = {name: account[name] for name in ("step", "round") if account.get(name)}
            found.append({**where, **said})
    return found


def describe(judges: Iterable[Mapping[str, Any]]) -> list[str]:
    """The section of `report.md`; no lines if nobody judged."""
    lines: list[str] = []
    for entry in judges:
        where = f"{entry['step']}, round {entry['round']}" if entry.get("round") else entry["step"]
        lines += [f"**{where}**", ""]
        lines += _describe_agreement(entry.get("agreement", []))
        lines += [f"- {_describe_checks(each)}" for each in entry.get("checked", [])]
        lines += [f"- {_describe_orders(each)}" for each in entry.get("orders", [])]
        lines += [f"- {_describe_lengths(each)}" for each in entry.get("lengths", [])]
        lines += [""] if lines[-1] else []
    return ["## Judges", "", *lines] if lines else []


def _describe_agreement(found: list[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["| judges | rows | same verdict | both the same side of | 95 % interval | Cohen's kappa |"]
    lines.append("|---|---|---|---|---|---|")
    for entry in found:
        kappa = "cannot be said" if entry["kappa"] is None else f"{entry['kappa']:.2f}"
        side = f"{entry['question']}: {_write_share(entry['same_side'], entry['rows'])}"
        cells = [" and ".join(f"`{name}`" for name in entry["reviewers"]), f"{entry['rows']:,}"]
        cells += [_write_share(entry["equal"], entry["rows"]), side, _write_interval(entry["ci95"]), kappa]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _describe_checks(entry: Mapping[str, Any]) -> str:
    """How a judge fares against checked answers; a judge that accepts everything agrees with every right one."""
    judge = MEAN if entry["judge"] == judge_agreement.MEAN else f"`{entry['judge']}`"
    parts = [
        f"{entry[f'{kind}_accepted']:,} of {entry[kind]:,} {kind} answers"
        + (f" ({_write_interval(entry[f'{kind}_accepted_ci95'])})" if entry[kind] else "")
        for kind in ("right", "wrong")
    ]
    kappa = "" if entry["kappa"] is None else f"; kappa {entry['kappa']:.2f}"
    return f"Of {entry['rows']:,} checked answers, {judge} is {entry['question']} on {' and '.join(parts)}{kappa}."


def _describe_orders(entry: Mapping[str, Any]) -> str:
    first, second = entry["first_won_twice"], entry["second_won_twice"]
    place = "neither place" if first == second else "the first place" if first > second else "the second place"
    changed, interval = _write_share(entry["changed"], entry["rows"]), _write_interval(entry["ci95"])
    return (
        f"`{entry['judge']}` names another winner when the two texts change places in "
        f"{changed} of {entry['rows']:,} comparisons ({interval}): the text shown first wins both times in {first:,}, "
        f"the second in {second:,}, and one order is a tie in {entry['tie_in_one_order']:,}. It favours {place}."
    )


def _describe_lengths(entry: Mapping[str, Any]) -> str:
    return (
        f"Of {entry['rows']:,} comparisons in which `{entry['judge']}` names a winner, the longer text wins "
        f"{_write_share(entry['longer_won'], entry['rows'])} ({_write_interval(entry['ci95'])})."
    )


def _write_share(k: int, n: int) -> str:
    return f"{k:,} ({100 * k / n:.1f} %)"


def _write_interval(ci95: list[float]) -> str:
    return f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f} %"
