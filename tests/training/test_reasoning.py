"""What a student of each family is trained on where a teacher has thought before it answered, as tables to read."""

from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.schema import Row
from blackbox_kd.steps import format as format_step
from tests.support import mask_table
from tests.support.fakes import FakeContext

THOUGHT = Row({"id": "a", "instruction": "3 + 4?", "response": "7", "reasoning": "Count on\nfrom 3."})
ASKED = {
    "SmolLM2": """
  | <|im_start|>system⏎
  | You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>⏎
  | <|im_start|>user⏎
  | 3 + 4?<|im_end|>⏎
  | <|im_start|>assistant⏎""",
    "Qwen3": """
  | <|im_start|>user⏎
  | 3 + 4?<|im_end|>⏎
  | <|im_start|>assistant⏎""",
    "Llama 3": """
  | <|begin_of_text|><|start_header_id|>user<|end_header_id|>⏎
  | ⏎
  | 3 + 4?<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎
  | ⏎""",
    "Gemma": """
  | <bos><start_of_turn>user⏎
  | 3 + 4?<end_of_turn>⏎
  | <start_of_turn>model⏎""",
}
WITH = """
x | <think>⏎
x | Count on⏎
x | from 3.⏎
x | </think>⏎
x | ⏎"""
WITHOUT = {"Qwen3": "\nx | <think>⏎\nx | ⏎\nx | </think>⏎\nx | ⏎"}
"""Qwen3's template writes an empty block where there is no reasoning, and its own generation writes one, too."""
ANSWER = {
    "SmolLM2": "\nx | 7<|im_end|>⏎",
    "Qwen3": "\nx | 7<|im_end|>⏎",
    "Llama 3": "\nx | 7<|eot_id|>",
    "Gemma": "\nx | 7<end_of_turn>⏎",
}


class Plain(FakeContext):
    """The prompt is the instruction."""

    def render(self, prompt: str, row: Any) -> list[dict[str, Any]]:
        return [{"role": "user", "content": row["instruction"]}]


async def taught(how: str) -> dict[str, Any]:
    config = format_step.Config.model_validate({"step": "format", "reasoning": how})
    [found] = [outcome async for outcome in format_step.run(THOUGHT, config, Plain())]
    assert isinstance(found, Row)
    return {name: found[name] for name in ("prompt", "completion")}


@pytest.mark.parametrize("family", ASKED)
async def test_a_trace_is_trained_on_as_the_template_of_the_student_writes_it(family: str) -> None:
    for how in ("think", "field"):
        assert f"\n{mask_table.show(family, await taught(how))}" == ASKED[family] + WITH + ANSWER[family]


@pytest.mark.parametrize("family", ASKED)
async def test_a_trace_that_is_dropped_is_not_trained_on(family: str) -> None:
    assert (
        f"\n{mask_table.show(family, await taught('drop'))}" == ASKED[family] + WITHOUT.get(family, "") + ANSWER[family]
    )


@pytest.mark.parametrize("how", ["think", "field"])
async def test_a_template_that_would_leave_a_trace_out_is_refused(how: str) -> None:
    tokenizer = mask_table.make_tokenizer("SmolLM2")
    tokenizer.chat_template = mask_table.SMOLLM2.replace("['content'] +", "['content'].split('</think>')[-1] +")
    with pytest.raises(DataError, match="leaves the reasoning of an answer out"):
        mask_table.prepare(tokenizer, [await taught(how)])
    [(_, labels)] = mask_table.prepare(tokenizer, [await taught("drop")])
    assert "7" in tokenizer.decode([label for label in labels if label >= 0])
