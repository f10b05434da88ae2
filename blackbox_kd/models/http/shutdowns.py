"""When a vendor switches a model off, by a dated table; an endpoint's own list of its models knows better."""

import datetime
from dataclasses import dataclass
from functools import cache

from blackbox_kd import paths
from blackbox_kd.models.http.names import look_up, normalise

SOON_DAYS = 90
"""Days before a shutdown from which on it is warned of."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The end of a model.

    Args:
        vendor: who switches it off.
        names: of the models, see `names.normalise`.
        source: where that is from.
        read: when it was read there.
        date: the first day without the model; None if none is known.
        gone: whether it is gone all the same.
        instead: a model of the same vendor.
        hosts: the only endpoints that it is about; all if empty.
    """

    vendor: str
    names: tuple[str, ...]
    source: str
    read: datetime.date
    date: datetime.date | None = None
    gone: bool = False
    instead: str = ""
    hosts: tuple[str, ...] = ()

    def is_over(self, today: datetime.date) -> bool:
        """Whether the model is gone."""
        return self.gone if self.date is None else self.date <= today

    def describe(self, today: datetime.date) -> str:
        """When the model ends or has ended, in words; "" if that is far off."""
        return "for good" if self.date is None else describe_day(self.date, today)


def find(model: str, host: str) -> Shutdown | None:
    """The end of a model that is asked at a host; None if none is announced."""
    known = {name: each for each in read_table() if not each.hosts or host in each.hosts for name in each.names}
    found = look_up(normalise(model), known)
    return found if found is not None and (found.date is not None or found.gone) else None


def describe_day(date: datetime.date, today: datetime.date) -> str:
    """When something ends or has ended, in words; "" if that is far off."""
    left = (date - today).days
    if left > SOON_DAYS:
        return ""
    return f"since {date}" if left <= 0 else f"on {date}, in {left} {'day' if left == 1 else 'days'}"


@cache
def read_table() -> list[Shutdown]:
    """All that is known."""
    return [Shutdown(**entry) for entry in paths.read_table(__file__)["shutdowns"]]
