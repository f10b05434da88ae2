"""Writes replies with transformers' own `generate`, batch after batch: for models that `decoding` does not fit.

These are the ones with other memories than keys and values, such as recurrent and convolutional layers.
"""

from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from blackbox_kd.models.local.decoding import Generation
from blackbox_kd.models.local.sampling import choose_tokens, find_likeliest


class Generating:
    """Like `decoding.Decoder`, but a batch ends with its longest reply.

    Args:
        model: a causal language model.
        rows: the most texts written at once.
        ends: tokens that end a text.
    """

    def __init__(self, model: Any, rows: int, ends: list[int]) -> None:
        self._model = model
        self._rows = rows
        self._ends = ends
        self.waiting: list[Generation] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.waiting)

    @torch.inference_mode()
    def step(self) -> list[Generation]:
        """Writes a whole batch, who has waited longest first."""
        texts = [text for text in self.waiting if not text.dropped][: self._rows]
        self.waiting = [text for text in self.waiting if text not in texts and not text.dropped]
        if not texts:
            return []
        width = max(len(text.prompt) for text in texts)
        padding = [width - len(text.prompt) for text in texts]
        ids = [[self._ends[0]] * pad + text.prompt for pad, text in zip(padding, texts, strict=True)]
        mask = [[0] * pad + [1] * len(text.prompt) for pad, text in zip(padding, texts, strict=True)]
        rows = _Rows(texts)
        self._model.generate(
            input_ids=torch.tensor(ids, device=self._model.device),
            attention_mask=torch.tensor(mask, device=self._model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(text.max_tokens for text in texts),
                eos_token_id=self._ends,
                pad_token_id=self._ends[0],
            ),
            logits_processor=LogitsProcessorList([rows.draw]),
            stopping_criteria=StoppingCriteriaList([rows.done]),
        )
        return texts


class _Rows:
    """What `generate` asks at each token: which tokens come next, and which rows are done."""

    def __init__(self, texts: list[Generation]) -> None:
        self._texts = texts
        self._ended = [False] * len(texts)

    def draw(self, input_ids: Any, scores: Any) -> Any:
        """Scores that leave each row the token drawn for it."""
        likeliest = find_likeliest(scores, [text.top for text in self._texts])
        chosen = choose_tokens(scores, [text.draw for text in self._texts])
        for row, text in enumerate(self._texts):
            if not self._ended[row]:
                text.tokens.append(chosen[row])
                text.likeliest.append(likeliest[row])
                enough = text.dropped or len(text.tokens) >= text.max_tokens
                self._ended[row] = enough or text.finished(text.tokens)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter(1, torch.tensor(chosen, device=scores.device)[:, None], 0.0)

    def done(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """True for rows that are done."""
        return torch.tensor(self._ended, device=input_ids.device)
