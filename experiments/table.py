"""The table of EXPERIMENTS.md: of each kept report the exam of the last student that its main arm has trained."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.runs.report.comparisons import find_side
from blackbox_kd.runs.report.format import format_interval, format_percent
from blackbox_kd.schema import BASE, ModelRef

REPORTS = Path(__file__).parent / "reports"
KEPT = ("recipe", "seed", "evaluations", "comparisons", "arms", "trainings", "spent", "scripted")
"""What is kept of a report."""
MAIN = "main"
BEGIN, END = "<!-- written by python -m experiments -->", "<!-- end -->"
HEAD = """| recipe | held out | before | after | gain | against a control of as many rows and updates |
|---|---|---|---|---|---|"""
WORDS = {1: "better", 0: "may be chance", -1: "worse"}

Entry = Mapping[str, Any]


def rewrite(page: str) -> str:
    """The page with the table between its two marks written anew."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tabulate(REPORTS.glob('*.json'))}\n\n{END}{rest.split(END)[1]}"


def tabulate(paths: Iterable[Path]) -> str:
    """One line a report."""
    return "\n".join([HEAD, *(_describe(json.loads(path.read_text("utf-8"))) for path in sorted(paths))])


def _describe(report: Mapping[str, Any]) -> str:
    exam = _find_exam(report)
    if exam is None:
        return f"| {report['recipe']} | - | - | - | no student was examined | |"
    name = ModelRef.parse(exam["model"]).name
    base = next((each for each in _list_beside(report, exam) if each["model"] == f"{name}@{BASE}"), None)
    gain = next((each for each in _list_gains(report, exam) if each["against"] == f"{name}@{BASE}"), None)
    cells = [report["recipe"], f"{exam['n']} of `{exam['table']}`"]
    cells += [_write_share(base), _write_share(exam), _write_gain(gain), _write_controls(report, exam)]
    return f"| {' | '.join(cells)} |"


def _find_exam(report: Mapping[str, Any]) -> Entry | None:
    """The last evaluation of a model that the main arm has trained, by its newest version."""
    trained = {ModelRef.parse(each["model"]).name for each in report["trainings"] or [] if _is_main(each)}
    found = [
        each
        for each in report["evaluations"]
        if _is_main(each) and "round" not in each and ModelRef.parse(each["model"]).name in trained
    ]
    plain = [each for each in found if not ModelRef.parse(each["model"]).version]
    own = [each for each in plain if each["model"] == "student"]
    return (own or plain or [None])[-1]


def _list_beside(report: Mapping[str, Any], exam: Entry) -> list[Entry]:
    return [each for each in report["evaluations"] if _is_main(each) and each["table"] == exam["table"]]


def _list_gains(report: Mapping[str, Any], exam: Entry) -> list[Entry]:
    """What the student's accuracy of this exam was compared with, in its arm."""
    about = ("model", "table")
    return [
        each
        for each in report["comparisons"]
        if _is_main(each) and "metric" not in each and all(each[key] == exam[key] for key in about)
    ]


def _write_controls(report: Mapping[str, Any], exam: Entry) -> str:
    """The student against what else was trained: models of the same run, and the arms, whose gains are against it."""
    trained = {ModelRef.parse(each["model"]).name for each in report["trainings"]}
    others = [
        (each["against"], each)
        for each in _list_gains(report, exam)
        if ModelRef.parse(each["against"]).name in trained and not each["against"].endswith(f"@{BASE}")
    ]
    about = {"model": exam["model"], "table": exam["table"], "against": MAIN, "metric": "accuracy"}
    others += [
        (each["arm"], _turn(each))
        for each in report["arms"] or []
        if all(each[key] == value for key, value in about.items()) and not _is_main(each)
    ]
    return "; ".join(f"{name}: {_write_gain(each)}" for name, each in others) or "none"


def _turn(entry: Entry) -> Entry:
    """A comparison seen from the other side."""
    low, high = entry["ci95"]
    return {**entry, "gain": -entry["gain"], "ci95": [-high, -low]}


def _is_main(entry: Entry) -> bool:
    return entry.get("arm", MAIN) == MAIN


def _write_share(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    return f"{format_percent(entry['accuracy'])} ({format_interval(entry['ci95'])})"


def _write_gain(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    low, high = (100 * end for end in entry["ci95"])
    told = f"{100 * entry['gain']:+.1f} ({low:+.1f} to {high:+.1f}), {WORDS[find_side(entry)]}"
    return told.replace("+0.0", "0.0").replace("-0.0", "0.0")
