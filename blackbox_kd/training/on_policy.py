"""Updates in which a student learns, token by token, what a teacher at hand would say of texts: given, or its own.

What the student writes is drawn for whole updates, in the order of the seed, and only then cut into passes: neither
memory nor lengths decide what is drawn.

Source: Agarwal et al. 2024, arXiv:2306.13649 (GKD: texts of the student with a probability, given ones otherwise); the
order of updates is that of TRL's trainers.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate.utils import broadcast_object_list
from transformers import GenerationConfig, Trainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import pad

from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.passes import InPasses, Loader, Room, divide

Tokens = Mapping[str, list[int]]
"""A row of `prompt_ids` and `completion_ids`."""


class Writing(NamedTuple):
    """How the student writes.

    Args:
        share: the probability that it writes the texts of an update; 0: it never does.
        longest: most tokens of a text.
        temperature: of its sampling.
        top_p: likewise.
        ends: tokens that end a text.
    """

    share: float
    longest: int
    temperature: float
    top_p: float
    ends: Sequence[int]


class OnPolicy(InPasses):
    """For a Trainer of rows of `prompt_ids` and `completion_ids`.

    The class beside it computes the loss of a pass by `compute_loss`, whose inputs are those of `make_tensors`.
    """

    writing: Writing
    processing_class: Any
    model: Any

    def measure_rows(self, table: Any) -> list[int]:
        """See `InPasses`; a text that is still to be written can be as long as it may be."""
        longest = self.writing.longest if self.writing.share else 0
        pairs = zip(table["prompt_ids"], table["completion_ids"], strict=True)
        return [len(asked) + max(len(said), longest) for asked, said in pairs]

    def find_longest(self, number: int, tokens: int) -> dict[str, Any]:
        """See `InPasses`: the row with as long an answer as may be written."""
        row = self.train_dataset[number]  # type: ignore[attr-defined]
        said = row["completion_ids"]
        more = tokens - len(row["prompt_ids"]) - len(said)
        return self.make_tensors([{**row, "completion_ids": said + [self.processing_class.pad_token_id] * more}])

    def count_items(self, one: Mapping[str, Any]) -> Any:
        """See `InPasses`: tokens of the answers."""
        if "rows" in one:
            return torch.tensor(sum(len(row["completion_ids"]) for row in one["rows"]))
        return (one["labels"] != IGNORED).sum()

    def find_answers(self, made: Mapping[str, Any]) -> int:
        """The first column of the tensors in which an answer has a token."""
        return int((made["labels"] != IGNORED).any(0).int().argmax())

    def collate(self, update: Sequence[tuple[list[dict[str, Any]], float]]) -> dict[str, Any]:
        """The rows of an update, of which passes are made once its texts are written."""
        return {"passes": [{"rows": rows, "share": share} for rows, share in update]}

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """See `InPasses`; the loss is divided by the tokens that are there once they are written."""
        [whole] = inputs["passes"]
        rows = self._write(model, whole["rows"]) if self._draw() else whole["rows"]
        items = self._get_num_items_in_batch([{"passes": [{**whole, "rows": rows}]}])
        return super().training_step(model, self._cut(rows, whole["share"]), items)

    def run_pass(self, model: Any, one: Any, num_items_in_batch: Any) -> Any:
        """See `InPasses`; the steps of TRL's trainers would write texts once more."""
        return Trainer.training_step(self, model, one, num_items_in_batch)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """The evaluation loss is that on the given texts, which are the same at every evaluation."""
        [whole] = inputs["passes"]
        return super().prediction_step(model, self._cut(whole["rows"], whole["share"]), *args, **kwargs)

    def make_tensors(self, rows: Sequence[Tokens]) -> dict[str, Any]:
        """A pass of B rows: prompts of P tokens, padded before them, and answers of C tokens, padded behind them."""
        asked, said = (_pad_both(rows, name, self.processing_class.pad_token_id) for name in ("prompt", "completion"))
        labels = said[0].masked_fill(said[1] == 0, IGNORED)
        return {
            "input_ids": torch.cat([asked[0], said[0]], dim=1),
            "attention_mask": torch.cat([asked[1], said[1]], dim=1),
            "labels": torch.cat([torch.full_like(asked[0], IGNORED), labels], dim=1),
        }

    def _prepare_inputs(self, inputs: Any) -> Any:
        return Trainer._prepare_inputs(self, inputs)  # TRL's would write texts once more

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt_ids", "completion_ids"]

    def _load(self, table: Any, what: str, seed: int | None) -> Loader:
        return self.load_divided(table, what, seed, [1] * len(table), Room(max(1, len(table))))

    def _draw(self) -> bool:
        """Whether the student writes the texts of this update; all processes agree."""
        drawn = [bool(self.writing.share) and random.random() <= self.writing.share]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(drawn)
        return drawn[0]

    def _cut(self, rows: Sequence[Tokens], share: float) -> dict[str, Any]:
        lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows]
        [passes] = divide(range(len(rows)), lengths, self.room)
        return {
            "passes": [
                self.make_tensors([rows[number] for number in one.rows]) | {"share": one.share * share}
                for one in passes
            ]
        }

    def _write(self, model: Any, rows: Sequence[Tokens]) -> list[dict[str, list[int]]]:
        """The rows with what the student says now in place of their answers."""
        ids, mask = _pad_both(rows, "prompt", self.processing_class.pad_token_id)
        how: dict[str, Any] = {
            "max_new_tokens": self.writing.longest,
            "do_sample": True,
            "temperature": self.writing.temperature,
            "top_p": self.writing.top_p,
            "top_k": 0,
            "eos_token_id": list(self.writing.ends),
            "pad_token_id": self.processing_class.pad_token_id,
        }
        asked = self._prepare_inputs({"input_ids": ids, "attention_mask": mask})
        with unwrap_model_for_generation(model, self.accelerator, generation_kwargs=how) as plain, torch.no_grad():
            written = plain.generate(**asked, generation_config=GenerationConfig(**how))[:, ids.shape[1] :].tolist()
        return [
            {"prompt_ids": row["prompt_ids"], "completion_ids": self._end(said)}
            for row, said in zip(rows, written, strict=True)
        ]

    def _end(self, said: list[int]) -> list[int]:
        """A text up to the first token that ends it."""
        end = next((at for at, token in enumerate(said) if token in self.writing.ends), len(said))
        return said[: end + 1]


def _pad_both(rows: Sequence[Tokens], name: str, filler: int) -> tuple[Any, Any]:
    """Tokens of B rows and their mask, padded at the side that is away from what stands beside them."""
    texts = [torch.tensor(row[f"{name}_ids"], dtype=torch.long) for row in rows]
    side = "left" if name == "prompt" else "right"
    masks = [torch.ones_like(text) for text in texts]
    return pad(texts, padding_value=filler, padding_side=side), pad(masks, padding_value=0, padding_side=side)
