"""`model: cheap` and `model: strong` of a recipe, read as the models that they stand for."""

from collections.abc import Mapping

from blackbox_kd.errors import Problem
from blackbox_kd.models.http import aliases
from blackbox_kd.models.http.aliases import Alias, Vendor
from blackbox_kd.recipe.yaml_source import Source, quote

COMPATIBLE = "openai"
"""The provider of any endpoint that speaks chat completions: its URL says whose models it has."""


def resolve(source: Source, env: Mapping[str, str], problems: list[Problem]) -> dict[str, Alias]:
    """Writes the models that names stand for into a recipe's values; returns them by their names in the recipe.

    A name at an endpoint that is no vendor's is appended to `problems`; of a provider that has no vendor's models it is
    a name like any other.
    """
    found: dict[str, Alias] = {}
    entries = source.values.get("models")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        word = entry.get("model") if isinstance(entry, dict) else None
        if word not in aliases.WORDS:
            continue
        url = entry.get("base_url") or env.get("OPENAI_BASE_URL")
        if (vendor := _find_vendor(entry.get("provider"), url)) is not None:
            entry["model"] = vendor.find_model(word)
            found[name] = Alias(vendor.name, word, entry["model"])
        elif entry.get("provider") == COMPATIBLE:
            path = ("models", name, "model")
            what = f"model {quote(word)} stands for a vendor's model, and {url} is none of those that are known."
            known = f"vendors: {', '.join(aliases.list_vendors())}"
            expected = "; ".join(filter(None, (known, source.note(path))))
            fix = "write model: NAME, as the endpoint calls it"
            problems.append(Problem(source.line(path), f"models.{name}", what, expected, fix))
    return found


def _find_vendor(provider: object, url: object) -> Vendor | None:
    if provider != COMPATIBLE:
        return aliases.list_vendors().get(str(provider))
    return aliases.find_vendor_at(str(url)) if url else aliases.list_vendors()[COMPATIBLE]
