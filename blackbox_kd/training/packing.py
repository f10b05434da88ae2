"""Whether the rows of a pass may stand one behind the other, without one seeing another.

Attention learns from the positions where a row begins. A layer that carries a state along (linear attention, a state
space) needs kernels of its own to forget it there; without them a row would be trained on the end of another.
"""

from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.training.machine import Machine
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.model import STATE_SPACES

SEEN = 32
"""Tokens of the rows that are looked at."""
NOISE = {"float32": 1e-3, "fp16": 0.02, "bf16": 0.05}
"""How far logits may be apart, in their standard deviations, when the same row is computed in another place."""
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers without a state, as transformers' configs name them."""
UNPACK = "packing: false, or leave packing out"


def choose_packing(trainer: Any, wanted: bool | None, there: Machine) -> tuple[bool, str]:
    """Whether to pack, and why.

    Args:
        trainer: with its model and its rows.
        wanted: what the recipe says; None if it says nothing.
        there: what training runs on.

    Raises:
        DataError: the recipe wants it, and rows would not be trained as they are alone.
    """
    if wanted is False:
        return False, "the recipe says so"
    if wanted is None and not there.on_gpu:
        return False, "padding costs little on a CPU, where rows of like length are computed together"
    if wanted is None and "flash" not in str(trainer.model.config._attn_implementation):
        return False, "the attention in use computes what stands between packed rows, too"
    problem = _find_problem(trainer, there)
    if problem is None:
        return True, "the recipe says so" if wanted else "the attention in use skips what stands between packed rows"
    if wanted:
        raise DataError(problem, fix=UNPACK)
    return False, problem


def _find_problem(trainer: Any, there: Machine) -> str | None:
    """Why rows cannot be packed; None if they can."""
    if "weight" in trainer.train_dataset.column_names:
        return "rows that differ in `weight` or `task` cannot be packed"
    try:
        leak = measure_leak(trainer)
    except TypeError as error:
        return f"the model takes no packed rows: {error}"
    if leak > NOISE[there.precision]:
        moved = f"a row that is packed behind another one sees it: its logits move by {leak:.2g} standard deviations. "
        return moved + explain_leak(trainer.model.config)
    return None


def explain_leak(config: Any) -> str:
    """What lets a row see the one before it, by what a model's layers are."""
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    if kinds - ATTENTION or config.model_type in STATE_SPACES:
        return "Layers that carry a state along forget it between rows by kernels that are not installed here"
    return f"Attention as it is computed here ({config._attn_implementation}) does not part the rows of this model"


def measure_leak(trainer: Any) -> float:
    """How much a row's logits change when another row stands before it, in their standard deviations."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows = [trainer.train_dataset[number]["input_ids"][:SEEN] for number in (0, len(trainer.train_dataset) - 1)]
    first, last = ({"input_ids": ids, "labels": [IGNORED] * len(ids)} for ids in rows)
    collate = DataCollatorForLanguageModeling(trainer.processing_class.pad_token_id, padding_free=True)
    model = trainer.model.eval()
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            alone, packed = (
                model(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False).logits
                for inputs in (trainer._prepare_inputs(collate(part)) for part in ([last], [first, last]))
            )
    finally:
        model.train()
    apart = (packed[:, -alone.shape[1] :] - alone).abs().max() / alone.std()
    return float(apart)
