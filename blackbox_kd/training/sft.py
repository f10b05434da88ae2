"""Supervised fine-tuning with TRL: `python -m blackbox_kd.training.sft JOB.json`. Read it from top to bottom.

The rows are {prompt, completion} in messages, and perhaps `tools`, `weight` and `task`; `artefacts.py` says what a
job is and what is left behind.

Source: TRL 1.16 SFTTrainer, peft 0.21; it is given the tokens and labels that were looked at before.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from blackbox_kd.training import job as jobs
from blackbox_kd.training import overview, packing
from blackbox_kd.training.artefacts import Job, Result, Settings
from blackbox_kd.training.machine import Machine, Machines
from blackbox_kd.training.masks import Tokens
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.stage import prepare

NO_TASK = "(none)"
"""What the rows without a task are called beside rows of tasks."""


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.sft_trainer import CompletionTrainer

    stage = prepare("sft", job, name, machines, tell, make_columns)
    parts, tasks = number_tasks(stage.parts)
    stage = replace(stage, parts=parts)
    trainer = CompletionTrainer(mean_over="rows" if len(tasks) > 1 else "tokens", **stage.list_given(make_arguments))
    packed, why = packing.choose_packing(trainer, job.settings.packing, stage.there)
    return stage.finish(
        trainer,
        packed=packed,
        why=why,
        found={
            "tokens": sum(stage.looked.lengths.tokens[number] for number in stage.fit),
            **{name: found for name, found in (("tasks", tasks), ("warnings", stage.warnings)) if found},
            **count_turns(stage.rows, job.settings),
        },
    )


def make_columns(looked: Looked, fit: list[int]) -> list[dict[str, Any]]:
    """See `weigh_rows`."""
    return weigh_rows([looked.rows[n] for n in fit], [looked.lengths.texts["completion"][n] for n in fit])


def count_turns(rows: list[dict[str, Any]], settings: Settings) -> dict[str, int]:
    """How many turns of the assistant are learnt, and how many are not; nothing where each row has one, which is."""
    learnt, left_out = overview.count_turns(rows, settings)
    return {} if learnt == len(rows) and not left_out else {"turns": learnt, "turns_left_out": left_out}


def weigh_rows(rows: list[dict[str, Any]], texts: list[Tokens]) -> list[dict[str, Any]]:
    """The columns that training reads: tokens and labels, and where they matter weights, tasks and how many are learnt.

    A row has a task when it has both `task` and `weight`, as the step `format` writes them; a column `task` alone is
    somebody's label. Beside rows of tasks, those without one (rows of another recipe that are trained on again) are
    together a task: a few of them must not turn off the means by task for all others.
    """
    kept = [{"input_ids": text.ids, "labels": text.labels} for text in texts]
    weights = [1.0 if row.get("weight") is None else float(row["weight"]) for row in rows]
    tasks = [None if row.get("task") is None or row.get("weight") is None else str(row["task"]) for row in rows]
    if any(task is not None for task in tasks):
        pairs = zip(tasks, texts, strict=True)
        named = [{"task": NO_TASK if task is None else task, "tokens": text.learnt} for task, text in pairs]
        return [{**row, **more, "weight": w} for row, more, w in zip(kept, named, weights, strict=True)]
    if all(weight == 1.0 for weight in weights):
        return kept
    return [{**row, "weight": weight} for row, weight in zip(kept, weights, strict=True)]


def number_tasks(parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows whose weights make the loss a sum over tasks, and what each task holds.

    The loss is the sum over tasks of the weighted mean loss of their completion tokens, so that a task of long
    answers does not drown one of labels (FAIR and TinyLLM average each task on its own). With N rows and N_t
    completion tokens in task t, a row's weight is multiplied by N / N_t, and the loss is the mean over rows of
    weight times the sum over tokens: over many batches that is the sum wanted, whatever the lengths.

    Source: Li et al. 2024, arXiv:2410.03663; Tian et al. 2024, arXiv:2402.04616.
    """
    train = parts["train"]
    if "task" not in train.column_names:
        return dict(parts), {}
    tasks: dict[str, Any] = {}
    for task, weight, tokens in zip(train["task"], train["weight"], train["tokens"], strict=True):
        entry = tasks.setdefault(task, {"rows": 0, "completion_tokens": 0, "mean_weight": 0.0})
        entry["rows"] += 1
        entry["completion_tokens"] += tokens
        entry["mean_weight"] += (weight - entry["mean_weight"]) / entry["rows"]
    scale = {task: len(train) / entry["completion_tokens"] if len(tasks) > 1 else 1.0 for task, entry in tasks.items()}
    scaled = {}
    for name, part in parts.items():
        weights = [weight * scale.get(task, 0.0) for task, weight in zip(part["task"], part["weight"], strict=True)]
        scaled[name] = part.remove_columns(["task", "tokens", "weight"]).add_column("weight", weights)
    if len(tasks) == 1 and all(weight == 1.0 for part in parts.values() for weight in part["weight"]):
        scaled = {name: part.remove_columns("weight") for name, part in scaled.items()}
    return scaled, tasks


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl import SFTConfig

    ours = jobs.make_arguments(settings, folder, parts, limit, there)
    return jobs.build_arguments(SFTConfig, ours, settings.trl)


if __name__ == "__main__":
    jobs.main("sft", train)
