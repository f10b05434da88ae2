"""What somebody who knows TRL would write for a job of ours: `python -m benchmarks.plain_trl METHOD JOB`.

Nothing of this project is imported. The job holds under `trl` what our own run of it took: rows per pass and the like.
Prints as JSON the seconds of training, when each step ended, the losses by step, and the peak memory.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when steps end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ends.append(time.monotonic())


def peak_mb() -> int:
    """The most memory that was used: of the GPU, or of the process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def train(method: str, job: dict[str, Any]) -> dict[str, Any]:
    settings, on_gpu = job["settings"], torch.cuda.is_available()
    set_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = Dataset.from_list([json.loads(line) for line in Path(job["data"]).read_text().splitlines()])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.bfloat16 if on_gpu else torch.float32)
    arguments: dict[str, Any] = {
        "output_dir": job["output"],
        "num_train_epochs": settings["epochs"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings["warmup"],
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "max_length": job["max_length"],
        "seed": settings["seed"],
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        **job["trl"],
    }
    lora = LoraConfig(r=settings["r"], lora_alpha=2 * settings["r"], target_modules="all-linear", task_type="CAUSAL_LM")
    parts = {"model": model, "train_dataset": rows, "processing_class": tokenizer, "peft_config": lora}
    if method == "sft":
        trainer = SFTTrainer(args=SFTConfig(**arguments), **parts)
    else:
        losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings["sft_weight"]]}
        trainer = DPOTrainer(args=DPOConfig(**{"beta": settings["beta"], **losses, **arguments}), **parts)
    clock = Clock()
    trainer.add_callback(clock)
    seconds = trainer.train().metrics["train_runtime"]
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": seconds,
        "step_ends": clock.ends,
        "losses": {entry["step"]: entry["loss"] for entry in log},
        "peak_memory_mb": peak_mb(),
    }


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
