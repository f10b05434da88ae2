"""Values that a chat template is given become its defaults, and can be taken out of it again."""

from typing import Any

import pytest

from blackbox_kd.weights.template_values import set_values, split_values
from tests.support.tiny import byte_tokenizer

SAID = [{"role": "user", "content": "Hi"}]
TEMPLATE = (
    "\n{% macro mode() %}[{{ mode_of }}]{% endmacro %}{% for message in messages %}{{ mode() }}"
    "{{ '/think' if enable_thinking is not defined or enable_thinking else '/no_think' }}{% endfor %}"
)


def write(template: str, **values: Any) -> str:
    tokenizer = byte_tokenizer(64)
    tokenizer.chat_template = template
    return str(tokenizer.apply_chat_template(SAID, tokenize=False, **values))


@pytest.mark.parametrize(
    "values",
    [
        {"enable_thinking": False, "mode_of": "a"},
        {"enable_thinking": True, "mode_of": 'it\'s "so" {% %} é\n'},
        {"mode_of": {"a": [1, 2.5, None, True]}},
    ],
    ids=["a switch", "signs of templates", "a mapping"],
)
def test_a_template_with_values_writes_what_it_writes_when_it_is_given_them(values: dict[str, Any]) -> None:
    with_values = set_values(TEMPLATE, values)
    assert write(with_values) == write(TEMPLATE, **values)
    assert split_values(with_values) == (with_values.removesuffix(TEMPLATE), TEMPLATE)


def test_who_gives_a_value_is_heard() -> None:
    assert write(set_values(TEMPLATE, {"enable_thinking": False}), enable_thinking=True) == "\n[]/think"


def test_a_later_value_takes_the_place_of_an_earlier_one_and_others_stay() -> None:
    first = set_values(TEMPLATE, {"enable_thinking": False, "mode_of": "a"})
    assert write(set_values(first, {"enable_thinking": True})) == "\n[a]/think"
    assert set_values(first, {"enable_thinking": False, "mode_of": "a"}) == first


def test_a_template_without_values_is_as_it_was() -> None:
    assert set_values(TEMPLATE, {}) == TEMPLATE
    assert split_values(TEMPLATE) == ("", TEMPLATE)
