"""`check`, `run`, `train` and `evaluate`: what reads a recipe, or flags in its place, and runs it."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.options import (
    load_named,
    recipe_options,
    run_options,
    say_where_keys_go,
    script_option,
    settle_trust,
    trust_option,
)
from blackbox_kd.cli.output import print_json, say
from blackbox_kd.engine import event_loop
from blackbox_kd.engine.signals import stoppable
from blackbox_kd.errors import BlackboxError, UserError
from blackbox_kd.paths import find_cache_folder


@click.command()
@click.argument("recipe")
@recipe_options
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(recipe: str, as_json: bool, **changes: Any) -> int:
    """Check RECIPE without running anything: every problem at once with its line and a fix; else warnings and notes."""
    from blackbox_kd.engine import packages, pricing
    from blackbox_kd.errors import RecipeError
    from blackbox_kd.recipe.notes import Notes

    notes = Notes()
    try:
        found = load_named(recipe, notes=notes, **changes)
        say_where_keys_go(found, os.environ)
        packages.refuse_missing(found, found.steps)
        event_loop.run(pricing.check(found, find_cache_folder(), os.environ))
    except RecipeError as error:
        if as_json:
            problems = [asdict(problem) for problem in error.problems]
            print_json({"recipe": recipe, "ok": False, "problems": problems, "notes": _list_notes(notes)})
            return 2
        raise
    if as_json:
        print_json({"recipe": found.name, "ok": True, "problems": [], "notes": _list_notes(notes)})
    else:
        say(f"{found.file}: {len(found.steps)} steps, {len(found.models)} models, no problems")
        for note in notes.list_all():
            say(note.text(found.file))
    return 0


def _list_notes(notes: Any) -> list[dict[str, Any]]:
    return [asdict(note) for note in notes.list_all()]


METHODS = ("sft", "dpo", "kto", "distill", "gkd", "gold", "topk")
"""Those of `weights.methods`, which is not read for a line of help."""
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="A training takes the place of a finished one of other settings or rows."
)


@click.command()
@click.argument("recipe")
@recipe_options
@run_options
@trust_option
@script_option
@click.option("--until", metavar="STEP", help="Stop after this step (its name, or its position from 0).")
@click.option("--shard", metavar="I/N", help="Work on one of N parts of the rows; `merge` joins them. I starts at 1.")
@click.option("--extend", type=click.IntRange(min=0), metavar="N", help="N more rows; what is there stays. 0: no more.")
@overwrite_option
@click.option("--retry-failed", is_flag=True, help="Ask anew for the rows that failed; all others are as before.")
def run(recipe: str, scripted: bool, **how: Any) -> int:
    """Run RECIPE, or go on where an earlier run of it stopped; nothing paid for is asked again."""
    from blackbox_kd.recipe.notes import Notes

    if scripted and (given := next((name for name in ("ledger", "shard") if how[name] is not None), None)):
        what = f"--{given} means nothing with --scripted, whose replies are kept with their run and never joined"
        raise UserError(what, fix=f"take --{given} out")
    notes = Notes()
    changes = {name: how.pop(name) for name in ("overrides", "models", "teacher", "allow_code")}
    found = load_named(recipe, notes=notes, scripted=scripted, **changes)
    for note in notes.list_warnings():
        say(note.text(found.file), err=True)
    return _execute(found, **how)


@click.command()
@click.option("--data", required=True, help="Rows: JSONL, JSON, CSV or Parquet; globs too.")
@click.option("--student", required=True, help="Hub id, folder, .gguf file or package:NAME/FILE.gguf.")
@click.option("--method", type=click.Choice(METHODS), default="sft", show_default=True, help="How to train.")
@click.option("--teacher", help="As --student: whose probabilities are learnt, with distill, gkd or gold.")
@click.option("--name", default="train", show_default=True, help="Name of the run.")
@click.option("--epochs", type=float, help="Passes over the rows.")
@click.option("--learning-rate", type=float, help="Highest learning rate.")
@click.option("--adapter", type=click.Choice(["lora", "full"]), help="LoRA, or all weights.")
@click.option("--max-length", type=int, help="Most tokens of a row.")
@click.option("--long-rows", type=click.Choice(["error", "drop"]), help="What happens to longer rows.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Any other field: steps.train.r=16.")
@run_options
@overwrite_option
@click.option("--preflight", "is_look", is_flag=True, help="Tell what would be trained, and train nothing.")
def train(data: str, student: str, method: str, name: str, overwrite: bool, is_look: bool, **given: Any) -> int:
    """Fine-tune a model on rows that exist already, whoever made them."""
    from blackbox_kd.recipe import adhoc

    overrides = given.pop("overrides")
    how, settings = _split_options(given)
    recipe = adhoc.train(data, student, method, name, settings, overrides)
    return _look(recipe, **how) if is_look else _execute(recipe, overwrite=overwrite, **how)


def _look(recipe: Any, *, run_dir: Path | None, ledger: Path | None, limit: int | None, as_json: bool) -> int:
    """Tells what a recipe of one training would train; no file is written."""
    from blackbox_kd.cli import preflight
    from blackbox_kd.engine.trying import Try, TryOptions
    from blackbox_kd.runs.workplace import find_ledger, find_run

    run = find_run(recipe, run_dir)
    file = find_ledger(run, ledger, is_scripted=False)
    job = Try(recipe, "train", TryOptions(run, file, find_cache_folder(), dict(os.environ), rows=limit, dry=True))
    event_loop.run(stoppable(job, lambda text: say(text, err=True)))
    return preflight.tell(job.told, as_json=as_json)


@click.command()
@click.option("--data", required=True, help="Questions with right answers: JSONL, JSON, CSV or Parquet.")
@click.option("--student", required=True, help="Hub id, folder, .gguf file or package:NAME/FILE.gguf.")
@click.option("--adapter", help="Folder of a trained adapter; it is compared with the model without it.")
@click.option("--answer", required=True, help="Kind of answer: number, choice, boolean, exact, math, ...")
@click.option("--question", help="Column with the question.")
@click.option("--reference", help="Column with the right answer.")
@click.option("--max-tokens", type=int, help="The most tokens of a reply.")
@click.option("--name", default="evaluate", show_default=True, help="Name of the run.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Any other field of the recipe.")
@run_options
def evaluate(data: str, student: str, adapter: str | None, name: str, **given: Any) -> int:
    """Ask a model, and its base, the questions of a file; print accuracy with intervals."""
    from blackbox_kd.recipe import adhoc

    columns, overrides = (given.pop("question"), given.pop("reference")), given.pop("overrides")
    how, settings = _split_options(given)
    return _execute(adhoc.evaluate(data, student, adapter, name, settings, columns, overrides), **how)


def _split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a run, and the fields of its step that were given."""
    how = {name: given.pop(name) for name in ("run_dir", "ledger", "limit", "as_json")}
    return how, {name: value for name, value in given.items() if value is not None}


def _execute(recipe: Any, *, as_json: bool, shard: str | None = None, trust: tuple[str, ...] = (), **how: Any) -> int:
    """Runs a checked recipe, as `how` says in words of RunOptions, and says how it ended."""
    from blackbox_kd.engine.progress import view_for
    from blackbox_kd.engine.run import Run, RunOptions
    from blackbox_kd.engine.sharding.shard import Shard, explain_errors

    settle_trust(recipe, os.environ, trust)
    view = view_for(sys.stderr.isatty(), os.environ)
    options = RunOptions(
        cache=find_cache_folder(),
        shard=Shard.parse(shard) if shard else None,
        env=dict(os.environ),
        view=view,
        **how,
    )
    job = Run(recipe, options)
    try:
        with explain_errors(options.shard):
            event_loop.run(stoppable(job, view.say))
    except BlackboxError:
        # Of a run that was refused as a whole there is nothing to look at.
        if job.report and job.accounts and not as_json:
            _conclude(job)
        raise
    finally:
        if as_json and job.report:
            print_json(job.report)
    if not as_json:
        _conclude(job)
    return 0


def _conclude(job: Any) -> None:
    from blackbox_kd.runs.report.gains import describe_evidence

    for line in describe_evidence(job.report):
        say(line)
    say(f"report: {job.path / 'report.md'}")
