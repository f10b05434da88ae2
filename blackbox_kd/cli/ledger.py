"""The command `ledger`: what its owner does with the store of paid replies."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.estimate import LEDGER
from blackbox_kd.cli.output import ask, format_columns, format_count, format_usd, print_json, say
from blackbox_kd.errors import UserError

TAKE_NONE = ("rescue",)
"""Commands that have none of the options."""


def _add_ledger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--run", metavar="RUN", help="Only this run: its folder, or its name in runs/."),
        click.option("--ledger", type=click.Path(path_type=Path), default=LEDGER, show_default=True, help="The file."),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_add_ledger_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def ledger(context: click.Context, ledger: Path, run: str | None, as_json: bool) -> int | None:
    """See, export, prune or rescue the ledger of paid replies; without a command, its summary."""
    if context.invoked_subcommand is None:
        return _show_summary(ledger, run, as_json)
    # Options before the command hold for it, too: `ledger --ledger FILE prune` must not prune another file.
    name = context.invoked_subcommand
    if name in TAKE_NONE and (run is not None or ledger != LEDGER):
        raise UserError(f"ledger {name} takes its files as arguments", fix=f"take the options before {name} out")
    if as_json and name != "summary":
        raise UserError(f"ledger {name} prints no JSON", fix="take --json out")
    context.default_map = {name: {"ledger": ledger, "run": run, "as_json": as_json}}
    return None


@ledger.command()
@_add_ledger_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def summary(ledger: Path, run: str | None, as_json: bool) -> int:
    """Show calls, tokens and cost of each model in each run."""
    return _show_summary(ledger, run, as_json)


def _show_summary(path: Path, run: str | None, as_json: bool) -> int:
    from blackbox_kd.ledger import admin

    found = admin.summary(path, _run_of(path, run))
    if as_json:
        print_json({"ledger": str(path), **asdict(found)})
        return 0
    size = f"{found.size_bytes / 2**20:,.1f} MB"
    say(f"{path}: {sum(each.calls for each in found.bought):,} replies, {size}")
    lines = [["run", "model", "calls", "tokens", "USD", "last"]]
    for each in found.bought:
        unknown = f" + {each.cost_unknown:,} of unknown cost" if each.cost_unknown else ""
        tokens = format_count(each.prompt_tokens + each.completion_tokens)
        lines.append(
            [
                _quote(each.run),
                each.model,
                format_count(each.calls),
                tokens,
                format_usd(each.cost_usd) + unknown,
                each.last,
            ]
        )
    if found.bought:
        say("\n".join(["", *format_columns(lines, left=2)]))
    for lost in found.unanswered:
        again = f", {lost.repeated:,} of them sent again" if lost.repeated else ""
        most = f"at most {format_usd(lost.reserved_usd)} USD"
        say(f"{_quote(lost.run)}, {lost.model}: {lost.calls:,} requests without a reply{again}, {most}")
    for gone in found.abandoned:
        say(f"{_quote(gone.run)}, {gone.model}: {gone.calls:,} requests refused at no cost ({gone.kind})")
    return 0


@ledger.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@_add_ledger_options
def export(file: Path, ledger: Path, run: str | None) -> int:
    """Write the replies to FILE as JSON lines; `-` is stdout."""
    from blackbox_kd.ledger import admin

    run = _run_of(ledger, run)
    if str(file) == "-":
        admin.export(ledger, sys.stdout, run)
        return 0
    part = file.with_name(file.name + ".part")
    try:
        part.unlink(missing_ok=True)
        private = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(private, "w", encoding="utf-8") as out:
            written = admin.export(ledger, out, run)
        part.replace(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}", fix="name another file") from error
    finally:
        with suppress(OSError):
            part.unlink()
    say(f"{written:,} replies written to {file}", err=True)
    return 0


@ledger.command()
@_add_ledger_options
@click.option("--before", metavar="TIME", help="Only what is older: 2026-01-31, or with a time of day (UTC).")
@click.option("--yes", is_flag=True, help="Do not ask whether to go on.")
def prune(ledger: Path, run: str | None, before: str | None, yes: bool) -> int:
    """Remove replies, which will be bought again when they are asked for: of a run, before a time, or both."""
    from blackbox_kd.ledger import admin

    if run is None and before is None:
        raise UserError("prune would remove everything", fix="add --run RUN, --before TIME, or both")
    run, until = _run_of(ledger, run), _read_time(before)
    if not yes:
        told = [f"of {_quote(run)}"] if run else []
        told += [f"before {until:%Y-%m-%d %H:%M} UTC"] if until else []
        if not sys.stdin.isatty():
            raise UserError(
                f"prune removes paid replies {', '.join(told)} for good; they count against no budget any more",
                fix="add --yes if you mean it",
            )
        what = f"Remove the paid replies {', '.join(told)} for good? They count against no budget any more."
        if not ask(what):
            raise click.Abort
    gone = admin.prune(ledger, run=run, before=until)
    say(f"{gone:,} replies removed from {ledger}", err=True)
    return 0


def _read_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--before {text!r} is no time", fix="write 2026-01-31, or 2026-01-31T18:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@ledger.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def rescue(file: Path, new: Path) -> int:
    """Copy what can still be read of the damaged ledger FILE into a NEW one."""
    from blackbox_kd.ledger import admin

    saved = admin.rescue(file, new)
    say(f"{saved:,} replies saved in {new}; put it in the place of {file} to go on with it", err=True)
    return 0


def _run_of(path: Path, run: str | None) -> str | None:
    """A run as the ledger names it: by the whole path of its folder.

    Raises:
        UserError: the ledger knows no such run.
    """
    from blackbox_kd.errors import did_you_mean
    from blackbox_kd.ledger import admin
    from blackbox_kd.runs.folder import identity

    if run is None:
        return None
    held = admin.summary(path)
    runs = [*(e.run for e in held.bought), *(e.run for e in held.unanswered), *(e.run for e in held.abandoned)]
    known = list(dict.fromkeys(runs))
    for candidate in (run, identity(Path(run)), identity(Path("runs") / run)):
        if candidate in known:
            return candidate
    names = [_quote(each) for each in known]
    fix = did_you_mean(run, [*names, *(Path(each).name for each in known)]) or "name one of them"
    raise UserError(f"{path} has nothing of the run {run!r}", exists=f"runs: {', '.join(names) or 'none'}", fix=fix)


def _quote(run: str) -> str:
    """A run's folder, from here where it is inside."""
    here = Path.cwd()
    return str(Path(run).relative_to(here)) if Path(run).is_relative_to(here) else run
