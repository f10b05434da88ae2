"""BM25: which of some texts share the rare words of another one."""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from blackbox_kd.analysis.similarity import split_tokens
from blackbox_kd.json_text import write_text
from blackbox_kd.schema import Row

K1 = 1.2
"""How soon more of the same word stops to count; Lucene's default."""
B = 0.75
"""How much a long text is discounted; Lucene's default."""


class Bm25:
    """An index of N texts; a query takes as long as its words are frequent in them.

    Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"; the form with an
    idf that is never negative.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(split_tokens(text)) for text in texts]
        lengths = [count.total() for count in counts]
        mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
        self._size = len(counts)
        self._weights: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            for word, times in count.items():
                weight = times * (K1 + 1) / (times + K1 * (1 - B + B * length / mean))
                self._weights[word].append((number, weight))

    def scores(self, query: str) -> list[float]:
        """The score of each text; 0 for those that share no word with the query."""
        found = [0.0] * self._size
        for word in dict.fromkeys(split_tokens(query)):
            weights = self._weights.get(word, ())
            idf = math.log(1 + (self._size - len(weights) + 0.5) / (len(weights) + 0.5))
            for number, weight in weights:
                found[number] += idf * weight
        return found

    def nearest(self, query: str, count: int) -> list[int]:
        """Positions of the `count` texts with the highest scores, best first; of equal ones, the first."""
        scores = self.scores(query)
        return heapq.nsmallest(count, range(self._size), key=lambda number: (-scores[number], number))


def find_similar(texts: Sequence[str], queries: Iterable[str], count: int, *, own: bool) -> Iterator[list[int]]:
    """The texts that are most like each query and share a word with it, by their numbers, best first.

    Args:
        texts: those that are looked through.
        queries: what is looked for.
        count: the most texts for a query.
        own: whether a text that is the query itself may be among them.
    """
    words = [set(split_tokens(text)) for text in texts]
    same = Counter(texts)
    index = Bm25(texts)
    for query in queries:
        asked = set(split_tokens(query))
        numbers = index.nearest(query, count if own else count + same[query])
        near = [number for number in numbers if words[number] & asked and (own or texts[number] != query)]
        yield near[:count]


def find_rows(
    index: Sequence[Row], rows: Sequence[Row], column: str, count: int, *, own: bool
) -> Iterator[list[dict[str, Any]]]:
    """The rows of `index` whose text in a column is most like that of each of `rows`; see `find_similar`."""
    texts, queries = (
        ["" if row[column] is None else write_text(row[column]) for row in table] for table in (index, rows)
    )
    for numbers in find_similar(texts, queries, count, own=own):
        yield [dict(index[number]) for number in numbers]
