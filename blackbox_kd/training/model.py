"""The model that a training stage trains: its tokenizer, its weights, and the adapter on them."""

import re
from typing import Any

from blackbox_kd.errors import DataError, quote_cause
from blackbox_kd.training.artefacts import Job, Settings
from blackbox_kd.training.machine import Precision
from blackbox_kd.weights import load, vocabulary
from blackbox_kd.weights.template_values import set_values

GIVEN = {"alpha": "lora_alpha", "dropout": "lora_dropout", "layers": "layers_to_transform"}
"""What PEFT calls settings of ours."""


def load_tokenizer(job: Job) -> Any:
    """The tokenizer of the model to train, with the chat template that it is asked with, and with something to pad by.

    Values for the template are set in it: so what is looked at, trained on and saved is written as the served model is
    asked, whoever serves it. Padding is told apart by its place, so a text may end in the same token, and its end is
    learnt.
    """
    tokenizer = load.load_tokenizer(job.adapter_from or job.model, job.chat_template)
    if job.chat_template_kwargs and tokenizer.chat_template:
        own = tokenizer.chat_template
        named = own if isinstance(own, dict) else {"default": own}
        set_ones = {name: set_values(text, job.chat_template_kwargs) for name, text in named.items()}
        tokenizer.chat_template = set_ones if isinstance(own, dict) else set_ones["default"]
    if tokenizer.pad_token is None:
        end = load.find_end_of_turn(tokenizer) if tokenizer.eos_token is None else tokenizer.eos_token_id
        tokenizer.pad_token = None if end is None else tokenizer.convert_ids_to_tokens(end)
    return tokenizer


def find_ends(job: Job) -> list[int]:
    """The tokens by which the model to train ends an answer, as it is served."""
    return load.read_ends(*filter(None, (job.adapter_from, job.model)))


def refuse_other_tokens(method: str, job: Job) -> None:
    """Refuses a teacher whose tokens are not the student's, where they must be.

    Raises:
        DataError: they are not.
    """
    assert job.teacher is not None
    if method == "gold":
        return
    sizes = [load.load_config(place).get_text_config().vocab_size for place in (job.model, job.teacher)]
    student, teacher = (load.load_tokenizer(place).get_vocab() for place in (job.model, job.teacher))
    why = vocabulary.explain_difference(student, teacher)
    if why is None and sizes[0] != sizes[1]:
        why = f"the student's output has {sizes[0]:,} numbers and the teacher's {sizes[1]:,}"
    if why is not None:
        raise DataError(f"the teacher's tokens are not those of the student: {why}", fix=vocabulary.FIX)


WIDTHS = {"bf16": "bfloat16", "fp16": "float16", "float32": "float32"}
"""Types of weights that are not trained, by the precision of a machine."""


def load_model(job: Job, precision: Precision) -> Any:
    """The model to train: under LoRA in the machine's precision, else float32 master weights, unless the job says.

    Raises:
        DataError: an adapter is to be trained on that is not as the job wants it, or the weights cannot be held so.
    """
    from peft import PeftModel

    settings = job.settings
    model = load.load_model(job.model, choose_dtype(settings, precision), **choose_form(settings, precision))
    if job.adapter_from is None:
        return model
    if settings.adapter == "full" or merges(job):
        merged = PeftModel.from_pretrained(model, job.adapter_from).merge_and_unload(safe_merge=True)
        return merged.requires_grad_(True)  # peft had frozen the weights under the adapter
    wanted = make_lora_config(settings, model)
    continued = PeftModel.from_pretrained(model, job.adapter_from, is_trainable=True)
    refuse_other_shape(settings, wanted, continued.peft_config["default"])
    return continued


def merges(job: Job) -> bool:
    """Whether an adapter that is there already goes into the weights, under a new one."""
    return job.adapter_from is not None and job.settings.adapter == "lora" and job.settings.continues == "merge"


def choose_dtype(settings: Settings, precision: Precision) -> str:
    """The type in which weights are loaded."""
    return settings.dtype or (WIDTHS[precision] if settings.adapter == "lora" else "float32")


def choose_form(settings: Settings, precision: Precision) -> dict[str, Any]:
    """How transformers is to hold the weights and compute attention, where that is not as it would.

    Source: Dettmers et al. 2023, arXiv:2305.14314 (QLoRA: NF4, quantised twice).
    """
    how: dict[str, Any] = {"attn_implementation": settings.attn} if settings.attn else {}
    if settings.load is not None:
        import torch
        from transformers import BitsAndBytesConfig

        four = {
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": getattr(torch, choose_dtype(settings, precision)),
        }
        bits = settings.load["bits"]
        how["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{bits}bit": True}, **(four if bits == 4 else {}))
    return how


def refuse_other_shape(settings: Settings, wanted: Any, found: Any) -> None:
    """Refuses to train an adapter on whose shape is not what the recipe says."""
    given = {GIVEN.get(name, name): name for name in settings.given}
    for name, ours in given.items():
        here, there = getattr(wanted, name), getattr(found, name)
        if here != there and isinstance(here, str | list | set) == isinstance(there, str | list | set):
            raise DataError(
                f"{ours}: the adapter that training goes on from has {name} {there}, and the recipe wants {here}",
                fix=f"take {ours}: out, or continue: merge, or start: base",
            )


def make_lora(job: Job, model: Any) -> Any:
    """LoRA as the settings say; None where all weights are trained, or an adapter that is there already."""
    goes_on = job.adapter_from and not merges(job)
    return make_lora_config(job.settings, model) if job.settings.adapter == "lora" and not goes_on else None


STATE_SPACES = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}
"""Models some of whose linear layers are read past their adapters; peft 0.21 refuses them there."""


def make_lora_config(settings: Settings, model: Any) -> Any:
    """LoRA on all linear layers of the part that writes text, or on those of its upper layers.

    Raises:
        DataError: PEFT does not take a field that was passed on.
    """
    from peft import LoraConfig

    text = model.config.get_text_config()
    total = text.num_hidden_layers
    upper = None if settings.layers is None else range(total - max(1, round(settings.layers * total)), total)
    linear = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if is_linear(name, module)})
    chosen = {
        "r": settings.r,
        "lora_alpha": settings.alpha or 2 * settings.r,
        "lora_dropout": settings.dropout,
        # peft takes "all-linear" only without a choice of layers.
        "target_modules": "all-linear" if upper is None and "layers_to_transform" not in settings.lora else linear,
        "exclude_modules": find_excluded(model),
        "layers_to_transform": None if upper is None else list(upper),
        "task_type": "CAUSAL_LM",
    }
    try:
        return LoraConfig(**chosen | settings.lora)
    except (TypeError, ValueError) as error:
        raise DataError(f"lora: {quote_cause(error)}", fix="change or take out what lora: passes on") from error


def find_excluded(model: Any) -> str | None:
    """A pattern of the modules that no adapter is put on; None if there are none."""
    if model.config.model_type in STATE_SPACES:
        return r".*\.(out_proj|conv1d)"
    # Rows have no pictures: an adapter on what reads them would learn nothing, and its layers are numbered anew.
    seeing = model.config.get_text_config() is not model.config
    return rf"(?!{re.escape(find_decoder(model))}\.).*" if seeing else None


def find_decoder(model: Any) -> str:
    """Where in a model the part is that writes text."""
    decoder = model.get_decoder()
    return next(str(name) for name, module in model.named_modules() if module is decoder)


def is_linear(name: str, module: Any) -> bool:
    """Whether a module is a linear layer inside the model, the output head left out."""
    import torch

    return isinstance(module, torch.nn.Linear) and "lm_head" not in name
