"""Rows as points: texts by their character n-grams, and the greedy k-center that picks points far from each other."""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

NGRAMS = (3, 4, 5)
"""Lengths of the character n-grams: they need no words, so any script will do."""
BUCKETS = 2**18


def embed_texts(texts: Sequence[str]) -> Any:
    """Hashed TF-IDF of character n-grams, each of length 1: a sparse matrix [N, 2**18]; no vocabulary is kept."""
    import numpy as np
    from scipy import sparse

    counts = [_count_ngrams(text) for text in texts]
    seen = Counter(bucket for count in counts for bucket in count)
    data: list[float] = []
    columns: list[int] = []
    ends = [0]
    for count in counts:
        weights = {b: (1 + math.log(n)) * (1 + math.log(len(texts) / seen[b])) for b, n in count.items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        columns += weights.keys()
        data += [weight / norm for weight in weights.values()]
        ends.append(len(columns))
    return sparse.csr_matrix((np.array(data), np.array(columns, dtype=np.int64), ends), shape=(len(texts), BUCKETS))


def _count_ngrams(text: str) -> Counter[int]:
    """Counts of a text's n-grams by bucket; CRC-32 gives the same buckets in every process."""
    plain = " ".join(text.lower().split())
    grams = Counter(plain[at : at + n] for n in NGRAMS for at in range(max(1, len(plain) - n + 1)) if plain)
    found: Counter[int] = Counter()
    for gram, times in grams.items():
        found[zlib.crc32(gram.encode()) % BUCKETS] += times
    return found


def count_votes(votes: Sequence[Counter[str]]) -> Any:
    """Shares of the votes for each answer: a matrix [N, C] over the C answers that anybody gave."""
    import numpy as np

    answers = {answer: at for at, answer in enumerate(sorted({answer for vote in votes for answer in vote}))}
    found = np.zeros((len(votes), len(answers)))
    for number, vote in enumerate(votes):
        for answer, times in vote.items():
            found[number, answers[answer]] = times / vote.total()
    return found


def choose_farthest(points: Any, count: int, *, start: int, centers: Sequence[int] = ()) -> list[int]:
    """Positions of `count` points, each the farthest (L2) from those before it and from `centers`.

    This is the greedy 2-approximation of k-center: no point is farther from its nearest pick than twice the best
    possible. Of equally far points, the first is taken.

    Args:
        points: [N, D], dense or sparse.
        count: how many to pick.
        start: the first pick, if there are no centers.
        centers: positions of points that count as picked before; they are never picked.

    Source: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"; over output distributions in
    PCoreSet, arXiv:2506.00910.
    """
    import numpy as np

    total = points.shape[0]
    squares = np.asarray(
        points.multiply(points).sum(axis=1) if hasattr(points, "multiply") else (points**2).sum(axis=1)
    )
    squares = squares.ravel()
    nearest = np.full(total, np.inf)

    def cover(center: int) -> None:
        row = points[[center]]
        products = np.asarray((points @ row.T).todense() if hasattr(row, "todense") else points @ row.T).ravel()
        # Rounded: points that are equally far stay so, in whatever order the products were summed.
        distances = np.maximum(squares + squares[center] - 2 * products, 0.0).round(9)
        np.minimum(nearest, distances, out=nearest)

    for center in centers:
        cover(center)
    nearest[list(centers)] = -1.0
    picked: list[int] = []
    while len(picked) < min(count, total - len(set(centers))):
        best = int(nearest.argmax()) if picked or centers else start
        cover(best)
        nearest[best] = -1.0
        picked.append(best)
    return picked
