"""The command that hands a student over: merged, as GGUF, for ollama."""

import os
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.output import print_json, say
from blackbox_kd.engine import event_loop
from blackbox_kd.engine.signals import stoppable
from blackbox_kd.errors import UserError
from blackbox_kd.paths import find_cache_folder


@click.command()
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The model, or a version such as student@1; its last one if left out.")
@click.option("--merge", is_flag=True, help="The adapter worked into the weights of its base.")
@click.option("--gguf", "kinds", multiple=True, metavar="KIND", help="A GGUF file: F16, Q8_0, Q4_K_M, ...")
@click.option("--ollama", is_flag=True, help="A Modelfile beside each GGUF file.")
@click.option("--no-evaluation", is_flag=True, help="Do not ask what was made the questions of the student's exam.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many questions of the exam.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The ledger; runs/ledger.sqlite if left out.")
@click.option("--allow-code", is_flag=True, help="Let the recipe's plugins and functions run.")
@click.option("--json", "as_json", is_flag=True, help="Print export.json.")
def export(
    run_dir: Path,
    model: str | None,
    merge: bool,
    kinds: tuple[str, ...],
    ollama: bool,
    no_evaluation: bool,
    limit: int | None,
    ledger: Path | None,
    allow_code: bool,
    as_json: bool,
) -> int:
    """Write the student of RUN for others to use, and ask it again what it was asked: is it still as good?"""
    from blackbox_kd.engine import export as work
    from blackbox_kd.engine.progress import view_for
    from blackbox_kd.engine.run import RunOptions
    from blackbox_kd.recipe.load import load_recipe
    from blackbox_kd.runs.browse import find_run

    if not (merge or kinds):
        what = "--ollama serves a GGUF file, and none is asked for" if ollama else "nothing to export"
        raise UserError(what, fix="--gguf Q8_0" if ollama else "--merge, or --gguf Q8_0, or both")
    run = find_run(run_dir)
    recipe = load_recipe(run / "recipe.yaml", allow_code=allow_code)
    cache = find_cache_folder()
    wanted = work.Wanted(model, merge, kinds, ollama)
    made = work.export(recipe, run, wanted, cache, lambda text: say(text, err=True))
    exam = None
    if not no_evaluation:
        view = view_for(os.isatty(2), os.environ)
        place = run / work.FOLDER / "evaluation"
        options = RunOptions(cache=cache, run_dir=place, ledger=ledger, limit=limit, env=dict(os.environ), view=view)
        exam = work.evaluate(recipe, run, made, options)
        if exam is None:
            made.notes.append("the recipe asks the student no questions with right answers: what was made is untried")
        else:
            event_loop.run(stoppable(exam, view.say))
    told = work.summarise(made, exam)
    work.write_results(recipe, run, made, told)
    if as_json:
        print_json(told)
    else:
        _describe(made, told)
    return 0


def _describe(made: Any, told: dict[str, Any]) -> None:
    from blackbox_kd.runs.report.gains import describe_evidence

    for line in describe_evidence(told):
        say(line)
    for name, found in told.get("same_replies", {}).items():
        say(f"{name}: the same reply as the student to {found['same']:,} of {found['of']:,} questions")
    for note in made.notes:
        say(note, err=True)
    for path in made.written:
        say(f"written: {path}")
    for path in made.written:
        if path.suffix == ".Modelfile":
            say(f"serve it: ollama create {path.stem.lower()} -f {path}")
