"""The command that joins the shards of a run; `run --shard` makes them."""

import os
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.options import load_named, recipe_options
from blackbox_kd.cli.output import print_json, say
from blackbox_kd.paths import find_cache_folder


@click.command()
@click.argument("recipe")
@recipe_options
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run's folder; runs/NAME if left out.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The run's ledger; runs/ledger.sqlite if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def merge(recipe: str, run_dir: Path | None, ledger: Path | None, as_json: bool, **how: Any) -> int:
    """Join the shards of RECIPE in the run's folder `shards/`; `run` then goes on without asking anything again."""
    from blackbox_kd.engine.model_pool import ModelPool
    from blackbox_kd.engine.sharding.merge import merge as join
    from blackbox_kd.recipe.kept import keep
    from blackbox_kd.runs.workplace import read_aliases

    found = load_named(recipe, **how)
    run = run_dir or Path("runs") / found.name
    found, kept = keep(found, read_aliases(run), os.environ)
    for line in kept:
        say(line, err=True)
    models = ModelPool(found, find_cache_folder(), os.environ)
    places = [run]
    report = join(
        found,
        run,
        ledger or Path("runs") / "ledger.sqlite",
        models,
        lambda text: say(text, err=True),
        is_named=run_dir is not None,
        on_place=places.append,
    )
    if as_json:
        print_json(report)
    else:
        say(f"report: {places[-1] / 'report.md'}")
    return 0
