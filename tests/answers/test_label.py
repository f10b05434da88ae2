"""A label of a set, read out of free replies."""

from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd import answers
from blackbox_kd.errors import DataError

LABELS = ["billing", "refund", "refund request", "technical_issue", "Account Access", "other"]
KIND = answers.kind({"label": {"labels": LABELS}})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("refund", "refund"),
        ("Refund", "refund"),
        ("  REFUND.\n", "refund"),
        ('"refund"', "refund"),
        ("'refund'", "refund"),
        ("`refund`", "refund"),
        ("“refund”", "refund"),
        ("**refund**", "refund"),
        ("(refund)", "refund"),
        ("\\boxed{refund}", "refund"),
        ("<answer>refund</answer>", "refund"),
        ("#### refund", "refund"),
        ("Label: refund", "refund"),
        ("label = refund", "refund"),
        ("**Label:** refund", "refund"),
        ("Label: **refund**", "refund"),
        ("- **Category**: Refund", "refund"),
        ("Category -> refund", "refund"),
        ("Classification:\nrefund", "refund"),
        ("The label is refund.", "refund"),
        ("The label is: 'refund'.", "refund"),
        ("The answer is refund.", "refund"),
        ("This ticket should be classified as refund.", "refund"),
        ("I would label this as refund request.", "refund request"),
        ("It falls under billing.", "billing"),
        ("Final answer: refund", "refund"),
        ('{"label": "refund"}', "refund"),
        ('```json\n{"label": "Refund"}\n```', "refund"),
        ('{"category": "billing", "confidence": 0.9}', "billing"),
        ('{"reason": "asks for a refund", "label": "billing"}', "billing"),
        ('{"labels": ["billing"]}', "billing"),
        ('["billing"]', "billing"),
        ("<think>It may be a refund or billing.</think>billing", "billing"),
    ],
)
def test_a_label_is_read_in_whatever_dress_it_comes(text: str, read: str) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("refund request", "refund request"),
        ("This is a refund request.", "refund request"),
        ("Refund_Request", "refund request"),
        ("refund-request", "refund request"),
        ("technical issue", "technical_issue"),
        ("Technical Issue", "technical_issue"),
        ("account access", "Account Access"),
        ("account_access", "Account Access"),
        ("Label: refund request", "refund request"),
        ("It is not a refund request, it is a refund.", "refund"),
        ("refunds", "refund"),
        ("nonrefundable", None),
        ("non-refund", None),
        ("They are refund requests.", "refund request"),
    ],
)
def test_the_longest_label_that_fits_is_meant_and_no_part_of_a_word(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("The customer asks about billing.", "billing"),
        ("billing or refund", None),
        ("refund / billing", None),
        ("It could be billing; refund is possible, too.", None),
        ("The label is refund or billing.", None),
        ("Labels: refund, billing", None),
        ("The customer was charged twice and wants a refund. Label: billing", "billing"),
        ("They want a refund, but the answer is billing.", "billing"),
        ("Label: billing\n\nThe customer mentions a refund, which follows from it.", "billing"),
        ("They speak of a refund and of billing. So this is billing.", "billing"),
        ("It mentions a refund. The right one here is **billing**.", "billing"),
        ("**refund** and **billing**", None),
        ("The customer talks about a refund.\n\nbilling", "billing"),
        ("billing\n\nThe customer talks about a refund.", "billing"),
        ("- refund\n- billing\n- other", None),
        ("Label: refund. Wait, actually, the label is billing.", "billing"),
        ("The label is refund. No, scratch that: billing.", "billing"),
        ("Category: shipping. The customer speaks of billing.", None),
        ("Label: billing, because the refund has not arrived", "billing"),
        ("Label: billing - it came with the refund", "billing"),
        ("Label: billing (possibly refund)", None),
        ("Primary: billing. Secondary: refund.", None),
        ('{"label": "shipping"}', None),
        ("I do not know.", None),
        ("", None),
        ("It might be billing.", None),
        ("Perhaps billing, perhaps not.", None),
    ],
)
def test_of_two_labels_the_one_is_read_that_is_stated(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("not refund", None),
        ("This is not a refund.", None),
        ("It isn't billing.", None),
        ("This is not a refund but billing.", "billing"),
        ("billing, not refund", "billing"),
        ("billing rather than refund", "billing"),
        ("Neither refund nor billing fits, so technical issue.", "technical_issue"),
        ("It is not billing or refund: other.", "other"),
        ("Refund is wrong here. Billing.", "billing"),
        ("Refund does not apply; this is billing.", "billing"),
        ("The label is not refund.", None),
        ("The answer is not refund but billing.", "billing"),
        ("Das ist kein refund, sondern billing.", "billing"),
        ("No es refund sino billing.", "billing"),
        ("No, billing.", "billing"),
    ],
)
def test_a_label_that_is_ruled_out_is_not_chosen(text: str, read: str | None) -> None:
    assert KIND.read(text, {}) == read


@pytest.mark.parametrize(
    ("labels", "text", "read"),
    [
        (["spam", "not spam"], "not spam", "not spam"),
        (["spam", "not spam"], "This is not spam.", "not spam"),
        (["spam", "not spam"], "This is spam.", "spam"),
        (["0", "1"], "1", "1"),
        (["0", "1"], "Label: 1", "1"),
        (["0", "1"], "There is 1 customer.", None),
        ([0, 1, 2], "The label is 2.", "2"),
        (["C", "C++"], "C++", "C++"),
        (["C", "C++"], "Language type: C++", "C++"),
        (["退款", "账单"], "这是退款。", "退款"),
        (["退款", "账单"], "不是退款，而是账单。", "账单"),
        (["退款", "账单"], "类别：账单", "账单"),
        (["Beschwerde", "Rückfrage"], "Kategorie: Rückfrage", "Rückfrage"),
        (["жалоба", "вопрос"], "Категория: Жалоба", "жалоба"),
        (["+", "-"], "-", "-"),
        (["positive", "negative"], "The sentiment is positive.", "positive"),
        (["positive", "negative"], "sentiment: Negative 😡", "negative"),
    ],
)
def test_labels_of_any_sort_are_read(labels: list[Any], text: str, read: str | None) -> None:
    assert answers.kind({"label": {"labels": labels}}).read(text, {}) == read


def test_the_reference_is_one_of_the_labels_in_whatever_writing() -> None:
    named = {"label": {"labels": LABELS}}
    assert answers.judge(named, "Label: technical issue", "Technical Issue", {}) == ("technical_issue", True)
    assert answers.judge(named, "billing", "refund", {}) == ("billing", False)
    assert answers.judge(named, "no idea", "refund", {}) == (None, False)
    assert answers.canonical(named, "account_access", {}) == "Account Access"
    assert KIND.classes() == LABELS


@pytest.mark.parametrize("reference", ["shipping", "", None])
@pytest.mark.parametrize("text", ["shipping", "billing", "The answer is shipping."])
def test_a_reference_that_is_none_of_the_labels_is_the_rows_fault(reference: str | None, text: str) -> None:
    with pytest.raises(DataError, match="is none of the labels") as caught:
        answers.judge({"label": {"labels": LABELS}}, text, reference, {})
    assert caught.value.exists == f"labels: {', '.join(LABELS)}"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a b", "a_b"], "'a b' and 'a_b' are one"),
        (["US", "us"], "'US' and 'us' are one"),
        ([True, False], "true is no text"),
        (["only"], "at least 2"),
    ],
)
def test_labels_that_nobody_could_tell_apart_are_refused(labels: list[Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        answers.kind({"label": {"labels": labels}})


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece", ["refund ", "not a refund ", "Label: ", "**", "{", "label is refund. wait, ", "ref-und_", "- refund\n"]
)
def test_a_text_of_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    KIND.read((piece * 1_000_000)[:1_000_000], {})
