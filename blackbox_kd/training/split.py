"""Which rows are kept back for the evaluation loss: whole prompts, so that none is learnt and asked as well.

Rows that learn different replies to the same messages are rows of one prompt. So are a conversation's turns, each with
the turns before it: where the input of one row begins with that of another, what the first one is asked has been
learnt, or read, in the second. Conversations that merely begin alike, with the same examples, stand for themselves.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.training import masks
from blackbox_kd.training.artefacts import Settings

LARGEST = 0.49
"""The largest share that a message proposes: less than half may be kept back."""

Messages = Sequence[Mapping[str, Any]]


def split_rows(
    columns: list[dict[str, Any]], rows: Sequence[Mapping[str, Any]], settings: Settings
) -> tuple[dict[str, Any], list[str]]:
    """The rows to train on, under `train`, and those that are kept back, under `test`; and what is odd about them.

    Args:
        columns: what training reads of N rows.
        rows: the same N rows as messages.
        settings: with the share, and the seed that draws; the order of the rows decides nothing.
    """
    from datasets import Dataset

    dataset = Dataset.from_list(columns)
    if not settings.eval_share:
        return {"train": dataset}, []
    groups = group_rows([find_input(row, earlier=settings.turns == "all") for row in rows])
    held = choose_groups(groups, settings.eval_share, settings.seed)
    if not held:
        return {"train": dataset}, [explain_none(groups, settings.eval_share)]
    chosen = {number for prompt in held for number in groups[prompt]}
    places = [[n for n in range(len(rows)) if (n in chosen) == is_held] for is_held in (False, True)]
    return {part: dataset.select(own) for part, own in zip(("train", "test"), places, strict=True)}, []


def find_input(row: Mapping[str, Any], *, earlier: bool) -> Messages:
    """The messages before the first reply that is learnt, or that reply where nothing stands before it.

    Args:
        row: with the messages of what is asked and learnt.
        earlier: whether the assistant's turns in the prompt are learnt, too.
    """
    completion = row.get("completion", [])  # pairs of DPO have the same prompt for both texts
    messages = [*row["prompt"], *completion]
    learnt = masks.find_learnt(row["prompt"], completion, earlier=earlier)
    return messages[: max(1, learnt[0])] if learnt else messages


def group_rows(inputs: Sequence[Messages]) -> dict[str, list[int]]:
    """Numbers of the rows of each prompt, by a hash of the shortest input that all of them begin with."""
    beginnings = [list(_hash_beginnings(messages)) for messages in inputs]
    known = {hashes[-1] for hashes in beginnings}
    groups: dict[str, list[int]] = {}
    for number, hashes in enumerate(beginnings):
        groups.setdefault(next(found for found in hashes if found in known), []).append(number)
    return groups


def _hash_beginnings(messages: Messages) -> Iterator[str]:
    """A hash of the first message, of the first two, and so on."""
    found = hashlib.sha256()
    for message in messages:
        said = {key: value for key, value in message.items() if key != "weight"}
        found.update(json.dumps(said, sort_keys=True).encode())
        yield found.hexdigest()


def choose_groups(groups: Mapping[str, Sequence[int]], share: float, seed: int) -> list[str]:
    """The groups that are kept back, drawn by the seed; together they come as near to the share of rows as any do.

    Of two sums that are as near, it is the smaller one. There are none where no group is nearer to the share than 0.
    """
    drawn = sorted(groups, key=lambda prompt: hashlib.sha256(f"{seed} {prompt}".encode()).digest())
    wanted = share * sum(map(len, groups.values()))
    numbers = _choose_sizes([len(groups[prompt]) for prompt in drawn], wanted)
    return [drawn[number] for number in numbers]


def _choose_sizes(sizes: Sequence[int], wanted: float) -> list[int]:
    """Numbers of the sizes, early ones first, whose sum is the nearest to what is wanted."""
    nearest, limit = math.ceil(wanted - 0.5), math.ceil(2 * wanted)  # what is beyond is farther off than 0
    # A set of the sums that there are, as bits; and for each sum the size by which it was first come to.
    reached, by = 1, dict[int, int]()
    for number, size in enumerate(sizes):
        new = (reached << size) & ((1 << limit) - 1) & ~reached
        reached |= new
        while new:
            by[new.bit_length() - 1] = number
            new ^= 1 << (new.bit_length() - 1)
        if nearest in by:
            break
    best = min((0, *by), key=lambda total: (abs(total - wanted), total))
    chosen = []
    while best:
        chosen.append(by[best])
        best -= sizes[by[best]]
    return chosen


def explain_none(groups: Mapping[str, Sequence[int]], share: float) -> str:
    """Why nothing is kept back, and what to write instead."""
    rows, fewest = sum(map(len, groups.values())), min(map(len, groups.values()))
    if len(groups) == 1:
        return f"all {rows:,} rows have one prompt, so none is kept back by eval_share: there is no evaluation loss"
    larger = min(LARGEST, math.ceil(100 * fewest / rows) / 100)
    return (
        f"eval_share {share:g} of {rows:,} rows keeps none back, as no prompt has so few: there is no evaluation "
        f"loss; eval_share: {larger:g} keeps some"
    )
