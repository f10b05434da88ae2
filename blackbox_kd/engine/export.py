"""Exports a student: merged with its base, as GGUF, for ollama; each is loaded again and asked what the student was."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.models import WeightsConfig
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.load import build_recipe
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Source
from blackbox_kd.runs import browse, model_card
from blackbox_kd.runs.report import arms, comparisons
from blackbox_kd.schema import ModelRef
from blackbox_kd.weights import gguf_file, locate, merged, quantize

FOLDER = "export"
GGUF = "-GGUF"
ASKED = ("prompt", "answer", "against", "by", "metrics", "temperature", "max_tokens", "tools")
"""Fields of `evaluate` that say what is asked and how it is measured."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported.

    Args:
        model: the model or one of its versions; the only one that was trained if left out.
        merge: whether the merged weights are kept.
        kinds: GGUF files, by how numbers are stored.
        ollama: whether a Modelfile is written beside each.
    """

    model: str | None = None
    merge: bool = False
    kinds: Sequence[str] = ()
    ollama: bool = False


@dataclass(slots=True)
class Exported:
    """What was written.

    Args:
        version: of the model.
        adapter: the folder that training has left.
        places: models that were made of it, by their names in the evaluation.
        written: files and folders for whoever publishes them.
        notes: what a user should know.
    """

    version: str
    adapter: Path
    places: dict[str, Path] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def list_folders(self) -> list[Path]:
        """The folders that were written, each for a repository of its own."""
        return list(dict.fromkeys(path if path.is_dir() else path.parent for path in self.written))


def export(recipe: Recipe, run: Path, wanted: Wanted, cache: Path, say: Callable[[str], None]) -> Exported:
    """Writes what is wanted of a student into `export/` of its run.

    Args:
        recipe: as it was run.
        run: the run's folder.
        wanted: what is exported.
        cache: the user's cache folder.
        say: is told what is being done.

    Raises:
        UserError: there is no such model, or no such kind.
        SetupError: the weights of the base are missing, or llama.cpp is not installed and is needed.
        StepError: llama.cpp has failed.
    """
    version, trained = choose_version(run, wanted.model)
    made, root, name = Exported(version, trained), run / FOLDER, ModelRef.parse(version).name
    kinds = list(dict.fromkeys(kind.upper() for kind in wanted.kinds))
    for kind in kinds:
        quantize.refuse_kind(kind)
    root.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="merging-") as work:
        whole = trained
        if (trained / "adapter_config.json").exists():
            say(f"{version}: merging the adapter with its base")
            config = recipe.models[name]
            assert isinstance(config, WeightsConfig), "it has been trained"
            whole = Path(work) / version
            merged.merge_adapter(locate.resolve(config.model, cache, recipe.folder), trained, whole)
        for kind in kinds:
            say(f"{version}: writing {kind}")
            _write_gguf(whole, root / f"{version}{GGUF}", kind, name, made, ollama=wanted.ollama)
        if wanted.merge:
            target = root / version
            shutil.rmtree(target, ignore_errors=True)
            if whole == trained:
                shutil.copytree(whole, target)
            else:
                whole.rename(target)
            made.places[f"{name}-merged"] = target
            made.written.append(target)
    return made


def _write_gguf(model: Path, folder: Path, kind: str, name: str, made: Exported, *, ollama: bool) -> None:
    """Writes a GGUF file, and a Modelfile beside it; a kill leaves no half of one under its name."""
    target = folder / f"{name}-{kind}.gguf"
    folder.mkdir(mode=0o700, exist_ok=True)
    part = target.with_name(f"writing-{target.name}")
    gguf_file.write_gguf(model, part, kind)
    part.replace(target)
    made.places[f"{name}-{kind}"] = target
    made.written.append(target)
    if ollama:
        modelfile = target.with_suffix(".Modelfile")
        if not merged.write_modelfile(model, target.name, modelfile):
            made.notes.append(f"{modelfile}: the chat template is not one that ollama's words can say")
        made.written.append(modelfile)


def choose_version(run: Path, model: str | None) -> tuple[str, Path]:
    """The version to export, and its folder: the last one of a model, or the one that a loop has restored.

    Raises:
        UserError: there is no such model, or it is not said which one.
    """
    trained = browse.find_models(run)
    names = list(dict.fromkeys(ModelRef.parse(version).name for version in trained))
    if not trained:
        raise UserError("the run has trained no model", fix="run a recipe with a step train")
    if model is None and len(names) > 1:
        raise UserError("the run has trained several models", exists=f"models: {', '.join(names)}", fix="--model NAME")
    found = [version for version in trained if model in (None, version, ModelRef.parse(version).name)]
    if not found:
        guess = did_you_mean(str(model), [*names, *trained])
        raise UserError(f"the run has trained no {model!r}", exists=f"models: {', '.join(trained)}", fix=guess)
    version = browse.choose_version(arms.select(browse.read_report(run)), found)
    return version, trained[version].resolve()


def name_repository(repository: str, folder: Path) -> str:
    """The repository that a folder goes to: GGUF files have one of their own, as is the custom."""
    return f"{repository.removesuffix(GGUF)}{GGUF}" if folder.name.endswith(GGUF) else repository


def find_exam(recipe: Recipe, model: str) -> PlannedStep | None:
    """The last evaluation of a model by answers that are read; None if there is none."""
    for planned in reversed(recipe.steps):
        exam = planned.config.exam()
        if exam is not None and exam.is_checked and model in {ModelRef.parse(name).name for name in exam.models}:
            return planned
    return None


def evaluate(recipe: Recipe, run: Path, made: Exported, options: RunOptions) -> Run | None:
    """Asks the student as it was trained, and all that was made of it, the questions of its exam again.

    Returns:
        The finished run; None if the recipe has no exam of the model by answers that are read.
    """
    name = ModelRef.parse(made.version).name
    planned = find_exam(recipe, name)
    if planned is None:
        return None
    dumped = planned.config.model_dump(mode="json", exclude_none=True)
    table = planned.list_names("table")[0]
    values: dict[str, Any] = {
        "name": f"{recipe.name}-{FOLDER}",
        "seed": recipe.head.seed,
        "data": {table: {"path": str(browse.name_tables(run)[table].resolve()), "held_out": True}},
        "models": _list_models(recipe, name, made),
        "steps": [{"step": "evaluate", "input": table, "models": [name, *made.places]}],
    }
    exam = planned.config.exam()
    assert exam is not None
    dumped["prompt"] = exam.prompts.get(name) or exam.prompt
    values["steps"][0] |= {key: dumped[key] for key in ASKED if dumped.get(key) not in (None, [])}
    source = Source(values=values)
    found = build_recipe(source, file="export", folder=recipe.folder, allow_code=recipe.allow_code, env=options.env)
    return Run(found, options)


def _list_models(recipe: Recipe, name: str, made: Exported) -> dict[str, Any]:
    """The student as it was trained, and what was made of it."""
    config = recipe.models[name]
    assert isinstance(config, WeightsConfig), "it has been trained"
    entry = {key: value for key, value in recipe.source.values["models"][name].items() if key != "adapter"}
    trained = config.version_in(made.adapter)
    own = {"adapter": trained.adapter} if trained.adapter else {"model": trained.model}
    return {name: entry | own} | {key: entry | {"model": str(place.resolve())} for key, place in made.places.items()}


def summarise(made: Exported, run: Run | None) -> dict[str, Any]:
    """What export.json holds: the files with their hashes, and how what was made answers."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _hash(path)} for path in made.written if path.is_file()
    }
    told: dict[str, Any] = {"version": made.version, "files": files, "notes": made.notes}
    if run is None:
        return told
    replies = _read_replies(run)
    student = ModelRef.parse(made.version).name
    asked = replies.get(student, {})
    same = {
        name: {"same": sum(own[key] == asked.get(key) for key in own), "of": len(own)}
        for name, own in replies.items()
        if name in made.places
    }
    against = [entry for entry in run.report["comparisons"] if entry["against"] == student]
    measured = {"evaluations": run.report["evaluations"], "comparisons": comparisons.correct(against)}
    return told | {"same_replies": same} | measured


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_replies(run: Run) -> dict[str, dict[str, str]]:
    """What each model has replied to each question, by the question's id."""
    found: dict[str, dict[str, str]] = {}
    [table] = (run.path / "tables").glob("01_*.jsonl")
    with table.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            found.setdefault(row["model"], {})[row["question"]] = row["response"]
    return found


def write_results(recipe: Recipe, run: Path, made: Exported, told: Mapping[str, Any]) -> None:
    """Writes export.json, and the card of each folder with the evidence on what lies in it."""
    root, name = run / FOLDER, ModelRef.parse(made.version).name
    write_whole(root / "export.json", json.dumps(told, indent=1) + "\n")
    report = arms.select(browse.read_report(run))
    for folder in made.list_folders():
        own = [key for key, place in made.places.items() if folder in (place, place.parent)]
        results = [entry for entry in told.get("evaluations", []) if entry["model"] in own]
        compared = [entry for entry in told.get("comparisons", []) if entry["model"] in own]
        known = {
            **report,
            "evaluations": [*report["evaluations"], *results],
            "comparisons": [*report["comparisons"], *compared],
        }
        exported = model_card.Exported(folder, "quantized" if folder.name.endswith(GGUF) else "finetune", own)
        write_whole(folder / "README.md", model_card.write_model_card(recipe, known, name, made.adapter, exported))
