"""How likely a text is, token by token: one forward pass over it, alone, so that no other text changes a digit."""

from typing import Any

import torch

AT_ONCE = 256
"""Positions whose logits are made float32 at once: with a large vocabulary they are the largest thing in memory."""


def compute_logprobs(model: Any, tokens: list[int]) -> list[float]:
    """Natural logarithms of the probabilities that a causal language model gives each token but the first.

    Args:
        model: the model.
        tokens: T token ids.

    Returns:
        T - 1 numbers.
    """
    found = []
    with torch.inference_mode():
        ids = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        for part, wanted in zip(logits.split(AT_ONCE), ids[0, 1:].split(AT_ONCE), strict=True):
            part = part.float()
            found += (part.gather(1, wanted[:, None])[:, 0] - part.logsumexp(-1)).tolist()
    return found
