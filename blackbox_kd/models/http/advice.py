"""What a user can do about a request that an endpoint rejects, by the field that it names."""

import re
from http import HTTPStatus

from blackbox_kd.errors import FOLD_SYSTEM
from blackbox_kd.models.http.parameters import CAPS

_NAMED = re.compile(
    r"(?:unsupported|unknown|unrecognized|unexpected|invalid|extra)\b[^'\"`]{0,60}['\"`]([\w.\[\]]+)['\"`]",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|too many tokens|maximum number of tokens allowed"
    r"|(?:prompt|input|request|payload|messages?)\b.{0,20}\btoo (?:long|large)",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(r"\b(?:system|developer)\b.{0,30}\b(?:not|role|unsupported)\b", re.IGNORECASE)
_RESPONSES = "use /v1/responses"
"""What OpenAI says of tools that a model that reasons is offered by chat completions."""
_PREFILL = "not support assistant message prefill"
_TOOL_PARSER = "--tool-call-parser"
"""What vLLM says of tools that it would have to find in the text of a reply, and was not told how."""
LET_DROP = (
    "take out what no provider of the model takes, or have it dropped: "
    "extra_body: {provider: {require_parameters: false}} at the model"
)
OF_STEP = {name: name for name in ("temperature", "top_p", "stop")}
OF_STEP |= {"seed": "sampling_seed"} | dict.fromkeys(CAPS, "max_tokens")
"""Fields of a request, and what a step calls them."""


def advise(status: int, field: str, message: str) -> str:
    """What mends a request that was rejected; "" if that cannot be told.

    Args:
        status: of the response.
        field: of the request that is wrong, as the endpoint names it; "" if it names none.
        message: the endpoint's words.
    """
    if not field and (found := _NAMED.search(message)) is not None:
        field = found[1]
    first = re.split(r"[.\[]", field.removeprefix("body."))[0]
    if _TOO_LONG.search(message) or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "show less in the prompt, or lower max_tokens: of the step"
    if _RESPONSES in message:
        return "write api: responses at the model"
    if _TOOL_PARSER in message:
        return "start vLLM with --enable-auto-tool-choice --tool-call-parser NAME, the parser of its model"
    if _PREFILL in message:
        return "end the prompt of the step with a turn of user"
    if _NO_SYSTEM.search(message):
        return f"write system: fold at the model; or {FOLD_SYSTEM}"
    if first in CAPS and all(name in message for name in CAPS):
        return f"write max_tokens_field: {CAPS[first == CAPS[0]]} at the model"
    if first in OF_STEP:
        return f"leave {OF_STEP[first]}: out of the step, or give it a value that is allowed"
    if first == "messages":
        return "mend the prompt of the step"
    if first == "model":
        return "check `model`"
    if first:
        return f"mend {first} in extra: of the step, or in extra_body: of the model"
    return "see whether the key may use this model" if status == HTTPStatus.FORBIDDEN else ""
