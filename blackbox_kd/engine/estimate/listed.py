"""What the endpoints of a recipe list of its models, asked free of charge before probes are sent."""

import asyncio
from collections.abc import Collection
from datetime import date

from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.errors import CallError
from blackbox_kd.models import Model
from blackbox_kd.models.http import error_body, listing
from blackbox_kd.models.http.shutdowns import describe_day
from blackbox_kd.recipe.notes import Level, Note, Notes
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.yaml_source import quote

LOOK_S = 20.0
"""The most that a list is waited for: nothing depends on it."""


async def look(recipe: Recipe, models: ModelPool, names: Collection[str], notes: Notes) -> None:
    """Notes of models what their endpoints say of them: that they are not listed, or end soon.

    A list that cannot be had is noted, too, and no more comes of it.

    Args:
        recipe: the recipe.
        models: are opened.
        names: of the models in the recipe.
        notes: is added to.
    """
    for name, config in recipe.models.items():
        if name in names and not config.names_freely:
            said = await _ask(models.get(name), notes.today)
            if said is not None:
                level, what, fix = said
                notes.add(Note(level, recipe.source.line(("models", name, "model")), f"models.{name}", what, fix))


async def _ask(model: Model, today: date) -> tuple[Level, str, str] | None:
    """What there is to know: its level, what, and what can be done."""
    called = quote(model.config.model)
    try:
        async with asyncio.timeout(LOOK_S):
            told = await model.list_models()
        if told is None:
            return None
        url, body = told
        found = listing.find(error_body.decode(body), model.config.model)
    except CallError as error:
        return "note", f"whether {called} is listed is not known: {error.what}.", ""
    except TimeoutError:
        return "note", f"whether {called} is listed is not known: no list of models came within {LOOK_S:g} s.", ""
    except (ValueError, RecursionError):
        return "note", f"whether {called} is listed is not known: {url} has no list of models that can be read.", ""
    if found is None:
        return "warning", f"{called} is not listed by {url}.", "check model:, or write one that is listed"
    when = describe_day(found.ends, today) if found.ends is not None else ""
    if not when and not found.is_gone:
        return None
    return "warning", f"{called} is switched off {when or 'for good'}, as {url} says.", "write a model: that goes on"
