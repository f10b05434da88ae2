"""Bodies of errors as endpoints send them, with a status of their own or with 200, and what each means for a run."""

import json
from typing import Any

import pytest

from blackbox_kd.errors import CallError, EndpointRefused, QuotaSpent, RequestRejected, ServerFault
from blackbox_kd.models.http.status import UNNAMED, find_fault, make_fault

URL = "http://127.0.0.1/v1/chat/completions"
OVER = {"message": "rate limited upstream", "code": 429}


def fault(body: Any, **headers: str) -> CallError:
    found = find_fault(URL, headers, body if isinstance(body, str) else json.dumps(body))
    assert found is not None
    return found


SPENT: list[tuple[int, Any]] = [
    (400, {"error": {"message": "Budget has been exceeded! Current cost: 10.2", "type": "budget_exceeded"}}),
    (400, {"error": {"message": "ExceededBudget: User over budget", "type": "BudgetExceededError", "code": "400"}}),
    (429, {"error": {"message": "team 7 has exceeded its monthly budget", "code": 429}}),
    (429, {"error": {"message": "Insufficient Balance", "type": "insufficient_balance"}}),
    (403, {"error": {"message": "no", "code": "insufficient_user_quota"}}),
    (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    (400, {"error": {"message": "Your credit balance is too low to access the API", "type": "invalid_request_error"}}),
    (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
    (429, {"error": {"code": "1113", "message": "\u60a8\u7684\u8d26\u6237\u5df2\u6b20\u8d39"}}),
    (429, {"error": {"message": "suspended", "type": "exceeded_current_quota_error"}}),
    (401, {"error": {"message": "You have no credits left"}}),
    (429, {"error": {"message": "Spending limit reached for this key"}}),
]


@pytest.mark.parametrize(("status", "body"), SPENT)
def test_a_spent_budget_of_a_gateway_ends_the_run_whatever_its_status(status: int, body: Any) -> None:
    found = make_fault(URL, status, {}, json.dumps(body))
    assert isinstance(found, QuotaSpent)
    assert "raise its budget at the gateway" in found.fix


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "thinking budget exceeded: 4096", RequestRejected),
        (400, "the token budget is exceeded", RequestRejected),
        (429, "Rate limit reached, quota per minute exceeded", ServerFault),
        (500, "budget has been exceeded", ServerFault),
    ],
)
def test_own_other_budgets_and_quotas_end_no_run(status: int, message: str, error: type[CallError]) -> None:
    assert type(make_fault(URL, status, {}, json.dumps({"error": {"message": message}}))) is error


WAITS: dict[str, Any] = {
    "openrouter": {"error": OVER},
    "list": [{"error": OVER}],
    "code_as_text": {"error": {"message": "slow", "code": "429"}},
    "named": {"error": {"message": "slow", "code": "rate_limit_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}},
    "gemini": [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded"}}],
    "text": {"error": "Rate limit reached for requests"},
    "detail": {"detail": "Too Many Requests"},
    "message_and_code": {"message": "Service tier capacity exceeded", "code": 429},
    "with_empty_choices": {"choices": [], "error": OVER},
    "with_null_choices": {"choices": None, "error": OVER},
    "event": f"data: {json.dumps({'error': OVER})}\n\ndata: [DONE]\n\n",
    "own_event_with_a_name": f"event: error\ndata: {json.dumps({'error': OVER})}\n\n",
    "own_bom": "\ufeff" + json.dumps({"error": OVER}),
    "own_keep_alive": ": keep-alive\n\n: keep-alive\n\n" + json.dumps({"error": OVER}),
    "own_errors": {"errors": [{"code": 429, "message": "slow"}], "success": False},
}


@pytest.mark.parametrize("name", WAITS)
def test_a_rate_limit_is_one_with_status_200_too(name: str) -> None:
    found = fault(WAITS[name])
    assert isinstance(found, ServerFault)
    assert found.kind == "rate_limit"
    assert "200 OK, but what came is an error: 429 Too Many Requests" in str(found)


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        ({"error": {"message": "Insufficient credits. Add more.", "code": 402}}, "quota", QuotaSpent),
        ({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, "quota", QuotaSpent),
        ({"error": {"message": "No", "type": "billing_error"}}, "quota", QuotaSpent),
        ({"error": "insufficient balance"}, "quota", QuotaSpent),
        ({"detail": {"error": {"code": 402}}}, "quota", QuotaSpent),
        ({"error": {"message": "No auth credentials found", "code": 401}}, "endpoint_refused", EndpointRefused),
        ({"error": {"message": "bad key", "code": "invalid_api_key"}}, "endpoint_refused", EndpointRefused),
        ({"message": "Unauthorized"}, "endpoint_refused", EndpointRefused),
        ({"error": "model 'x' not found"}, "endpoint_refused", EndpointRefused),
        ({"detail": "Not Found"}, "endpoint_refused", EndpointRefused),
        ({"error": {"message": "Bad gateway", "code": 502}}, "server_error", ServerFault),
        ({"error": {"message": "Overloaded", "type": "overloaded_error"}}, "server_error", ServerFault),
        ({"error": {"message": "no", "code": 529}}, "server_error", ServerFault),
        ({"error": "Internal server error"}, "server_error", ServerFault),
        (
            {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
            "rejected",
            RequestRejected,
        ),
        ({"detail": [{"loc": ["body", "n"], "msg": "bad"}], "code": 422}, "rejected", RequestRejected),
        ({"error": {"message": "no", "code": "content_filter"}}, "refused", RequestRejected),
        ({"error": {"code": 403, "metadata": {"reasons": ["x"], "flagged_input": "y"}}}, "refused", RequestRejected),
        ({"error": "own: it did not work"}, UNNAMED, ServerFault),
        ({"error": {"code": 1302}}, UNNAMED, ServerFault),
        ({"error": True}, UNNAMED, ServerFault),
    ],
)
def test_any_error_is_read_as_the_status_that_it_names(body: Any, kind: str, error: type[CallError]) -> None:
    found = fault(body)
    assert (found.kind, type(found)) == (kind, error)


@pytest.mark.parametrize("field", ["finish_reason", "native_finish_reason"])
def test_an_account_that_was_limited_ends_the_run(field: str) -> None:
    choice = {"message": {"content": ""}, "finish_reason": "content_filter", field: "PUP_LIMITED_DISABLED"}
    assert isinstance(fault({"choices": [choice]}), QuotaSpent)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"choices": [{"message": {"content": "7"}, "finish_reason": "stop"}], "error": None}),
        json.dumps({"choices": [{"message": {"content": '{"error": {"code": 402}}'}}]}),
        json.dumps({"choices": [{"message": {"content": "7"}, "error": {"code": 502}}]}),
        json.dumps({"choices": []}),
        json.dumps({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}),
        json.dumps({"choices": [{"message": {"content": "Gemini's PUP_LIMITED_DISABLED"}, "finish_reason": "stop"}]}),
        json.dumps({"message": {"role": "assistant", "content": "7"}, "done": True}),
        'data: {"choices": [{"delta": {"content": "7"}}]}\n\ndata: [DONE]\n\n',
        "<html>502 Bad Gateway</html>",
        "[" * 100_000,
        "",
    ],
)
def test_a_reply_and_what_is_neither_are_no_error(body: str) -> None:
    assert find_fault(URL, {}, body) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no", "code": 429, "metadata": {"raw": "of the provider"}}}, "no: of the provider"),
        ({"detail": [{"loc": ["body", "n"], "msg": "not allowed"}]}, "body.n: not allowed"),
        ([{"error": {"message": "a\n  b"}}], "a b"),
        ({"error": {"odd": "form"}}, '{"odd": "form"}'),
        ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
    ],
)
def test_the_message_is_told_without_brackets(body: Any, said: str) -> None:
    assert make_fault(URL, 400, {}, json.dumps(body)).what == f"{URL}: 400 Bad Request: {said}"


def test_a_long_message_is_cut() -> None:
    assert len(str(make_fault(URL, 400, {}, json.dumps({"error": "too long " * 1000})))) < 500


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}


@pytest.mark.parametrize(
    ("error", "headers", "seconds"),
    [
        ({"code": 429, "message": "Quota", "details": [{"@type": "x"}, RETRY_INFO]}, {}, 3.5),
        ({"code": 429, "message": "Quota", "details": [RETRY_INFO]}, {"retry-after": "9"}, 9),
        ({"code": 429, "message": "Please retry in 3.2s."}, {}, 3.2),
        ({"code": 429, "message": "Please try again in 6m0s."}, {}, 360),
        ({"code": 429, "message": "own: try again in 250ms"}, {}, 0.25),
        ({"code": 429, "message": "try again in a while"}, {}, None),
        ({"code": 429, "message": "Quota", "details": [{"retryDelay": "1" * 400 + "s"}]}, {}, 366 * 86400),
    ],
)
def test_when_to_come_back_stands_in_the_header_or_in_the_body(
    error: dict[str, Any], headers: dict[str, str], seconds: float | None
) -> None:
    body = json.dumps([{"error": error}])
    for found in (make_fault(URL, 429, headers, body), find_fault(URL, headers, body)):
        assert found is not None
        assert found.retry_after_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("Mon, 01 Jan 2030 00:00:00 +99999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 366 * 86400),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
        ("1e308", 366 * 86400),
        ("-5", 0),
        ("nan", None),
        ("own: soon", None),
    ],
)
def test_a_pause_that_no_clock_can_hold_overflows_nothing(text: str, most: float | None) -> None:
    assert make_fault(URL, 429, {"retry-after": text}, "").retry_after_s == most


def test_azures_filter_withholds_and_is_not_a_wrong_request() -> None:
    error = {"message": "filtered", "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
    found = make_fault(URL, 400, {}, json.dumps({"error": error}))
    assert (type(found), found.kind) == (RequestRejected, "refused")


@pytest.mark.parametrize("code", ["budget_exceeded", "credit_balance_exhausted", "enforced_spend_limit_reached"])
def test_an_empty_account_ends_the_run_whatever_the_status(code: str) -> None:
    for status in (400, 403, 429):
        body = {"error": {"message": "no", "type": "x", "details": {"error_code": code}}}
        assert isinstance(make_fault(URL, status, {}, json.dumps(body)), QuotaSpent)


@pytest.mark.parametrize(
    "message",
    [
        "Error code: 400 - {'error': {'message': 'top_k is too large', 'param': None}}",
        'litellm.BadRequestError: {"error": {"message": "top_k is too large", "type": null}}',
        "own_nested {'detail': [{'loc': ['body'], 'msg': 'top_k is too large'}]}",
    ],
)
def test_an_object_in_a_message_is_told_in_words(message: str) -> None:
    found = make_fault(URL, 400, {}, json.dumps({"error": {"message": message}}))
    assert "top_k is too large" in found.what
    assert not set("{}[]") & set(found.what)


@pytest.mark.parametrize(
    "message", ["own_set {'a'} is bad", "own_no_end {'a':", "own_code {'a': f()}", "own_" + "{" * 500 + "}"]
)
def test_other_brackets_in_a_message_stay(message: str) -> None:
    assert make_fault(URL, 400, {}, json.dumps({"error": {"message": message}})).said == message


@pytest.mark.parametrize(
    ("status", "error", "fix"),
    [
        (400, {"message": "does not support 0.7", "param": "temperature"}, "leave temperature: out of the step"),
        (
            400,
            {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "param": "max_tokens"},
            "write max_tokens_field: max_completion_tokens at the model",
        ),
        (400, {"message": "max_tokens is above 4096", "param": "max_tokens"}, "leave max_tokens: out of the step, or"),
        (400, {"message": "maximum context length is 2048 tokens"}, "show less in the prompt"),
        (400, {"message": "The input is too long."}, "show less in the prompt"),
        (400, {"message": "top_k is too large", "param": "top_k"}, "mend top_k in extra: of the step"),
        (413, {"message": "no"}, "show less in the prompt"),
        (400, {"message": "Developer instruction is not enabled"}, "write system: fold at the model; or fold the"),
        (400, {"message": "Unknown parameter: 'reasoning_effort'."}, "mend reasoning_effort in extra: of the step"),
        (400, {"message": "no", "param": "seed"}, "leave sampling_seed: out of the step"),
        (400, {"message": "bad image", "param": "messages[0].content"}, "mend the prompt of the step"),
        (400, {"message": "no such thing", "param": "model"}, "check `model`"),
        (403, {"message": "Forbidden"}, "see whether the key may use this model"),
        (400, {"message": "No."}, ""),
    ],
)
def test_a_rejection_names_the_field_and_what_mends_it(status: int, error: dict[str, Any], fix: str) -> None:
    found = make_fault(URL, status, {}, json.dumps({"error": error}))
    assert isinstance(found, RequestRejected)
    assert found.fix.startswith(fix)
    assert bool(found.fix) == bool(fix)


def test_own_a_field_that_fastapi_names_is_one_of_the_recipe() -> None:
    body = {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Input should be a valid string"}]}
    assert make_fault(URL, 422, {}, json.dumps(body)).fix == "mend the prompt of the step"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid model: mistral-tiny", "type": "invalid_model", "code": "1500"},
        {"error": {"message": "some/thing is not a valid model ID", "code": 400}},
        {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}},
    ],
)
def test_a_model_that_is_not_there_ends_the_run_whatever_the_status(error: dict[str, Any]) -> None:
    for status in (400, 404):
        found = make_fault(URL, status, {}, json.dumps(error))
        assert (type(found), found.fix) == (EndpointRefused, "check `model` and `base_url`")


def test_a_request_that_no_provider_of_a_gateway_takes_is_no_wrong_model() -> None:
    said = "No endpoints found that can handle the requested parameters. To learn more about provider routing, visit: x"
    found = make_fault(URL, 404, {}, json.dumps({"error": {"message": said, "code": 404}}))
    assert isinstance(found, RequestRejected)
    assert found.field == "any"
    assert "require_parameters: false" in found.fix


def google(status: int, message: str, name: str = "INVALID_ARGUMENT", **detail: Any) -> CallError:
    details = [{"@type": "type.googleapis.com/google.rpc.Any", **detail}] if detail else []
    error = {"code": status, "message": message, "status": name, "details": details}
    return make_fault(URL, status, {}, json.dumps({"error": error}))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Invalid JSON payload received. Unknown name \"seed\" at 'generation_config': Cannot find field.", "seed"),
        ("Invalid JSON payload received. Unknown name \"stopSequences\" at 'generation_config'", "stop"),
        ("Invalid JSON payload received. Unknown name \"thinkingConfig\" at 'generation_config'", "reasoning_effort"),
        ("temperature is not supported for this model.", "temperature"),
        ("`topP` is deprecated for models/gemini-3.9", "top_p"),
        ("Thinking level MINIMAL is not supported for this model. Please retry.", "reasoning_effort"),
        ("Thinking is not enabled for models/gemini-2.0-flash", "reasoning_effort"),
        ("Budget 0 is invalid. This model only works in thinking mode.", "reasoning_effort"),
        ("JSON mode is not enabled for models/gemma-3-27b-it", "response_format"),
        ("Function calling is not enabled for models/gemma-3-27b-it", "tools"),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", "system"),
        ("own: Penalty is not enabled for models/gemini-2.5-flash", ""),
        ("Request contains an invalid argument.", ""),
        ("User location is not supported for the API use.", ""),
        ("own: The file is not supported.", ""),
    ],
)
def test_googles_words_name_the_field_as_chat_completions_call_it(message: str, field: str) -> None:
    assert google(400, message).field == field
    assert make_fault(URL, 500, {}, json.dumps({"error": {"message": message}})).field == ""


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("generation_config.top_p", "leave top_p: out of the step, or give it a value that is allowed"),
        ("generationConfig.stopSequences", "leave stop: out of the step, or give it a value that is allowed"),
        ("safety_settings", "mend safety_settings in extra: of the step, or in extra_body: of the model"),
        ("generation_config", ""),
        (3, ""),
    ],
)
def test_a_field_that_google_says_is_wrong_is_in_the_fix(field: Any, fix: str) -> None:
    assert google(400, "Invalid value.", fieldViolations=[{"field": field}]).fix == fix


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "API_KEY_INVALID", EndpointRefused),
        (403, "API_KEY_SERVICE_BLOCKED", EndpointRefused),
        (403, "SERVICE_DISABLED", EndpointRefused),
        (403, "own_OTHER", RequestRejected),
        (503, "API_KEY_INVALID", ServerFault),
    ],
)
def test_a_wrong_key_of_google_is_told_by_its_reason(status: int, reason: str, error: type[CallError]) -> None:
    found = google(status, "no", "PERMISSION_DENIED", reason=reason)
    assert type(found) is error
    assert ("key_env" in found.fix) == (error is EndpointRefused)


NOWHERE: list[tuple[int, Any]] = [
    (
        400,
        {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "User location is not supported for x."}},
    ),
    (403, {"error": {"code": "unsupported_country_region_territory", "message": "not supported", "param": None}}),
    (403, {"error": {"type": "forbidden", "message": "Country, region, or territory not supported"}}),
]


@pytest.mark.parametrize(("status", "body"), NOWHERE)
def test_a_place_from_which_nobody_may_ask_ends_the_run(status: int, body: Any) -> None:
    for found in (make_fault(URL, status, {}, json.dumps(body)), fault(body)):
        assert isinstance(found, EndpointRefused)
        assert "does not serve this place" in found.fix


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (400, {"error": {"message": "This model does not support the effort parameter."}}, "reasoning_effort"),
        (400, {"error": {"message": "`output_config.effort` is not supported for this model"}}, "reasoning_effort"),
        (400, {"error": {"message": "adaptive thinking is not supported on this model"}}, "reasoning_effort"),
        (400, {"error": {"message": "thinking: `budget_tokens` is not supported here"}}, "thinking_token_budget"),
        (400, {"error": {"message": "`stop_sequences` is deprecated for this model."}}, "stop"),
        (422, {"detail": [{"loc": ["body", "random_seed"], "msg": "no", "type": "extra_forbidden"}]}, "seed"),
        (400, {"error": {"message": "x does not support parameter 'top_p'"}}, "top_p"),
        (400, {"error": {"message": "The service does not support the request"}}, ""),
    ],
)
def test_a_field_that_is_not_taken_has_the_name_that_chat_completions_have_for_it(
    status: int, body: Any, field: str
) -> None:
    found = make_fault(URL, status, {}, json.dumps(body))
    assert isinstance(found, RequestRejected)
    assert found.field == field


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("the request exceeds the available context size. try increasing the context size", "show less in the prompt"),
        ("Function tools with reasoning_effort are not supported. Please use /v1/responses instead.", "api: responses"),
        ("This model does not support assistant message prefill.", "end the prompt of the step with a turn of user"),
    ],
)
def test_own_what_a_vendor_says_of_a_request_is_mended_in_the_recipe(message: str, fix: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": "reasoning_effort" * ("tools" in message)}
    assert fix in str(make_fault(URL, 400, {}, json.dumps({"error": error})).fix)
