"""Calls of tools in the text that a model wrote here, where a server's parser would have found them.

Source   the chat templates of Qwen, Hermes and SmolLM3 (`<tool_call>` and JSON), and of Llama 3.1 (JSON alone)
"""

import re
from typing import Any

from blackbox_kd.json_text import write_json
from blackbox_kd.messages import read_list

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


def read_calls(text: str) -> tuple[str, list[dict[str, Any]]] | None:
    """What a text says beside its calls, and the calls in OpenAI's form; None where it has none that can be read."""
    said, parts = _TAGGED.sub("", text).strip(), _TAGGED.findall(text)
    found = [_read_call(part) for part in parts or [text.strip()]]
    functions = [each for each in found if each is not None]
    if not functions or len(functions) < len(found):
        return None
    calls = [{"id": f"call_{at}", "type": "function", "function": each} for at, each in enumerate(functions)]
    return said if parts else "", calls


def _read_call(text: str) -> dict[str, str] | None:
    values = read_list(f"[{text}]") if text.startswith("{") else None
    value = values[0] if values and len(values) == 1 else None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters"))
    return {"name": value["name"], "arguments": write_json(arguments)} if isinstance(arguments, dict) else None
