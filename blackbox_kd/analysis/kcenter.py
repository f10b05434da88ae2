"""Rows as points: texts by their character n-grams, and the greedy k-center that picks points far from each other."""

import math
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from blackbox_kd.json_text import quote_value, write_text
from blackbox_kd.schema import Row

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


Rank = Callable[[list[Row], int], list[Row]]
"""The best N of some rows."""


def rank_by_distance(
    rows: Sequence[Row],
    labelled: Sequence[Row],
    column: str | None,
    per: str | None,
    votes: str | None,
    rng: Callable[[str], random.Random],
) -> Rank:
    """Ranks rows by how far they are from those picked before them, and from all that are labelled.

    Args:
        rows: those of which some will be ranked.
        labelled: rows that are taken for picked already.
        column: with the text or the numbers; None where `votes` are compared.
        per: names a row's group, for the votes.
        votes: column whose values are counted in each group.
        rng: by the id of the first row, says where is begun.
    """
    points = make_points([*rows, *labelled], column, per, votes)
    place = {row.id: number for number, row in enumerate(rows)}

    def rank(within: list[Row], most: int) -> list[Row]:
        if votes is not None and len({write_text(row[str(per)]) for row in within}) == 1:
            return within[:most]
        numbers = [*(place[row.id] for row in within), *range(len(rows), len(rows) + len(labelled))]
        start, centers = rng(within[0].id).randrange(len(within)), range(len(within), len(numbers))
        return [within[at] for at in choose_farthest(points[numbers], most, start=start, centers=centers)]

    return rank


def make_points(rows: Sequence[Row], column: str | None, per: str | None, votes: str | None) -> Any:
    """The rows as points, [N, D]: their groups' shares of votes, their numbers, or the n-grams of their texts.

    Args:
        rows: N rows.
        column: with the text or the numbers; None where votes are counted.
        per: rows with the same value of this column are a group.
        votes: column whose values are counted in a group.
    """
    if column is None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            counts[write_text(row[str(per)])][write_text(row[str(votes)])] += 1
        return count_votes([counts[write_text(row[str(per)])] for row in rows])
    values = [row[column] for row in rows]
    if values and isinstance(values[0], list):
        import numpy as np

        return np.array([[float(item) for item in value] for value in values])
    return embed_texts([write_text(value) for value in values])


def find_size(rows: Iterable[Row], column: str) -> int | None:
    """The length of most lists of numbers in a column; None where most are texts."""
    values = [row[column] for row in rows if not is_empty(row.get(column))]
    sizes = Counter(len(value) if isinstance(value, list) else None for value in values)
    return sizes.most_common(1)[0][0] if sizes else None


def read_number(value: Any) -> float:
    """A number, or a text that is one; otherwise NaN."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def is_point(value: Any, size: int) -> bool:
    """Whether a value is a list of so many numbers."""
    return isinstance(value, list) and len(value) == size and all(math.isfinite(read_number(item)) for item in value)


def is_empty(value: Any) -> bool:
    """Whether a value holds no text."""
    return value is None or not write_text(value).strip()


def explain_misfit(value: Any, size: int | None) -> str | None:
    """Why a value is no point among others, after "it is"; None if it is one.

    Args:
        value: of the column.
        size: how many numbers the others are; None where they are texts.
    """
    if size is not None:
        return None if is_point(value, size) else f"{quote_value(value)}, not a list of {size} numbers"
    if is_empty(value):
        return "empty"
    return f"{quote_value(value)}, not a text as in other rows" if isinstance(value, list) else None


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
