"""How alike two texts are: ROUGE-L, MinHash of word shingles, and embeddings, each as a pool of texts that is asked.

A pool answers one question, `nearest`: which of the texts put in so far is most like this one, and how much. The
three pools differ in speed and in what they call alike; 1.0 is the same text for all of them, but for case and the
punctuation of sentences. Where a text holds digits or code, its signs are words as well: `x + 2` is not `x - 2`, nor
C++ C#.
"""

import functools
import random
import re
import unicodedata
import zlib
from collections import Counter
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


def split_tokens(text: str) -> list[str]:
    """The words and numbers of a text in lower case, as rouge-score takes them, but in any script; no stemming."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().translate(_SPACED))


_FORMAL = re.compile(r"[\d$+<=>^`|~*/%&#@\\_\[\]{}]")
_FORMAL_HERE = re.compile(r"[(.!-](?:(?<=\w\()|(?<=\w\.)(?=\w)|(?<=!)(?=\w)|(?<=-)(?:(?=\s|\w\b)|(?<!\S-)))")
"""What tells that a text holds digits or code, anywhere and by what it stands beside: `f(x)`, `a.b`, `!x`, `x - y`. The
hyphens and brackets of prose do not. Two expressions, as one that tries both at each letter takes ten times as long."""
_SIGN = (
    r"[-+*/%&#@\\^|~<=>$`(){}\[\]_]"
    r"|[.,:;?!](?=[^\W_]|[(=])|(?<=[\d)])!"  # within a number, a name or an expression; a factorial
    r"|(?<=\d)['\"]|['\"](?=[)\](}=+,])|(?<=[(\[{=+,])['\"]"  # feet and inches, derivatives, texts in code
)
"""Signs that change what such a text says; those that end a sentence and quotes round words do not."""
_SIGNED = re.compile(rf"[^\s!-/:-@\[-`{{-~{UNSPACED}]+|{_SIGN}|[{UNSPACED}]")
_ASCII_FORMS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-") | {
    ord("\u2044"): "/",
    ord("\u2032"): "'",
    ord("\u2033"): '"',
}
"""Dashes, the slash of fractions and primes, which NFKC leaves as they are."""
_LEADERS = {"<super>": "^", "<sub>": "_", "<fraction>": " "}
"""What stands before a sign that is raised, lowered or a fraction, as `x\u00b2` is not `x2`, nor 3\u00bd 31/2."""


class _Led(dict[int, str]):
    """Characters -> the same behind a sign of their place in the line; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        leader = _LEADERS.get(unicodedata.decomposition(chr(code)).partition(" ")[0], "")
        self[code] = leader + chr(code)
        return self[code]


class _SpacedSigns(dict[int, str]):
    """Characters beyond ASCII that belong to no word -> a space, or between spaces if they are symbols."""

    def __missing__(self, code: int) -> str:
        letter, kind = chr(code), unicodedata.category(chr(code))[0]
        form = f" {letter} " if kind == "S" or letter in "\u2030\u00b7" else " "
        self[code] = _ASCII_FORMS.get(code, letter if kind in "LNM" or code < 0x80 else form)
        return self[code]


_LED, _SPACED_SIGNS = _Led(), _SpacedSigns()


def take_compared(text: str) -> list[str]:
    """The words of a text, and its signs where it holds digits or code; without any, what stands between spaces."""
    if text.isascii():
        text = text.lower()
        return (_SIGNED if _is_formal(text) else _ASCII_WORD).findall(text) or text.split()
    plain = unicodedata.normalize("NFKC", text.translate(_LED)).lower().translate(_SPACED_SIGNS)
    is_formal = _is_formal(plain) or any(map(_is_symbol, set(plain)))
    return (_SIGNED.findall(plain) if is_formal else split_tokens(text)) or text.split()


def _is_formal(text: str) -> bool:
    return bool(_FORMAL.search(text) or _FORMAL_HERE.search(text))


def _is_symbol(letter: str) -> bool:
    return letter > "\x7f" and unicodedata.category(letter)[0] == "S"


_NUMBER = re.compile(r"\d+")


def differ_in_numbers(a: str, b: str) -> bool:
    """Whether two texts are not the same, and would be if each number in them were the same one."""
    left, right = take_compared(a), take_compared(b)
    return left != right and [_NUMBER.sub("0", w) for w in left] == [_NUMBER.sub("0", w) for w in right]


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F1 of two texts: 2 * LCS / (m + n) of their words; 0.0 if one is empty.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".
    """
    from rapidfuzz.distance import LCSseq

    left, right = take_compared(a), take_compared(b)
    # One division, so that an F1 of 7/10 is the float 0.7: 1 - 3/10 is not for every length.
    return 2 * LCSseq.similarity(left, right) / (len(left) + len(right)) if left and right else 0.0


def chrf(candidate: str, reference: str, order: int = 6, beta: int = 2) -> float:
    """The chrF of a text against another one, from 0 to 1: runs of 1 to 6 characters in common, blanks aside.

    Recall counts `beta` times as much as precision, so the order of the texts matters. The numbers are those of
    sacreBLEU's sentence chrF, divided by 100. Source: Popovic 2015, "chrF: character n-gram F-score".
    """
    texts = ["".join(text.split()) for text in (candidate, reference)]
    precision, recall, orders = 0.0, 0.0, 0
    for size in range(1, order + 1):
        mine, its = (Counter(text[at : at + size] for at in range(len(text) - size + 1)) for text in texts)
        if mine and its:
            common = (mine & its).total()
            precision, recall, orders = precision + common / mine.total(), recall + common / its.total(), orders + 1
    if not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


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
        return ["".join(map(self._character, take_compared(text))) for text in texts]

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


Shingled = tuple[frozenset[int], list[tuple[int, bytes]], int]
"""A text as `MinHashPool` knows it."""


class MinHashPool:
    """Jaccard similarity of the sets of three words in a row, against texts that share a band of MinHashes.

    Much faster than ROUGE-L for large pools. Texts below `limit` may go unseen: their similarity is then told as none.

    Source: Broder 1997, "On the resemblance and containment of documents"; bands: Indyk and Motwani 1998.
    """

    def __init__(self, limit: float) -> None:
        fits = (size for size in (8, 4, 2) if (1 - limit**size) ** (HASHES // size) <= _MISSED)
        self._band = next(fits, 1)
        self._texts: list[tuple[frozenset[int], int]] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def encode(self, texts: Sequence[str]) -> list[Shingled]:
        """Of each text, its shingles, the bands of their MinHashes, and the hash of all its words."""
        compared = map(take_compared, texts)
        return [(found := _hash_shingles(words), self._cut_bands(found), _hash(words)) for words in compared]

    def _cut_bands(self, shingles: frozenset[int]) -> list[tuple[int, bytes]]:
        if not shingles:
            return []
        smallest = _compute_minhashes(shingles)
        return [(at, smallest[at : at + self._band].tobytes()) for at in range(0, HASHES, self._band)]

    def add(self, item: Shingled) -> None:
        """Puts a text into the pool."""
        for band in item[1]:
            self._buckets.setdefault(band, []).append(len(self._texts))
        self._texts.append((item[0], item[2]))

    def nearest(self, item: Shingled) -> tuple[int, float] | None:
        """See `SimilarityIndex`."""
        shingles, bands, whole = item
        met = {index for band in bands for index in self._buckets.get(band, ())}
        best = max(((_jaccard((shingles, whole), self._texts[i]), -i) for i in met), default=None)
        return None if best is None else (-best[1], best[0])


def _jaccard(one: tuple[frozenset[int], int], other: tuple[frozenset[int], int]) -> float:
    """What two texts have in common of their shingles; other texts of the same shingles differ in one more thing."""
    common, union = len(one[0] & other[0]), len(one[0] | other[0])
    return common / (union + (common == union and one[1] != other[1]))


def _hash_shingles(words: list[str]) -> frozenset[int]:
    """Hashes of the runs of three words; of a shorter text, of all its words. The same in every process."""
    runs = range(max(1, len(words) - SHINGLE + 1)) if words else ()
    return frozenset(_hash(words[at : at + SHINGLE]) for at in runs)


def _hash(words: list[str]) -> int:
    return zlib.crc32(" ".join(words).encode())


@functools.cache
def _hash_functions() -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Odd factors and summands of 128 multiply-shift hash functions, as columns."""
    import numpy as np

    rng = random.Random(0)
    drawn = np.array([(rng.getrandbits(64) | 1, rng.getrandbits(64)) for _ in range(HASHES)], dtype=np.uint64)
    return drawn[:, :1], drawn[:, 1:]


def _compute_minhashes(shingles: frozenset[int]) -> "np.ndarray[Any, Any]":
    """The smallest hash of a text's shingles under each hash function."""
    import numpy as np

    factors, summands = _hash_functions()
    values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
    smallest: np.ndarray[Any, Any] = ((factors * values + summands) >> np.uint64(32)).min(axis=1)
    return smallest
