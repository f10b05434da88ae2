"""Takes back the intents of a process that has ended, once it is known what became of their calls.

A batch outlives the process that handed it in: its calls were neither lost nor bought a second time.
"""

import json
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from blackbox_kd.ledger.connection import explain_faults, open_file
from blackbox_kd.ledger.sqlite_file import has_ended

OTHERS = "SELECT DISTINCT process FROM intents WHERE run = ?"
LEFT = """
DELETE FROM intents
WHERE process = ? AND run = ? AND sent_at >= ? AND key IN (SELECT value FROM json_each(?))
"""
BOUGHT_BY_OTHERS_ALONE = """
SELECT asked.value FROM json_each(?1) AS asked CROSS JOIN replies
    ON substr(replies.key, 1, 16) = substr(asked.value, 1, 16) AND replies.key = asked.value
GROUP BY asked.value HAVING sum(replies.run = ?2) = 0
"""


def take_back(path: Path, run: str, keys: Collection[str], since: str, *, was_charged: bool) -> int:
    """Removes intents that ended processes have left; returns how many.

    Where another run has bought a call in the meantime, the run's own reply to it is not stored. If it was charged, its
    intent stays, and with it the most that it can have cost.

    Args:
        path: the ledger.
        run: the run that they belong to.
        keys: of the calls.
        since: what was sent earlier stays; UTC, written as the ledger writes times.
        was_charged: whether the calls were made, as far as it is known.

    Raises:
        LedgerError: the ledger cannot be written.
    """
    with explain_faults(path), closing(open_file(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        kept: set[str] = set()
        if was_charged:
            kept = {key for (key,) in db.execute(BOUGHT_BY_OTHERS_ALONE, (json.dumps(list(keys)), run))}
        asked = json.dumps([key for key in keys if key not in kept])
        ended = [process for (process,) in db.execute(OTHERS, (run,)).fetchall() if has_ended(db, process)]
        gone = sum(db.execute(LEFT, (process, run, since, asked)).rowcount for process in ended)
        db.execute("COMMIT")
    return gone
