"""What a model takes of a request, by a table of vendors' models and by the recipe; what it refuses is not sent.

Keys know nothing of it: a field that the recipe did not ask for by itself is left out of what is sent, and no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

from blackbox_kd import paths
from blackbox_kd.models.http.names import look_up, normalise

CAPS = ("max_tokens", "max_completion_tokens")
"""The two names of the most tokens of a reply."""
NEUTRAL = {"temperature": 1, "top_p": 1}
"""Values that say what holds without the field, too."""
EFFORT, THINKING_BUDGET, FORMAT = "reasoning_effort", "thinking_token_budget", "response_format"
STRUCTURED = "structured_outputs"
"""The field of vLLM for what FORMAT has no word for: a regular expression."""
TOP_LOGPROBS = "top_logprobs"
MOST_LIKELIEST = 20
"""Of `top_logprobs`: OpenAI's own limit, and what servers have copied from it."""
LEVELS = ("low", "medium", "high")
"""Those of an entry's `thinking`, beside `off`."""
ROOM = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""Tokens that hidden reasoning is given beside a reply, by its effort; a guess, as no vendor promises a number."""
MOST_TOKENS = 16_384
"""Of a reply of models whose limit is not known: what most endpoints let through by default."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a model takes.

    Args:
        refuses: fields of a request that are answered with an error.
        refuses_reasoning: fields that are, as long as the model reasons.
        ignores: fields that change nothing, and are no error.
        ignores_reasoning: fields that do not, as long as the model reasons.
        reasons: whether it reasons unless the request says otherwise.
        always_reasons: whether it does whatever the request says.
        efforts: levels of reasoning that it knows; None if that is not known.
        budget: the fewest and the most tokens of reasoning that it may be told; empty if it takes no number, None if
            that is not known.
        formats: types of `response_format` that it takes; None if that is not known.
        most_tokens: the most tokens of a reply that it may be told to write; None if that is not known.
        cap: what the recipe says that `max_tokens` is called; "" if that is to be found out.
        is_given: whether the recipe says what is refused, so that nothing that was learnt before counts.
        off: what the vendor calls it when reasoning is turned off; "" if that is not known.
        cached_from: the fewest tokens of a prompt's beginning that can be marked as worth keeping; None if not known.
        absent: fields that the endpoint's API has no equivalent of; they are among `refuses`.
        firm: fields whose values are the API's matter and no model's, so that no recipe knows better.
        instead: what can be written at the model so that they are taken; "" if nothing.
        levels_are_tokens: whether its API tells the model a number of tokens in place of a level.
        patterns: whether it can be held to a regular expression, by STRUCTURED.
        most_likeliest: how many of the likeliest tokens its API tells at each place; None if that is up to the server.
    """

    refuses: frozenset[str] = frozenset()
    refuses_reasoning: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    ignores_reasoning: frozenset[str] = frozenset()
    reasons: bool = False
    always_reasons: bool = False
    efforts: Sequence[str] | None = None
    budget: Sequence[int] | None = None
    formats: Sequence[str] | None = None
    most_tokens: int | None = None
    cap: str = ""
    is_given: bool = False
    off: str = ""
    cached_from: int | None = None
    absent: frozenset[str] = frozenset()
    firm: frozenset[str] = frozenset()
    instead: str = ""
    levels_are_tokens: bool = False
    patterns: bool = False
    most_likeliest: int | None = None

    def without(self, api: str, instead: str = "") -> Self:
        """The same at an API that has no equivalent of some fields, by `[absent]` in the table."""
        absent = frozenset(_read_table()["absent"][api])
        return replace(self, refuses=self.refuses | absent, absent=absent, instead=instead)

    def find_refused(self, body: Mapping[str, Any]) -> frozenset[str]:
        """Fields that are refused in a request with such other fields."""
        if self.refuses_reasoning and self.is_reasoning(body):
            return self.refuses | self.refuses_reasoning
        return self.refuses

    def find_ignored(self, body: Mapping[str, Any]) -> frozenset[str]:
        """Fields that change nothing in a request with such other fields."""
        if self.ignores_reasoning and self.is_reasoning(body):
            return self.ignores | self.ignores_reasoning
        return self.ignores

    def refuse_value(self, name: str, value: Any) -> tuple[str, str] | None:
        """What is wrong with the value of a field, and what to do; None if nothing is known to be.

        Args:
            name: of the field, as chat completions call it.
            value: that the recipe gives it.
        """
        most = self.most_likeliest
        if name == TOP_LOGPROBS and most is not None and value > most:
            return f"an API tells {most} likeliest tokens at most", f"write top_logprobs: {most}, or ask a vllm server"
        if self.is_given and name not in self.firm:
            return None
        if name == EFFORT:
            return self._refuse_effort(value)
        if name == THINKING_BUDGET and self.budget is not None and type(value) is int:
            return self._refuse_budget(value)
        if name == FORMAT and self.formats is not None and isinstance(value, Mapping):
            return self._refuse_format(value.get("type"))
        return None

    def _refuse_effort(self, effort: Any) -> tuple[str, str] | None:
        known = self.efforts or LEVELS
        able = [each for each in known if each in LEVELS]
        if effort == "none":
            return ("it cannot be told not to reason", f"write thinking: {able[0]}") if self.always_reasons else None
        if self.efforts is None or effort in self.efforts:
            return None
        fix = f"write thinking: {' or '.join(able if self.always_reasons else ['off', *able])}"
        return f"its levels of reasoning are {', '.join(known)}", fix

    def _refuse_budget(self, tokens: int) -> tuple[str, str] | None:
        if not self.budget:
            able = [each for each in (self.efforts or LEVELS) if each in LEVELS] + ["off"] * (not self.always_reasons)
            fix = f"write thinking: {' or '.join(filter(None, [', '.join(able[:-1]), able[-1]]))}"
            return "it takes no number of tokens for its reasoning", fix
        least, most = self.budget
        if least <= tokens <= most:
            return None
        return (
            f"it takes {least:,} to {most:,} tokens of reasoning",
            f"write thinking: {least if tokens < least else most}",
        )

    def _refuse_format(self, form: Any) -> tuple[str, str] | None:
        assert self.formats is not None
        if form in (None, "text", *self.formats):
            return None
        fix = f"write type: {self.formats[0]}" if self.formats else "ask for the form in the prompt"
        return f"it takes {' and '.join(self.formats) or 'no form of its output'}", fix

    def suit_form(self, form: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of the fields that hold a reply to a form, what the model takes.

        Where it knows no schemas, an object is at least asked for as JSON; a label is, by itself, a word and no JSON.
        """
        if not self.refuses.isdisjoint(form):
            return {}
        if FORMAT not in form:
            return form if self.patterns else {}
        if self.formats is None or "json_schema" in self.formats:
            return form
        is_object = form[FORMAT]["json_schema"]["name"] == "reply"
        return {FORMAT: {"type": "json_object"}} if is_object and "json_object" in self.formats else {}

    def is_reasoning(self, body: Mapping[str, Any]) -> bool:
        """Whether the model reasons before it replies."""
        if self.always_reasons:
            return True
        effort = body.get(EFFORT)
        return self.reasons or THINKING_BUDGET in body if effort is None else effort != "none"

    def find_budget(self, body: Mapping[str, Any]) -> Any:
        """Tokens of reasoning that the model is told: also of a level, where its API has only tokens for it."""
        budget, effort = body.get(THINKING_BUDGET), body.get(EFFORT)
        if budget is not None or effort in (None, "none") or not (self.levels_are_tokens and self.budget):
            return budget
        least, most = self.budget
        return min(max(ROOM.get(str(effort), ROOM["medium"]), least), most)

    def find_room(self, body: Mapping[str, Any]) -> int:
        """Tokens that the model's reasoning may take beside the text of a reply, which both count against its limit."""
        if not self.is_reasoning(body):
            return 0
        budget = body.get(THINKING_BUDGET)
        return budget if isinstance(budget, int) else ROOM.get(str(body.get(EFFORT)), ROOM["medium"])


NOTHING_KNOWN = Parameters()


@cache
def find(model: str, refuses: tuple[str, ...] | None = None, most_tokens: int | None = None) -> Parameters:
    """What a model takes.

    Args:
        model: its name at the endpoint; what stands before the last `/` is a gateway's.
        refuses: what the recipe says, in place of the table.
        most_tokens: likewise.
    """
    name = normalise(model)
    table = _read_table()
    family = look_up(name, {each: family for family in table["families"] for each in family["names"]}) or {}
    always = family.get("always_reasons", False)
    return Parameters(
        refuses=frozenset(family.get("refuses", ()) if refuses is None else refuses),
        refuses_reasoning=frozenset(family.get("refuses_reasoning", ()) if refuses is None else ()),
        ignores=frozenset(family.get("ignores", ())),
        ignores_reasoning=frozenset(family.get("ignores_reasoning", ())),
        reasons=always or family.get("reasons", False),
        always_reasons=always,
        efforts=look_up(name, table["efforts"]),
        budget=look_up(name, table["budget"]),
        formats=look_up(name, table["formats"]),
        most_tokens=most_tokens or look_up(name, table["most_tokens"]),
        is_given=refuses is not None,
        off=family.get("off", ""),
        cached_from=look_up(name, table["cached_from"]),
        most_likeliest=MOST_LIKELIEST,
    )


@cache
def _read_table() -> dict[str, Any]:
    return paths.read_table(__file__)
