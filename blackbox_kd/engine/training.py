"""Trains the next version of a model: its rows, its weights, the job, the process, and the version that it leaves."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blackbox_kd.analysis import contamination
from blackbox_kd.engine import equal
from blackbox_kd.engine.state import RunState
from blackbox_kd.errors import DataError
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.dataset import count_left_out, list_left_out, write_dataset
from blackbox_kd.schema import BASE, Memory, ModelRef, Row
from blackbox_kd.tables.stored import StoredTable
from blackbox_kd.training import launch
from blackbox_kd.training.artefacts import MARK, Job, find_answers, find_maker, hash_job, read_preflight
from blackbox_kd.weights import load, locate, origin


async def train(
    shared: RunState,
    planned: PlannedStep,
    source: StoredTable | None,
    model: str,
    method: str,
    settings: Mapping[str, Any],
    rows: Iterable[Row],
) -> dict[str, Any]:
    """Trains a model in a process of its own; returns what the report says of it.

    Args:
        shared: is given the new version.
        planned: the step.
        source: the table that the step reads.
        model: name of the model in the recipe.
        method: a module of `training`.
        settings: those of the job; `start`: the version that it starts from, `latest` or `base`; what it runs on.
        rows: N rows of a shape that the method reads.

    Raises:
        DataError: a row is held out, or nothing can be learnt from the rows.
        SetupError: the weights are missing.
        UserError: the process refused the rows or the settings.
        StepError: the process failed.
        BudgetReached: the hours of the run are over; a training that has begun by then is let end.
    """
    shared.refuse_late()
    version, variant = str(shared.models.versions.name_next(model)), shared.recipe.suffix
    work, first = shared.folder.path / "work", shared.folder.path / f"models{variant}" / version
    dataset = work / (called := f"train_{version}{variant}") / "dataset"
    data, notes = _write_rows(shared, planned, dataset, method, rows)
    begun = str(ModelRef(model, BASE)) if settings["start"] == "base" else shared.models.exact(model)
    settings, told = equal.match(shared, planned, data, equal.fill_updates(shared, settings))
    _warn(shared, [*notes, *told])
    job = _make_job(shared, planned, model, settings, data=str(data), output=str(first))
    output = _choose_folder(shared, first, hash_job(method, job))
    job_file = work / f"{called}.json"
    write_whole(job_file, json.dumps(job.model_copy(update={"output": str(output)}).write(), indent=1))
    await shared.models.release_local()
    result = await launch.run_training(method, job_file, shared.on_event, _make_spread(shared, model, settings))
    origin.name_base(output, origin.find_origin(shared.recipe.models[model].model, shared.recipe.folder))
    shared.models.versions.add(model, output, source)
    seen = {**read_preflight(job), "answers": _read_answers(data)}
    seen |= {} if output == first else {"folder": output.name}
    trained = {"model": version, "begun_from": begun, "method": method, **result.write(), **seen}
    return {**trained, "left_out": dict(count_left_out(dataset)), "notes": [*notes, *told]}


async def look(
    shared: RunState, planned: PlannedStep, model: str, method: str, settings: Mapping[str, Any], rows: Iterable[Row]
) -> dict[str, Any]:
    """What a training would see of rows, without it; arguments and errors as of `train`.

    The rows are written to the folder of the run, which is one for this alone.
    """
    dataset = shared.folder.path / "work" / "dataset"
    try:
        data, notes = _write_rows(shared, planned, dataset, method, rows)
    except DataError as error:
        if not count_left_out(dataset):
            raise
        fix = "name other columns in a step format, or mend the rows"  # they are gone with the folder
        raise DataError(error.what, exists=error.exists, fix=fix) from error
    if isinstance(settings["max_steps"], Mapping):  # as many as another model has had, which is not trained here
        settings = {**settings, "max_steps": None}
    job = _make_job(shared, planned, model, settings, data=str(data), output=str(shared.folder.path / "models"))
    write_whole(job_file := shared.folder.path / "work" / "look.json", json.dumps(job.write()))
    await launch.run_look(method, job_file)
    told = {"model": model, "method": method, "settings": job.settings.model_dump(), **read_preflight(job)}
    lost = [{"id": name, "reason": reason} for name, reason in list_left_out(dataset)]
    return {**told, "left_out": lost, "notes": notes}


def _write_rows(
    shared: RunState, planned: PlannedStep, dataset: Path, method: str, rows: Iterable[Row]
) -> tuple[Path, list[str]]:
    """Writes what a training reads; returns its file and what there is to say of it."""
    written = shared.recipe.written.get(rows.name if isinstance(rows, StoredTable | Memory) else "", frozenset[str]())
    rows, notes = list(rows), list[str]()
    try:
        _refuse_held_out(shared, rows)
        return write_dataset(dataset, rows, method, written=written, say=notes.append, parquet=False), notes
    except DataError as error:
        raise error.within(planned.label) from error


def _read_answers(data: Path) -> list[dict[str, Any]]:
    """What the student has answered under way."""
    file = find_answers(data)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _choose_folder(shared: RunState, first: Path, name: str) -> Path:
    """The folder of a training: that of the same job, or one where no other has finished; see `--overwrite`."""
    most = len(list(first.parent.glob("*"))) + 3
    tried = [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, most))]
    same = [place for place in tried if name in (find_maker(place), _read_mark(place))]
    if same:
        return same[0]
    if shared.overwrite and find_maker(first) is not None:
        shutil.rmtree(first)
    chosen = next(place for place in tried if find_maker(place) is None)
    if chosen != first:
        what = f"models/{first.name} holds a finished training with other settings or rows and stays; "
        what += f"this one is kept in models/{chosen.name} (--overwrite would take its place)"
        _warn(shared, [what])
    return chosen


def _warn(shared: RunState, texts: Iterable[str]) -> None:
    for text in texts:
        shared.on_event({"event": "warning", "warning": text})


def _read_mark(place: Path) -> str | None:
    mark = place / MARK
    return mark.read_text() if mark.exists() else None


def _make_job(
    shared: RunState, planned: PlannedStep, model: str, settings: Mapping[str, Any], *, data: str, output: str
) -> Job:
    # What a training runs on stands in no job, so that it is the same on another machine.
    own = {
        name: value for name, value in settings.items() if name not in {"start", "teacher", *planned.config.runs_on()}
    }
    config = shared.models.weights(str(ModelRef(model, BASE)) if settings["start"] == "base" else model)
    setup = shared.models.setup(model)
    values: dict[str, Any] = {"chat_template_kwargs": found} if (found := config.chat_template_kwargs) else {}
    if (teacher := settings.get("teacher")) is not None:
        told, place = shared.models.weights(teacher), shared.models.setup(teacher)
        values |= {"teacher": str(locate.resolve(told.model, place.cache, place.folder))}
        values |= {"teacher_adapter": str((place.folder / told.adapter).resolve())} if told.adapter else {}
    return Job.model_validate(
        {
            "model": str(locate.resolve(config.model, setup.cache, setup.folder)),
            "chat_template": load.read_template(config.chat_template, setup.folder),
            **values,
            "adapter_from": str((setup.folder / config.adapter).resolve()) if config.adapter else None,
            "data": data,
            "output": output,
            "settings": own,
        }
    )


def _make_spread(shared: RunState, model: str, settings: Mapping[str, Any]) -> launch.Spread:
    config = settings.get("accelerate")
    place = shared.models.setup(model).folder / config if config else None
    return launch.Spread(settings.get("gpus"), place)


def _refuse_held_out(shared: RunState, rows: Sequence[Row]) -> None:
    """Refuses rows to be trained on that are among the held-out ones: generated questions can be."""
    held_out = [name for name, source in shared.recipe.data.items() if source.held_out]
    known = [shared.tables[name] for name in held_out if name in shared.tables]
    contamination.refuse(known, [Memory("training", rows)])
