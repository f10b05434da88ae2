"""Gemini's generateContent: its form of requests and replies.

Source   google-genai 3.6 (`batches.py`, `models.py`, `types.py`); https://ai.google.dev/api/generate-content
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.errors import EndpointRefused
from blackbox_kd.models.http.parameters import EFFORT, THINKING_BUDGET, Parameters
from blackbox_kd.paths import read_table

_NAMES = read_table(__file__)
"""Fields of chat completions that are fields of `generationConfig`."""
SEEDS = 2**31
"""Seeds are below it: the field has 32 bits with a sign."""
_HIGH = ("MEDIUM", "HIGH")


class GenerateContent:
    """The wire format of one model, see `chat.WireFormat`.

    Args:
        parameters: what is known of the model.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """A GenerateContentRequest; the model is in the URL. Fields that are not of chat completions go as they are."""
        asked = dict(body)
        asked.pop("model", None)
        said = asked.pop("messages")
        config = _read_own(asked, "generationConfig")
        for name, renamed in _NAMES["fields"].items():
            if name in asked:
                config[renamed] = asked.pop(name)
        if "seed" in asked:
            config["seed"] = asked.pop("seed") % SEEDS
        if isinstance(config.get("stopSequences"), str):
            config["stopSequences"] = [config["stopSequences"]]
        if "response_format" in asked:
            config |= _translate_format(asked.pop("response_format"))
        if thinking := self._translate_thinking(asked.pop(EFFORT, None), asked.pop(THINKING_BUDGET, None)):
            config["thinkingConfig"] = _read_own(config, "thinkingConfig") | thinking
        if "tools" in asked:
            asked["tools"] = _translate_tools(asked.pop("tools"))
        if "tool_choice" in asked:
            asked["toolConfig"] = {"functionCallingConfig": _translate_choice(asked.pop("tool_choice"))}
        sent: dict[str, Any] = {"contents": _write_contents([each for each in said if each["role"] != "system"])}
        if system := [{"text": each["content"]} for each in said if each["role"] == "system" and each["content"]]:
            sent["systemInstruction"] = {"parts": system}
        if config:
            sent["generationConfig"] = config
        return sent | asked

    def _translate_thinking(self, effort: Any, budget: Any) -> dict[str, Any]:
        """Level or budget, never both: that is an error."""
        if budget is not None:
            return {"thinkingBudget": budget, "includeThoughts": True}
        if effort is None:
            return {}
        thoughts = {} if effort in ("none", "minimal") else {"includeThoughts": True}
        if not self._parameters.budget:
            return {"thinkingLevel": str(effort).upper(), **thoughts}
        return {"thinkingBudget": 0 if effort == "none" else self._parameters.find_budget({EFFORT: effort}), **thoughts}

    def convert(self, value: Any) -> Any:
        """A GenerateContentResponse as a chat completion; what is none is returned as it is."""
        if not isinstance(value, dict) or "choices" in value or value.keys().isdisjoint(_OF_RESPONSE):
            return value
        candidates = value.get("candidates")
        first = candidates[0] if isinstance(candidates, list) and candidates else None
        blocked = _convert_block(value.get("promptFeedback"))
        completion = {
            "id": value.get("responseId"),
            "object": "chat.completion",
            "model": value.get("modelVersion"),
            "choices": [_convert_candidate(first)] if isinstance(first, dict) else blocked,
            "usage": _convert_usage(value.get("usageMetadata")),
        }
        return completion | ({"error": value["error"]} if "error" in value else {})


_OF_RESPONSE = ("candidates", "promptFeedback", "usageMetadata")


def _read_own(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """What the recipe itself has in a field that others are written into.

    Raises:
        EndpointRefused: it is nothing that they could be written into.
    """
    found = fields.pop(name, None) or {}
    if not isinstance(found, dict):
        what = f"{name}: {json_text.quote_value(found)} is no mapping of fields"
        raise EndpointRefused(what, fix=f"write {name}: {{FIELD: VALUE}}", kind="endpoint_refused")
    return dict(found)


def _write_contents(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conversation; what several tools gave back stands together, as their calls did."""
    names = {call["id"]: call["function"]["name"] for each in messages for call in each.get("tool_calls") or ()}
    found: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        role = message["role"]
        if role != "tool":
            found.append({"role": _NAMES["roles"].get(role, role), "parts": _write_parts(message)})
            continue
        part = {"functionResponse": _write_result(message, names)}
        if at and messages[at - 1]["role"] == "tool":
            found[-1]["parts"].append(part)
        else:
            found.append({"role": "user", "parts": [part]})
    return found


def _write_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls") or ()
    parts: list[dict[str, Any]] = [{"text": message["content"]}] if message.get("content") or not calls else []
    for call in calls:
        function = call["function"]
        part = {"functionCall": {"name": function["name"], "args": json_text.decode(function["arguments"] or "{}")}}
        signature = call.get("extra_content", {}).get("google", {}).get("thought_signature")
        parts.append(part | ({"thoughtSignature": signature} if signature else {}))
    return parts


def _write_result(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What a tool gave back: an object, as the API knows no other."""
    text = message["content"]
    try:
        value = json_text.decode(text)
    except (ValueError, RecursionError):
        value = text
    name = message.get("name") or names.get(str(message.get("tool_call_id")))
    return {"name": name, "response": value if isinstance(value, dict) else {"result": value}}


def _translate_format(form: Any) -> dict[str, Any]:
    kind = form.get("type") if isinstance(form, dict) else None
    schema = form.get("json_schema") if isinstance(form, dict) else None
    if kind == "json_schema" and isinstance(schema, dict) and "schema" in schema:
        return {"responseMimeType": "application/json", "responseJsonSchema": schema["schema"]}
    return {"responseMimeType": "application/json" if kind in ("json_schema", "json_object") else "text/plain"}


def _translate_tools(tools: Any) -> Any:
    """Functions together in one tool, as Gemini wants them; what is in its own form already stays."""
    if not isinstance(tools, list):
        return tools
    declared, own = [], []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            own.append(tool)
            continue
        declaration = {name: function[name] for name in ("name", "description") if name in function}
        if "parameters" in function:
            declaration["parametersJsonSchema"] = function["parameters"]
        declared.append(declaration)
    return [{"functionDeclarations": declared}, *own] if declared else own


def _translate_choice(choice: Any) -> dict[str, Any]:
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict):
        return {"mode": "ANY", "allowedFunctionNames": [function.get("name")]}
    return {"mode": _NAMES["choices"].get(str(choice), choice)}


def _convert_candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    message: dict[str, Any] = {"role": "assistant", "content": _join(parts, is_thought=False)}
    if thought := _join(parts, is_thought=True):
        message["reasoning_content"] = thought
    reason = candidate.get("finishReason")
    if calls := list(_list_calls(parts)):
        message["tool_calls"] = calls
        reason = "tool_calls" if reason == "STOP" else reason  # it stops so after a call, too
    if reason == "SAFETY" and (refusal := _explain_refusal(candidate, candidate.get("finishMessage"))):
        message["refusal"] = refusal
    return {"index": 0, "finish_reason": reason, "message": message}


def _join(parts: Sequence[Mapping[str, Any]], *, is_thought: bool) -> str:
    texts = (part.get("text") for part in parts if (part.get("thought") is True) == is_thought)
    return "".join(text for text in texts if isinstance(text, str))


def _list_calls(parts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Calls of functions; the signature that has to come back with one stays where OpenAI's form of Gemini has it."""
    for number, part in enumerate(parts):
        call = part.get("functionCall")
        if not isinstance(call, dict):
            continue
        arguments = json_text.encode(call.get("args") or {}).decode()
        function = {"name": call.get("name"), "arguments": arguments}
        told: dict[str, Any] = {"id": call.get("id") or f"call_{number}", "type": "function", "function": function}
        if "thoughtSignature" in part:
            told["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
        yield told


def _explain_refusal(said: Mapping[str, Any], explanation: Any) -> dict[str, Any] | None:
    """The harm for which something is withheld, and what is said of it; None where it is not named."""
    ratings = said.get("safetyRatings")
    rated = [each for each in ratings if isinstance(each, dict)] if isinstance(ratings, list) else []
    harms = [each for each in rated if each.get("blocked")] or [
        each for each in rated if each.get("probability") in _HIGH
    ]
    if not harms:
        return None
    category = str(harms[0].get("category")).removeprefix("HARM_CATEGORY_").lower()
    return {"category": category, "explanation": explanation}


def _convert_block(feedback: Any) -> list[dict[str, Any]]:
    """A choice that says why a prompt is not answered; none where nothing says so."""
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if not isinstance(reason, str):
        return []
    said = f"the prompt is blocked, {reason}"
    message = feedback.get("blockReasonMessage")
    explanation = f"{said}: {message}" if isinstance(message, str) else said
    refusal = _explain_refusal(feedback, explanation) or {"category": reason.lower(), "explanation": explanation}
    return [{"index": 0, "finish_reason": "content_filter", "message": {"content": None, "refusal": refusal}}]


def _convert_usage(found: Any) -> dict[str, Any] | None:
    """Thoughts are no part of what Gemini counts as the reply, but billed like it; prompts of tools, like prompts."""
    if not isinstance(found, dict):
        return None
    prompt = _add(found.get("promptTokenCount"), found.get("toolUsePromptTokenCount"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": _add(found.get("candidatesTokenCount"), found.get("thoughtsTokenCount")),
        "total_tokens": found.get("totalTokenCount"),
        "prompt_tokens_details": {"cached_tokens": found.get("cachedContentTokenCount")},
        "completion_tokens_details": {"reasoning_tokens": found.get("thoughtsTokenCount")},
    }


def _add(*counts: Any) -> Any:
    """The sum; what is no count is left for the reader of the usage to refuse."""
    odd = [count for count in counts if count is not None and type(count) is not int]
    known = [count for count in counts if count is not None]
    return odd[0] if odd else sum(known) if known else None
