from pathlib import Path

import pytest

from blackbox_kd.errors import BlackboxError, TooManyFailed
from blackbox_kd.runs.accounts import Account, refuse_failures
from blackbox_kd.schema import Dropped, Failed
from tests.support.fakes import rows


def test_rows_in_and_added_are_rows_out_dropped_and_failed() -> None:
    account = Account("steps[0] (generate)", rows_in=2, added=2)
    a, b, c, d = rows({}, {}, {}, {})
    for outcome in (a, b, Dropped(c, "too long"), Failed(d, "truncated", "cut off")):
        account.count(outcome)
    account.check()
    assert account.entry() == {
        "step": "steps[0] (generate)",
        "in": 2,
        "added": 2,
        "out": 2,
        "dropped": {"too long": 1},
        "failed": {"truncated": 1},
    }
    assert account.measure_failed() == 0.25
    assert Account.of(account.entry()) == account


def test_rows_that_vanish_are_a_bug_and_said_to_be_one() -> None:
    account = Account("steps[1] (filter)", rows_in=3)
    account.count(rows({})[0])
    with pytest.raises(BlackboxError, match=r"3 in \+ 0 added, but 1 out \+ 0 dropped \+ 0 failed. This is a bug"):
        account.check()


def test_the_commonest_errors_are_counted_by_form_and_shown_without_rows_and_with_one_of_their_numbers() -> None:
    account = Account("steps[0] (generate)", rows_in=9)
    for number in range(6):
        row = rows({})[0]
        account.count(
            Failed(row, "truncated", f"model 't', row '{row.id}{number}': cut off after {number} tokens\n  fix")
        )
    for _ in range(2):
        account.count(Failed(rows({})[0], "rejected", "400 Bad Request"))
    account.count(rows({})[0])
    with pytest.raises(TooManyFailed) as caught:
        refuse_failures([account], 0.5, Path("runs/demo"))
    assert str(caught.value).splitlines()[:3] == [
        "steps[0] (generate): 8 of 9 rows failed: 6 truncated, 2 rejected",
        "    6 times: model 't': cut off after 0 tokens",
        "    2 times: 400 Bad Request",
    ]


@pytest.mark.parametrize(
    ("kinds", "fix"),
    [
        (["refused: bio", "refused: cyber"], "refusals stand: take another model"),
        (["refused: bio", "data"], "mend what"),
    ],
)
def test_what_a_vendor_refuses_is_nothing_to_mend(kinds: list[str], fix: str) -> None:
    account = Account("steps[0] (generate)", rows_in=2)
    for kind in kinds:
        account.count(Failed(rows({})[0], kind, "no"))
    with pytest.raises(TooManyFailed) as caught:
        refuse_failures([account], 0.5, Path("runs/demo"))
    assert caught.value.fix.startswith(fix)


def test_a_step_in_which_each_error_is_another_one_keeps_a_bounded_number_of_them() -> None:
    account = Account("steps[0] (generate)", rows_in=1000)
    for number in range(1000):
        account.count(Failed(rows({})[0], "data", "x" * number))
    assert len(account.errors.examples) == 100
    assert account.failed.total() == 1000


def test_rows_that_have_begun_and_not_ended_may_still_succeed() -> None:
    account = Account("steps[0] (generate)", rows_in=300)
    for _ in range(20):
        account.count(Failed(rows({})[0], "data", "no"))
    assert not account.has_failed(0.1)
    account.rows_in = 199
    assert account.has_failed(0.1) is False, "too few to tell"
    account.rows_in = 200
    assert account.has_failed(0.09)
