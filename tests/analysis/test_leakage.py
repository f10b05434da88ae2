from typing import Any

import pytest

from blackbox_kd.analysis.leakage import holds, list_texts, write_said


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("It is 4.", "4", True),
        ("It costs $4, no more", "4", True),
        ("14 and 41", "4", False),
        ("4.5 or 3.4", "4", False),
        ("4,000 metres", "4", False),
        ("1,000,000 metres", "1000000", True),
        ("1000 metres", "1,000", True),
        ("New\n  York", "new york", True),
        ("newer York", "new", False),
        ("答えは東京です", "東京", True),
        ("cafe\u0301s", "café", False),
        ("a {brace} and a (bracket", "(bracket", True),
        ("x is {4}", "{4}", True),
        ("anything", "", False),
        ("anything", "  ", False),
    ],
)
def test_a_part_stands_in_a_text_as_words_or_numbers_of_its_own(text: str, part: str, expected: bool) -> None:
    assert holds(text, part) is expected


def test_the_texts_of_a_value_are_all_that_is_inside_of_it() -> None:
    assert list_texts([{"a": "x", "b": [1, None]}, "y"]) == ["x", "1", "y"]
    assert list_texts(None) == []


CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Z\\u00fcrich\\nCH"}'}}


@pytest.mark.parametrize(
    "value",
    [
        [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
        [{"role": "assistant", "content": "b", "reasoning_content": "So\nZürich"}],
        [{"role": "tool", "content": "In:\nZürich", "tool_call_id": "c1"}],
        [{"role": "user", "content": [{"type": "text", "text": "a\nZürich"}]}],
        [{"type": "function", "function": {"name": "f", "description": "Of\nZürich."}}],
        {"own": {"deep": ["a\nZürich"]}},
    ],
    ids=["arguments", "reasoning", "result", "part", "description", "own_object"],
)
def test_a_part_is_found_in_all_that_a_conversation_and_its_tools_say(value: Any) -> None:
    assert holds(write_said(value), "Zürich")
    assert not any(holds(write_said(value), word) for word in ("assistant", "function", "c1"))
