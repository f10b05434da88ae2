"""Methods of training: which fields of a step each reads, and its numbers where a recipe leaves them out.

Source: each method's paper, which `training/METHOD.py` names, and the configs of TRL 1.16.
"""

from typing import Literal

Method = Literal["sft", "dpo", "kto", "distill", "gkd", "gold", "topk"]
ONLY: dict[str, tuple[Method, ...]] = {
    "dropout": ("sft", "distill", "topk"),
    **dict.fromkeys(("packing", "turns"), ("sft",)),
    **dict.fromkeys(("loss", "sft_weight"), ("dpo",)),
    "beta": ("dpo", "kto", "distill", "gkd"),
    "on_policy": ("gkd", "gold"),
    **dict.fromkeys(("teacher", "max_tokens"), ("distill", "gkd", "gold")),
    "temperature": ("distill", "gkd", "gold", "topk"),
    "top": ("topk",),
}
"""Fields that have an effect with some methods alone; where dropout has none, TRL switches it off."""
TAUGHT = ("distill", "gkd", "gold")
"""Methods with a teacher."""
DEFAULTS: dict[Method, dict[str, float]] = {
    "sft": {"epochs": 2.0},
    "dpo": {"epochs": 1.0, "beta": 0.1, "sft_weight": 0.2},
    "kto": {"epochs": 1.0, "beta": 0.1},
    "distill": {"epochs": 1.0, "beta": 1.0, "temperature": 1.0, "on_policy": 1.0, "max_tokens": 512},
    "gkd": {"epochs": 1.0, "beta": 0.5, "temperature": 0.9, "on_policy": 0.5, "max_tokens": 128},
    "gold": {"epochs": 1.0, "temperature": 0.9, "on_policy": 0.5, "max_tokens": 128},
    "topk": {"epochs": 2.0, "temperature": 1.0},
}
FULL_RATES: dict[Method, float] = {
    "sft": 2e-5, "dpo": 5e-7, "kto": 1e-6, "distill": 1e-6, "gkd": 2e-5, "gold": 1e-7, "topk": 2e-5
}  # fmt: skip
"""Learning rates of all weights by TRL's configs, of DPO by its script; LoRA has ten times that, as in that script."""
CONFIGS: dict[Method, str] = {
    "sft": "trl.trainer.sft_config:SFTConfig",
    "dpo": "trl.trainer.dpo_config:DPOConfig",
    "kto": "trl.trainer.kto_config:KTOConfig",
    "distill": "trl.trainer.distillation_config:DistillationConfig",
    "gkd": "trl.experimental.gkd.gkd_config:GKDConfig",
    "gold": "trl.experimental.gold.gold_config:GOLDConfig",
    "topk": "trl.trainer.sft_config:SFTConfig",
}
"""Where TRL says which fields can be passed on."""


def choose_rate(method: Method, adapter: Literal["lora", "full"]) -> float:
    """The highest learning rate of a method."""
    return float(f"{FULL_RATES[method] * (10 if adapter == 'lora' else 1):g}")
