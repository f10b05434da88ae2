"""The data card and the model cards, with the front matter that the Hub reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from blackbox_kd.printable import escape_markdown, escape_text, quote_code
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.dataset import LEFT_OUT
from blackbox_kd.runs.report.comparisons import name_measured
from blackbox_kd.runs.report.format import format_interval, format_percent
from blackbox_kd.runs.report.markdown import describe_comparison
from blackbox_kd.schema import ModelRef

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's size categories, each with the number of rows it ends below."""
LONGEST_NAME = 100
"""Characters of a server's name for a model."""
NOT_TOLD = ("job", "step")
"""What a training's entry in the report holds and a card need not."""


def write(folder: Path, recipe: Recipe, report: Mapping[str, Any], trained: list[tuple[str, Path]]) -> None:
    """Writes `dataset/README.md` and a README for each trained model: for what this run made, not an earlier one."""
    if report["dataset"]:
        write_whole(folder / "dataset" / "README.md", data_card(recipe, report))
        recipe_text = (folder / "recipe.yaml").read_text(encoding="utf-8")
        write_whole(folder / "dataset" / "recipe.yaml", recipe_text)
    for model, path in trained:
        if path.is_dir():
            write_whole(path / "README.md", model_card(recipe, report, model, path))
            link = path.parent / model
            if link.is_symlink() or not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(path.name, target_is_directory=True)


def _front(fields: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in fields.items() if value is not None}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    if escape_text(text) != text:
        text = yaml.safe_dump(kept, sort_keys=False)
    return f"---\n{text}---\n"


def public_name(model: str, folder: Path) -> str:
    """A model as a card names it: ids of the Hub and of vendors as they are, files and folders without their path."""
    if model.endswith(".gguf"):
        return Path(model).stem
    is_folder = model.startswith((".", "/", "~")) or (folder / model).is_dir()
    return (folder / model).resolve().name if is_folder else model


def _served_name(model: str) -> str:
    """A model as its server names it: of a path on that machine, the end."""
    name = model.rstrip("/").rpartition("/")[2] if model.startswith((".", "/", "~")) else model
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."


def data_card(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """The card of the data set: what made it, from what, with which losses on the way."""
    rows = report["dataset"]["rows"]
    size = next((name for below, name in SIZES if rows < below), "n>1M")
    front = {
        "license": recipe.head.license or "other",
        "tags": ["synthetic", "blackbox-kd"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}],
    }
    lines = [f"# {recipe.name}", ""]
    lines += [escape_markdown(recipe.head.description.strip()), ""] if recipe.head.description.strip() else []
    lines += [
        f"{rows:,} rows made by [blackbox-kd](https://pypi.org/project/blackbox-kd/) with the recipe `recipe.yaml` "
        "beside this file.",
        "",
        "## Models that wrote or judged it",
        "",
        *_models(recipe, report),
        "",
        "The terms of these models may limit what the rows may be used for; read them before you publish.",
        "",
        "## Rows in and out",
        "",
        "| step | in | added | out | dropped | failed |",
        "|---|---|---|---|---|---|",
    ]
    for entry in report["funnel"]:
        lost = [sum(entry[kind].values()) for kind in ("dropped", "failed")]
        lines.append(f"| {entry['step']} | {entry['in']} | {entry['added']} | {entry['out']} | {lost[0]} | {lost[1]} |")
    if lost := sum(report["dataset"]["left_out"].values()):
        lines += ["", f"{lost:,} rows more are in `{LEFT_OUT}` alone, as nothing can be learnt from them."]
    for check in report["contamination"]:
        lines += ["", f"Overlap with held-out `{check['table']}`: {check['exact']} exact, {check['near']} near."]
    return _front(front) + "\n" + "\n".join(lines) + "\n"


def _models(recipe: Recipe, report: Mapping[str, Any]) -> list[str]:
    seen = {ModelRef.parse(entry["name"]).name: entry.get("served", []) for entry in report["models"]}
    steps = [planned for planned in recipe.steps if not planned.step.aside]
    asked = {name for planned in steps for name in planned.list_models()}
    lines = []
    for name, config in recipe.models.items():
        if name not in asked:
            continue
        served = [_served_name(model) for model in seen.get(name, []) if model != config.model]
        also = f" (the server said {', '.join(map(quote_code, served))})" if served else ""
        made_by = quote_code(public_name(config.model, recipe.folder))
        lines.append(f"- `{name}`: {made_by} through `{config.provider}`{also}")
    return lines or ["- none: the rows were there before"]


def model_card(recipe: Recipe, report: Mapping[str, Any], model: str, path: Path) -> str:
    """The card of a trained model: its base, its data, how it was trained, and the evidence."""
    base = public_name(recipe.models[model].model, recipe.folder)
    adapter = (path / "adapter_config.json").exists()
    front = {
        "base_model": base,
        "base_model_relation": "adapter" if adapter else "finetune",
        "datasets": [recipe.name],
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["blackbox-kd", "distillation", "trl"],
    }
    lines = [f"# {recipe.name}: {path.name}", ""]
    lines += [f"{quote_code(base)} fine-tuned on the rows of `{recipe.name}`, with blackbox-kd and TRL.", ""]
    lines += ["The licence of the base model holds for these weights, too.", ""]
    for entry in report.get("trainings", []):
        if entry["model"] == path.name:
            lines += ["## Training", "", "| setting | value |", "|---|---|"]
            plain = {key: value for key, value in entry.items() if isinstance(value, str | int | float)}
            settings = {**plain, **entry.get("settings", {})}
            kept = {key: value for key, value in settings.items() if value is not None and key not in NOT_TOLD}
            lines += [f"| {escape_markdown(key)} | {escape_markdown(str(value))} |" for key, value in kept.items()]
            lines.append("")
    results = [entry for entry in report["evaluations"] if ModelRef.parse(entry["model"]).name == model]
    if results:
        lines += ["## Evidence", "", "| model | table | rows | accuracy | 95 % interval |", "|---|---|---|---|---|"]
        for entry in results:
            cells = [
                name_measured(entry, report["evaluations"]),
                entry["table"],
                f"{entry['n']:,}",
                format_percent(entry["accuracy"]),
            ]
            lines.append(f"| {' | '.join(cells)} | {format_interval(entry['ci95'])} |")
        lines.append("")
        compared = [entry for entry in report["comparisons"] if ModelRef.parse(entry["model"]).name == model]
        lines += [describe_comparison(entry, report["evaluations"]) + "\n" for entry in compared]
    return _front(front) + "\n" + "\n".join(lines).rstrip() + "\n"
