"""What a machine decides of a training: rows per pass, checkpointing, precision. It never decides what is learnt.

Source: bytes of AdamW's states: Loshchilov and Hutter 2019, arXiv:1711.05101; computing activations twice: Chen et al.
2016, arXiv:1604.06174.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from blackbox_kd.errors import DataError
from blackbox_kd.training.passes import Room

CPU_TOKENS = 1_024
"""Tokens of one forward pass on a CPU: more bring no speed there, and cost memory and time for allocating it."""
GPU_TOKENS = 16_384
"""Tokens of one forward pass on a GPU where what a pass takes is not measured."""
BUSY = 4_096
"""Tokens of a pass that keep a GPU busy: for fewer of them it would wait for its host, which costs more than computing
activations twice."""
USED = 0.8
"""Share of the free memory that activations may take: backward passes need buffers, and allocators leave gaps."""
STATES = 12
"""Bytes of a gradient and of AdamW's two means, for a weight that is trained."""

Precision = Literal["bf16", "fp16", "float32"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What training runs on.

    Args:
        device: the GPU's name, or "cpu".
        precision: of mixed precision, as far as the device has it.
        free: bytes of memory that nobody uses.
    """

    device: str
    precision: Precision
    free: int

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device != "cpu"


Read = Callable[[], Machine]


def read_machine() -> Machine:
    """What there is, at this moment: the one place where hardware is looked at."""
    import psutil  # type: ignore[import-untyped]
    import torch

    if not torch.cuda.is_available():
        return Machine("cpu", "float32", psutil.virtual_memory().available)
    device = int(os.environ.get("LOCAL_RANK", "0"))
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    free, _ = torch.cuda.mem_get_info(device)
    return Machine(torch.cuda.get_device_name(device), "bf16" if has_bf16 else "fp16", free + cached)


class Machines(NamedTuple):
    """What a training asks about the machine.

    Args:
        read: says what there is.
        halved: how often its memory ran out in this training before.
    """

    read: Read = read_machine
    halved: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How the passes of a training are made.

    Args:
        room: what a process computes at once.
        checkpointing: whether activations are computed twice and few of them kept.
        why: the reasons, by what was chosen.
    """

    room: Room
    checkpointing: bool
    why: dict[str, str]

    def write(self) -> dict[str, Any]:
        """The plan as training.json holds it."""
        chosen = {"tokens": self.room.tokens, "packing": self.room.packed, "checkpointing": self.checkpointing}
        return {**chosen, "why": self.why}


def make_plan(
    machine: Machine, costs: tuple[float, float], states: int, longest: int, update: int, *, packed: bool, halved: int
) -> Plan:
    """Divides what is free among the tokens of a pass.

    Args:
        machine: what there is once the weights are in memory.
        costs: bytes that a token takes until its backward pass: with all activations kept, and with few of them.
        states: bytes of gradients and of the optimizer, which come with the first step.
        longest: tokens of the longest row.
        update: tokens of an update's share of this process, about; more are never computed at once.
        packed: whether rows stand one behind the other.
        halved: how often memory ran out before.

    Raises:
        DataError: memory ran out, and nothing is left to be made smaller.
    """
    free = max(0, machine.free - states)
    most = [int(USED * free / cost) for cost in costs]
    wanted = max(longest, min(update, BUSY if machine.on_gpu else 0))
    twice = most[0] < wanted and costs[1] < costs[0]
    tokens = max(longest, min(most[twice], update if machine.on_gpu else min(update, CPU_TOKENS)))
    for _ in range(halved):
        if tokens == longest and twice:
            raise DataError(
                f"the longest row, of {longest:,} tokens, takes more memory than {machine.device} has free",
                exists=f"{machine.free / 2**30:.1f} GiB were free with the weights loaded",
                fix="max_length: a smaller number with long_rows: drop, a smaller model, or adapter: lora",
            )
        twice, tokens = twice or tokens < 2 * longest, max(longest, tokens // 2)
    gib = f"{machine.free / 2**30:.1f} GiB free, {costs[twice] / 2**20:.2f} MiB a token"
    why = {"tokens": gib + (f", halved {halved} times as memory ran out" if halved else "")}
    why["checkpointing"] = f"without it {most[0]:,} tokens fit at once, the longest row has {longest:,}"
    return Plan(Room(tokens, packed), twice, why)


def measure_activations(run: Callable[[], Any], model: Any) -> int:
    """Bytes that a forward pass keeps for its backward pass, beyond the weights."""
    import torch

    weights = {weight.untyped_storage()._cdata for weight in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:  # no address of its bytes: on a device without memory all have the same
            kept[storage._cdata] = max(storage.nbytes(), kept.get(storage._cdata, 0))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(kept.values())


def plan_passes(trainer: Any, read: Read, *, halved: int, packed: bool = False, why: str = "") -> Plan:
    """Measures what a row takes on the model as it is trained, and plans the passes by it; all processes agree.

    The model runs once over its longest row, as in an evaluation: no generator moves, and nothing is learnt.
    """
    import torch
    from accelerate.utils import gather_object
    from accelerate.utils.memory import should_reduce_batch_size

    lengths = trainer.measure_rows(trainer.train_dataset)
    longest, model = max(lengths), trainer.model
    world = trainer.accelerator.num_processes
    update = max(longest, longest * trainer.args.per_device_train_batch_size // world)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        tokens = max(longest, GPU_TOKENS >> halved)
        spread = "the weights are spread over processes, so what a pass takes was not measured"
        told = {"tokens": spread, "checkpointing": "see the accelerate config", "packing": why}
        return Plan(Room(tokens, packed), False, told)
    model.eval()
    try:
        with trainer.compute_loss_context_manager():
            inputs = trainer._prepare_inputs(trainer.find_longest(lengths.index(longest), longest))
            kept = measure_activations(lambda: trainer.compute_loss(model, inputs), model)
    except (RuntimeError, torch.OutOfMemoryError) as error:
        if not should_reduce_batch_size(error):
            raise
        kept = read().free
    finally:
        model.train()
        trainer._metrics["eval"].clear()
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    costs = estimate_costs(kept / longest, model.config.get_text_config(), model.dtype.itemsize)
    plan = make_plan(read(), costs, trained * (STATES + 4 * (world > 1)), longest, update, packed=packed, halved=halved)
    plan = replace(plan, why=plan.why | ({"packing": why} if why else {}))
    if world == 1:
        return plan
    plans: list[Plan] = gather_object([plan])
    return min(plans, key=lambda each: (each.room.tokens, each.checkpointing))


def estimate_costs(kept: float, config: Any, width: int) -> tuple[float, float]:
    """Bytes of a token with all activations, and with those between layers and twice one layer's alone."""
    layers = config.num_hidden_layers
    few = layers * config.hidden_size * width + 2 * kept / layers
    return kept, min(kept, few)


def use_plan(trainer: Any, plan: Plan) -> None:
    """Makes the passes of a trainer as planned."""
    trainer.room = plan.room
    setattr(trainer.args, name_checkpointing(), plan.checkpointing)
    if plan.checkpointing:
        trainer.model.enable_input_require_grads()  # frozen weights under an adapter would cut the gradient off


def name_checkpointing() -> str:
    """What transformers calls it to compute activations twice and keep few of them; it was renamed."""
    from dataclasses import fields

    from transformers import TrainingArguments

    known = {field.name for field in fields(TrainingArguments)}
    return "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
