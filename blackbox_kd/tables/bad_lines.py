"""Lines of a file that cannot be read: every one of them is told of, or they are left out and counted."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from blackbox_kd.errors import DataError

logger = logging.getLogger(__name__)

MOST_TOLD = 100
"""Bad lines of a file that a message lists; of the others it says how many they are."""
HOW_TO_DROP = "leave them out: bad_lines: drop"

_TOLD: set[str] = set()
"""What was said already: a file is read more than once."""

Rule = Literal["error", "drop"]


@dataclass(slots=True)
class Record:
    """What stands in a line.

    Args:
        where: such as `line 3`.
        row: its columns.
    """

    where: str
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read, though those behind it can.

    Args:
        where: such as `line 3`.
        what: is wrong with it.
        fix: what mends it.
    """

    where: str
    what: str
    fix: str


@dataclass(slots=True)
class BadLines:
    """What is done with bad lines, and how many there were.

    Args:
        rule: `error`, or `drop`.
        dropped: lines that were left out, by the name of their file.
    """

    rule: Rule = "error"
    dropped: dict[str, int] = field(default_factory=dict)

    def pass_on(self, found: Iterable[Record | BadLine], file: str, of: str = "lines") -> Iterator[Record]:
        """The lines that can be read.

        Args:
            found: the lines.
            file: its name.
            of: what each of them is.

        Raises:
            DataError: there are others, and they are not to be dropped: it lists all that the file has.
        """
        bad: list[BadLine] = []
        count = 0
        for item in found:
            if isinstance(item, BadLine):
                count += 1
                bad += [item] if len(bad) < MOST_TOLD else []
            elif self.rule == "drop" or not count:
                yield item
        if count and self.rule == "error":
            raise _explain(file, of, bad, count)
        if count:
            self.dropped[file] = count
            if (told := f"{file}: bad {of} left out: {count:,} ({_list(bad, count)})") not in _TOLD:
                _TOLD.add(told)
                logger.warning(told)


def _explain(file: str, of: str, bad: list[BadLine], count: int) -> DataError:
    if count == 1:
        return DataError(f"{file}, {bad[0].where}: {bad[0].what}", fix=f"{bad[0].fix}; or {HOW_TO_DROP}")
    fixes = dict.fromkeys(each.fix for each in bad)
    fix = next(iter(fixes)) if len(fixes) == 1 else "mend them"
    return DataError(f"{file}: bad {of}: {count:,}", exists=_list(bad, count), fix=f"{fix}; or {HOW_TO_DROP}")


def _list(bad: list[BadLine], count: int) -> str:
    """The lines and their faults; lines with the same fault stand together."""
    places: dict[str, list[str]] = {}
    for each in bad:
        places.setdefault(each.what, []).append(each.where)
    more = [f"and {count - len(bad):,} more"] if count > len(bad) else []
    return "; ".join([*(f"{', '.join(where)}: {what}" for what, where in places.items()), *more])
