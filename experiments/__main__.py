"""Writes the table of EXPERIMENTS.md anew from the reports kept here: `python -m experiments`.

`python -m experiments keep RUN` first keeps what the report of a run has measured.
"""

import json
import sys
from pathlib import Path

from experiments.table import KEPT, REPORTS, rewrite

PAGE = Path(__file__).parent.parent / "EXPERIMENTS.md"


def keep(folder: Path) -> Path:
    """Keeps what a run's report has measured, under its recipe's name: the rest is of no use to a table."""
    report = json.loads((folder / "report.json").read_text("utf-8"))
    path = REPORTS / f"{report['recipe']}.json"
    kept = {key: report.get(key) for key in KEPT}
    path.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    return path


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        for name in sys.argv[2:]:
            print(keep(Path(name)))
    PAGE.write_text(rewrite(PAGE.read_text("utf-8")), "utf-8")
