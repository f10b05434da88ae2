"""Training and answering on one GPU, against plain TRL and `generate`: `python -m benchmarks.gpu --out FOLDER`.

Under ten minutes on one GPU: SFT, SFT with packing, DPO, each as the step `train` runs it and as a script of the same
settings does, then answers as `evaluate` gets them. The student has random weights of a real one's shape and the rows
are made up, so that it runs where no hub is within reach; the losses say whether both train the same, not what is
learnt. FOLDER/gpu.json and FOLDER/gpu.md are written anew after each part; a part that fails says why, and the others
go on. `--size toy` does all of it on a CPU in minutes. Status: 0, or 1 if a part failed, 2 if all of them did.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.students import SIZES, Size, count_tokens, write_data, write_questions
from blackbox_kd.steps.train import Config
from blackbox_kd.training import launch

BOX_S = 110
"""The most seconds of one process; one that hangs must not take the others' time."""
WARM = 3
"""Steps before the clock of tokens per second starts: kernels are chosen and compiled in them, and whoever trains first
compiles for both."""
COLUMNS = {"sft": ("completion",), "dpo": ("chosen", "rejected")}
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")

Part = Callable[[dict[str, Any]], None]
"""Writes what it finds into a dictionary as it goes, so that what was measured before an error stays."""


@dataclass(frozen=True)
class Bench:
    """What all parts work with.

    Args:
        folder: of the student, the rows and what is trained.
        size: of the student.
        until: monotonic time by which everything ends.
    """

    folder: Path
    size: Size
    until: float

    @property
    def student(self) -> Path:
        return self.folder / "student"

    def left(self) -> float:
        """Seconds of the next process."""
        left = min(BOX_S, self.until - time.monotonic())
        if left < 5:
            raise TimeoutError("no time was left")
        return left

    def call(self, module: str, *arguments: object) -> Any:
        """What a module of this folder prints as JSON, in a process of its own."""
        command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        # Waiting threads that spin take the cores from those that compute; our own training sets the same.
        env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.left(), check=False, env=env)
        if done.returncode != 0:
            raise RuntimeError(f"{module} ended with status {done.returncode}: {done.stderr[-4000:]}")
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


def train(bench: Bench, method: str, name: str, fields: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Trains the same job both ways, one after the other."""
    data = bench.folder / f"{method}.jsonl"
    write_data(data, bench.size, bench.size.rows if method == "sft" else bench.size.pairs, COLUMNS[method])
    chosen = {"epochs": 1, "batch_size": bench.size.batch, "seed": 1, **fields}
    config = Config.model_validate({"step": "train", "model": "student", "method": method, **chosen})
    settings = {key: value for key, value in config.settings().items() if key != "start"}
    job = {"model": str(bench.student), "data": str(data), "output": str(bench.folder / name), "settings": settings}
    tokens = count_tokens(bench.student, data, COLUMNS[method])
    found |= {"settings": settings, "tokens": tokens}
    ours = asyncio.run(train_ours(bench, method, bench.folder / f"{name}.json", job))
    found["passes"] = ours["passes"]
    found["trl"] = ours.pop("trl") | choose_passes(ours, bench.size.batch, len(COLUMNS[method]))
    found["ours"] = measure(ours, tokens)
    beside = job | {"output": f"{job['output']}_plain", "trl": found["trl"], "max_length": ours["max_length"]}
    file = bench.folder / f"{name}_plain.json"
    file.write_text(json.dumps(beside))
    plain = bench.call("plain_trl", method, file)
    found["plain"] = measure(plain, tokens)
    found["losses"] = compare(ours["losses"], {int(step): loss for step, loss in plain["losses"].items()})


def choose_passes(ours: Mapping[str, Any], batch: int, texts: int) -> dict[str, Any]:
    """What makes plain TRL divide updates as ours were, as far as it can: as many rows in every pass.

    Packing is `padding_free` there: the rows of a pass one behind the other. TRL's own `packing` makes other updates.
    On a CPU an update is one pass, as most would write it: divided, TRL takes the mean over the tokens of each pass by
    itself, which is another loss.
    """
    if ours["passes"]["packing"]:
        return {"per_device_train_batch_size": batch, "padding_free": True, "max_length": None}
    if ours["device"] == "cpu":
        return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 1}
    fit = max(1, ours["passes"]["tokens"] // (ours["longest_row_tokens"] * texts))
    rows = max(size for size in range(1, min(batch, fit) + 1) if batch % size == 0)
    return {"per_device_train_batch_size": rows, "gradient_accumulation_steps": batch // rows}


async def train_ours(bench: Bench, method: str, file: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """What our own run of a job has to say, in the words of `plain_trl`."""
    ends: list[float] = []
    file.write_text(json.dumps(job))

    def note(event: Mapping[str, Any]) -> None:
        if event["event"] == "step":
            ends.append(time.monotonic())

    async with asyncio.timeout(bench.left()):
        result = await launch.run_training(method, file, note)
    lines = (Path(job["output"]) / "training_log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    return {
        "seconds": next(entry["train_runtime"] for entry in log if "train_runtime" in entry),
        "step_ends": ends,
        "losses": {entry["step"]: entry["loss"] for entry in log if "loss" in entry},
        "peak_memory_mb": result.peak_memory_mb,
        "max_length": result.max_length,
        "longest_row_tokens": result.longest_row_tokens,
        "trl": result.trl,
        "passes": result.passes,
        "device": result.device,
    }


def measure(run: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """A training in numbers: tokens per second are those of the steps after the first few, padding left out."""
    ends: Sequence[float] = run["step_ends"]
    rate = tokens * (len(ends) - WARM) / len(ends) / (ends[-1] - ends[WARM - 1]) if len(ends) > WARM else None
    losses = list(run["losses"].values())
    return {
        "seconds": run["seconds"],
        "steps": len(ends),
        "tokens_per_s": rate,
        "peak_memory_mb": run["peak_memory_mb"],
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def compare(ours: Mapping[int, float], plain: Mapping[int, float]) -> dict[str, Any]:
    """How far the losses of the same steps are apart."""
    apart = [abs(ours[step] - plain[step]) for step in sorted(ours.keys() & plain.keys())]
    return {"steps_compared": len(apart), "first_apart": apart[0], "most_apart": max(apart)} if apart else {}


def answer(bench: Bench, found: dict[str, Any]) -> None:
    """Answers the same questions both ways, with the adapter that was trained if there is one."""
    questions, adapter = bench.folder / "questions.json", bench.folder / "sft"
    write_questions(questions, bench.size)
    found["adapter"] = (adapter / "training.json").exists()
    texts = {}
    for kind in ("ours", "plain"):
        told = bench.call("answers", kind, bench.student, adapter if found["adapter"] else "", questions)
        texts[kind] = told.pop("answers")
        found[kind] = told | {"tokens_per_s": told["tokens"] / told["seconds"]}
    same = [one == other for one, other in zip(texts["ours"], texts["plain"], strict=True)]
    found["same_answers"] = sum(same) / len(same)


def carry_out(parts: Mapping[str, Part], out: Path, about: Mapping[str, Any]) -> int:
    """Runs the parts, writes down what each has found or why it failed, and returns the exit status."""
    report: dict[str, Any] = {**about, "parts": {}}
    for name, part in parts.items():
        found: dict[str, Any] = {}
        report["parts"][name] = found
        began = time.monotonic()
        try:
            part(found)
        except Exception as error:  # of whatever kind: the others are to be measured all the same
            found["error"] = "".join(traceback.format_exception(error))
            print(f"{name} failed:\n{found['error'][-3000:]}", flush=True)
        found["wall_s"] = round(time.monotonic() - began, 1)
        (out / "gpu.json").write_text(json.dumps(report, indent=1))
        (out / "gpu.md").write_text(write_table(report))
        print(f"{name}: {json.dumps({key: value for key, value in found.items() if key != 'error'})}", flush=True)
    failed = sum("error" in found for found in report["parts"].values())
    print(write_table(report), flush=True)
    return 0 if not failed else 2 if failed == len(parts) else 1


def write_table(report: Mapping[str, Any]) -> str:
    """The report in Markdown; a ratio is ours over the other's."""
    about = [f"{key}: {value}" for key, value in report.items() if key != "parts"]
    lines = ["# On one GPU", "", *about, "", "| | ours | plain | ratio |", "| --- | ---: | ---: | ---: |"]
    for name, found in report["parts"].items():
        lines += [f"| {name}: {what} | {row}" for what, row in _rows(found)]
        if "error" in found:
            lines.append(f"| {name}: failed | {found['error'].splitlines()[-1][:200].replace('|', '/')} | | |")
    return "\n".join(lines) + "\n"


def _rows(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    ours, plain = found.get("ours", {}), found.get("plain", {})
    names = {
        "steps": ("updates", "{:,.0f}"),
        "seconds": ("seconds", "{:,.1f}"),
        "tokens_per_s": ("tokens per second", "{:,.0f}"),
        "peak_memory_mb": ("peak memory, MB", "{:,.0f}"),
        "first_loss": ("first loss", "{:.5f}"),
        "last_loss": ("last loss", "{:.5f}"),
    }
    for key, (what, form) in names.items():
        one, other = ours.get(key), plain.get(key)
        if one is not None:
            ratio = f"{one / other:.3f}" if other else ""
            yield what, f"{form.format(one)} | {form.format(other) if other is not None else ''} | {ratio} |"
    if found.get("losses"):
        compared, apart = found["losses"]["steps_compared"], found["losses"]["most_apart"]
        yield f"losses of {compared} steps, most apart", f"{apart:.1e} | | |"
    if "same_answers" in found:
        yield "answers that are the same", f"{100 * found['same_answers']:.0f} % | | |"


def describe(size: str) -> dict[str, Any]:
    """The machine, and the packages that decide what is measured."""
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "student": size,
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=list(SIZES), default="1.5b")
    parser.add_argument("--seconds", type=float, default=520, help="after so many, no more is begun")
    parser.add_argument("--only", default="", help="parts, with commas between them")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), SIZES[chosen.size], time.monotonic() + chosen.seconds)
        parts: dict[str, Part] = {
            "sft": lambda found: train(bench, "sft", "sft", {"packing": False}, found),
            "sft_packed": lambda found: train(bench, "sft", "sft_packed", {"packing": True}, found),
            "dpo": lambda found: train(bench, "dpo", "dpo", {"learning_rate": 5e-5}, found),
            "evaluate": lambda found: answer(bench, found),
        }
        wanted = chosen.only.split(",") if chosen.only else list(parts)
        bench.call("students", bench.student, chosen.size)
        return carry_out({name: parts[name] for name in wanted}, chosen.out, describe(chosen.size))


if __name__ == "__main__":
    sys.exit(main())
