"""Models written as GGUF and read again: by the reader of transformers, which our own provider loads them with."""

from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import SetupError
from blackbox_kd.weights import load
from blackbox_kd.weights.gguf_file import name_splitter, write_gguf
from blackbox_kd.weights.merged import translate_template
from tests.support.tiny import tiny_gemma3, tiny_model


@pytest.mark.parametrize(("kind", "off"), [("F16", 1e-3), ("q8_0", 2e-2), ("Q4_0", 0.3)])
def test_the_weights_of_a_file_are_those_of_the_model(tmp_path: Path, kind: str, off: float) -> None:
    from transformers import AutoModelForCausalLM

    assert write_gguf(tiny_model(), tmp_path / "a.gguf", kind) == "blackbox-kd"
    read = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file="a.gguf", dtype="float32").state_dict()
    for name, tensor in load.load_model(str(tiny_model()), "float32").state_dict().items():
        assert (read[name] - tensor).abs().max() <= off * tensor.abs().max(), name


def test_a_kind_of_llama_cpp_and_a_family_that_is_its_own_are_refused_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"Q4_K_M is made by llama.cpp alone[\s\S]*fix: install llama.cpp"):
        write_gguf(tiny_model(), tmp_path / "a.gguf", "Q4_K_M")
    with pytest.raises(SetupError, match="its architecture is Gemma3ForConditionalGeneration"):
        write_gguf(tiny_gemma3(), tmp_path / "a.gguf", "F16")
    assert not (tmp_path / "a.gguf").exists()


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ({**BYTES, "use_regex": True}, "gpt-2"),
        ({"pretokenizers": [{"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True}]}, "smollm"),
        ({"pretokenizers": [{"type": "Split", "pattern": {"Regex": QWEN}}, BYTES]}, "qwen2"),
        ({"pretokenizers": [{"type": "Split", "pattern": {"Regex": LLAMA3}}, BYTES]}, "llama-bpe"),
        ({"pretokenizers": [{"type": "Split", "pattern": {"Regex": r"\d"}}, BYTES]}, None),
        ({"type": "Metaspace"}, None),
        (BYTES, None),
    ],
)
def test_how_a_text_is_parted_into_words_has_llama_cpps_name(first: dict[str, Any], name: str | None) -> None:
    assert name_splitter({"model": {"type": "BPE"}, "normalizer": None, "pre_tokenizer": first}) == name
    assert name_splitter({"model": {"type": "Unigram"}, "normalizer": None, "pre_tokenizer": first}) is None


def test_a_chat_template_is_said_in_ollamas_words_or_not_at_all() -> None:
    tokenizer = load.load_tokenizer(str(tiny_model()))
    found = str(translate_template(tokenizer))
    assert '{{- if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n<|im_start|>user\n{{ else' in found
    assert (
        "{{ if eq $i 0 }}<|im_start|>user\n{{ end }}{{ .Content }}<|im_end|>\n<|im_start|>assistant\n{{ else }}"
        in found
    )
    for template in ("{{ raise_exception('no') }}", "{{ messages[-1]['content'] | upper }}", "{{ '{{' }}"):
        tokenizer.chat_template = template
        assert translate_template(tokenizer) is None
