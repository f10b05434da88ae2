"""Replies as servers without the right parser send them, and the text that is read out of each."""

import time

import pytest

from blackbox_kd.calls import markup
from blackbox_kd.calls.markup import Parts

GOOD = "We add the parts.\nThe answer is 7."
ENDS = {
    "chatml": "<|im_end|>",
    "chatml_base": "<|endoftext|>",
    "qwen_both": "<|im_end|>\n<|endoftext|>",
    "llama_2": "</s>",
    "llama_2_spaced": " </s>",
    "llama_3": "<|eot_id|>",
    "llama_3_text": "<|end_of_text|>",
    "llama_3_message": "<|eom_id|>",
    "llama_4": "<|eot|>",
    "mistral": "</s></s>",
    "gemma": "<end_of_turn>",
    "gemma_newline": "<end_of_turn>\n<eos>",
    "gemma_4": "<turn|>",
    "phi": "<|end|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "deepseek_ascii": "<|end▁of▁sentence|>",
    "deepseek_coder": "<|EOT|>",
    "command": "<|END_OF_TURN_TOKEN|>",
    "command_response": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "glm": "<|user|>",
    "glm_tools": "<|observation|>",
    "harmony": "<|return|>",
    "granite": "<|end_of_text|>",
    "internlm": "<eoa>",
    "kimi": "[EOS]",
    "apertus": "<|assistant_end|>",
    "padding": "<|im_end|><|pad|><|pad|>",
    "next_turn": "<|im_end|>\n<|im_start|>user",
    "next_turn_gemma": "<end_of_turn>\n<start_of_turn>user",
    "own_exaone": "[|endofturn|]",
    "own_seed": "<seed:eos>",
    "own_smolvlm": "<end_of_utterance>",
}
HEADS = {
    "chatml": "<|im_start|>assistant\n",
    "llama_3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "llama_4": "<|header_start|>assistant<|header_end|>\n\n",
    "llama_2": "[/INST] ",
    "gemma": "<start_of_turn>model\n",
    "gemma_4": "<|turn>model\n",
    "phi": "<|assistant|>\n",
    "deepseek": "<｜Assistant｜>",
    "command": "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "own_granite": "<|start_of_role|>assistant<|end_of_role|>",
    "own_exaone": "[|assistant|]",
}
REASONING = {
    "think": "<think>\n3+4=7\n</think>\n\n" + GOOD,
    "think_opened_by_the_template": "3+4=7</think>" + GOOD,
    "magistral": "[THINK]3+4=7[/THINK]" + GOOD,
    "magistral_opened_by_the_template": "3+4=7[/THINK]\n" + GOOD + "</s>",
    "gemma_4": "<|channel>thought\n3+4=7\n<channel|>" + GOOD + "<turn|>",
    "gemma_4_turn": "<|turn>model\n<|channel>thought\n3+4=7<channel|>" + GOOD,
    "medgemma": "<unused94>thought\n3+4=7<unused95>" + GOOD,
    "harmony": "<|channel|>analysis<|message|>3+4=7<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
    "harmony_whole": f"<|start|>assistant<|channel|>analysis<|message|>3+4=7<|end|>\n"
    f"<|start|>assistant<|channel|>final<|message|>{GOOD}",
    "harmony_opened_by_the_template": f"3+4=7<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
    "harmony_constrained": f"<|channel|>analysis<|message|>3+4=7<|end|><|start|>assistant<|channel|>final "
    f"<|constrain|>json<|message|>{GOOD}",
    "harmony_without_start": f"<|channel|>analysis<|message|>3+4=7<|channel|>final<|message|>{GOOD}",
    "harmony_stripped": f"analysis3+4=7assistantfinal{GOOD}",
    "command": f"<|START_THINKING|>3+4=7<|END_THINKING|><|START_RESPONSE|>{GOOD}<|END_RESPONSE|>",
    "own_kimi": "◁think▷3+4=7◁/think▷" + GOOD,
    "own_seed": "<seed:think>3+4=7</seed:think>" + GOOD,
    "own_openthinker": "<|begin_of_thought|>\n3+4=7\n<|end_of_thought|>\n\n"
    f"<|begin_of_solution|>{GOOD}<|end_of_solution|>",
}


@pytest.mark.parametrize("family", ENDS)
def test_the_end_of_a_turn_is_no_part_of_the_text(family: str) -> None:
    parts = markup.split(GOOD + ENDS[family])
    assert parts == Parts(GOOD)
    assert list(markup.find_left(parts.text)) == []


@pytest.mark.parametrize("family", HEADS)
def test_nor_is_its_head(family: str) -> None:
    assert markup.split(HEADS[family] + GOOD) == Parts(GOOD)


@pytest.mark.parametrize("family", REASONING)
def test_reasoning_is_taken_out(family: str) -> None:
    assert markup.split(REASONING[family]) == Parts(GOOD, "3+4=7")


@pytest.mark.parametrize(
    "begun",
    [
        "<think>3+4",
        "[THINK]3+4",
        "<|channel>thought\n3+4",
        "<|channel|>analysis<|message|>3+4",
        "<|channel|>analysis<|message|>3+4<|end|>",
        "own_<|START_THINKING|>3+4".removeprefix("own_"),
    ],
)
def test_reasoning_that_never_ends_is_not_whole(begun: str) -> None:
    assert markup.split(begun) == Parts("", "3+4", is_whole=False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{GOOD}<|im_end|>\n<|im_start|>user\nAnd 3 + 5?<|im_end|>\n<|im_start|>assistant\n8", "<|im_end|>"),
        (f"{GOOD}<|endoftext|>Question: what is 2 + 2?", "<|endoftext|>"),
        (f"{GOOD}</s> [INST] And 3 + 5? [/INST] 8", "</s>"),
        (f"[INST] What is it? [/INST] {GOOD}", "[INST]"),
        (f"<<SYS>>\nBe brief.\n<</SYS>>\n{GOOD}", "<<SYS>>"),
        (f"{GOOD}<end_of_turn>\n<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n8", "<end_of_turn>"),
        ('[TOOL_CALLS][{"name": "f", "arguments": {}}]', "[TOOL_CALLS]"),
        ("<|python_tag|>f.call(x=1)", "<|python_tag|>"),
        ("The answer is <|begin_of_box|>7<|end_of_box|>, as we saw.", "<|begin_of_box|>"),
        ("<|channel|>commentary to=functions.f<|message|>{}<|call|>", "<|channel|>"),
        (f"Sure.<|channel|>final<|message|>{GOOD}", "<|channel|>"),
        ("<|tool_call>call:f{}<tool_call|>", "<|tool_call>"),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function", "<｜tool▁calls▁begin｜>"),
        (f"{GOOD} <think> again", None),
        (f"own: {GOOD}<|reserved_special_token_5|> and so on", "<|reserved_special_token_5|>"),
        (f"own: {GOOD} [THINK] So on. [/THINK] And on.", "[THINK]"),
    ],
)
def test_markup_that_is_left_is_found(text: str, found: str | None) -> None:
    assert next(markup.find_left(markup.split(text).text), None) == found


@pytest.mark.parametrize(
    "text",
    [
        "Was <s>10</s> 8 dollars.",
        "<s>10</s>",
        'The price is <s class="old">10</s>',
        "Close the tag with </s>, and open it with <s>.",
        "The token `<|im_end|>` ends a turn.",
        'ChatML ends turns with "<|im_end|>", and Llama 2 with "</s>".",',
        "```python\nprompt = f'<|im_start|>user\\n{text}<|im_end|>'\n```",
        "A template:\n~~~\n<|start_header_id|>user<|end_header_id|>\n~~~\nThat is all.",
        "x <| y |> z, and f <|> g in Haskell",
        "a <|b c|> d",
        "If a < b and b > c, then [a, b] is [INSTANCE] no. 3.",
        "Write <think> before and </think> after.",
        "<html><body><p>Hello</p></body></html>",
        "List<String> names = new ArrayList<>();",
        "The analysis shows that the assistant gave a final word.",
        "own: <psi|H|psi> = <|x|> in physics",
        "own: [1] Smith. [EOS-1] is a camera, and so is the EOS 5D.",
        "own: vec![|x| x + 1] |> map",
    ],
)
def test_a_text_that_only_looks_like_it_stays_as_it_is(text: str) -> None:
    assert markup.split(text)._replace(is_plain=False) == Parts(text)
    assert list(markup.find_left(text)) == []


@pytest.mark.parametrize(
    "piece", ["<|endoftext|>", "</s>", " <s>", "<|im_end|>\n", "[/INST]", "`", "<think>", "<|x", "<｜"]
)
def test_a_text_of_nothing_but_markup_takes_no_time(piece: str) -> None:
    began = time.process_time()
    parts = markup.split(piece * 20_000)
    list(markup.find_left(parts.text))
    assert time.process_time() - began < 5
