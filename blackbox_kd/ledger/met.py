"""What is found in a ledger when something is asked: replies that were paid for, and calls in flight elsewhere."""

from typing import NamedTuple


class Bought(NamedTuple):
    """A reply that was paid for.

    Args:
        body: as the server sent it.
        cost_usd: what it did cost then; None when that is not known.
    """

    body: str
    cost_usd: float | None


class Met(NamedTuple):
    """What a commit met that others have asked.

    Args:
        bought: replies, by key, to intended calls that have one by now; they got no intent.
        elsewhere: keys of calls that another process has in flight; those that yield got no intent.
    """

    bought: dict[str, Bought]
    elsewhere: set[str]
