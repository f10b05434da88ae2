"""The openai package's types as a strict judge of requests: what they do not name is an error."""

from typing import Any, get_args

from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict


def forbid_extra(kind: Any, seen: set[Any]) -> None:
    """Lets a type, and those inside of it, take no field that they do not name."""
    try:
        if kind in seen:
            return
        seen.add(kind)
    except TypeError:  # no value of this kind can be in a set
        pass
    if is_typeddict(kind):
        kind.__pydantic_config__ = ConfigDict(extra="forbid")
        for hint in get_type_hints(kind, include_extras=True).values():
            forbid_extra(hint, seen)
    elif isinstance(kind, TypeAliasType):
        forbid_extra(kind.__value__, seen)
    else:
        for part in get_args(kind):
            forbid_extra(part, seen)


for _kind in (CompletionCreateParamsNonStreaming, ResponseCreateParamsNonStreaming):
    forbid_extra(_kind, set())
COMPLETIONS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
RESPONSES: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)


def parse(kind: TypeAdapter[Any], body: Any) -> dict[str, Any]:
    """A request, read to its last field; what the types call iterables are lists.

    Raises:
        ValidationError: it is none.
    """
    return dict(_read_all(kind.validate_python(body)))


def _read_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _read_all(inner) for name, inner in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return [_read_all(item) for item in value]


def explain(error: ValidationError) -> dict[str, Any]:
    """What the endpoint says of a request that is none."""
    extra = next((each for each in error.errors() if each["type"] == "extra_forbidden"), None)
    first = extra or error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    said = f"Unknown parameter: '{name}'." if extra else f"Invalid value for '{name}': {first['msg']}"
    code = "unknown_parameter" if extra else "invalid_value"
    return {"error": {"message": said, "type": "invalid_request_error", "param": name, "code": code}}
