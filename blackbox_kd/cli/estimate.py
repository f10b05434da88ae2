"""The command `estimate`: what a run will cost."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.options import (
    load_named,
    recipe_options,
    run_options,
    say_where_keys_go,
    settle_trust,
    trust_option,
)
from blackbox_kd.cli.output import format_columns, format_count, format_usd, print_json, say
from blackbox_kd.engine import event_loop
from blackbox_kd.engine.signals import stoppable

CASES = ("low", "likely", "high")
LEDGER = Path("runs") / "ledger.sqlite"
VERDICTS = {
    "fits": "the high estimate fits",
    "high breaks": "the likely estimate fits, the high one does not",
    "likely breaks": "the likely estimate does not fit",
    "no price": "cannot be kept: a model has no known price, and the run will not start",
}
"""What is said of a budget."""


@click.command()
@click.argument("recipe")
@recipe_options
@run_options
@trust_option
@click.option("--until", metavar="STEP", help="Count up to this step (its name, or its position from 0).")
@click.option(
    "--probe",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make N calls of each step that asks a paid model, for measured lengths; the run will not buy them again.",
)
def estimate(
    recipe: str,
    run_dir: Path | None,
    ledger: Path | None,
    limit: int | None,
    as_json: bool,
    until: str | None,
    probe: int | None,
    trust: tuple[str, ...],
    **changes: Any,
) -> int:
    """Tell what the rest of a run of RECIPE will cost, without sending anything (but for --probe)."""
    from blackbox_kd.engine.estimate.estimate import Estimate
    from blackbox_kd.engine.estimate.tables import AnyKey, EstimateOptions

    env: Mapping[str, str] = dict(os.environ) if probe else AnyKey()
    found = load_named(recipe, env=env, **changes)
    if probe:
        settle_trust(found, env, trust)
    else:
        say_where_keys_go(found, env)
    options = EstimateOptions(
        run_dir=run_dir or Path("runs") / found.name,
        ledger=ledger or LEDGER,
        env=env,
        limit=limit,
        until=until,
        probe=probe or 0,
    )
    job = Estimate(found, options)
    try:
        event_loop.run(stoppable(job, lambda text: say(text, err=True)))
    finally:
        for note in job.notes.list_all():
            say(note.text(found.file), err=True)
    told = job.told
    if as_json:
        print_json(told)
    else:
        say("\n".join(_write_words(told)))
    return 0


def _write_words(told: Mapping[str, Any]) -> Iterator[str]:
    from blackbox_kd.runs.report.arms import describe_marks

    paid = sum(step["paid"] for step in told["steps"])
    yield f"{told['recipe']}: what is left to ask" + (f"; {paid:,} replies are in the ledger" if paid else "")
    yield ""
    lines = [["", "", "calls", "tokens", "USD", "time"]]
    lines += [[entry["step"] + describe_marks(entry), entry["model"], *_write_cells(entry)] for entry in told["steps"]]
    lines.append(["all", "", *_write_cells(told["total"])])
    yield from format_columns(lines, left=2)
    yield ""
    yield "each: low / likely / high"
    yield from _write_variants(told["variants"])
    for budget in told["budget"]:
        spent = f", {budget['spent']:,.6g} spent" if budget["spent"] else ""
        yield f"budget.{budget['limit']} = {budget['most']:,}{spent}: {VERDICTS[budget['verdict']]}"
    if told["probe"]:
        cost = "at an unknown price" if told["probe"]["usd"] is None else f"for {format_usd(told['probe']['usd'])}"
        yield f"probe: {told['probe']['calls']:,} calls made {cost}; the run will not buy them again"
    for line in told["assumptions"]:
        yield f"assumed: {line}"


def _write_variants(variants: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How much is trained and measured for each arm and seed; no lines where there are none."""
    if not variants:
        return
    from blackbox_kd.runs.report.arms import describe_marks

    yield ""
    lines = [["trained and measured", "trainings", "exams"]]
    for one in variants:
        name = describe_marks(one).removeprefix(", ")
        lines.append([name, *(_write_span(one[key], format_count) for key in ("trainings", "exams"))])
    for_all = [{case: sum(one[key][case] for one in variants) for case in CASES} for key in ("trainings", "exams")]
    yield from format_columns([*lines, ["all", *(_write_span(span, format_count) for span in for_all)]], left=1)


def _write_cells(sums: Mapping[str, Any]) -> list[str]:
    usd = sums["usd"]
    if usd is None:
        known = sums["usd_known"]
        money = "unknown" + (f" + {_write_span(known, format_usd)}" if known["high"] else "")
    else:
        money = _write_span(usd, format_usd)
    return [
        _write_span(sums["calls"], format_count),
        _write_span(sums["tokens"], format_count),
        money,
        _write_span(sums["seconds"], format_time),
    ]


def _write_span(span: Mapping[str, float], show: Any) -> str:
    shown = [show(span[name]) for name in CASES]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def format_time(seconds: float) -> str:
    """A time as a person reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
