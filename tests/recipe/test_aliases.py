"""`model: cheap` and `model: strong` are read as the models of a vendor that they stand for."""

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls import tariff
from blackbox_kd.errors import RecipeError
from blackbox_kd.models import Setup
from blackbox_kd.models.http import aliases, shutdowns
from blackbox_kd.recipe.kept import keep
from blackbox_kd.recipe.load import load_recipe, write_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import KEYS, write_rows

VENDORS = list(aliases.list_vendors().values())
LOCAL = "http://127.0.0.1:9/v1"
Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a recipe whose teacher has the given fields."""

    def load(env: dict[str, str] = KEYS, **fields: Any) -> Recipe:
        values = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": {"provider": "openai", **fields}},
            "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain"}],
        }
        write_rows(tmp_path / "train.jsonl", [{"instruction": "What is 1 + 1?", "reference": "2"}])
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        return load_recipe(tmp_path / "recipe.yaml", env=env)

    return load


@pytest.mark.parametrize("word", aliases.WORDS)
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_a_name_stands_for_a_model_of_the_vendor_that_the_url_leads_to(
    load: Load, vendor: aliases.Vendor, word: str
) -> None:
    found = load(model=word, base_url=vendor.base_url, key_env=vendor.key_env)
    assert found.models["teacher"].model == vendor.find_model(word) not in aliases.WORDS
    assert found.aliases["teacher"] == aliases.Alias(vendor.name, word, vendor.find_model(word))
    plain = load(model=vendor.find_model(word), base_url=vendor.base_url, key_env=vendor.key_env)
    setup = Setup("teacher", Path(), Path(), KEYS)
    assert found.models["teacher"].identity(setup) == plain.models["teacher"].identity(setup)
    assert plain.aliases == {}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_the_prices_of_all_models_of_the_table_are_known_and_the_strong_one_is_the_dearer(
    vendor: aliases.Vendor,
) -> None:
    cheap, strong = (tariff.find_listed(vendor.base_url, model) for model in (vendor.cheap, vendor.strong))
    assert cheap is not None
    assert strong is not None
    assert 0 < cheap.dearest.output < strong.dearest.output <= 20 * cheap.dearest.output


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_no_model_of_the_table_is_one_that_its_vendor_switches_off(vendor: aliases.Vendor) -> None:
    for word in aliases.WORDS:
        assert shutdowns.find(vendor.find_model(word), vendor.host) is None


def test_the_table_says_when_it_was_looked_up_and_where() -> None:
    text = (resources.files("blackbox_kd.models.http") / "aliases.toml").read_text()
    assert re.search(r"# As of 20\d\d-\d\d-\d\d: ", text)


@pytest.mark.parametrize(
    ("fields", "env", "model"),
    [
        ({}, {}, "gpt-6-luna"),
        ({"base_url": "https://API.openai.com/v1/"}, {}, "gpt-6-luna"),
        ({"key_env": "OPENROUTER_API_KEY"}, {"OPENAI_BASE_URL": "https://openrouter.ai/api/v1"}, "openai/gpt-oss-120b"),
    ],
)
def test_a_provider_without_a_url_has_the_models_of_the_one_that_it_uses(
    load: Load, fields: dict[str, Any], env: dict[str, str], model: str
) -> None:
    assert load(KEYS | env, model="cheap", **fields).models["teacher"].model == model


@pytest.mark.parametrize(("fields", "env"), [({"base_url": LOCAL}, {}), ({}, {"OPENAI_BASE_URL": LOCAL})])
def test_a_name_at_an_endpoint_that_is_no_vendors_is_a_problem(
    load: Load, fields: dict[str, Any], env: dict[str, str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(KEYS | env, model="cheap", **fields)
    [problem] = caught.value.problems
    assert (problem.path, problem.line) == ("models.teacher", 1)
    assert problem.message == (
        f"model 'cheap' stands for a vendor's model, and {LOCAL} is none of those that are known."
    )
    assert problem.expected.startswith("vendors: openai, anthropic")
    assert problem.fix == "write model: NAME, as the endpoint calls it"


@pytest.mark.parametrize(
    ("fields"), [{"base_url": 7}, {"base_url": ["x"]}, {"base_url": "http://[::1"}, {"provider": ["x"]}]
)
def test_a_name_beside_fields_that_are_wrong_themselves_is_a_problem_and_no_accident(
    load: Load, fields: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError) as caught:
        load(model="cheap", **fields)
    assert {problem.path for problem in caught.value.problems} == {"models.teacher"}


@pytest.mark.parametrize("model", ["Cheap", "cheap-1", "strongest", "openai/cheap"])
def test_other_names_are_names_of_models(load: Load, model: str) -> None:
    assert load(model=model).models["teacher"].model == model


def test_a_provider_that_has_no_vendors_models_may_call_one_of_its_own_so(load: Load) -> None:
    assert load(provider="scripted", model="strong").models["teacher"].model == "strong"


def test_the_copy_of_a_recipe_has_the_name_that_was_asked(load: Load, tmp_path: Path) -> None:
    write_recipe(tmp_path / "copy.yaml", load(model="strong"))
    assert "model: gpt-6.1-terra" in (tmp_path / "copy.yaml").read_text()
    assert load_recipe(tmp_path / "copy.yaml", env=KEYS).aliases == {}


def test_a_model_that_is_kept_is_checked_as_if_the_recipe_named_it(load: Load) -> None:
    recipe = load(model="cheap")
    assert keep(recipe, {}, KEYS) == (recipe, [])
    assert keep(recipe, {"openai:cheap": "gpt-6-luna", "openai:strong": "x", "gemini:cheap": "y"}, KEYS) == (recipe, [])
    kept, told = keep(recipe, {"openai:cheap": "gpt-4.1-mini"}, KEYS)
    assert kept.models["teacher"].model == kept.source.values["models"]["teacher"]["model"] == "gpt-4.1-mini"
    assert kept.aliases["teacher"] == aliases.Alias("openai", "cheap", "gpt-4.1-mini")
    assert recipe.models["teacher"].model == recipe.source.values["models"]["teacher"]["model"] == "gpt-6-luna"
    assert told[0].startswith("models.teacher: cheap is gpt-4.1-mini, with which this run began")
    assert "warning: models.teacher: 'gpt-4.1-mini'" in told[1], "it is switched off"


def test_what_a_model_that_is_kept_does_not_take_is_a_problem(load: Load) -> None:
    recipe = load(model="cheap", thinking="off")
    with pytest.raises(RecipeError, match=r"gpt-4\.1-mini"):
        keep(recipe, {"openai:cheap": "gpt-4.1-mini"}, KEYS)
