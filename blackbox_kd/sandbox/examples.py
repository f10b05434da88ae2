"""Texts and values made up for trying a recipe out: nothing is meant by them, but that they have the form wanted."""

import json
import re
from collections.abc import Mapping, Sequence
from random import Random
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.messages import read_calls, write_calls
from blackbox_kd.paths import read_table

WORDS = 12
"""Words of a sentence."""
MOST = 3
"""Items of a list, and repetitions in a text, beyond the fewest that there must be."""
DEEPEST = 12
"""Levels of a value; no schema needs more that comes to an end at all."""
_LONGEST_ANSWER = 60
_WHOLE = ("{", "[", "SELECT ", "WITH ")
"""What a short answer begins with that stands alone all the same."""
_SYLLABLES = "ba de ki lo mu na pe ri so tu".split()  # noqa: SIM905 - ten syllables in quotes are no better to read
_PLAIN = re.compile(r"[^\W\d_]{3,}")
_TEXT_OF: Mapping[str, str] = read_table(__file__)["formats"]
_SIGNS = {
    sre.CATEGORY_DIGIT: "0123456789",
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_WORD: "abcdefgh",
    sre.CATEGORY_NOT_SPACE: "abcdefgh",
    sre.CATEGORY_NOT_DIGIT: "abcdefgh",
    sre.CATEGORY_NOT_WORD: " ",
}


def say(asked: str, answer: Any, random: Random) -> str:
    """Some words of what is asked as they stand there, lines of others and of made-up ones, and in the end the answer.

    An answer that is no word or number stands alone: a query, an object, a call. Where none is known, it is 1 or 2, so
    that some replies agree.
    """
    told = random.choice("12") if answer is None else write_text(answer)
    if len(told) > _LONGEST_ANSWER or told.startswith(_WHOLE):
        return told
    made_up = ["".join(random.choices(_SYLLABLES, k=3)) for _ in range(MOST * WORDS)]
    words = [*_PLAIN.findall(asked)[: len(made_up)], *made_up]
    lines = [" ".join(random.choices(words, k=WORDS)).capitalize() + "." for _ in range(MOST)]
    return "\n".join([_cut(asked, WORDS, random), *lines, *([f"The answer is {told}."] if told else [])])


def _cut(text: str, count: int, random: Random) -> str:
    """So many words of one line of a text, as they stand there; fewer if no line has as many."""
    longest = max(text.splitlines() or [""], key=len) if count >= WORDS else text
    words = [*re.finditer(r"\S+", longest)]
    if not words:
        return ""
    start = random.randint(0, max(0, len(words) - count))
    return longest[words[start].start() : words[min(start + count, len(words)) - 1].end()]


def make_calls(tools: Sequence[Mapping[str, Any]], right: Any, random: Random) -> str:
    """A JSON list of calls: those that are right, if they are of tools that are offered; else one that is made up."""
    offered = [tool["function"] for tool in tools]
    try:
        calls = read_calls(right or [], "column 'reference'")
    except DataError:
        calls = []
    if calls and {call["function"]["name"] for call in calls} <= {function["name"] for function in offered}:
        return write_calls(calls)
    function = random.choice(offered)
    arguments = write_value(function.get("parameters", {"type": "object"}), random)
    return json.dumps([{"name": function["name"], "arguments": arguments}])


def write_value(
    schema: Any, random: Random, root: Mapping[str, Any] | None = None, depth: int = 0, said: str = ""
) -> Any:
    """A value that a JSON schema describes, as far as it does so without conditions.

    Args:
        schema: a part of it.
        random: draws what is free.
        root: the whole of it, in which references are looked up.
        depth: of the part, so that one that refers to itself comes to an end.
        said: a text whose first line texts are cut from, as some must stand where they were found.
    """
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    root = schema if root is None else root
    if isinstance(schema.get("$ref"), str):
        return write_value(_find(root, schema["$ref"]), random, root, depth + 1, said)
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return write_value(schema[name][-1 if depth > MOST else 0], random, root, depth + 1, said)
    if schema.get("allOf"):
        merged = {name: value for part in schema["allOf"] for name, value in part.items()}
        return write_value(
            {**merged, **{k: v for k, v in schema.items() if k != "allOf"}}, random, root, depth + 1, said
        )
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return random.choice(schema["enum"])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[-1 if depth > MOST else 0] if isinstance(kind, list) else kind
    if kind == "object":
        names = schema.get("properties", {})
        kept = names if depth <= MOST else [name for name in names if name in schema.get("required", ())]
        return {name: write_value(names[name], random, root, depth + 1, said) for name in kept}
    if kind == "array":
        fewest = schema.get("minItems", 0 if depth > MOST else 1)
        most = fewest if depth > MOST else min(schema.get("maxItems", fewest + MOST), fewest + MOST)
        return [
            write_value(schema.get("items", {}), random, root, depth + 1, said)
            for _ in range(random.randint(fewest, most))
        ]
    if kind in ("integer", "number"):
        return _draw_number(schema, random, whole=kind == "integer")
    return (
        {"boolean": random.random() < 0.5, "null": None}[kind]
        if kind != "string"
        else _write_string(schema, random, said)
    )


def _find(root: Any, reference: str) -> Any:
    for part in reference.removeprefix("#").split("/")[1:]:
        root = root.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(root, Mapping) else {}
    return root


def _draw_number(schema: Mapping[str, Any], random: Random, *, whole: bool) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
    step = schema.get("multipleOf", 1)
    found = low + (high - low) * random.uniform(0.2, 0.8)
    if whole or "multipleOf" in schema:
        found = min(max(round(found / step) * step, low), high)
    return int(found) if whole else round(found, 2)


def _write_string(schema: Mapping[str, Any], random: Random, said: str) -> str:
    if "pattern" in schema:
        return write_match(schema["pattern"], random)
    words = " ".join(random.choices(["some", "words", "made", "up"], k=MOST))
    text = _TEXT_OF.get(schema.get("format", "")) or _cut(said.partition("\n")[0], MOST + 1, random) or words
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def write_match(pattern: str, random: Random) -> str:
    """A text that a regular expression matches; as a rule, as some things can be said that are not tried here."""
    try:
        return _write_parts(parser.parse(pattern), random)
    except (re.error, KeyError):
        return ""


def _write_parts(parts: Any, random: Random) -> str:
    return "".join(_write_part(kind, told, random) for kind, told in parts)


def _write_part(kind: Any, told: Any, random: Random) -> str:
    if kind is sre.LITERAL:
        return chr(told)
    if kind is sre.ANY:
        return random.choice("abcdefgh")
    if kind is sre.NOT_LITERAL:
        return "a" if told != ord("a") else "b"
    if kind is sre.IN:
        return _draw_sign(told, random)
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        fewest, most, inner = told
        times = random.randint(fewest, min(int(most), fewest + MOST))
        return "".join(_write_parts(inner, random) for _ in range(times))
    if kind is sre.SUBPATTERN:
        return _write_parts(told[-1], random)
    if kind is sre.BRANCH:
        return _write_parts(random.choice(told[1]), random)
    return ""  # where a text begins, and the like


def _draw_sign(told: Any, random: Random) -> str:
    if told[0][0] is sre.NEGATE:
        taken = {chr(sign) for kind, sign in told[1:] if kind is sre.LITERAL}
        return next(sign for sign in "abxyz019 -" if sign not in taken)
    kind, sign = random.choice(told)
    if kind is sre.RANGE:
        return chr(random.randint(*sign))
    return chr(sign) if kind is sre.LITERAL else random.choice(_SIGNS[sign])
