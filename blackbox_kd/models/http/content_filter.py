"""What content filters say: Azure's, and the policies that Responses are withheld for."""

from collections.abc import Mapping
from typing import Any

POLICIES = frozenset({"invalid_prompt", "bio_policy", "misalignment_policy_violation"})
"""Codes of a failed response of OpenAI that tell of what was asked, and not of the server."""


def is_withheld(response: Mapping[str, Any]) -> bool:
    """Whether a response of OpenAI's has failed for what was asked: it is a reply like a refusal, and may be billed."""
    error = response.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return isinstance(response.get("output"), list) and isinstance(code, str) and code in POLICIES


def find_filtered(results: Any) -> dict[str, str]:
    """The categories that Azure has filtered a prompt or a reply for, and the severity of each where there is one.

    Args:
        results: its `content_filter_result(s)`, by category.
    """
    if not isinstance(results, Mapping):
        return {}
    found = {name: said for name, said in results.items() if isinstance(said, Mapping) and said.get("filtered") is True}
    return {str(name): str(said.get("severity") or "") for name, said in found.items()}


def describe(filtered: Mapping[str, str]) -> str:
    """What was filtered, in words: `violence (medium), jailbreak`."""
    return ", ".join(f"{name} ({severity})" if severity else name for name, severity in filtered.items())


class AzureCompletions:
    """Chat completions as Azure answers them; see `chat.WireFormat`."""

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `WireFormat`."""
        return body

    def convert(self, value: Any) -> Any:
        """A completion whose filtered choice says what it was filtered for."""
        choices = value.get("choices") if isinstance(value, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("finish_reason") != "content_filter":
            return value
        message, filtered = choice.get("message"), find_filtered(choice.get("content_filter_results"))
        if not filtered or not isinstance(message, dict | None):
            return value
        refusal = {"category": next(iter(filtered)), "explanation": f"Azure's content filter: {describe(filtered)}"}
        message = {**(message or {}), "refusal": refusal}
        return {**value, "choices": [{**choice, "message": message}]}
