"""Small tables with the columns of the data sets of the Hub that bundled recipes read."""

import re
from pathlib import Path
from typing import Any

from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import write_rows

HUB = {
    "openai/gsm8k": lambda n: {
        "question": f"Ann has {n} apples and buys {n} more. How many has she?",
        "answer": f"She has {n} + {n} = <<{n}+{n}={2 * n}>>{2 * n} apples.\n#### {2 * n}",
    },
    "allenai/ai2_arc": lambda n: {
        "question": f"Which of these numbers is {n}?",
        "choices": {"text": [str(n), str(n + 1)], "label": ["A", "B"]},
        "answerKey": "A",
    },
    "openlifescienceai/medmcqa": lambda n: {
        "question": f"Which of these numbers is {n}?",
        "opa": str(n),
        "opb": str(n + 1),
        "opc": str(n + 2),
        "opd": str(n + 3),
        "cop": 0,
        "subject_name": ["Anatomy", "Surgery"][n % 2],
    },
    "tatsu-lab/alpaca": lambda n: {"instruction": f"Write {n} words on tea.", "input": "", "output": "Tea, " * n},
    "HuggingFaceH4/instruction-dataset": lambda n: {"prompt": f"Name {n} trees of the north.", "completion": "Oak."},
}
"""A row of each data set of the Hub that a recipe reads, with the columns that it has there."""


def replace_hub(recipe: Recipe, folder: Path, rows: int | None = None) -> dict[str, Any]:
    """Writes a file for each table of the Hub; returns the assignments that put it in the table's place.

    Args:
        recipe: the recipe.
        folder: where the files go.
        rows: rows of each; None for as many as the recipe takes.
    """
    found: dict[str, Any] = {}
    start = 1
    for name, source in recipe.data.items():
        if source.hub is None:
            continue
        cut = re.search(r"\[(\d*):(\d+)\]", source.split or "")
        count = rows or source.limit or (int(cut[2]) - int(cut[1] or 0) if cut else 0)
        write_rows(folder / f"{name}.jsonl", [HUB[source.hub](n) for n in range(start, start + count)])
        start += max(100, count)
        kept = source.model_dump(include={"rename", "held_out"})
        found[f"data.{name}"] = {"path": str(folder / f"{name}.jsonl"), **kept}
    return found
