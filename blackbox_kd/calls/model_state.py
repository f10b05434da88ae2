"""What is known of one model of a run, and when none of its replies or requests is of any use."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from blackbox_kd.calls import prices
from blackbox_kd.calls.retries import EndpointState
from blackbox_kd.calls.tariff import Tariff
from blackbox_kd.calls.usage import Counts
from blackbox_kd.calls.warm_up import WarmUp
from blackbox_kd.errors import QuotaSpent, ReplyFault, RequestRejected, UnusableText
from blackbox_kd.models import Model, Price
from blackbox_kd.models.http.parameters import Parameters
from blackbox_kd.schema import Reply, T

HOPELESS = 50
"""So many replies of a model of which none can be used, all for the same reason, end a run."""

UNIFORM = 20
"""So many requests to a model that are all rejected for the same reason end a run."""
_NUMBERED = re.compile(r"\S*\d\S*")
"""What differs between equal rejections: tokens of a prompt, the number of a request."""
REASON_CHARS = 120
"""So much of a rejection tells its reason; what it quotes of the row comes after that."""


@dataclass(slots=True)
class ModelState:
    """What is known of one model of a run."""

    model: Model
    tariff: Tariff | None
    endpoint: EndpointState
    counts: Counts
    cap: int | None = None
    """`max_tokens` of requests that have none of their own, under a budget; None without one."""
    limit: int | None = None
    """The most of it that the endpoint was found to let through."""
    unusable: Counter[str] | None = field(default_factory=Counter)
    """Replies that could not be used, by kind; None once there was one that could, or if all may be so."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Requests that were rejected before any reply could be used, by the endpoint's words without their numbers."""
    warm_up: WarmUp | None = None
    """Holds calls back until what they begin with is in the endpoint's cache, where it pays."""
    markup: float = 1.0
    """The most that a reply was billed with, as a multiple of what its tokens could cost at most."""
    beyond: tuple[int, int] = (0, 0)
    """The most tokens of a prompt and of a reply that a call has used beyond what it was to use at most; later ones are
    reserved with them."""
    refused: set[str] = field(default_factory=set)
    """Fields of a request that the model was found not to take; shared by all that ask it at its endpoint."""
    parameters: Parameters = field(init=False)
    """What is known beforehand of what the model takes."""
    own_fields: Mapping[str, Any] = field(init=False)
    """Fields of every request, see `ModelConfig.own_fields`."""

    def __post_init__(self) -> None:
        self.parameters, self.own_fields = self.model.config.parameters, self.model.config.own_fields

    @property
    def price(self) -> Price | None:
        """What the model costs now; None when that is not known."""
        return self.tariff.now if self.tariff else None

    @property
    def dearest(self) -> Price | None:
        """What bounds the cost of its calls; None when no price is known."""
        return self.tariff.dearest if self.tariff else None

    def bound_cost(self, prompt: int, reply: int) -> float | None:
        """The most USD that so many tokens can cost, by what replies were billed with so far; None: not known."""
        usd = prices.bound_cost(self.dearest, prompt, reply)
        return usd and usd * self.markup

    def count_usable(self, reply: Reply[T]) -> Reply[T]:
        """The reply, counted as one that can be used."""
        self.unusable = None
        self.counts.count_served(reply.model)
        return reply

    def refuse_uniform(self, error: RequestRejected, row: str) -> None:
        """Counts a rejected request for a row (its id); what a content filter withholds is about one row.

        Raises:
            QuotaSpent: of the error's kind, as all requests to the model were rejected for the same reason so far.
        """
        if self.unusable is None or error.kind.startswith("refused"):
            return
        self.rejected[_NUMBERED.sub("0", error.what)[:REASON_CHARS]] += 1
        if self.rejected.total() >= UNIFORM and len(self.rejected) == 1:
            number = self.rejected.total()
            what = f"{error.what} (row {row!r}; all of its first {number} requests were rejected so)"
            self._give_up(what, error.fix, error.kind)

    def refuse_hopeless(self, fault: ReplyFault, is_replayed: bool) -> None:
        """Counts a reply that cannot be used; what a step could not read may be another text the next time.

        Raises:
            QuotaSpent: of kind `unusable`, as no reply of the model was of any use so far.
        """
        if self.unusable is None or is_replayed or isinstance(fault, UnusableText):
            return
        self.unusable["refused" if fault.kind.startswith("refused") else fault.kind] += 1
        if self.unusable.total() >= HOPELESS and len(self.unusable) == 1:
            what = f"none of its first {self.unusable.total()} replies can be used: {fault.what}"
            self._give_up(what, fault.fix, "unusable")

    def _give_up(self, what: str, fix: str, kind: str) -> NoReturn:
        fix = f"{fix or 'mend the step or the model'}; to go on all the same, max_failed_share: 1.0"
        error = QuotaSpent(what, fix=fix, kind=kind)
        self.endpoint.limiter.stop(error)
        raise error
