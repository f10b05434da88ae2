"""Parts the rows of somebody's data into those to learn from and those that are held out."""

from dataclasses import dataclass
from random import Random

from blackbox_kd.errors import DataError
from blackbox_kd.json_text import write_text
from blackbox_kd.recipe.starting.columns import Rows
from blackbox_kd.sdk.step_config import FEWEST as FEWEST_REQUIRED

FEWEST = 4
"""Rows that can be parted."""
SHARE = 4
"""Every so manieth row is held out, and no more than `MOST_TESTED`."""
MOST_TESTED = 200
ENOUGH = 80
"""Rows with a right answer from which on some are spared to look at the teacher first."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of a recipe's tables.

    Args:
        train: to learn from.
        dev: held out, to look at the teacher first; empty where there are too few.
        test: held out, for the evidence; empty where there is one document only.
    """

    train: Rows
    dev: Rows
    test: Rows


def hold_out(rows: Rows) -> Parts:
    """Parts rows by chance, so that each right answer is in each part as often as it can be.

    Where fewer rows have a right answer than not, those are held out: the others can be learnt from without.

    Raises:
        DataError: they are too few.
    """
    if len(rows) < FEWEST:
        fix = "give more, or leave --data out to begin with rows of ours"
        raise DataError(f"{len(rows)} rows cannot be parted into some to learn from and some to test with", fix=fix)
    if any("source" in row for row in rows):
        return _hold_out_documents(rows)
    shuffled = Random(0).sample(rows, len(rows))
    right = sorted((row for row in shuffled if "reference" in row), key=lambda row: write_text(row["reference"]))
    others = [row for row in shuffled if "reference" not in row]
    if FEWEST <= len(right) <= len(others):
        enough = len(right) >= 2 * FEWEST_REQUIRED
        dev = right[:: len(right) // FEWEST_REQUIRED][:FEWEST_REQUIRED] if enough else []
        return Parts(others, dev, [row for row in right if row not in dev])
    pool = right or others
    step = max(SHARE, -(-len(pool) // MOST_TESTED))
    test, rest = pool[::step], [row for number, row in enumerate(pool) if number % step]
    dev = rest[:: len(rest) // FEWEST_REQUIRED][:FEWEST_REQUIRED] if len(right) >= ENOUGH else []
    train = [*(row for row in rest if row not in dev), *(others if right else [])]
    return Parts(Random(0).sample(train, len(train)), dev, test)


def _hold_out_documents(rows: Rows) -> Parts:
    sources = list(dict.fromkeys(write_text(row.get("source")) for row in rows))
    held_out = set(sources[1::SHARE])
    parts = [[row for row in rows if (write_text(row.get("source")) in held_out) is out] for out in (False, True)]
    return Parts(parts[0], [], parts[1])
