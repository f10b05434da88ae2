"""What goes into a training process and what comes out, as types: the job, and what training.json holds.

What an earlier version wrote loads, and what a later one has added is kept: neither a job nor a result is another one
for it. Fields that were not set are not written, so that a job keeps the hash that names it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from blackbox_kd.training.seen import ARTEFACT, Preflight

BESIDE = ("given", "checkpoint_minutes", "report_to")
"""Settings that change nothing about what is trained: a job is the same one without them."""
MARK = "job.sha256"
"""File of a training's folder with the name of the job that has begun there."""


class Settings(BaseModel):
    """How a model is trained; `steps/train.py` says what each setting means."""

    model_config = ARTEFACT

    adapter: Literal["lora", "full"]
    r: int
    alpha: int | None
    dropout: float
    layers: float | None
    learning_rate: float
    epochs: float
    max_steps: int | None
    batch_size: int
    max_length: int | None
    long_rows: Literal["error", "drop"]
    packing: bool | None
    eval_share: float
    warmup: float
    weight_decay: float
    max_grad_norm: float
    beta: float | None
    sft_weight: float | None
    seed: int
    loss: Literal["sigmoid", "hinge"] | None = None
    temperature: float | None = None
    on_policy: float | None = None
    max_tokens: int | None = None
    top: str | None = None
    turns: Literal["last", "all"] = "last"
    continues: Literal["adapter", "merge"] = "adapter"
    load: dict[str, int] | None = None
    dtype: str | None = None
    attn: str | None = None
    trl: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] = Field(default_factory=dict)
    checkpoint_minutes: float = 10
    patience: int | None = None
    report_to: list[str] = Field(default_factory=list)
    given: list[str] = Field(default_factory=list)
    """Those that an adapter which is trained on must have, as the recipe says them."""


class Job(BaseModel):
    """One training."""

    model_config = ARTEFACT

    model: str
    """Folder of the weights, or a hub id and its commit: `ID@COMMIT`."""
    chat_template: str | None = None
    """Text of a template in place of the model's own."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Values for the chat template, with which the model is asked as well."""
    adapter_from: str | None = None
    """Folder of the adapter that training goes on from."""
    teacher: str | None = None
    """As `model`: the one whose distributions are learnt."""
    teacher_adapter: str | None = None
    """Folder of the adapter that the teacher has."""
    data: str
    """JSON lines: rows of the columns that the method reads."""
    output: str
    """Folder of what is left: the adapter or the weights, training_log.jsonl, and last of all training.json."""
    settings: Settings

    def write(self) -> dict[str, Any]:
        """The job as its file holds it."""
        return self.model_dump(exclude_unset=True)


class Task(BaseModel):
    """Rows of one task among several."""

    model_config = ARTEFACT

    rows: int
    completion_tokens: int
    mean_weight: float


class Course(BaseModel):
    """A number at the start of a training and at its end."""

    model_config = ARTEFACT

    first: float
    last: float


class Result(BaseModel):
    """What a finished training has left in training.json. Losses: nats a token; in lists after their step."""

    model_config = ARTEFACT

    job: str
    """Hash of the job: by it a later run knows that nothing is left to do."""
    rows: int
    """Rows that were trained on."""
    rows_left_out: int
    """Rows longer than `max_length`."""
    rows_for_evaluation_loss: int
    longest_row_tokens: int
    max_length: int
    """Most tokens of a row."""
    seconds: float
    steps: int
    """Optimizer steps."""
    planned_steps: int | None = None
    """Optimizer steps that there would have been, where `patience` has ended training before."""
    best_step: int | None = None
    """The step whose weights are kept, by the evaluation loss."""
    first_loss: float | None
    last_loss: float | None
    best_evaluation_loss: float | None
    losses: list[list[int | float]] = Field(default_factory=list)
    evaluation_losses: list[list[int | float]] = Field(default_factory=list)
    peak_memory_mb: int
    """Of the GPU, or of the process."""
    device: str
    trl: dict[str, Any] = Field(default_factory=dict)
    """What TRL was given, by its names, where it is not its default; and what the machine and the rows decided."""
    passes: dict[str, Any] = Field(default_factory=dict)
    """What the machine and the rows decided, and why: most tokens of a pass, packing, checkpointing, processes, most
    tokens of a row, precision, attention. The updates are the same whatever it is."""
    lora: dict[str, Any] = Field(default_factory=dict)
    """The adapter as PEFT holds it, by its names; nothing where all weights were trained."""
    loaded: dict[str, Any] = Field(default_factory=dict)
    """How the weights were held: `dtype`, `attn`, and `bits` where these are few."""
    versions: dict[str, str]
    """Of the packages that decide what is trained."""
    settings: Settings
    tokens: int = 0
    """Of all rows, prompts included; of `sft`."""
    tokens_with_probabilities: float | None = None
    """Share of the tokens that were learnt by the probabilities told of them; of `topk`."""
    turns: int | None = None
    """Turns of the assistant that were learnt, where that is not one a row; of `sft`."""
    turns_left_out: int | None = None
    """Turns of the assistant that were read and not learnt; of `sft`."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Values for the chat template, which the one beside the weights has as its defaults."""
    tasks: dict[str, Task] = Field(default_factory=dict)
    """Where rows have tasks, by their names; of `sft`."""
    completion_tokens: dict[str, int] = Field(default_factory=dict)
    """Tokens of the texts on the two sides; of `dpo`, and of `kto` by their label."""
    length_ratio: float | None = None
    """Mean length of a chosen text as a share of the rejected one's; of `dpo`."""
    fine_tuned_before: bool | None = None
    """Whether the model came from a training; of `dpo` and `kto`."""
    warnings: list[str] = Field(default_factory=list)
    """What was odd, but no reason to refuse the job."""
    preferences: dict[str, Course] = Field(default_factory=dict)
    """How they were learnt; rewards in units of beta times nats; of `dpo` and `kto`."""

    def write(self) -> dict[str, Any]:
        """The result as training.json holds it."""
        return self.model_dump(exclude_unset=True)


def hash_job(method: str, job: Job) -> str:
    """Names a job by all that decides its result: a checkpoint of another job is never gone on with."""
    data = hashlib.sha256(Path(job.data).read_bytes()).hexdigest()
    parts = {key: value for key, value in job.write().items() if key not in ("data", "output")}
    parts["settings"] = {key: value for key, value in parts["settings"].items() if key not in BESIDE}
    if job.settings.eval_share:  # a checkpoint by another split has learnt rows that are kept back by this one
        parts["split"] = "by prompt"
    starts = (job.model, job.adapter_from, job.teacher, job.teacher_adapter)
    # What a later version starts from stands under the same path after it was trained anew.
    before = [find_maker(Path(place)) for place in starts if place]
    return hashlib.sha256(json.dumps([method, parts, before, data], sort_keys=True).encode()).hexdigest()


def read_preflight(job: Job) -> dict[str, Any]:
    """What was seen of the rows of a job, as reports hold it; nothing if it was not kept."""
    place = name_preflight(job)
    found = Preflight.model_validate_json(place.read_text()) if place.exists() else None
    return {} if found is None else {"preflight": found.model_dump(exclude_unset=True)}


def name_preflight(job: Job) -> Path:
    """The file of a job in which stands what was seen of its rows: a `Preflight`."""
    return Path(job.data).with_suffix(".preflight.json")


def find_answers(data: str | Path) -> Path:
    """The file of what the student has answered under way; beside the rows, as it quotes them: models are published."""
    return Path(data).with_suffix(".answers.jsonl")


def find_maker(folder: Path) -> str | None:
    """Name of the job that has made a folder; None if no training of ours has."""
    done = folder / "training.json"
    return str(json.loads(done.read_text()).get("job")) if done.exists() else None
