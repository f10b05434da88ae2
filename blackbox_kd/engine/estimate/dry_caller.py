"""The calls of a rehearsal: replies come from the ledger or from a probe, and what is in neither is noted."""

import time
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.call import Call, Reader, read_text
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.completion import Completion
from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, ReplyFault
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.schema import Reply, Usage

NOT_BOUGHT = "not bought"
PATIENCE_S = 60.0
"""How long a probe waits for an endpoint that is out; nobody wants to wait for an estimate."""


@dataclass(frozen=True, slots=True)
class DryCall:
    """A call that a step makes.

    Args:
        model: the model, as the step names it.
        prompt_bytes: size of the messages.
        messages: how many.
        max_tokens: of the reply.
        varies: whether a reply that cannot be used is asked for again.
        usage: tokens of the reply; None if the call is still to be made.
        seconds: how long the reply took; None unless it was bought just now.
        attempt: how many replies to the same question could not be used before.
        tries: the most replies that are asked for until one can be used.
        is_unusable: whether the reply cannot be used.
    """

    model: str
    prompt_bytes: int
    messages: int
    max_tokens: int | None
    varies: bool
    usage: Usage | None = None
    seconds: float | None = None
    attempt: int = 0
    tries: int = 3
    is_unusable: bool = False


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe that was sent, and what is wrong with what came; None if it can be used."""

    model: str
    fault: CallError | None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a step takes for a usable reply, and how often it asks for one."""

    accept_truncated: bool
    read: Reader | None
    tries: int

    def fault(self, came: Completion) -> ReplyFault | None:
        """Why a reply cannot be used; None if it can."""
        try:
            read_text(came.reply(None, accept_truncated=self.accept_truncated), self.read)
        except ReplyFault as fault:
            return fault
        return None


_WANTED: ContextVar[_Wanted] = ContextVar("wanted")
"""Of the ask that a call is made for."""


class Rehearsing(Caller):
    """A caller that buys nothing but its probes: a call whose reply is not in the ledger fails its row.

    Probes of a model with `batch: true` are calls like any other, at the ordinary price: batches take hours.

    Attributes:
        asked: the calls that were asked for, since it was last told to begin.
        probed: the probes that were sent since then.
    """

    def __init__(self, ledger: Ledger, budget: Budget) -> None:
        super().__init__(ledger, budget, patience_s=PATIENCE_S, may_all_fail=True)
        self._replies = ledger
        self.begin(probes=0, looks_up=True)

    def begin(self, *, probes: int, looks_up: bool) -> None:
        """Begins with a step.

        Args:
            probes: calls that may be bought of models that cost something.
            looks_up: whether replies are looked up; the rows of a sample stand for others, whose calls are not made
                yet.
        """
        self.asked: list[DryCall] = []
        self.probed: list[Probed] = []
        self._probes, self._looks_up = probes, looks_up

    async def ask(self, *given: Any, **how: Any) -> Reply:
        """See `Caller.ask`."""
        again = how.get("attempts")
        tries = 1 + (self._reply_retries if again is None else again)
        token = _WANTED.set(_Wanted(bool(how.get("accept_truncated")), how.get("read"), tries))
        try:
            return await super().ask(*given, **how)
        finally:
            _WANTED.reset(token)

    async def completion(self, call: Call) -> tuple[Completion, bool]:
        """The reply of the ledger, or of a probe.

        Raises:
            CallError: there is none; the call is among those `asked`.
        """
        wanted = _WANTED.get()
        asked = _dry_call(call, wanted.tries)
        is_paid = self._looks_up and self._replies.get(call.key) is not None
        is_probe = not is_paid and self._looks_up and self._probes > 0 and not call.asked.model.config.local
        if not is_paid and not is_probe:
            self.asked.append(asked)
            raise CallError("the reply is not in the ledger", kind=NOT_BOUGHT)
        self._probes -= is_probe
        began = time.monotonic()
        try:
            came, is_replayed = await super().completion(call)
        except (EndpointRefused, QuotaSpent):
            raise
        except CallError as error:  # nothing was paid: a run makes the call again
            self.probed.append(Probed(asked.model, error))
            self.asked.append(asked)
            raise CallError("the probe brought no reply", kind=NOT_BOUGHT) from error
        fault = wanted.fault(came)
        seconds = None if is_replayed else time.monotonic() - began
        self.asked.append(replace(asked, usage=came.usage or Usage(), seconds=seconds, is_unusable=fault is not None))
        if is_probe:
            self.probed.append(Probed(asked.model, fault))
        return came, is_replayed


def _dry_call(call: Call, tries: int) -> DryCall:
    """A call that is still to be made."""
    sampling, messages = call.request.sampling, call.request.messages
    size = sum(len(message["content"].encode(errors="replace")) for message in messages)
    name, attempt = call.asked.counts.name, call.request.attempt
    return DryCall(name, size, len(messages), sampling.max_tokens, sampling.varies, attempt=attempt, tries=tries)
