"""Chat templates that would train something else than is meant: each is refused with the row and with what to do."""

from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.training import preflight
from blackbox_kd.training.seen import Refused
from tests.support.tiny import TEMPLATE, byte_tokenizer
from tests.training.test_masks import CALL, WEATHER, say

WRITTEN = "{{ message['content'] }}"
LAST = "<|im_end|>\n{% endfor %}"
MEND = "chat_template: FILE.jinja at the model"


def make_tokenizer(*changes: tuple[str, str]) -> Any:
    """A tokenizer of bytes whose template is ChatML with something else in it."""
    tokenizer = byte_tokenizer(512)
    for old, new in changes:
        assert old in tokenizer.chat_template
        tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    return tokenizer


def ask(*more: Any, answer: str = "Seven.", **row: Any) -> dict[str, Any]:
    return {"prompt": [*more, say("user", "3 + 4?")], "completion": [say("assistant", answer)], **row}


def look(tokenizer: Any, row: dict[str, Any], **how: Any) -> str:
    """What of a row is learnt."""
    [text] = preflight.check_template(tokenizer, [row], ["completion"], **how).texts["completion"]
    return str(tokenizer.decode([label for label in text.labels if label >= 0]))


CALLS = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}{% for message in messages %}<|im_start|>"
    "{{ message['role'] }}\n{% if message['content'] %}{{ message['content'] }}"
    "{% else %}{{ message['tool_calls'] | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSED = {
    "it cuts reasoning off": (
        [(WRITTEN, "{{ message['content'].split('</think>')[-1] }}")],
        ask(answer="<think>Count on from four.</think>Seven."),
        "leaves out of the answer what it says: 'Count on from four.', so the student would not learn it",
        MEND,
    ),
    "it has one line of many": (
        [(WRITTEN, "{{ message['content'].split() | join(' ') }}")],
        ask(answer="def f():\n    return 7"),
        r"leaves out of the answer what it says: 'def f():\n    return 7'",
        MEND,
    ),
    "it writes on behind the end of turn": (
        [(LAST, "<|im_end|>\n{% if message['role'] == 'assistant' %}[end of reply]{% endif %}{% endfor %}")],
        ask(),
        "no end of turn at the end of the completion, so the student would never stop",
        "use a chat template that closes the assistant's turn (chat_template: FILE.jinja at the model), or name",
    ),
    "it does not close the turn": (
        [(LAST, "\n{% endfor %}")],
        ask(),
        "no end of turn at the end of the completion",
        "eos_token_id in the model's generation_config.json",
    ),
    "it raises": (
        [(WRITTEN, "{{ raise_exception('No system, please') if message['role'] == 'system' }}" + WRITTEN)],
        ask(say("system", "Be brief.")),
        "the chat template cannot write these messages, it says no: No system, please",
        "fold the system text into the user's turn",
    ),
    "it raises something of its own": (
        [(WRITTEN, "{{ message['content'] + messages[0]['mood'] }}")],
        ask(),
        "the chat template cannot write these messages, it says no: ",
        "mend the template, or write chat_template: plain",
    ),
    "it drops a system text": (
        [("{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}")],
        ask(say("system", "Be brief.")),
        "the chat template leaves the system text out: 'Be brief.', so the student would not read it, in training or",
        "fold the system text into the user's turn",
    ),
    "it has no tools": (
        [],
        ask(tools=[WEATHER]),
        "the chat template of the model takes no tools",
        "take a model that was made for tools, or write chat_template: tools beside its name",
    ),
    "it drops a call beside words": (
        [(TEMPLATE, CALLS)],
        ask(tools=[WEATHER]) | {"completion": [say("assistant", "I look it up.", tool_calls=[CALL])]},
        "leaves out of the answer what it says: 'weather'",
        MEND,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_template_that_would_teach_something_else_is_refused_with_what_to_do(case: str) -> None:
    changes, row, reason, fix = REFUSED[case]
    with pytest.raises(DataError) as caught:
        look(make_tokenizer(*changes), row | {"id": "a7"})
    assert caught.value.what.startswith("row 0 (completion), id 'a7': ")
    assert reason in caught.value.what
    assert fix in caught.value.fix


def test_an_end_of_turn_that_only_the_generation_config_knows_is_one() -> None:
    tokenizer = make_tokenizer((LAST, "#\n{% endfor %}"))
    assert look(tokenizer, ask(), ends=[tokenizer.convert_tokens_to_ids("#")]) == "Seven.#\n"
    with pytest.raises(DataError) as caught:
        look(tokenizer, ask())
    assert caught.value.exists == r"it ends in 'Seven.#\n', and ends of turn are '<|im_end|>'"


@pytest.mark.parametrize("answer", ["  Seven. ", "\n\nOne.\n\n  Two.\n"])
def test_white_space_around_an_answer_is_the_templates_own_affair(answer: str) -> None:
    tokenizer = make_tokenizer((WRITTEN, "{{ message['content'] | trim }}"))
    assert look(tokenizer, ask(answer=answer)) == f"{answer.strip()}<|im_end|>\n"


def test_a_call_alone_is_learnt_by_the_template_that_would_drop_it_beside_words() -> None:
    row = ask(tools=[WEATHER]) | {"completion": [say("assistant", "", tool_calls=[CALL])]}
    assert '"name": "weather"' in look(make_tokenizer((TEMPLATE, CALLS)), row)


def test_a_system_text_that_a_template_puts_elsewhere_is_there() -> None:
    folded = "{% for message in messages %}{% if message['role'] != 'system' %}"
    begun = "\n{% if loop.index == 2 %}{{ messages[0]['content'] }}: {% endif %}{{ message['content'] }}"
    changes = [
        ("{% for message in messages %}", folded),
        ("\n{{ message['content'] }}", begun),
        ("{% endfor %}", "{% endif %}{% endfor %}"),
    ]
    assert look(make_tokenizer(*changes), ask(say("system", "Be brief."))) == "Seven.<|im_end|>\n"


def test_rows_that_are_refused_are_gathered_where_somebody_wants_them_all() -> None:
    tokenizer = make_tokenizer((WRITTEN, "{{ message['content'].split('</think>')[-1] }}"))
    thought = ask(answer="<think>Hm.</think>Seven.", id="a")
    refused: list[Refused] = []
    found = preflight.check_template(
        tokenizer, [thought, ask(), thought | {"id": "b"}], ["completion"], refused=refused
    )
    assert [(each.number, each.where) for each in refused] == [
        (0, "row 0 (completion), id 'a'"),
        (2, "row 2 (completion), id 'b'"),
    ]
    assert len(found.tokens) == len(found.texts["completion"]) == found.ends.total() == 1
