"""Names of models, as many vendors and gateways write them."""

import pytest

from blackbox_kd.models.http.names import is_a_file, is_same, look_up, normalise


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-6-luna", "gpt-6-luna"),
        ("openai/GPT-4.1-mini", "gpt-4.1-mini"),
        ("anthropic/claude-haiku-4.5", "claude-haiku-4-5"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929-v1:0"),
        ("openai.gpt-oss-120b", "gpt-oss-120b"),
        ("accounts/fireworks/models/deepseek-v3", "deepseek-v3"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b-instruct"),
        ("", ""),
    ],
)
def test_a_name_is_read_without_what_a_gateway_puts_before_it(model: str, name: str) -> None:
    assert normalise(model) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [("gpt-4", 4), ("gpt-4-0613", 4), ("gpt-4-turbo", 5), ("gpt-4-turbo-2024-04-09", 5), ("gpt-4o", None)],
)
def test_the_longest_name_counts_and_no_other_model_is_meant(name: str, found: int | None) -> None:
    assert look_up(name, {"gpt-4": 4, "gpt-4-turbo": 5}) == found


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-6-luna", "gpt-6-luna"),
        ("gpt-6-luna", "gpt-6-luna-2026-09-01"),
        ("gpt-4", "gpt-4-0613"),
        ("openai/gpt-6-luna", "gpt-6-luna-2026-09-01"),
        ("GPT-6-Luna", "gpt-6-luna"),
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("claude-haiku-4.5", "claude-haiku-4-5-20251001"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("openai/gpt-oss-120b:free", "openai/gpt-oss-120b"),
        ("deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro:nitro"),
        ("llama3.1", "llama3.1:latest"),
        ("mistral-large-latest", "mistral-large-2512"),
        ("gpt-5-chat-latest", "gpt-5.3-chat"),
        ("openrouter/auto", "anthropic/claude-haiku-5.5"),
    ],
)
def test_another_way_to_write_a_name_is_no_other_model(asked: str, served: str) -> None:
    assert is_same(asked, served)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gemini-2.5-flash", "gemini-3.5-flash-lite"),
        ("gpt-4.1-mini", "gpt-4.1"),
        ("gpt-4.1", "gpt-4.1-mini"),
        ("gpt-4.1-mini", "gpt-4.1-nano-2025-04-14"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("claude-sonnet-4-5", "claude-sonnet-5-5"),
        ("claude-haiku-4-5", "claude-haiku-4-6"),
        ("qwen3:8b", "qwen3:32b"),
        ("deepseek/deepseek-v4-pro", "deepseek/deepseek-v4.1-flash"),
        ("gpt-6", "gpt-6-luna"),
    ],
)
def test_another_model_is_another_one(asked: str, served: str) -> None:
    assert not is_same(asked, served)


@pytest.mark.parametrize(
    ("served", "is_one"),
    [
        ("/models/x", True),
        ("./m", True),
        ("C:\\models\\x", True),
        ("gpt-oss-20b-Q4_K_M.GGUF", True),
        ("openai/gpt-oss-20b", False),
    ],
)
def test_a_server_may_name_the_file_that_it_has_loaded(served: str, is_one: bool) -> None:
    assert is_a_file(served) is is_one
