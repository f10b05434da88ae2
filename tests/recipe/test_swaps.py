"""`--model NAME=PROVIDER:MODEL` and `--teacher PROVIDER:MODEL` put another model in the place of a recipe's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, UserError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import KEYS, write_rows

GATEWAY: dict[str, Any] = {
    "provider": "openai",
    "model": "llama",
    "base_url": "https://gateway.example.com/v1",
    "key_env": "MISTRAL_API_KEY",
    "price": {"input": 1, "output": 2},
    "batch": True,
    "rpm": 60,
    "refuses": ["stop"],
    "extra_body": {"top_k": 5},
    "thinking": "low",
    "system": "fold",
    "timeout_s": 60,
    "max_concurrency": 8,
}
OPENROUTER = {"base_url": "https://openrouter.ai/api/v1", "key_env": "OPENROUTER_API_KEY"}
Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a recipe with a teacher behind a gateway and a scripted judge, with `--model` swaps."""

    def load(*swaps: str, entry: dict[str, Any] = GATEWAY, **how: Any) -> Recipe:
        values = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": entry, "judge": {"provider": "scripted"}},
            "steps": [
                {"step": "generate", "model": "teacher", "prompt": "student/plain"},
                {"step": "judge", "mode": "scale", "models": ["judge"], "criteria": {"clear": "easy to follow"}},
            ],
        }
        write_rows(tmp_path / "train.jsonl", [{"instruction": "What is 1 + 1?", "reference": "2"}])
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        return load_recipe(tmp_path / "recipe.yaml", models=swaps, **({"env": KEYS} | how))

    return load


def entry_of(recipe: Recipe, name: str = "teacher") -> dict[str, Any]:
    """The entry of a model as it is run."""
    entry: dict[str, Any] = recipe.source.values["models"][name]
    return entry


@pytest.mark.parametrize(
    ("target", "entry"),
    [
        ("openai:gpt-6-luna", {"provider": "openai", "model": "gpt-6-luna"}),
        ("openai:cheap", {"provider": "openai", "model": "gpt-6-luna"}),
        ("openai:strong", {"provider": "openai", "model": "gpt-6.1-terra"}),
        ("openrouter:cheap", {"provider": "openai", **OPENROUTER, "model": "openai/gpt-oss-120b"}),
        (
            "openrouter:openai/gpt-oss-120b:free",
            {"provider": "openai", **OPENROUTER, "model": "openai/gpt-oss-120b:free"},
        ),
        ("openai:ft:gpt-4.1:org=1::abc=2", {"provider": "openai", "model": "ft:gpt-4.1:org=1::abc=2"}),
        ("scripted:qwen3:8b", {"provider": "scripted", "model": "qwen3:8b"}),
        ("scripted", {"provider": "scripted", "model": "scripted"}),
        ("scripted:cheap", {"provider": "scripted", "model": "cheap"}),
    ],
)
def test_a_model_is_of_the_provider_or_vendor_before_the_first_colon(
    load: Load, target: str, entry: dict[str, Any]
) -> None:
    plain = {"provider": "openai", "model": "gpt-5.4", "base_url": "https://gateway.example.com/v1"}
    assert entry_of(load(f"teacher={target}", entry=plain)) == entry
    assert entry_of(load(teacher=target, entry=plain)) == entry


def test_fields_of_the_endpoint_go_with_the_model_and_those_that_mean_the_same_stay(load: Load) -> None:
    notes, others = Notes(), Notes()
    found = load("teacher=openai:cheap", notes=notes)
    kept = {"thinking": "low", "system": "fold", "timeout_s": 60, "max_concurrency": 8}
    assert entry_of(found) == {"provider": "openai", "model": "gpt-6-luna", **kept}
    gone = "base_url, key_env, price, batch, rpm, refuses, extra_body"
    assert notes.told == [f"--model teacher=openai:cheap: {gone} of models.teacher left out, as of another model"]
    load("judge=openai:cheap", notes=others)
    assert others.told == []


def test_a_provider_is_not_given_a_field_that_it_does_not_have(load: Load) -> None:
    notes = Notes()
    found = load(teacher="scripted", notes=notes)
    assert entry_of(found) == {"provider": "scripted", "model": "scripted", "max_concurrency": 8}
    assert "extra_body, thinking, system, timeout_s of models.teacher left out" in notes.told[0]


def test_an_override_goes_over_a_swap_and_a_later_swap_over_an_earlier_one(load: Load) -> None:
    found = load("judge=openai:cheap", "judge=openai:strong", overrides=["models.judge.batch=true"])
    assert entry_of(found, "judge") == {"provider": "openai", "model": "gpt-6.1-terra", "batch": True}
    other = load("teacher=openai:cheap", overrides=["models.teacher.model=strong"])
    assert entry_of(other)["model"] == "gpt-6.1-terra"


@pytest.mark.parametrize(
    ("swap", "what", "exists", "fix"),
    [
        ("teecher=openai:cheap", "no model called 'teecher'", "models: teacher, judge", "did you mean 'teacher'?"),
        ("student=openai:cheap", "no model called 'student'", "models: teacher, judge", "with one of them"),
        ("teacher=opnai:cheap", "there is no provider 'opnai'", "providers: ", "did you mean 'openai'?"),
        ("teacher=opnrouter:cheap", "there is no provider 'opnrouter'", "openrouter", "did you mean 'openrouter'?"),
        ("teacher=gpt-6-luna", "there is no provider 'gpt-6-luna'", "openai", "write --model teacher=PROVIDER:MODEL"),
        ("teacher", "it is not NAME=PROVIDER:MODEL", "", "teacher=openai:cheap"),
        ("openai:cheap", "it is not NAME=PROVIDER:MODEL", "", "teacher=openai:cheap"),
        ("teacher=openai", "it does not say which model", "", "write --model teacher=openai:cheap"),
        ("teacher=openai:", "it does not say which model", "", "write --model teacher=openai:cheap"),
        ("teacher=transformers", "it does not say which model", "", "write --model teacher=transformers:MODEL"),
        ("teacher=", "there is no provider ''", "providers: ", "write --model teacher=PROVIDER:MODEL"),
    ],
)
def test_what_is_no_swap_is_told_with_what_there_is_and_a_fix(
    load: Load, swap: str, what: str, exists: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(swap)
    assert f"--model {swap}: " in caught.value.what
    assert what in caught.value.what
    assert exists in caught.value.exists
    assert fix in caught.value.fix


def test_a_teacher_that_the_recipe_does_not_have_is_told(load: Load, tmp_path: Path) -> None:
    load()
    text = (tmp_path / "recipe.yaml").read_text().replace('"teacher"', '"big"')
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match="--teacher openai:cheap: the recipe has no model called 'teacher'") as caught:
        load_recipe(tmp_path / "recipe.yaml", teacher="openai:cheap", env=KEYS)
    assert caught.value.exists == "models: big, judge"


def test_what_is_wrong_with_a_swapped_model_says_where_it_was_given(load: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        load("teacher=openai:cheap", env={})
    [problem] = caught.value.problems
    assert problem.path == "models.teacher"
    assert "OPENAI_API_KEY is not set" in problem.message
    with pytest.raises(RecipeError) as caught:
        load("teacher=openai:cheap", entry={"provider": "vllm", "model": "m", "thinking": 4096})
    [problem] = caught.value.problems
    assert problem.expected == "given by --model teacher=openai:cheap"


def test_a_swap_takes_the_place_of_an_entry_that_is_wrong(load: Load) -> None:
    assert load("teacher=scripted", entry={"provider": "nobody"}).models["teacher"].provider == "scripted"
