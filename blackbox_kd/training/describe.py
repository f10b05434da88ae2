"""What was really used and how training went, as training.json tells it."""

import resource
import sys
import time
from dataclasses import MISSING, fields
from importlib import metadata
from typing import Any

from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.machine import Machine, Plan, name_checkpointing

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
USED = (
    *("bf16", "fp16", "save_steps"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps", "optim", "loss_type"),
)
"""Arguments of TRL that training.json holds whatever they are: the machine, the rows or the recipe decide them."""
MOST_POINTS = 100
"""Of a curve: as many as a plot can show."""
SHAPE = ("r", "lora_alpha", "lora_dropout")
PEFTS = ("base_model_name_or_path", "peft_type", "task_type", "peft_version", "inference_mode")
"""Fields that every adapter of ours has alike, and the place of its base."""
LOCAL = (
    *("output_dir", "logging_dir", "run_name", "hub_token", "disable_tqdm", "use_cpu", "dataloader_pin_memory"),
    *("accelerator_config", "eos_token", "pad_token"),
    *("per_device_train_batch_size", "per_device_eval_batch_size"),
)
"""Arguments of TRL that say nothing of a training, name a place of the machine, or are divided into `passes`."""


def take_ends(log: list[dict[str, Any]], key: str) -> tuple[float | None, float | None]:
    """The first and the last value of a number that was logged under way."""
    values = [entry[key] for entry in log if key in entry]
    return (values[0], values[-1]) if values else (None, None)


def take_curve(log: list[dict[str, Any]], key: str) -> list[list[int | float]]:
    """What a number was under way, each with its step: at most `MOST_POINTS`, evenly, with the last one."""
    points = [[entry["step"], entry[key]] for entry in log if key in entry]
    return points[::-1][:: -(-len(points) // MOST_POINTS) or 1][::-1]


def describe_training(trainer: Any, began: float, there: Machine, plan: Plan, settings: Settings) -> dict[str, Any]:
    """How training went since `began`, by the monotonic clock, and on what."""
    state = trainer.state
    first, last = take_ends(state.log_history, "loss")
    ends = {"planned_steps": state.max_steps} if state.global_step < state.max_steps else {}
    if state.best_global_step and trainer.args.load_best_model_at_end:
        ends["best_step"] = state.best_global_step
    return {
        "seconds": round(time.monotonic() - began, 1),
        "steps": state.global_step,
        **ends,
        "first_loss": first,
        "last_loss": last,
        "best_evaluation_loss": state.best_metric,
        "losses": take_curve(state.log_history, "loss"),
        "evaluation_losses": take_curve(state.log_history, "eval_loss"),
        "peak_memory_mb": measure_memory_mb(there.on_gpu),
        "device": there.device,
        "trl": list_used(trainer.args),
        "lora": list_lora(trainer.model),
        "loaded": list_loaded(trainer.model),
        "passes": describe_passes(trainer, there, plan, settings),
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }


def describe_passes(trainer: Any, there: Machine, plan: Plan, settings: Settings) -> dict[str, Any]:
    """What the machine and the lengths of rows have decided, and why."""
    said, device = "the recipe says so", "a CPU" if not there.on_gpu else there.device
    why = {
        "max_length": said if settings.max_length else "the longest row, rounded up to a multiple of 8",
        "precision": f"what {device} computes training in",
        "attention": said if settings.attn else "what transformers takes for the model here",
    }
    chosen = {
        "processes": trainer.accelerator.num_processes,
        "max_length": trainer.args.max_length,
        "precision": there.precision,
        "attention": trainer.model.config._attn_implementation,
    }
    return plan.write() | chosen | {"why": plan.why | why}


def list_used(arguments: Any) -> dict[str, Any]:
    """What TRL was given and what it made of it, where that is not the default; and what is of interest anyway."""
    used, always = arguments.to_dict(), (*USED, name_checkpointing())
    usual = {field.name: field.default for field in fields(arguments) if field.name not in always}
    told = {name: value for name, value in used.items() if name not in LOCAL and value not in (None, [], "")}
    return {name: value for name, value in told.items() if value != usual.get(name, MISSING)}


def list_lora(model: Any) -> dict[str, Any]:
    """The adapter as PEFT holds it; nothing where there is none."""
    if not hasattr(model, "peft_config"):
        return {}
    config = model.peft_config["default"]
    usual = {field.name: field.default for field in fields(config) if field.name not in SHAPE}
    told = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    return {name: value for name, value in told.items() if value and value != usual.get(name) and name not in PEFTS}


def list_loaded(model: Any) -> dict[str, Any]:
    """How the weights that a training starts from are held in memory."""
    bits = next((bits for bits in (4, 8) if getattr(model, f"is_loaded_in_{bits}bit", False)), None)
    told = {"dtype": str(model.dtype).removeprefix("torch."), "attn": model.config._attn_implementation}
    return told | ({"bits": bits} if bits else {})


def measure_memory_mb(on_gpu: bool) -> int:
    """The most memory that was used: of the GPU, or of the process."""
    import torch

    if on_gpu:
        return int(torch.cuda.max_memory_allocated() / 2**20)
    unit = 2**20 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
