"""Learning from a teacher with other tokens: `python -m blackbox_kd.training.gold JOB.json`.

As `gkd`, but the two cut a text into tokens of their own. They are put beside each other where both end at the same
byte, and of each such piece the sorted probabilities are compared, by their absolute differences. The teacher reads the
text that the student does, in the student's template.

Source: Boizard et al. 2024, arXiv:2402.12030 (ULD); Patiño et al. 2025, "Unlocking On-Policy Distillation for Any Model
Family"; TRL 1.16 GOLDTrainer (on_policy 0.5, temperature 0.9, top_p 0.95, 128 tokens, learning rate 1e-7 for all
weights, and ten times that for LoRA).
"""

from pathlib import Path
from typing import Any

from blackbox_kd.training import job as jobs
from blackbox_kd.training import teacher
from blackbox_kd.training.artefacts import Job, Result, Settings
from blackbox_kd.training.machine import Machine, Machines
from blackbox_kd.training.progress import Tell

TOP_P = 0.95


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.teacher_trainers import OtherTokensTrainer

    def make_trainer(args: Any, **given: Any) -> Any:
        args.teacher_tokenizer_name_or_path = job.teacher
        return OtherTokensTrainer(args=args, **given)

    return teacher.train("gold", job, name, machines, tell, make_trainer, make_arguments, TOP_P)


def make_arguments(settings: Settings, folder: Path, parts: Any, limit: int, there: Machine) -> Any:
    """TRL's arguments; those it does not know in this version are an error of ours, not of the user."""
    from trl.experimental.gold import GOLDConfig

    assert settings.max_tokens is not None
    ours = jobs.make_arguments(settings, folder, parts, limit, there) | {
        "use_uld_loss": True,
        "lmbda": settings.on_policy,
        "temperature": settings.temperature,
        "max_completion_length": settings.max_tokens,
        "max_length": limit + settings.max_tokens,  # TRL takes the most of a text from its prompt, and cuts that
    }
    made = jobs.build_arguments(GOLDConfig, ours, settings.trl)
    made.max_length = limit
    return made


if __name__ == "__main__":
    jobs.main("gold", train)
