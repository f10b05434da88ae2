"""Servers that do not speak as Gemini's does: the tests of its format and of its batches fail with each of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.calls.batch import test_gemini_batches as batches
from tests.models import test_gemini as gemini
from tests.models.test_mutated_servers import Revise, Test, fails, renamed, without
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.gemini_batches import FakeBatch

REPLIES = gemini.TestReplies()
PLAIN = REPLIES.test_a_reply_is_text_tokens_and_the_model_that_wrote_it
CACHED = REPLIES.test_cached_tokens_are_part_of_the_prompt
THOUGHT = gemini.TestThinking().test_thoughts_are_the_reasoning_and_their_tokens_part_of_the_reply
SIGNED = REPLIES.test_a_call_of_a_function_is_one_with_its_signature
STRANGE = gemini.TestErrors().test_a_field_unknown_to_the_types_is_refused_by_the_server_of_the_tests
LONG_S = 4


async def cut() -> None:
    await REPLIES.test_no_other_end_than_stop_is_a_usable_reply("MAX_TOKENS")


async def withheld() -> None:
    await REPLIES.test_no_other_end_than_stop_is_a_usable_reply("SAFETY")


async def blocked() -> None:
    await REPLIES.test_a_blocked_prompt_is_a_refusal_with_its_reason("PROHIBITED_CONTENT")


CHANGES: list[tuple[Revise | None, Test]] = [
    (without("candidates"), PLAIN),
    (without("candidates", 0, "content"), PLAIN),
    (without("candidates", 0, "content", "parts", 0, "text"), THOUGHT),
    (without("candidates", 0, "content", "parts", 0, "thought"), THOUGHT),
    (without("candidates", 0, "finishReason"), PLAIN),
    (renamed("END", "candidates", 0, "finishReason"), PLAIN),
    (without("modelVersion"), PLAIN),
    (without("usageMetadata"), PLAIN),
    (without("usageMetadata", "promptTokenCount"), PLAIN),
    (without("usageMetadata", "cachedContentTokenCount"), CACHED),
    (without("usageMetadata", "thoughtsTokenCount"), THOUGHT),
    (renamed("CUT", "candidates", 0, "finishReason"), cut),
    (without("candidates", 0, "safetyRatings"), withheld),
    (renamed("UNSAFE", "candidates", 0, "finishReason"), withheld),
    (without("promptFeedback"), blocked),
    (without("promptFeedback", "blockReason"), blocked),
    (without("candidates", 0, "content", "parts", 0, "thoughtSignature"), SIGNED),
    (None, STRANGE),
]
LIVES: list[Revise] = [
    without("name"),
    renamed("BATCH_STATE_DONE", "metadata", "state"),
    without("metadata"),
    renamed("files/none", "response", "responsesFile"),
    without("response"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
async def test_the_suite_fails_where_replies_are_others(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change, test = CHANGES[number]

    class Mutated(FakeGemini):
        is_strict = change is not None

        def revise(self, reply: dict[str, Any]) -> dict[str, Any]:
            if change is not None:
                change(reply)
            return reply

    assert not await fails(test)
    monkeypatch.setattr(gemini, "FakeGemini", Mutated)
    assert await fails(test)


@pytest.mark.parametrize("number", range(len(LIVES)))
async def test_the_suite_fails_where_batches_are_others(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lives() -> None:
        async with asyncio.timeout(LONG_S):
            await batches.test_states_and_results_have_the_forms_of_either_version_of_the_api(tmp_path)

    described = FakeBatch.described

    def mutated(batch: FakeBatch, prefix: str = "") -> dict[str, Any]:
        shown = described(batch, "BATCH_STATE_")
        if batch.output is not None or LIVES[number] is LIVES[0]:
            LIVES[number](shown)
            shown.pop("done", None)
        return shown

    monkeypatch.setattr(FakeBatch, "described", mutated)
    assert await fails(lives)
