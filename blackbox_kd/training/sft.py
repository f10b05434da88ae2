"""Supervised fine-tuning with TRL: `python -m blackbox_kd.training.sft JOB.json`. Read it from top to bottom.

A job is {model, adapter_from, data, output, settings}; `steps/train.py` says what each setting means. Events go to
stdout as JSON lines, everything else to stderr. What is left in `output`: the adapter or the weights with tokenizer
and chat template, training_log.jsonl, and, written last, training.json.

Source: TRL 1.16 SFTTrainer, peft 0.21; the loss is on the completion only because rows have prompt and completion.
"""

import hashlib
import json
import math
import os
import resource
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from blackbox_kd.control_tokens import neutralise, pattern
from blackbox_kd.errors import BlackboxError, DataError
from blackbox_kd.training import preflight

FIRST_PROCESS = os.environ.get("RANK", "0") == "0"
"""On several GPUs each has a process; one of them speaks and writes."""
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
CPU_TOKENS = 1_024
"""Tokens of one forward pass on a CPU: more bring no speed there, and cost memory and time for allocating it."""
GPU_TOKENS = 16_384
"""Tokens of one forward pass on a GPU; a 7B model with LoRA in bfloat16 fits into 24 GB with them."""


def main(job_file: str) -> None:
    """Trains what a job says; a job that is finished already is left as it is."""
    events = os.fdopen(os.dup(1) if FIRST_PROCESS else os.open(os.devnull, os.O_WRONLY), "w", buffering=1)
    os.dup2(2, 1)  # libraries print; stdout is for events alone
    job = json.loads(Path(job_file).read_text())
    output, name = Path(job["output"]), job_hash(job)
    done = output / "training.json"
    if done.exists() and json.loads(done.read_text()).get("job") == name:
        return
    result = train(job, output, name, events)
    if FIRST_PROCESS:
        done.write_text(json.dumps({"job": name, **result}, indent=1))


def job_hash(job: dict[str, Any]) -> str:
    """Names a job by all that decides its result: a checkpoint of another job is never gone on with."""
    data = hashlib.sha256(Path(job["data"]).read_bytes()).hexdigest()
    parts = {key: value for key, value in job.items() if key not in ("data", "output")}
    return hashlib.sha256(json.dumps([parts, data], sort_keys=True).encode()).hexdigest()


def train(job: dict[str, Any], output: Path, name: str, events: Any) -> dict[str, Any]:
    """Loads, checks, trains and saves; returns what training.json holds."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, set_seed
    from transformers.trainer_utils import get_last_checkpoint

    from blackbox_kd.matmul import quicker_float32
    from blackbox_kd.training.completion_loss import CompletionTrainer

    began, settings = time.monotonic(), job["settings"]
    quiet()
    quicker_float32()
    set_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["adapter_from"] or job["model"])
    rows = read_rows(Path(job["data"]), tokenizer)
    lengths = preflight.check_template(tokenizer, rows)
    on_gpu = torch.cuda.is_available()
    model = load_model(job, settings, on_gpu)
    limit = preflight.max_length(lengths, settings["max_length"], model.config.max_position_embeddings)
    fit = preflight.long_rows(lengths, limit, drop=settings["long_rows"] == "drop")
    dataset = Dataset.from_list([rows[number] for number in fit])
    held = round(settings["eval_share"] * len(dataset))
    parts = dataset.train_test_split(held, seed=settings["seed"]) if held else {"train": dataset}
    checkpoints = prepare_folder(output, name, on_gpu)
    trainer = CompletionTrainer(
        model=model,
        args=arguments(settings, checkpoints, parts, limit, on_gpu),
        train_dataset=parts["train"],
        eval_dataset=parts["test"] if held else None,
        processing_class=tokenizer,
        peft_config=lora(settings, model) if settings["adapter"] == "lora" and not job["adapter_from"] else None,
    )
    follow(trainer, events)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)))
    trainer.save_model(str(output))
    if FIRST_PROCESS:
        finish_folder(output, checkpoints, tokenizer, trainer.state.log_history)
    used = [lengths.tokens[number] for number in fit]
    facts = {
        "rows": len(parts["train"]),
        "rows_left_out": len(rows) - len(fit),
        "rows_for_evaluation_loss": held,
        "tokens": sum(used),
        "longest_row_tokens": max(used),
        "max_length": limit,
        "seconds": round(time.monotonic() - began, 1),
    }
    return {**facts, **told(trainer, on_gpu), "settings": settings}


def told(trainer: Any, on_gpu: bool) -> dict[str, Any]:
    """How training went, and on what."""
    import torch

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "best_evaluation_loss": trainer.state.best_metric,
        "peak_memory_mb": peak_memory_mb(on_gpu),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }


def quiet() -> None:
    """Switches the libraries' progress bars off: events say how far training is."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def read_rows(data: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """The rows of the job, with the student's control tokens made harmless in their text."""
    with data.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if not rows:
        raise DataError("train (sft): there are no rows to train on\n  fix: look at the steps before, they kept none")
    control = pattern(tokenizer)
    safe = [{key: neutralise(row[key], control) for key in ("prompt", "completion")} for row in rows]
    if all(row.get("weight", 1.0) == 1.0 for row in rows):
        return safe
    return [{**row, "weight": float(raw.get("weight", 1.0))} for row, raw in zip(safe, rows, strict=True)]


def load_model(job: dict[str, Any], settings: dict[str, Any], on_gpu: bool) -> Any:
    """The model to train: bfloat16 for LoRA on a GPU, float32 master weights everywhere else."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = "bfloat16" if on_gpu and settings["adapter"] == "lora" else "float32"
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, use_safetensors=True)
    if job["adapter_from"] is None:
        return model
    if settings["adapter"] == "full":
        merged = PeftModel.from_pretrained(model, job["adapter_from"]).merge_and_unload(safe_merge=True)
        return merged.requires_grad_(True)  # peft had frozen the weights under the adapter
    return PeftModel.from_pretrained(model, job["adapter_from"], is_trainable=True)


def lora(settings: dict[str, Any], model: Any) -> Any:
    """LoRA on all linear layers, or on those of the upper part of the model."""
    from peft import LoraConfig

    total = model.config.num_hidden_layers
    upper = None if settings["layers"] is None else range(total - max(1, round(settings["layers"] * total)), total)
    linear = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if is_linear(name, module)})
    return LoraConfig(
        r=settings["r"],
        lora_alpha=settings["alpha"] or 2 * settings["r"],
        lora_dropout=settings["dropout"],
        # peft takes "all-linear" only without a choice of layers.
        target_modules="all-linear" if upper is None else linear,
        layers_to_transform=None if upper is None else list(upper),
        task_type="CAUSAL_LM",
    )


def is_linear(name: str, module: Any) -> bool:
    """Whether a module is a linear layer inside the model, the output head left out."""
    import torch

    return isinstance(module, torch.nn.Linear) and "lm_head" not in name


def arguments(settings: dict[str, Any], checkpoints: Path, parts: Any, limit: int, on_gpu: bool) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from dataclasses import fields

    from trl import SFTConfig

    rows, evaluates, weighted = len(parts["train"]), "test" in parts, "weight" in parts["train"].column_names
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    wanted = max(1, settings["batch_size"] // processes)
    room = max(1, (GPU_TOKENS if on_gpu else CPU_TOKENS) // limit)
    per_pass = max(size for size in range(1, min(wanted, room) + 1) if wanted % size == 0)
    steps = settings["max_steps"] or math.ceil(math.ceil(rows / settings["batch_size"]) * settings["epochs"])
    packing = settings["packing"] if settings["packing"] is not None else on_gpu and rows >= 1000 and not weighted
    rate = settings["learning_rate"] or (2e-4 if settings["adapter"] == "lora" else 2e-5)
    every = max(10, steps // 10)
    known = {field.name for field in fields(SFTConfig)}
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=settings["epochs"],
        max_steps=settings["max_steps"] or -1,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings["warmup"] if settings["warmup"] > 0 else 0,
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        per_device_train_batch_size=per_pass,
        per_device_eval_batch_size=per_pass,
        gradient_accumulation_steps=wanted // per_pass,
        max_length=limit,
        packing=packing,
        eval_packing=False,
        train_sampling_strategy="random",  # grouping by length would not go on in the same order after a kill
        eval_strategy="steps" if evaluates else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=evaluates,
        metric_for_best_model="eval_loss" if evaluates else None,
        logging_steps=max(1, steps // 50),
        seed=settings["seed"],
        bf16=on_gpu,
        use_cpu=not on_gpu,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
        **{checkpointing: on_gpu},
    )


def prepare_folder(output: Path, name: str, on_gpu: bool) -> Path:
    """The folder of checkpoints; those of another job are thrown away first, before any process looks for one."""
    from accelerate import PartialState

    checkpoints = output / "checkpoints"
    mark = output / "job.sha256"
    with PartialState(cpu=not on_gpu).main_process_first():
        if FIRST_PROCESS and output.exists() and (not mark.exists() or mark.read_text() != name):
            sys.stderr.write(f"{output}: made by another job; training starts anew\n")
            shutil.rmtree(output)
        checkpoints.mkdir(parents=True, exist_ok=True)
        mark.write_text(name)
    return checkpoints


def follow(trainer: Any, events: Any) -> None:
    """Writes an event at each log, and ends the process when its parent has died."""
    from transformers import PrinterCallback, TrainerCallback

    parent = os.getppid()

    class Events(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if os.getppid() != parent:
                os._exit(1)
            events.write(json.dumps({"event": "step", "step": state.global_step, "steps": state.max_steps}) + "\n")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            event = {"event": "log", "step": state.global_step, "steps": state.max_steps, **(logs or {})}
            events.write(json.dumps(event) + "\n")

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Events())


def finish_folder(output: Path, checkpoints: Path, tokenizer: Any, log: list[dict[str, Any]]) -> None:
    """Puts the tokenizer with its chat template and the log beside the weights; throws away what led there."""
    tokenizer.save_pretrained(str(output))
    (output / "training_log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    for left in ("training_args.bin", "README.md"):
        (output / left).unlink(missing_ok=True)
    shutil.rmtree(checkpoints)


def peak_memory_mb(on_gpu: bool) -> int:
    """The most memory that was used: of the GPU, or of the process."""
    import torch

    if on_gpu:
        return int(torch.cuda.max_memory_allocated() / 2**20)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BlackboxError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)
