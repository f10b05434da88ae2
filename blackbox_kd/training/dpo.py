"""Direct preference optimisation with TRL: `python -m blackbox_kd.training.dpo JOB.json`. Read it from top to bottom.

The rows are {prompt, chosen, rejected} in messages, and perhaps `tools`; `artefacts.py` says what a job is and what is
left behind. The reference is the model as the job found it: for an adapter that is there already TRL keeps a frozen
copy of it beside the one that learns, for a new adapter the base without it, and for all weights what the model said
before the first update: it is computed then, so that there is no second copy in memory.

Source: Rafailov et al. 2023, arXiv:2305.18290; TRL 1.16 DPOTrainer; the plain loss on the chosen text beside it is
that of Pang et al. 2024, arXiv:2404.19733.
"""

import functools
from pathlib import Path
from typing import Any

from blackbox_kd.training import describe, preflight
from blackbox_kd.training import job as jobs
from blackbox_kd.training.artefacts import Job, Result, Settings, find_maker
from blackbox_kd.training.machine import CPU_TOKENS, GPU_TOKENS, Machine, Machines
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.stage import prepare

SIDES = ("chosen", "rejected")
WHOLE_LOSS = {"loss_type", "loss_weights"}
"""Fields of TRL that, passed on, write the loss as a whole."""
UNTRAINED = (
    "the model was not fine-tuned before: preferences between texts that it would not write itself teach it little; "
    "put a train step with method: sft before"
)
UNWEIGHTED = "column 'weight' is not looked at: every row counts the same in method {}"


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.dpo_trainer import TokensTrainer

    stage = prepare("dpo", job, name, machines, tell, make_columns, find_warnings)
    trainer = TokensTrainer(**stage.list_given(make_arguments))
    if job.settings.adapter == "lora":
        save_one_adapter(trainer.model)
    return stage.finish(
        trainer,
        lambda: {"preferences": read_preferences(trainer.state.log_history)},
        found={
            **measure_lengths(stage.looked.lengths, stage.fit),
            "fine_tuned_before": is_fine_tuned(job),
            "warnings": stage.warnings,
        },
    )


def make_columns(looked: Looked, fit: list[int]) -> list[dict[str, Any]]:
    """See `take_tokens`."""
    return [take_tokens(looked.lengths, number) for number in fit]


def take_tokens(lengths: preflight.Lengths, number: int) -> dict[str, list[int]]:
    """The columns that training reads of a row: its prompt and its two texts as tokens."""
    chosen, rejected = (lengths.texts[side][number] for side in SIDES)
    prompt = min(chosen.first, rejected.first)
    return {
        "prompt_ids": chosen.ids[:prompt],
        "chosen_ids": chosen.ids[prompt:],
        "rejected_ids": rejected.ids[prompt:],
    }


def measure_lengths(lengths: preflight.Lengths, fit: list[int]) -> dict[str, Any]:
    """How long the two sides of the pairs are: preferences for longer texts teach a model to write longer ones."""
    chosen, rejected = ([lengths.completions[side][number] for number in fit] for side in SIDES)
    return {
        "completion_tokens": {"chosen": sum(chosen), "rejected": sum(rejected)},
        "length_ratio": round(sum(c / r for c, r in zip(chosen, rejected, strict=True)) / len(fit), 3),
    }


def is_fine_tuned(job: Job) -> bool:
    """Whether the model that preferences are taught to comes from a training of ours, or has an adapter."""
    return job.adapter_from is not None or find_maker(Path(job.model)) is not None


def find_warnings(job: Job, rows: list[dict[str, Any]]) -> list[str]:
    """What is odd about a job, but no reason to refuse it."""
    unweighted = any(row.get("weight", 1.0) != 1.0 for row in rows)
    return [
        text for text, holds in ((UNTRAINED, not is_fine_tuned(job)), (UNWEIGHTED.format("dpo"), unweighted)) if holds
    ]


def save_one_adapter(model: Any) -> None:
    """Keeps the frozen copy out of what is saved, of checkpoints too.

    A checkpoint with two adapters is resumed without the trained one: transformers 5.19 looks into the folder of the
    copy alone (`Trainer._load_from_checkpoint`). The copy is made anew from what the job starts from.
    """
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=["default"])


def choose_reference(settings: Settings, tokens: int, there: Machine) -> dict[str, Any]:
    """How far and by what the reference holds the model back.

    Args:
        settings: of the training.
        tokens: most of a row.
        there: what training runs on.
    """
    return {
        "beta": settings.beta,
        "precompute_ref_log_probs": settings.adapter == "full",
        "precompute_ref_batch_size": max(1, (GPU_TOKENS if there.on_gpu else CPU_TOKENS) // tokens),
    }


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl import DPOConfig

    shared = jobs.make_arguments(settings, folder, parts, limit, there)
    shared |= choose_reference(settings, limit * len(SIDES), there)
    losses = {settings.loss or "sigmoid": 1.0} | ({"sft": settings.sft_weight} if settings.sft_weight else {})
    ours = {} if WHOLE_LOSS & settings.trl.keys() else {"loss_type": [*losses], "loss_weights": [*losses.values()]}
    return jobs.build_arguments(DPOConfig, shared | ours, settings.trl)


def read_preferences(log: list[dict[str, Any]]) -> dict[str, Any]:
    """How the preferences were learnt: first and last values of what TRL logs, rewards in units of beta times nats."""
    names = {
        "margin": "rewards/margins",
        "accuracy": "rewards/accuracies",
        "chosen_logps": "logps/chosen",
        "rejected_logps": "logps/rejected",
        "evaluation_margin": "eval_rewards/margins",
        "evaluation_accuracy": "eval_rewards/accuracies",
    }
    found = {name: describe.take_ends(log, key) for name, key in names.items()}
    return {name: {"first": first, "last": last} for name, (first, last) in found.items() if first is not None}


if __name__ == "__main__":
    jobs.main("dpo", train)
