"""Keys and values of the rows that a model is writing, one slot a row, each as long as its own text.

`generate` of transformers pads rows on the left and copies the whole cache at each token. Here a row keeps its slot
while others come and go, a token is written in place, and what two prompts have in common is computed once and
copied. On two CPU cores this is what makes a small student quick enough to be sampled thousands of times.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, get_layer_types_and_kwargs
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROW = 256
"""Columns by which slots grow."""
ATTENTION = "grouped_sdpa"


def attend_in_groups(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention that reads shared keys and values where they are when each row asks with one token.

    With a mask, transformers copies keys and values once per query head of a group (`repeat_kv`). One token's query
    heads of a group can stand in the place of query positions instead: the same sums, without the copies.

    Args:
        module: the attention layer.
        query: N rows, H query heads, S tokens, D.
        key: N, G heads, L tokens, D.
        value: like `key`.
        attention_mask: N, 1, S, L; true where attended.
        scaling: of the scores.
        rest: what transformers' own function takes.
    """
    rows, heads, tokens, width = query.shape
    groups = key.shape[1]
    if tokens > 1 or heads == groups or rest.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    grouped = query.reshape(rows, groups, heads // groups, width)
    found = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return found.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(ATTENTION, attend_in_groups)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class Slots(Cache):
    """A cache of R slots. `place` says which rows and columns the next forward pass writes and reads.

    Args:
        config: the model's config.
        rows: R.
    """

    def __init__(self, config: Any, rows: int) -> None:
        kinds, options = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
        super().__init__(layers=[])
        self.rows = rows
        self._windows = {kind: each.get("sliding_window") for kind, each in zip(kinds, options, strict=True)}
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._at: torch.Tensor | slice = slice(0, 0)
        self._index = self.positions = torch.empty(0)
        self._end = 0

    def place(self, rows: list[int], start: list[int], width: int, device: torch.device) -> None:
        """The next pass is for `rows`, whose text so far has `start` tokens, with `width` new tokens each."""
        first = torch.tensor(start, device=device)
        self.positions = first[:, None] + torch.arange(width, device=device)
        self._index = torch.tensor(rows, device=device)[:, None]
        self._at = slice(0, len(rows)) if rows == list(range(len(rows))) else self._index[:, 0]
        self._end = max(start) + width

    def mask(self) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """True where a new token attends: N, 1, S, L; by kind of layer if the model has several."""
        columns = torch.arange(self._end, device=self.positions.device)
        asked = self.positions[:, None, :, None]
        masks = {
            kind: (columns <= asked) if window is None else (columns <= asked) & (columns > asked - window)
            for kind, window in self._windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new keys and values (N, G, S, D) in place; returns all up to the last column read."""
        found = []
        for store, states in ((self._keys, key_states), (self._values, value_states)):
            kept = store.get(layer_idx)
            if kept is None or kept.shape[2] < self._end:
                kept = store[layer_idx] = self._grow(kept, states)
            kept[self._index, :, self.positions] = states.transpose(1, 2)
            found.append(kept[self._at, :, : self._end])
        return found[0], found[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns that the next pass reads, its own left out; models that ask are given positions anyway."""
        return self._end - self.positions.shape[-1]

    def copy(self, source: int, target: int, columns: int) -> None:
        """Copies the first columns of one slot to another."""
        if source != target and columns:
            for store in (self._keys, self._values):
                for kept in store.values():
                    kept[target, :, :columns] = kept[source, :, :columns]

    def _grow(self, kept: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
        columns = -(-self._end // GROW) * GROW
        # Zeros, since what is masked is still multiplied, by 0, and must not be a NaN.
        larger = states.new_zeros(self.rows, states.shape[1], columns, states.shape[3])
        if kept is not None:
            larger[:, :, : kept.shape[2]] = kept
        return larger
