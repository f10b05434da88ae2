"""What a training will take of memory, worked out before any weights are there.

The model is built without memory, on torch's meta device: its parameters and those of the adapter are counted, and
what a forward pass over a few tokens would keep is added up. On that device attention keeps the scores of all pairs of
tokens, which the kernels of a training do not: that part, which grows with the square, is taken out again.
"""

from dataclasses import replace
from typing import Any

from blackbox_kd.training.artefacts import Job
from blackbox_kd.training.machine import STATES, Machine, estimate_costs, make_plan, measure_activations
from blackbox_kd.training.model import choose_dtype, make_lora
from blackbox_kd.training.preflight import Lengths
from blackbox_kd.training.seen import Memory
from blackbox_kd.weights.load import load_config

SAMPLE = 32
"""Tokens of the larger one of two passes; the other has half of them."""
MIB = 2**20


def estimate(job: Job, config: Any, lengths: Lengths, rows: list[int], there: Machine) -> Memory | None:
    """What training on some rows will take; None for a model that cannot be built without its weights.

    Args:
        job: the training.
        config: the model's.
        lengths: of all rows.
        rows: numbers of those that are trained on.
        there: what training runs on.
    """
    try:
        base, trained, kept = _measure(job, config, there)
    except Exception:  # models are built by code of their own, which may look at values that are not there
        return None
    # Where a row has two texts, both are computed.
    sizes = [sum(len(texts[number].ids) for texts in lengths.texts.values()) for number in rows]
    longest, update = max(sizes), max(max(sizes), sum(sizes) * job.settings.batch_size // len(sizes))
    width = _count_bytes(job, there)
    is_full = job.settings.adapter == "full"
    weights = base * width + (0 if is_full else trained * 4)
    costs = estimate_costs(kept, config.get_text_config(), int(max(2, width)))
    teacher = 0.0 if job.teacher is None else _count_parameters(load_config(job.teacher)) * _count_bytes(job, there)
    free = max(0, int(there.free - weights - teacher))
    plan = make_plan(replace(there, free=free), costs, trained * STATES, longest, update, packed=False, halved=0)
    activations = plan.room.tokens * costs[plan.checkpointing]
    parts = {"weights_mb": weights + teacher, "optimizer_mb": trained * STATES, "activations_mb": activations}
    return Memory(
        parameters=base,
        trained_parameters=trained,
        **{name: round(size / MIB, 1) for name, size in parts.items()},
        total_mb=round(sum(parts.values()) / MIB, 1),
        device=there.device,
        free_mb=round(there.free / MIB, 1),
        tokens_a_pass=plan.room.tokens,
        checkpointing=plan.checkpointing,
    )


def _measure(job: Job, config: Any, there: Machine) -> tuple[int, int, float]:
    """Parameters of the model, parameters that are trained, and bytes that a token keeps."""
    import torch
    from peft import PeftConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, choose_dtype(job.settings, there.precision))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        base = sum(weight.numel() for weight in model.parameters())
        if job.settings.adapter == "lora":
            adapter = make_lora(job, model)
            if adapter is None and job.adapter_from is not None:
                adapter = PeftConfig.from_pretrained(job.adapter_from)
                adapter.inference_mode = False
            model = get_peft_model(model, adapter)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        few, many = (_measure_pass(model, tokens) for tokens in (SAMPLE // 2, SAMPLE))
    return base, trained, (4 * few - many) / SAMPLE


def _count_parameters(config: Any) -> int:
    """Parameters of a model."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())


def _measure_pass(model: Any, tokens: int) -> int:
    """Bytes that a pass over tokens keeps."""
    import torch

    ids = torch.zeros((1, tokens), dtype=torch.long)
    # A mask of all four dimensions is taken as it is: others are looked at, and have no values here.
    mask = torch.zeros((1, 1, tokens, tokens), dtype=model.dtype)
    return measure_activations(lambda: model(ids, attention_mask=mask, labels=ids, use_cache=False), model)


def _count_bytes(job: Job, there: Machine) -> float:
    """Bytes of a weight of the model."""
    if job.settings.load is not None:
        return float(job.settings.load["bits"] / 8)
    return 4 if choose_dtype(job.settings, there.precision) == "float32" else 2
