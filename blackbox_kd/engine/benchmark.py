"""Asks models the questions of standard benchmarks, each in a process of its own, and keeps what each has reached."""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from pydantic import TypeAdapter

from blackbox_kd.analysis import benchmarks
from blackbox_kd.analysis.benchmarks import TaskResult
from blackbox_kd.engine.state import RunState
from blackbox_kd.privacy import write_whole
from blackbox_kd.schema import ModelRef, digest
from blackbox_kd.training import launch
from blackbox_kd.weights import load, locate

HARNESS = "lm_eval"
_RESULTS = TypeAdapter(list[TaskResult])


async def ask(
    shared: RunState, models: Sequence[str], asked: Mapping[str, Any]
) -> tuple[dict[str, list[TaskResult]], list[dict[str, Any] | None]]:
    """What models reach, task by task, and how many questions of each task stood among what they were trained on.

    Args:
        shared: with the versions of the models, and the tables that they were trained on.
        models: their names; each result is kept, and not worked out anew when the run goes on.
        asked: `tasks`, `few_shot`, `limit` and `chat`, as the step has them.

    Returns:
        The results by model, and of each task the overlap; None where it is not known what the models have learnt.

    Raises:
        UserError: there is no such task, or its questions cannot be had.
        StepError: the process failed, or a model has no weights at hand.
        BudgetReached: the hours of the run are over.
    """
    await shared.models.release_local()
    found = {model: await _ask_model(shared, model, asked) for model in models}
    names = {ModelRef.parse(model).name for model in models}
    sources = shared.models.versions.list_sources()
    learnt = [table for version, table in sources.items() if ModelRef.parse(version).name in names]
    return found, [benchmarks.find_overlap(task, learnt) if learnt else None for task in found[models[0]]]


async def _ask_model(shared: RunState, model: str, asked: Mapping[str, Any]) -> list[TaskResult]:
    work, folder = shared.folder.path / "work", shared.recipe.folder
    job = {**_describe_model(shared, model), **asked, "allow_code": shared.recipe.allow_code}
    files = [(folder / name).read_text(encoding="utf-8") for name in asked["tasks"] if (folder / name).is_file()]
    key = digest([job, files, shared.models.identity(model), metadata.version(HARNESS)], 16)
    output = work / f"benchmark_{key}.json"
    if not output.exists():
        shared.refuse_late()
        exact = shared.models.exact(model)
        places = {"samples": str(shared.folder.path / "benchmarks" / exact), "output": str(output)}
        write_whole(job_file := work / f"benchmark_{key}.job.json", json.dumps(job | places, indent=1))
        await launch.run_benchmark(job_file, folder, shared.on_event)
    return _RESULTS.validate_json(output.read_bytes())


def _describe_model(shared: RunState, model: str) -> dict[str, Any]:
    config, setup = shared.models.weights(model), shared.models.setup(model)
    adapter = str((setup.folder / config.adapter).resolve()) if config.adapter else None
    return {
        "model": str(locate.resolve(config.model, setup.cache, setup.folder)),
        "adapter": adapter,
        "chat_template": load.read_template(config.chat_template, setup.folder),
        "chat_template_kwargs": config.chat_template_kwargs,
        "device": "auto",
        "dtype": "auto",
        **config.model_dump(include={"device", "dtype"}),
    }


def name_harness() -> str:
    """What has asked, and its version."""
    return f"{HARNESS} {metadata.version(HARNESS)}"
