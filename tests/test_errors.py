"""Errors carry what is wrong, what exists and the fix apart from each other; a call's error its kind."""

import copy

import pytest

from blackbox_kd.errors import (
    BlackboxError,
    CallError,
    EndpointRefused,
    MissingColumn,
    RequestRejected,
    ServerFault,
    StepError,
    quote_cause,
)

REFUSED = EndpointRefused("url: 401", kind="endpoint_refused", fix="check the key", said="no such key")


def test_a_message_has_a_line_for_each_part_that_there_is() -> None:
    assert str(StepError("3 rows are left.", exists="columns: a, b", fix="name one")) == (
        "3 rows are left.\n  columns: a, b\n  fix: name one"
    )
    assert str(StepError("3 rows are left.", fix="name one")) == "3 rows are left.\n  fix: name one"
    assert str(StepError("3 rows are left.")) == "3 rows are left."


def test_parts_of_several_lines_are_so_in_a_message() -> None:
    error = StepError("no shards", exists="shards: 1\nruns: 2", fix="run 1\nrun 2")
    assert str(error) == "no shards\n  shards: 1\n  runs: 2\n  fix: run 1\n  fix: run 2"


def test_where_it_happened_is_said_before_what_is_wrong_and_the_rest_stays() -> None:
    error = ServerFault("busy", kind="overload", fix="wait", retry_after_s=3)
    found = error.within("steps[0]")
    assert str(found) == "steps[0]: busy\n  fix: wait"
    assert isinstance(found, ServerFault)
    assert (found.kind, found.retry_after_s, str(error)) == ("overload", 3, "busy\n  fix: wait")
    column = MissingColumn("x").within("steps[1]")
    assert (str(column), column.column) == ("steps[1]: column 'x' is missing", "x")


@pytest.mark.parametrize("error", [REFUSED, ServerFault("429", kind="rate_limit", retry_after_s=2.5)])
def test_a_copy_of_a_calls_error_has_all_of_it_and_a_traceback_of_its_own(error: CallError) -> None:
    copied = copy.copy(error)
    assert copied is not error
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_recast_is_another_class_with_the_same_message() -> None:
    recast = REFUSED.recast(RequestRejected)
    assert type(recast) is RequestRejected
    assert (str(recast), vars(recast)) == (str(REFUSED), vars(REFUSED))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("first\nsecond"), "first"),
        (TimeoutError(), "TimeoutError"),
        (BlackboxError("a", fix="b"), "a"),
        (ValueError("  \n"), "ValueError"),
    ],
)
def test_what_a_library_says_is_quoted_in_one_line(error: BaseException, said: str) -> None:
    assert quote_cause(error) == said
