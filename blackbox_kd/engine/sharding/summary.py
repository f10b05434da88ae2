"""What the report of a merged run is made of: the shards' own, added up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from blackbox_kd.engine.sharding.folders import Found
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.runs.report import build, losses
from blackbox_kd.runs.report.ending import Ending, Status
from blackbox_kd.runs.stage_files import list_losses


def collect_facts(
    recipe: Recipe, found: Found, folder: RunFolder, accounts: list[Account], bill: dict[str, Any]
) -> build.Facts:
    """The facts of a merged run that its last step has ended well; `bill` is what it has cost."""
    rest = found.led.rest
    ending = Ending()
    if rest is not None:
        why = f"merged from {len(found.entries)} shards, `blackbox-kd run` goes on with {rest.first.label}"
        ending = Ending(Status.MERGED, why)
    lists: dict[str, list[dict[str, Any]]] = {}
    for stage in found.led.stages:
        finished = folder.manifest.stages.get(stage.name)
        for key, entries in (finished.report if finished is not None else {}).items():
            lists.setdefault(key, []).extend(entries)
    models = _sum_models([use.write() for use in entry.models] for entry in found.entries)
    contamination = [overlap.write() for overlap in found.entries[0].contamination]
    dropped = list_losses(folder.path, [stage.name for stage in found.led.stages], "dropped")
    lost = losses.find(accounts, recipe, dropped)
    return build.Facts(recipe, ending, accounts, lists, models, bill, contamination, losses=lost)


def _sum_models(shards: Iterable[list[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The counts of each model, added up over the shards; a cost that one of them does not know is not known."""
    sums: dict[str, dict[str, Any]] = {}
    for entry in (entry for models in shards for entry in models):
        total = sums.setdefault(entry["name"], {"name": entry["name"]})
        for key, value in entry.items():
            if isinstance(value, Mapping):
                total[key] = dict(sorted((Counter(total.get(key, {})) + Counter(value)).items()))
            elif isinstance(value, list):
                total[key] = sorted({*total.get(key, []), *value})
            elif key != "name":
                before = total.get(key, 0)
                total[key] = None if value is None or before is None else before + value
    return [sums[name] for name in sorted(sums)]
