"""The parts of a report that stand beside accuracy: agreement with the teacher, win rates, the price of a gain."""

from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.runs.report.format import format_interval, format_percent


def price_gains(comparisons: Iterable[Mapping[str, Any]], spent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Comparisons with `usd_per_point`: what the run has paid so far for each point (0.01) that was gained.

    None where the interval of the gain does not lie above 0, nothing was paid, or not all of the cost is known: what
    may be chance has no price.
    """
    usd = None if spent["usd_unknown"] else spent["usd"] or None
    return [
        {**entry, "usd_per_point": usd / (100 * entry["gain"]) if usd and entry["ci95"][0] > 0 else None}
        for entry in comparisons
    ]


def describe(report: Mapping[str, Any]) -> list[str]:
    """The sections of `report.md`; no lines where there is nothing to say."""
    agreements = [f"- {_agreement(entry)}" for entry in report.get("agreements", [])]
    win_rates = [f"- {_win_rate(entry)}" for entry in report.get("win_rates", [])]
    lines = ["## Agreement", "", *agreements, ""] if agreements else []
    return [*lines, "## Win rates", "", *win_rates, ""] if win_rates else lines


def _agreement(entry: Mapping[str, Any]) -> str:
    wrong = f" Of these {entry['same']:,} answers, {entry['same_wrong']:,} are wrong." if entry["same"] else ""
    return (
        f"On the same {entry['n']:,} rows of `{entry['table']}`{_when(entry)}, `{entry['model']}` gives the answer of "
        f"`{entry['against']}` in {format_percent(entry['agreement'])} (95 % interval "
        f"{format_interval(entry['ci95'])}).{wrong}"
    )


def _win_rate(entry: Mapping[str, Any]) -> str:
    who = f"`{entry['model']}` against `{entry['against']}` on `{entry['table']}`{_when(entry)}"
    if not entry["n"]:
        return f"{who}: `{entry['judge']}` gave no verdict."
    return (
        f"{who}, judged by `{entry['judge']}` in both orders on {entry['n']:,} rows: {entry['wins']:,} won, "
        f"{entry['losses']:,} lost, {entry['ties']:,} tied. With ties as halves it wins "
        f"{format_percent(entry['win_rate'])} (95 % interval {format_interval(entry['ci95'])}; sign test "
        f"p = {entry['p_value']:.2g}). Its scores come to {format_percent(entry['score_ratio'])} of the other's."
    )


def _when(entry: Mapping[str, Any]) -> str:
    return f", round {entry['round']}" if entry.get("round") else ""
