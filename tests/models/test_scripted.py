"""The scripted model: what it says, and that it says the same in every order of calls."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.calls.completion import parse
from blackbox_kd.errors import ReplyFault, RequestRejected, SetupError
from blackbox_kd.models import Model, Setup, scripted
from blackbox_kd.schema import Reply, Request, Row, Sampling


def open_scripted(folder: Path | None = None, *, allow_code: bool = False, **fields: Any) -> Model:
    config = scripted.Config.model_validate({"provider": "scripted", **fields})
    return scripted.open_model(config, Setup("teacher", folder or Path(), Path(), {}, allow_code))


def asked(row: Row | None = None, text: str = "What is 2 + 2?", **fields: Any) -> Request:
    sampling = Sampling(max_tokens=fields.pop("max_tokens", None))
    messages = [{"role": "system", "content": "You count."}, {"role": "user", "content": text}]
    return Request(messages, sampling, row or Row(id="r1", reference="4"), **fields)


def reply(model: Model, request: Request | None = None) -> Reply:
    request = request or asked()
    body, _ = asyncio.run(model.send(model.wire(request), request))
    return parse(body, None)


class TestReplies:
    def test_without_a_script_the_reply_states_the_reference(self) -> None:
        assert reply(open_scripted()).text.endswith("The answer is 4.")

    def test_without_a_reference_it_says_something_all_the_same(self) -> None:
        assert reply(open_scripted(), asked(Row(id="r1"))).text.endswith("That is the answer.")

    def test_a_reply_is_a_template_over_the_row(self) -> None:
        model = open_scripted(replies=["{{ reference }} by {{ author }}, sample {{ sample }}"])
        assert reply(model, asked(Row(id="r", reference=4, author="Ada"), sample=2)).text == "4 by Ada, sample 2"

    def test_a_mapping_answers_by_a_piece_of_the_last_user_message(self) -> None:
        model = open_scripted(replies={"2 + 2": "four", "3": "three", "": "what?"})
        assert [reply(model, asked(text=text)).text for text in ("2 + 2?", "3?", "?")] == ["four", "three", "what?"]

    def test_a_message_that_the_mapping_does_not_know_gets_the_default(self) -> None:
        assert reply(open_scripted(replies={"3": "three"})).text.endswith("The answer is 4.")

    def test_samples_and_attempts_go_through_a_list_in_turn(self) -> None:
        model = open_scripted(replies=["a", "b", "c"])
        samples = [reply(model, asked(sample=sample)).text for sample in range(3)]
        attempts = [reply(model, asked(attempt=attempt)).text for attempt in range(3)]
        assert sorted(samples) == ["a", "b", "c"]
        assert attempts == samples

    def test_rows_meet_a_list_at_different_places_whatever_the_order_of_calls(self) -> None:
        model, rows = open_scripted(replies=["a", "b", "c"]), [Row(id=str(number)) for number in range(30)]
        forwards = {row.id: reply(model, asked(row)).text for row in rows}
        backwards = {row.id: reply(model, asked(row)).text for row in reversed(rows)}
        assert forwards == backwards
        assert set(forwards.values()) == {"a", "b", "c"}

    def test_an_entry_may_say_what_stands_beside_the_text(self) -> None:
        entry = {"text": "x", "finish_reason": "stop", "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
        said = reply(open_scripted(replies=[entry]))
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (7, 9)
        with pytest.raises(ReplyFault, match="content filter"):
            reply(open_scripted(replies=[{"text": "x", "finish_reason": "content_filter"}]))

    def test_tokens_are_words_and_max_tokens_cuts_the_reply_off(self) -> None:
        model, request = open_scripted(replies=["one two three"]), asked(max_tokens=2)
        body = json.loads(asyncio.run(model.send(model.wire(request), request))[0])
        assert body["choices"][0]["message"]["content"] == "one two"
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}

    def test_the_reply_names_the_model(self) -> None:
        assert reply(open_scripted(model="gpt-in-the-box")).model == "gpt-in-the-box"


class TestWire:
    def test_another_script_or_row_is_another_request(self) -> None:
        template = ["{{ reference }}"]
        wires = [
            open_scripted(replies=template).wire(asked()),
            open_scripted(replies=["It is {{ reference }}"]).wire(asked()),
            open_scripted(replies=template).wire(asked(Row(id="r1", reference="5"))),
            open_scripted(replies=template).wire(asked(max_tokens=3)),
            open_scripted(replies=template, model="other").wire(asked()),
        ]
        assert len({json.dumps(wire, sort_keys=True) for wire in wires}) == len(wires)
        assert open_scripted(replies=template).wire(asked()) == wires[0]

    def test_columns_that_the_script_does_not_use_change_nothing(self) -> None:
        model = open_scripted(replies=["{{ reference }}"])
        row = Row(id="r1", reference="4")
        assert model.wire(asked(row)) == model.wire(asked(row | {"score": 3}))


class TestMistakes:
    def test_a_column_that_the_row_has_not_is_named(self) -> None:
        with pytest.raises(RequestRejected, match="'rationale' is undefined"):
            reply(open_scripted(replies=["{{ rationale }}"]))

    def test_a_template_cannot_reach_out_of_its_row(self) -> None:
        with pytest.raises(RequestRejected, match="unsafe"):
            reply(open_scripted(replies=["{{ reference.__class__.__mro__ }}"]))

    def test_a_template_that_cannot_be_compiled_is_shown(self) -> None:
        with pytest.raises(SetupError, match=r"\{\{ reference"):
            open_scripted(replies=["{{ reference"])

    def test_replies_and_a_function_are_one_script_too_many(self) -> None:
        with pytest.raises(ValidationError, match="only one of them"):
            open_scripted(replies=["a"], function="my.py:reply")


class TestFunctions:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        code = """
def reply(messages, row, sample):
    return f"{messages[-1]['content']} {row['reference']} {sample} {{{{ not a template }}}}"

async def slow(messages, row, sample):
    return {"text": "half", "finish_reason": "content_filter"}
"""
        (tmp_path / "my.py").write_text(code)
        (tmp_path / "broken.py").write_text("import no_such_package")
        return tmp_path

    def test_a_function_is_called_with_messages_row_and_sample(self, folder: Path) -> None:
        model = open_scripted(folder, allow_code=True, function="my.py:reply")
        assert reply(model, asked(sample=1)).text == "What is 2 + 2? 4 1 {{ not a template }}"

    def test_a_function_may_be_asynchronous_and_return_an_entry(self, folder: Path) -> None:
        with pytest.raises(ReplyFault, match="content filter"):
            reply(open_scripted(folder, allow_code=True, function="my.py:slow"))

    def test_code_runs_only_when_that_is_allowed(self, folder: Path) -> None:
        with pytest.raises(SetupError, match="--allow-code"):
            open_scripted(folder, function="my.py:reply")

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            ("my.py", "does not name a function"),
            ("other.py:reply", "does not exist"),
            ("my.py:absent", "has no function 'absent'"),
            ("broken.py:reply", "no_such_package"),
        ],
    )
    def test_a_function_that_is_not_there_is_named(self, folder: Path, function: str, message: str) -> None:
        with pytest.raises(SetupError, match=message):
            open_scripted(folder, allow_code=True, function=function)

    def test_other_code_is_another_model(self, folder: Path) -> None:
        config = scripted.Config(provider="scripted", function="my.py:reply")
        setup = Setup("teacher", folder, Path(), {}, allow_code=True)
        before, wire = config.identity(setup), scripted.open_model(config, setup).wire(asked())
        (folder / "my.py").write_text("def reply(messages, row, sample):\n    return 'another'\n")
        assert config.identity(setup) != before
        assert scripted.open_model(config, setup).wire(asked()) != wire
