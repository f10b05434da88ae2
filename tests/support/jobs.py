"""Jobs for the training stages, on the tiny model: written, run in their process, and killed under way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.models import Setup, transformers
from blackbox_kd.schema import Request, Row, Sampling
from blackbox_kd.steps.train import Config
from blackbox_kd.training import launch
from tests.support.runs import write_rows
from tests.support.tiny import tiny_model


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def settings(method: str, **fields: Any) -> dict[str, Any]:
    """What the step hands to a stage."""
    chosen = {"epochs": 10, "batch_size": 8, "r": 8, "learning_rate": 1e-2, "seed": 1, **fields}
    config = Config.model_validate({"step": "train", "model": "student", "method": method, **chosen})
    return {key: value for key, value in config.settings().items() if key not in ("start", "teacher")}


def write_job(
    folder: Path,
    method: str,
    rows: Iterable[Mapping[str, Any]],
    output: str = "out",
    *,
    model: Path | None = None,
    adapter_from: Path | None = None,
    teacher: Path | None = None,
    **fields: Any,
) -> Path:
    """Writes the rows and a job that trains on them; `fields` are those of the step."""
    write_rows(folder / f"{output}.jsonl", rows)
    values = {
        "model": str(model or tiny_model()),
        "adapter_from": str(adapter_from) if adapter_from else None,
        "data": str(folder / f"{output}.jsonl"),
        "output": str(folder / output),
        "settings": settings(method, **fields),
        **({"teacher": str(teacher)} if teacher else {}),
    }
    path = folder / f"{output}.json"
    path.write_text(json.dumps(values))
    return path


async def run(method: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What training.json holds in the end, and the events under way."""
    events: list[dict[str, Any]] = []
    result = await launch.run_training(method, path, lambda event: events.append(dict(event)))
    return result.write(), events


def kill_at(step: int, method: str, path: Path, says: str = "step") -> None:
    """Runs a job until it tells of a step, and kills it there; or where it says something else at that step."""
    command = [sys.executable, "-m", f"blackbox_kd.training.{method}", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            event = json.loads(line)
            if says in event and event.get("step", 0) >= step:
                os.kill(child.pid, signal.SIGKILL)
                break


async def said(folder: Path, adapter: Path | None, model: Path | None = None) -> str:
    """What a model says, loaded as a recipe would load it."""
    fields = {"adapter": str(adapter)} if adapter else {}
    config = transformers.Config(provider="transformers", model=str(model or tiny_model()), **fields)
    opened = transformers.open_model(config, Setup("m", folder, folder / "cache", {}))
    request = Request([user("say a 3")], Sampling(0.0, max_tokens=14), Row(id="a"))
    body, _ = await opened.send(opened.wire(request), request)
    await opened.close()
    return str(json.loads(body)["choices"][0]["message"]["content"])
