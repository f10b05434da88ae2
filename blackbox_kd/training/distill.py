"""Learning what a teacher says of the student's own texts: `python -m blackbox_kd.training.distill JOB.json`.

The student writes the texts of each update, and learns them by the divergence of `beta` from the teacher, which is that
of `gkd`: at 1, the reverse one, it is what MiniLLM minimises. Teacher and student must have the same tokens.

Source: Gu et al. 2024, arXiv:2306.08543 (reverse KL on the student's texts); TRL 1.16 DistillationTrainer (beta 1,
temperature 1, 512 tokens, learning rate 1e-6 for all weights, and ten times that for LoRA).
"""

from pathlib import Path
from typing import Any

from blackbox_kd.training import job as jobs
from blackbox_kd.training import teacher
from blackbox_kd.training.artefacts import Job, Result, Settings
from blackbox_kd.training.machine import Machine, Machines
from blackbox_kd.training.progress import Tell


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.teacher_trainers import OwnTrainer

    return teacher.train("distill", job, name, machines, tell, OwnTrainer, make_arguments)


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl import DistillationConfig

    ours = jobs.make_arguments(settings, folder, parts, limit, there) | {
        "beta": settings.beta,
        "temperature": settings.temperature,
        "max_completion_length": settings.max_tokens,
    }
    del ours["max_length"]  # rows are looked at before, and TRL has no such argument here
    made = jobs.build_arguments(DistillationConfig, ours, settings.trl)
    made.max_length = limit
    return made


if __name__ == "__main__":
    jobs.main("distill", train)
