"""The cards of trained models: where they come from, how they were trained, the evidence, and how they are served."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.models.http.terms import NO_ADVICE
from blackbox_kd.printable import escape_markdown, quote_code
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import cards
from blackbox_kd.runs.browse import choose_version, name_version
from blackbox_kd.runs.manifest import read_manifest
from blackbox_kd.runs.report.classes import describe as describe_classes
from blackbox_kd.runs.report.classes import describe_metrics
from blackbox_kd.runs.report.comparisons import list_measures, name_measured
from blackbox_kd.runs.report.format import format_bill, format_interval, format_percent
from blackbox_kd.runs.report.gains import describe_comparison
from blackbox_kd.schema import ModelRef
from blackbox_kd.weights.origin import Origin, find_origin

NOT_TOLD = ("job", "step", "model")
"""What a training's entry in the report holds and its table of settings need not."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for `--max-lora-rank` (vllm.config.lora, MaxLoRARanks)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was made of a trained model.

    Args:
        folder: where it lies.
        relation: of it to its base, as the Hub calls it.
        names: what the evaluation of what was made calls it.
    """

    folder: Path
    relation: str
    names: Sequence[str] = ()


def write_models(recipe: Recipe, report: Mapping[str, Any], trained: Iterable[tuple[str, Path]]) -> None:
    """Writes a README for each trained model, and a link to the version that its bare name means."""
    links: dict[Path, dict[str, str]] = {}
    for model, path in trained:
        if path.is_dir():
            write_whole(path / "README.md", write_model_card(recipe, report, model, path))
            links.setdefault(path.parent / model, {})[name_version(path)] = path.name
    for link, folders in links.items():
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(folders[choose_version(report, list(folders))], target_is_directory=True)


def write_model_card(
    recipe: Recipe, report: Mapping[str, Any], model: str, path: Path, made: Exported | None = None
) -> str:
    """The card of a trained model.

    Args:
        recipe: as it was run.
        report: what report.json holds.
        model: its name in the recipe.
        path: folder of the version.
        made: what was made of it, if the card is about that.
    """
    base = find_origin(recipe.models[model].model, recipe.folder)
    is_adapter = made is None and (path / "adapter_config.json").exists()
    measured = {model, *(made.names if made else ())}
    results = [entry for entry in report["evaluations"] if ModelRef.parse(entry["model"]).name in measured]
    own = [entry for entry in results if (entry["model"] in made.names if made else entry["model"] == model)]
    name = f"{recipe.name}: {path.name}"
    front = {
        "base_model": base.name if base.is_hub else None,
        "base_model_relation": (made.relation if made else "adapter" if is_adapter else "finetune")
        if base.is_hub
        else None,
        "license": base.license,
        "library_name": "peft" if is_adapter else "gguf" if made and made.relation == "quantized" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["blackbox-kd", "distillation", "trl", *cards.tag(report)],
        "model-index": _write_index(name, own),
    }
    lines = [f"# {name}", "", *cards.warn(report), *_describe_base(recipe, base), *_describe_teachers(recipe, report)]
    lines += _describe_training(report, name_version(path))
    lines += _describe_evidence(report, results, measured)
    lines += _describe_data(recipe, report, path)
    lines += _describe_use(base, path, is_adapter, made)
    return cards.write_front(front) + "\n" + "\n".join(lines).rstrip() + "\n"


def _describe_base(recipe: Recipe, base: Origin) -> list[str]:
    at = f" at commit `{base.revision}`" if base.revision else ""
    what = f"{quote_code(base.name)}{at} fine-tuned on the rows of `{recipe.name}`, with blackbox-kd and TRL."
    licence = f"Its licence is {escape_markdown(base.license)}." if base.license else "Its licence is not known here."
    return [what, "", f"The licence of the base model holds for these weights, too. {licence}", ""]


def _describe_teachers(recipe: Recipe, report: Mapping[str, Any]) -> list[str]:
    lines = ["## Teachers", "", *cards.describe_models(recipe, report, recipe.learnt_from), ""]
    unknown = [f"No terms are known for them; {NO_ADVICE}.", ""] if recipe.learnt_from else []
    return lines + (cards.describe_terms(recipe, recipe.learnt_from) or unknown)


def _describe_training(report: Mapping[str, Any], version: str) -> list[str]:
    """The settings that had an effect, those that were left out in the recipe included, and what the machine chose."""
    lines = []
    for entry in report.get("trainings", []):
        if entry["model"] == version:
            plain = {key: value for key, value in entry.items() if isinstance(value, str | int | float)}
            nested = [entry.get(key, {}) for key in ("settings", "trl", "versions")]
            settings = {key: value for part in [plain, *nested] for key, value in part.items()}
            kept = {key: value for key, value in settings.items() if value is not None and key not in NOT_TOLD}
            if values := entry.get("chat_template_kwargs"):
                kept |= {"chat_template_kwargs, now defaults of the chat template": json.dumps(values)}
            lines += ["## Training", "", "| setting | value |", "|---|---|"]
            lines += [f"| {escape_markdown(key)} | {escape_markdown(_write(value))} |" for key, value in kept.items()]
            lines.append("")
    return lines


def _write(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _describe_evidence(
    report: Mapping[str, Any], results: Sequence[Mapping[str, Any]], measured: set[str]
) -> list[str]:
    if not results:
        return ["No evaluation was made of it: nothing says that it is any good.", ""]
    lines = ["## Evidence", "", "| model | table | rows | accuracy | 95 % interval |", "|---|---|---|---|---|"]
    for entry in results:
        cells = [
            name_measured(entry, report["evaluations"]),
            entry["table"],
            f"{entry['n']:,}",
            format_percent(entry["accuracy"]) if entry["right"] is not None else "not read",
        ]
        lines.append(f"| {' | '.join(cells)} | {format_interval(entry['ci95'])} |")
    lines += ["", *describe_metrics(results)]
    lines += [line for entry in results for line in describe_classes(entry, report["evaluations"])]
    compared = [entry for entry in report["comparisons"] if ModelRef.parse(entry["model"]).name in measured]
    return lines + [describe_comparison(entry, report["evaluations"]) + "\n" for entry in compared]


def _write_index(name: str, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Results as the Hub's model-index has them, each metric with its interval and its number of rows."""
    found = []
    for entry in results:
        told = [
            {"type": key, "value": round(one["value"], 4), "name": _name_metric(key, one, entry), "args": {
                "n": entry["n"], "ci95": one["ci95"]}}
            for key, one in list_measures(entry).items()
            if one["value"] is not None
        ]  # fmt: skip
        table = {"name": f"held-out table {entry['table']} of the run", "type": "custom"}
        if told:
            found.append({"task": {"type": "text-generation"}, "dataset": table, "metrics": told})
    return [{"name": name, "results": found}] if found else None


def _name_metric(key: str, found: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    interval = f"95 % interval {format_interval(found['ci95'])}, " if found["ci95"] else ""
    return f"{key} of {entry['model']} ({interval}{entry['n']:,} rows)"


def _describe_data(recipe: Recipe, report: Mapping[str, Any], path: Path) -> list[str]:
    """What it was made of: the funnel, the bill, held-out rows among those to learn from, and hashes of it all."""
    spent = report["spent"]
    bill = f"The run asked {spent['requests']:,} times for {spent['tokens']:,} tokens, for {format_bill(spent)}."
    run, rows = path.parent.parent, []
    if (recipe_file := run / "recipe.yaml").is_file():
        rows.append(("recipe.yaml of the run", hashlib.sha256(recipe_file.read_bytes()).hexdigest()))
    told = read_manifest(run).dataset
    rows += [(f"data set {config.parquet}", config.sha256) for config in (told.configs if told else [])]
    prompts = sorted(recipe.prompts.items())
    rows += [(f"prompt {name}", hashlib.sha256(prompt.source.encode()).hexdigest()) for name, prompt in prompts]
    return [
        *cards.describe_funnel(report["funnel"]),
        "",
        bill,
        *cards.describe_overlap(report),
        "",
        "## Hashes",
        "",
        "| what | SHA-256 |",
        "|---|---|",
        *(f"| {escape_markdown(what)} | `{sha}` |" for what, sha in rows),
        "",
    ]


def _describe_use(base: Origin, path: Path, is_adapter: bool, made: Exported | None) -> list[str]:
    """How it is loaded and served; FOLDER is wherever this card lies."""
    lines = ["## Load and serve", "", "`FOLDER` is where this file lies; `hf download` says where it has put it.", ""]
    if made is not None and made.relation == "quantized":
        files, modelfiles = (sorted(made.folder.glob(end)) for end in ("*.gguf", "*.Modelfile"))
        commands = [f"llama-server --jinja -m FOLDER/{file.name}" for file in files]
        commands += [f"ollama create {file.stem.lower()} -f FOLDER/{file.name}" for file in modelfiles]
        return [*lines, "```sh", *commands, "```", ""]
    python = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
    ]
    template = "--chat-template FOLDER/chat_template.jinja"
    if not is_adapter:
        python.append('model = AutoModelForCausalLM.from_pretrained("FOLDER")')
        return [*lines, "```python", *python, "```", "", "```sh", f"vllm serve FOLDER {template}", "```", ""]
    config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    largest = max([config.get("r") or 1, *(config.get("rank_pattern") or {}).values()])
    rank = next((rank for rank in RANKS if rank >= largest), largest)
    at = f', revision="{base.revision}"' if base.revision else ""
    name, note = base.name, [] if base.is_hub else [f"`{base.name}` is the base's name where it was trained.", ""]
    python += [
        "from peft import PeftModel",
        f'base = AutoModelForCausalLM.from_pretrained("{name}"{at})',
        'model = PeftModel.from_pretrained(base, "FOLDER")',
    ]
    pinned = f" --revision {base.revision}" if base.revision else ""
    serve = f"vllm serve {name}{pinned} --enable-lora --max-lora-rank {rank} --lora-modules student=FOLDER {template}"
    return [*lines, *note, "```python", *python, "```", "", "```sh", serve, "```", ""]
