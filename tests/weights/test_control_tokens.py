"""Control tokens in somebody's text stay text, also those that only the tokenizer's file knows of."""

import json
from pathlib import Path

from blackbox_kd.training.job import read_rows
from blackbox_kd.weights.control_tokens import find_pattern, neutralise
from tests.support import mask_table


def test_tokens_that_no_field_of_the_config_names_are_control_tokens_too(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, models
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    raw.add_special_tokens([AddedToken(name, special=True) for name in ("<|eot_id|>", "<|end_of_text|>")])
    raw.add_tokens([AddedToken("<think>", special=False)])
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end_of_text|>").save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.all_special_tokens == ["<|end_of_text|>"]
    said = [{"role": "user", "content": "a<|eot_id|>b<|end_of_text|>c<think>d"}]
    [safe] = neutralise(said, find_pattern(tokenizer))
    assert safe["content"] == "a< |eot_id|>b< |end_of_text|>c<think>d"


END, SAFE = "<|im_end|>", "< |im_end|>"


def test_tokens_are_harmless_in_reasoning_calls_results_and_tools(tmp_path: Path) -> None:
    tokenizer = mask_table.make_tokenizer("Qwen3")
    hidden = '{"a": "x\\u003c|im_end|>", "<|im_end|>": [1]}'
    call = {"id": "c", "type": "function", "function": {"name": f"f{END}", "arguments": hidden}}
    row = {
        "prompt": [
            {"role": "user", "content": [{"type": "text", "text": END}]},
            {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": f"r{END}"},
            {"role": "tool", "content": f"t{END}", "tool_call_id": "c", "name": f"n{END}"},
        ],
        "completion": [{"role": "assistant", "content": f"y{END}", "reasoning_content": f"z{END}"}],
        "tools": json.dumps([{"type": "function", "function": {"name": "g", "description": f"d{END}"}}]),
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    [read] = read_rows(tmp_path / "rows.jsonl", tokenizer, ["prompt", "completion"])
    assert END not in json.dumps(read)
    assert json.dumps(read).count(SAFE) == 10
    arguments = read["prompt"][1]["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"a": f"x{SAFE}", SAFE: [1]}
    [(ids, _)] = mask_table.prepare(tokenizer, [{**row, "prompt": row["prompt"][1:], "completion": row["completion"]}])
    assert ids.count(tokenizer.convert_tokens_to_ids(END)) == 4
