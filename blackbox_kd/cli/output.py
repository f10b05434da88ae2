"""How commands print."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

SCHEMA_VERSION = 1


def print_json(value: dict[str, Any]) -> None:
    """Prints a JSON object on stdout, with the version of its layout."""
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=1, ensure_ascii=False, default=str))


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
