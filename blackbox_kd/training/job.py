"""What every training stage does around its training: the job, its rows, checkpoints, events, and what it leaves.

`artefacts.py` says what a job and its result are. Events go to stdout as JSON lines, everything else to stderr.
"""

import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from blackbox_kd.errors import BlackboxError, DataError, quote_cause
from blackbox_kd.messages import read_tools
from blackbox_kd.privacy import UMASK, write_whole
from blackbox_kd.training import checkpoints, masks, progress
from blackbox_kd.training.artefacts import MARK, Job, Result, Settings, find_maker, hash_job
from blackbox_kd.training.launch import ENDED
from blackbox_kd.training.machine import Machine, Machines, name_checkpointing
from blackbox_kd.training.progress import Tell
from blackbox_kd.weights import reasoning
from blackbox_kd.weights.control_tokens import find_pattern, neutralise, neutralise_value
from blackbox_kd.weights.load import mark_end_of_turn
from blackbox_kd.weights.precision import allow_quicker_float32

FIRST_PROCESS = os.environ.get("RANK", "0") == "0"
"""On several GPUs each has a process; one of them speaks and writes."""

Train = Callable[[Job, str, Machines, Tell], Result]
"""Trains a job, under its name; returns what training.json holds."""


def main(method: str, train: Train) -> None:
    """Runs the job whose file the command line names; an error of the user's ends in its message."""
    machines = Machines(halved=int((sys.argv[2:] or ["0"])[0]))
    run_process(method, lambda job_file, tell: _work(method, job_file, train, machines, tell))


def run_process(method: str, work: Callable[[Path, Tell], None]) -> None:
    """Lets a process work on the job whose file the command line names first; an error as above."""
    os.umask(UMASK)
    events = os.fdopen(os.dup(1) if FIRST_PROCESS else os.open(os.devnull, os.O_WRONLY), "w", buffering=1)
    os.dup2(2, 1)  # libraries print; stdout is for events alone

    def tell(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    try:
        work(Path(sys.argv[1]), tell)
    except BlackboxError as error:
        _say_why(Path(sys.argv[1]), refused=f"train ({method}): {error}")
        sys.stderr.write(f"train ({method}): {error}\n")
        sys.exit(error.exit_status)


def _work(method: str, job_file: Path, train: Train, machines: Machines, tell: Tell) -> None:
    """Trains what a job says; a job that is finished already is left as it is."""
    job = Job.model_validate_json(job_file.read_text())
    output, name = Path(job.output), hash_job(method, job)
    kept, mark = output / checkpoints.FOLDER, output / MARK
    if find_maker(output) == name:
        if FIRST_PROCESS:
            shutil.rmtree(kept, ignore_errors=True)
        return
    # By itself it would write among the checkpoints, which are gone in the end.
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(job.data).with_suffix(".tensorboard")))
    earlier = checkpoints.read_seconds(output) if mark.exists() and mark.read_text() == name else 0.0
    try:
        result = train(job, name, machines, tell)
    except RuntimeError as error:
        from accelerate.utils.memory import should_reduce_batch_size

        if should_reduce_batch_size(error):
            _say_why(job_file, out_of_memory=True)
        raise
    if FIRST_PROCESS:
        values = {"chat_template_kwargs": found} if (found := job.chat_template_kwargs) else {}
        result = result.model_copy(update={"seconds": round(earlier + result.seconds, 1), **values})
        # Only now is nothing lost any more if the process is killed.
        write_whole(output / "training.json", json.dumps(result.write(), indent=1))
        shutil.rmtree(kept)


def _say_why(job_file: Path, **why: Any) -> None:
    """Tells whoever started the stage why it ends: between them may be a launcher with a status of its own."""
    job_file.with_suffix(ENDED).write_text(json.dumps(why))


def prepare_process(seed: int) -> None:
    """Seeds all generators, and switches the libraries' progress bars off: events say how far training is."""
    import datasets
    from transformers import set_seed
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    allow_quicker_float32()
    set_seed(seed)


def read_rows(
    data: Path, tokenizer: Any, columns: Sequence[str], found: Counter[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of the job as the student's chat template takes them, with its control tokens made harmless in them.

    Args:
        data: JSON lines.
        tokenizer: the student's.
        columns: those of messages; what is learnt stands in all but the first one.
        found: is added to: how often each control token was there.
    """
    with data.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if not rows:
        raise DataError("there are no rows to train on", fix="look at the steps before, they kept none")
    control = find_pattern(tokenizer)
    has_traces = any(reasoning.is_there(message) for row in rows for name in columns[1:] for message in row[name])
    folded = columns[1:] if has_traces and not reasoning.is_written(tokenizer) else ()
    if folded and not any(reasoning.is_written(each, folded=True) for each in masks.list_ways(tokenizer)):
        raise DataError(
            "the chat template of the model leaves the reasoning of an answer out, and rows have some",
            fix="format: {reasoning: drop}, or a chat template that writes it: chat_template: FILE.jinja at the model",
        )
    for row in rows:
        row |= {name: reasoning.fold(row[name]) for name in folded}
        row |= {name: neutralise(row[name], control, found) for name in columns}
        if row.get("tools"):
            row["tools"] = neutralise_value(read_tools(row["tools"]), control, found)
    return rows


def make_arguments(
    settings: Settings, folder: Path, parts: Mapping[str, Any], limit: int, there: Machine
) -> dict[str, Any]:
    """The arguments that TRL's trainers share.

    Args:
        settings: fields of the step `train`.
        folder: where checkpoints are written.
        parts: rows to train on, and perhaps rows for the evaluation loss.
        limit: most tokens of a text.
        there: what training runs on; it decides the precision alone.
    """
    evaluates = "test" in parts
    an_epoch = math.ceil(len(parts["train"]) / settings.batch_size)
    steps = settings.max_steps or math.ceil(an_epoch * settings.epochs)
    every = max(10, steps // 10)
    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup if settings.warmup > 0 else 0,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        # An update is loaded as a whole; `InPasses` goes through it as memory allows, on all processes.
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        "max_length": limit,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": evaluates,
        "metric_for_best_model": "eval_loss" if evaluates else None,
        # How long the evaluation loss has not got better is counted over all processes of a training.
        "restore_callback_states_from_checkpoint": settings.patience is not None,
        "logging_steps": max(1, steps // 50),
        "seed": settings.seed,
        "bf16": there.precision == "bf16",
        "fp16": there.precision == "fp16",
        "use_cpu": not there.on_gpu,
        "report_to": settings.report_to or "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": there.on_gpu,
        name_checkpointing(): False,
    }


def build_arguments(kind: Any, ours: Mapping[str, Any], passed_on: Mapping[str, Any]) -> Any:
    """TRL's arguments, with what the recipe passes on.

    Raises:
        DataError: TRL does not take it; arguments of ours that it does not know are a mistake of ours.
    """
    try:
        return kind(**{**ours, **passed_on})
    except (TypeError, ValueError) as error:
        if not passed_on:
            raise
        raise DataError(f"trl: {quote_cause(error)}", fix="change or take out what trl: passes on") from error


def carry_out(
    trainer: Any, output: Path, settings: Settings, tokenizer: Any, tell: Tell, asker: Any, *, merges: bool = False
) -> None:
    """Trains, or goes on from the last checkpoint, and leaves what was trained in `output`.

    Args:
        trainer: TRL's.
        output: the folder of what is left.
        settings: fields of the step `train`.
        tokenizer: saved with it.
        tell: is told of each step.
        asker: asks the student under way; see `answers`.
        merges: whether the adapter is put into the weights, which are left then: it was trained on others than those
            that the student came with.
    """
    from transformers import EarlyStoppingCallback, GenerationConfig

    trainer.add_callback(progress.Progress(tell, output / progress.LOG if FIRST_PROCESS else None))
    trainer.add_callback(checkpoints.Keeper(output, settings.checkpoint_minutes, is_first=FIRST_PROCESS))
    if FIRST_PROCESS:
        trainer.add_callback(asker)
    if settings.patience is not None and trainer.eval_dataset is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    progress.train(trainer)
    mark_end_of_turn(tokenizer, trainer.model)
    ends = output / "generation_config.json"
    if FIRST_PROCESS:
        ends.unlink(missing_ok=True)  # an earlier process may have been killed while it wrote it
    if merges:
        trainer.model.merge_and_unload(safe_merge=True).save_pretrained(str(output))
    else:
        trainer.save_model(str(output))
    if not FIRST_PROCESS:
        return
    tokenizer.save_pretrained(str(output))
    if not ends.exists():  # an adapter brings none of its own
        GenerationConfig(eos_token_id=trainer.model.generation_config.eos_token_id).save_pretrained(str(output))
    for left in ("training_args.bin", "README.md"):
        (output / left).unlink(missing_ok=True)
