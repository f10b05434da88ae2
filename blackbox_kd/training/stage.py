"""What every method of training does around its trainer: rows, weights and checkpoints before, results behind it."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.training import answers, checkpoints, describe, overview, preflight
from blackbox_kd.training import job as jobs
from blackbox_kd.training.artefacts import Job, Result, Settings, find_answers
from blackbox_kd.training.machine import Machine, Machines, plan_passes, use_plan
from blackbox_kd.training.model import load_model, make_lora, merges
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.split import split_rows
from blackbox_kd.weights.load import find_context_length

MakeColumns = Callable[[Looked, list[int]], list[dict[str, Any]]]
"""The columns that a trainer reads, of those rows whose numbers are given."""
MakeArguments = Callable[[Settings, Path, Any, int, Machine], Any]
"""TRL's arguments, of settings, folder of checkpoints, parts of the rows, most tokens of a text, and machine."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A training that may begin.

    Args:
        job: what is trained.
        name: of the job.
        machines: what it runs on.
        there: the same as it was when nothing was loaded.
        tell: is told of each step.
        began: seconds of the monotonic clock.
        looked: the rows.
        model: the weights to train, perhaps with the adapter on them that is trained on.
        limit: most tokens of a row.
        fit: numbers of the rows that fit.
        parts: of these, what is read of those to train on (`train`) and of those kept back (`test`).
        warnings: what is odd.
        folder: of checkpoints.
    """

    job: Job
    name: str
    machines: Machines
    there: Machine
    tell: Tell
    began: float
    looked: Looked
    model: Any
    limit: int
    fit: list[int]
    parts: dict[str, Any]
    warnings: list[str]
    folder: Path

    @property
    def settings(self) -> Settings:
        """How it is trained."""
        return self.job.settings

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that fit, as messages."""
        return [self.looked.rows[number] for number in self.fit]

    def list_given(self, make_arguments: MakeArguments) -> dict[str, Any]:
        """What every trainer is given."""
        return {
            "args": make_arguments(self.settings, self.folder, self.parts, self.limit, self.there),
            "model": self.model,
            "train_dataset": self.parts["train"],
            "eval_dataset": self.parts.get("test"),
            "processing_class": self.looked.tokenizer,
            "peft_config": make_lora(self.job, self.model),
        }

    def finish(
        self,
        trainer: Any,
        look_back: Callable[[], dict[str, Any]] = dict,
        *,
        packed: bool = False,
        why: str = "",
        found: Mapping[str, Any],
    ) -> Result:
        """Trains, saves, and says how it went.

        Args:
            trainer: TRL's, which makes its passes as planned.
            look_back: says behind it what the method alone has to say.
            packed: whether rows stand one behind the other.
            why: the reason of that.
            found: what it has to say before.
        """
        looked, settings, answer = self.looked, self.settings, self.looked.columns[0]
        plan = plan_passes(trainer, self.machines.read, packed=packed, halved=self.machines.halved, why=why)
        use_plan(trainer, plan)
        shown = answers.choose(trainer, self.rows, [looked.lengths.texts[answer][n].ids for n in self.fit])
        asker = answers.Asker(trainer, looked.tokenizer, shown, answer, find_answers(self.job.data))
        output = Path(self.job.output)
        jobs.carry_out(trainer, output, settings, looked.tokenizer, self.tell, asker, merges=merges(self.job))
        return Result(
            job=self.name,
            rows=len(self.parts["train"]),
            rows_left_out=len(looked.rows) - len(self.fit),
            rows_for_evaluation_loss=len(self.parts.get("test", [])),
            longest_row_tokens=max(looked.lengths.tokens[number] for number in self.fit),
            max_length=self.limit,
            **found,
            **look_back(),
            **describe.describe_training(trainer, self.began, self.there, plan, settings),
            settings=settings,
        )


def prepare(
    method: str,
    job: Job,
    name: str,
    machines: Machines,
    tell: Tell,
    make_columns: MakeColumns,
    find_warnings: Callable[[Job, list[dict[str, Any]]], Iterable[str]] = lambda job, rows: (),
) -> Stage:
    """Seeds, reads and checks rows, loads the weights, and says what is odd.

    Args:
        method: the module of this folder.
        job: what is trained.
        name: of the job.
        machines: what it runs on.
        tell: is told of what is odd.
        make_columns: makes what the trainer reads.
        find_warnings: what is odd about the job.

    Raises:
        DataError: a row or the job as a whole is refused.
    """
    began, settings = time.monotonic(), job.settings
    jobs.prepare_process(settings.seed)
    looked = overview.look(method, job)
    there = machines.read()
    model = load_model(job, there.precision)
    limit = preflight.choose_length(looked.lengths, settings.max_length, find_context_length(model.config))
    fit = preflight.select_rows(looked.lengths, limit, drop=settings.long_rows == "drop")
    parts, odd = split_rows(make_columns(looked, fit), [looked.rows[n] for n in fit], settings)
    overview.keep(job, seen := overview.describe_rows(looked, settings, limit, len(parts.get("test", [])), odd))
    warnings = [*find_warnings(job, looked.rows), *odd]
    for warning in dict.fromkeys([*warnings, *overview.list_warnings(seen)]):
        tell({"event": "warning", "warning": warning})
    folder = checkpoints.prepare_folder(Path(job.output), name, is_first=jobs.FIRST_PROCESS, on_gpu=there.on_gpu)
    return Stage(job, name, machines, there, tell, began, looked, model, limit, fit, parts, warnings, folder)
