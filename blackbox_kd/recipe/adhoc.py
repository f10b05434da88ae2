"""Recipes that the command line writes itself: `train --data` and `evaluate --data`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.recipe.load import build_recipe
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.yaml_source import Source
from blackbox_kd.tables import formats, sources
from blackbox_kd.tables.sources import TableSource

QUESTIONS = ("instruction", "question", "problem", "input", "prompt")
REFERENCES = ("reference", "answer", "solution", "target", "output", "label")


def _build(values: dict[str, Any], overrides: tuple[str, ...]) -> Recipe:
    return build_recipe(Source(values=values), file="command line", folder=Path.cwd(), overrides=overrides)


def train(
    data: str, student: str, method: str, name: str, settings: Mapping[str, Any], overrides: tuple[str, ...] = ()
) -> Recipe:
    """A recipe that fine-tunes `student` on rows that somebody else made; a setting `teacher` names another model.

    Raises:
        DataError: the file cannot be read, or its rows have no shape that is known or that the method learns from;
            the message names their columns.
    """
    sources.find_columns(TableSource(path=data), Path.cwd())
    models, named = {"student": student}, {}
    if "teacher" in settings:
        models["teacher"], named["teacher"] = settings["teacher"], "teacher"
    values = {
        "name": name,
        "data": {"rows": {"path": data}},
        "models": {role: {"provider": "transformers", "model": model} for role, model in models.items()},
        "steps": [{"step": "train", "model": "student", "method": method, **settings, **named}],
    }
    recipe = _build(values, overrides)
    found = sources.find_columns(recipe.data["rows"], recipe.folder) or []
    try:
        shape = formats.recognise(name for name in found if name != "id")
    except DataError as error:
        fix = "rename columns: --set data.rows.rename.OLD=NEW"
        raise DataError(f"{data}: {error.what}", exists=error.exists, fix=fix) from error
    if wrong := formats.refuse_method(method, shape):
        other = "sft" if method == "dpo" else "dpo"
        raise DataError(f"{data}: {wrong}", fix=f"--method {other}, or other rows")
    return recipe


def evaluate(
    data: str,
    student: str,
    adapter: str | None,
    name: str,
    settings: Mapping[str, Any],
    columns: tuple[str | None, str | None],
    overrides: tuple[str, ...] = (),
) -> Recipe:
    """A recipe that asks a student, and its base if it has an adapter, the questions of a file.

    Args:
        data: file with questions and right answers.
        student: model name or folder.
        adapter: folder of a trained adapter.
        name: name of the run.
        settings: fields of the evaluate step.
        columns: columns of the question and of the right answer; found by their usual names if None.
        overrides: `--set` assignments.
    """
    found = sources.find_columns(TableSource(path=data), Path.cwd()) or []
    question = _find_column("question", columns[0], found, QUESTIONS)
    reference = _find_column("reference", columns[1], [c for c in found if c != question], REFERENCES)
    rename = {old: new for old, new in ((question, "instruction"), (reference, "reference")) if old != new}
    base = {"provider": "transformers", "model": student}
    entries = {"base": base, "student": {**base, "adapter": adapter}} if adapter else {"student": base}
    values = {
        "name": name,
        "data": {"test": {"path": data, "held_out": True, **({"rename": rename} if rename else {})}},
        "models": entries,
        "steps": [{"step": "evaluate", "input": "test", "models": list(entries), **settings}],
    }
    return _build(values, overrides)


def _find_column(what: str, named: str | None, found: list[str], usual: tuple[str, ...]) -> str:
    if named is not None and named in found:
        return named
    for name in usual if named is None else ():
        if name in found:
            return name
    tried = repr(named) if named else "any of " + ", ".join(usual)
    raise DataError(f"no column {tried} for the {what}", exists=f"columns: {', '.join(found)}", fix=f"--{what} COLUMN")
