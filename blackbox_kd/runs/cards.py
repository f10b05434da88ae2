"""The data card, with the front matter that the Hub reads, and what it shares with the models' cards."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from blackbox_kd.models import ModelConfig, WeightsConfig
from blackbox_kd.models.http.terms import NO_ADVICE
from blackbox_kd.printable import escape_markdown, escape_text, quote_code
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.carried import INPUTS
from blackbox_kd.runs.dataset import LEFT_OUT
from blackbox_kd.runs.manifest import DataConfig
from blackbox_kd.runs.report.format import count_up, describe_scripted
from blackbox_kd.schema import ModelRef

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's size categories, each with the number of rows it ends below."""
LONGEST_NAME = 100
"""Characters of a server's name for a model."""


@dataclass(frozen=True, slots=True)
class Made:
    """A data set that a run has just written.

    Args:
        configs: what the manifest holds of each of its tables.
        steps: labels of the steps that the rows went through, rounds included.
        models: models that wrote or judged them.
        inputs: tables to start from whose rows stand beside the recipe.
        data: tables to start from that its rows come from.
    """

    configs: Sequence[DataConfig]
    steps: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    inputs: Sequence[str] = ()
    data: frozenset[str] = frozenset()


def write_front(fields: Mapping[str, Any]) -> str:
    """The front matter of a card; what is None is left out."""
    kept = {key: value for key, value in fields.items() if value is not None}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    if escape_text(text) != text:
        text = yaml.safe_dump(kept, sort_keys=False)
    return f"---\n{text}---\n"


def publish_name(config: ModelConfig, folder: Path) -> str:
    """A model as a card names it: ids of the Hub and of vendors as they are, files and folders without their path."""
    model = config.model
    if not isinstance(config, WeightsConfig):
        return name_served(model)
    if model.endswith(".gguf"):
        return Path(model).stem
    is_folder = model.startswith((".", "/", "~")) or (folder / model).is_dir()
    return (folder / model).resolve().name if is_folder else model


def name_served(model: str) -> str:
    """A model as its server names it: of a path on that machine, the end."""
    name = model.rstrip("/").rpartition("/")[2] if model.startswith((".", "/", "~")) else model
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."


def write_data_card(recipe: Recipe, report: Mapping[str, Any], made: Made) -> str:
    """The card of the data set: what made it, from what, with which losses on the way."""
    rows = sum(config.rows for config in made.configs)
    size = next((name for below, name in SIZES if rows < below), "n>1M")
    front = {
        "license": recipe.head.license or "other",
        "tags": ["synthetic", "blackbox-kd", *tag(report)],
        "size_categories": [size],
        "configs": _list_configs(made),
    }
    lines = [f"# {recipe.name}", "", *warn(report)]
    lines += [escape_markdown(recipe.head.description.strip()), ""] if recipe.head.description.strip() else []
    lines += [
        f"{rows:,} rows made by [blackbox-kd](https://pypi.org/project/blackbox-kd/) with the recipe `recipe.yaml` "
        "beside this file.",
        "",
        *_describe_tables(made),
        *_describe_sources(recipe, made),
        "## Models that wrote or judged it",
        "",
        *describe_models(recipe, report, made.models),
        "",
        *describe_terms(recipe, made.models),
        *describe_funnel(entry for entry in report["funnel"] if entry["step"] in made.steps),
    ]
    if left := sum(sum(config.left_out.values()) for config in made.configs):
        files = [name for config in made.configs for name in config.files if name.endswith(LEFT_OUT)]
        lines += ["", f"{left:,} rows more are in `{'`, `'.join(files)}` alone, as nothing can be learnt from them."]
    lines += describe_overlap(report)
    return write_front(front) + "\n" + "\n".join(lines) + "\n"


def tag(report: Mapping[str, Any]) -> list[str]:
    """A tag for what is no evidence."""
    return ["scripted"] if report.get("scripted") else []


def warn(report: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    return [f"**{told}**", ""] if (told := describe_scripted(report)) else []


def _list_configs(made: Made) -> list[dict[str, Any]]:
    """The tables as the Hub's readers are told of them: by a name that changes with the content."""
    found: list[dict[str, Any]] = [
        {"config_name": config.name, "data_files": [{"split": "train", "path": config.parquet}]}
        for config in made.configs
    ]
    return [{**found[0], "default": True}, *found[1:]] if len(found) > 1 else found


def _describe_tables(made: Made) -> list[str]:
    """What the rows are called in the run, and what stands beside them."""
    lines: list[str] = []
    if len(made.configs) > 1:
        lines += ["| config | rows | table of the run |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {c.rows:,} | `{c.table}` |" for c in made.configs] + [""]
    elif not made.configs[0].table.startswith("#"):
        lines += [f"They are the table `{made.configs[0].table}` of its run.", ""]
    if made.inputs:
        names = ", ".join(f"`{name}`" for name in made.inputs)
        lines += [
            f"`{INPUTS}/` of its run has the rows that the recipe starts from ({names}), those of exams included. They "
            "are no part of the data set, and `push:` leaves them out.",
            "",
        ]
    return lines


def _describe_sources(recipe: Recipe, made: Made) -> list[str]:
    """Whose rows the recipe starts from: a table's maker made what its columns said before the first step."""
    found = []
    for name in sorted(made.data & recipe.data.keys()):
        source = recipe.data[name]
        whence = f"`{source.hub}` of the Hub" if source.hub else "a file of the recipe's author"
        whence = f"made by the generator `{source.generator}`" if source.generator else whence
        found.append(f"- `{name}`: {'rows in the recipe itself' if source.rows is not None else whence}")
    if not found:
        return []
    head = "What its rows started from was there before; no model that is named below has written it in this run."
    return ["## Where the rows come from", "", head, "", *found, ""]


def describe_funnel(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows in and out of steps, as a table."""
    lines = ["## Rows in and out", "", "| step | in | added | out | dropped | failed |", "|---|---|---|---|---|---|"]
    for entry in entries:
        lost = [sum(entry[kind].values()) for kind in ("dropped", "failed")]
        lines.append(f"| {' | '.join(map(str, [entry['step'], entry['in'], entry['added'], entry['out'], *lost]))} |")
    return lines


def describe_overlap(report: Mapping[str, Any]) -> list[str]:
    """What was found of held-out rows among those to learn from, each after an empty line."""
    told = "Overlap with held-out `{table}`: {exact} exact, {near} near."
    return [line for check in report["contamination"] for line in ("", told.format(**check))]


def describe_models(recipe: Recipe, report: Mapping[str, Any], models: Container[str]) -> list[str]:
    """The models of a recipe, or some of them: what they are and how their replies ended."""
    seen = {ModelRef.parse(entry["name"]).name: entry for entry in report["models"]}
    lines = []
    for name, config in recipe.models.items():
        if name not in models:
            continue
        counts = seen.get(name, {})
        served = [name_served(model) for model in counts.get("served", []) if model != config.model]
        also = f" (the server said {', '.join(map(quote_code, served))})" if served else ""
        made_by = quote_code(publish_name(config, recipe.folder))
        ends = f"; its replies, also to evaluations: {count_up(counts['ends'], ', ')}" if counts.get("ends") else ""
        lines.append(f"- `{name}`: {made_by} through `{config.provider}`{also}{ends}")
    return lines or ["- none: the rows were there before"]


def describe_terms(recipe: Recipe, models: Container[str]) -> list[str]:
    """What is known of the terms for outputs of models; nothing where none of them is anybody's."""
    told = {name: "; ".join(found) for name, found in recipe.terms.items() if name in models}
    if not told:
        return []
    lines = [f"- `{name}`: {escape_markdown(text or 'nothing is known of its terms')}" for name, text in told.items()]
    head = "What terms and licences say of training on outputs of these models, as far as it is known; "
    return ["## Terms", "", f"{head}{NO_ADVICE}. Read them before you publish.", "", *lines, ""]
