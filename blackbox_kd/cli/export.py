"""The command that hands a student over: merged, as GGUF, for ollama, on the Hub."""

import os
import shlex
import sys
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
@click.option("--push", metavar="OWNER/NAME", help="The Hub's repository for it; GGUF files go to OWNER/NAME-GGUF.")
@click.option("--push-dataset", metavar="OWNER/NAME", help="The Hub's repository for the data set of RUN.")
@click.option("--public", is_flag=True, help="Let everybody see what is pushed.")
@click.option("--no-evaluation", is_flag=True, help="Do not ask what was made the questions of the student's exam.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many questions of the exam.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The ledger; runs/ledger.sqlite if left out.")
@click.option("--allow-code", is_flag=True, help="Let the recipe's plugins and functions run.")
@click.option("--json", "as_json", is_flag=True, help="Print export.json.")
def export(run_dir: Path, as_json: bool, **given: Any) -> int:
    """Write the student of RUN for others to use, and ask it again what it was asked: is it still as good?"""
    from blackbox_kd.engine import export as work
    from blackbox_kd.engine import push
    from blackbox_kd.recipe.load import load_recipe
    from blackbox_kd.recipe.push import check_repository
    from blackbox_kd.runs import hub
    from blackbox_kd.runs.browse import find_run

    wanted = work.Wanted(given["model"], given["merge"], given["kinds"], given["ollama"])
    student, rows = (given[name] and check_repository(given[name]) for name in ("push", "push_dataset"))
    _refuse_nothing(wanted, student or rows, given["public"])
    run = find_run(run_dir)
    recipe = load_recipe(run / "recipe.yaml", allow_code=given["allow_code"])
    if student or rows:
        hub.refuse_unready()
        for line in push.describe_terms(recipe):
            say(line, err=True)
    folders: list[Path] = []
    told: dict[str, Any] = {}
    if wanted.merge or wanted.kinds:
        made, told = _make(recipe, run, wanted, given)
        if not as_json:
            _describe(made, told)
        folders = made.list_folders()
    elif student:
        folders = [work.choose_version(run, wanted.model)[1]]
    public = given["public"]
    uploads = [push.list_model(f, work.name_repository(student, f), public=public) for f in folders if student]
    if rows:
        uploads.append(push.list_dataset(run, rows, public=public))
    again = shlex.join(["blackbox-kd", *sys.argv[1:]])
    push.send([(upload, again) for upload in uploads], lambda text: say(text, err=as_json))
    if as_json:
        print_json(told)
    return 0


def _refuse_nothing(wanted: Any, repository: str | None, public: bool) -> None:
    if not (wanted.merge or wanted.kinds or repository):
        what = "--ollama serves a GGUF file, and none is asked for" if wanted.ollama else "nothing to export"
        raise UserError(what, fix="--gguf Q8_0" if wanted.ollama else "--merge, --gguf Q8_0 or --push OWNER/NAME")
    if public and not repository:
        raise UserError("--public says who sees what is pushed, and nothing is", fix="--push OWNER/NAME")


def _make(recipe: Any, run: Path, wanted: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What was written of a student, and what export.json holds."""
    from blackbox_kd.engine import export as work
    from blackbox_kd.engine.progress import view_for
    from blackbox_kd.engine.run import RunOptions

    cache = find_cache_folder()
    made = work.export(recipe, run, wanted, cache, lambda text: say(text, err=True))
    exam = None
    if not given["no_evaluation"]:
        view = view_for(os.isatty(2), os.environ)
        options = RunOptions(
            cache=cache,
            run_dir=run / work.FOLDER / "evaluation",
            ledger=given["ledger"],
            limit=given["limit"],
            env=dict(os.environ),
            view=view,
        )
        exam = work.evaluate(recipe, run, made, options)
        if exam is None:
            made.notes.append("the recipe asks the student no questions with right answers: what was made is untried")
        else:
            event_loop.run(stoppable(exam, view.say))
    told = work.summarise(made, exam)
    work.write_results(recipe, run, made, told)
    return made, told


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
