"""Runs a recipe from a recording: every reply comes out of a ledger, and nothing is sent.

A recording, `tests/promises/golden/RECIPE/`, is

    run.json          how the recipe is run: up to its first training, with so many rows, with these changes
    data/*.jsonl      small files in place of the recipe's tables, by the names of the tables
    replies.jsonl     the replies, in the form of `blackbox-kd ledger export`
    dataset.jsonl     the data set that comes out
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.engine.plan import plan_until
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.ledger.intent import Intent
from blackbox_kd.ledger.ledger import Ledger
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.schema import Usage
from blackbox_kd.sdk.fields import references
from blackbox_kd.weights import locate
from tests.support.runs import KEYS

HERE = Path(__file__).parent
RECORDINGS = sorted(file.parent for file in HERE.glob("*/run.json"))
ENV = KEYS
NOTHING = "budget={requests: 0}"
"""A run with this change ends before its first call."""


@dataclass(frozen=True)
class How:
    """How a recorded recipe is run.

    Args:
        limit: most rows of a table.
        until: the last step.
        sets: `--set` assignments.
        replies: how many replies the run takes.
        tables: SHA-256 of each table that it writes, by the name of the file.
        replayed: how often it takes one, where that is more: for a control that asks the same, or an arm.
    """

    limit: int
    until: str
    sets: list[str]
    replies: int
    tables: dict[str, str]
    replayed: int | None = None


def how(recording: Path) -> How:
    """What `run.json` says."""
    return How(**json.loads((recording / "run.json").read_text()))


def before_training(recipe: Recipe) -> str:
    """The last step before the first training, as `--until` names it."""
    keys = [planned.key for planned in recipe.steps]
    trainings = [number for number, planned in enumerate(recipe.steps) if planned.step.name == "train"]
    return keys[trainings[0] - 1] if trainings else keys[-1]


def asked(recipe: Recipe, until: str) -> set[str]:
    """Names of the models that are asked up to a step."""
    steps = plan_until(recipe, until)
    return {m.value.partition("@")[0] for step in steps for m in references(step.config) if m.kind == "model"}


def missing_weights(recipe: Recipe, until: str) -> str:
    """What is missing for naming the local models that are asked, or ""."""
    models = [recipe.models[name] for name in asked(recipe, until)]
    places = [model.model for model in models if model.provider == "transformers"]
    found = [problem for place in places if (problem := locate.explain_name(place, recipe.folder))]
    return "; ".join(f"{what} {fix}" for what, fix in found)


def data(recording: Path, recipe: Recipe) -> list[str]:
    """The assignments that put small files in the place of a recipe's tables, and say where its own files lie."""
    found = []
    for name, source in recipe.data.items():
        file = recording / "data" / f"{name}.jsonl"
        if file.exists():
            kept = source.model_dump(include={"rename", "held_out"})
            found.append(f"data.{name}={json.dumps({'path': str(file), **kept})}")
        elif source.path is not None:
            found.append(f"data.{name}.path={json.dumps(str(find_bundled('recipes') / source.path))}")
    for name, model in recipe.models.items():
        if model.provider == "recorded":
            replies = find_bundled("recipes") / model.model_dump()["replies"]
            found.append(f"models.{name}.replies={json.dumps(str(replies))}")
    return found


def load(recording: Path, file: Path | None = None, *sets: str) -> Recipe:
    """The recipe of a recording, or another file in its place, with the recording's changes and more."""
    own = find_bundled("recipes") / f"{recording.name}.yaml"
    changes = [*data(recording, load_recipe(own, env=ENV)), *how(recording).sets, *sets]
    return load_recipe(file or own, overrides=changes, env=ENV)


def fill(ledger: Path, replies: Sequence[Mapping[str, Any]]) -> int:
    """Puts recorded replies into a new ledger; returns how many."""

    async def settle(opened: Ledger, reply: Mapping[str, Any]) -> None:
        reserved = {name: reply[name] for name in ("reserved_usd", "reserved_tokens")}
        wire = json.loads(reply["wire"])
        intent = await opened.intend(reply["key"], wire, model=reply["model"], row_id=reply["row_id"], **reserved)
        assert isinstance(intent, Intent)
        tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
        usage = Usage(**{name: reply[name] for name in tokens})
        await intent.settle(reply["body"], usage=usage, cost_usd=reply["cost_usd"])

    async def settle_all(opened: Ledger) -> None:
        await asyncio.gather(*(settle(opened, reply) for reply in replies))

    with Ledger.open(ledger, run="recorded") as opened:
        asyncio.run(settle_all(opened))
    return len(replies)


def run(recording: Path, recipe: Recipe, folder: Path) -> Run:
    """Runs a recorded recipe in a folder, whose `ledger.sqlite` it asks first."""
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    told = how(recording)
    job = Run(recipe, RunOptions(**places, limit=told.limit, until=told.until, env=ENV))
    asyncio.run(job.execute())
    return job


def tables(run_dir: Path) -> dict[str, str]:
    """SHA-256 of each table of a run, by the name of its file."""
    files = sorted((run_dir / "tables").glob("*.jsonl"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
