"""Every text template that TRL ships, thinking or not: a student is trained with the prompt that it is served.

The rows are a question, one with a system text, a chat, an answer with its reasoning, a call of a tool, and an answer
to what a tool gave back. What a template cannot hold is refused for the reason that is written here, and nothing else.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.sandbox import chat_template as chat_template_sandbox
from blackbox_kd.training import job, preflight
from blackbox_kd.weights import conversation
from blackbox_kd.weights.template_values import set_values

NAMES = (
    *("cohere", "cohere2", "deepseek_r1_distill", "deepseekv3", "diffusion_gemma"),
    *("gemma", "gemma3", "gemma4", "gemma4_v2", "gemma4_v3"),
    *("gemma4_v4", "gemma4_v5", "glm4moe", "gptoss", "lfm2"),
    *("lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "lfm2_v2", "llama3"),
    *("llama3_1", "llama3_2", "muse_glimmer", "nemotron_3_5_lightning", "nemotron_3_nano"),
    *("nemotron_3_super", "nemotron_3_ultra", "phi3", "phi3_5", "qwen2_5"),
    *("qwen2_5_vl", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6"),
    *("qwen3_8", "qwen3_instruct_2507", "qwen3_vl"),
)
PICTURES = {"idefics3", "llava_next", "smolvlm"}
"""Templates that read a message as parts, one of which is a picture."""
CONTROL = re.compile(
    r"<\|[\w/ ]+?\|>|<｜[^<>\n]+?｜>|<\|\w+>|<\w+\|>|<(?:start_of_turn|end_of_turn|bos|sop)>|<\|?[A-Z_]+\|?>"
)
ENDS = ["<|call|>", "<|tool_response>", "<|user|>", "<|observation|>", "<|END_OF_TURN_TOKEN|>"]
"""What the generation configs of these models name beside the end that an answer has in the template."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "By city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def say(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ASKED, CALLED = [say("user", "Three plus four?")], [say("user", "Rain?"), say("assistant", "", tool_calls=[CALL])]
ROWS = {
    "question": {"prompt": ASKED, "completion": [say("assistant", "Seven.")]},
    "system": {"prompt": [say("system", "Be brief."), *ASKED], "completion": [say("assistant", "Seven.")]},
    "chat": {
        "prompt": [say("user", "Hi"), say("assistant", "Yes?"), *ASKED],
        "completion": [say("assistant", "Seven.")],
    },
    "think": {"prompt": ASKED, "completion": [say("assistant", "Seven.", reasoning_content="Count from three.")]},
    "call": {"prompt": CALLED[:1], "completion": CALLED[1:], "tools": [WEATHER]},
    "tool": {
        "prompt": [*CALLED, say("tool", "dry", tool_call_id="c1", name="weather")],
        "completion": [say("assistant", "No rain.")],
        "tools": [WEATHER],
    },
}
NO_TOOLS, THOUGHT = "takes no tools", "differently when more follows"
TAKE_NO_TOOLS = {
    *("cohere", "cohere2", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "lfm2", "llama3", "phi3", "phi3_5"),
    "qwen2_5_vl",
}
ALWAYS_THINK = {"deepseek_r1_distill", "deepseekv3"}
"""Their question ends inside a think block, whatever they are told: an answer without reasoning cannot be behind it."""
NEMOTRON = {name for name in NAMES if name.startswith("nemotron")}
"""Their question ends in `<think>` and a line's end, their answer without reasoning begins with an empty block."""
CLOSED = {"glm4moe", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8", *NEMOTRON}
"""Told not to think they are asked behind an empty think block: an answer with reasoning cannot be behind it."""


def expect_refusal(name: str, row: str, thinks: bool) -> str | None:
    """Why a row is refused; None if it must pass."""
    if row in ("call", "tool") and name in TAKE_NO_TOOLS:
        return NO_TOOLS
    if (name, row) == ("gemma", "system"):
        return "System role not supported"
    if name in ALWAYS_THINK and row != "think":
        return THOUGHT
    if (name, row) == ("deepseekv3", "think"):
        return "leaves the reasoning of an answer out"
    if (thinks and name in NEMOTRON and row != "think") or (not thinks and name in CLOSED and row == "think"):
        return THOUGHT
    return THOUGHT if thinks and row == "tool" and name in ("diffusion_gemma", "gemma4_v5") else None


def read_template(name: str) -> str:
    import trl

    return (Path(trl.__file__).parent / f"chat_templates/{name}.jinja").read_text(encoding="utf-8")


def list_templates() -> set[str]:
    import trl

    found = {path.stem for path in (Path(trl.__file__).parent / "chat_templates").glob("*.jinja")}
    return {name for name in found if not name.endswith("_training")}


@pytest.fixture(scope="module")
def tokenizer(smollm2_cache: Path) -> Any:
    """SmolLM2's, with the control tokens of all templates."""
    from transformers import AutoTokenizer

    chat_template_sandbox.install()
    [folder] = (smollm2_cache / "weights").iterdir()
    loaded = AutoTokenizer.from_pretrained(folder)
    control = {token for name in NAMES for token in CONTROL.findall(read_template(name))}
    loaded.add_special_tokens({"additional_special_tokens": sorted(control)})
    return loaded


def look(tokenizer: Any, row: dict[str, Any], folder: Path, **how: Any) -> tuple[dict[str, Any], Any]:
    """A row as it is trained on, and its tokens."""
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    [read] = job.read_rows(folder / "rows.jsonl", tokenizer, ["prompt", "completion"])
    ends = tokenizer.convert_tokens_to_ids(ENDS)
    return read, preflight.check_template(tokenizer, [read], ["completion"], ends=ends, **how).texts["completion"][0]


def test_the_list_has_every_text_template() -> None:
    assert set(NAMES) == list_templates() - PICTURES


@pytest.mark.parametrize("thinks", [True, False], ids=["thinks", "does not think"])
@pytest.mark.parametrize("name", NAMES)
def test_what_stands_before_an_answer_is_the_prompt_that_is_served(
    tokenizer: Any, name: str, thinks: bool, tmp_path: Path
) -> None:
    used = copy.copy(tokenizer)
    used.chat_template = set_values(read_template(name), {"enable_thinking": thinks})
    served = copy.copy(tokenizer)
    served.chat_template = read_template(name)
    for kind, row in ROWS.items():
        if (reason := expect_refusal(name, kind, thinks)) is not None:
            with pytest.raises(DataError, match=reason):
                look(used, row, tmp_path)
            continue
        read, text = look(used, row, tmp_path)
        prompt = conversation.encode(served, read["prompt"], read.get("tools"), asks=True, enable_thinking=thinks)
        assert text.ids[: text.first] == prompt, kind
        assert text.labels[text.first :] == text.ids[text.first :], kind


@pytest.mark.parametrize(
    ("name", "kind", "thinks"), [("qwen3_5_nothink", "think", False), ("nemotron_3_nano", "question", True)]
)
def test_a_refusal_names_the_row_and_the_switch_with_which_the_rows_pass(
    tokenizer: Any, name: str, kind: str, thinks: bool, tmp_path: Path
) -> None:
    used = copy.copy(tokenizer)
    used.chat_template = set_values(read_template(name), {"enable_thinking": thinks})
    with pytest.raises(DataError) as caught:
        look(used, ROWS[kind] | {"id": "a7"}, tmp_path)
    assert caught.value.what.startswith("row 0 (completion), id 'a7': message 2: the chat template writes")
    switch = f"{{enable_thinking: {json.dumps(not thinks)}}}"
    assert caught.value.fix.startswith(f"with chat_template_kwargs: {switch} beside its name these rows pass, or ")
    used.chat_template = set_values(read_template(name), {"enable_thinking": not thinks})
    look(used, ROWS[kind], tmp_path)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3", "lfm2_v2"])
def test_two_answers_in_a_row_are_both_learnt(tokenizer: Any, name: str, tmp_path: Path) -> None:
    used = copy.copy(tokenizer)
    used.chat_template = read_template(name)
    answers = [say("assistant", "One."), say("assistant", "Two.")]
    _, text = look(
        used, {"prompt": [*ASKED, *answers, *ASKED], "completion": [say("assistant", "Three.")]}, tmp_path, earlier=True
    )
    learnt = used.decode([label for label in text.labels if label >= 0])
    assert [word for word in ("One.", "Two.", "Three.") if learnt.count(word) == 1] == ["One.", "Two.", "Three."]
    assert "assistant" not in learnt
