"""What `check` says of trainings by a teacher and by labels, before anything is loaded or paid for."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.weights import vocabulary
from tests.support.runs import write_rows
from tests.support.tiny import tiny_gemma3, tiny_model


def told(folder: Path, model: dict[str, Any], **fields: Any) -> list[str]:
    """What is wrong with a training by a model: its message and its fix."""
    write_rows(folder / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    values = {
        "name": "demo",
        "data": {"rows": {"path": "rows.jsonl"}},
        "models": {"student": {"provider": "transformers", "model": str(tiny_model())}, "big": model},
        "steps": [{"step": "train", "model": "student", "teacher": "big", **fields}],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))
    try:
        load_recipe(folder / "recipe.yaml", env={})
    except RecipeError as error:
        return [f"{problem.message} {problem.fix}" for problem in error.problems]
    return []


def local(folder: Path) -> dict[str, Any]:
    return {"provider": "transformers", "model": str(folder)}


@pytest.mark.parametrize("method", ["distill", "gkd", "gold"])
def test_a_teacher_has_the_tokens_of_the_student_but_for_gold(tmp_path: Path, method: str) -> None:
    assert told(tmp_path, local(tiny_model()), method=method) == []
    found = told(tmp_path, local(tiny_model(merges=True)), method=method)
    if method == "gold":
        assert found == []
        return
    [message] = found
    assert "the tokens of 'big' are not those of 'student': " in message
    assert vocabulary.FIX in message


def test_a_teacher_without_weights_at_hand_is_refused(tmp_path: Path) -> None:
    [message] = told(tmp_path, {"provider": "scripted"}, method="gold")
    assert "the weights of model 'big' are not at hand: provider 'scripted' has none. a model of another" in message


def test_tokens_are_the_same_where_a_few_special_ones_have_other_names() -> None:
    student = {f"t{number}": number for number in range(1000)}
    assert vocabulary.explain_difference(student, student) is None
    assert vocabulary.explain_difference(student, student | {"<|tool|>": 1000}) is None
    renamed = {"<|im_end|>" if token == "t7" else token: number for token, number in student.items()}
    assert vocabulary.explain_difference(student, renamed) is None
    swapped = {f"t{number ^ 1}": number for number in range(1000)}
    assert vocabulary.explain_difference(student, swapped) == "1,000 of 1,000 numbers of tokens mean another text"
    more = student | {f"u{number}": 1000 + number for number in range(50)}
    assert vocabulary.explain_difference(student, more) == "the student has 1,000 tokens and the teacher 1,050"
    found = vocabulary.read(tiny_gemma3())
    assert found is not None
    assert found["<|im_end|>"] == 257
    assert vocabulary.read(Path("/nowhere")) is None
