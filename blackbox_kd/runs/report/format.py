"""Numbers as a person reads them: shares, intervals, dollars."""

from collections.abc import Mapping
from typing import Any

from blackbox_kd.printable import escape_markdown


def count_up(reasons: Mapping[str, int], between: str) -> str:
    """Reasons with their counts, as the cell of a table can hold them."""
    return between.join(f"{count:,} {escape_markdown(reason)}" for reason, count in reasons.items())


def format_percent(share: float | None) -> str:
    """A share as a person reads it."""
    return "no rows" if share is None else f"{100 * share:.1f} %"


def format_interval(ci95: list[float] | None) -> str:
    """An interval of shares as a person reads it."""
    return "none" if ci95 is None else f"{format_percent(ci95[0])} to {format_percent(ci95[1])}"


def format_dollars(usd: float) -> str:
    """A sum of money: to the cent from a dollar on, finer below."""
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def describe_scripted(report: Mapping[str, Any]) -> str:
    """What has to be known of a run whose replies were made up; nothing of any other."""
    names = ", ".join(f"`{name}`" for name in report.get("scripted", ()))
    return f"Scripted: the replies of {names} are made up, and nothing here is evidence." if names else ""


def format_bill(spent: Mapping[str, Any]) -> str:
    """What calls cost; a cost that is not known is not 0."""
    if not spent["usd_unknown"]:
        return format_dollars(spent["usd"])
    return (
        f"{format_dollars(spent['usd'])} and more that is not known" if spent["usd"] else "at a cost that is not known"
    )
