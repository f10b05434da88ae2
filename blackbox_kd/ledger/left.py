"""Takes back the intents of a process that has ended, once it is known what became of their calls.

A batch outlives the process that handed it in: its calls were neither lost nor bought a second time.
"""

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from blackbox_kd.ledger.file import has_ended
from blackbox_kd.ledger.opening import fault, open_file

OTHERS = "SELECT DISTINCT process FROM intents WHERE run = ?"
LEFT = """
DELETE FROM intents
WHERE process = ? AND run = ? AND sent_at >= ? AND key IN (SELECT value FROM json_each(?))
"""


def take_back(path: Path, run: str, keys: Collection[str], since: str) -> int:
    """Removes intents that ended processes have left; returns how many.

    Args:
        path: the ledger.
        run: the run that they belong to.
        keys: of the calls.
        since: what was sent earlier stays; UTC, written as the ledger writes times.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    asked = json.dumps(list(keys))
    try:
        with closing(open_file(path)) as db:
            db.execute("BEGIN IMMEDIATE")
            ended = [process for (process,) in db.execute(OTHERS, (run,)).fetchall() if has_ended(db, process)]
            gone = sum(db.execute(LEFT, (process, run, since, asked)).rowcount for process in ended)
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise fault(error, path) from error
    return gone
