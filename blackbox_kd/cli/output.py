"""How commands print."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from blackbox_kd.printable import escape_json, escape_line, escape_text, write_to

SCHEMA_VERSION = 1


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Prints a text, whoever wrote it, on stdout or stderr."""
    write_to(sys.stderr if err else sys.stdout, escape_text(text) + end)


def ask(question: str) -> bool:
    """Whether the user says yes to a question at the terminal."""
    return click.confirm(escape_line(question), err=True)


def print_json(value: dict[str, Any]) -> None:
    """Prints a JSON object on stdout, with the version of its layout."""
    show_json({"schema_version": SCHEMA_VERSION, **value}, indent=1)


def show_json(value: Any, indent: int) -> None:
    """Prints a value as JSON on stdout."""
    write_to(sys.stdout, escape_json(json.dumps(value, indent=indent, ensure_ascii=False, default=str)) + "\n")


def format_count(number: float) -> str:
    """A number as a person reads it."""
    return f"{number:,.0f}"


def format_usd(usd: float) -> str:
    """Dollars as a person reads them."""
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.4f}" if usd >= 0.0001 else "< 0.0001"


def format_columns(lines: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Lines in columns; the first `left` of them begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [c.ljust(w) if n < left else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True))]
        yield "  ".join(cells).rstrip()
