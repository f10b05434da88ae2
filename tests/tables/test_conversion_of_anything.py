"""Rows of any kind: each becomes messages, or is refused with a reason that a user can act on."""

import random
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.messages import FIELDS
from blackbox_kd.tables.conversion import convert
from blackbox_kd.tables.formats import ASKED, LABELS, SHAPES, THOUGHT, TOOLS, UNUSABLE
from blackbox_kd.tables.turns import Notes

MEANT = {*ASKED, *THOUGHT, *TOOLS, *UNUSABLE, *LABELS}
COLUMNS = sorted({name for needed in SHAPES.values() for name in needed} | MEANT)
ROLES = ("user", "assistant", "system", "human", "gpt", "GPT", "tool", "function_call", "bot", "", None, 7)
TEXTS = (
    *("", " ", "a", "Yes.", "null", "[]", "{}", "[1", '[{"role": "user", "content": "a"}]', "a\n\nHuman: b", "\x00"),
    *("\n\nHuman: a\n\nAssistant: b", "### Instruction:\na\n### Response:\nb", "<|im_start|>user\na<|im_end|>\n"),
    *("<s>[INST] a [/INST] b</s>", "<think>a</think>b", "USER: a ASSISTANT: b", "<|im_start|>", "ASSISTANT:", "\ud83d"),
    *("false", "0.5"),
)
SCALARS = (None, True, False, 0, 1, -1, 7, 0.5, float("nan"), float("inf"), 10**30)


def anything(rng: random.Random, depth: int = 3) -> Any:
    kind = rng.randrange(8 if depth else 4)
    if kind < 2:
        return rng.choice(TEXTS)
    if kind < 4:
        return rng.choice(SCALARS)
    if kind == 4:
        return {rng.choice(COLUMNS): anything(rng, depth - 1) for _ in range(rng.randrange(3))}
    if kind == 5:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(3))]
    return [turn(rng, depth) for _ in range(rng.randrange(4))]


def turn(rng: random.Random, depth: int) -> dict[str, Any]:
    says = {rng.choice(["content", "value"]): anything(rng, depth - 1)}
    names = ("weight", "thinking", "reasoning_content", "tool_calls", "name", "type")
    more = {name: anything(rng, depth - 1) for name in names if not rng.randrange(9)}
    return {rng.choice(["role", "from"]): rng.choice(ROLES[:6] if rng.randrange(4) else ROLES), **says, **more}


def row(rng: random.Random, shape: str) -> dict[str, Any]:
    beside = [name for name in COLUMNS if not rng.randrange(12)]
    return {name: anything(rng) for name in (*beside, *SHAPES[shape])}


def is_messages(value: Any) -> bool:
    return bool(value) and all(
        {"role", "content"} <= set(message) <= set(FIELDS)
        and all(isinstance(message[name], str) for name in message.keys() - {"weight", "tool_calls"})
        and all(isinstance(call["function"]["arguments"], str) for call in message.get("tool_calls", []))
        for message in value
    )


def check(count: int, seed: int) -> dict[str, int]:
    """How many rows of each shape are learnt from; every other one is refused by a DataError."""
    rng = random.Random(seed)
    learnt = dict.fromkeys(SHAPES, 0)
    for number in range(count):
        shape = list(SHAPES)[number % len(SHAPES)]
        made = row(rng, shape)
        found = refusal = None
        try:
            found = convert(made, shape, Notes())
        except DataError as error:
            refusal = str(error)
        if found is None:
            assert refusal, made
            assert "\n" not in refusal, made
            assert len(refusal) < 400, made
            continue
        learnt[shape] += 1
        messages = [value for name, value in found.items() if name not in ("weight", "tools")]
        assert isinstance(found.get("tools", "[]"), str), made
        assert all(map(is_messages, messages)), made
        assert found["prompt"][-1]["content"] is not None, made
    return learnt


def test_any_row_becomes_messages_or_is_refused() -> None:
    assert sum(check(8_000, 0).values()) > 500


@pytest.mark.slow
def test_many_more_rows_become_messages_or_are_refused() -> None:
    assert min(check(120_000, 1).values()) > 10
