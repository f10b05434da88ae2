"""Who may read held-out rows: evaluate, and what adds to each row something to be examined with."""

from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from tests.support.runs import execute, rows_of, write_rows

LOOK_UP = {"step": "select", "by": "retrieve", "index": "notes", "count": 1, "as": "found"}
EXAM = {"step": "evaluate", "models": ["reader"], "prompt": "noted", "answer": "exact"}
READER = "def said(messages, row, sample):\n    return messages[-1]['content'].rpartition('Note: ')[2]\n"
"""A model that says what the note in its prompt says."""


def recipe(*steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "open_book",
        "data": {
            "notes": {"path": "notes.jsonl"},
            "test": {"path": "exam.jsonl", "held_out": True},
        },
        "models": {"reader": {"provider": "scripted", "function": "reader.py:said"}},
        "steps": list(steps),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    capitals = {"France": "Paris", "Norway": "Oslo", "Peru": "Lima"}
    write_rows(tmp_path / "notes.jsonl", [{"instruction": f"About {land}", "note": c} for land, c in capitals.items()])
    exam = [{"instruction": f"What is the capital of {land}?", "reference": c} for land, c in capitals.items()]
    write_rows(tmp_path / "exam.jsonl", exam)
    (tmp_path / "noted.jinja").write_text("{{ instruction }} Note: {{ found[0].note }}")
    (tmp_path / "reader.py").write_text(READER)
    return tmp_path


def test_a_model_is_examined_with_what_was_looked_up_for_held_out_rows(folder: Path) -> None:
    steps = recipe({**LOOK_UP, "input": "test", "output": "open_book"}, {**EXAM, "input": "open_book"})
    run = execute(folder, steps, allow_code=True)
    [found] = run.report["evaluations"]
    assert (found["table"], found["right"], found["n"]) == ("open_book", 3, 3)
    [table] = (folder / "run/tables").glob("*select*.jsonl")
    assert [row["found"][0]["note"] for row in rows_of(table)] == ["Paris", "Oslo", "Lima"]


@pytest.mark.parametrize(("steps", "said"), [
    ([{"step": "format", "input": "test"}], "steps[0] (format): table 'test' is held out"),
    ([{**LOOK_UP, "input": "test"}, {"step": "format"}], "steps[1] (format): table of the step before is held out"),
    ([{**LOOK_UP, "input": "test", "output": "b"}, {"step": "format"}], "steps[1] (format): table 'b' is held out"),
    (
        [{**LOOK_UP, "input": "test", "output": "book"}, {"step": "mix", "tables": {"book": 1, "notes": 1}}],
        "steps[1] (mix): table 'book' is held out",
    ),
    ([{**LOOK_UP, "input": "notes", "index": "test"}], "steps[0] (select): table 'test' is held out"),
    ([{"step": "select", "rows": 1, "input": "test"}], "steps[0] (select): table 'test' is held out"),
])  # fmt: skip
def test_nothing_else_reads_them_or_what_was_made_of_them(folder: Path, steps: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        execute(folder, recipe(*steps, {**EXAM, "input": "test", "prompt": "student/plain"}), allow_code=True)
    assert said in str(caught.value)
