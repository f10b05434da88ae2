"""Bodies as endpoints send them, and what is made of each."""

import json
from typing import Any

import pytest

from blackbox_kd.analysis.logprobs import Scored
from blackbox_kd.calls.completion import Completion, parse
from blackbox_kd.errors import Refusal, ReplyFault
from blackbox_kd.models import Price
from blackbox_kd.schema import Usage

PRICE = Price(input=1, output=10)


def body(
    content: Any = "The answer is 4.", finish_reason: str | None = "stop", usage: Any = None, **message: Any
) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    choice["finish_reason"] = finish_reason
    usage = {"prompt_tokens": 100, "completion_tokens": 20} if usage is None else usage
    return json.dumps({"object": "chat.completion", "model": "m-2026-11-01", "choices": [choice], "usage": usage})


def fault_of(text: str, *, accept_truncated: bool = False) -> ReplyFault:
    with pytest.raises(ReplyFault) as caught:
        parse(text, PRICE, accept_truncated=accept_truncated)
    return caught.value


class TestLogProbabilities:
    TOLD = {"prompt_token_ids": [5, 6], "prompt_logprobs": [None, {"6": {"logprob": -0.25, "rank": 1}}]}  # noqa: RUF012

    def told(self, content: str, finish_reason: str) -> str:
        return json.dumps(json.loads(body(content, finish_reason)) | self.TOLD)

    @pytest.mark.parametrize(("content", "reason"), [("It", "length"), ("", "stop"), ("", "length")])
    def test_what_is_told_about_a_prompt_is_worth_having_whatever_was_written(self, content: str, reason: str) -> None:
        reply = parse(self.told(content, reason), PRICE, accept_truncated=True)
        assert isinstance(reply, Scored)
        assert (reply.text, reply.tokens) == (content, (5, 6))
        assert [(token.id, token.logprob, token.rank) for token in reply.told or ()] == [(6, -0.25, 1)]
        assert reply.usage == Usage(prompt_tokens=100, completion_tokens=20)

    def test_a_step_that_wants_text_is_not_content_with_it(self) -> None:
        assert fault_of(self.told("", "stop")).kind == "empty"
        assert not isinstance(parse(self.told("Yes.", "stop"), PRICE), Scored)


class TestUsableReplies:
    def test_a_reply_has_its_text_its_tokens_its_cost_and_the_model_that_served_it(self) -> None:
        reply = parse(body(), PRICE)
        assert reply.text == "The answer is 4."
        assert reply.finish_reason == "stop"
        assert reply.usage == Usage(prompt_tokens=100, completion_tokens=20)
        assert reply.model == "m-2026-11-01"
        assert reply.cost_usd == pytest.approx((100 * 1 + 20 * 10) / 1e6)
        assert not reply.replayed

    def test_without_a_price_the_cost_is_unknown_and_not_0(self) -> None:
        assert parse(body(), None).cost_usd is None

    def test_without_token_counts_the_cost_is_unknown_and_not_0(self) -> None:
        reply = parse(body(usage={}), PRICE)
        assert reply.cost_usd is None
        assert reply.usage == Usage()

    def test_a_free_model_costs_nothing_even_uncounted(self) -> None:
        assert parse(body(usage={}), Price(input=0, output=0)).cost_usd == 0

    def test_parts_of_a_content_are_joined(self) -> None:
        parts = [{"type": "text", "text": "The answer "}, {"type": "image"}, {"type": "text", "text": "is 4."}]
        assert parse(body(parts), PRICE).text == "The answer is 4."

    def test_half_a_surrogate_pair_becomes_a_replacement_character(self) -> None:
        assert parse(body("4 \ud83d"), PRICE).text == "4 \ufffd"

    def test_cached_and_reasoning_tokens_are_read(self) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 15},
        }
        assert parse(body(usage=usage), PRICE).usage == Usage(100, 20, 60, 15)

    def test_reasoning_that_is_billed_but_left_out_of_the_completion_is_counted(self) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 420}
        assert parse(body(usage=usage), PRICE).usage.completion_tokens == 320

    @pytest.mark.parametrize(
        "nonsense",
        ["ten", "10", None, 0, -5, float("inf"), float("nan"), 1e308, 10**20, 10**400, 10**9, True, 0.5, [1]],
    )
    def test_a_usage_that_cannot_be_is_unknown_and_so_is_the_cost(self, nonsense: Any) -> None:
        reply = parse(body(usage={"prompt_tokens": nonsense, "completion_tokens": 20}), PRICE)
        assert (reply.usage, reply.cost_usd) == (Usage(), None)

    @pytest.mark.parametrize(
        "nonsense", ["ten", None, -5, float("inf"), float("nan"), 1e308, 10**20, 10**9, False, 20.5, [1]]
    )
    def test_so_is_one_whose_count_of_the_reply_cannot_be(self, nonsense: Any) -> None:
        reply = parse(body(usage={"prompt_tokens": 100, "completion_tokens": nonsense}), PRICE)
        assert (reply.usage, reply.cost_usd) == (Usage(), None)

    def test_a_count_of_five_thousand_digits_costs_no_reply(self) -> None:
        text = body(usage={"prompt_tokens": 100, "completion_tokens": 7}).replace(" 7}", f" {'7' * 5000}}}")
        reply = parse(text, PRICE)
        assert (reply.text, reply.usage, reply.cost_usd) == ("The answer is 4.", Usage(), None)

    def test_whole_numbers_may_be_written_with_a_point(self) -> None:
        usage = {"prompt_tokens": 100.0, "completion_tokens": 20.0}
        assert parse(body(usage=usage), PRICE).usage == Usage(100, 20)

    @pytest.mark.parametrize("before", ["\ufeff", ": keep-alive\n\n", "\ufeff: own\n: twice\n"])
    def test_what_stands_before_a_body_is_no_part_of_it(self, before: str) -> None:
        assert parse(before + body(), PRICE).text == "The answer is 4."

    @pytest.mark.parametrize("nonsense", ["ten", None, -5, float("inf"), True, [1]])
    def test_details_that_are_no_numbers_count_as_none(self, nonsense: Any) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": nonsense}
        details = {"prompt_tokens_details": nonsense, "completion_tokens_details": {"reasoning_tokens": nonsense}}
        assert parse(body(usage=usage | details), PRICE).usage == Usage(100, 20)


class TestReasoning:
    @pytest.mark.parametrize(
        ("content", "beside", "reasoning"),
        [
            ([{"type": "thinking", "thinking": [{"type": "text", "text": "2 and 2"}]}], {}, "2 and 2"),
            (
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "2"}, {"type": "text", "text": " and"}]},
                    {"type": "thinking", "thinking": "2", "closed": True, "signature": "s"},
                ],
                {},
                "2 and\n2",
            ),
            ([{"type": "reference", "reference_ids": [1]}, {"type": "thinking", "thinking": None}, "odd"], {}, ""),
            ([], {"reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": "2 and 2"}]}, "2 and 2"),
            ([], {"reasoning_details": [{"type": "reasoning.summary", "summary": "A sum."}, 7]}, "A sum."),
            ([], {"reasoning_details": [{"type": "reasoning.encrypted", "data": "xyz"}]}, ""),
            ([], {"reasoning": "2 and 2", "reasoning_details": [{"text": "2 and 2"}]}, "2 and 2"),
        ],
    )
    def test_reasoning_in_parts_is_kept_apart_from_the_text(
        self, content: list[Any], beside: dict[str, Any], reasoning: str
    ) -> None:
        reply = parse(body([*content, {"type": "text", "text": "4"}], **beside), None)
        assert (reply.text, reply.reasoning) == ("4", reasoning)

    @pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
    def test_reasoning_beside_the_text_is_kept_apart(self, field: str) -> None:
        reply = parse(body("4", **{field: "2 and 2"}), PRICE)
        assert (reply.text, reply.reasoning) == ("4", "2 and 2")

    def test_a_think_block_in_the_text_is_taken_out(self) -> None:
        reply = parse(body("<think>\n2 and 2\n</think>\n\nThe answer is 4."), PRICE)
        assert (reply.text, reply.reasoning) == ("The answer is 4.", "2 and 2")

    def test_a_block_that_the_template_opened_is_taken_out_too(self) -> None:
        reply = parse(body("2 and 2</think>The answer is 4."), PRICE)
        assert (reply.text, reply.reasoning) == ("The answer is 4.", "2 and 2")

    @pytest.mark.parametrize(
        "content",
        [
            "[THINK]2 and 2[/THINK]The answer is 4.</s>",
            "<|channel|>analysis<|message|>2 and 2<|end|><|start|>assistant<|channel|>final<|message|>The answer is 4.",
            "<|channel>thought\n2 and 2<channel|>The answer is 4.<turn|>",
        ],
    )
    def test_so_is_reasoning_in_other_markup(self, content: str) -> None:
        reply = parse(body(content), PRICE)
        assert (reply.text, reply.reasoning) == ("The answer is 4.", "2 and 2")

    def test_tags_that_a_text_speaks_of_stay(self) -> None:
        text = "Write <think> before and </think> after."
        assert parse(body(text), PRICE).text == text

    def test_reasoning_that_never_ends_is_cut_off(self) -> None:
        fault = fault_of(body("<think>2 and 2"))
        assert fault.kind == "truncated"
        assert "never ends" in str(fault)

    def test_reasoning_without_an_answer_is_empty(self) -> None:
        assert fault_of(body("<think>2 and 2</think>")).kind == "empty"
        beside = fault_of(body(None, reasoning_content="It is 4."))
        assert beside.kind == "empty"
        assert "no text, but 8 characters of reasoning" in str(beside)

    def test_a_limit_that_reasoning_used_up_is_to_be_raised(self) -> None:
        usage = {
            "prompt_tokens": 40,
            "completion_tokens": 1024,
            "completion_tokens_details": {"reasoning_tokens": 1024},
        }
        fault = fault_of(body("", "length", usage))
        assert fault.kind == "truncated"
        assert "after 1,024 tokens, all of them hidden reasoning; raise max_tokens" in str(fault)


class TestMarkup:
    LEFT = "It is 4.<|im_end|>\n<|im_start|>user\nAnd 3 + 3?"

    def test_the_end_of_a_turn_is_cut_off_and_what_the_ledger_keeps_is_not_touched(self) -> None:
        assert parse(body("It is 4.<|im_end|>"), PRICE).text == "It is 4."

    def test_markup_that_is_left_makes_a_reply_unusable_and_is_quoted(self) -> None:
        fault = fault_of(body(self.LEFT))
        assert fault.kind == "markup"
        assert "'<|im_end|>'" in str(fault)
        assert "And 3 + 3?" in str(fault)

    def test_a_reply_may_speak_of_what_the_question_speaks_of(self) -> None:
        question = [{"role": "user", "content": "What do <|im_start|> and <|im_end|> do?"}]
        text = "They begin and end turns: <|im_start|> first, <|im_end|> last."
        assert Completion(body(text)).reply(PRICE, str, question=question).text == text
        assert fault_of(body(text)).kind == "markup"

    def test_an_answer_in_an_exam_is_an_answer_all_the_same(self) -> None:
        assert parse(body(self.LEFT), PRICE, accept_truncated=True).text == self.LEFT


class TestUnusableReplies:
    def test_a_reply_that_was_cut_off_says_after_how_many_tokens(self) -> None:
        fault = fault_of(body(finish_reason="length"))
        assert fault.kind == "truncated"
        assert "after 20 tokens" in str(fault)

    def test_a_cut_off_reply_is_taken_where_that_is_asked_for(self) -> None:
        assert parse(body(finish_reason="length"), PRICE, accept_truncated=True).text == "The answer is 4."
        assert parse(body("", finish_reason="length"), PRICE, accept_truncated=True).text == ""
        unfinished = parse(body("<think>2 and", finish_reason="length"), PRICE, accept_truncated=True)
        assert (unfinished.text, unfinished.reasoning) == ("", "2 and")

    @pytest.mark.parametrize("reason", ["max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length", "own_steered"])
    def test_a_cut_off_reply_is_one_in_any_word(self, reason: str) -> None:
        reason = reason.removeprefix("own_")
        assert fault_of(body(finish_reason=reason)).kind == "truncated"
        assert parse(body(finish_reason=reason), PRICE, accept_truncated=True).finish_reason == "length"

    def test_a_context_that_is_full_wants_a_shorter_prompt_and_no_larger_limit(self) -> None:
        assert "raise max_tokens" not in str(fault_of(body(finish_reason="model_context_window_exceeded")))

    @pytest.mark.parametrize("reason", ["end_turn", "STOP", "eos"])
    def test_a_good_end_is_called_stop(self, reason: str) -> None:
        assert parse(body(finish_reason=reason), PRICE).finish_reason == "stop"

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("SAFETY", "refused: safety"),
            ("refusal", "refused"),
            ("content_filter", "refused"),
            ("RECITATION", "refused: recitation"),
            ("bio_policy", "refused: bio_policy"),
            ("own_image_style", "refused: image_style"),
        ],
    )
    def test_a_withheld_reply_is_a_refusal_whose_category_is_the_word_for_it(self, reason: str, kind: str) -> None:
        for accept in (False, True):
            fault = fault_of(body("half a", reason.removeprefix("own_")), accept_truncated=accept)
            assert fault.kind == kind
            assert "there is no reply" in str(fault)

    @pytest.mark.parametrize(
        ("reason", "told"),
        [
            ("network_error", "the endpoint broke the reply off (finish_reason 'network_error')"),
            ("MALFORMED_RESPONSE", "the endpoint broke the reply off (finish_reason 'malformed_response')"),
            ("finito", "how the reply ended is not known (finish_reason 'finito')"),
            (None, "how the reply ended is not said (finish_reason is missing)"),
            ("tool_calls", "the reply calls a tool, and none was offered"),
        ],
    )
    def test_a_broken_or_unknown_end_is_never_a_good_one(self, reason: str | None, told: str) -> None:
        for accept in (False, True):
            fault = fault_of(body("half a", reason), accept_truncated=accept)
            assert fault.kind == "unreadable"
            assert told in str(fault)

    def test_where_tools_were_offered_their_call_is_an_end(self) -> None:
        assert Completion(body("I ask.", "tool_calls")).reply(PRICE, str, has_tools=True).text == "I ask."

    @pytest.mark.parametrize("where", ["choice", "beside"])
    def test_an_error_in_a_reply_breaks_it_off_whatever_its_end(self, where: str) -> None:
        value = json.loads(body("half a"))
        (value["choices"][0] if where == "choice" else value)["error"] = {"message": "gone", "code": 502}
        fault = fault_of(json.dumps(value))
        assert fault.kind == "unreadable"
        assert "the endpoint broke the reply off (gone)" in str(fault)

    @pytest.mark.parametrize("names", [("promptFeedback", "blockReason"), ("prompt_feedback", "block_reason")])
    def test_a_blocked_prompt_is_a_refusal(self, names: tuple[str, str]) -> None:
        fault = fault_of(json.dumps({"choices": [], names[0]: {names[1]: "PROHIBITED_CONTENT"}}))
        assert fault.kind == "refused"
        assert "it blocks the prompt (PROHIBITED_CONTENT)" in str(fault)

    def test_a_stream_is_named_as_what_it_is(self) -> None:
        fault = fault_of('data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n')
        assert fault.kind == "unreadable"
        assert "the endpoint streams its reply" in str(fault)

    def test_a_content_filter_is_a_refusal(self) -> None:
        assert fault_of(body("half a", finish_reason="content_filter")).kind == "refused"

    def test_a_refusal_is_quoted(self) -> None:
        fault = fault_of(body(None, refusal="I cannot help with that."))
        assert fault.kind == "refused"
        assert "I cannot help with that." in str(fault)

    @pytest.mark.parametrize("reason", ["refusal", "stop", "SAFETY", "content_filter"])
    def test_a_category_of_a_refusal_is_what_it_is_counted_by(self, reason: str) -> None:
        said = {"category": "reasoning_extraction", "explanation": "It would write its reasoning out."}
        fault = fault_of(body("half a", finish_reason=reason, refusal=said))
        assert (type(fault), fault.kind) == (Refusal, "refused: reasoning_extraction")
        assert fault.what == "the model refused (reasoning_extraction): It would write its reasoning out."
        assert fault.fix.startswith("write thinking: low, medium or high at the model")

    @pytest.mark.parametrize(
        ("said", "what", "kind"),
        [
            ({"category": "bio", "explanation": None}, "the model refused (bio)", "refused: bio"),
            ({"category": None, "explanation": "No."}, "the model refused: No.", "refused"),
            ({"category": None, "explanation": None}, "the model refused", "refused"),
            ({"category": 7, "explanation": ["no"]}, "the model refused: ['no']", "refused"),
            ({"category": "x" * 41}, "the model refused", "refused"),
            ({"category": "two\nlines"}, "the model refused", "refused"),
            (["no"], "the model refused: ['no']", "refused"),
        ],
    )
    def test_a_refusal_may_lack_a_category_or_a_reason(self, said: Any, what: str, kind: str) -> None:
        fault = fault_of(body(None, finish_reason="refusal", refusal=said))
        assert (fault.what, fault.kind, fault.fix) == (what, kind, "")
        assert isinstance(fault, Refusal) is isinstance(said, dict), "what stands"

    @pytest.mark.parametrize("nothing", ["", None, " \n", [], 7])
    def test_no_text_is_empty(self, nothing: Any) -> None:
        assert fault_of(body(nothing)).kind == "empty"
        assert fault_of(body(nothing), accept_truncated=True).kind == "empty"

    @pytest.mark.parametrize(
        "text",
        [
            "<html><body>502 Bad Gateway</body></html>",
            "",
            "[" * 100_000,
            "[]",
            '"a string"',
            "{}",
            '{"error": {"message": "overloaded"}}',
            '{"choices": null}',
            '{"choices": []}',
            '{"choices": [null]}',
            '{"choices": [{"finish_reason": "stop"}]}',
            '{"choices": [{"message": null}]}',
            '{"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}',
        ],
    )
    def test_what_is_no_chat_completion_is_unreadable(self, text: str) -> None:
        fault = fault_of(text)
        assert fault.kind == "unreadable"
        assert len(str(fault)) < 400

    def test_an_unreadable_body_is_quoted(self) -> None:
        assert "502 Bad Gateway" in str(fault_of("<html>\n502 Bad Gateway\n</html>"))


def test_the_tokens_of_an_unusable_reply_are_known_all_the_same() -> None:
    assert Completion(body(finish_reason="length")).usage == Usage(100, 20)
    assert Completion("<html>").usage is None
