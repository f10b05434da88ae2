"""What a gain is worth, in words: whether it is real, and whether it is one of form or of answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from blackbox_kd.printable import escape_markdown, quote_code
from blackbox_kd.runs.report import arms, benchmarks, classes, comparisons
from blackbox_kd.runs.report.format import describe_scripted, format_interval, format_percent
from blackbox_kd.schema import BASE, ModelRef

Counts = Mapping[str, Any] | None


def describe_evidence(whole: Mapping[str, Any]) -> list[str]:
    """The evidence of a report in lines for a screen: how good each model is, and each comparison."""
    report = arms.select(whole)
    evaluations = report.get("evaluations", [])
    found = [
        *(_describe_shares(entry, comparisons.name_measured(entry, evaluations)) for entry in evaluations),
        *classes.describe_latest(evaluations),
        *benchmarks.tell(report),
        *(describe_comparison(entry, evaluations) for entry in report.get("comparisons", [])),
        *arms.tell(whole),
        *map(classes.describe_requirement, report.get("requirements", [])),
    ]
    return [*filter(None, [describe_scripted(report)]), *found] if found else []


def _describe_shares(entry: Mapping[str, Any], who: str) -> str:
    """How good a model is, on a line."""
    told = [f"{entry['n']:,} replies"]
    if entry["right"] is not None:
        told = [
            f"{entry['right']:,} of {entry['n']:,} right ({format_percent(entry['accuracy'])}, 95 % interval "
            f"{format_interval(entry['ci95'])})",
            f"an answer could be read in {entry['read']:,}",
        ]
    told += [
        f"{name} {format_percent(found['value'])} (95 % interval {format_interval(found['ci95'])})"
        for name, found in entry.get("metrics", {}).items()
        if name != "accuracy"
    ]
    told += [f"{entry['failed']:,} replies did not come"] if entry.get("failed") else []
    return f"{who} on {entry['table']}: {'; '.join(told)}"


def describe_comparison(entry: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    """What a comparison says, and what the gain is made of."""
    model, against = f"`{entry['model']}`", f"`{entry['against']}`"
    by_model = {e["model"]: e for e in evaluations if e["table"] == entry["table"] and e["step"] == entry["step"]}
    after, before = by_model.get(entry["model"]), by_model.get(entry["against"])
    apart = comparisons.tell_apart(after, evaluations) if after else ""
    rows = f"the same {entry['n']:,} rows of `{entry['table']}`" + (f" ({apart})" if apart else "")
    if (metric := entry.get("metric", "accuracy")) != "accuracy":
        return _describe_metric(entry, f"On {rows}, {model} is {_count_points(entry)} {against} in {metric}", after)
    if after and before and after["right"] == before["right"] == 0:
        return (
            f"Of {rows}, neither {model} nor {against} has one right: that does not tell which one is better. An "
            f"answer could be read in {after['read']:,} of its {after['n']:,} replies ({against}: {before['read']:,})."
        )
    split = _find_split(entry, after, before)
    low, high = entry["ci95"]
    text = (
        f"On {rows}, {model} is {_count_points(entry)} {against} "
        f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}; {entry['gained']:,} rows gained, "
        f"{entry['lost']:,} lost, McNemar p = {entry['p_value']:.2g}{_tell_corrected(entry)}). "
        f"{_write_verdict(entry, split, after)}"
    )
    if after and before:
        text += (
            f" An answer could be read in {after['read']:,} of its {after['n']:,} replies ({against}: "
            f"{before['read']:,}); of the answers read, {_share_right(after)} are right "
            f"({against}: {_share_right(before)})."
        )
    return text + _describe_split(entry, split)


def describe_slices(entry: Mapping[str, Any]) -> list[str]:
    """The gain by the values of each column, in lines."""
    found = []
    for column, groups in entry.get("slices", {}).items():
        told = "; ".join(
            f"{escape_markdown(value)}: {100 * part['gain']:+.1f} points ({100 * part['ci95'][0]:+.1f} to "
            f"{100 * part['ci95'][1]:+.1f}, {part['n']:,} rows)"
            for value, part in groups.items()
        )
        found.append(f"`{entry['model']}` against `{entry['against']}` by {quote_code(column)}: {told}.")
    return found


def _count_points(entry: Mapping[str, Any]) -> str:
    gain = entry["gain"]
    return f"{abs(100 * gain):.1f} points {'better' if gain > 0 else 'worse'} than" if gain else "as good as"


def _describe_metric(entry: Mapping[str, Any], what: str, after: Counts) -> str:
    """What is said of any metric but accuracy, of which more is known."""
    if entry["ci95"] is None:
        return f"{what}. There is no interval: draws of these rows do not have the metric."
    low, high = entry["ci95"]
    test = f", p = {entry['p_value']:.2g}{_tell_corrected(entry)}" if entry.get("p_value") is not None else ""
    verdict = _write_verdict(entry, None, after)
    return f"{what} (95 % interval {100 * low:+.1f} to {100 * high:+.1f}{test}). {verdict}"


def _tell_corrected(entry: Mapping[str, Any]) -> str:
    """What the p value comes to by the correction for several comparisons, where that is another one."""
    p_holm = entry.get("p_holm")
    return "" if p_holm is None or p_holm == entry["p_value"] else f", {p_holm:.2g} by Holm's correction"


def _share_right(entry: Mapping[str, Any]) -> str:
    return format_percent(entry["right"] / entry["read"]) if entry["read"] else "none"


def _find_split(entry: Mapping[str, Any], after: Counts, before: Counts) -> Mapping[str, Any] | None:
    """What the gain is made of, if the models differ in how many of their answers could be read; None if not.

    Earlier versions have recorded no parts; where nothing was read of one model they can be told all the same.
    """
    split = entry.get("split")
    if split is None and after and before and not (after["read"] and before["read"]):
        split = {"read": after["read"], "against_read": before["read"], "both_read": 0, "by_form": entry["gain"]}
    return split if split is not None and split["read"] != split["against_read"] else None


def _write_verdict(entry: Mapping[str, Any], split: Counts, after: Counts) -> str:
    """Whether a gain is real, and of what.

    Args:
        entry: the comparison.
        split: what the gain is made of, if the models differ in how many of their answers could be read.
        after: the evaluation of the model. One that was trained stands for one training, and not for the method.
    """
    model, against = f"`{entry['model']}`", f"`{entry['against']}`"
    low, high = entry["ci95"]
    if low <= 0 <= high:
        return "The interval holds 0: these rows do not tell which one is better."
    side, change = ("above 0", "gain") if low > 0 else ("below 0", "loss")
    if not comparisons.find_side(entry):
        p_value = comparisons.find_p_value(entry)
        doubt = f"but chance does as much (p = {p_value:.2g})"
        return f"The interval lies {side}, {doubt}: these rows do not tell which one is better."
    trained = ModelRef.parse((after or entry).get("version", "")).version not in ("", BASE)
    whom = "for this student on rows like these" if trained else "on rows like these"
    what = f"the gain is real {whom}" if low > 0 else f"{model} is the worse one"
    plain = f"The interval lies {side}: {what}."
    if split is None:
        return plain
    if split["both_read"] and (split["ci95"][0] if low > 0 else -split["ci95"][1]) > 0:
        return f"{plain} That of the answers right does, too."
    begin = f"The interval lies {side}, but" if low > 0 else f"{plain} But"
    if split["both_read"]:
        return (
            f"{begin} not that of the answers right: these rows tell a {change} of form alone, and none of knowledge."
        )
    unread = model if not split["read"] else against if not split["against_read"] else ""
    why = f"in no reply of {unread} an answer could be read" if unread else "in no row could both be read"
    return f"{begin} {why}: the {change} is one of form, and says nothing of knowledge."


def _describe_split(entry: Mapping[str, Any], split: Counts) -> str:
    """The two parts of a gain, where they can differ."""
    if split is None:
        return ""
    text = (
        f" Of the {100 * entry['gain']:+.1f} points, {100 * split['by_form']:+.1f} come from answers read (rows where "
        f"only one of the two could be read)"
    )
    if not split["both_read"]:
        return f"{text} and none from answers right: there is no row where both could be read."
    low, high = split["ci95"]
    return (
        f"{text} and {100 * split['by_answers']:+.1f} from answers right (the {split['both_read']:,} rows where both "
        f"could be read; 95 % interval {100 * low:+.1f} to {100 * high:+.1f}, McNemar p = {split['p_value']:.2g})."
    )
