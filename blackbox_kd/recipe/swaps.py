"""`--model NAME=PROVIDER:MODEL` and `--teacher PROVIDER:MODEL`: another model in the place of one of a recipe's.

Of the entry that is replaced those fields stay that mean the same for every endpoint: `KEPT`. All others speak of the
endpoint or of the model that is gone, and go with it: base_url, key_env, price, batch, refuses, extra_body, ...
"""

from typing import Any

from blackbox_kd import models
from blackbox_kd.errors import UserError, did_you_mean, list_names
from blackbox_kd.models.http.aliases import list_vendors
from blackbox_kd.recipe.aliases import COMPATIBLE
from blackbox_kd.recipe.yaml_source import Source

TEACHER = "teacher"
KEPT = ("thinking", "system", "timeout_s", "max_concurrency")
"""Fields of a model's entry that outlive its model, where the new provider has them."""
FORM = "write --model NAME=PROVIDER:MODEL, such as teacher=openai:cheap or judge=openrouter:openai/gpt-oss-120b"


def swap(source: Source, assignment: str) -> list[str]:
    """Applies one `--model NAME=PROVIDER:MODEL`; returns what the user should know of it.

    The name of a model may have further `=` and `:` in it.

    Raises:
        UserError: it has another form, or there is no such model or provider.
    """
    name, equals, target = assignment.partition("=")
    if not equals:
        raise UserError(f"--model {assignment}: it is not NAME=PROVIDER:MODEL.", fix=FORM)
    return _replace(source, name.strip(), target.strip(), f"--model {assignment}")


def swap_teacher(source: Source, target: str) -> list[str]:
    """Applies `--teacher PROVIDER:MODEL`, or `--teacher scripted`, whose model needs no name; see `swap`.

    Raises:
        UserError: the recipe has no model of that name, or there is no such provider.
    """
    return _replace(source, TEACHER, target, f"--teacher {target}")


def stand_in(source: Source) -> list[str]:
    """Applies `--scripted`: replies are made up in the place of every model that is asked over the network."""
    entries = source.values.get("models")
    replaced = []
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        provider = entry.get("provider") if isinstance(entry, dict) else None
        if provider in models.providers() and not models.provider(str(provider)).Config.local:
            entries[name] = {"provider": "scripted", "stands_in": f"{provider}:{entry.get('model')}"}
            replaced.append(name)
    told = f"replies are made up in place of {', '.join(replaced)}; nothing is sent, and what comes out is no evidence"
    return [f"--scripted: {told if replaced else 'no model is asked over the network'}"]


def _replace(source: Source, name: str, target: str, given: str) -> list[str]:
    entries = source.values.get("models")
    names = list(entries) if isinstance(entries, dict) else []
    if name not in names:
        fix = did_you_mean(name, names) or "write --model NAME=PROVIDER:MODEL with one of them"
        raise UserError(
            f"{given}: the recipe has no model called {name!r}.", exists=f"models: {list_names(names)}", fix=fix
        )
    entry = make_entry(target, given)
    before = entries[name] if isinstance(entries[name], dict) else {}
    fields = models.provider(entry["provider"]).Config.model_fields
    entry |= {field: before[field] for field in KEPT if field in before and field in fields}
    gone = [field for field in before if field not in entry]
    entries[name] = entry
    path = ("models", name)
    source.lines = {place: line for place, line in source.lines.items() if place[:2] != path or place == path}
    source.overrides[path] = given
    return [f"{given}: {', '.join(gone)} of models.{name} left out, as of another model"] if gone else []


def make_entry(target: str, given: str) -> dict[str, Any]:
    """The entry of a model: of a provider, or of a vendor that is reached through chat completions.

    Args:
        target: `PROVIDER:MODEL`.
        given: the option as it was given, which ends with `target`.

    Raises:
        UserError: there is no such provider, or it does not say which model.
    """
    provider, colon, model = target.partition(":")
    known, vendors = models.providers(), list_vendors()
    if provider not in {*known, *vendors}:
        names = sorted({*known, *vendors})
        fix = did_you_mean(provider, names) or f"write {given.removesuffix(target)}PROVIDER:MODEL, such as openai:cheap"
        raise UserError(
            f"{given}: there is no provider {provider!r}.", exists=f"providers: {', '.join(names)}", fix=fix
        )
    if provider in known:
        entry, default = {"provider": provider}, models.provider(provider).Config.model_fields["model"].default
    else:
        vendor = vendors[provider]
        entry, default = {"provider": COMPATIBLE, "base_url": vendor.base_url, "key_env": vendor.key_env}, None
    if model:
        return {**entry, "model": model}
    if colon or not isinstance(default, str):
        example = f"{provider}:cheap" if provider in vendors else f"{provider}:MODEL"
        raise UserError(
            f"{given}: it does not say which model.", fix=f"write {given.removesuffix(target)}{example}, or another"
        )
    return {**entry, "model": default}
