"""Which tokens are learnt, as tables to read: of a chat whose turns are all learnt, of a conversation with tools."""

from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.training import masks, preflight
from tests.support import mask_table

QUESTION = "Rain in Oslo?"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "By city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def say(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


CHAT = {
    "prompt": [
        say("user", "Hi"),
        say("assistant", "Yes?"),
        say("user", "One?"),
        say("assistant", "Two."),
        say("user", "And?"),
    ],
    "completion": [say("assistant", "Three.")],
}
TOOLS = {
    "prompt": [
        say("user", QUESTION),
        say("assistant", "", tool_calls=[CALL]),
        say("tool", "dry", tool_call_id="c1", name="weather"),
    ],
    "completion": [say("assistant", "No.")],
    "tools": [WEATHER],
}
CHATS = {
    "SmolLM2": """
  | <|im_start|>system⏎
  | You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>⏎
  | <|im_start|>user⏎
  | Hi<|im_end|>⏎
  | <|im_start|>assistant⏎
x | Yes?<|im_end|>⏎
  | <|im_start|>user⏎
  | One?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | Two.<|im_end|>⏎
  | <|im_start|>user⏎
  | And?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | Three.<|im_end|>⏎""",
    "Qwen3": """
  | <|im_start|>user⏎
  | Hi<|im_end|>⏎
  | <|im_start|>assistant⏎
x | <think>⏎
x | ⏎
x | </think>⏎
x | ⏎
x | Yes?<|im_end|>⏎
  | <|im_start|>user⏎
  | One?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | <think>⏎
x | ⏎
x | </think>⏎
x | ⏎
x | Two.<|im_end|>⏎
  | <|im_start|>user⏎
  | And?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | <think>⏎
x | ⏎
x | </think>⏎
x | ⏎
x | Three.<|im_end|>⏎""",
    "Llama 3": """
  | <|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎
  | ⏎
  | Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎
  | ⏎
x | Yes?<|eot_id|>
  | <|start_header_id|>user<|end_header_id|>⏎
  | ⏎
  | One?<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎
  | ⏎
x | Two.<|eot_id|>
  | <|start_header_id|>user<|end_header_id|>⏎
  | ⏎
  | And?<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎
  | ⏎
x | Three.<|eot_id|>""",
    "Gemma": """
  | <bos><start_of_turn>user⏎
  | Hi<end_of_turn>⏎
  | <start_of_turn>model⏎
x | Yes?<end_of_turn>⏎
  | <start_of_turn>user⏎
  | One?<end_of_turn>⏎
  | <start_of_turn>model⏎
x | Two.<end_of_turn>⏎
  | <start_of_turn>user⏎
  | And?<end_of_turn>⏎
  | <start_of_turn>model⏎
x | Three.<end_of_turn>⏎""",
}
CALLED = {
    "Qwen3": """
  | <|im_start|>user⏎
  | Rain in Oslo?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | <think>⏎
x | ⏎
x | </think>⏎
x | ⏎
x | <tool_call>⏎
x | {"name": "weather", "arguments": {"city": "Oslo"}}⏎
x | </tool_call><|im_end|>⏎
  | <|im_start|>user⏎
  | <tool_response>⏎
  | dry⏎
  | </tool_response><|im_end|>⏎
  | <|im_start|>assistant⏎
x | <think>⏎
x | ⏎
x | </think>⏎
x | ⏎
x | No.<|im_end|>⏎""",
    "tools": """
  | <|im_start|>user⏎
  | Rain in Oslo?<|im_end|>⏎
  | <|im_start|>assistant⏎
x | <tool_call>⏎
x | {"name": "weather", "arguments": {"city": "Oslo"}}⏎
x | </tool_call><|im_end|>⏎
  | <|im_start|>user⏎
  | <tool_response>⏎
  | dry⏎
  | </tool_response><|im_end|>⏎
  | <|im_start|>assistant⏎
x | No.<|im_end|>⏎""",
}


@pytest.mark.parametrize("family", CHATS)
def test_all_turns_of_a_chat_are_learnt_and_nothing_else(family: str) -> None:
    assert f"\n{mask_table.show(family, CHAT, turns='all')}" == CHATS[family]


@pytest.mark.parametrize("family", CHATS)
def test_the_last_turn_alone_is_learnt_unless_a_recipe_says_otherwise(family: str) -> None:
    shown = mask_table.show(family, CHAT).splitlines()
    learnt = [line for line in shown if line.startswith("x") and line[4:] not in ("<think>⏎", "⏎", "</think>⏎")]
    assert learnt == [line for line in CHATS[family].splitlines() if "Three" in line]


@pytest.mark.parametrize("family", CALLED)
def test_calls_of_tools_are_learnt_and_what_tools_give_back_is_not(family: str) -> None:
    shown = mask_table.show(family, TOOLS, turns="all")
    assert '"name": "weather", "description": "By city."' in shown
    assert shown[shown.index("<|im_start|>user") - 4 :] == CALLED[family].strip("\n")


@pytest.mark.parametrize("family", ["tools", "Qwen3"])
def test_a_call_that_is_the_completion_is_learnt_to_its_end(family: str) -> None:
    row = {"prompt": TOOLS["prompt"][:1], "completion": TOOLS["prompt"][1:2], "tools": [WEATHER]}
    learnt = [line[4:] for line in mask_table.show(family, row).splitlines() if line.startswith("x")]
    assert learnt[-3:] == [
        "<tool_call>⏎",
        '{"name": "weather", "arguments": {"city": "Oslo"}}⏎',
        "</tool_call><|im_end|>⏎",
    ]


@pytest.mark.parametrize("turns", ["last", "all"])
def test_of_a_completion_of_several_messages_the_assistants_own_are_learnt(turns: str) -> None:
    row = {
        "prompt": TOOLS["prompt"][:1],
        "completion": [*TOOLS["prompt"][1:], *TOOLS["completion"]],
        "tools": [WEATHER],
    }
    learnt = [line[4:] for line in mask_table.show("tools", row, turns=turns).splitlines() if line.startswith("x")]
    assert learnt == [line[4:] for line in CALLED["tools"].splitlines() if line.startswith("x")]


@pytest.mark.parametrize("family", CHATS)
def test_a_turn_of_weight_0_is_read_and_not_learnt(family: str) -> None:
    first, yes, *rest = CHAT["prompt"]
    row = CHAT | {"prompt": [first, yes | {"weight": 0}, *rest]}
    learnt = "".join(line[4:] for line in mask_table.show(family, row, turns="all").splitlines() if line[0] == "x")
    assert ("Yes?" in learnt, "Two." in learnt, "Three." in learnt) == (False, True, True)


@pytest.mark.parametrize("family", ["SmolLM2", "Llama 3", "Gemma"])
def test_a_template_that_would_leave_tools_out_is_refused(family: str) -> None:
    tokenizer = mask_table.make_tokenizer(family)
    with pytest.raises(DataError, match=r"row 0 \(completion\): the chat template of the model takes no tools"):
        preflight.check_template(tokenizer, [TOOLS], ["completion"])


def test_a_template_that_writes_earlier_turns_otherwise_is_refused_with_what_differs() -> None:
    tokenizer = mask_table.make_tokenizer("SmolLM2")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content'] +", "(message['content'] if loop.last else message['content'] | upper) +"
    )
    with pytest.raises(DataError) as caught:
        preflight.check_template(tokenizer, [CHAT], ["completion"], earlier=True)
    assert (
        "row 0 (completion): message 2: the chat template writes what comes before it differently" in caught.value.what
    )
    assert "'i<|im_end|>\\n'" not in caught.value.what
    assert caught.value.fix.startswith("turns: last")


def test_turns_that_a_template_does_not_mark_are_not_told_apart() -> None:
    tokenizer = mask_table.make_tokenizer("tools")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['role'] == 'assistant' %}", "message['role'] == 'assistant' and loop.last %}"
    )
    messages = [*CHAT["prompt"], *CHAT["completion"]]
    with pytest.raises(DataError, match="marks 1 turns of the assistant, and the conversation has 3"):
        masks.mask(tokenizer, messages, None, [1, 3, 5], masks.find_template(tokenizer))
