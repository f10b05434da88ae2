from typing import Any

import pytest
from pydantic import ValidationError

from blackbox_kd.schema import Dropped, Message, Row
from blackbox_kd.steps import format as format_step
from tests.support.fakes import FakeContext, rows

TASKS = [
    {"name": "predict", "completion": "reference", "prefix": "predict: "},
    {"name": "explain", "completion": "rationale", "prefix": "explain: ", "weight": 0.5},
]


def config(**fields: Any) -> format_step.Config:
    return format_step.Config.model_validate({"step": "format", **fields})


async def formatted(row: Row, ctx: FakeContext | None = None, **fields: Any) -> list[Any]:
    return [outcome async for outcome in format_step.run(row, config(**fields), ctx or FakeContext())]


def said(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


class Chat(FakeContext):
    """Prompts of three messages, which show the row's instruction and its passage."""

    def render(self, prompt: str, row: Any) -> list[Message]:
        passage = row["passage"] if prompt == "with passage" else ""
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"{passage} {row['instruction']}".strip()},
            {"role": "assistant", "content": "Hm."},
        ]


async def test_the_student_sees_its_own_prompt_and_the_column_is_what_it_shall_say() -> None:
    [row] = rows({"instruction": "2 + 2?", "reference": "4", "rationale": " It is 4. "})
    [found] = await formatted(row, prompt="student/plain", completion="rationale")
    assert found == row | {
        "prompt": [{"role": "user", "content": "student/plain | 2 + 2?"}],
        "completion": said("It is 4."),
    }


@pytest.mark.parametrize("response", ["  \n", None])
async def test_an_empty_completion_is_dropped_with_a_reason(response: str | None) -> None:
    [row] = rows({"instruction": "x", "response": response})
    assert await formatted(row) == [Dropped(row, "empty completion")]


async def test_a_completion_with_braces_is_a_template_and_without_a_column() -> None:
    [row] = rows({"instruction": "2 + 2?", "rationale": "Two and two.", "answer": 4, "parts": {"sum": [2, 2]}})
    [found] = await formatted(row, completion="{{ rationale }}\nSo: {{ answer }} of {{ parts }} ")
    assert found["completion"] == said('Two and two.\nSo: 4 of {"sum": [2, 2]}')
    [found] = await formatted(row, completion="answer")
    assert found["completion"] == said("4")
    pair = {"chosen": "It is {{ answer }}.", "rejected": "{{ rationale | upper }}"}
    [found] = await formatted(row, preference=True, **pair)
    assert (found["chosen"], found["rejected"]) == (said("It is 4."), said("TWO AND TWO."))
    first, second = await formatted(row, tasks=[{"name": "a", "completion": "<{{ answer }}>"}, {"name": "b"}])
    assert first["completion"] == said("<4>")
    assert second.reason == "empty completion of task b"


@pytest.mark.parametrize("lacking", [{"answer": None}, {}])
async def test_a_row_without_what_the_template_needs_has_no_completion(lacking: dict[str, Any]) -> None:
    [row] = rows({"instruction": "x", "rationale": "y", **lacking})
    assert await formatted(row, completion="{{ rationale }} {{ answer }}") == [Dropped(row, "empty completion")]
    [found] = await formatted(row, completion="{{ rationale }}{{ note | default('!') }}")
    assert found["completion"] == said("y!")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("think", said("<think>\nTwo and\ntwo.\n</think>\n\n4")[0]),
        ("field", {**said("4")[0], "reasoning_content": "Two and\ntwo."}),
        ("drop", said("4")[0]),
    ],
)
async def test_the_reasoning_of_a_reply_is_written_as_the_recipe_says(how: str, message: Message) -> None:
    thought, short = rows(
        {"instruction": "2 + 2?", "response": "4", "reasoning": " Two and\ntwo.\n"},
        {"instruction": "2 + 2?", "response": "4", "reasoning": ""},
    )
    assert [row["completion"] for row in await formatted(thought, reasoning=how)] == [[message]]
    assert [row["completion"] for row in await formatted(short, reasoning=how)] == [said("4")]
    [found] = await formatted(short | {"reasoning": None, "response": "<think>a</think>b"}, reasoning=how)
    assert found["completion"] == said("<think>a</think>b")


@pytest.mark.parametrize("label", [False, "false", "False "])
@pytest.mark.parametrize("text", ["completion", "So: {{ completion }}"])
async def test_an_answer_that_the_data_calls_a_bad_one_is_not_learnt(label: Any, text: str) -> None:
    [row] = rows({"instruction": "x", "completion": "y", "response": "z", "label": label})
    assert await formatted(row, completion=text) == [Dropped(row, "label is false")]
    [other] = await formatted(row)
    assert other["completion"] == said("z")


# Several tasks.


async def test_a_row_becomes_one_training_row_for_each_task_with_its_prefix_and_weight() -> None:
    [row] = rows({"instruction": "2 + 2?", "reference": 4, "rationale": "Two and two."})
    first, second = await formatted(row, tasks=TASKS)
    assert (first.id, first["task"], first["weight"]) == ("r0.predict", "predict", 1.0)
    assert (second.id, second["task"], second["weight"]) == ("r0.explain", "explain", 0.5)
    assert first["prompt"][-1]["content"] == "predict: student/plain | 2 + 2?"
    assert second["prompt"][-1]["content"] == "explain: student/plain | 2 + 2?"
    assert (first["completion"], second["completion"]) == (said("4"), said("Two and two."))


async def test_a_prefix_stands_before_the_last_user_message_and_nowhere_else() -> None:
    [row] = rows({"instruction": "why?", "rationale": "explain: so"})
    [found] = await formatted(row, Chat(), tasks=[{"name": "a", "completion": "rationale", "prefix": "explain: "}])
    assert [message["content"] for message in found["prompt"]] == ["Be brief.", "explain: why?", "Hm."]
    assert found["completion"] == said("explain: so")


@pytest.mark.parametrize("missing", [{}, {"rationale": None}, {"rationale": " "}])
async def test_a_task_without_its_text_is_dropped_by_its_name_and_the_others_stay(missing: dict[str, Any]) -> None:
    [row] = rows({"instruction": "x", "reference": "4", **missing})
    first, second = await formatted(row, tasks=TASKS)
    assert (first.id, second.reason, second.row.id) == ("r0.predict", "empty completion of task explain", "r0.explain")


def test_the_student_sees_the_prompts_of_all_tasks_and_a_task_says_if_one_is_meant_to_show_the_answer() -> None:
    tasks = [{"name": "feedback", "prompt": "feedback/student", "hint": True}, {"name": "rationale"}]
    assert config(tasks=tasks).shown_to_student() == [
        ("tasks[0].prompt", "feedback/student", True),
        ("tasks[1].prompt", "student/plain", False),
    ]
    assert config(prompt="p").shown_to_student() == [("prompt", "p", False)]
    assert config(prompt="p", hint=True).shown_to_student() == [("prompt", "p", True)]


# A dropped context.


async def test_a_row_whose_prompt_still_holds_the_dropped_context_is_dropped() -> None:
    [row] = rows({"instruction": "Who won?", "passage": "The  red team won\nthe cup.", "response": "The red team."})
    [kept] = await formatted(row, Chat(), prompt="bare", drop_context=["passage"], teacher_prompt="with passage")
    assert kept["prompt"][1]["content"] == "Who won?"
    assert kept["prompt_teacher"][1]["content"] == "The  red team won\nthe cup. Who won?"
    assert kept["completion"] == said("The red team.")
    [leaked] = await formatted(row, Chat(), prompt="with passage", drop_context=["passage"])
    assert leaked == Dropped(row, "context in the student's prompt")
    [in_the_question] = rows({"instruction": "Is it so that the red team won the cup. Why?", "passage": row["passage"]})
    [task] = await formatted(
        in_the_question | {"response": "x"}, Chat(), drop_context=["passage"], tasks=[{"name": "answer"}]
    )
    assert (task.reason, task.row.id) == ("context in the student's prompt", "r0.answer")


async def test_each_text_of_a_list_is_context_and_an_empty_one_is_none() -> None:
    [row] = rows({"instruction": "Say rule two", "response": "x", "rules": ["rule one", "rule two"], "notes": ""})
    [found] = await formatted(row, drop_context=["rules"])
    assert found.reason == "context in the student's prompt"
    assert isinstance((await formatted(row, drop_context=["notes"]))[0], Row)


# Pairs.


async def test_pairs_are_written_as_trl_reads_them() -> None:
    [row] = rows({"instruction": "why?", "better": "Because.", "worse": " No. "})
    [found] = await formatted(row, preference=True)
    assert (found["chosen"], found["rejected"]) == (said("Because."), said("No."))
    assert found["prompt"][-1]["role"] == "user"
    assert "completion" not in found
    [found] = await formatted(row | {"mine": "x"}, preference=True, chosen="mine", rejected="better")
    assert (found["chosen"], found["rejected"]) == (said("x"), said("Because."))


async def test_a_pair_with_an_empty_side_is_dropped() -> None:
    [row] = rows({"instruction": "why?", "better": "Because.", "worse": ""})
    assert await formatted(row, preference=True) == [Dropped(row, "empty chosen or rejected")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": TASKS, "completion": "x"}, "completion: is not read beside tasks"),
        ({"tasks": TASKS, "prompt": "x"}, "prompt: is not read beside tasks"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "tasks: two are called 'predict'"),
        ({"preference": True, "completion": "x"}, "preference: writes pairs, which have no completion"),
        ({"preference": True, "tasks": TASKS}, "preference: writes pairs, which have no tasks"),
        ({"chosen": "x"}, r"chosen: is read for pairs only\n  fix: add preference: true"),
        ({"tasks": [{"name": "a.b"}]}, "name"),
        ({"tasks": TASKS, "reasoning": "think"}, "reasoning: is written beside one completion alone"),
        ({"preference": True, "reasoning": "field"}, "reasoning: is written beside one completion alone"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**fields)
