"""Texts that others are compared with, and what is told of the nearest one."""

from typing import Any

from blackbox_kd.analysis.similarity import SimilarityIndex

NOT_THE_SAME = 0.9999
"""The most that texts are alike which are not equal, blanks aside, whatever a metric says of them."""


class Compared:
    """Texts, each with the id of its row, and whether it is held out.

    Args:
        pool: an empty one.
    """

    def __init__(self, pool: SimilarityIndex) -> None:
        self._pool = pool
        self._known: list[tuple[str, str, bool]] = []

    def add(self, row_id: str, text: str, item: Any, *, is_secret: bool) -> None:
        """Compares later texts with this one, too; `item` is what a pool of the same kind has encoded it to."""
        self._pool.add(item)
        self._known.append((row_id, text, is_secret))

    def write_nearest(self, text: str, item: Any) -> tuple[dict[str, Any], str]:
        """What a row shows of the nearest text, nothing of a secret one, and the text."""
        at, similarity = self._pool.nearest(item) or (None, 0.0)
        nearest_id, nearest, is_secret = (None, "", False) if at is None else self._known[at]
        if text.split() != nearest.split():
            similarity = min(similarity, NOT_THE_SAME)
        shown = None if is_secret else nearest or None
        return {"similarity": similarity, "nearest": shown, "nearest_id": nearest_id}, nearest
