"""What the bundled prompts show of the rows, contexts and choices that they are given."""

from typing import Any

import pytest

from blackbox_kd.paths import find_bundled
from blackbox_kd.sandbox.prompt import Prompt
from blackbox_kd.sdk.reading import read_after_mark

ROW = {"instruction": "How many?", "rationale": "3 + 4 = 7.", "student_response": "3 * 4 = 12.", "reference": "7"}


def said(name: str, **values: Any) -> str:
    """The last message of a prompt."""
    folder = find_bundled("prompts")
    return Prompt(name, folder / f"{name}.jinja", [folder]).render({**ROW, **values})[-1]["content"]


def test_a_refinement_is_asked_for_with_the_history_of_answers_and_without_the_right_one() -> None:
    history = [
        {"instruction": "2 + 2?", "answer": "5", "correct": False, "reference": "4"},
        {"instruction": "2 + 3?", "answer": None, "correct": False, "reference": "5"},
        {"instruction": "2 + 4?", "answer": "6", "correct": True, "reference": "6"},
    ]
    text = said("refine/by_mistake", context=history, reference="the right one")
    lines = ["- 2 + 2? Answer: 5 (wrong)", "- 2 + 3? Answer: none (wrong)", "- 2 + 4? Answer: 6 (right)"]
    assert "\n".join(lines) in text
    assert "the right one" not in text
    assert text.index("3 + 4 = 7.") < text.index("3 * 4 = 12.")


def test_the_mark_that_a_refinement_asks_for_is_the_one_that_its_comment_tells_recipes_to_cut_at() -> None:
    source = (find_bundled("prompts") / "refine/by_mistake.jinja").read_text()
    assert '`after: "Rationale:"`' in source
    assert '"Rationale:"' in said("refine/by_mistake", context=[])
    assert read_after_mark("Gap: it multiplies.\n\nRationale:\n3 + 4 = 7.\nThe answer is 7.", "Rationale:").startswith(
        "3 +"
    )


def test_a_first_round_without_history_shows_none() -> None:
    assert said("refine/by_mistake", context=[]).startswith("Problem:\nHow many?")


@pytest.mark.parametrize(
    ("choices", "lines"),
    [
        (["a dog", "a cat"], "(A) a dog\n(B) a cat\n"),
        ({"1": "a dog", "2": "a cat"}, "(1) a dog\n(2) a cat\n"),
    ],
)
def test_choices_are_shown_with_their_labels_and_the_right_one_after_them(choices: Any, lines: str) -> None:
    text = said("rationale/hinted_choice", choices=choices, reference="B", examples=[])
    assert text == f"Question: How many?\nOptions:\n{lines}Right answer: B"


def test_the_report_tells_the_slices_from_the_worst_on() -> None:
    groups = {name: {"n": 4, "accuracy": share} for name, share in (("sums", 0.75), ("ages", 0.0), ("time", 0.5))}
    text = said("report/weak_spots", context={"n": 12, "accuracy": 5 / 12, "slices": {"kind": groups}})
    told = ["- ages: 0 % of 4 right", "- time: 50 % of 4 right", "- sums: 75 % of 4 right"]
    assert "Test result: 42 % of 12 problems right.\nBy kind, the worst first:\n" + "\n".join(told) in text


def test_the_report_is_left_out_before_the_first_evaluation() -> None:
    assert "Test result" not in said("report/weak_spots", context={})
    assert "By " not in said("report/weak_spots", context={"n": 12, "accuracy": 0.5})
