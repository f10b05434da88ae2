"""Lists of models as vendors send them: their own packages' types make them."""

import datetime
from typing import Any

import anthropic.types
import openai.types
import pytest
from google.genai import types as gemini
from mistralai.client import models as mistral

from blackbox_kd.models.http.listing import Listed, find

ENDS = datetime.date(2027, 1, 14)


def by_openai(**ends: str | None) -> dict[str, Any]:
    model = openai.types.Model(id="gpt-4.1-mini-2025-04-14", created=1, object="model", owned_by="openai", **ends)
    return {"object": "list", "data": [{"id": "other"}, model.model_dump(mode="json")]}


def by_anthropic(**fields: Any) -> dict[str, Any]:
    values = {"created_at": "2025-10-01T00:00:00Z", "display_name": "Claude", "lifecycle": "active", "type": "model"}
    model = anthropic.types.ModelInfo.model_validate({"id": "claude-haiku-4-5-20251001", **values, **fields})
    return {"data": [model.model_dump(mode="json")], "has_more": False, "first_id": "a", "last_id": "b"}


def by_gemini() -> dict[str, Any]:
    model = gemini.Model(name="models/gemini-3.8-flash", display_name="Gemini", version="1")
    return {"models": [model.model_dump(mode="json", exclude_none=True)]}


def by_mistral() -> dict[str, Any]:
    able = mistral.ModelCapabilities(completion_chat=True)
    card = mistral.BaseModelCard(id="mistral-small-2603", capabilities=able, aliases=["mistral-small-latest"])
    return {"object": "list", "data": [card.model_dump(mode="json")]}


def by_openrouter(ends: str | None) -> dict[str, Any]:
    return {"data": [{"id": "openai/gpt-oss-120b", "name": "OpenAI: gpt-oss-120b", "expiration_date": ends}]}


@pytest.mark.parametrize(
    ("value", "model", "found"),
    [
        (by_openai(), "gpt-4.1-mini", Listed()),
        (by_openai(shutdown_date="2027-01-14"), "gpt-4.1-mini", Listed(ENDS)),
        (by_openai(shutdown_date="2027-01-14"), "gpt-4.1-mini-2025-04-14", Listed(ENDS)),
        (by_openai(), "gpt-4.1", None),
        (by_openai(), "gpt-4.1-mini-2024-01-01", None),
        (by_anthropic(), "claude-haiku-4-5", Listed()),
        (by_anthropic(lifecycle="deprecated", retires_at="2027-01-14T08:00:00Z"), "claude-haiku-4-5", Listed(ENDS)),
        (by_anthropic(lifecycle="retired", retires_at="2027-01-14T00:00:00Z"), "claude-haiku-4-5", Listed(ENDS, True)),
        (by_anthropic(lifecycle="retired"), "claude-haiku-4-5", Listed(None, True)),
        (by_gemini(), "gemini-3.8-flash", Listed()),
        (by_gemini(), "models/gemini-3.8-flash", Listed()),
        (by_gemini(), "gemini-2.5-flash", None),
        (by_mistral(), "mistral-small-latest", Listed()),
        (by_mistral(), "mistral-large-latest", None),
        (by_openrouter(None), "openai/gpt-oss-120b", Listed()),
        (by_openrouter("2027-01-14"), "openai/gpt-oss-120b:nitro", Listed(ENDS)),
        (by_openrouter("soon"), "openai/gpt-oss-120b", Listed()),
        ([{"id": "meta-llama/Llama-3.3-70B"}], "meta-llama/Llama-3.3-70B", Listed()),
        ({"data": [{"id": "m:1"}, {"id": "m:2", "shutdown_date": "2027-01-14"}]}, "m:2", Listed(ENDS)),
    ],
)
def test_a_model_is_found_by_any_of_its_names_with_the_day_of_its_end(value: Any, model: str, found: Any) -> None:
    assert find(value, model) == found


@pytest.mark.parametrize(
    "value",
    [None, 7, "text", [], {}, {"data": None}, {"data": [1, None, "m"]}, {"data": [{"id": 7}]}, {"models": {"m": {}}}],
)
def test_what_is_no_list_of_models_says_nothing(value: Any) -> None:
    with pytest.raises(ValueError, match="no list of models"):
        find(value, "m")


@pytest.mark.parametrize("more", [{"has_more": True}, {"nextPageToken": "x"}])
def test_a_list_that_goes_on_does_not_lack_a_model(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="goes on elsewhere"):
        find({"data": [{"id": "other"}], **more}, "m")
    assert find({"data": [{"id": "m"}], **more}, "m") == Listed()
