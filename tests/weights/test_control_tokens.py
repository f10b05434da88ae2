"""Control tokens in somebody's text stay text, also those that only the tokenizer's file knows of."""

from pathlib import Path

from blackbox_kd.weights.control_tokens import find_pattern, neutralise


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
