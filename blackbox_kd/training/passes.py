"""How the rows of an update are divided into passes: by lengths and memory, without a change to what is learnt.

The loader draws the rows of whole updates, in the order of the seed alone, and each update is cut into passes of rows
of like length. So neither the memory of a machine, nor how many processes share the work, nor packing moves a row from
one update into another, and a checkpoint of one machine goes on with the next update on any other.

Source: the order is that of accelerate's SeedableRandomSampler, which plain TRL trains in.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class Room(NamedTuple):
    """What a process computes at once.

    Args:
        tokens: most tokens of a pass, padding included; a pass has at least one row.
        packed: whether the rows of a pass stand one behind the other instead of beneath each other.
    """

    tokens: int
    packed: bool = False


class Pass(NamedTuple):
    """Rows that one process computes at once.

    Args:
        rows: their numbers.
        share: rows of this pass over those of the update, times the processes: the mean over rows is the sum of the
            passes' means times it, when processes average their gradients. 0 for a row that another process computes,
            which is there because all processes must make the same number of passes.
    """

    rows: tuple[int, ...]
    share: float


def divide(rows: Sequence[int], lengths: Sequence[int], room: Room, world: int = 1) -> list[list[Pass]]:
    """The passes of an update, those of each process: as many passes, and of as many rows, on every one.

    Args:
        rows: numbers of the update's rows.
        lengths: tokens of all rows.
        room: of each process.
        world: how many processes share the update.
    """
    left = sorted(rows, key=lambda row: -lengths[row])  # the longest pass first: where memory ends shows at once
    passes: list[list[Pass]] = [[] for _ in range(world)]
    while left:
        size = max(1, min(_count_rows(left[::world], lengths, room), len(left) // world))
        taken, left = left[: size * world], left[size * world :]
        for rank, found in enumerate(passes):
            own = tuple(taken[rank::world])
            found.append(Pass(own, len(own) * world / len(rows)) if own else Pass((taken[0],), 0.0))
    return passes


def _count_rows(longest_first: Sequence[int], lengths: Sequence[int], room: Room) -> int:
    """How many of the rows fit into one pass."""
    if not room.packed:
        return room.tokens // lengths[longest_first[0]]
    used = 0
    for count, row in enumerate(longest_first):
        used += lengths[row]
        if used > room.tokens:
            return count
    return len(longest_first)


class Updates(Sampler[list[Pass]]):  # type: ignore[misc]
    """The passes of one process, update by update."""

    def __init__(
        self, lengths: Sequence[int], size: int, room: Room, seed: int | None, *, rank: int = 0, world: int = 1
    ) -> None:
        self._lengths, self._size, self._room, self._seed = lengths, size, room, seed
        self._rank, self._world, self._epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._lengths) / self._size)

    def __iter__(self) -> Iterator[list[Pass]]:
        order = list(range(len(self._lengths)))
        if self._seed is not None:
            drawn = torch.Generator().manual_seed(self._seed + self._epoch)
            order = torch.randperm(len(order), generator=drawn).tolist()
        for start in range(0, len(order), self._size):
            yield divide(order[start : start + self._size], self._lengths, self._room, self._world)[self._rank]


class Loader(DataLoader[Any]):  # type: ignore[misc]
    """A loader of updates; the trainer tells it of each epoch."""

    def set_epoch(self, epoch: int) -> None:
        """See `Updates`."""
        assert isinstance(self.batch_sampler, Updates)
        self.batch_sampler.set_epoch(epoch)


class _Rows(Dataset[tuple[list[dict[str, Any]], float]]):  # type: ignore[misc]
    """The rows of a table, a pass at a time."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, one: Pass) -> tuple[list[dict[str, Any]], float]:
        return [self._table[row] for row in one.rows], one.share


class InPasses:
    """For a Trainer: an update is what its loader yields, and `training_step` goes through it in passes.

    The class beside it computes the loss of a pass by `compute_loss`, whose inputs have `share` (see `Pass`), and
    counts in `count_items` what the whole update's loss is divided by.
    """

    room = Room(1)
    accelerator: Any
    args: Any

    def measure_rows(self, table: Any) -> list[int]:
        """Tokens of each row in a pass."""
        raise NotImplementedError

    def count_items(self, one: Mapping[str, Any]) -> Any:
        """What is learnt in a pass, as a tensor of one number."""
        raise NotImplementedError

    def find_collator(self) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Makes the tensors of a pass."""
        return self.data_collator  # type: ignore[attr-defined,no-any-return]

    def get_train_dataloader(self) -> Loader:
        """Whole updates, in the order of the seed."""
        return self._load(self.train_dataset, "training", self.args.seed)  # type: ignore[attr-defined]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Loader:
        """As many rows at once as an update has, in their own order."""
        return self._load(eval_dataset or self.eval_dataset, "evaluation", None)  # type: ignore[attr-defined]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Adds up the gradients of an update's passes; processes speak to each other after the last one."""
        passes, total = self._prepare_inputs(inputs)["passes"], 0.0  # type: ignore[attr-defined]
        for number, one in enumerate(passes, 1):
            is_last = number == len(passes)
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            with contextlib.nullcontext() if is_last else self.accelerator.no_sync(model):
                total = total + self.run_pass(model, one, num_items_in_batch)
        return total

    def run_pass(self, model: Any, one: Any, num_items_in_batch: Any) -> Any:
        """Computes the gradients of a pass; returns its loss."""
        return super().training_step(model, one, num_items_in_batch)  # type: ignore[misc]

    def find_longest(self, number: int, tokens: int) -> dict[str, Any]:
        """The tensors of the longest row, by its number; it has so many tokens in a pass."""
        return self.data_collator([self.train_dataset[number]])  # type: ignore[attr-defined,no-any-return]

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Any, None, None]:
        """The evaluation loss of as many rows as an update has, whatever passes they are computed in."""
        inputs, items = self._prepare_inputs(inputs), self._get_num_items_in_batch([inputs])  # type: ignore[attr-defined]
        with torch.no_grad(), self.compute_loss_context_manager():  # type: ignore[attr-defined]
            losses = [self.compute_loss(model, one, num_items_in_batch=items) for one in inputs["passes"]]  # type: ignore[attr-defined]
        return sum(losses), None, None

    def floating_point_ops(self, inputs: Any) -> int:
        """Nobody reads them, and transformers estimates them from one tensor."""
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any = None) -> Any:
        counted = [self.count_items(one) for update in batch_samples for one in update["passes"] if one["share"]]
        items = torch.stack([torch.zeros((), dtype=torch.long), *(count.cpu() for count in counted)]).sum()
        items = items.to(self.args.device)
        return self.accelerator.gather(items).sum() if self.accelerator.num_processes > 1 else items

    def _load(self, table: Any, what: str, seed: int | None) -> Loader:
        return self.load_divided(table, what, seed, self.measure_rows(table), self.room)

    def load_divided(self, table: Any, what: str, seed: int | None, lengths: Sequence[int], room: Room) -> Loader:
        """A loader of updates whose rows have some lengths, in passes of some room."""
        table = self._remove_unused_columns(table, description=what)  # type: ignore[attr-defined]
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        size = self.args.per_device_train_batch_size
        updates = Updates(lengths, size, room, seed, rank=rank, world=world)
        pins, collate = self.args.dataloader_pin_memory, self.collate
        return Loader(_Rows(table), batch_sampler=updates, collate_fn=collate, pin_memory=pins)

    def collate(self, update: Sequence[tuple[list[dict[str, Any]], float]]) -> dict[str, Any]:
        """The tensors of an update, a pass at a time."""
        make = self.find_collator()
        return {"passes": [make(rows) | {"share": share} for rows, share in update]}
