"""The field of a step that keeps what is new: how alike a row may be to others, and by what that is told."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blackbox_kd.analysis.embeddings import EmbeddingPool
from blackbox_kd.analysis.similarity import MinHashPool, RougePool, SimilarityIndex
from blackbox_kd.errors import FieldError
from blackbox_kd.sdk.fields import Column, TableName


class Novelty(BaseModel):
    """How alike a row may be to others: to those of some tables, and to those kept before it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    column: Column = "instruction"
    """Column with the text that is compared, in all tables."""
    against: list[TableName] = Field(default_factory=list)
    """Tables that the rows are compared with, besides each other. They may be held out: then `nearest` is left empty,
    so that nothing of them is in the rows."""
    per: Column | None = None
    """Rows are compared with those alone that have the same value of this column: several replies to a question, by
    `instruction`, where those to other questions may well say the same."""
    metric: Literal["rouge_l", "minhash", "embedding"] = "rouge_l"
    """`rouge_l`: words in common, in order. `minhash`: runs of three words in common, faster for large tables.
    `embedding`: likeness of meaning, the cosine of `model`'s vectors."""
    max: float = Field(default=0.7, ge=0, le=1)
    """A row may be as alike as this (0.7 itself stays), not more."""
    model: str | None = None
    """Encoder for `embedding`: a folder, relative to the working directory, or a hub id."""

    @model_validator(mode="after")
    def _an_encoder_for_embeddings(self) -> Self:
        if self.metric == "embedding" and self.model is None:
            raise FieldError("metric: embedding needs an encoder", fix="add model: FOLDER, or a hub id")
        if self.metric != "embedding" and self.model is not None:
            raise FieldError(f"metric: {self.metric} reads no model", fix="take model: out, or write metric: embedding")
        return self

    def pool(self) -> SimilarityIndex:
        """An empty pool of the metric."""
        if self.metric == "rouge_l":
            return RougePool()
        return MinHashPool(self.max) if self.metric == "minhash" else EmbeddingPool(str(self.model))
