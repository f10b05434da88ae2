import json
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.errors import UnusableText
from blackbox_kd.sdk.reading import ReplyForm
from blackbox_kd.sdk.reply_form import FormConfig, LabelForm, PatternForm, SchemaForm

INVOICE = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "items": {"type": "array"}},
    "required": ["total"],
    "additionalProperties": False,
}
LABELS = ["billing", "Lost card", "n/a"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"total": 3}', '{"total": 3}'),
        ('  {"total": 3}\n', '{"total": 3}'),
        ('```json\n{"total": 3}\n```', '{"total": 3}'),
        ('```\n{"total": 3}\n```\n', '{"total": 3}'),
    ],
)
def test_the_text_of_an_object_is_kept_as_it_was_written(text: str, kept: str) -> None:
    assert SchemaForm(INVOICE, "invoice").read(text) == (kept, {"invoice": {"total": 3}})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the reply is no JSON"),
        ("It is 3.", "the reply is no JSON"),
        ('{"total": 3', "the reply is no JSON"),
        ('{"total": "3"}', "the reply does not fit the schema (total: '3' is not of type 'number')"),
        ("[" * 5000, "the reply is"),
        ("null", 'the reply does not fit the schema (null does not fit type: "object")'),
        ('{"total": NaN}', "the reply is no JSON"),
        ('{"total": 1e999}', "the reply is no JSON"),
        ('{"total": 1, "total": 2}', "the reply is no JSON (it names 'total' twice)"),
        ('{"total": 1, "items": [{"a": 1, "b": 2, "a": 1}]}', "the reply is no JSON (it names 'a' twice)"),
    ],
)
def test_a_reply_that_is_no_such_object_says_why(text: str, why: str) -> None:
    with pytest.raises(UnusableText) as caught:
        SchemaForm(INVOICE).read(text)
    assert caught.value.kind == "schema"
    assert caught.value.what.startswith(why)


@pytest.mark.parametrize(
    ("text", "kept", "mended"),
    [
        ('{"total": 3}', '{"total": 3}', False),
        ('{"total": 3,}', '{"total": 3}', True),
        ("{'total': 3}", '{"total": 3}', True),
        ('Here you are:\n```json\n{"total": 3, "items": ["é"\n```', '{"total": 3, "items": ["é"]}', True),
    ],
)
def test_a_reply_that_is_almost_json_is_mended_and_marked(text: str, kept: str, mended: bool) -> None:
    said, beside = SchemaForm(INVOICE, "invoice", repair=True).read(text)
    assert (said, beside) == (kept, {"repaired": mended, "invoice": json.loads(kept)})


@pytest.mark.parametrize("text", ["I cannot.", '{"sum": 3,}', "", "[1, 2"])
def test_what_is_mended_must_fit_the_schema_too(text: str) -> None:
    with pytest.raises(UnusableText, match=r"does not fit|is no JSON"):
        SchemaForm(INVOICE, repair=True).read(text)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("billing", "billing"),
        (" Billing.\n", "billing"),
        ('"LOST  CARD"', "Lost card"),
        ("**lost card**", "Lost card"),
        ('{"label": "Lost card"}', "Lost card"),
        ('```json\n{"label": "billing"}\n```', "billing"),
        ("N/A", "n/a"),
    ],
)
def test_a_label_is_kept_as_the_recipe_writes_it(text: str, label: str) -> None:
    assert LabelForm(LABELS).read(text) == (label, {})


@pytest.mark.parametrize("text", ["", "billing or lost card", "The label is billing", '{"label": "other"}', "3", "[]"])
def test_what_is_no_label_is_not_guessed_at(text: str) -> None:
    with pytest.raises(UnusableText) as caught:
        LabelForm(LABELS).read(text)
    assert caught.value.kind == "labels"
    assert caught.value.what.endswith("is none of the labels billing, Lost card, n/a")


def test_numbers_that_are_labels_are_read_of_plain_text_and_of_the_object() -> None:
    form = LabelForm(["1", "2"])
    assert [form.read(text)[0] for text in ("1", "2.", '{"label": "2"}')] == ["1", "2", "2"]


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("[A-Z]{3}", "EUR", "EURO"),
        ("[A-Z]{3}", " EUR\n", "eur"),
        ("a|b", "b", "ab"),
        (r"\d+", "12", "12\n13"),
    ],
)
def test_a_pattern_is_of_the_whole_reply(pattern: str, good: str, bad: str) -> None:
    assert PatternForm(pattern).read(good) == (good.strip(), {})
    with pytest.raises(UnusableText) as caught:
        PatternForm(pattern).read(bad)
    assert (caught.value.kind, caught.value.what) == (
        "regex",
        f"the reply {' '.join(bad.split())!r} is not of the form {pattern!r}",
    )


def test_a_request_says_the_form_as_chat_completions_do() -> None:
    loose = SchemaForm(INVOICE).request["response_format"]
    assert loose == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": INVOICE, "strict": False},
    }
    label = LabelForm(LABELS).request["response_format"]["json_schema"]
    assert (label["strict"], label["schema"]["properties"]) == (True, {"label": {"type": "string", "enum": LABELS}})
    assert PatternForm("a+").request == {"structured_outputs": {"regex": "a+"}}


def config(**fields: Any) -> FormConfig:
    return FormConfig.model_validate({"step": "generate", **fields})


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"schema": INVOICE, "labels": ["a", "b"]}, "schema: and labels: each say what a reply is"),
        (
            {"regex": "a", "extra": {"response_format": {}}},
            "regex: and extra.response_format: each say what a reply is",
        ),
        ({"parsed": "x"}, "parsed: means nothing without schema:"),
        ({"labels": ["a", "b"], "repair": True}, "repair: means nothing without schema:"),
        ({"labels": ["a", "A."]}, "labels: has one label twice"),
        ({"regex": "(?<=a)b"}, "is no regular expression of RE2's"),
        ({"schema": {"type": "array"}}, "schema: its type is 'array', and replies are objects"),
        ({"schema": "gone.json"}, "schema: 'gone.json' is none"),
    ],
)
def test_fields_that_do_not_go_together_are_told(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**fields)
    assert what in str(caught.value)


def test_a_step_without_a_form_takes_any_text_and_shows_prompts_nothing_of_one() -> None:
    found = config()
    assert (found.reply_form(), found.form_variables()) == (None, {})


def test_prompts_are_shown_what_there_is_of_a_form() -> None:
    assert config(labels=LABELS).form_variables() == {"labels": LABELS}
    assert json.loads(str(config(schema=INVOICE).form_variables()["schema"])) == INVOICE
    form: ReplyForm | None = config(regex="a+").reply_form()
    assert form is not None
    assert form.read("aa") == ("aa", {})
