"""Where a field belongs that stands where there is no field of that name: what it is called here, or its place."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache

from pydantic import BaseModel

from blackbox_kd import models
from blackbox_kd.paths import read_table
from blackbox_kd.recipe import field_types
from blackbox_kd.recipe.budget import BudgetConfig
from blackbox_kd.recipe.loop_config import LoopConfig
from blackbox_kd.recipe.spec import RecipeFile
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.tables.sources import TableSource

_TABLE = read_table(__file__)
OWN_NAMES: Mapping[str, str] = _TABLE["own_names"]
"""What other tools call a field, and what it is called here."""
OF_THE_BODY = frozenset(_TABLE["of_the_body"])
"""Fields of requests that endpoints know, and that go to them as they are."""
ADVICE: Mapping[str, str] = _TABLE["advice"]
STEPS: Mapping[str, str] = _TABLE["steps"]
"""What other tools call a step, and how it is written here."""


def find_place(name: str, here: Collection[str]) -> str:
    """What to do with a field that has no place where it stands, or nothing.

    Args:
        name: the field.
        here: fields that may stand there.
    """
    if OWN_NAMES.get(name) in here:
        return f"write {OWN_NAMES[name]}: in its place"
    if name == "thinking" and "chat_template_kwargs" in here:
        return "write chat_template_kwargs: {enable_thinking: true}, or as the model's own template calls it"
    if name in OF_THE_BODY:
        for field in ("extra", "extra_body"):
            if field in here:
                return f"write {field}: {{{name}: ...}}, which goes to the endpoint as it is"
    advice = ADVICE.get("dedupe" if OWN_NAMES.get(name) == "novelty" else name, "")
    known = next((each for each in (name, OWN_NAMES.get(name, "")) if each in _find_places()), "")
    belongs = f"{known}: belongs to {_list_places(_find_places()[known])}" if known else ""
    if advice:
        return f"{advice}; {belongs}" if known == name else advice
    return f"take it out here: {belongs}" if known else ""


def _list_places(places: list[str]) -> str:
    *most, last = places
    return f"{', '.join(most)} or {last}" if most else last


@cache
def _find_places() -> dict[str, list[str]]:
    """Every field of a recipe, and the places that it may stand in."""
    registry = Registry()
    kinds: list[tuple[str, type[BaseModel]]] = [
        ("the top of the recipe", RecipeFile),
        ("budget:", BudgetConfig),
        ("a table under data:", TableSource),
        *(("a model", models.provider(name).Config) for name in models.providers()),
        ("loop:", LoopConfig),
        *((f"the step {name}", form) for name in registry.names() for form in registry.get(name).all_forms),
    ]
    found: dict[str, list[str]] = {}
    for place, kind in kinds:
        for field, inside in _walk_fields(kind):
            where = f"{inside} of {place}" if inside else place
            if where not in found.setdefault(field, []):
                found[field].append(where)
    return found


def _walk_fields(kind: type[BaseModel], inside: str = "") -> Iterator[tuple[str, str]]:
    for name in field_types.list_fields(kind):
        yield name, inside
        for inner in field_types.find_inner_models(field_types.find_spot(kind, [name]).annotation):
            yield from _walk_fields(inner, f"{name}:")
