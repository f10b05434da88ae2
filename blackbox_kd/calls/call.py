"""One call: what is asked, of which model, and what is said of it when nothing usable came."""

import re
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol, runtime_checkable

from blackbox_kd.calls import prices
from blackbox_kd.calls.budget import Budget, Reservation
from blackbox_kd.calls.completion import Completion
from blackbox_kd.calls.model_state import ModelState
from blackbox_kd.calls.retries import Tries
from blackbox_kd.errors import Refusal, ReplyFault, RequestRejected, UnusableText
from blackbox_kd.json_text import encode
from blackbox_kd.ledger.ledger import compute_key
from blackbox_kd.models.http.parameters import MOST_TOKENS, NEUTRAL
from blackbox_kd.schema import Ask, Message, Reply, Request, Sampling, T, Usage

LEAST_CAP = 256
"""The smallest cap that is tried: replies cut so early are of no use."""
_CAP_REFUSED = re.compile(
    r"max_(?:completion_|output_|new_)?tokens|context length|context window|too large", re.IGNORECASE
)
"""What endpoints say of a `max_tokens` above what they let through; then their limit, and the tokens of the prompt."""
_LIMIT = re.compile(
    r"(?:at most|less than or equal to|<=|maximum \D{0,40}?(?:is|of)|limit \D{0,20}?) ?(\d[\d,]*)", re.IGNORECASE
)
_PROMPT = re.compile(r"(\d[\d,]*) (?:input tokens|prompt tokens|in the messages|of text input)", re.IGNORECASE)


@runtime_checkable
class MakesUp(Protocol):
    """What reads a reply, and can make one of a text that it would read, for those that are made up (`--scripted`)."""

    def example(self, text: str, random: Random) -> str:
        """A reply made of a text."""
        ...


@dataclass(slots=True)
class Attempts:
    """How asking for a usable reply goes, over several replies to one question.

    Args:
        tries: the most replies that are bought.
        varies: whether asking again can bring another reply.
        retry_failed: whether so many are bought beyond those of the ledger.
        bought: replies that were no replays.
        cut: replies that were cut off.
        fault: what is wrong with the latest one.
    """

    tries: int
    varies: bool
    retry_failed: bool
    bought: int = 0
    cut: int = 0
    fault: ReplyFault | None = None

    def count_fault(self, fault: ReplyFault, is_replayed: bool) -> None:
        """Counts a reply that cannot be used."""
        self.fault = fault
        self.cut += fault.kind == "truncated" and not (self.retry_failed and is_replayed)

    def may_go_on(self, attempt: int) -> bool:
        """Whether another reply may be bought, after `attempt` others.

        A reply that was cut at its limit is most likely cut there again: it is asked for once more, not `tries` times.
        """
        fault = self.fault
        assert fault is not None
        # A gateway's page instead of a reply is chance, however greedily the model decodes.
        is_chance = fault.kind == "unreadable" and not isinstance(fault, UnusableText)
        can_differ = is_chance or (self.varies and not isinstance(fault, Refusal))
        if fault.kind == "truncated" and self.cut > 1:
            return False
        if self.retry_failed:
            return not self.bought or (can_differ and self.bought < self.tries)
        return can_differ and attempt < self.tries


@dataclass(slots=True)
class Call:
    """One call, through all its sends."""

    state: ModelState
    key: str
    wire: dict[str, Any]
    request: Request
    ask: Ask[Any]
    """What the call is made for."""
    prompt: int
    """The most tokens that its messages can be."""
    described: int = 0
    """The most tokens that endpoints make of the form in which the reply is wanted, and of tools."""
    tries: Tries = field(default_factory=Tries)
    has_waited: bool = False
    """Whether another run had it in flight, and its reply was waited for in vain."""
    fault: ReplyFault | None = None
    """Why the reply that came could not be used."""
    reserved: tuple[Any, tuple[int, float | None]] | None = None
    """The latest `reservation`, and what it was worked out from."""

    def decode(self, body: str) -> Completion:
        """What came, decoded."""
        return Completion(body, self.state.model.convert)

    def read(self, completion: Completion, ask: Ask[T], *, cost_usd: float | None, is_replayed: bool) -> Reply[T]:
        """The reply that came, and what it did cost; see `completion.parse`."""
        self.state.counts.count_end(completion.ended)
        self.state.counts.sampled += self.is_sampled
        return completion.reply(
            cost_usd,
            ask.value_of,
            tools=ask.tools,
            accept_truncated=ask.accept_truncated,
            replayed=is_replayed,
            question=self.request.messages,
            has_tools=bool(ask.tools or self.wire.get("body", {}).get("tools")),
        )

    @property
    def is_sampled(self) -> bool:
        """Whether the reply is drawn at the model's own temperature, as it does not take the one that is asked for."""
        asked = self.wire.get("body", {})
        if "temperature" not in asked or asked["temperature"] == NEUTRAL["temperature"]:
            return False
        known = self.state.parameters
        return "temperature" in self.state.refused | known.find_refused(asked) | known.find_ignored(asked)

    def bounds(self) -> tuple[int, int]:
        """The most tokens that its prompt can be, and that its reply may be told to be."""
        most = self.request.sampling.max_tokens if self.request.cap is None else self.request.cap
        return self.prompt + self.described, MOST_TOKENS if most is None else most

    @property
    def size(self) -> int:
        """Bytes of UTF-8 in its messages."""
        return self.prompt - prices.MESSAGE_TOKENS * len(self.request.messages)

    def reservation(self) -> tuple[int, float | None]:
        """The most tokens and USD that it can cost, by what calls to its model have used so far."""
        state = self.state
        by = (state.beyond, self.request.cap, state.markup, state.dearest)
        if self.reserved is None or self.reserved[0] != by:
            prompt, reply = self.bounds()
            prompt, reply = prompt + state.beyond[0], reply + state.beyond[1]
            self.reserved = (by, (prices.bound_tokens(prompt, reply), state.bound_cost(prompt, reply)))
        return self.reserved[1]

    def lower_cap(self, error: RequestRejected) -> bool:
        """Lowers the cap of a call that may have been refused for it; whether there was a lower one to try."""
        cap, text = self.request.cap, error.said
        if cap is None or cap <= LEAST_CAP or not _CAP_REFUSED.search(text):
            return False
        limits = [_read_number(found) for found in _LIMIT.findall(text)]
        limit = min((each for each in limits if LEAST_CAP <= each <= cap), default=cap)
        self.state.limit = min(self.state.limit or limit, limit)
        lower = limit - sum(map(_read_number, _PROMPT.findall(text)[:1]))
        self.request = replace(self.request, cap=lower if LEAST_CAP <= lower < cap else max(LEAST_CAP, cap // 2))
        return True

    async def set_aside(self, budget: Budget) -> tuple[Reservation, float | None]:
        """Waits for room in the budget; returns the reservation and its USD, None if no price is known."""
        while True:
            tokens, usd = most = self.reservation()
            reservation = await budget.wait(usd, tokens, model=self.state.counts.name)
            if self.reservation() is most:
                return reservation, usd
            budget.release(reservation)  # in the meantime other replies have shown that calls to the model take more

    def _is_above(self, used: Usage, prompt: int, reply: int) -> bool:
        state = self.state
        most, cost = state.bound_cost(prompt, reply), state.bound_cost(used.prompt_tokens, used.completion_tokens)
        return used.prompt_tokens + used.completion_tokens > prompt + reply or (cost or 0.0) > (most or 0.0)

    def compare(self, completion: Completion, budget: Budget) -> None:
        """Looks at what a reply has used; more than it could makes all later calls of the model be reserved with more.

        A reply from the ledger tells as much as one that came now.
        """
        state, used = self.state, completion.usage
        if used is None or not budget.is_limited:
            return
        if (billed := completion.billed_usd) is not None:
            self._compare_bill(billed, used, budget)
        prompt, reply = self.bounds()
        if used.prompt_tokens <= prompt and used.completion_tokens <= reply:
            return
        before = state.beyond
        # A chat template may put more around a short prompt than we know of, which a reply far from its limit makes up
        # for: it is told only of replies that did take more than was set aside.
        if self._is_above(used, prompt + before[0], reply):
            state.counts.count_beyond(used, prompt, reply)
        state.beyond = max(before[0], used.prompt_tokens - prompt), max(before[1], used.completion_tokens - reply)
        more = state.beyond[0] - before[0], state.beyond[1] - before[1]
        budget.widen(state.counts.name, state.bound_cost(*more) or 0.0, sum(more))

    def _compare_bill(self, billed_usd: float, used: Usage, budget: Budget) -> None:
        """Looks at what an endpoint says that it bills: a gateway may have taken a dearer route than the listed one."""
        state = self.state
        most = state.bound_cost(used.prompt_tokens, used.completion_tokens)
        if most and billed_usd > most * (1 + prices.ROUNDING):
            factor = billed_usd / most
            state.markup *= factor
            state.counts.tell_dearer(state.markup)
            budget.multiply(state.counts.name, factor)


def make_call(state: ModelState, ask: Ask[Any], attempt: int, round: int) -> Call:
    """A call, with its key in the ledger.

    Args:
        state: the model.
        ask: what is asked.
        attempt: how many replies to it could not be used before.
        round: of the loop; it counts where another reply can come.
    """
    cap = _find_cap(state, ask.sampling)
    request = Request(
        _drop_weights(ask.messages), ask.sampling, ask.row, ask.sample, attempt, cap, form=ask.form, tools=ask.tools
    )
    request.example = ask.read.example if isinstance(ask.read, MakesUp) else None
    wire = state.model.wire(request)
    round = round if ask.sampling.varies else 0  # asked again, it would say the same
    key = compute_key(wire, row_id=ask.row.id, sample=ask.sample, attempt=attempt, round=round)
    described = sum(len(encode(each)) for each in (ask.form, ask.tools) if each)
    return Call(state, key, wire, request, ask, prices.bound_prompt(ask.messages), described)


def _drop_weights(messages: list[Message]) -> list[Message]:
    """Messages without what they weigh in a training, which is no matter of who is asked."""
    if not any("weight" in message for message in messages):
        return messages
    return [{name: value for name, value in message.items() if name != "weight"} for message in messages]


def _find_cap(state: ModelState, sampling: Sampling) -> int | None:
    """`max_tokens` where the recipe says nothing: under a budget, and with room for a model's reasoning."""
    if sampling.max_tokens is None:
        return state.cap and min(state.cap, state.limit or state.cap)
    if "max_tokens" not in sampling.defaults:
        return None
    most = sampling.max_tokens + state.parameters.find_room({**state.own_fields, **sampling.extra})
    most = min(most, state.parameters.most_tokens or most, state.limit or most)
    return most if most != sampling.max_tokens else None


def _read_number(digits: str) -> int:
    return int(digits.replace(",", ""))


def describe(fault: ReplyFault, name: str, request: Request) -> ReplyFault:
    """The fault in full; `request` is the one that is not made any more."""
    attempts = f"{request.attempt} attempts" if request.attempt > 1 else "1 attempt"
    what = f"model {name!r}, row {request.row.id!r}: {fault.what} ({attempts}; what came is kept in the ledger)"
    return ReplyFault(what, kind=fault.kind, fix=fault.fix)
