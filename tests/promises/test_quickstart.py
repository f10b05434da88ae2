"""The data of the quickstart is what its card says: labels, replies, and a held-out table of other messages."""

import gzip
import json
from collections import Counter

import pytest

from blackbox_kd.analysis.similarity import RougePool
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import rows_of

DATA = find_bundled("recipes").parent / "data/quickstart"
SAMPLES = 3


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(find_bundled("recipes") / "quickstart.yaml", env={})


@pytest.fixture(scope="module")
def labels(recipe: Recipe) -> list[str]:
    found = recipe.steps[0].config.labels  # type: ignore[attr-defined]
    assert isinstance(found, list)
    return found


def messages(name: str) -> list[str]:
    return [row["instruction"] for row in rows_of(DATA / name)]


def test_as_many_held_out_messages_have_each_label(labels: list[str]) -> None:
    held_out = Counter(row["reference"] for row in rows_of(DATA / "test.jsonl"))
    assert held_out == dict.fromkeys(labels, 24)


def test_both_prompts_name_each_label_and_no_other(labels: list[str], recipe: Recipe) -> None:
    folder = find_bundled("recipes").parent / "prompts/tickets"
    for name in ("label", "route"):
        text = (folder / f"{name}.jinja").read_text()
        assert [label for label in labels if label not in text] == []
    told = [line.partition(":")[0] for line in (folder / "label.jinja").read_text().splitlines()]
    assert [word for word in told if word in labels] == labels


def test_no_message_is_there_twice_and_none_of_the_training_is_near_to_a_held_out_one() -> None:
    found = [*messages("test.jsonl"), *messages("train.jsonl")]
    pool = RougePool()
    near = []
    for text, item in zip(found, pool.encode(found), strict=True):
        nearest = pool.nearest(item)
        if nearest is not None and nearest[1] > 0.7:
            near.append((text, found[nearest[0]]))
        pool.add(item)
    assert near == []


def test_the_recording_has_three_replies_to_each_training_message_and_one_to_each_held_out_one(
    labels: list[str],
) -> None:
    usable: Counter[str] = Counter()
    with gzip.open(DATA / "replies.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            reply = json.loads(line)
            asked = json.loads(reply["wire"])["body"]["messages"][-1]["content"]
            usable[asked] += 1
            assert not reply.keys() & {"run", "id", "created_at"}
    train, held_out = messages("train.jsonl"), messages("test.jsonl")
    assert usable.keys() == {*train, *held_out}
    assert min(usable[text] for text in train) >= SAMPLES
    assert {usable[text] for text in held_out} == {1}
