"""What endpoints say at the end of a reply, and what it means."""

import pytest

from blackbox_kd.calls import ends
from blackbox_kd.calls.ends import NOT_SAID, End

WORDS = {
    End.GOOD: "stop STOP end_turn stop_sequence completed own_eos_token COMPLETE FinishReason.STOP",
    End.CUT: (
        "length max_tokens MAX_TOKENS max_output_tokens model_length model_context_window_exceeded CONTINUATION "
        "max_messages steered FINISH_REASON_MAX_TOKENS"
    ),
    End.WITHHELD: (
        "content_filter refusal SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_OTHER "
        "MODEL_ARMOR ESCALATION LANGUAGE bio_policy misalignment_policy_violation invalid_prompt "
        "own_guardrail_intervened"
    ),
    End.TOOL: "tool_calls function_call tool_use",
    End.BROKEN: (
        "error abort repetition network_error insufficient_system_resource OTHER MALFORMED_FUNCTION_CALL failed "
        "UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MALFORMED_RESPONSE MISSING_THOUGHT_SIGNATURE cancelled server_error "
        "FINISH_REASON_UNSPECIFIED PUP_LIMITED_DISABLED pause_turn"
    ),
    End.UNKNOWN: "own_ran_out_of_ink finito stopped",
}
CASES = [(word.removeprefix("own_"), end) for end, words in WORDS.items() for word in words.split()]


@pytest.mark.parametrize(("word", "end"), CASES)
def test_a_reason_means_the_same_in_any_case(word: str, end: End) -> None:
    for written in (word, word.upper(), f" {word.title()} "):
        assert ends.classify(ends.read_word({"finish_reason": written})) is end


@pytest.mark.parametrize("missing", [{}, {"finish_reason": None}, {"finish_reason": ""}])
def test_a_reason_that_is_missing_is_no_good_end(missing: dict[str, None]) -> None:
    assert ends.read_word(missing) == NOT_SAID
    assert ends.classify(NOT_SAID) is End.UNKNOWN


@pytest.mark.parametrize("value", [7, True, ["stop"], {"type": "stop"}])
def test_a_reason_that_is_no_text_is_unknown(value: object) -> None:
    assert ends.classify(ends.read_word({"finish_reason": value})) is End.UNKNOWN


@pytest.mark.parametrize(
    ("said", "native", "word"),
    [
        (None, "STOP", "stop"),
        ("stop", "SAFETY", "safety"),
        ("stop", "max_tokens", "max_tokens"),
        ("stop", "own_brand_of_end", "stop"),
        ("stop", "tool_use", "stop"),
        ("length", "stop", "length"),
        ("error", "stop", "error"),
    ],
)
def test_the_vendors_own_reason_counts_where_it_is_the_worse_one(said: str | None, native: str, word: str) -> None:
    assert ends.read_word({"finish_reason": said, "native_finish_reason": native}) == word


@pytest.mark.parametrize("said", ["I cannot help with that.", {"category": "bio", "explanation": None}])
@pytest.mark.parametrize(
    ("word", "counted"),
    [("stop", "refusal"), ("completed", "refusal"), ("length", "length"), ("safety", "safety"), (None, "not said")],
)
def test_a_refusal_is_no_good_end_whatever_the_vendor_calls_it(said: object, word: str | None, counted: str) -> None:
    assert ends.read_word({"finish_reason": word, "message": {"content": None, "refusal": said}}) == counted


@pytest.mark.parametrize("message", [None, {"content": "4", "refusal": None}, {"content": "4", "refusal": ""}])
def test_a_message_without_a_refusal_ends_as_it_says(message: object) -> None:
    assert ends.read_word({"finish_reason": "stop", "message": message}) == "stop"


def test_counts_are_told_with_what_the_words_mean_good_ones_first() -> None:
    words = [("length", 2), ("finito", 1), ("stop", 30), ("end_turn", 3)]
    assert list(ends.describe_counts(words).items()) == [
        ("good (end_turn)", 3),
        ("good (stop)", 30),
        ("cut (length)", 2),
        ("unknown (finito)", 1),
    ]
