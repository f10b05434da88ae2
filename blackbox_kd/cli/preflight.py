"""How a training that was looked at is told: of `train --preflight`, and of a training that is tried."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.cli.output import print_json, say
from blackbox_kd.errors import write_message
from blackbox_kd.runs.report import preflight

MOST = 10
"""Rows that are named."""


def tell(told: Mapping[str, Any], *, as_json: bool) -> int:
    """Prints what was seen; returns the exit status: 2 if the training would refuse rows."""
    problems = [line for entry in told["trainings"] for line in _find_problems(entry)]
    if as_json:
        print_json({**told, "ok": not problems, "problems": problems})
    else:
        for entry in told["trainings"]:
            say("\n".join(_write_words(told, entry)))
        if not problems:
            say("nothing was trained; a training would take these rows")
    for problem in problems:
        say(f"error: {problem}", err=True)
    return 2 if problems else 0


def _find_problems(entry: Mapping[str, Any]) -> Iterator[str]:
    """Why the training would not begin."""
    seen, settings = entry["preflight"], entry["settings"]
    if seen["refused"]:
        yield f"rows that are refused: {len(seen['refused']):,}; a training would stop at the first of them"
    if seen["too_long"] and (settings["long_rows"] == "error" or seen["too_long"] == seen["rows"]):
        needed = -(-seen["longest"] // 8) * 8
        fix = f"max_length: {needed}" + (", or long_rows: drop" if seen["too_long"] < seen["rows"] else "")
        yield write_message(f"rows longer than max_length {seen['max_length']:,}: {seen['too_long']:,}", fix=fix)


def _write_words(told: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[str]:
    seen = entry["preflight"]
    yield f"{told['step']} of {told['recipe']}: {entry['model']} ({entry['method']}), looked at and not trained"
    yield ""
    yield from preflight.describe(seen)
    yield from ("", "rows by their tokens:", *(f"  {line}" for line in preflight.draw_lengths(seen)))
    for name, stretches in seen["example"].items():
        what = "the first row" if name == "completion" else f"{name} of the first row"
        yield from ("", f"{what} as the student is trained on it; {preflight.LEGEND}:")
        yield from preflight.draw_example(stretches)
    yield ""
    memory = seen.get("memory")
    yield from preflight.describe_memory(memory) if memory else ["memory: not estimated for this kind of model"]
    yield from (f"note: {note}" for note in entry["notes"])
    yield from (f"warning: {warning}" for warning in seen["warnings"])
    yield from _list_some("left out", [f"{each['id']}: {each['reason']}" for each in entry["left_out"]])
    refused = [
        write_message(f"{each['where']}: {each['reason']}", each.get("exists", ""), each["fix"])
        for each in seen["refused"]
    ]
    yield from _list_some("refused", refused)


def _list_some(what: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"{what}: {line}" for line in lines[:MOST])
    if (more := len(lines) - MOST) > 0:
        yield f"{what}: {more:,} rows more (--json lists them)"
