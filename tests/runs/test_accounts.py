import pytest

from blackbox_kd.errors import BlackboxError
from blackbox_kd.runs.accounts import Account
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
    assert account.failed_share() == 0.25
    assert Account.of(account.entry()) == account


def test_rows_that_vanish_are_a_bug_and_said_to_be_one() -> None:
    account = Account("steps[1] (filter)", rows_in=3)
    account.count(rows({})[0])
    with pytest.raises(BlackboxError, match=r"3 in \+ 0 added, but 1 out \+ 0 dropped \+ 0 failed. This is a bug"):
        account.check()
