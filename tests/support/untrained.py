"""A bundled recipe with models that are scripts: all of its chain but the training, in a second or two.

What a step `train` would read is a table of its own, `trained_1` and so on, in the order of the file. A student that is
never trained has no versions, and no arms.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Message
from tests.support.runs import rows_of, write_rows

Script = Callable[[str, str, Mapping[str, Any], int], str]
"""What a model replies: its name, all that it is shown as one text, the row, and the number of the sample."""
Rows = Sequence[Mapping[str, Any]]


@dataclass
class Chain:
    """What a recipe made of its rows.

    Args:
        folder: of the run.
        job: the run.
        asked: the model, what it was shown, and the id of the row, of each call in turn.
    """

    folder: Path
    script: Script
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    job: Run | None = None

    def tables(self, name: str) -> list[list[dict[str, Any]]]:
        """The rows of a table each time that it was written, in order."""
        written = re.compile(rf"\d+_(?:round[1-9]_\d+_)?[a-z]+_{name}\.jsonl")
        files = sorted((self.folder / "run/tables").glob(f"*_{name}.jsonl"))
        return [rows_of(file) for file in files if written.fullmatch(file.name)]

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table as they were written last."""
        return self.tables(name)[-1]

    def shown(self, model: str, *pieces: str) -> list[str]:
        """What a model was shown, where all pieces stand in it."""
        return [text for name, text, _ in self.asked if name == model and all(piece in text for piece in pieces)]

    def funnel(self, step: str) -> list[tuple[int, int]]:
        """Rows in and out of a step, by a piece of its label, for each round."""
        assert self.job is not None
        return [(entry["in"], entry["out"]) for entry in self.job.report["funnel"] if step in entry["step"]]

    def reply(self, model: str, messages: Sequence[Message], row: Mapping[str, Any], sample: int) -> str:
        """What the script says, noted."""
        text = "\n".join(str(message["content"]) for message in messages)
        self.asked.append((model, text, str(row["id"])))
        return self.script(model, text, row, sample)


RUNNING: list[Chain] = []
"""The chain that is run now: the functions of its models stand in a file of their own."""


def run_chain(
    name: str,
    folder: Path,
    data: Mapping[str, Rows],
    script: Script,
    *,
    rounds: int = 2,
    max_failed_share: float = 0.1,
    **steps: Mapping[str, Any],
) -> Chain:
    """Runs a bundled recipe on small tables.

    Args:
        name: of the recipe.
        folder: where it is run.
        data: rows of each of its tables, with the columns of the data set that it names.
        script: what its models reply.
        rounds: of its loops.
        max_failed_share: above which the run ends.
        steps: fields that a step is given, by its name and number among those of its kind: `generate_2={"rows": 4}`;
            with `step` among them they are all of what stands in its place.
    """
    values = yaml.safe_load((find_bundled("recipes") / f"{name}.yaml").read_text(encoding="utf-8"))
    for table, source in values["data"].items():
        write_rows(folder / f"{table}.jsonl", data[table])
        kept = {key: source[key] for key in ("rename", "held_out") if key in source}
        values["data"][table] = {"path": f"{table}.jsonl", **kept}
    lines = ["from tests.support.untrained import RUNNING", ""]
    for model in values["models"]:
        values["models"][model] = {"provider": "scripted", "function": f"script.py:{model}"}
        lines.append(f"def {model}(messages, row, sample): return RUNNING[-1].reply({model!r}, messages, row, sample)")
    (folder / "script.py").write_text("\n".join(lines))
    values.pop("arms", None)
    values["max_failed_share"] = max_failed_share
    values["steps"] = _untrain(values["steps"], rounds, {}, steps)
    (folder / "recipe.yaml").write_text(json.dumps(values))
    recipe = load_recipe(folder / "recipe.yaml", allow_code=True, env={})
    chain = Chain(folder, script)
    RUNNING.append(chain)
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    chain.job = Run(recipe, RunOptions(**places, env={}))  # type: ignore[arg-type]
    asyncio.run(chain.job.execute())
    RUNNING.remove(chain)
    return chain


def _untrain(
    steps: Sequence[dict[str, Any]], rounds: int, seen: dict[str, int], changes: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for step in steps:
        if "loop" in step:
            inner = _untrain(step["loop"]["steps"], rounds, seen, changes)
            found.append({"loop": {"rounds": rounds, "steps": inner}})
            continue
        kind = step["step"]
        seen[kind] = seen.get(kind, 0) + 1
        change = changes.get(f"{kind}_{seen[kind]}", {})
        step = dict(change) if "step" in change else {**step, **change}
        kind = step["step"]
        if kind == "train":
            read = {"input": step["input"]} if "input" in step else {}
            step = {"step": "filter", **read, "keep": "len(prompt) > 0", "output": f"trained_{seen[kind]}"}
        if "models" in step:
            step["models"] = list(dict.fromkeys(model.partition("@")[0] for model in step["models"]))
        if "model" in step:
            step["model"] = step["model"].partition("@")[0]
        if "prompts" in step:
            step["prompts"] = {model.partition("@")[0]: prompt for model, prompt in step["prompts"].items()}
        found.append(step)
    return found
