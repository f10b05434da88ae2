"""How long a reply may get where the recipe does not say: the model's own limit, if it is known."""

import pytest

from blackbox_kd.models.http.parameters import find


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-2024-05-13", 4096),
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("openai/gpt-4.1-mini", 32_768),
        ("gpt-4", 8192),
        ("gpt-4-turbo-2024-04-09", 4096),
        ("gpt-5-chat-latest", 16_384),
        ("o3-mini", 100_000),
        ("claude-3-5-haiku-20241022", 8192),
        ("anthropic/claude-opus-4-1@20250805", 32_000),
        ("Claude-Opus-4-5", 64_000),
        ("models/gemini-2.5-flash-lite", 65_536),
    ],
)
def test_a_vendors_model_may_write_as_much_as_the_vendor_says(model: str, most: int) -> None:
    assert find(model).most_tokens == most


@pytest.mark.parametrize("model", ["gpt-4ox", "gpt-5.99", "llama-3.3-70b", "my-own", "", "o11", "gpt"])
def test_own_another_models_limit_is_nobodys(model: str) -> None:
    assert find(model).most_tokens is None
