"""Which errors are a row's own, and which end the run."""

from collections.abc import Awaitable

from blackbox_kd.errors import CallError, DataError
from blackbox_kd.schema import Failed, Outcome, Row

OWN_ERRORS = (CallError, DataError, KeyError, TypeError, ValueError, ArithmeticError)
"""Errors that are taken for the row's own: the row fails, and the run goes on."""


async def guard(row: Row, working: Awaitable[list[Outcome]]) -> list[Outcome]:
    """The outcomes of a row; an error that is the row's own makes it a failed row."""
    try:
        return await working
    except OWN_ERRORS as error:
        return [fail_row(row, error)]


def fail_row(row: Row, error: Exception) -> Failed:
    """The failed row of an error that is the row's own."""
    if isinstance(error, CallError):
        return Failed(row, error.kind, str(error))
    if isinstance(error, DataError):
        return Failed(row, "data", str(error))
    if isinstance(error, KeyError):
        return Failed(row, "data", f"column {error} is missing")
    return Failed(row, type(error).__name__, str(error))
