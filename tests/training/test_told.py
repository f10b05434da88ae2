"""What a teacher told of the likeliest tokens of a text: what is read of it, where it belongs, and the loss by it."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from blackbox_kd.errors import DataError
from blackbox_kd.training import preflight, topk
from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.told import Reader, Told, read_told
from blackbox_kd.training.topk_trainer import TopTrainer
from tests.support import jobs
from tests.support.jobs import assistant, user
from tests.support.tiny import byte_tokenizer, tiny_model

TOKENIZER = byte_tokenizer(512)
A, B, C = (TOKENIZER.encode(text)[0] for text in "abc")


def make(*pairs: tuple[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """The columns of rows, each with its answer and what is told of it."""
    rows = [{"prompt": [user("?")], "completion": [assistant(say)], "top_logprobs": told} for say, told in pairs]
    lengths = preflight.check_template(TOKENIZER, rows, ["completion"])
    looked = Looked(TOKENIZER, rows, lengths, Counter(), ["completion"])
    chosen = Settings.model_validate(jobs.settings("topk", **fields))
    return topk.make_columns(looked, list(range(len(rows))), chosen)


def two(form: Any, top: Any, size: int = 20, **told: Any) -> str:
    """What is told of a text of some tokens, each alike."""
    values = {"tokens": form, "top": top, **told}
    return json.dumps({name: [each] * size for name, each in values.items()})


@pytest.mark.parametrize(
    ("told", "temperature", "shares", "other"),
    [
        (Told([A], [[A, B]], [[math.log(0.6), math.log(0.3)]], None), 1.0, [0.6, 0.3], 0.1),
        (Told([A], [[A, B]], [[math.log(0.64), math.log(0.36)]], None), 2.0, [0.8 / 1.4, 0.6 / 1.4], 0.0),
        (
            Told([A], [[A, B]], [[math.log(0.64), math.log(0.32)]], None),
            2.0,
            [0.8 / 1.5657, 0.5657 / 1.5657],
            0.2 / 1.5657,
        ),
        (Told([A], [[A, B]], None, [[45, 5]]), 1.0, [0.9, 0.1], 0.0),
        (Told([A], [[A, B, None]], None, [[40, 5, 5]]), 1.0, [0.8, 0.1], 0.1),
    ],
)
def test_what_is_missing_to_one_is_a_bucket_of_all_others_but_of_draws(
    told: Told, temperature: float, shares: list[float], other: float
) -> None:
    found = told.find_target(0, temperature)
    assert list(found.shares) == pytest.approx(shares, abs=1e-3)
    assert found.other == pytest.approx(other, abs=1e-3)
    assert sum(found.shares) + found.other == pytest.approx(1)
    assert None not in found.tokens


def test_tokens_by_number_and_by_text_mean_the_same_and_texts_of_no_token_go_to_the_others() -> None:
    numbers = two(A, [A, B], logprobs=[math.log(0.7), math.log(0.2)])
    texts = two("a", ["a", "b"], logprobs=[math.log(0.7), math.log(0.2)])
    pieces = two("a", ["a", "bcd", None], logprobs=[math.log(0.7), math.log(0.2), math.log(0.05)])
    first, second, third = make(("a" * 20, numbers), ("a" * 20, texts), ("a" * 20, pieces))
    assert first == second
    assert [first["labels"][at] for at in first["top_at"]] == [A] * 20
    assert first["top_ids"] == [[A, B]] * 20
    assert first["top_other"] == pytest.approx([0.1] * 20)
    assert third["top_ids"] == [[A]] * 20
    assert third["top_other"] == pytest.approx([0.3] * 20)


def test_a_text_among_others_is_found_and_a_row_that_nothing_is_told_of_is_plain() -> None:
    told = two(A, [A], 40, logprobs=[-0.1])
    framed, plain = make((f"b{'a' * 40}", told), ("c", None))
    start = framed["labels"].index(A)
    assert framed["top_at"] == list(range(start, start + 40))
    assert plain == plain | topk.EMPTY


@pytest.mark.parametrize(
    ("say", "told", "fields", "message"),
    [
        ("a" * 20, None, {}, "no row has anything in top_logprobs"),
        ("c" * 20, two("a", ["a"], logprobs=[-0.1]), {}, "the student cuts 0 % of the tokens as top_logprobs has them"),
        ("c" * 20, two(A, [A], logprobs=[-0.1]), {}, "row 0: the teacher's tokens are not those of the student"),
        ("a" * 20, two(90_000, [A], logprobs=[-0.1]), {}, "row 0: the teacher's tokens are not those of the student"),
        ("a" * 20, two(A, [A], counts=[50]), {"temperature": 2}, "temperature: 2, and the tokens were drawn at 1"),
        ("a" * 20, two(A, [A, B], logprobs=[-0.1]), {}, "row 0: what is told of its tokens has not tokens, top, and"),
        ("a" * 20, two(A, [A]), {}, "row 0: what is told of its tokens has not tokens, top, and"),
        ("a" * 20, "none", {}, "row 0: what is told of its tokens has not tokens, top, and"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_before_training(
    say: str, told: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        make((say, told), **fields)
    assert message in str(caught.value)
    assert read_told("", 0) is None
    assert Reader(TOKENIZER).find_id(None) is None


def test_the_loss_is_the_divergence_over_the_likeliest_and_all_others_and_plain_elsewhere(tmp_path: Path) -> None:
    told = two(A, [A, B], logprobs=[math.log(0.7), math.log(0.2)])
    drawn = two(C, [C, A], counts=[40, 10])
    rows = make(("a" * 20, told), ("c" * 20, drawn), ("ab", None))
    model = AutoModelForCausalLM.from_pretrained(tiny_model())
    how = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "max_length": None}
    given = {"args": SFTConfig(str(tmp_path), **how), "processing_class": TOKENIZER}
    trainer = TopTrainer(model=model, train_dataset=Dataset.from_list(rows), **given)
    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logps = model(torch.tensor([row["input_ids"]])).logits[0, :-1].log_softmax(-1)
        targets = dict(
            zip(row["top_at"], zip(row["top_ids"], row["top_shares"], row["top_other"], strict=True), strict=True)
        )
        for at, label in enumerate(row["labels"]):
            if label == IGNORED:
                continue
            count += 1
            if at not in targets:
                total -= float(logps[at - 1, label])
                continue
            ids, shares, other = targets[at]
            student = logps[at - 1, ids].exp().tolist()
            total += sum(t * math.log(t / q) for t, q in zip(shares, student, strict=True))
            total += other * math.log(other / (1 - sum(student))) if other > 1e-6 else 0.0
    batch = trainer.data_collator([trainer.train_dataset[number] for number in range(len(rows))])
    with torch.no_grad():
        assert float(trainer.compute_loss(model, batch)) == pytest.approx(total / count, rel=1e-5)
