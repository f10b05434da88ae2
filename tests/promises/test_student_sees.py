"""What the student sees, in training and in exams, never holds the right answer, unless the recipe declares a hint."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import rows_of, write_rows

SECRET = "sesame-{}"
COLUMNS = ("instruction", "hint_text", "reference", "gold", "noted", "response")
ECHO = "def said(messages, row, sample):\n    return ' '.join(m['content'] for m in messages) + ' indeed'\n"
"""A teacher that repeats what it is asked: its text holds the answer just when it was shown it."""


@st.composite
def chains(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe of two generations, a check and a format, each with a prompt of columns drawn at random."""
    against = draw(st.sampled_from(["reference", "gold"]))
    earlier = [name for name in COLUMNS if name not in ("noted", "response")]
    shown = [draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)) for names in (
        earlier, [*earlier, "noted"], COLUMNS,
    )]  # fmt: skip
    hint = draw(st.booleans())
    return {"against": against, "shown": shown, "hint": hint}


def recipe(folder: Path, chain: dict[str, Any]) -> None:
    rows = [
        {
            "instruction": f"Question {n}?",
            "hint_text": "Think.",
            "reference": SECRET.format(n),
            "gold": SECRET.format(n),
        }
        for n in range(2)
    ]
    write_rows(folder / "train.jsonl", rows)
    (folder / "echo.py").write_text(ECHO)
    for number, names in enumerate(chain["shown"]):
        text = " ".join(f"{{{{ {name} }}}}" for name in names)
        (folder / f"p{number}.jinja").write_text(text)
    task = {"name": "only", "prompt": "p2", "completion": "response", "hint": chain["hint"]}
    values = {
        "name": "seen",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted", "function": "echo.py:said"}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "p0", "as": "noted"},
            {"step": "generate", "model": "teacher", "prompt": "p1"},
            {"step": "check", "answer": "exact", "against": chain["against"]},
            {"step": "format", "tasks": [task]},
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))


@settings(max_examples=60, deadline=None)
@given(chain=chains())
def test_a_recipe_that_would_show_the_student_the_answer_is_refused(chain: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe(folder, chain)
        secret = {"reference", chain["against"]}
        for number, column in ((0, "noted"), (1, "response")):
            secret |= {column} if secret & set(chain["shown"][number]) else set()
        leaks = bool(secret & set(chain["shown"][2]))
        if leaks and not chain["hint"]:
            with pytest.raises(RecipeError, match="which holds the right answer"):
                load_recipe(folder / "recipe.yaml", allow_code=True)
            return
        loaded = load_recipe(folder / "recipe.yaml", allow_code=True)
        job = Run(loaded, RunOptions(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite", env={}))
        asyncio.run(job.execute())
        prompts = [json.dumps(row["prompt"]) for row in rows_of(folder / "run" / "dataset" / "train.jsonl")]
        assert len(prompts) == 2
        shown = [SECRET.format(n) in prompt for n, prompt in enumerate(prompts)]
        # A column of another name with the same text is beyond what a check of names can know.
        assert shown == [leaks or bool({"reference", "gold"} & set(reach(chain)))] * 2


def reach(chain: dict[str, Any]) -> set[str]:
    """The columns whose text reaches the student's prompt."""
    found = set(chain["shown"][2])
    found |= set(chain["shown"][1]) if "response" in found else set()
    return found | (set(chain["shown"][0]) if "noted" in found else set())


def write_chain(folder: Path, prompt: str, *steps: dict[str, Any]) -> None:
    """A recipe whose student learns what these steps make of a row, one of them with the prompt `own`."""
    write_rows(folder / "train.jsonl", [{"instruction": "1 + 1?", "reference": "2"}])
    (folder / "own.jinja").write_text(prompt)
    values = {
        "name": "seen",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"student": {"provider": "transformers", "model": "org/any"}},
        "steps": [*steps, {"step": "format"}, {"step": "train", "model": "student"}],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))


@pytest.mark.parametrize(("prompt", "hint", "is_refused"), [
    ("{{ instruction }} {{ reference }}", False, True), ("{{ instruction }}", False, False),
    ("{{ instruction }} {{ reference }}", True, False),
])  # fmt: skip
@pytest.mark.parametrize("asked", ["student", "student@base"])
def test_a_student_is_asked_with_the_answer_before_it_only_where_that_is_declared(
    tmp_path: Path, asked: str, prompt: str, hint: bool, is_refused: bool
) -> None:
    write_chain(tmp_path, prompt, {"step": "generate", "model": asked, "prompt": "own", "hint": hint})
    if is_refused:
        with pytest.raises(RecipeError, match="'reference', which holds the right answer"):
            load_recipe(tmp_path / "recipe.yaml")
    else:
        load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(("turns", "prompt", "secret"), [
    ("lines(reference)", "{{ turn }}", "reference"),
    ("lines(made)", "{% for each in earlier %}{{ each.question }}{% endfor %}{{ instruction }}", "made"),
    ("lines(instruction)", "{{ turn }} {{ earlier }}", ""),
    ("lines(reference)", "{{ instruction }}", ""),
])  # fmt: skip
def test_what_a_student_is_asked_in_turn_is_as_secret_as_what_the_list_is_made_of(
    tmp_path: Path, turns: str, prompt: str, secret: str
) -> None:
    made = {"step": "map", "set": {"made": "So: {{ reference }}", "turn": "{{ reference }}"}}
    write_chain(tmp_path, prompt, made, {"step": "generate", "model": "student", "prompt": "own", "turns": turns})
    if secret:
        with pytest.raises(RecipeError, match=f"shows the student '{secret}', which holds the right answer"):
            load_recipe(tmp_path / "recipe.yaml")
    else:
        load_recipe(tmp_path / "recipe.yaml")


CALLED = {"type": "function", "function": {"name": "look_up"}}
TOLD = {"step": "generate", "model": "teacher", "prompt": "told"}
JUDGED = {"step": "judge", "mode": "scale", "models": ["teacher"], "hint": "reference"}


@pytest.mark.parametrize(("steps", "shown"), [
    ([{**TOLD, "tools": [CALLED]}], "tool_calls"),
    ([{**TOLD, "schema": {"type": "object"}, "parsed": "found"}], "found"),
    ([TOLD], "reasoning"),
    ([TOLD, {"step": "check", "answer": "number"}], "answer"),
    ([{**TOLD, "prompt": "student/plain"}, JUDGED], "verdicts"),
])  # fmt: skip
def test_whatever_is_said_with_the_answer_in_view_is_as_secret_as_the_answer(
    tmp_path: Path, steps: list[dict[str, Any]], shown: str
) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "1 + 1?", "reference": "2"}])
    (tmp_path / "told.jinja").write_text("{{ instruction }} It is {{ reference }}.")
    (tmp_path / "own.jinja").write_text(f"{{{{ instruction }}}} {{{{ {shown} }}}}")
    values = {
        "name": "seen",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [*steps, {"step": "format", "prompt": "own"}],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    with pytest.raises(RecipeError, match=f"prompt 'own' shows the student '{shown}', which holds the right answer"):
        load_recipe(tmp_path / "recipe.yaml")


MADE = {**TOLD, "rows": 2, "as": "instruction", "keep": []}


@pytest.mark.parametrize(("steps", "is_refused"), [
    ([{**MADE, "keep": []}], False),
    ([{**MADE, "keep": ["noted"], "as": "told"}, {"step": "map", "set": {"instruction": "{{ told }}"}}], True),
    ([{**MADE, "keep": None, "as": "told"}, {"step": "map", "set": {"instruction": "{{ told }}"}}], True),
])  # fmt: skip
def test_a_question_of_its_own_may_be_written_with_the_answer_to_another_in_view(
    tmp_path: Path, steps: list[dict[str, Any]], is_refused: bool
) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "1 + 1?", "reference": "2", "noted": "x"}])
    (tmp_path / "told.jinja").write_text("{{ instruction }} It is {{ reference }}.")
    values = {
        "name": "seen",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [
            *steps,
            {"step": "generate", "model": "teacher", "prompt": "student/plain"},
            {"step": "format"},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    if not is_refused:
        load_recipe(tmp_path / "recipe.yaml")
        return
    with pytest.raises(RecipeError, match="shows the student 'instruction', which holds the right answer"):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_teacher_who_is_shown_how_the_student_did_may_see_the_right_answer(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "1 + 1?", "reference": "2"}])
    write_rows(tmp_path / "test.jsonl", [{"instruction": "2 + 1?", "reference": "3"}])
    (tmp_path / "told.jinja").write_text("{{ context.accuracy }} {{ instruction }} It is {{ reference }}.")
    student = {"provider": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    exam = {"step": "evaluate", "input": "test", "models": ["student"], "answer": "number"}
    values = {
        "name": "seen",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": {"provider": "scripted"}, "student": student},
        "steps": [
            exam,
            {**TOLD, "input": "train", "context": {"evaluation": "test", "model": "student"}, "as": "response"},
            {"step": "format"},
            {"step": "train", "model": "student"},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    load_recipe(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_text(json.dumps(values).replace('"model": "teacher"', '"model": "student"'))
    with pytest.raises(RecipeError, match="prompt 'told' shows the student 'reference'"):
        load_recipe(tmp_path / "recipe.yaml")
