"""Personal data in texts: what is found, what only looks like it, and where in a value it stands."""

import random
from typing import Any

import pytest

from blackbox_kd.analysis.personal_data import KINDS, Redactor


def redact(value: Any, *kinds: str, **told: Any) -> Any:
    return Redactor({**dict.fromkeys(kinds or KINDS), **told}).redact(value)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("Mail alice.o'neil+x@mail.example.co.uk.", "Mail [email]."),
        ("<bob@example.com>, jürgen@bücher.de", "<[email]>, [email]"),
        ("+49 30 1234567 and +1-202-456-1111. +33 6 12 34 56 78", "[phone] and [phone]. [phone]"),
        ("(415) 555-2671, 020 7946 0958, 030/1234567", "[phone], [phone], [phone]"),
        ("0049 171 1234567", "[phone]"),
        ("card 4111 1111 1111 1111, 5500-0000-0000-0004, 378282246310005", "card [card], [card], [card]"),
        ("DE89 3704 0044 0532 0130 00 BIC COBADEFF", "[iban] BIC COBADEFF"),
        ("pay GB29NWBK60161331926819 or nl91abna0417164300", "pay [iban] or [iban]"),
        ("from 192.168.0.1, 2001:db8::1 and ::1", "from [ip], [ip] and [ip]"),
        ("SSN 123-45-6789", "SSN [ssn]"),
        ("sk-proj-abcdefghij0123456789 ghp_0123456789abcdefghijABCDEFGHIJ012345", "[key] [key]"),
    ],
)
def test_personal_data_is_replaced_by_its_kind(text: str, becomes: str) -> None:
    assert redact(text) == becomes


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112",  # the check digit is wrong
        "invoice 9999999999999995",  # right by Luhn, and of no scheme
        "1234567890123456, 4155552671, 20240512",
        "DE89 3704 0044 0532 0130 01",  # the check digits are wrong
        "XX12ABCDEFGHIJKLMNOP",
        "2024-05-12 10:30:45, 12.05.2024 1030, at 10:30:45.123",
        "1,234,567.89 and 1.234.567,89 EUR",
        "std::vector<int>, version 1.2.3, 999.1.1.1, 10:30",
        "ISBN 978-3-16-148410-0",
        "bob@localhost, @mention, a @ b.de",
        "risk-free, sky-high and ask-me-anything",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact(text) == text


def test_numbers_at_random_are_hardly_ever_taken_for_cards_or_accounts() -> None:
    drawn = random.Random(0)
    numbers = [str(drawn.randrange(10**15, 10**16)) for _ in range(5000)]
    taken = sum(redact(number, "card") != number for number in numbers)
    assert taken < 250, "one in ten has the right check digit, and a third of those begin as cards do"
    letters = [f"DE{drawn.randrange(10**19, 10**20)}" for _ in range(2000)]
    assert sum(redact(text, "iban") != text for text in letters) < 40


def test_it_is_found_in_messages_calls_keys_numbers_and_json_inside_of_texts() -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "I am a@b.de"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "function": {"name": "mail", "arguments": '{"to": "x\\na@b.de", "n": [1]}'}}
                ],
            },
        ],
        "paid": {"a@b.de": [4111111111111111, 20240512, 0.5, True, None]},
        "plain": "[not JSON, a@b.de",
    }
    redactor = Redactor(dict.fromkeys(("email", "card")))
    found = redactor.redact(row)
    assert found["messages"][0]["content"][0]["text"] == "I am [email]"
    assert found["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"to": "x\\n[email]", "n": [1]}'
    assert found["paid"] == {"[email]": ["[card]", 20240512, 0.5, True, None]}
    assert found["plain"] == "[not JSON, [email]"
    assert redactor.counts == {"email": 4, "card": 1}


def test_json_without_personal_data_stays_byte_by_byte() -> None:
    assert redact('{"b":1,  "a" : "caf\\u00e9"}') == '{"b":1,  "a" : "caf\\u00e9"}'


def test_countries_and_patterns_of_ones_own_are_taken() -> None:
    assert redact("0 171 1234567 or 01 5121234567", phone=["AT"]).count("[phone]") >= 1
    assert redact("030/1234567", phone=["US"]) == "030/1234567"
    assert redact("order ORD-123 of A-7", "email", order="ORD-[0-9]+", unit="A-[0-9]") == "order [order] of [unit]"


def test_numbers_that_no_one_is_given_are_no_social_security_numbers() -> None:
    assert redact("123-456-789, 000-12-3456, 900-12-3456", "ssn") == "123-456-789, 000-12-3456, 900-12-3456"


def test_only_what_is_named_is_replaced() -> None:
    assert redact("a@b.de, 192.168.0.1", "ip") == "a@b.de, [ip]"
