"""How endpoints that speak chat completions differ in what they call things, by the host that is asked.

Only what is sent and what is read of it differ: keys and the ledger's requests are those of chat completions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from blackbox_kd.models.http.body import plain_calls
from blackbox_kd.models.http.parameters import EFFORT, THINKING_BUDGET
from blackbox_kd.schema import digest

_OF_EFFORT = {EFFORT: "effort", THINKING_BUDGET: "max_tokens"}
_REASONING = re.compile(r"\A\s*(?:<reasoning>.*?</reasoning>\s*)+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one vendor: a `chat.WireFormat`.

    Args:
        renamed: fields that are called otherwise.
        off: fields that say what `reasoning_effort: none` says elsewhere.
        effort_in: the object that says `reasoning_effort` as its `effort`, and a number of tokens of reasoning as its
            `max_tokens`; "" where the effort stands by itself.
        added: objects that every request has; what the recipe says in them goes over them.
        tags_reasoning: whether replies begin with what was reasoned, between tags.
        name_call: the id of a call of a tool as the vendor takes it.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    off: Mapping[str, Any] = field(default_factory=dict)
    effort_in: str = ""
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags_reasoning: bool = False
    name_call: Callable[[str], str] = str

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `WireFormat`."""
        body = plain_calls(body, self.name_call)
        sent = {self.renamed.get(name, name): value for name, value in body.items()}
        if self.off and sent.get(EFFORT) == "none":
            del sent[EFFORT]
            sent = {**self.off, **sent}
        added = self.added
        if self.effort_in:
            said = {_OF_EFFORT[name]: sent.pop(name) for name in _OF_EFFORT if name in sent}
            added = {**added, self.effort_in: said} if said else added
        for name, values in added.items():
            given = sent.get(name, {})
            sent[name] = {**values, **given} if isinstance(given, Mapping) else given
        return sent

    def convert(self, value: Any) -> Any:
        """See `WireFormat`."""
        if not self.tags_reasoning or not isinstance(value, dict) or not isinstance(value.get("choices"), list):
            return value
        return {**value, "choices": [_part_reasoning(choice) for choice in value["choices"]]}


def _part_reasoning(choice: Any) -> Any:
    """A choice whose reasoning stands beside its text."""
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(text := message.get("content"), str):
        return choice
    if (found := _REASONING.match(text)) is None:
        return choice
    reasoning = re.sub("</?reasoning>", "", found[0]).strip()
    return {**choice, "message": {**message, "content": text[found.end() :], "reasoning_content": reasoning}}


def _name_briefly(called: str) -> str:
    """The id of a call for Mistral, which takes nine letters and digits and nothing else."""
    return called if re.fullmatch(r"[A-Za-z0-9]{9}", called) else digest(called, 9)


MISTRAL = Dialect(renamed={"seed": "random_seed"}, name_call=_name_briefly)
"""Of mistralai 3.7; other fields are refused with 422."""
TOGETHER = Dialect(off={"reasoning": {"enabled": False}})
"""https://docs.together.ai/docs/inference/chat/reasoning, of models that reason or do not."""
_OF_HOST = {
    "api.mistral.ai": MISTRAL,
    "api.together.ai": TOGETHER,
    "api.together.xyz": TOGETHER,
    # https://api-docs.deepseek.com/guides/thinking_mode: models reason unless they are told so; `none` is no level
    "api.deepseek.com": Dialect(off={"thinking": {"type": "disabled"}}),
    # https://openrouter.ai/docs/guides/routing/provider-selection: what it does not take is dropped in silence.
    # /docs/guides/best-practices/reasoning-tokens: parameters are told as supported by the name `reasoning`
    "openrouter.ai": Dialect(effort_in="reasoning", added={"provider": {"require_parameters": True}}),
}
_BEDROCK = re.compile(r"bedrock-runtime\.[\w-]+\.amazonaws\.com")
"""Replies of gpt-oss there: https://github.com/browseros-ai/BrowserOS/issues/167"""


def find_dialect(base_url: str) -> Dialect | None:
    """The dialect of a host; None for those that speak chat completions as they are."""
    host = urlsplit(base_url).hostname or ""
    return Dialect(tags_reasoning=True) if _BEDROCK.fullmatch(host) else _OF_HOST.get(host)
