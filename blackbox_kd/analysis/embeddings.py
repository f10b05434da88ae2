"""Likeness of meaning: texts as vectors of an encoder, compared by the cosine of their angle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blackbox_kd.errors import SetupError, quote_cause
from blackbox_kd.privacy import switch_off_telemetry

if TYPE_CHECKING:
    import numpy as np

BATCH = 64
MAX_TOKENS = 512
"""Tokens of a text that are looked at: what most encoders take at most."""


class EmbeddingPool:
    """Cosine similarity of embeddings, against every text.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084 (mean of the token vectors).
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._vectors: np.ndarray[Any, Any] | None = None
        self._size = 0

    def encode(self, texts: Sequence[str]) -> "list[np.ndarray[Any, Any]]":
        """N vectors of length 1, [D] each.

        Raises:
            SetupError: the encoder cannot be loaded.
        """
        return list(embed(texts, self._model))

    def add(self, item: "np.ndarray[Any, Any]") -> None:
        """Puts a text into the pool."""
        import numpy as np

        if self._vectors is None:
            self._vectors = np.empty((1024, len(item)), dtype=np.float32)
        elif self._size == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.empty_like(self._vectors)])
        self._vectors[self._size] = item
        self._size += 1

    def nearest(self, item: "np.ndarray[Any, Any]") -> tuple[int, float] | None:
        """See `similarity.SimilarityIndex`."""
        if self._vectors is None:
            return None
        cosines = self._vectors[: self._size] @ item
        best = int(cosines.argmax())
        # Rounding takes the cosine of a text with itself to either side of 1.
        return best, round(float(cosines[best]), 6)


def embed(texts: Sequence[str], model: str) -> "np.ndarray[Any, Any]":
    """Means of the last layer's token vectors, each of length 1, [N, D]; on a GPU if there is one.

    Args:
        texts: N texts; beyond 512 tokens they are cut.
        model: folder of an encoder, relative to the working directory, or a hub id.

    Raises:
        SetupError: the encoder cannot be loaded.
    """
    import numpy as np
    import torch

    if not texts:
        return np.empty((0, 0), dtype=np.float32)
    tokenizer, encoder = _load(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device).eval()
    # Texts of one length together: little padding. The order is restored at the end.
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    found: list[Any] = [None] * len(texts)
    most = min(MAX_TOKENS, tokenizer.model_max_length)
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        # An empty text has no token to take the mean of.
        batch = tokenizer(
            [texts[number] or " " for number in numbers],
            padding=True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
        ).to(device)
        with torch.inference_mode():
            hidden = encoder(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)
        for number, vector in zip(numbers, vectors.cpu().numpy(), strict=True):
            found[number] = vector
    return np.stack(found)


def _load(model: str) -> tuple[Any, Any]:
    """The tokenizer and the encoder; weights are read from safetensors alone, and no code of the folder is run."""
    switch_off_telemetry()
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    place = str(Path(model).resolve()) if Path(model).is_dir() else model
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        encoder = AutoModel.from_pretrained(place, dtype="float32", use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = quote_cause(error)
        fix = "name a folder with config.json, a tokenizer and safetensors, or a hub id"
        raise SetupError(f"encoder {model!r} cannot be loaded: {reason}", fix=fix) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, encoder
