"""How likely a text is, token by token: one forward pass over it, alone, so that no other text changes a digit."""

from collections import Counter
from typing import Any, NamedTuple

import torch

AT_ONCE = 256
"""Positions whose logits are made float32 at once: with a large vocabulary they are the largest thing in memory."""


class Found(NamedTuple):
    """What a model finds at one token of a text.

    Args:
        logprob: natural logarithm of the token's probability.
        rank: 1 for the likeliest.
        top: the likeliest tokens, and their logarithms.
        drawn: tokens drawn from all of the vocabulary, and how often.
    """

    logprob: float
    rank: int
    top: list[tuple[int, float]]
    drawn: dict[int, int]


def score_tokens(model: Any, tokens: list[int], *, top: int = 0, draws: int = 0, seed: int = 0) -> list[Found]:
    """What a causal language model finds at each token but the first.

    Args:
        model: the model.
        tokens: T token ids.
        top: how many of the likeliest tokens are told at each.
        draws: how many are drawn at each, with replacement.
        seed: of the draws.

    Returns:
        T - 1 of them.
    """
    found: list[Found] = []
    noise = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        ids = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        for part, wanted in zip(logits.split(AT_ONCE), ids[0, 1:].split(AT_ONCE), strict=True):
            part = part.float()
            own, whole = part.gather(1, wanted[:, None]), part.logsumexp(-1, keepdim=True)
            best = (part - whole).topk(min(top, part.shape[-1]), dim=-1)
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            likely = [list(zip(*pair, strict=True)) for pair in pairs]
            drawn: list[dict[int, int]] = [{} for _ in likely]
            if draws:
                shares = part.softmax(-1).cpu()
                drawn = [Counter(row) for row in shares.multinomial(draws, True, generator=noise).tolist()]
            values, ranks = (own - whole)[:, 0].tolist(), (1 + (part > own).sum(-1)).tolist()
            found += map(Found, values, ranks, likely, drawn)
    return found
