"""Tiny random models of the families that people train: two layers over bytes, each with its family's chat template."""

import functools
import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from tests.support.tiny import byte_tokenizer

LONGEST = 2048
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LONGEST,
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
SEEING = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
GEMMA3_EYES = {**SEEING, "image_size": 28, "patch_size": 14}
GEMMA4_EYES = {**SEEING, "num_key_value_heads": 2, "head_dim": 8, "patch_size": 14}
QWEN_EYES = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
PER_LAYER = {"global_head_dim": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

FAMILIES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "llama": ("Llama", {"head_dim": 8}, "llama3"),
    "qwen3": ("Qwen3", {"head_dim": 8, "tie_word_embeddings": True}, "qwen3"),
    "qwen3_5": ("Qwen3_5", {"text_config": {**LINEAR, "head_dim": 8}, "vision_config": QWEN_EYES}, "qwen3_5_nothink"),
    "gemma3": ("Gemma3", {"text_config": {**SLIDING, "head_dim": 8}, "vision_config": GEMMA3_EYES}, "gemma3"),
    "gemma4": (
        "Gemma4",
        {"text_config": {**SLIDING, **PER_LAYER, "head_dim": 8}, "vision_config": GEMMA4_EYES, "audio_config": None},
        "gemma4",
    ),
    "phi": ("Phi", {"num_key_value_heads": 4}, "phi3"),
    "phi3": ("Phi3", {}, "phi3"),
    "gpt_oss": ("GptOss", {**SLIDING, **EXPERTS, "head_dim": 8}, "gptoss"),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_multiple_of": 8}, "lfm2"),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}, None),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}, None),
    "mamba": ("Mamba", {"state_size": 4}, None),
}
"""Of each family the name of its classes, the fields of its config beside SIZES, and TRL's name for its template."""

PADLESS = ("llama3",)
ENDS = ("<|eot_id|>", "<end_of_turn>", "<turn|>", "<|return|>", "<|im_end|>", "<|end|>")
"""What ends an answer, one of each template."""


@functools.cache
def family(name: str) -> Path:
    """The folder of a family's model; the same weights at every call."""
    import torch
    import transformers

    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{name}-"))
    kind, fields, template = FAMILIES[name]
    tokenizer = make_tokenizer(template)
    ids = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    ids = {**ids, "vocab_size": len(tokenizer) + 8}
    text = {**SIZES, **ids, **fields.get("text_config", fields)}
    seeing = "text_config" in fields
    config = getattr(transformers, f"{kind}Config")(**({**fields, "text_config": text} if seeing else text))
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}For{'ConditionalGeneration' if seeing else 'CausalLM'}")(config)
    with torch.no_grad():  # weights so large that the likeliest token is clearly the likeliest
        for place, weights in model.named_parameters():
            weights.mul_(4) if weights.ndim > 1 and "A_log" not in place else None
    if name == "llama":  # as Llama 3 comes: several tokens end a text, and none is for padding
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(template: str | None) -> Any:
    """A tokenizer of bytes that has the control tokens of a template of TRL's, which it writes; no pad token."""
    tokenizer = byte_tokenizer(LONGEST)
    if template is None:
        return tokenizer
    text = (resources.files("trl") / "chat_templates" / f"{template}.jinja").read_text()
    tokenizer.chat_template = text
    named = sorted(set(re.findall(r"<\|[a-z_]+\|?>|<[a-z_]+\|>|<\w+_of_\w+>", text)))
    tokenizer.add_special_tokens({"additional_special_tokens": named})
    end = next(token for token in ENDS if token in named)
    tokenizer.eos_token = end
    if template in PADLESS:
        tokenizer.pad_token = None
    return tokenizer
