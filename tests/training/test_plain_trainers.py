"""Each method is TRL's trainer for it: on the same rows, with the same settings, losses and adapters are the same."""

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, TrainerCallback

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl import DistillationTrainer, DPOTrainer, KTOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.gold import GOLDTrainer

from blackbox_kd.training import distill, dpo, gkd, gold, kto, preflight, sft, teacher_trainers, topk
from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.dpo_trainer import TokensTrainer
from blackbox_kd.training.kto_trainer import LabelsTrainer
from blackbox_kd.training.machine import Machine
from blackbox_kd.training.on_policy import Writing
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.passes import Room
from blackbox_kd.training.topk_trainer import TopTrainer
from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.tiny import byte_tokenizer, tiny_model

STEPS, SIZE, WRITTEN = 10, 4, 9
CPU = Machine("cpu", "float32", 0)
ASKED = [{"prompt": [user(f"say {'abc' * (n % 4)} {n}")]} for n in range(STEPS * SIZE)]
SAID = [{**row, "completion": [assistant("yes " * (1 + n % 5))]} for n, row in enumerate(ASKED)]
LABELS = [{**row, "label": n % 3 > 0} for n, row in enumerate(SAID)]
PAIRS = [
    {**row, "chosen": [assistant("yes " * (1 + n % 3))], "rejected": [assistant("no")]} for n, row in enumerate(ASKED)
]
CHATS = [{"messages": [*row["prompt"], *row["completion"]]} for row in SAID]


class Draws(TrainerCallback):  # type: ignore[misc]
    """Makes what is drawn in a step a matter of the step alone."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        torch.manual_seed(state.global_step)


@cache
def make_teacher(merges: bool = False) -> Any:
    """A teacher that is sure of what it says; with tokens of its own where some bytes are merged."""
    config = AutoModelForCausalLM.from_pretrained(tiny_model(merges=merges)).config
    config.initializer_range = 0.3
    torch.manual_seed(1)
    made = LlamaForCausalLM(config)
    made.config._name_or_path = str(tiny_model(merges=merges))
    return made.requires_grad_(False)


def settings(method: str, **fields: Any) -> Settings:
    fields = {"max_steps": STEPS, "batch_size": SIZE, **fields}
    return Settings.model_validate(jobs.settings(method, **fields))


def tokens(rows: list[dict[str, Any]], *columns: str) -> preflight.Lengths:
    return preflight.check_template(byte_tokenizer(512), rows, columns)


def run(kind: Any, args: Any, rows: Any, room: int | None = None, **given: Any) -> tuple[list[float], dict[str, Any]]:
    """The losses of a training, and the adapter that it leaves."""
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(tiny_model()),
        args=args,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny_model()),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Draws()],
        **given,
    )
    if room is not None:
        trainer.room = Room(room)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    weights = {name: each.detach().clone() for name, each in trainer.model.named_parameters() if each.requires_grad}
    return losses, weights


def compare(ours: Callable[[int], Any], plain: Any) -> None:
    """Holds a training of ours, in passes of many rows and of one, against TRL's."""
    (losses, weights), (at_once, same), (divided, alike) = plain, ours(10_000), ours(1)
    assert len(losses) == STEPS
    assert max(losses) > 0.01
    assert at_once == pytest.approx(losses, rel=1e-4)
    assert divided == pytest.approx(losses, rel=1e-4)
    moved = [name for name, each in weights.items() if "lora_B" in name and float(each.abs().max()) > 1e-3]
    assert moved
    for name, each in weights.items():
        torch.testing.assert_close(same[name], each, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(alike[name], each, rtol=1e-3, atol=1e-4)


def test_kto_is_trls_in_passes_of_any_size(tmp_path: Path) -> None:
    chosen, texts = settings("kto"), tokens(LABELS, "completion").texts["completion"]
    columns = [{**text.split(), "label": row["label"]} for text, row in zip(texts, LABELS, strict=True)]
    rows = kto.put_beside(Dataset.from_list(columns), chosen)

    def args() -> Any:
        return kto.make_arguments(chosen, tmp_path, {"train": rows}, 512, CPU)

    mixed = Dataset.from_list(LABELS).shuffle(seed=chosen.seed)
    compare(lambda room: run(LabelsTrainer, args(), rows, room), run(KTOTrainer, args(), mixed))


@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_dpo_is_trls_in_passes_of_any_size(tmp_path: Path, loss: str) -> None:
    chosen, found = settings("dpo", loss=loss, sft_weight=0.0), tokens(PAIRS, "chosen", "rejected")
    rows = Dataset.from_list([dpo.take_tokens(found, number) for number in range(len(PAIRS))])

    def args() -> Any:
        return dpo.make_arguments(chosen, tmp_path, {"train": rows}, 512, CPU)

    assert args().loss_type == [loss]
    compare(lambda room: run(TokensTrainer, args(), rows, room), run(DPOTrainer, args(), Dataset.from_list(PAIRS)))


def tell(text: Any) -> str:
    """What the teacher says of a text: all its tokens at each, as the column holds it."""
    with torch.no_grad():
        logps = make_teacher()(torch.tensor([text.ids])).logits[0, :-1].log_softmax(-1)
    at = range(text.first - 1, len(text.ids) - 1)
    vocabulary = list(range(logps.shape[-1]))
    told = {
        "tokens": text.ids[text.first :],
        "top": [vocabulary] * len(at),
        "logprobs": [logps[n].tolist() for n in at],
    }
    return json.dumps(told)


def test_all_tokens_told_of_teach_what_a_teacher_at_hand_does(tmp_path: Path) -> None:
    chosen, found = settings("topk"), tokens(SAID, "completion")
    told = [{**row, "top_logprobs": tell(text)} for row, text in zip(SAID, found.texts["completion"], strict=True)]
    looked = Looked(AutoTokenizer.from_pretrained(tiny_model()), told, found, Counter(), ["completion"])
    rows = Dataset.from_list(topk.make_columns(looked, list(range(len(told))), chosen))
    by_teacher = settings("gkd", teacher="big", on_policy=0.0, beta=0.0)

    def args(method: Any, of: Settings) -> Any:
        made = method.make_arguments(of, tmp_path, {"train": rows}, 512, CPU)
        made.learning_rate = 1e-2
        return made

    compare(
        lambda room: run(TopTrainer, args(sft, chosen), rows, room),
        run(GKDTrainer, args(gkd, by_teacher), Dataset.from_list(CHATS), teacher_model=make_teacher()),
    )


class CountsWhatIsWritten(GKDTrainer):  # type: ignore[misc]
    """TRL divides the loss on texts that were just written by the number of tokens of those that they replace."""

    def _get_num_items_in_batch(self, *_: Any, **__: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("method", "share"), [("gkd", 0.0), ("gkd", 1.0), ("distill", 1.0), ("gold", 0.0), ("gold", 1.0)]
)
def test_what_a_teacher_says_is_learnt_as_trl_learns_it_in_passes_of_any_size(
    tmp_path: Path, method: str, share: float
) -> None:
    module = {"gkd": gkd, "distill": distill, "gold": gold}[method]
    given = {} if method == "distill" else {"on_policy": share}
    chosen = settings(method, teacher="big", max_tokens=WRITTEN, **given)
    rows = Dataset.from_list([text.split() for text in tokens(SAID, "completion").texts["completion"]])
    tokenizer = AutoTokenizer.from_pretrained(tiny_model())
    teacher = make_teacher(merges=method == "gold")
    writing = Writing(
        share, WRITTEN, chosen.temperature or 1.0, 0.95 if method == "gold" else 1.0, [tokenizer.eos_token_id]
    )
    kinds = {
        "gkd": (teacher_trainers.BothTrainer, CountsWhatIsWritten, CHATS),
        "distill": (teacher_trainers.OwnTrainer, DistillationTrainer, ASKED),
        "gold": (teacher_trainers.OtherTokensTrainer, GOLDTrainer, SAID),
    }
    ours, plain, read = kinds[method]

    def args() -> Any:
        made = module.make_arguments(chosen, tmp_path, {"train": rows}, 512, CPU)
        if method == "gold":
            made.teacher_tokenizer_name_or_path = str(tiny_model(merges=True))
        return made

    compare(
        lambda room: run(ours, args(), rows, room, writing=writing, teacher_model=teacher),
        run(plain, args(), Dataset.from_list(read), teacher_model=teacher),
    )
