"""The command `try`: one step of a recipe on a few rows."""

import os
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click

from blackbox_kd.cli import preflight
from blackbox_kd.cli.options import (
    load_named,
    recipe_options,
    say_where_keys_go,
    script_option,
    settle_trust,
    trust_option,
)
from blackbox_kd.cli.output import format_count, format_usd, print_json, say
from blackbox_kd.engine import event_loop
from blackbox_kd.engine.signals import stoppable
from blackbox_kd.errors import UserError
from blackbox_kd.json_text import write_text
from blackbox_kd.messages import write_plain
from blackbox_kd.paths import find_cache_folder
from blackbox_kd.printable import escape_text

MOST_BESIDE = 3
"""Replies that stand side by side."""


@click.command("try")
@click.argument("recipe")
@click.argument("step", required=False)
@recipe_options
@click.option("--rows", type=click.IntRange(min=1), help="How many rows; 3, and for a training all that are there.")
@click.option("--row", "only", multiple=True, metavar="ID", help="This row, or what is made of it; may be repeated.")
@click.option("--dry", is_flag=True, help="Send nothing: the messages and what they would cost.")
@click.option("--against", metavar="PROMPT", help="Another prompt for the step, beside the recipe's.")
@trust_option
@script_option
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run's folder; runs/NAME if left out.")
@click.option("--ledger", type=click.Path(path_type=Path), help="The run's ledger; runs/ledger.sqlite if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def try_step(
    recipe: str,
    step: str | None,
    rows: int | None,
    only: tuple[str, ...],
    dry: bool,
    against: str | None,
    trust: tuple[str, ...],
    run_dir: Path | None,
    ledger: Path | None,
    as_json: bool,
    **changes: Any,
) -> int:
    """Try a STEP of RECIPE on a few rows: what it asks, what comes, and what that costs; the run gets the replies free.

    Without STEP it is the first one that asks a model. Of a training it is told what would be trained, as by `train
    --preflight`. Nothing is written into the run's folder.
    """
    from blackbox_kd.engine.estimate.tables import AnyKey
    from blackbox_kd.engine.trying import Try, TryOptions
    from blackbox_kd.runs.workplace import find_ledger, find_run

    env: Mapping[str, str] = AnyKey() if dry else dict(os.environ)
    found = load_named(recipe, env=env, **changes)
    if dry:
        say_where_keys_go(found, env)
    else:
        settle_trust(found, env, trust)
    run = find_run(found, run_dir)
    places = {"run_dir": run, "ledger": find_ledger(run, ledger, is_scripted=found.scripted)}
    options = TryOptions(**places, cache=find_cache_folder(), env=env, rows=rows, only=only, dry=dry, say=_tell)
    other = _load_other(found, step, against, recipe, env, changes) if against else None
    job = Try(found, step, options, other)
    event_loop.run(stoppable(job, _tell))
    if job.tried.trains:
        return preflight.tell(job.told, as_json=as_json)
    if as_json:
        print_json(job.told)
    else:
        say("\n".join(_write_words(job.told)))
    return 0


def _tell(text: str) -> None:
    say(text, err=True)


def _load_other(
    found: Any, step: str | None, prompt: str, recipe: str, env: Mapping[str, str], changes: Mapping[str, Any]
) -> Any:
    """The recipe with another prompt in the step.

    Raises:
        UserError: the step names no prompt, or several; or the prompt does not fit.
    """
    from blackbox_kd.engine.trying import find_tried

    tried = find_tried(found, step)
    named = [mention.field for mention in tried.references if mention.kind == "prompt"]
    if len(named) != 1:
        fields = ", ".join(named) or "none"
        fix = "try it with --set of one of them, once for each" if named else "try another step"
        raise UserError(f"--against: {tried.label} has not one prompt", exists=f"prompts: {fields}", fix=fix)
    path = ".".join(map(str, [*tried.at, named[0]]))
    return load_named(recipe, env=env, **{**changes, "overrides": (*changes["overrides"], (path, prompt))})


def _write_words(told: Mapping[str, Any]) -> Iterator[str]:
    tries, is_dry = told["tries"], told["estimate"] is not None
    count = len(told["rows"])
    yield f"{told['step']} of {told['recipe']}: {_count(count, 'row')}"
    for row in dict.fromkeys([*told["rows"], *(asked["row"] for each in tries for asked in each["asked"])]):
        yield from ["", f"row {row}"]
        own = [[asked for asked in each["asked"] if asked["row"] == row] for each in tries]
        if len(tries) > 1:
            cells = ["\n\n".join(_write_asked(asked, is_dry=is_dry)) for asked in own]
            yield _set_beside([each["prompt"] for each in tries], cells)
        else:
            yield from _write_one(own[0], is_dry=is_dry)
    for each in tries if not is_dry else ():
        told_already = {asked["row"] for asked in each["asked"] if asked["error"]}
        for entry in each["became"]:
            if "dropped" in entry:
                yield f"{entry['id']} is dropped: {entry['dropped']}"
            elif "failed" in entry and entry["id"] not in told_already:
                yield f"{entry['id']} fails: {entry['failed']}"
    yield ""
    yield _write_bill(told)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def _write_one(asked: list[dict[str, Any]], *, is_dry: bool) -> Iterator[str]:
    """What one row is asked: messages that are the same stand once, and their replies side by side."""
    while asked:
        messages = asked[0]["messages"]
        same = [each for each in asked if each["messages"] == messages]
        asked = [each for each in asked if each["messages"] != messages]
        yield _write_messages(messages)
        if offered := same[0].get("tools"):
            yield f"(tools) {', '.join(str(tool['function']['name']) for tool in offered)}"
        for start in range(0, 0 if is_dry else len(same), MOST_BESIDE):
            part = same[start : start + MOST_BESIDE]
            yield _set_beside([_write_title(each) for each in part], [_write_reply(each) for each in part])


def _write_asked(asked: list[dict[str, Any]], *, is_dry: bool) -> Iterator[str]:
    for number, each in enumerate(asked):
        if not number or each["messages"] != asked[number - 1]["messages"]:
            yield _write_messages(each["messages"])
        if not is_dry:
            yield f"{_write_title(each)}\n{_write_reply(each)}"


def _write_messages(messages: list[dict[str, Any]]) -> str:
    return "\n".join(f"[{message['role']}] {write_plain(message)}" for message in messages)


def _write_title(asked: Mapping[str, Any]) -> str:
    sample = f", sample {asked['sample']}" if asked["sample"] else ""
    return f"-> {asked['model']}{sample}"


def _write_reply(asked: Mapping[str, Any]) -> str:
    if asked["text"] is None:
        return f"no reply that can be used: {asked['error']}"
    thought = f"(reasoning) {asked['reasoning']}\n" if asked["reasoning"] else ""
    cost = "cost unknown" if asked["cost_usd"] is None else f"${asked['cost_usd']:.6f}"
    whence = ", from the ledger" if asked["replayed"] else ""
    called = "".join(f"\n(calls) {write_text(call['function'])}" for call in asked["tool_calls"])
    tokens = f"{asked['prompt_tokens']} + {asked['completion_tokens']} tokens"
    return f"{thought}{asked['text']}{called}\n({tokens}, {cost}{whence})"


def _set_beside(titles: list[str], cells: list[str]) -> str:
    """Texts in columns, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if len(cells) == 1:
        return f"{titles[0]}\n{cells[0]}"
    table = Table(expand=True, box=None, padding=(0, 1))
    for title in titles:
        table.add_column(Text(escape_text(title)), overflow="fold", ratio=1)
    table.add_row(*(Text(escape_text(cell)) for cell in cells))
    drawn = StringIO()
    Console(file=drawn, width=max(60, get_terminal_size((100, 24)).columns), no_color=True).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def _write_bill(told: Mapping[str, Any]) -> str:
    if (estimate := told["estimate"]) is not None:
        usd, calls, tokens = estimate["usd"], estimate["calls"]["likely"], estimate["tokens"]["likely"]
        cost = "at an unknown price" if usd is None else f"for {format_usd(usd['likely'])} USD"
        return (
            f"nothing was sent; it would be about {_count(round(calls), 'call')}, {format_count(tokens)} tokens, {cost}"
        )
    spent = told["spent"]
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    cost = "at an unknown cost" if spent["cost_usd"] is None else f"for {format_usd(spent['cost_usd'])} USD"
    replayed = "1 reply" if spent["replayed"] == 1 else f"{spent['replayed']:,} replies"
    before = f", {replayed} from the ledger" if spent["replayed"] else ""
    return f"{_count(spent['calls'], 'call')}, {tokens:,} tokens, {cost}{before}; a run will not buy them again"
