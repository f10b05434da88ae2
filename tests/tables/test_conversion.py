"""Rows of others -> prompt and completion."""

import json
import re
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.tables.conversion import convert
from blackbox_kd.tables.formats import list_ignored, recognise
from blackbox_kd.tables.turns import Notes


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def dialogue(*turns: str) -> str:
    return "".join(f"\n\n{speaker}: {text}" for speaker, text in zip(["Human", "Assistant"] * 9, turns, strict=False))


SYSTEM = {"role": "system", "content": "Be brief."}
TAUGHT = {"prompt": [user("1 + 1?")], "completion": [assistant("2")]}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "completion": "2"},
        {"prompt": [user("1 + 1?")], "completion": [assistant("2")]},
        {"prompt": [user("1 + 1?")], "completion": "2"},
        {"messages": [user("1 + 1?"), assistant("2")]},
        {"messages": [user("1 + 1?"), assistant("2"), user("Thanks")]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "1 + 1?"}]}, assistant("2")]},
        {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
        {"conversations": [user("1 + 1?"), assistant("2")]},
        {"instruction": "1 + 1?", "output": "2", "input": ""},
        {"instruction": "1 + 1?", "output": "2"},
        {"instruction": "1 + 1?", "response": "2"},
    ],
)
def test_every_shape_becomes_a_prompt_and_a_completion(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == TAUGHT


def test_the_input_of_alpaca_follows_the_instruction() -> None:
    row = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
    assert convert(row, "alpaca")["prompt"] == [user("Add.\n\n1 + 1")]


def test_the_last_turn_of_the_assistant_is_learnt_and_all_before_it_is_the_prompt() -> None:
    turns = [SYSTEM, user("a"), assistant("b"), user("c"), assistant("d")]
    assert convert({"messages": turns}, "messages") == {"prompt": turns[:4], "completion": turns[4:]}


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "1 + 1?", "response": "2"},
        {"instruction": "1 + 1?", "output": "2"},
        {"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
    ],
)
def test_a_system_column_becomes_the_system_message(row: dict[str, Any]) -> None:
    assert convert({**row, "system": "Be brief."}, recognise(row))["prompt"] == [SYSTEM, user("1 + 1?")]


def test_a_conversation_keeps_its_own_system_message() -> None:
    row = {"messages": [SYSTEM, user("a"), assistant("b")], "system": "Be long."}
    assert convert(row, "messages")["prompt"] == [SYSTEM, user("a")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"},
        {"prompt": [user("1 + 1?")], "chosen": [assistant("2")], "rejected": [assistant("3")]},
        {
            "prompt": "1 + 1?",
            "chosen": [user("1 + 1?"), assistant("2")],
            "rejected": [user("1 + 1?"), assistant("3")],
        },
        {"chosen": [user("1 + 1?"), assistant("2")], "rejected": [user("1 + 1?"), assistant("3")]},
        {"chosen": dialogue("1 + 1?", "2"), "rejected": dialogue("1 + 1?", "3"), "source": "HH-RLHF"},
        {"id": "r0", "chosen": "1 + 1? 2", "rejected": "1 + 1? 3", "score": 4},
    ],
)
def test_preferences_become_a_prompt_and_two_completions(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == {
        "prompt": [user("1 + 1?")],
        "chosen": [assistant("2")],
        "rejected": [assistant("3")],
    }


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"instruction": "a", "response": " "}, "column 'response' is empty"),
        ({"instruction": None, "response": "b"}, "column 'instruction' is empty"),
        ({"prompt": "a", "completion": []}, "column 'completion' is empty"),
        ({"prompt": [SYSTEM], "completion": "b"}, "the prompt has no turn of the user"),
        ({"prompt": "a", "completion": [user("b")]}, "the completion does not end with a turn of the assistant"),
        ({"messages": [user("a")]}, "the conversation has no turn of the assistant"),
        ({"messages": [user("a"), assistant("")]}, "the conversation has no turn of the assistant"),
        ({"messages": [assistant("b")]}, "the prompt has no turn of the user"),
        ({"messages": []}, "column 'messages' is empty"),
        ({"messages": ["a"]}, "a turn that is no object"),
        ({"messages": [user("a"), {"role": "bot", "content": "b"}]}, "a turn by 'bot'; known: user"),
        (
            {"messages": [{"role": ["user"], "content": "a"}, assistant("b")]},
            r"""a turn by '\["user"\]'; known: user""",
        ),
        ({"messages": [{"role": {"own": 1}, "content": "a"}]}, r"""a turn by '{"own": 1}'; known: user"""),
        ({"conversations": [{"from": 7, "value": "a"}]}, "a turn by '7'; known: user"),
        ({"messages": [user("a"), {"role": "assistant", "tool_calls": [1]}]}, "a tool call without the name"),
        ({"messages": [user("a"), {"role": "tool", "content": "b"}]}, "no turn of the assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "parts that are no text"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "'chosen' and 'rejected' are the same"),
        ({"chosen": "b", "rejected": "c"}, "no column 'prompt', and 'chosen' and 'rejected' do not begin alike"),
        ({"question": "a", "chosen": "It is b", "rejected": "It is c"}, "no column 'prompt'; is it one of question"),
        ({"chosen": dialogue("a", "b"), "rejected": dialogue("x", "c")}, "do not answer the same conversation"),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("c")]},
            "do not answer the same conversation",
        ),
    ],
)
def test_a_row_with_nothing_to_learn_says_why(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert(row, recognise(row))


def test_an_unknown_shape_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="unknown shape 'alpacca'; known: preference"):
        convert({}, "alpacca")


def test_a_dialogue_of_several_turns_is_answered_at_its_end() -> None:
    before = ("Why: me?", "Because.\n\nReally.", "Human: that is no turn")
    row = {"chosen": dialogue(*before, "Yes"), "rejected": dialogue(*before, "No")}
    turns = [user(before[0]), assistant(before[1]), user(before[2])]
    assert convert(row, "preference") == {"prompt": turns, "chosen": [assistant("Yes")], "rejected": [assistant("No")]}


# What belongs to a question or an answer is used.

TEXT = "Acme was founded in 1931."


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"instruction": "Who?", "context": TEXT, "response": "Z."}, [user(f"Who?\n\n{TEXT}")]),
        ({"instruction": "Who?", "input": TEXT, "response": "Z."}, [user(f"Who?\n\n{TEXT}")]),
        ({"instruction": "Who?", "input": TEXT, "output": "Z."}, [user(f"Who?\n\n{TEXT}")]),
        ({"instruction": "Who?", "context": "C", "input": "I", "output": "Z."}, [user("Who?\n\nC\n\nI")]),
        (
            {"instruction": "Who?", "output": "Z.", "history": [["Hi", "Hello"]], "system": "Be brief."},
            [SYSTEM, user("Hi"), assistant("Hello"), user("Who?")],
        ),
        ({"prompt": "Who?", "completion": "Z.", "system": "Be brief."}, [SYSTEM, user("Who?")]),
        ({"prompt": "Who?", "completion": "Z.", "history": '[["Hi", "Hello"]]'},
         [user("Hi"), assistant("Hello"), user("Who?")]),
        ({"messages": [user("Who?"), assistant("Z.")], "system_prompt": "Be brief."}, [SYSTEM, user("Who?")]),
        ({"instruction": "Who?", "context": {"by": "Z"}, "response": "Z."}, [user('Who?\n\n{"by": "Z"}')]),
        ({"instruction": 4, "response": "Z."}, [user("4")]),
    ],
    ids=["dolly", "input", "alpaca", "both", "history", "own_system", "own_history_as_json", "own_system_prompt",
         "own_object", "own_number"],
)  # fmt: skip
def test_what_belongs_to_the_question_is_asked(row: dict[str, Any], question: list[dict[str, str]]) -> None:
    assert convert(row, recognise(row)) == {"prompt": question, "completion": [assistant("Z.")]}


THOUGHT = {**assistant("7"), "reasoning_content": "Three and four."}
WRITTEN = assistant("<think>\nThree and four.\n</think>\n\n7")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("3+4?"), {**assistant("7"), "reasoning_content": "Three and four."}]},
        {"messages": [user("3+4?"), {**assistant("7"), "thinking": "Three and four.\n"}]},
        {"conversations": [user("3+4?"), {**assistant("7"), "reasoning": "Three and four."}]},
        {"prompt": "3+4?", "completion": [{**assistant("7"), "reasoning_content": "Three and four."}]},
        {"instruction": "3+4?", "response": "7", "thinking": "Three and four."},
        {"prompt": "3+4?", "completion": "7", "reasoning_content": "Three and four."},
        {"messages": [user("3+4?"), assistant("7")], "thinking": "Three and four."},
        {
            "messages": [
                user("3+4?"),
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "Three and four."}, {"text": "7"}]},
            ]
        },
    ],
    ids=["reasoning_content", "thinking", "own_reasoning", "completion", "column", "own_column", "own_beside_messages",
         "own_part"],
)  # fmt: skip
def test_reasoning_stands_beside_the_answer_that_is_learnt(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == {"prompt": [user("3+4?")], "completion": [THOUGHT]}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("3+4?"), {**WRITTEN, "thinking": "Three and four."}]},
        {"messages": [user("3+4?"), WRITTEN], "thinking": "Three and four."},
        {"prompt": "3+4?", "completion": WRITTEN["content"], "reasoning_content": "Three and four."},
    ],
)
def test_reasoning_that_an_answer_begins_with_is_not_there_a_second_time(row: dict[str, Any]) -> None:
    assert convert(row, recognise(row)) == {"prompt": [user("3+4?")], "completion": [WRITTEN]}


def test_reasoning_of_earlier_answers_stays_with_them() -> None:
    turns = [user("a"), {**assistant("b"), "thinking": "c"}, user("d"), assistant("e")]
    found = convert({"messages": turns}, "messages")
    assert found["prompt"] == [user("a"), {**assistant("b"), "reasoning_content": "c"}, user("d")]


@pytest.mark.parametrize(
    ("turns", "learnt", "told"),
    [
        ([user("a"), assistant("b"), user("c")], "b", ["what follows the last answer is left out"]),
        (
            [user("a"), assistant("b"), user("c"), assistant("d")],
            "d",
            [],
        ),
        (
            [user("a"), assistant("b"), user("c"), {**assistant("d"), "weight": 0}],
            "b",
            ["what follows the last answer is left out"],
        ),
        ([user("a"), {**assistant("b"), "weight": 0}, user("c"), assistant("d")], "d", []),
        ([{**user("a"), "mood": "bad"}, assistant("b")], "b", ["the key 'mood' of turns is not used"]),
        ([{"role": "Human", "content": "a"}, {"role": "GPT", "content": "b"}], "b", []),
    ],
    ids=["trailing question", "earlier answers", "weight 0", "own_weights", "own_name", "own_roles"],
)
def test_turns_that_are_not_learnt_are_told_of(turns: list[dict[str, Any]], learnt: str, told: list[str]) -> None:
    notes = Notes()
    assert convert({"messages": turns}, "messages", notes)["completion"] == [assistant(learnt)]
    assert list(notes) == told


def test_a_system_column_beside_a_system_message_is_told_of() -> None:
    notes = Notes()
    convert({"messages": [SYSTEM, user("a"), assistant("b")], "system": "Be long."}, "messages", notes)
    assert list(notes) == ["the column 'system' is not used, as the conversation has a system message"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "completion": "b", "label": False}, "column 'label' is false"),
        ({"prompt": "a", "completion": "b", "label": "False"}, "column 'label' is false"),
        ({"instruction": "a", "output": "b", "kto_tag": False}, "column 'kto_tag' is false"),
        ({"messages": [user("a"), assistant("b")], "kto_tag": False}, "column 'kto_tag' is false"),
        ({"prompt": "a", "completion": "b", "weight": 0}, "column 'weight' is 0"),
        ({"prompt": "a", "completion": "b", "weight": "much"}, "column 'weight' holds something else than a number"),
        ({"prompt": "a", "completion": "b", "weight": -1}, "column 'weight' holds something else than a number"),
        ({"messages": [user("a"), {**assistant("b"), "weight": 0}]}, "no turn of the assistant with another weight"),
        ({"messages": [user("a"), {**assistant("b"), "weight": 0.5}]}, "a turn of weight '0.5'; known: 0 and 1"),
        ({"prompt": "a", "completion": [{**assistant("b"), "weight": 0}]}, "ends with a turn of weight 0"),
        ({"prompt": "a", "completion": "b", "context": TEXT}, "column 'context' carries meaning"),
        ({"prompt": "a", "completion": "b", "input": TEXT}, "column 'input' carries meaning"),
        ({"messages": [user("a"), assistant("b")], "context": TEXT}, "column 'context' carries meaning"),
        ({"messages": [user("a"), assistant("b")], "history": [["q", "a"]]}, "column 'history' carries meaning"),
        ({"messages": [user("a"), assistant("b")], "tools": [{"type": "function"}]}, "column 'tools' holds something"),
        ({"messages": [user("a"), assistant("b")], "tools": "a hammer"}, "column 'tools' is no list of tools"),
        ({"text": "USER: a ASSISTANT: b", "tools": [{"name": "f"}]}, "column 'tools' carries meaning"),
        ({"instruction": "a", "output": "b", "images": ["a.png"]}, "column 'images' carries meaning"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "thinking": "t"}, "column 'thinking' carries meaning"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "context": TEXT}, "column 'context' carries meaning"),
        ({"instruction": "a", "output": "b", "history": ["q", "a"]}, "no list of pairs"),
        ({"messages": [user("a"), {"role": "assistant", "function_call": {"arguments": "{}"}}]}, "without the name"),
        ({"messages": [user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "x"}]}]}, "no JSON"),
        ({"messages": [{**user("a"), "tool_calls": [{"name": "f"}]}, assistant("b")]}, "of another speaker"),
        ({"conversations": [{"from": "function_call", "value": "{}"}]}, "without the name"),
        ({"conversations": [{"from": "function_call", "value": "f()"}]}, "tool calls that are none"),
        ({"text": "Once upon a time there was a king."}, "column 'text' is no conversation with marks"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert(row, recognise(row))


@pytest.mark.parametrize(
    "extra",
    [
        {"context": "", "input": None, "history": [], "tools": "[]", "images": []},
        {"label": True},
        {"label": 0},
        {"weight": None},
        {"own": TEXT},
    ],
    ids=["empty", "good label", "own_class_label", "own_no_weight", "own_other_name"],
)
def test_what_is_empty_or_means_nothing_stands_in_nobodys_way(extra: dict[str, Any]) -> None:
    assert convert({"prompt": "1 + 1?", "completion": "2", **extra}, "completion") == TAUGHT


def test_a_weight_is_the_rows() -> None:
    assert convert({"prompt": "1 + 1?", "completion": "2", "weight": "0.5"}, "completion") == {**TAUGHT, "weight": 0.5}


def test_what_is_said_of_the_datas_answer_is_not_said_of_the_one_in_its_place() -> None:
    assert {"label", "kto_tag", "thinking"} <= list_ignored("own", {"response"})
    assert "input" not in list_ignored("own", {"response"})
    assert {"input", "label", "context", "tools"} <= list_ignored("completion", {"prompt", "completion"})
    assert list_ignored("messages", set()) == set()


# Preferences of other tools.

PAIR = {"prompt": [user("1 + 1?")], "chosen": [assistant("2")], "rejected": [assistant("3")]}


@pytest.mark.parametrize(
    "row",
    [
        {
            "input": {"messages": [user("1 + 1?")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [assistant("2")],
            "non_preferred_output": [assistant("3")],
        },
        {
            "conversations": [{"from": "human", "value": "1 + 1?"}],
            "chosen": {"from": "gpt", "value": "2"},
            "rejected": {"from": "gpt", "value": "3"},
        },
        {"messages": [user("1 + 1?")], "chosen": assistant("2"), "rejected": assistant("3")},
        {"instruction": "1 + 1?", "chosen": "2", "rejected": "3"},
        {"instruction": "1 +", "input": "1?", "chosen": "2", "rejected": "3"},
        {"prompt": json.dumps([user("1 + 1?")]), **{side: json.dumps(PAIR[side]) for side in ("chosen", "rejected")}},
    ],
    ids=["OpenAI", "LLaMA-Factory", "own_messages", "alpaca", "alpaca with input", "own_csv"],
)
def test_preferences_of_other_tools_have_a_way_in(row: dict[str, Any]) -> None:
    expected = PAIR if "input" not in row or "preferred_output" in row else {**PAIR, "prompt": [user("1 +\n\n1?")]}
    assert convert(row, recognise(row)) == expected


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {
                "input": {"messages": [user("a")], "tools": [{"type": "function"}]},
                "preferred_output": [assistant("b")],
                "non_preferred_output": [assistant("c")],
            },
            "column 'tools' holds something that is no tool",
        ),
        (
            {"input": {"messages": []}, "preferred_output": [assistant("b")], "non_preferred_output": []},
            "column 'input.messages' is empty",
        ),
        (
            {"conversations": [user("a")], "chosen": {"from": "gpt", "value": ""}, "rejected": assistant("c")},
            "does not end with a turn of the assistant",
        ),
    ],
)
def test_a_preference_that_cannot_be_learnt_says_why(row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert(row, recognise(row))


# Conversations that are rendered already.

TEXTS = {
    "ChatML": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n"
        "<|im_start|>assistant\n2<|im_end|>\n"
    ),
    "Llama 3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n2<|eot_id|>"
    ),
    "Llama 2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n1 + 1? [/INST] 2 </s>",
    "Alpaca": "Be brief.\n\n### Instruction:\n1 + 1?\n\n### Response:\n2</s>",
    "Guanaco": "### System: Be brief.\n### Human: 1 + 1?\n### Assistant: 2",
    "own_Zephyr": "<|system|>\nBe brief.</s>\n<|user|>\n1 + 1?</s>\n<|assistant|>\n2</s>",
    "own_Vicuna": "Be brief. USER: 1 + 1? ASSISTANT: 2</s>",
    "own_HH": "\n\nSystem: Be brief.\n\nHuman: 1 + 1?\n\nAssistant: 2",
}


@pytest.mark.parametrize("form", TEXTS)
def test_a_text_with_the_marks_of_a_template_is_a_conversation(form: str) -> None:
    taught = {"prompt": [SYSTEM, user("1 + 1?")], "completion": [assistant("2")]}
    assert convert({"text": TEXTS[form]}, recognise(["text"])) == taught


def test_a_rendered_text_of_several_turns_is_learnt_at_its_end() -> None:
    text = "<start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
    text += "<start_of_turn>user\nc<end_of_turn>\n<start_of_turn>model\nd<end_of_turn>\n"
    assert convert({"text": text}, "text") == {
        "prompt": [user("a"), assistant("b"), user("c")],
        "completion": [assistant("d")],
    }


def test_the_input_of_a_rendered_instruction_belongs_to_it() -> None:
    text = "### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n2"
    assert convert({"text": text}, "text")["prompt"] == [user("Add.\n\n1 + 1")]


def test_a_prompt_that_is_rendered_already_is_read_as_turns() -> None:
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    taught = {"prompt": [SYSTEM, user("1 + 1?")], "completion": [assistant("2")]}
    assert convert({"prompt": prompt, "completion": "2"}, "completion") == taught


@pytest.mark.parametrize("text", ["What does <|im_start|> mean?", "### Instruction: is a heading", "Human: is a word"])
def test_a_text_that_speaks_of_marks_is_a_text(text: str) -> None:
    assert convert({"prompt": text, "completion": "2"}, "completion")["prompt"] == [user(text)]


PROMPTS = {
    "ChatML": "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n",
    "ChatML without a begin": "<|im_start|>user\n1 + 1?<|im_end|>",
    "ChatML, capitals": "<|im_start|>User\n1 + 1?<|im_end|>\n<|im_start|>Assistant\n",
    "Llama 2": "<s>[INST] 1 + 1? [/INST]",
    "Llama 2, cut": "[INST] 1 + 1?",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>",
    "Gemma": "<bos><start_of_turn>user\n1 + 1?<end_of_turn>\n<start_of_turn>model\n",
    "Zephyr, capitals": "<|USER|>\n1 + 1?</s>\n<|ASSISTANT|>\n",
    "Llama 4": "<|begin_of_text|><|header_start|>user<|header_end|>\n\n1 + 1?<|eot|>",
    "harmony": "<|start|>user<|message|>1 + 1?<|end|><|start|>assistant<|channel|>final<|message|>",
    "DeepSeek": "<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>1 + 1?<\uff5cAssistant\uff5c>",
    "Command": "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>1 + 1?<|END_OF_TURN_TOKEN|>",
    "Alpaca": "### Instruction:\n1 + 1?\n\n### Response:\n",
    "Alpaca without a begin": "### Instruction:\n1 + 1?",
    "HH": "\n\nHuman: 1 + 1?\n\nAssistant:",
    "lines": "User: 1 + 1?\nAssistant:",
    "Vicuna": "USER: 1 + 1? ASSISTANT:",
}
ANSWERS = ("2", "2<|im_end|>", "2</s>", "<|im_start|>assistant\n2<|im_end|>\n", "[/INST] 2 </s>", "### Response:\n2")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("form", PROMPTS)
def test_a_rendered_prompt_and_a_rendered_answer_are_messages_without_marks(form: str, answer: str) -> None:
    taught = {"prompt": [user("1 + 1?")], "completion": [assistant("2")]}
    for asked, said in (("prompt", "completion"), ("instruction", "response"), ("instruction", "output")):
        notes = Notes()
        row = {asked: PROMPTS[form], said: answer}
        assert convert(row, recognise(row), notes) == taught
        assert set(notes.values()) == {1}, "once for each row, however many of its texts were rendered"
    row = {"prompt": PROMPTS[form], "chosen": answer, "rejected": "3<|eot_id|>"}
    pair = convert(row, recognise(row))
    assert (pair["chosen"], pair["rejected"]) == ([assistant("2")], [assistant("3")])


def test_what_an_alpaca_prompt_begins_with_is_its_system_message() -> None:
    prompt = "Below is an instruction.\n\n### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:"
    made = convert({"prompt": prompt, "completion": "2"}, "completion")
    assert made["prompt"] == [{"role": "system", "content": "Below is an instruction."}, user("Add.\n\n1 + 1")]


def test_the_text_that_a_rendered_instruction_is_about_stands_in_its_turn() -> None:
    row = {"instruction": "[INST] Add. [/INST]", "input": "1 + 1", "output": "2"}
    assert convert(row, "alpaca")["prompt"] == [user("Add.\n\n1 + 1")]


def test_a_message_that_is_rendered_itself_is_the_message() -> None:
    rendered = {"messages": [user("<|im_start|>user\na<|im_end|>"), assistant("b<|im_end|>")]}
    assert convert(rendered, "messages") == {"prompt": [user("a")], "completion": [assistant("b")]}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Look: <|im_start|>user\na<|im_end|>", "completion": "b"}, "'prompt' holds '<|im_start|>user'"),
        ({"prompt": "a", "completion": "b [INST] c [/INST] d"}, "column 'completion' holds '[INST]'"),
        ({"prompt": "a", "completion": "<start_of_turn>robot\nb"}, ""),
        ({"messages": [user("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb"), assistant("c")]}, "whole conv"),
        ({"messages": [user("a"), assistant("b<|eot_id|><|start_header_id|>user<|end_header_id|>c")]}, "begins a turn"),
    ],
)
def test_marks_amid_a_text_are_refused_and_not_trained(row: dict[str, Any], says: str) -> None:
    if not says:  # no template has such a speaker
        assert convert(row, recognise(row))["completion"] == [assistant("<start_of_turn>robot\nb")]
        return
    with pytest.raises(DataError, match=re.escape(says)):
        convert(row, recognise(row))


@pytest.mark.parametrize(
    "text",
    [
        "What does `<|im_start|>user` do in ChatML?",
        'Llama 2 writes "[INST]" before a question.',
        "He was <s>glad</s>",
        "### Notes:\nHuman: is a word",
        "The Assistant: a novel\nby User: unknown",
    ],
)
def test_a_text_that_quotes_marks_or_strikes_words_through_stays_as_it_is(text: str) -> None:
    made = convert({"prompt": text, "completion": text}, "completion")
    assert made == {"prompt": [user(text)], "completion": [assistant(text)]}


@pytest.mark.parametrize("human", ["Human", "HUMAN", "User", "Prompter"])
@pytest.mark.parametrize("model", ["GPT", "Gpt", "ASSISTANT", "Model"])
def test_speakers_are_known_in_any_case(human: str, model: str) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": human, "content": "a"}, {"role": model, "content": "b"}]},
        {"conversations": [{"from": human, "value": "a"}, {"from": model, "value": "b"}]},
        {"text": f"<|im_start|>{human.replace('Prompter', 'Human')}\na<|im_end|>\n<|im_start|>{model}\nb"},
    ]
    for row in rows:
        assert convert(row, recognise(row)) == {"prompt": [user("a")], "completion": [assistant("b")]}


@pytest.mark.parametrize(("value", "text"), [(4, "4"), (4.5, "4.5"), (True, "true"), ({"a": [1]}, '{"a": [1]}')])
def test_an_answer_that_is_no_text_becomes_json(value: object, text: str) -> None:
    for row in ({"instruction": "a", "output": value}, {"prompt": "a", "completion": value}):
        assert convert(row, recognise(row))["completion"] == [assistant(text)]


def test_pairs_that_differ_in_blanks_alone_are_refused() -> None:
    with pytest.raises(DataError, match="'chosen' and 'rejected' are the same but for blanks"):
        convert({"prompt": "a", "chosen": "b  c\n", "rejected": "b c"}, "preference")


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ({"score_chosen": 1, "score_rejected": 4.5}, "score_chosen is below score_rejected"),
        ({"chosen-rating": "2", "rejected-rating": "3"}, "chosen-rating is below rejected-rating"),
        ({"score_chosen": 4, "score_rejected": 4}, ""),
        ({"score_chosen": None, "score_rejected": 4}, ""),
        ({"chosen": "b" * 21, "rejected": "c" * 10}, "'chosen' is more than 2 times as long as 'rejected'"),
        ({"chosen": "b" * 10, "rejected": "c" * 21}, "'rejected' is more than 2 times as long as 'chosen'"),
        ({"chosen": "b" * 20, "rejected": "c" * 10}, ""),
    ],
)
def test_what_speaks_against_a_pair_is_told(beside: dict[str, Any], told: str) -> None:
    notes = Notes()
    convert({"prompt": "a", "chosen": "good", "rejected": "bad", **beside}, "preference", notes)
    assert [count for what, count in notes.items() if what.startswith(told)] == ([1] if told else [])
    assert len(notes) == bool(told)
