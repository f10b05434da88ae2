"""How alike two texts are: ROUGE-L, MinHash of word shingles, and embeddings, each as a pool of texts that is asked.

A pool answers one question, `nearest`: which of the texts put in so far is most like this one, and how much. The
three pools differ in speed and in what they call alike; 1.0 is the same text for all of them.
"""

import functools
import random
import re
import unicodedata
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

_ASCII_WORD = re.compile(r"[a-z0-9]+")
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese: words stand without spaces, so each character is taken for one."""
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


class _Spaced(dict[int, str]):
    """Characters that belong to no word -> a space; for `str.translate`, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        letter = unicodedata.category(chr(code))[0] in "LNM"
        self[code] = chr(code) if letter else " "
        return self[code]


_SPACED = _Spaced()


def tokens(text: str) -> list[str]:
    """The words and numbers of a text in lower case, as rouge-score takes them, but in any script; no stemming."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().translate(_SPACED))


def _take_compared(text: str) -> list[str]:
    """The words of a text; of one without letters and digits, such as `+` or an emoji, what stands between spaces."""
    return tokens(text) or text.split()


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F1 of two texts: 2 * LCS / (m + n) of their words; 0.0 if one is empty.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
    """
    from rapidfuzz.distance import LCSseq

    left, right = _take_compared(a), _take_compared(b)
    # One division, so that an F1 of 7/10 is the float 0.7: 1 - 3/10 is not for every length.
    return 2 * LCSseq.similarity(left, right) / (len(left) + len(right)) if left and right else 0.0


class SimilarityIndex(Protocol):
    """Texts that were put in, and which of them is most like another one.

    `encode` turns N texts into N items at once; `add` and `nearest` take such items. `nearest` gives the position of
    the most alike text in the order of `add`, and its similarity; None if no text in the pool is like it at all.
    """

    def encode(self, texts: Sequence[str]) -> Sequence[Any]:
        """The texts as items."""
        ...

    def add(self, item: Any) -> None:
        """Puts a text into the pool."""
        ...

    def nearest(self, item: Any) -> tuple[int, float] | None:
        """The most alike text, if any is alike."""
        ...


class RougePool:
    """ROUGE-L F1, exactly, against every text: 3,000 texts against 50,000 instructions take a minute or two.

    Each word becomes one character, so that the common subsequence of two texts is one of two strings.
    """

    def __init__(self) -> None:
        self._characters: dict[str, str] = {}
        self._texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[str]:
        """The texts, a character for each word."""
        return ["".join(map(self._character, _take_compared(text))) for text in texts]

    def _character(self, word: str) -> str:
        # A vocabulary of more words than there are characters shares some: two words in a million seem the same.
        return self._characters.setdefault(word, chr(len(self._characters) % 0x110000))

    def add(self, item: str) -> None:
        """Puts a text into the pool."""
        self._texts.append(item)

    def nearest(self, item: str) -> tuple[int, float] | None:
        """See `SimilarityIndex`."""
        from rapidfuzz import process
        from rapidfuzz.distance import Indel, LCSseq

        found = process.extractOne(item, self._texts, scorer=Indel.normalized_similarity) if item else None
        if found is None or not found[1]:
            return None
        other, _, index = found
        return index, 2 * LCSseq.similarity(item, other) / (len(item) + len(other))


SHINGLE = 3
"""Words of a shingle: short enough for instructions of a dozen words."""
HASHES = 128
_MISSED = 1e-3
"""Share of the texts exactly at the limit that may go unseen; those above it are seen more surely."""


class MinHashPool:
    """Jaccard similarity of the sets of three words in a row, against texts that share a band of MinHashes.

    Much faster than ROUGE-L for large pools. Texts below `limit` may go unseen: their similarity is then told as none.

    Source: Broder 1997, "On the resemblance and containment of documents"; bands: Indyk and Motwani 1998.
    """

    def __init__(self, limit: float) -> None:
        fits = (size for size in (8, 4, 2) if (1 - limit**size) ** (HASHES // size) <= _MISSED)
        self._band = next(fits, 1)
        self._shingles: list[frozenset[int]] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def encode(self, texts: Sequence[str]) -> list[tuple[frozenset[int], list[tuple[int, bytes]]]]:
        """Of each text, its shingles and the bands of its MinHashes."""
        return [(found, self._bands(found)) for found in map(_shingles, texts)]

    def _bands(self, shingles: frozenset[int]) -> list[tuple[int, bytes]]:
        if not shingles:
            return []
        smallest = _minhashes(shingles)
        return [(at, smallest[at : at + self._band].tobytes()) for at in range(0, HASHES, self._band)]

    def add(self, item: tuple[frozenset[int], list[tuple[int, bytes]]]) -> None:
        """Puts a text into the pool."""
        for band in item[1]:
            self._buckets.setdefault(band, []).append(len(self._shingles))
        self._shingles.append(item[0])

    def nearest(self, item: tuple[frozenset[int], list[tuple[int, bytes]]]) -> tuple[int, float] | None:
        """See `SimilarityIndex`."""
        shingles, bands = item
        met = {index for band in bands for index in self._buckets.get(band, ())}
        alike = ((len(shingles & self._shingles[i]) / len(shingles | self._shingles[i]), -i) for i in met)
        best = max(alike, default=None)
        return None if best is None else (-best[1], best[0])


def _shingles(text: str) -> frozenset[int]:
    """Hashes of the runs of three words; of a shorter text, of all its words. The same in every process."""
    words = _take_compared(text)
    runs = range(max(1, len(words) - SHINGLE + 1)) if words else ()
    return frozenset(zlib.crc32(" ".join(words[at : at + SHINGLE]).encode()) for at in runs)


@functools.cache
def _hash_functions() -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Odd factors and summands of 128 multiply-shift hash functions, as columns."""
    import numpy as np

    rng = random.Random(0)
    drawn = np.array([(rng.getrandbits(64) | 1, rng.getrandbits(64)) for _ in range(HASHES)], dtype=np.uint64)
    return drawn[:, :1], drawn[:, 1:]


def _minhashes(shingles: frozenset[int]) -> "np.ndarray[Any, Any]":
    """The smallest hash of a text's shingles under each hash function."""
    import numpy as np

    factors, summands = _hash_functions()
    values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
    smallest: np.ndarray[Any, Any] = ((factors * values + summands) >> np.uint64(32)).min(axis=1)
    return smallest
