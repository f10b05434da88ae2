"""Writes a model as a GGUF file, the format of llama.cpp and ollama, and makes it smaller.

Models of the Llama and Qwen families with a byte-level tokenizer are written here; for all others llama.cpp's own
converter is asked, where it is installed. What is written is the tokenizer that the student was trained with.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.errors import SetupError, StepError
from blackbox_kd.weights import quantize

FAMILIES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
"""Architectures that are written here, by llama.cpp's names for them."""
CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
INSTALL = "install llama.cpp (github.com/ggml-org/llama.cpp), so that convert_hf_to_gguf.py is on the PATH"
DIGITS = re.compile(r"\(\?i:'s\|.*\|\\p\{N\}(\{1,3\})?\|")
"""How Llama 3 (up to three digits) and Qwen (one digit) part a text into words."""


def write_gguf(model: Path, target: Path, kind: str) -> str:
    """Writes a model as a GGUF file; returns what has written it.

    Args:
        model: folder with safetensors, a config and a tokenizer.
        target: the file.
        kind: how numbers are stored, such as F16, Q8_0 or Q4_K_M.

    Raises:
        UserError, SetupError: see `quantize.refuse_kind`.
        SetupError: the model is for llama.cpp to write, too, and it is not installed.
        StepError: llama.cpp has failed.
    """
    quantize.refuse_kind(kind)
    own = _explain_foreign(model)
    if own is None and kind in quantize.PLAIN:
        _write(model, target, kind)
        return "blackbox-kd"
    whole = target if kind in quantize.PLAIN else target.with_name(f"{target.name}.part")
    if own is None:
        _write(model, whole, "F16")
    else:
        _convert(model, whole, kind if kind in ("F32", "F16", "BF16", "Q8_0") else "F16", own)
    if whole != target:
        try:
            _run([*(quantize.find_quantizer() or []), str(whole), str(target), kind])
        finally:
            whole.unlink()
    return "llama.cpp"


def _convert(model: Path, target: Path, kind: str, why: str) -> None:
    converter = next((found for name in CONVERTERS if (found := shutil.which(name))), None)
    if converter is None:
        raise SetupError(f"this model cannot be written as GGUF here: {why}", fix=INSTALL)
    _run([converter, "--outtype", kind.lower(), "--outfile", str(target), str(model)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StepError(f"{Path(command[0]).name}: ended with status {done.returncode}: {last}")


def _explain_foreign(model: Path) -> str | None:
    """Why a model is not written here; None if it is."""
    config = _read(model / "config.json")
    family = (config.get("architectures") or [""])[0]
    if family not in FAMILIES:
        return f"its architecture is {family or 'unknown'}"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        return f"its positions are scaled ({rope['rope_type']})"
    tokenizer = _read(model / "tokenizer.json")
    if not name_splitter(tokenizer):
        return "its tokenizer is not one of those that are known here"
    return None if tokenizer["model"]["merges"] else "its tokenizer has no merges, and llama.cpp reads none without"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def name_splitter(tokenizer: Mapping[str, Any]) -> str | None:
    """How a byte-level tokenizer parts a text into words, by llama.cpp's names; None if that is not known.

    Args:
        tokenizer: what tokenizer.json holds.
    """
    first = tokenizer.get("pre_tokenizer") or {}
    parts = first.get("pretokenizers", [first])
    bytes_of = parts[-1]
    if tokenizer.get("model", {}).get("type") != "BPE" or bytes_of.get("type") != "ByteLevel":
        return None
    if bytes_of.get("add_prefix_space") or (tokenizer.get("normalizer") or {"type": "NFC"})["type"] != "NFC":
        return None
    if len(parts) == 1:
        return "gpt-2" if bytes_of.get("use_regex", True) else None
    before = parts[0]
    if len(parts) > 2:
        return None
    if before.get("type") == "Digits" and before.get("individual_digits") and bytes_of.get("use_regex", True):
        return "smollm"
    found = DIGITS.match((before.get("pattern") or {}).get("Regex", ""))
    return None if found is None or bytes_of.get("use_regex", True) else "llama-bpe" if found[1] else "qwen2"


def _write(model: Path, target: Path, kind: str) -> None:
    import gguf

    config = _read(model / "config.json")
    name = FAMILIES[config["architectures"][0]]
    writer = gguf.GGUFWriter(target, name)
    _add_config(writer, config, kind)
    _add_tokenizer(writer, model, config["vocab_size"])
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, name.upper()), config["num_hidden_layers"])
    for tensor, values in _read_tensors(model):
        if name == "llama" and (part := re.search(r"\.(q|k)_proj\.(weight|bias)$", tensor)):
            heads = config["num_attention_heads" if part[1] == "q" else "num_key_value_heads"]
            values = _order_halves(values, heads)
        of_kind = _choose_kind(tensor, values.shape, kind)
        writer.add_tensor(
            names.get_name(tensor, try_suffixes=(".weight", ".bias")), gguf.quantize(values, of_kind), raw_dtype=of_kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _choose_kind(tensor: str, shape: tuple[int, ...], kind: str) -> Any:
    """How a tensor is stored: norms and biases whole, the vocabulary with 8 bits at least, as llama.cpp does."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) == 1:
        return GGMLQuantizationType.F32
    found = GGMLQuantizationType[kind]
    if kind.startswith("Q") and ("embed_tokens" in tensor or "lm_head" in tensor):
        found = GGMLQuantizationType.Q8_0
    return found if shape[-1] % GGML_QUANT_SIZES[found][0] == 0 else GGMLQuantizationType.F16


def _read_tensors(model: Path) -> Iterator[tuple[str, Any]]:
    """Tensors of a model's safetensors, as float32."""
    import torch
    from safetensors import safe_open

    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                yield name, opened.get_tensor(name).to(torch.float32).numpy()


def _order_halves(values: Any, heads: int) -> Any:
    """Rows of a projection in llama.cpp's order: it turns neighbours, where transformers turns the two halves."""
    shape = values.shape
    return values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def _add_config(writer: Any, config: Mapping[str, Any], kind: str) -> None:
    from gguf import LlamaFileType

    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or config
    writer.add_file_type(LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_rope_dimension_count(size)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, model: Path, size: int) -> None:
    from gguf import TokenType
    from transformers import AutoTokenizer

    raw = _read(model / "tokenizer.json")
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    by_number = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for number in range(size):
        tokens.append(by_number.get(number, f"[PAD{number}]"))
        if number in added:
            kinds.append(TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED)
        else:
            kinds.append(TokenType.NORMAL if number in by_number else TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name_splitter(raw))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in raw["model"]["merges"]])
    for role in ("bos", "eos", "unk", "pad"):
        if (number := getattr(tokenizer, f"{role}_token_id")) is not None:
            getattr(writer, f"add_{role}_token_id")(number)
    writer.add_add_bos_token(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
