"""What the student answers under way to a few questions, so that a person sees what it learns.

Nothing of a training depends on it: answers are greedy, the states of generators and modules are put back, and it takes
a small part of the time.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, TrainerCallback

from blackbox_kd.weights import conversation
from blackbox_kd.weights.load import find_ends

COUNT = 3
MOST_TOKENS = 64
EVALUATED, LEARNT = 0.1, 0.01
"""Shares of the time of a training that answers may take, where it stops for an evaluation loss and elsewhere."""
LEAST_S = 30.0
"""Seconds that they may take in any case, where it stops for an evaluation loss."""
EACH_S = 10.0
"""Most seconds of all questions at one step."""
ENOUGH_S = 0.5
"""Seconds of a question below which none is begun."""
TEXT = ("input_ids", "prompt_ids", "completion_ids", "chosen_ids")
"""Columns of tables that together hold a row's prompt and its answer as tokens."""


def choose(trainer: Any, rows: Iterable[Mapping[str, Any]], tokens: Iterable[Sequence[int]]) -> list[Mapping[str, Any]]:
    """The first rows that are kept back for the evaluation loss, or without any the first ones that are learnt.

    Args:
        trainer: TRL's; its tables have columns of `TEXT`.
        rows: with `prompt`, and perhaps `tools`.
        tokens: of each row's prompt and completion together.
    """
    table = trainer.eval_dataset or trainer.train_dataset
    columns = [name for name in TEXT if name in table.column_names]
    heads = table.select(range(min(COUNT, len(table)))).select_columns(columns).to_list()
    wanted = [[token for name in columns for token in head[name]] for head in heads]
    found: dict[int, Mapping[str, Any]] = {}
    for row, ids in zip(rows, tokens, strict=True):
        for number, head in enumerate(wanted):
            if head == ids:
                found.setdefault(number, row)
    return [found[number] for number in sorted(found)]


class Asker(TrainerCallback):  # type: ignore[misc]
    """Asks the student at each evaluation, or without evaluations at each checkpoint, and writes down what it says.

    Args:
        trainer: TRL's.
        tokenizer: of the student, with the template that it is served with.
        rows: with `prompt`, and perhaps `tools`.
        answer: the column of the answer that a row has.
        file: of JSON lines.
    """

    def __init__(
        self, trainer: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], answer: str, file: Path
    ) -> None:
        self._trainer, self._tokenizer, self._rows, self._answer, self._file = trainer, tokenizer, rows, answer, file
        self._began, self._spent = time.monotonic(), 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Training begins, or goes on from a checkpoint: what was answered behind it is asked anew."""
        self._began = time.monotonic()
        lines = self._file.read_text().splitlines() if state.global_step and self._file.exists() else []
        self._file.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= state.global_step))

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The evaluation loss was computed."""
        self._ask(state.global_step, EVALUATED, LEAST_S)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step has ended."""
        if control.should_save and self._trainer.eval_dataset is None:
            self._ask(state.global_step, LEARNT, 0.0)

    def _ask(self, step: int, share: float, least: float) -> None:
        trainer, began = self._trainer, time.monotonic()
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            return  # the weights are spread over processes, of which one alone would ask
        room = min(EACH_S, max(least, share * (began - self._began)) - self._spent) / max(1, len(self._rows))
        was, model = trainer.model.training, trainer.model
        on_gpu = [model.device] if model.device.type == "cuda" else []
        try:
            model.eval()
            with torch.random.fork_rng(on_gpu), torch.no_grad(), trainer.compute_loss_context_manager():
                said = [self._say(row, room) for row in self._rows if room > ENOUGH_S]
        except Exception as error:  # a model's and a template's own code; a look is not worth a training
            sys.stderr.write(f"the student cannot be asked under way: {error}\n")
            self._rows, said = [], []
        finally:
            model.train(was)
        with self._file.open("a") as file:
            file.writelines(json.dumps({"step": step, **one}) + "\n" for one in said)
        self._spent += time.monotonic() - began

    def _say(self, row: Mapping[str, Any], room: float) -> dict[str, Any]:
        ids = conversation.encode(self._tokenizer, row["prompt"], row.get("tools"), asks=True)
        model = self._trainer.model
        asked, ends = torch.tensor([ids], device=model.device), find_ends(self._tokenizer, model)
        how = GenerationConfig(
            max_new_tokens=MOST_TOKENS,
            max_time=room,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        mask = torch.ones_like(asked)
        said = model.generate(input_ids=asked, attention_mask=mask, generation_config=how)[0, len(ids) :]
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        cut = {} if int(said[-1]) in ends else {"cut_off": True}
        return {"prompt": row["prompt"], "reference": row[self._answer], "answer": text, **cut}
