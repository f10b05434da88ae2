"""Servers that do not speak as their vendor does: the tests of its format fail with each of them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.models import test_anthropic as messages
from tests.models import test_mistral as mistral
from tests.models import test_openai_chat as chat
from tests.models import test_responses as responses
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.chat import FakeChat
from tests.support.teachers.mistral import FakeMistral
from tests.support.teachers.responses import FakeResponses

Revise = Callable[[dict[str, Any]], Any]
Test = Callable[[], Awaitable[None]]
REPLIES, REQUESTS = responses.TestReplies(), responses.TestTheFake()


def without(*path: Any) -> Revise:
    """Leaves a field out."""

    def revise(reply: dict[str, Any]) -> None:
        place: Any = reply
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return revise


def renamed(word: str, *path: Any) -> Revise:
    """Says another word than the vendor's."""

    def revise(reply: dict[str, Any]) -> None:
        place: Any = reply
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = word

    return revise


async def cut() -> None:
    await REPLIES.test_an_end_that_is_no_reply_is_told("cut", "truncated", "cut off")


async def refused() -> None:
    await REPLIES.test_an_end_that_is_no_reply_is_told(
        "refusal", "refused", "the model refused: I cannot help with that."
    )


async def blocked() -> None:
    await REPLIES.test_an_end_that_is_no_reply_is_told("failed:bio_policy", "refused: bio_policy", "it is bio_policy")


async def takes_no_seed() -> None:
    await REQUESTS.test_a_request_with_what_the_types_do_not_name_is_refused({"seed": 1})


async def chat_is_cut() -> None:
    await chat.test_an_end_that_is_no_reply_is_told("cut", chat.ReplyFault, "truncated")


async def chat_takes_no_top_k() -> None:
    await chat.TestTheFake().test_a_request_with_what_the_types_do_not_name_is_refused({"top_k": 5})


OF_RESPONSES: list[tuple[Revise | None, Test]] = [
    (without("output"), REPLIES.test_a_message_is_the_reply),
    (without("usage"), REPLIES.test_a_message_is_the_reply),
    (without("model"), REPLIES.test_a_message_is_the_reply),
    (without("status"), REPLIES.test_a_message_is_the_reply),
    (renamed("done", "status"), REPLIES.test_a_message_is_the_reply),
    (renamed("reply", "output", 0, "type"), REPLIES.test_a_message_is_the_reply),
    (without("output", 0, "content", 0, "text"), REPLIES.test_a_message_is_the_reply),
    (without("usage", "input_tokens_details"), REPLIES.test_tokens_of_the_cache_are_counted),
    (
        renamed("thinking", "output", 0, "type"),
        REPLIES.test_a_summary_of_reasoning_is_kept_beside_the_reply_and_its_tokens_are_counted,
    ),
    (
        without("usage", "output_tokens_details"),
        REPLIES.test_a_summary_of_reasoning_is_kept_beside_the_reply_and_its_tokens_are_counted,
    ),
    (renamed("tool", "output", 0, "type"), REPLIES.test_a_call_of_a_tool_is_read),
    (renamed("limit", "incomplete_details", "reason"), cut),
    (without("output", 0, "content", 0, "refusal"), refused),
    (without("error"), blocked),
    (renamed("biology", "error", "code"), blocked),
    (None, takes_no_seed),
]
OF_CHAT: list[tuple[Revise | None, Test]] = [
    (without("choices"), chat.test_a_good_end_is_a_reply),
    (without("choices", 0, "finish_reason"), chat.test_a_good_end_is_a_reply),
    (renamed("done", "choices", 0, "finish_reason"), chat.test_a_good_end_is_a_reply),
    (without("choices", 0, "message"), chat.test_a_good_end_is_a_reply),
    (without("usage"), chat.test_a_good_end_is_a_reply),
    (without("usage", "prompt_tokens_details"), chat.test_cached_and_hidden_tokens_and_another_model_are_told),
    (renamed("limit", "choices", 0, "finish_reason"), chat_is_cut),
    (None, chat_takes_no_top_k),
]


async def claude_is_good() -> None:
    await messages.TestReplies().test_good_ends_have_the_text_of_all_blocks("ok")


async def claude_is_cut() -> None:
    await messages.TestReplies().test_other_ends_are_told_apart("end:max_tokens", "truncated", "raise max_tokens")


async def claude_refuses() -> None:
    kind = "refused: reasoning_extraction"
    await messages.TestReplies().test_other_ends_are_told_apart("refusal:reasoning_extraction", kind, "This is about")


async def mistral_is_cut() -> None:
    await mistral.test_every_end_of_a_reply("length", "truncated", "raise max_tokens")


OF_MESSAGES: list[tuple[Revise, Test]] = [
    (without("content"), claude_is_good),
    (without("stop_reason"), claude_is_good),
    (without("content", -1, "text"), claude_is_good),
    (renamed("done", "stop_reason"), claude_is_good),
    (renamed("reply", "content", -1, "type"), claude_is_good),
    (renamed("limit", "stop_reason"), claude_is_cut),
    (renamed("declined", "stop_reason"), claude_refuses),
    (without("stop_details", "category"), claude_refuses),
]
OF_MISTRAL: list[tuple[Revise, Test]] = [
    (without("choices"), mistral.test_thinking_comes_beside_the_text),
    (without("choices", 0, "message"), mistral.test_thinking_comes_beside_the_text),
    (without("choices", 0, "message", "content", 0, "thinking"), mistral.test_thinking_comes_beside_the_text),
    (renamed("words", "choices", 0, "message", "content", 1, "type"), mistral.test_thinking_comes_beside_the_text),
    (renamed("done", "choices", 0, "finish_reason"), mistral.test_thinking_comes_beside_the_text),
    (renamed("limit", "choices", 0, "finish_reason"), mistral_is_cut),
]


async def fails(test: Test) -> bool:
    try:
        await test()
    except (Exception, pytest.fail.Exception):
        return True
    return False


@pytest.mark.parametrize("number", range(len(OF_RESPONSES)))
async def test_the_suite_fails_where_responses_are_others(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change, test = OF_RESPONSES[number]

    class Mutated(FakeResponses):
        is_strict = change is not None

        def revise(self, reply: dict[str, Any]) -> dict[str, Any]:
            if change is not None:
                change(reply)
            return reply

    assert not await fails(test)
    monkeypatch.setattr(responses, "FakeResponses", Mutated)
    assert await fails(test)


@pytest.mark.parametrize("number", range(len(OF_CHAT)))
async def test_the_suite_fails_where_chat_completions_are_others(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change, test = OF_CHAT[number]

    class Mutated(FakeChat):
        is_strict = change is not None

        def revise(self, reply: dict[str, Any]) -> dict[str, Any]:
            if change is not None:
                change(reply)
            return reply

    assert not await fails(test)
    monkeypatch.setattr(chat, "FakeChat", Mutated)
    assert await fails(test)


@pytest.mark.parametrize("number", range(len(OF_MESSAGES)))
async def test_the_suite_fails_where_messages_are_others(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change, test = OF_MESSAGES[number]

    class Mutated(FakeAnthropic):
        def answer(self, body: dict[str, Any], action: str) -> dict[str, Any]:
            reply = super().answer(body, action)
            change(reply)
            return reply

    assert not await fails(test)
    monkeypatch.setattr(messages, "FakeAnthropic", Mutated)
    assert await fails(test)


@pytest.mark.parametrize("number", range(len(OF_MISTRAL)))
async def test_the_suite_fails_where_mistral_answers_otherwise(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change, test = OF_MISTRAL[number]

    class Mutated(FakeMistral):
        def reply(self, action: str, body: dict[str, Any], model: str) -> dict[str, Any]:
            reply = super().reply(action, body, model)
            change(reply)
            return reply

    assert not await fails(test)
    monkeypatch.setattr(mistral, "FakeMistral", Mutated)
    assert await fails(test)
