"""Models written as GGUF and read again: by the reader of transformers, which our own provider loads them with."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import SetupError, StepError, UserError
from blackbox_kd.weights import load, quantize
from blackbox_kd.weights.gguf_file import name_splitter, write_gguf
from blackbox_kd.weights.merged import translate_template
from tests.support.tiny import tiny_gemma3, tiny_model


@pytest.mark.parametrize(("kind", "off"), [("F16", 1e-3), ("Q8_0", 2e-2), ("Q4_0", 0.3)])
def test_the_weights_of_a_file_are_those_of_the_model(tmp_path: Path, kind: str, off: float) -> None:
    from transformers import AutoModelForCausalLM

    assert write_gguf(tiny_model(merges=True), tmp_path / "a.gguf", kind) == "blackbox-kd"
    read = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file="a.gguf", dtype="float32").state_dict()
    for name, tensor in load.load_model(str(tiny_model(merges=True)), "float32").state_dict().items():
        assert (read[name] - tensor).abs().max() <= off * tensor.abs().max(), name


def test_what_llama_cpp_alone_writes_is_refused_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for model, why in (
        (tiny_gemma3(), "its architecture is Gemma3ForConditionalGeneration"),
        (tiny_model(), "its tokenizer has no merges"),
    ):
        with pytest.raises(SetupError, match=rf"{why}[\s\S]*fix: install llama.cpp") as caught:
            write_gguf(model, tmp_path / "a.gguf", "F16")
        assert caught.value.what.startswith("this model cannot be written as GGUF here: ")
    with pytest.raises(UserError, match=r"no kind 'Q4_KM' of GGUF files\n  kinds: F32, F16, [\s\S]*mean 'Q4_K_M'"):
        write_gguf(tiny_model(merges=True), tmp_path / "a.gguf", "Q4_KM")
    if find_spec(quantize.LIBRARY) is None:
        with pytest.raises(SetupError, match=r"Q4_K_M is made by llama.cpp alone[\s\S]*fix: pip install llama-cpp-py"):
            write_gguf(tiny_model(merges=True), tmp_path / "a.gguf", "Q4_K_M")
    assert not (tmp_path / "a.gguf").exists()


PROGRAM = """#!{python}
import shutil, sys
source, target, kind = sys.argv[1:]
if kind == "IQ1_S":
    sys.exit("loading\\nan importance matrix is needed")
shutil.copyfile(source, target)
open("{calls}", "a").write(kind)
"""


def test_a_quantiser_on_the_path_is_given_what_is_written_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / quantize.PROGRAM
    program.write_text(PROGRAM.format(python=sys.executable, calls=tmp_path / "calls"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert write_gguf(tiny_model(merges=True), tmp_path / "a.gguf", "Q4_K_M") == "llama.cpp"
    assert (tmp_path / "calls").read_text() == "Q4_K_M"
    write_gguf(tiny_model(merges=True), tmp_path / "b.gguf", "F16")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    with pytest.raises(StepError, match="llama-quantize: ended with status 1: an importance matrix is needed"):
        write_gguf(tiny_model(merges=True), tmp_path / "c.gguf", "IQ1_S")
    assert {path.name for path in tmp_path.glob("*.gguf*")} == {"a.gguf", "b.gguf"}, "no half of a file is left"


@pytest.mark.skipif(find_spec(quantize.LIBRARY) is None, reason="llama-cpp-python is not installed")
def test_the_library_of_llama_cpp_python_makes_its_kinds(tmp_path: Path) -> None:
    from gguf import GGUFReader

    assert write_gguf(tiny_model(merges=True), tmp_path / "a.gguf", "Q4_K_M") == "llama.cpp"
    whole = write_gguf(tiny_model(merges=True), tmp_path / "b.gguf", "F16") and (tmp_path / "b.gguf").stat().st_size
    assert (tmp_path / "a.gguf").stat().st_size < whole
    assert GGUFReader(tmp_path / "a.gguf").fields["general.file_type"].contents() == 15


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
    tokenizer = load.load_tokenizer(str(tiny_model(merges=True)))
    found = str(translate_template(tokenizer))
    assert '{{- if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n<|im_start|>user\n{{ else' in found
    assert (
        "{{ if eq $i 0 }}<|im_start|>user\n{{ end }}{{ .Content }}<|im_end|>\n<|im_start|>assistant\n{{ else }}"
        in found
    )
    for template in ("{{ raise_exception('no') }}", "{{ messages[-1]['content'] | upper }}", "{{ '{{' }}"):
        tokenizer.chat_template = template
        assert translate_template(tokenizer) is None
