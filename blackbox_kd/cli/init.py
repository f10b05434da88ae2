"""The command `init`: a recipe to begin with."""

from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.output import say

STUDENT = "HuggingFaceTB/SmolLM2-135M-Instruct"


@click.command()
@click.argument("job")
@click.option("--data", type=click.Path(path_type=Path), help="Your rows (CSV, JSONL, ...), or a folder of documents.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder that is written; JOB if left out.")
@click.option("--text", metavar="COLUMN", help="The column with the text; guessed if left out.")
@click.option("--reference", metavar="COLUMN", help="The column with the right answer or label; guessed if left out.")
@click.option("--labels", default="", metavar="A,B,C", help="The labels, where the data has none.")
@click.option("--teacher", default="openai:cheap", show_default=True, metavar="PROVIDER:MODEL", help="Who is asked.")
@click.option(
    "--student", default=STUDENT, show_default=True, help="Hub id, folder, .gguf file or package:NAME/FILE.gguf."
)
def init(job: str, data: Path | None, out: Path | None, teacher: str, student: str, labels: str, **named: Any) -> int:
    """Write a recipe for a JOB, with its prompts, from the columns of your data.

    Jobs: classify, extract, tools, documents_qa, reasoning, maths, chat, traces. No file is overwritten.
    """
    from blackbox_kd.recipe.starting.write import Given, write
    from blackbox_kd.recipe.swaps import make_entry

    given = Given(
        job,
        data,
        out or Path(job),
        teacher=make_entry(teacher, f"--teacher {teacher}"),
        student={"provider": "transformers", "model": student},
        text=named["text"],
        right=named["reference"],
        labels=[label for each in labels.split(",") if (label := " ".join(each.split()))],
    )
    written = write(given)
    for line in written.told:
        say(line)
    say(f"written to {written.recipe.parent}: {', '.join(written.files)}")
    recipe = written.recipe.as_posix()
    say("next:")
    for command in ("check", "run --scripted --limit 3", "run"):
        name, *options = command.split(" ", 1)
        say(f"  blackbox-kd {' '.join([name, recipe, *options])}")
    return 0
