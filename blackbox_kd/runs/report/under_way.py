"""How trainings went, to look at: losses as a picture, and what the student answered under way."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from blackbox_kd.printable import quote_code
from blackbox_kd.privacy import write_whole
from blackbox_kd.runs.report import arms
from blackbox_kd.runs.report.samples import write_item

COLOURS = {"losses": ("loss", "#0969da"), "evaluation_losses": ("evaluation loss", "#cf222e")}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 280, 60, 30, 20, 40
"""Of a picture and its margins, in pixels."""
SHOWN = 3
"""Answers to a question that are shown: the first one, the last one, and those evenly between."""
Curves = Mapping[str, Sequence[tuple[int, float]]]


def write_plots(folder: Path, report: Mapping[str, Any]) -> None:
    """Writes the picture of each training that has one, beside report.md."""
    for number, entry in enumerate(report.get("trainings", []), 1):
        if curves := _take_curves(entry):
            write_whole(
                folder / _name_plot(number), draw_losses(f"{entry['model']}{arms.describe_marks(entry)}", curves)
            )


def describe(report: Mapping[str, Any]) -> list[str]:
    """The lines about each training that has a picture or answers."""
    lines = []
    for number, entry in enumerate(report.get("trainings", []), 1):
        who = f"{quote_code(entry['model'])}{arms.describe_marks(entry)}"
        if _take_curves(entry):
            lines += ["", f"Losses of {who} by steps:", "", f"![losses by steps]({_name_plot(number)})"]
        if entry.get("answers"):
            lines += ["", f"What {who} answered under way:", "", *_describe_answers(entry["answers"])]
    return [line for before, line in pairwise(["", *lines, ""]) if before or line]


def _name_plot(number: int) -> str:
    return f"loss_{number}.svg"


def _describe_answers(answers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    questions: dict[str, list[Mapping[str, Any]]] = {}
    for one in answers:
        questions.setdefault(str((one["prompt"], one["reference"])), []).append(one)
    for number, said in enumerate(questions.values(), 1):
        yield from (f"**{number}.**", "")
        yield from write_item("prompt", said[0]["prompt"])
        yield from write_item("reference", said[0]["reference"])
        for at in sorted({round(part * (len(said) - 1) / (SHOWN - 1)) for part in range(SHOWN)}):
            cut = ", cut off" if said[at].get("cut_off") else ""
            yield from write_item(f"after step {said[at]['step']:,}{cut}", said[at]["answer"] or "(nothing)")
        yield ""


def _take_curves(entry: Mapping[str, Any]) -> Curves:
    """The points of each curve that can be drawn; none where there are too few for a line."""
    found = {name: [(step, loss) for step, loss in entry.get(name, ()) if math.isfinite(loss)] for name in COLOURS}
    return {name: points for name, points in found.items() if points} if len(found["losses"]) > 1 else {}


def draw_losses(title: str, curves: Curves) -> str:
    """Losses against steps as SVG, each point a dot and each curve a line through its dots."""
    points = [point for curve in curves.values() for point in curve]
    last, low = max(step for step, _ in points), min(0.0, *(loss for _, loss in points))
    high = max(low + 0.01, *(loss for _, loss in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18">{html.escape(title)}</text>',
    ]

    def place(step: float, loss: float) -> tuple[float, float]:
        along, up = step / last, (loss - low) / (high - low)
        wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + along * wide, 1), round(TOP + (1 - up) * tall, 1)

    for part in (0, 0.25, 0.5, 0.75, 1):
        loss, step = low + part * (high - low), part * last
        (left, y), (right, _), (x, bottom) = place(0, loss), place(last, loss), place(step, low)
        parts += [
            f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="#d0d7de"/>',
            f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{loss:.3g}</text>',
            f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{step:,.0f}</text>',
        ]
    for number, (name, curve) in enumerate(curves.items(), 1):
        called, colour = COLOURS[name]
        drawn = [place(*point) for point in curve]
        line = " ".join(f"{x},{y}" for x, y in drawn)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>' for x, y in drawn]
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{4 + 14 * number}" text-anchor="end" fill="{colour}">{called}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">steps</text>')
    return "\n".join([*parts, "</svg>", ""])
