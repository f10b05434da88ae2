"""What a recipe's models are told of: the end of those that are switched off, and terms of those that are learnt from.

A judge counts among the latter, as terms speak of outputs that are used to develop a model, and what it says decides
which rows are learnt. What only measures does not: `evaluate` stands aside.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from blackbox_kd import models
from blackbox_kd.errors import UserError
from blackbox_kd.models import ModelConfig
from blackbox_kd.models.http import aliases, shutdowns, terms
from blackbox_kd.models.http.connection import is_loopback
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.notes import Level, Note, Notes
from blackbox_kd.recipe.yaml_source import quote

OPENROUTER = "openrouter.ai"
DISTILLABLE = "enforce_distillable_text"
"""OpenRouter's field of `provider`."""


def check(flow: Flow, env: Mapping[str, str], notes: Notes) -> None:
    """Notes what there is to know of a recipe's models, and keeps their terms with it; with `terms: open` it reports
    those that are learnt from and not known to be open.
    """
    learnt_from = flow.recipe.learnt_from
    for name, config in flow.recipe.models.items():
        url = _find_url(flow, name, config, env)
        host = urlsplit(url).hostname or ""
        if url and not config.names_freely and not is_loopback(url):
            _note_shutdown(flow, name, config, host, notes)
        if config.local and not config.trainable:
            continue  # what a script says is nobody's output
        found = _find_terms(config, host)
        flow.recipe.terms[name] = [each.describe() for each in found]
        if name in learnt_from:
            _note_terms(flow, name, host, found, notes)


def _find_url(flow: Flow, name: str, config: ModelConfig, env: Mapping[str, str]) -> str:
    """Where requests go; "" if none go anywhere."""
    try:
        routes = config.routes(models.Setup(name, flow.recipe.folder, Path(), env))
    except UserError:  # of a variable that is no URL, which is told elsewhere
        return ""
    return routes[0].url if routes else ""


def _find_terms(config: ModelConfig, host: str) -> list[terms.Terms]:
    routing = config.own_fields.get("provider")
    if host == OPENROUTER and isinstance(routing, Mapping) and routing.get(DISTILLABLE) is True:
        return [terms.DISTILLABLE]
    return terms.find(config.model, host)


def _note_shutdown(flow: Flow, name: str, config: ModelConfig, host: str, notes: Notes) -> None:
    found = shutdowns.find(config.model, host)
    if found is None:
        return
    model, when = quote(config.model), found.describe(notes.today)
    if not when:
        return
    what = f"{model} is switched off at {found.vendor} {when}"
    what += "; only somebody else may still serve it" if found.is_over(notes.today) else ""
    fix = f"write {_find_option(flow, name, config.model)}{found.instead}, or another one that goes on"
    _add(flow, notes, "warning", name, f"{what} (as of {found.read}: {found.source})", fix)


def _find_option(flow: Flow, name: str, model: str) -> str:
    """What stands before the name of a model where it was given: on the command line, or in the recipe."""
    given, at = flow.recipe.source.overrides, ("models", name, "model")
    if at in given:
        return f"{given[at]}="
    swapped = given.get(at[:2], "")
    return swapped.removesuffix(model) if swapped.endswith(model) else "model: "


def _note_terms(flow: Flow, name: str, host: str, found: list[terms.Terms], notes: Notes) -> None:
    is_open, model = terms.is_open(found), quote(flow.recipe.models[name].model)
    told = "; ".join(each.describe() for each in found) or f"nothing is known of the terms of {model}"
    if flow.recipe.head.terms == "open" and not is_open:
        what = f"terms: open, and {model} is learnt from, which is not known to be open: {told}."
        first, *others = _list_open()
        fix = (
            f"use a model that is: --model {name}={first} (or {', '.join(others)}, or one under Apache-2.0 or MIT); or "
        )
        fix += "read the terms, and take terms: open out"
        fix = f"at {host}, write distillable_only: true; or {fix}" if host == OPENROUTER else fix
        flow.add(("models", name, "model"), f"models.{name}", what, "", fix)
        return
    fix = "" if is_open else f"read them before you train or publish ({terms.NO_ADVICE})"
    _add(flow, notes, "warning" if flow.recipe.head.push and not is_open else "note", name, told, fix)


def _list_open() -> list[str]:
    """Of the models that have a name by what they are good for, those that are known to be open."""
    found = [(vendor, word) for vendor in aliases.list_vendors().values() for word in aliases.WORDS]
    return [f"{v.name}:{word}" for v, word in found if terms.is_open(terms.find(v.find_model(word), v.host))]


def _add(flow: Flow, notes: Notes, level: Level, name: str, what: str, fix: str) -> None:
    source, at = flow.recipe.source, ("models", name, "model")
    told = "; ".join(filter(None, (what, source.note(at))))
    notes.add(Note(level, source.line(at), f"models.{name}", f"{told}.", fix))
