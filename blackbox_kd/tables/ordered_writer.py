"""Lines that come in any order, and stand in a file in the order of their keys."""

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from blackbox_kd import json_text
from blackbox_kd.privacy import open_anew, write_whole

BUFFER_BYTES = 2**18
"""What is read or written at once: each time costs a system call, and the interpreter's lock."""


class OrderedLines:
    """Takes lines in any order and leaves them on disk in the order of their keys, without holding them in memory.

    Lines are written as they come; `finish` copies them in order, reading each from its place. Until then the file
    has the ending `.part`, so that a killed run leaves no file that looks finished.

    Args:
        path: the file.
        numbered: whether the numbers of the input rows are written, too, one for each line, into a file beside it
            with the ending `.rows`.
    """

    def __init__(self, path: Path, numbered: bool = False) -> None:
        self.path = path
        self._numbered = numbered
        self._part = path.with_suffix(".part")
        self._file: BinaryIO = open_anew(self._part)
        self._waiting = bytearray()
        self._names = bytearray()  # one after the other: a hundred thousand objects would weigh four times as much
        self._numbers, self._ends, self._name_ends = array("q"), array("q", [0]), array("q", [0])
        self._hashes = array("q")

    def add(self, number: int, name: str, value: Mapping[str, Any]) -> None:
        """Writes `value`; its place is that of row `number` of the input, and among those its name's."""
        line = json_text.encode(value)
        waiting = self._waiting
        waiting += line
        waiting += b"\n"
        self._names += name.encode(errors="replace")
        self._numbers.append(number)
        self._hashes.append(hash(name))
        self._ends.append(self._ends[-1] + len(line) + 1)
        self._name_ends.append(len(self._names))
        if len(waiting) >= BUFFER_BYTES:
            self._flush()

    def find_repeated(self) -> str | None:
        """A name that two lines have; None if each has one of its own."""
        if all(one != other for one, other in pairwise(sorted(self._hashes))):
            return None
        counts = Counter((found, self._name(at)) for at, found in enumerate(self._hashes))
        return next((name for (_, (_, name)), count in counts.items() if count > 1), None)

    def finish(self) -> tuple[int, str]:
        """Puts the lines in order under the file's own name; returns their number and the file's SHA-256."""
        self._flush()
        self._file.close()
        sha = hashlib.sha256()
        order = self._order()
        ordered = self.path.with_suffix(".ordered")
        with self._part.open("rb") as source, open_anew(ordered) as target:
            for begin, end in self._find_stretches(order):
                source.seek(begin)
                for size in _size_pieces(end - begin):
                    lines = source.read(size)
                    sha.update(lines)
                    target.write(lines)
            target.flush()
            os.fsync(target.fileno())
        if self._numbered:
            write_whole(self.path.with_suffix(".rows"), "".join(f"{self._numbers[at]}\n" for at in order))
        ordered.replace(self.path)
        self._part.unlink()
        return len(order), sha.hexdigest()

    def _flush(self) -> None:
        self._file.write(self._waiting)
        self._waiting.clear()

    def _order(self) -> list[int]:
        """Positions of the lines in the order of their keys; names are compared only within a number."""
        places = sorted(range(len(self._numbers)), key=self._numbers.__getitem__)
        groups = (list(group) for _, group in groupby(places, key=self._numbers.__getitem__))
        return [at for group in groups for at in (sorted(group, key=self._name) if len(group) > 1 else group)]

    def _name(self, at: int) -> tuple[int, str]:
        """What the lines of a row are ordered by: `2` comes before `10`."""
        name = self._names[self._name_ends[at] : self._name_ends[at + 1]].decode()
        return len(name), name

    def _find_stretches(self, order: list[int]) -> Iterator[tuple[int, int]]:
        """Beginnings and ends of the parts of the file that are in order already."""
        begin = end = 0
        for at in order:
            if self._ends[at] != end:
                if end > begin:
                    yield begin, end
                begin = self._ends[at]
            end = self._ends[at + 1]
        if end > begin:
            yield begin, end

    def abandon(self) -> None:
        """Ends a file of a run that stops here; it is written anew from the ledger when the run goes on."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _size_pieces(size: int) -> Iterator[int]:
    """Sizes of pieces that fit into memory."""
    while size > 0:
        yield min(size, BUFFER_BYTES)
        size -= BUFFER_BYTES
