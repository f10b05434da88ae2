"""Learning what a teacher says of given texts and of the student's own: `python -m blackbox_kd.training.gkd JOB.json`.

For each update it is drawn whether its texts are the rows' answers or what the student writes then. The loss is the
generalised Jensen-Shannon divergence of `beta`, 0 that of the teacher from the student, 1 that of the student from the
teacher, over the tokens of the answers. Teacher and student must have the same tokens.

Source: Agarwal et al. 2024, arXiv:2306.13649; TRL 1.16 GKDTrainer (on_policy 0.5, beta 0.5, temperature 0.9, 128
tokens, learning rate 2e-5 for all weights, and ten times that for LoRA).
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
    from blackbox_kd.training.teacher_trainers import BothTrainer

    return teacher.train("gkd", job, name, machines, tell, BothTrainer, make_arguments)


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl.experimental.gkd import GKDConfig

    ours = jobs.make_arguments(settings, folder, parts, limit, there) | {
        "beta": settings.beta,
        "lmbda": settings.on_policy,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_tokens,
    }
    return jobs.build_arguments(GKDConfig, ours, settings.trl)


if __name__ == "__main__":
    jobs.main("gkd", train)
