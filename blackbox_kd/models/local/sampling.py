"""Draws the next token of each row of a batch from noise that belongs to the row alone.

The noise of a row comes from its own seed, one number per token, so a reply does not depend on which rows it
shared a batch with, nor on how often the run was stopped.
"""

import random
from dataclasses import dataclass, field
from typing import Any

NUCLEUS = 1024
"""Tokens looked at first for `top_p`: sorting a whole vocabulary costs more than the model's own step."""


@dataclass(slots=True)
class Draw:
    """How one row is sampled.

    Args:
        temperature: 0 takes the likeliest token.
        top_p: share of the probability that is kept, likeliest tokens first.
        top_k: how many of the likeliest tokens are kept; 0 keeps all.
        seed: of the row's noise.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    _noise: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._noise = random.Random(self.seed)

    def uniform(self) -> float:
        """The row's next number in [0, 1)."""
        return self._noise.random()


def choose_tokens(logits: Any, draws: list[Draw]) -> list[int]:
    """The next token of each row.

    Args:
        logits: tensor, B rows by V tokens.
        draws: B of them; the noise of those that sample moves on by one.

    Returns:
        B token ids.
    """
    import torch

    chosen = logits.argmax(-1)
    sampled = [row for row, draw in enumerate(draws) if draw.temperature > 0]
    if sampled:
        rows = torch.tensor(sampled, device=logits.device)
        drawn = [draws[row] for row in sampled]

        def column(values: list[float]) -> Any:
            return torch.tensor(values, device=logits.device, dtype=torch.float64)[:, None]

        scaled = logits[rows].float() / column([draw.temperature for draw in drawn]).float()
        kept = _keep(scaled.softmax(-1), drawn, column([draw.top_p for draw in drawn]).float())
        heaped = kept.cumsum(-1, dtype=torch.float64)
        aim = column([draw.uniform() for draw in drawn]) * heaped[:, -1:]
        picked = torch.searchsorted(heaped, aim, right=True)[:, 0]
        chosen[rows] = picked.clamp(max=logits.shape[-1] - 1)
    return [int(token) for token in chosen.tolist()]


def find_likeliest(logits: Any, counts: list[int]) -> list[list[tuple[int, float]]]:
    """The likeliest tokens of each row, with natural logarithms of their probabilities at temperature 1.

    Args:
        logits: tensor, B rows by V tokens.
        counts: how many of each row are wanted.
    """
    if not any(counts):
        return [[] for _ in counts]
    found = logits.float().log_softmax(-1).topk(min(max(counts), logits.shape[-1]), dim=-1)
    rows = zip(counts, found.indices.tolist(), found.values.tolist(), strict=True)
    return [list(zip(ids[:count], values[:count], strict=True)) for count, ids, values in rows]


def _keep(shares: Any, draws: list[Draw], top_p: Any) -> Any:
    """Probabilities with what `top_k` and `top_p` leave out at 0; tokens of equal probability stay together."""
    import torch

    size = shares.shape[-1]
    if any(draw.top_k for draw in draws):
        counts = [min(draw.top_k or size, size) for draw in draws]
        largest = shares.topk(max(counts), dim=-1).values
        last = torch.tensor(counts, device=shares.device)[:, None] - 1
        shares = torch.where(shares >= largest.gather(-1, last), shares, 0.0)
        shares = shares / shares.sum(-1, keepdim=True)
    if any(draw.top_p < 1 for draw in draws):
        largest = shares.topk(min(NUCLEUS, size), dim=-1).values
        if (largest.sum(-1, keepdim=True) < top_p).any():
            largest = shares.sort(-1, descending=True).values
        before = largest.cumsum(-1) - largest
        last = (before < top_p).sum(-1, keepdim=True).clamp(min=1) - 1
        nucleus = torch.where(shares >= largest.gather(-1, last), shares, 0.0)
        shares = torch.where(top_p < 1, nucleus, shares)
    return shares
