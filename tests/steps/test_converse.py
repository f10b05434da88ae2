import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import UnusableText, UserError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Failed, Message, Row
from blackbox_kd.steps import converse
from tests.support.fakes import FakeContext, rows
from tests.support.runs import execute, rows_of, write_rows
from tests.support.steps import config_of, messages_of

ROW = rows({"goal": "a refund"})[0]
TWO = {"model": "customer", "prompt": "ask", "with": "agent", "with_prompt": "serve"}


class Speaking(FakeContext):
    def render(self, prompt: str, row: Mapping[str, Any]) -> list[Message]:
        return [{"role": "system", "content": f"{prompt}: {row['goal']}"}, *row["messages"]]


def speak(model: str, messages: list[Message], sample: int) -> str:
    """Who speaks, and how many turns it has seen."""
    return f"{model} {len(messages) - 1}"


async def talk(ctx: FakeContext, **fields: Any) -> list[Any]:
    return [found async for found in converse.run(ROW, config_of("converse", TWO | fields), ctx)]


async def test_two_models_speak_in_turn_and_who_begins_is_the_user() -> None:
    [row] = await talk(Speaking(speak), turns=2)
    assert [tuple(message.values()) for message in row["messages"]] == [
        ("user", "customer 0"),
        ("assistant", "agent 1"),
        ("user", "customer 2"),
        ("assistant", "agent 3"),
    ]
    assert (row["model"], row["sample"], row["goal"]) == ("agent", 0, "a refund")
    assert row["usage"]["completion_tokens"] == 4 * 2, "of all its replies"
    assert row["cost_usd"] == pytest.approx(0.04)


async def test_each_sees_its_own_turns_as_the_assistants_and_its_own_prompt() -> None:
    ctx = Speaking(speak)
    await talk(ctx, turns=2)
    roles = [
        (model, messages[0]["content"], [each["role"] for each in messages[1:]]) for model, messages, *_ in ctx.asked
    ]
    assert roles == [
        ("customer", "ask: a refund", []),
        ("agent", "serve: a refund", ["user"]),
        ("customer", "ask: a refund", ["assistant", "user"]),
        ("agent", "serve: a refund", ["user", "assistant", "user"]),
    ]


async def test_a_conversation_ends_where_the_latest_turn_says_so_and_a_farewell_without_an_answer_is_left_out() -> None:
    [row] = await talk(Speaking(speak), until="said == 'customer 4'")
    assert [message["content"] for message in row["messages"]] == ["customer 0", "agent 1", "customer 2", "agent 3"]
    [row] = await talk(Speaking(speak), until="said == 'agent 3'")
    assert row["messages"][-1]["content"] == "agent 3", "what the other one says stays"


async def test_a_conversation_that_ends_before_it_begins_is_a_failed_row_and_so_is_one_without_a_reply() -> None:
    [failed] = await talk(Speaking(speak), until="said == 'customer 0'")
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.error) == ("empty", "'customer' ended the conversation at once")

    def refuse(model: str, messages: list[Message], sample: int) -> str:
        if len(messages) == 3:
            raise UnusableText("it says nothing", kind="empty")
        return "Hello."

    [failed] = await talk(Speaking(refuse))
    assert isinstance(failed, Failed)
    assert "it says nothing" in failed.error


async def test_several_conversations_of_a_row_are_rows_of_their_own() -> None:
    found = await talk(Speaking(speak), samples=3, turns=1)
    assert [row["sample"] for row in found] == [0, 1, 2]
    assert len({row.id for row in found}) == 3
    assert all(isinstance(row, Row) for row in found)


def test_conversations_at_temperature_0_are_not_had_twice() -> None:
    [told] = messages_of("converse", TWO | {"temperature": 0, "samples": 2})
    assert (
        told
        == "samples: 2 at temperature: 0 would be 2 times the same conversation.; raise the temperature, or samples: 1"
    )


def write_recipe(folder: Path, agent: str, **step: Any) -> dict[str, Any]:
    write_rows(
        folder / "train.jsonl", [{"goal": "a refund", "reference": "yes"}, {"goal": "a lamp", "reference": "no"}]
    )
    begin = "{% system %}You want {{ goal }}.{% endsystem %}{% user %}Begin.{% enduser %}"
    (folder / "ask.jinja").write_text(begin + "{% if messages %}{% conversation messages %}{% endif %}")
    (folder / "serve.jinja").write_text(agent + "{% conversation messages %}")
    replies = ["{{ goal }}, please."], ["You shall have {{ goal }}."]
    models = {
        name: {"provider": "scripted", "replies": each}
        for name, each in zip(("customer", "agent"), replies, strict=True)
    }
    steps = [{"step": "converse", **TWO, "turns": 2, **step}, {"step": "map", "each": "turns(messages)", "as": "turn"}]
    return {"name": "talk", "data": {"train": {"path": "train.jsonl"}}, "models": models, "steps": steps}


def test_conversations_of_a_run_are_parted_into_turns_and_cost_no_call_twice(tmp_path: Path) -> None:
    values = write_recipe(tmp_path, "{% system %}Serve.{% endsystem %}")
    execute(tmp_path, values)
    found = rows_of(next((tmp_path / "run/tables").glob("02_*.jsonl")))
    assert len(found) == 2 * 2
    assert found[0]["messages"][1]["content"] == "You shall have a refund."
    again = execute(tmp_path, values, run_dir="again")
    assert sum(entry["calls"] for entry in again.report["models"]) == 0


def test_a_prompt_must_find_its_columns_and_a_student_sees_no_right_answer(tmp_path: Path) -> None:
    values = write_recipe(tmp_path, "{{ reference }}{{ nobody }}")
    values["models"]["agent"] = {"provider": "transformers", "model": "nowhere"}
    values["steps"].append({"step": "format", "prompt": "student/chat"})
    values["steps"].append({"step": "train", "model": "agent"})
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    with pytest.raises(UserError) as error:
        load_recipe(tmp_path / "recipe.yaml", env={})
    assert "prompt 'serve' uses 'nobody', which no earlier step writes" in str(error.value)
    assert "prompt 'serve' shows the student 'reference', which holds the right answer" in str(error.value)
