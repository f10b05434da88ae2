"""Recipes as they come out of many hands: a value of a good one is dropped, swapped, renamed, nested or another one.

What `check` says of one is in a message of ours, and what it accepts can be run.
"""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

Values = dict[str, Any]
Place = tuple[int | str, ...]

SCALARS = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**30),
    *(
        "",
        " ",
        "a",
        "0",
        "1",
        "true",
        "null",
        "yes",
        "teacher",
        "weak",
        "student@base",
        "teacher@1",
        "@",
        "train",
        "exam",
    ),
    *(
        "response",
        "instruction",
        "reference",
        "kind",
        "id",
        "correct",
        "score",
        "nobody",
        "../x",
        "/",
        "a/b",
        "a b",
        "Ünï",
    ),
    *(
        "\u202e",
        "\x1b[31m",
        "日本語",
        "💥",
        "x" * 5000,
        "{{ instruction }}",
        "{% if %}",
        "student/plain",
        "number",
        "exact",
    ),
    *(
        "correct",
        "score > 3",
        "len(response) > 3",
        "instruction ==",
        "1 + 1",
        "response[0]",
        "not kind",
        "kind in ['a']",
    ),
)
"""Values of all kinds, and such as stand in recipes."""


def list_places(values: Any, place: Place = ()) -> Iterator[Place]:
    """The places of all values in values."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from list_places(value, (*place, key))


def find(values: Any, place: Place) -> Any:
    """The value at a place."""
    for key in place:
        values = values[key]
    return values


def _drop(rng: random.Random, values: Any, place: Place) -> None:
    del find(values, place[:-1])[place[-1]]


def _put(rng: random.Random, values: Any, place: Place) -> None:
    find(values, place[:-1])[place[-1]] = rng.choice(SCALARS)


def _swap(rng: random.Random, values: Any, place: Place) -> None:
    other = find(values, rng.choice(list(list_places(values))))
    find(values, place[:-1])[place[-1]] = copy.deepcopy(other)


def _nest(rng: random.Random, values: Any, place: Place) -> None:
    holder, key = find(values, place[:-1]), place[-1]
    inner = rng.choice([[holder[key]], {"a": holder[key]}, [[holder[key]]], {str(key): holder[key]}, [], {}])
    holder[key] = inner


def _rename(rng: random.Random, values: Any, place: Place) -> None:
    holder, key = find(values, place[:-1]), place[-1]
    if isinstance(holder, dict):
        names = [each[-1] for each in list_places(values) if isinstance(each[-1], str)]
        holder[rng.choice([*names, "nobody", "", "a b", str(key)[:-1]])] = holder.pop(key)


def _double(rng: random.Random, values: Any, place: Place) -> None:
    holder, key = find(values, place[:-1]), place[-1]
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[int(key)]))
    else:
        holder[f"{key}_2"] = copy.deepcopy(holder[key])


def _change_number(rng: random.Random, values: Any, place: Place) -> None:
    holder, key = find(values, place[:-1]), place[-1]
    if isinstance(holder[key], int | float):
        holder[key] = rng.choice([-holder[key], holder[key] * 1000, str(holder[key]), holder[key] + 0.5, 0])


def _cut(rng: random.Random, values: Any, place: Place) -> None:
    holder, key = find(values, place[:-1]), place[-1]
    if isinstance(holder[key], str) and holder[key]:
        at = rng.randrange(len(holder[key]))
        holder[key] = rng.choice([holder[key][:at], holder[key] + holder[key][at:], holder[key].upper()])


KINDS: list[Callable[[random.Random, Any, Place], None]] = [
    _drop, _put, _put, _swap, _swap, _nest, _rename, _double, _change_number, _cut
]  # fmt: skip


def mutate(rng: random.Random, values: Values) -> Values:
    """Values with one to three changes."""
    made = copy.deepcopy(values)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(list_places(made))
        if places:
            rng.choice(KINDS)(rng, made, rng.choice(places))
    return made
