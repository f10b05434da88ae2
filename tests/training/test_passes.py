"""However the rows of an update are divided in passes, and whatever machine divides them, the same is learnt."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, SFTConfig

from blackbox_kd.errors import DataError
from blackbox_kd.training import machine, packing
from blackbox_kd.training.dpo_trainer import TokensTrainer
from blackbox_kd.training.machine import Machine, make_plan
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.passes import Pass, Room, Updates, divide
from blackbox_kd.training.sft_trainer import CompletionTrainer
from tests.support.tiny import tiny_model

CPU = Machine("cpu", "float32", 2**33)
LENGTHS = [9, 30, 12, 5, 21, 8, 17]


def rows(at: list[Pass]) -> list[tuple[int, ...]]:
    return [one.rows for one in at]


def test_an_update_is_cut_into_passes_of_like_lengths_that_fit() -> None:
    [passes] = divide(range(7), LENGTHS, Room(40))
    assert rows(passes) == [(1,), (4,), (6, 2), (0, 5, 3)]
    assert sum(one.share for one in passes) == pytest.approx(1)
    [packed] = divide(range(7), LENGTHS, Room(40, packed=True))
    assert rows(packed) == [(1,), (4, 6), (2, 0, 5, 3)]
    assert rows(divide(range(7), LENGTHS, Room(1))[0]) == [(1,), (4,), (6,), (2,), (0,), (5,), (3,)]


@pytest.mark.parametrize("world", [2, 3, 8])
def test_processes_make_as_many_passes_of_as_many_rows_and_each_row_counts_once(world: int) -> None:
    parts = divide(range(7), LENGTHS, Room(40), world)
    assert len({len(part) for part in parts}) == 1
    for side_by_side in zip(*parts, strict=True):
        assert len({len(one.rows) for one in side_by_side}) == 1
    counted = [row for part in parts for one in part if one.share for row in one.rows]
    assert sorted(counted) == list(range(7))
    assert sum(one.share for part in parts for one in part) == pytest.approx(world)


def test_updates_hold_the_rows_that_plain_trl_has_in_them_whatever_the_room() -> None:
    from accelerate.data_loader import SeedableRandomSampler

    plain = SeedableRandomSampler(range(50), data_seed=3)
    for epoch in range(2):
        plain.set_epoch(epoch)
        order = list(plain)
        for room, world in ((Room(1), 1), (Room(999), 1), (Room(60, packed=True), 4)):
            drawn: list[set[int]] = [set() for _ in range(7)]
            for rank in range(world):
                updates = Updates([10 + row % 7 for row in range(50)], 8, room, 3, rank=rank, world=world)
                updates.set_epoch(epoch)
                assert len(updates) == 7
                for number, passes in enumerate(updates):
                    drawn[number] |= {row for one in passes if one.share for row in one.rows}
            assert drawn == [set(order[start : start + 8]) for start in range(0, 50, 8)]


TEXTS = [("Hi", "yes"), ("What is two and two, and why?", "It is four."), ("Say it", "no no no"), ("a", "b" * 40)]


def tokens(text: str) -> list[int]:
    return list(AutoTokenizer.from_pretrained(tiny_model())(text)["input_ids"])


def sft(folder: Path, how: dict[str, Any]) -> Any:
    lines = [{"input_ids": tokens(a + b), "labels": [IGNORED] * len(tokens(a)) + tokens(b)} for a, b in TEXTS]
    return CompletionTrainer(args=SFTConfig(str(folder), max_length=None, **how), **parts(lines))


def dpo(folder: Path, how: dict[str, Any]) -> Any:
    lines = [{"prompt_ids": tokens(a), "chosen_ids": tokens(b), "rejected_ids": tokens(b[::-1] + a)} for a, b in TEXTS]
    losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}
    return TokensTrainer(args=DPOConfig(str(folder), **losses, **how), **parts(lines))


def parts(lines: list[dict[str, Any]]) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    table = Dataset.from_list(lines)
    return {"model": model, "train_dataset": table, "eval_dataset": table, "processing_class": tokenizer}


HOW = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "per_device_train_batch_size": 3,
    "per_device_eval_batch_size": 3,
    "num_train_epochs": 1,
    "logging_steps": 1,
    "learning_rate": 1e-3,
    "seed": 5,
}


@pytest.mark.parametrize("make", [sft, dpo])
def test_losses_gradients_and_evaluation_are_the_same_however_rows_are_divided(
    tmp_path: Path, make: Callable[[Path, dict[str, Any]], Any]
) -> None:
    def train(room: Room, *, checkpointing: bool = False) -> list[float]:
        trainer = make(tmp_path, HOW)
        machine.use_plan(trainer, machine.Plan(room, checkpointing, {}))
        trainer.train()
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert len(log) == 2
        evaluated = trainer.evaluate()["eval_loss"]
        return [*(entry[key] for entry in log for key in ("loss", "grad_norm")), evaluated]

    at_once = train(Room(10_000))
    assert train(Room(1), checkpointing=True) == pytest.approx(at_once, rel=1e-4)
    if make is sft:
        assert train(Room(10_000, packed=True)) == pytest.approx(at_once, rel=1e-4)
        assert train(Room(70, packed=True)) == pytest.approx(at_once, rel=1e-4)


def test_a_model_that_leaks_between_packed_rows_is_found_by_looking(tmp_path: Path) -> None:
    trainer = sft(tmp_path, HOW)
    assert packing.measure_leak(trainer) < 1e-4
    assert packing.choose_packing(trainer, True, CPU) == (True, "the recipe says so")
    assert packing.choose_packing(trainer, None, CPU)[0] is False
    gpu = Machine("H200", "bf16", 2**37)
    assert packing.choose_packing(trainer, None, gpu) == (
        False,
        "the attention in use computes what stands between packed rows, too",
    )
    layer = trainer.model.model.layers[0]
    layer.register_forward_hook(lambda module, given, made: made.cumsum(1))  # a state that is carried along
    assert packing.measure_leak(trainer) > 0.1
    with pytest.raises(DataError, match="a row that is packed behind another one sees it") as caught:
        packing.choose_packing(trainer, True, CPU)
    assert caught.value.fix == "packing: false, or leave packing out"
    assert caught.value.args[0].count("Attention as it is computed here (sdpa) does not part the rows") == 1


def test_what_lets_a_row_see_another_is_told_by_the_layers_of_a_model() -> None:
    from transformers import BloomConfig, GptOssConfig, Lfm2Config, MambaConfig, Qwen3NextConfig

    told = {kind: packing.explain_leak(kind()) for kind in (BloomConfig, GptOssConfig)}
    assert all(text.startswith("Attention as it is computed here (") for text in told.values()), told
    lfm2 = functools.partial(Lfm2Config, num_hidden_layers=2, layer_types=["conv", "full_attention"])
    told = {kind: packing.explain_leak(kind()) for kind in (lfm2, MambaConfig, Qwen3NextConfig)}
    assert all(text.startswith("Layers that carry a state along forget it") for text in told.values()), told


def test_rows_that_weigh_differently_are_not_packed(tmp_path: Path) -> None:
    trainer = sft(tmp_path, HOW)
    trainer.train_dataset = trainer.train_dataset.add_column("weight", [1.0, 2.0, 1.0, 1.0])
    with pytest.raises(DataError, match="rows that differ in `weight` or `task` cannot be packed"):
        packing.choose_packing(trainer, True, CPU)


MIB = 2**20
COSTS = (2.0 * MIB, 0.25 * MIB)


def plan(free_gib: float, *, halved: int = 0, device: str = "H200", longest: int = 1000) -> tuple[int, bool]:
    there = Machine(device, "bf16", int(free_gib * 2**30))
    made = make_plan(there, COSTS, 2**30, longest, 16_000, packed=False, halved=halved)
    assert set(made.why) == {"tokens", "checkpointing"}
    return made.room.tokens, made.checkpointing


def test_rows_per_pass_follow_the_free_memory_and_checkpointing_comes_only_when_it_is_needed() -> None:
    assert plan(130) == (16_000, False)  # a whole update at once
    assert plan(21) == (8_192, False)
    assert plan(6) == (16_000, True)  # 2,048 tokens would leave the GPU waiting
    assert plan(2) == (3_276, True)
    assert plan(1) == (1_000, True)  # a pass has a row at least
    assert plan(130, device="cpu") == (1_024, False)
    assert plan(2, device="cpu", longest=800) == (1_024, True)


def test_memory_that_ran_out_halves_the_rows_then_computes_activations_twice_then_says_what_to_do() -> None:
    assert [plan(130, halved=times) for times in range(5)] == [
        (16_000, False),
        (8_000, False),
        (4_000, False),
        (2_000, False),
        (1_000, False),
    ]
    assert plan(130, halved=5) == (1_000, True)
    with pytest.raises(DataError, match=r"the longest row, of 1,000 tokens, takes more memory than H200 has free"):
        plan(130, halved=6)


def test_what_a_pass_keeps_is_measured_on_the_model_as_it_is_trained(tmp_path: Path) -> None:
    trainer = sft(tmp_path, HOW)
    kept = [
        machine.measure_activations(lambda n=n: trainer.model(torch.ones(1, n, dtype=torch.long)), trainer.model)
        for n in (40, 80)
    ]
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.3)
    least = 2 * 4 * (64 * 4 + 128 * 2)  # two layers: inputs of the projections and what is between them, in float32
    assert kept[0] / 40 > least
    trainer.model.requires_grad_(False)
    assert machine.measure_activations(lambda: trainer.model(torch.ones(1, 40, dtype=torch.long)), trainer.model) == 0
    trainer.model.requires_grad_(True)
    state = torch.get_rng_state()
    made = machine.plan_passes(trainer, lambda: CPU, halved=0, why="a reason")
    assert (made.room, made.checkpointing, made.why["packing"]) == (Room(123), False, "a reason")
    assert torch.equal(state, torch.get_rng_state())
    assert trainer.model.training
