"""Direct preference optimisation with TRL: `python -m blackbox_kd.training.dpo JOB.json`. Read it from top to bottom.

The rows are {prompt, chosen, rejected} in messages, and perhaps `tools`; `artefacts.py` says what a job is and what is
left behind. The reference is the model as the job found it: for an adapter that is there already TRL keeps a frozen
copy of it beside the one that learns, for a new adapter the base without it, and for all weights what the model said
before the first update: it is computed then, so that there is no second copy in memory.

Source: Rafailov et al. 2023, arXiv:2305.18290; TRL 1.16 DPOTrainer; the plain loss on the chosen text beside it is
that of Pang et al. 2024, arXiv:2404.19733.
"""

import functools
import time
from pathlib import Path
from typing import Any

from blackbox_kd.training import answers, checkpoints, describe, overview, preflight
from blackbox_kd.training import job as jobs
from blackbox_kd.training.artefacts import Job, Result, Settings, find_answers, find_maker
from blackbox_kd.training.machine import CPU_TOKENS, GPU_TOKENS, Machine, Machines, plan_passes, use_plan
from blackbox_kd.training.model import load_model, make_lora, merges
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.split import split_rows
from blackbox_kd.weights.load import find_context_length

SIDES = ("chosen", "rejected")
WHOLE_LOSS = {"loss_type", "loss_weights"}
"""Fields of TRL that, passed on, write the loss as a whole."""
UNTRAINED = (
    "the model was not fine-tuned before: preferences between texts that it would not write itself teach it little; "
    "put a train step with method: sft before"
)
UNWEIGHTED = "column 'weight' is not looked at: every pair counts the same in method dpo"


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.dpo_trainer import TokensTrainer

    began, settings, output = time.monotonic(), job.settings, Path(job.output)
    jobs.prepare_process(settings.seed)
    looked = overview.look("dpo", job)
    tokenizer, rows, lengths = looked.tokenizer, looked.rows, looked.lengths
    there = machines.read()
    model = load_model(job, there.precision)
    limit = preflight.choose_length(lengths, settings.max_length, find_context_length(model.config))
    fit = preflight.select_rows(lengths, limit, drop=settings.long_rows == "drop")
    parts, odd = split_rows([take_tokens(lengths, n) for n in fit], [rows[n] for n in fit], settings)
    overview.keep(job, seen := overview.describe_rows(looked, settings, limit, len(parts.get("test", [])), odd))
    warnings = [*find_warnings(job, rows), *odd]
    for warning in dict.fromkeys([*warnings, *overview.list_warnings(seen)]):
        tell({"event": "warning", "warning": warning})
    folder = checkpoints.prepare_folder(output, name, is_first=jobs.FIRST_PROCESS, on_gpu=there.on_gpu)
    trainer = TokensTrainer(
        model=model,
        args=make_arguments(settings, folder, parts, limit, there),
        train_dataset=parts["train"],
        eval_dataset=parts.get("test"),
        processing_class=tokenizer,
        peft_config=make_lora(job, model),
    )
    if settings.adapter == "lora":
        save_one_adapter(trainer.model)
    plan = plan_passes(trainer, machines.read, halved=machines.halved)
    use_plan(trainer, plan)
    shown = answers.choose(trainer, [rows[n] for n in fit], [lengths.texts["chosen"][n].ids for n in fit])
    asker = answers.Asker(trainer, tokenizer, shown, "chosen", find_answers(job.data))
    jobs.carry_out(trainer, output, settings, tokenizer, tell, asker, merges=merges(job))
    return Result(
        job=name,
        rows=len(parts["train"]),
        rows_left_out=len(rows) - len(fit),
        rows_for_evaluation_loss=len(parts.get("test", [])),
        **measure_lengths(lengths, fit),
        max_length=limit,
        fine_tuned_before=is_fine_tuned(job),
        warnings=warnings,
        **describe.describe_training(trainer, began, there, plan, settings),
        preferences=read_preferences(trainer.state.log_history),
        settings=settings,
    )


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
        "longest_row_tokens": max(lengths.tokens[number] for number in fit),
    }


def is_fine_tuned(job: Job) -> bool:
    """Whether the model that preferences are taught to comes from a training of ours, or has an adapter."""
    return job.adapter_from is not None or find_maker(Path(job.model)) is not None


def find_warnings(job: Job, rows: list[dict[str, Any]]) -> list[str]:
    """What is odd about a job, but no reason to refuse it."""
    unweighted = any(row.get("weight", 1.0) != 1.0 for row in rows)
    return [text for text, holds in ((UNTRAINED, not is_fine_tuned(job)), (UNWEIGHTED, unweighted)) if holds]


def save_one_adapter(model: Any) -> None:
    """Keeps the frozen copy out of what is saved, of checkpoints too.

    A checkpoint with two adapters is resumed without the trained one: transformers 5.19 looks into the folder of the
    copy alone (`Trainer._load_from_checkpoint`). The copy is made anew from what the job starts from.
    """
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=["default"])


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl import DPOConfig

    shared = jobs.make_arguments(settings, folder, parts, limit, there) | {
        "beta": settings.beta,
        "precompute_ref_log_probs": settings.adapter == "full",
        "precompute_ref_batch_size": max(1, (GPU_TOKENS if there.on_gpu else CPU_TOKENS) // (limit * len(SIDES))),
    }
    losses = {"sigmoid": 1.0} | ({"sft": settings.sft_weight} if settings.sft_weight else {})
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
