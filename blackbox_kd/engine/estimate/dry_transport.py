"""The calls of a rehearsal: replies come from the ledger or from a probe, and what is in neither is noted."""

import time
from dataclasses import dataclass
from itertools import accumulate

from blackbox_kd.calls import warm_up
from blackbox_kd.calls.call import Call
from blackbox_kd.calls.came import Came
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import BudgetReached, CallError, EndpointRefused, QuotaSpent, Stopped
from blackbox_kd.messages import write_plain
from blackbox_kd.models import Model
from blackbox_kd.schema import Usage

NOT_BOUGHT = "not bought"
BLOCK, MOST_BLOCKS = 1024, 128
"""Of the beginning of a prompt: in characters, and how many are looked at."""
PATIENCE_S = 60.0
"""How long a probe waits for an endpoint that is out; nobody wants to wait for an estimate."""


@dataclass(frozen=True, slots=True)
class DryCall:
    """A call that a step makes.

    Args:
        model: the model, as the step names it.
        prompt_bytes: size of the messages, and of the form and the tools that are described beside them.
        messages: how many.
        max_tokens: of the reply.
        varies: whether a reply that cannot be used is asked for again.
        usage: tokens of the reply; None if the call is still to be made.
        seconds: how long the reply took; None unless it was bought just now.
        attempt: how many replies to the same question could not be used before.
        tries: the most replies that are asked for until one can be used.
        is_unusable: whether the reply cannot be used.
        room: tokens that hidden reasoning may take besides the text, where a recipe sets no limit.
        beginnings: what its messages begin with, a hash for each BLOCK of characters: equal ones can be had of a cache.
        is_shared: whether the chain as it stands or an earlier arm makes the same call, which counts it.
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
    room: int = 0
    beginnings: tuple[int, ...] = ()
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe that was sent, and what is wrong with what came; None if it can be used."""

    model: str
    fault: CallError | None


@dataclass(slots=True)
class _Noted:
    """A call that was asked for. Whether its reply could be used is known to `call` once the step has read it.

    Args:
        call: the call.
        usage: tokens of the reply; None if it is still to be made.
        seconds: how long the reply took; None unless it was bought just now.
        is_probe: whether it was sent as a probe.
        error: why a probe brought no reply.
        is_shared: whether it is counted elsewhere.
    """

    call: Call
    usage: Usage | None = None
    seconds: float | None = None
    is_probe: bool = False
    error: CallError | None = None
    is_shared: bool = False


class DryTransport:
    """Buys nothing but probes: a call whose reply is not in the ledger fails its row.

    Probes of a model with `batch: true` are calls like any other, at the ordinary price: batches take hours.

    Args:
        direct: finds replies, and sends the probes.
    """

    waiting = 0

    def __init__(self, direct: DirectTransport) -> None:
        self._direct = direct
        self._counted: set[str] = set()
        self._own: set[str] = set()
        self.begin(probes=0, looks_up=True)

    def begin_variant(self) -> None:
        """Begins with another arm or seed: calls that were noted until now are made once for all of them."""
        self._counted |= self._own
        self._own.clear()

    def begin(self, *, probes: int, looks_up: bool) -> None:
        """Begins with a step.

        Args:
            probes: calls that may be bought of models that cost something.
            looks_up: whether replies are looked up; the rows of a sample stand for others, whose calls are not made
                yet.
        """
        self._noted: list[_Noted] = []
        self._probes, self._looks_up = probes, looks_up

    @property
    def asked(self) -> list[DryCall]:
        """The calls that were asked for since it was last told to begin."""
        return [_dry_call(noted) for noted in self._noted]

    @property
    def probed(self) -> list[Probed]:
        """The probes that were sent since then."""
        return [
            Probed(noted.call.state.counts.name, noted.error or noted.call.fault)
            for noted in self._noted
            if noted.is_probe
        ]

    def open(self, model: Model, name: str) -> ModelState:
        """See `Transport.open`."""
        return self._direct.open(model, name)

    def has(self, call: Call) -> bool:
        """See `Transport.has`."""
        return self._direct.has(call)

    async def find(self, call: Call) -> Came | None:
        """See `Transport.find`."""
        found = await self._direct.find(call) if self._looks_up else None
        if self._looks_up:
            self._own.add(call.key)
        if found is not None:
            self._noted.append(_Noted(call, found.completion.usage or Usage(), is_shared=self._is_shared(call)))
        return found

    def _is_shared(self, call: Call) -> bool:
        return self._looks_up and call.key in self._counted

    async def buy(self, call: Call) -> Came:
        """The reply to a probe.

        Raises:
            CallError: of kind `not bought`; the call is among those `asked`.
        """
        is_shared = self._is_shared(call)
        is_probe = self._looks_up and self._probes > 0 and not call.state.model.config.local and not is_shared
        noted = _Noted(call, is_probe=is_probe, is_shared=is_shared)
        if not is_probe:
            self._noted.append(noted)
            raise CallError("the reply is not in the ledger", kind=NOT_BOUGHT)
        self._probes -= 1
        began = time.monotonic()
        try:
            came = await self._direct.buy(call)
        except (EndpointRefused, QuotaSpent):
            raise
        except CallError as error:  # nothing was paid: a run makes the call again
            noted.error = error
            self._noted.append(noted)
            raise CallError("the probe brought no reply", kind=NOT_BOUGHT) from error
        noted.usage = came.completion.usage or Usage()
        noted.seconds = None if came.is_replayed else time.monotonic() - began
        self._noted.append(noted)
        return came

    def stop(self, why: BudgetReached | Stopped) -> None:
        """See `Transport.stop`."""
        self._direct.stop(why)


def _dry_call(noted: _Noted) -> DryCall:
    ask, call = noted.call.ask, noted.call
    is_open = ask.sampling.max_tokens is None or "max_tokens" in ask.sampling.defaults
    return DryCall(
        call.state.counts.name,
        sum(len(write_plain(message).encode(errors="replace")) for message in ask.messages) + call.described,
        len(ask.messages),
        None if ask.sampling.max_tokens is None else call.bounds()[1],
        ask.sampling.varies or call.is_sampled,
        usage=noted.usage,
        seconds=noted.seconds,
        attempt=call.request.attempt,
        tries=ask.tries,
        is_unusable=call.fault is not None,
        room=call.state.parameters.find_room({**call.state.own_fields, **ask.sampling.extra}) if is_open else 0,
        beginnings=_hash_beginnings(call),
        is_shared=noted.is_shared,
    )


def _hash_beginnings(call: Call) -> tuple[int, ...]:
    if (price := call.state.price) is None or price.cached is None:
        return ()
    text = warm_up.join(call.request.messages, MOST_BLOCKS * BLOCK)
    blocks = (text[start : start + BLOCK] for start in range(0, len(text) - BLOCK + 1, BLOCK))
    return tuple(accumulate(blocks, lambda before, block: hash((before, block)), initial=0))[1:]
