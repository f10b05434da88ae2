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


def test_rows_may_be_kept_apart_from_held_out_ones_and_hold_nothing_of_them(folder: Path) -> None:
    novel = {"step": "filter", "input": "notes", "novelty": {"against": ["test"], "max": 0.9}}
    steps = recipe(novel, {**LOOK_UP, "input": "test", "output": "open_book"}, {**EXAM, "input": "open_book"})
    execute(folder, steps, allow_code=True)
    [table] = (folder / "run/tables").glob("*filter*.jsonl")
    kept = rows_of(table)
    assert [row["instruction"] for row in kept] == ["About France", "About Norway", "About Peru"]
    assert all(row["nearest"] is None or row["nearest"].startswith("About") for row in kept)
    assert "capital" not in table.read_text()


def test_what_is_made_of_held_out_rows_on_the_way_is_examined_and_is_trained_on_by_nothing(folder: Path) -> None:
    made = {"step": "map", "set": {"asked": "{{ found[0].note }}!"}, "output": "asked"}
    steps = [{**LOOK_UP, "input": "test"}, made]
    run = execute(folder, recipe(*steps, {**EXAM, "input": "asked"}), allow_code=True)
    assert run.report["evaluations"][0]["table"] == "asked"
    with pytest.raises(RecipeError, match="table 'asked' is held out"):
        execute(folder, recipe(*steps, {"step": "format"}, {**EXAM, "input": "asked"}), allow_code=True)


DOCUMENTS = {"docs": {"path": "docs/*.md", "chunk": {"words": 20, "overlap": 0}}}


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"outputs": {"train": 0.5, "rest": 0.5}}, True),
        ({"outputs": {"train": 0.5, "rest": 0.5}, "per": "source"}, False),
        ({"outputs": {"train": "part > 1", "rest": "part == 1"}}, False),
    ],
)
def test_chunks_of_a_document_are_never_parted_by_lot(tmp_path: Path, split: dict[str, Any], told: bool) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(8):
        text = "\n\n".join(f"# Part {part}\n\nText {number} of part {part}." for part in range(3))
        (tmp_path / f"docs/{number}.md").write_text(text)
    steps = [{"step": "filter", "keep": "len(text) > 3"}, {"step": "split", **split}]
    values = {"name": "documents", "data": DOCUMENTS, "steps": steps}
    if told:
        with pytest.raises(RecipeError) as caught:
            execute(tmp_path, values)
        assert "parts the chunks of 'docs' by lot: those of one document would stand on both sides" in str(caught.value)
        assert "fix: add per: source, so that a document stays together" in str(caught.value)
        return
    execute(tmp_path, values)
    if "per" in split:
        tables = [{row["source"] for row in rows_of(file)} for file in (tmp_path / "run/tables").glob("*split*.jsonl")]
        assert len(tables) == 2
        assert not set.intersection(*tables)
        assert len(set.union(*tables)) == 8


ASK = {
    "step": "generate",
    "input": "test",
    "model": "reader",
    "prompt": "student/plain",
    "as": "said",
    "output": "asked",
}
LOOK = {"type": "function", "function": {"name": "look_up"}}
MEASURE = {"step": "evaluate", "input": "asked", "of": "said", "answer": "exact"}


def test_what_was_written_for_held_out_rows_is_measured_and_asked_for_once(folder: Path) -> None:
    (folder / "reader.py").write_text("def said(messages, row, sample):\n    return 'It is Oslo.'\n")
    trim = {"step": "map", "input": "asked", "set": {"said": "{{ said | replace('It is ', '') }}"}, "output": "trimmed"}
    values = recipe(ASK, trim, {**MEASURE, "input": "trimmed", "models": ["reader"]})
    del values["data"]["notes"]
    run = execute(folder, values, allow_code=True)
    [found] = run.report["evaluations"]
    assert (found["model"], found["table"], found["right"], found["n"]) == ("reader", "trimmed", 1, 3)
    [reader] = run.report["models"]
    assert reader["calls"] == 3
    assert run.report["dataset"] is None, "what was made for an exam is no product"


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        (
            [{**ASK, "prompt": "told"}, MEASURE],
            "prompt 'told' shows 'reference', and the rows of 'test' are held out: what is written with the right "
            "answer in view measures nobody.",
        ),
        (
            [ASK, {"step": "map", "input": "asked", "set": {"said": "{{ reference }}"}, "output": "cheat"},
             {**MEASURE, "input": "cheat"}],
            "column 'said' is no reply that could be measured: steps[1] (map) makes it of 'reference'.",
        ),
        ([ASK, {**MEASURE, "of": "reference"}], "column 'reference' is no reply that could be measured"),
        ([ASK, {"step": "format", "input": "asked"}], "table 'asked' is held out"),
        ([{**ASK, "rows": 2, "temperature": 1.0}, MEASURE], "table 'test' is held out"),
        (
            [{**ASK, "temperature": 1.0, "retry_until": "contains(said, reference)"}, MEASURE],
            "retry_until: 'contains(said, reference)' picks by 'reference', and the rows are held out: those that it "
            "keeps measure nobody.",
        ),
        (
            [ASK, {"step": "map", "input": "asked", "each": "lines(said if said == reference else '')", "as": "one",
             "output": "picked"}, {**MEASURE, "input": "picked"}],
            "picks by 'reference', and the rows are held out",
        ),
        (
            [ASK, {"step": "map", "input": "asked", "set": {"a": "{{ said }}", "reference": {"expr": "a"}},
             "output": "twisted"}, {**MEASURE, "input": "twisted"}],
            "column 'said' would be measured against 'reference', which is made of it.",
        ),
        ([{**ASK, "examples": {"table": "test", "count": 1}}, MEASURE], "table 'test' is held out"),
        ([{**ASK, "context": {"table": "test"}}, MEASURE], "table 'test' is held out"),
        ([{**LOOK_UP, "input": "test", "index": "test"}], "table 'test' is held out"),
        (
            [{**ASK, "prompt": "in_turn", "turns": "lines(reference)"}, MEASURE],
            "prompt 'in_turn' shows 'reference', and the rows of 'test' are held out",
        ),
        (
            [{**ASK, "prompt": "told", "tools": [LOOK]}, {**MEASURE, "of": "tool_calls"}],
            "column 'tool_calls' is no reply that could be measured: steps[0] (generate) writes it with",
        ),
    ],
)  # fmt: skip
def test_no_right_answer_comes_into_what_is_measured_and_nothing_learns_from_it(
    folder: Path, steps: list[dict[str, Any]], what: str
) -> None:
    (folder / "told.jinja").write_text("{{ instruction }} It is {{ reference }}.")
    (folder / "in_turn.jinja").write_text("{{ instruction }} {{ turn }}")
    with pytest.raises(RecipeError) as caught:
        execute(folder, recipe(*steps, {**EXAM, "input": "test", "prompt": "student/plain"}), allow_code=True)
    assert what in str(caught.value)


def test_each_prompt_of_an_exam_is_looked_at(folder: Path) -> None:
    (folder / "told.jinja").write_text("{{ instruction }} It is {{ reference }}.")
    exam = {**EXAM, "input": "test", "prompt": "student/plain"}
    values = recipe({**exam, "prompts": {"reader": "told"}})
    with pytest.raises(RecipeError) as caught:
        execute(folder, values, allow_code=True)
    assert "prompt 'told' shows the student 'reference', which holds the right answer." in str(caught.value)
    values = recipe({**exam, "prompts": {"reader": "absent"}})
    with pytest.raises(RecipeError, match="prompt 'absent' is neither beside the recipe"):
        execute(folder, values, allow_code=True)
    with_context = [{"instruction": "Where?", "context": "In Oslo.", "reference": "Oslo"}]
    write_rows(folder / "exam.jsonl", with_context)
    (folder / "whole.jinja").write_text("{{ context }} {{ instruction }}")
    values = recipe({**exam, "prompt": "whole", "models": ["reader", "other"], "prompts": {"other": "student/plain"}})
    values["models"]["other"] = values["models"]["reader"]
    with pytest.raises(RecipeError, match="prompt 'student/plain' does not show 'context'"):
        execute(folder, values, allow_code=True)
