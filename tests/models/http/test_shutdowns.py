"""When vendors switch models off: the table, and how names are found in it."""

import datetime

import pytest

from blackbox_kd.models.http import aliases, shutdowns
from blackbox_kd.models.http.names import normalise

DAY = datetime.date(2026, 11, 28)
OPENAI, DEEPSEEK, TOGETHER = "api.openai.com", "api.deepseek.com", "api.together.xyz"


def test_the_table_has_names_that_can_be_found_and_says_where_each_date_is_from() -> None:
    table = shutdowns.read_table()
    assert len(table) > 25
    for each in table:
        assert all(name == normalise(name) for name in each.names), each
        assert each.source
        assert each.vendor
        assert each.read <= datetime.date.today()
        assert (each.date is not None or each.gone) == bool(each.instead), "what ends has a successor"
    names = [(name, host) for each in table for name in each.names for host in each.hosts or ("",)]
    assert len(names) == len(set(names)), "of two entries for a name one would not be read"


def test_what_is_named_in_place_of_a_model_does_not_end_itself() -> None:
    for each in shutdowns.read_table():
        for host in each.hosts or ("",):
            assert not each.instead or shutdowns.find(each.instead, host) is None, each.instead


def test_no_end_is_announced_of_what_recipes_call_cheap_and_strong() -> None:
    for vendor in aliases.list_vendors().values():
        for word in aliases.WORDS:
            assert shutdowns.find(vendor.find_model(word), vendor.host) is None, (vendor.name, word)


@pytest.mark.parametrize(
    ("model", "host", "date"),
    [
        ("gpt-4.1-mini", OPENAI, "2027-01-14"),
        ("openai/gpt-4.1-mini-2025-04-14", "openrouter.ai", "2027-01-14"),
        ("gpt-4o-mini", OPENAI, "2027-01-14"),
        ("gpt-4.1", OPENAI, "2027-01-14"),
        ("gpt-4o", OPENAI, "2027-01-14"),
        ("gpt-5", OPENAI, "2026-12-11"),
        ("gpt-5-mini", OPENAI, "2026-12-11"),
        ("gpt-5-nano-2025-08-07", OPENAI, "2026-12-11"),
        ("o3", OPENAI, "2026-12-11"),
        ("gpt-4.1-nano", OPENAI, "2026-10-23"),
        ("o4-mini", OPENAI, "2026-10-23"),
        ("o3-mini", OPENAI, "2026-10-23"),
        ("gpt-4-0613", OPENAI, "2026-10-23"),
        ("gpt-3.5-turbo", OPENAI, "2026-10-23"),
        ("gpt-4o-2024-05-13", OPENAI, "2026-10-23"),
        ("gpt-5.1", OPENAI, "2027-04-01"),
        ("gpt-5.4-nano", OPENAI, "2027-04-01"),
        ("gpt-5-chat-latest", OPENAI, "2026-07-23"),
        ("claude-sonnet-4-5", "api.anthropic.com", "2026-11-30"),
        ("anthropic/claude-sonnet-4.5", "openrouter.ai", "2026-11-30"),
        ("claude-opus-4-5-20251101", "api.anthropic.com", "2027-01-22"),
        ("claude-sonnet-4-20250514", "api.anthropic.com", "2026-06-15"),
        ("claude-opus-4-1", "api.anthropic.com", "2026-08-05"),
        ("gemini-2.5-flash", "generativelanguage.googleapis.com", "2026-12-01"),
        ("models/gemini-2.5-pro", "generativelanguage.googleapis.com", "2026-12-01"),
        ("gemini-2.0-flash-001", "generativelanguage.googleapis.com", "2026-06-01"),
        ("gemini-3.1-flash-lite", "generativelanguage.googleapis.com", "2027-05-07"),
        ("deepseek-chat", DEEPSEEK, "2026-07-24"),
        ("deepseek-reasoner", DEEPSEEK, "2026-07-24"),
        ("mistral-large-2512", "api.mistral.ai", "2027-04-30"),
        ("mistral-medium-3-5", "api.mistral.ai", "2027-04-30"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", TOGETHER, "2026-10-22"),
        ("openai/gpt-oss-20b", TOGETHER, "2026-09-15"),
    ],
)
def test_the_day_of_a_model_is_known_by_any_of_its_names(model: str, host: str, date: str) -> None:
    found = shutdowns.find(model, host)
    assert found is not None
    assert str(found.date) == date


@pytest.mark.parametrize(
    ("model", "host"),
    [
        ("gpt-6-luna", OPENAI),
        ("gpt-5.4-mini", OPENAI),
        ("gpt-5.5", OPENAI),
        ("gpt-5-pro", OPENAI),
        ("o3-pro", OPENAI),
        ("claude-haiku-4-5", "api.anthropic.com"),
        ("claude-sonnet-4-6", "api.anthropic.com"),
        ("claude-opus-4-8", "api.anthropic.com"),
        ("claude-sonnet-5-5", "api.anthropic.com"),
        ("gemini-2.5-flash-lite", "generativelanguage.googleapis.com"),
        ("gemini-3.8-flash", "generativelanguage.googleapis.com"),
        ("deepseek/deepseek-chat-v3.1", "openrouter.ai"),
        ("openai/gpt-oss-20b", "openrouter.ai"),
        ("deepseek-flash", DEEPSEEK),
        ("my-model", "example.com"),
    ],
)
def test_no_day_is_known_of_others(model: str, host: str) -> None:
    assert shutdowns.find(model, host) is None


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("2027-02-27", ""),
        ("2027-02-26", "on 2027-02-26, in 90 days"),
        ("2026-11-29", "on 2026-11-29, in 1 day"),
        ("2026-11-28", "since 2026-11-28"),
        ("2025-01-01", "since 2025-01-01"),
    ],
)
def test_a_day_is_told_as_soon_as_it_is_90_days_off(date: str, told: str) -> None:
    assert shutdowns.describe_day(datetime.date.fromisoformat(date), DAY) == told
