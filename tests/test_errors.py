"""Errors carry what is wrong, what exists and the fix apart from each other; a call's error its kind."""

import copy

import pytest

from blackbox_kd.errors import CallError, EndpointRefused, RequestRejected, ServerFault, StepError

REFUSED = EndpointRefused("url: 401", kind="endpoint_refused", fix="check the key", said="no such key")


def test_a_message_has_a_line_for_each_part_that_there_is() -> None:
    assert str(StepError("3 rows are left.", exists="columns: a, b", fix="name one")) == (
        "3 rows are left.\n  columns: a, b\n  fix: name one"
    )
    assert str(StepError("3 rows are left.", fix="name one")) == "3 rows are left.\n  fix: name one"
    assert str(StepError("3 rows are left.")) == "3 rows are left."


@pytest.mark.parametrize("error", [REFUSED, ServerFault("429", kind="rate_limit", retry_after_s=2.5)])
def test_a_copy_of_a_calls_error_has_all_of_it_and_a_traceback_of_its_own(error: CallError) -> None:
    copied = copy.copy(error)
    assert copied is not error
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def test_recast_is_another_class_with_the_same_message() -> None:
    recast = REFUSED.recast(RequestRejected)
    assert type(recast) is RequestRejected
    assert (str(recast), vars(recast)) == (str(REFUSED), vars(REFUSED))
