"""Learning from answers that are called good or bad, one by one: `python -m blackbox_kd.training.kto JOB.json`.

The rows are {prompt, completion, label} in messages, and perhaps `tools`; the label is true or false. The reference is
that of `dpo`. Rows are shuffled once, and the answers that an update is measured by are its own, each put behind the
prompt of the row after it: so an update has at least two rows.

Source: Ethayarajh et al. 2024, arXiv:2402.01306; TRL 1.16 KTOTrainer (beta 0.1, learning rate 1e-6 for all weights, and
ten times that for LoRA, as its DPO has it).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from blackbox_kd.training import dpo
from blackbox_kd.training import job as jobs
from blackbox_kd.training.artefacts import Job, Result, Settings
from blackbox_kd.training.machine import Machine, Machines
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.stage import prepare

MOST_IMBALANCE = 4 / 3
"""By how much the rows of one label may outweigh those of the other; equation 8 of the paper."""
NAMES = {True: "desirable", False: "undesirable"}
"""What TRL calls the two labels."""


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.kto_trainer import LabelsTrainer

    stage = prepare("kto", job, name, machines, tell, make_columns, find_warnings)
    stage = replace(stage, parts={part: put_beside(rows, job.settings) for part, rows in stage.parts.items()})
    trainer = LabelsTrainer(**stage.list_given(make_arguments))
    if job.settings.adapter == "lora":
        dpo.save_one_adapter(trainer.model)
    learnt: Counter[str] = Counter()
    for number, row in zip(stage.fit, stage.rows, strict=True):
        learnt[NAMES[row["label"]]] += stage.looked.lengths.completions["completion"][number]
    return stage.finish(
        trainer,
        lambda: {"preferences": dpo.read_preferences(trainer.state.log_history)},
        found={
            "completion_tokens": dict(learnt),
            "fine_tuned_before": dpo.is_fine_tuned(job),
            "warnings": stage.warnings,
        },
    )


def make_columns(looked: Looked, fit: list[int]) -> list[dict[str, Any]]:
    """The columns that training reads of rows: what is asked and what is said as tokens, and the label."""
    texts = looked.lengths.texts["completion"]
    return [{**texts[number].split(), "label": looked.rows[number]["label"]} for number in fit]


def put_beside(rows: Any, settings: Settings) -> Any:
    """Shuffles rows, and puts beside each the answer of the row before it in its update."""
    size = settings.batch_size
    mixed = rows.shuffle(seed=settings.seed)
    said = list(mixed["completion_ids"])
    blocks = (said[start : start + size] for start in range(0, len(said), size))
    return mixed.add_column("KL_completion_ids", [each for one in blocks for each in [one[-1], *one[:-1]]])


def find_warnings(job: Job, rows: list[dict[str, Any]]) -> Iterator[str]:
    """What is odd about a job, but no reason to refuse it."""
    if any(row.get("weight", 1.0) != 1.0 for row in rows):
        yield dpo.UNWEIGHTED.format("kto")
    counts = Counter(row["label"] for row in rows)
    if len(counts) == 1:
        yield f"all {len(rows):,} rows have the label {str(rows[0]['label']).lower()}: there is nothing to tell apart"
        return
    passed = job.settings.trl
    weights = {label: counts[label] * float(passed.get(f"{name}_weight", 1.0)) for label, name in NAMES.items()}
    fewer = min(weights, key=lambda label: weights[label])
    if weights[not fewer] > MOST_IMBALANCE * weights[fewer]:
        share = weights[not fewer] / weights[fewer] * float(passed.get(f"{NAMES[fewer]}_weight", 1.0))
        yield (
            f"{counts[True]:,} rows have the label true and {counts[False]:,} false: the paper lets neither outweigh "
            f"the other by more than a third; trl: {{{NAMES[fewer]}_weight: {share:.2f}}} evens them"
        )


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl import KTOConfig

    shared = jobs.make_arguments(settings, folder, parts, limit, there)
    return jobs.build_arguments(KTOConfig, shared | dpo.choose_reference(settings, limit, there), settings.trl)


if __name__ == "__main__":
    jobs.main("kto", train)
