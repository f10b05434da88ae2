"""Google's form of errors: which field of a request is not taken, by the name that chat completions have for it.

    {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": ..., "details": [{"@type": ..., ...}]}}

Source   google.rpc.ErrorInfo and BadRequest (googleapis/google/rpc/error_details.proto); the messages, from reports of
         users of Gemini's API up to November 2026
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.paths import read_table

WRONG_KEY = ("api_key_", "service_disabled", "consumer_invalid", "consumer_suspended")
"""What reasons begin with that have to do with the key or its project, whatever the status."""
WRONG_KEY_WORDS = re.compile(
    r"\bAPI key (?:not valid|not found|expired|(?:was|has been|is) (?:reported|disabled|suspended|blocked))",
    re.IGNORECASE,
)
"""What is said of a key where no reason is given: one that was found in public is refused with 403."""
_TABLE = read_table(__file__)
_NAMES: Mapping[str, str] = _TABLE["names"]
"""Google's names, and those of chat completions; the others are the same."""
_WORDS = [(re.compile(entry["says"]), entry.get("field", "")) for entry in _TABLE["words"]]
"""What is said of a field that a model does not take, and the field where it is not in the words."""
_PLAIN = re.compile(r"[a-z][A-Za-z_]+")
"""What a field's name looks like: `Penalty is not enabled` names none."""


def find_not_taken(message: str) -> str:
    """The field that a message says is not taken; "" if it says nothing of the kind."""
    for words, field in _WORDS:
        found = words.search(message)
        if found is not None and (field or _PLAIN.fullmatch(found[1])):
            return field or _NAMES.get(found[1], found[1])
    return ""


def find_field(parts: Iterable[Mapping[str, Any]]) -> str:
    """The field that a BadRequest names, by its last name; "" if there is none."""
    for part in parts:
        violations = part.get("fieldViolations")
        for violation in violations if isinstance(violations, list) else ():
            field = violation.get("field") if isinstance(violation, Mapping) else None
            name = field.rpartition(".")[2] if isinstance(field, str) else ""
            if name and name not in ("generation_config", "generationConfig"):
                return _NAMES.get(name, name)
    return ""
