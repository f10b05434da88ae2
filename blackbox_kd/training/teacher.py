"""The teacher of a training that learns its distributions: its weights, its vocabulary, and what all such trainings do.

The rows are those of `sft`; what is learnt of them is what the teacher would say at each token of an answer. Where the
student writes answers itself, those of the rows are read for the evaluation loss alone.
"""

from collections.abc import Callable
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.training.artefacts import Job, Result
from blackbox_kd.training.machine import Machine, Machines
from blackbox_kd.training.model import WIDTHS, refuse_other_tokens
from blackbox_kd.training.on_policy import Writing
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.stage import MakeArguments, Stage, prepare
from blackbox_kd.weights import load

MakeTrainer = Callable[..., Any]
"""Makes TRL's trainer of what `Stage.list_given` lists, `teacher_model` and `writing`."""


def train(
    method: str,
    job: Job,
    name: str,
    machines: Machines,
    tell: Tell,
    make_trainer: MakeTrainer,
    make_arguments: MakeArguments,
    top_p: float = 1.0,
) -> Result:
    """Trains by one of the methods with a teacher; `top_p` is that of the texts that the student writes.

    Raises:
        DataError: the teacher's tokens are not those of the student, or the weights are spread over processes.
    """
    refuse_other_tokens(method, job)
    stage = prepare(method, job, name, machines, tell, make_columns)
    trainer = make_trainer(
        teacher_model=load_teacher(job, stage.there),
        writing=choose_writing(stage, float(job.settings.trl.get("top_p", top_p))),
        **stage.list_given(make_arguments),
    )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        what = f"method {method} cannot be spread over processes by FSDP or DeepSpeed"
        raise DataError(what, fix="take accelerate: out; several GPUs with a model on each will do")
    tokens = sum(stage.looked.lengths.tokens[number] for number in stage.fit)
    return stage.finish(trainer, found={"warnings": stage.warnings, "tokens": tokens})


def make_columns(looked: Looked, fit: list[int]) -> list[dict[str, Any]]:
    """The columns that training reads of rows: what is asked and what is said, as tokens."""
    return [looked.lengths.texts["completion"][number].split() for number in fit]


def choose_writing(stage: Stage, top_p: float) -> Writing:
    """How the student writes, within what it can read."""
    settings, texts = stage.settings, stage.looked.lengths.texts["completion"]
    most = load.find_context_length(stage.model.config)
    asked = max(texts[number].first for number in stage.fit)
    longest = settings.max_tokens or 0
    longest = longest if most is None else min(longest, most - asked)
    if settings.on_policy and longest < 1:
        fix = "max_length: a smaller number with long_rows: drop"
        raise DataError(f"a prompt of {asked:,} tokens leaves the student no room to answer in", fix=fix)
    ends = load.find_ends(stage.looked.tokenizer, stage.model)
    return Writing(settings.on_policy or 0.0, longest, settings.temperature or 1.0, top_p, ends)


def load_teacher(job: Job, there: Machine) -> Any:
    """The teacher's weights, with its adapter in them; nothing of them is trained."""
    assert job.teacher is not None
    dtype = job.settings.dtype or WIDTHS[there.precision]
    model = load.load_model(job.teacher, dtype)
    if job.teacher_adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, job.teacher_adapter).merge_and_unload(safe_merge=True)
    return model.requires_grad_(False).eval()
