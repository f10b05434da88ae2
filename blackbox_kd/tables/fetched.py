"""Rows that come from no file: those of a data set on the Hub, and those that a generator makes."""

import importlib.util
from collections.abc import Iterator
from typing import Any

from blackbox_kd.errors import DataError, SetupError, did_you_mean, quote_cause
from blackbox_kd.json_text import write_text
from blackbox_kd.privacy import switch_off_telemetry
from blackbox_kd.tables.values import simplify, tell_of_nan

GENERATED = ("instruction", "reference", "task", "metadata")
"""Columns that the generator writes; `answer: reasoning_gym` of the step `check` needs the last two."""


def require(package: str, what: str, extra: str) -> None:
    """Raises SetupError if a package is not installed; it is looked for and not imported."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise SetupError(f"{what} needs the package {name}, not installed", fix=f"pip install 'blackbox-kd[{extra}]'")


def read_hub(hub: str, name: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a data set on the Hub: streamed, or from the local cache where the Hub is out of reach."""
    require("datasets", "hub:", "hub")
    switch_off_telemetry()
    from datasets import config, load_dataset

    def load(streaming: bool) -> Any:
        return load_dataset(hub, name, split=split, streaming=streaming)

    try:
        try:
            rows = load(streaming=not config.HF_HUB_OFFLINE)
        except ConnectionError:
            rows = load(streaming=False)
        for number, row in enumerate(rows, 1):
            found = {name: simplify(value, name) for name, value in row.items()}
            tell_of_nan(found, f"hub {hub}, row {number}")
            yield found
    except DataError:
        raise
    except Exception as error:  # datasets passes on what its readers and HTTP clients raise, whatever that is
        where = f"{hub!r} (name {name or 'default'!r}, split {split!r})"
        reason = quote_cause(error)
        fix = "check the id, name: and split:; a private data set needs HF_TOKEN, an uncached one the network"
        raise DataError(f"hub: {where} cannot be loaded: {reason}", fix=fix) from error


def generate(task: str, size: int, seed: int, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows that a task of reasoning-gym makes; its verifier needs the options again."""
    require("reasoning_gym", "generator: reasoning_gym", "reasoning-gym")
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        fix = did_you_mean(task, list(DATASETS)) or f"name one of them: {', '.join(sorted(DATASETS))}"
        raise DataError(f"reasoning_gym has no task {task!r}", fix=fix)
    try:
        made = reasoning_gym.create_dataset(task, size=size, seed=seed, **options)
    except (ValueError, TypeError, AssertionError) as error:
        reason = quote_cause(error) if error.args else "an option is out of its range"
        what = f"reasoning_gym task {task!r} with {options}: {reason}"
        raise DataError(what, fix="see the task's config") from error
    for number in range(size):
        entry = made[number]
        extra = {"task_options": options} if options else {}
        yield {
            "instruction": entry["question"],
            "reference": "" if entry["answer"] is None else write_text(entry["answer"]),
            "task": task,
            "metadata": simplify({**entry["metadata"], **extra}, "metadata"),
        }
