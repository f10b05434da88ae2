"""Writes TRL's columns: the messages that the student will see, and what it shall say.

Reads    the prompt's variables, {completion}, {chosen}, {rejected}, {drop_context}, those that tasks name, the reasoning
Writes   prompt, completion, chosen, rejected, task, weight, prompt_teacher, tools
Drops    empty completion, empty completion of task {task.name}, empty chosen or rejected, label is false, context in the student's prompt
Calls    none
Source   TRL, conversational data: the loss is on the completion only; Tian et al. 2024, arXiv:2402.04616 (prefixed tasks); Snell et al. 2022, arXiv:2209.15189 (dropped context)
"""  # noqa: E501

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from blackbox_kd.analysis import leakage
from blackbox_kd.messages import is_conversation, join_plain, put_reasoning_before
from blackbox_kd.sandbox import template
from blackbox_kd.sdk import (
    Column,
    Context,
    Dropped,
    Field,
    FieldError,
    FromEarlier,
    FromFile,
    Message,
    Outcome,
    PromptName,
    Row,
    TextColumn,
    Tools,
    ToolsConfig,
    row_step,
    write_text,
)
from blackbox_kd.tables.formats import says_no


class Task(BaseModel):
    """One of several things that the student learns from the same row."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Name of the task; the row's id ends in it."""
    prompt: PromptName = "student/plain"
    """Template of what the student sees."""
    completion: TextColumn = "response"
    """Column with what the student shall say, or with braces a template of it; rows without it have no such task."""
    prefix: str = ""
    """Text before the last user message, as it is: `"explain: "`. `evaluate` needs a prompt that begins with it."""
    weight: float = Field(default=1.0, gt=0)
    """Factor of the loss of its rows."""
    hint: bool = False
    """Whether the prompt shows the right answer on purpose."""

    @field_validator("name")
    @classmethod
    def _a_word(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise FieldError("the ids of its rows end in a task's name", fix="write letters, digits and '_' only")
        return name


class Config(ToolsConfig):
    """Fields of `format`. One row becomes one training row, or one for each task."""

    prompt: PromptName = "student/plain"
    """Template of what the student sees; give `evaluate` the same one. What the teacher saw besides is left out. With
    `tasks`, it is the first task's."""
    completion: TextColumn | None = None
    """Column with what the student shall say, or with braces a template: `"{{ rationale }}\\nSo: {{ answer }}"`;
    `response` if left out. Where a column holds messages, such as the `trace` of tools that were run, these are said:
    the assistant's turns are learnt, what tools gave back is read."""
    reasoning: Literal["think", "field", "drop"] = "drop"
    """What becomes of the column `reasoning`, which a teacher's reply may have: `think` writes it before the completion
    as `<think>...</think>`, `field` beside it as the message's `reasoning_content`. Either is trained on as the chat
    template of the student writes it."""
    hint: bool = False
    """Whether the prompt shows the right answer on purpose."""
    tasks: list[Task] = Field(default_factory=list)
    """Several tasks, in place of `prompt` and `completion`: `{name: explain, prefix: "explain: ", weight: 0.5}`."""
    preference: bool = False
    """Whether the rows are pairs for `method: dpo`: a better and a worse text in place of a completion."""
    chosen: TextColumn | None = None
    """Column with the better text of a pair, or a template; `better` if left out."""
    rejected: TextColumn | None = None
    """Column with the worse text of a pair, or a template; `worse` if left out."""
    tools: Annotated[Tools | None, FromEarlier(("generate",)), FromFile(suffix=".json")] = None
    """Tools that the student may call; those of the nearest `generate` if left out. They are the column `tools`, as TRL
    takes it, and what a row has in `tool_calls` is called in its completion."""
    drop_context: list[Column] = Field(default_factory=list)
    """Columns that the teacher saw and the student must do without: a row whose prompt holds their text is dropped."""
    teacher_prompt: PromptName | None = None
    """Template of what the teacher saw; it is kept beside the student's, in `prompt_teacher`, to compare them."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        alone = [name for name in ("prompt", "completion", "hint") if name in self.model_fields_set]
        if self.tasks and alone:
            raise FieldError(f"{alone[0]}: is not read beside tasks", fix="give each of the tasks its own")
        if self.preference and (self.tasks or self.completion is not None):
            other = "tasks" if self.tasks else "completion"
            raise FieldError(f"preference: writes pairs, which have no {other}", fix="take one of them out")
        if self.reasoning != "drop" and (self.tasks or self.preference):
            fix = "write it into the text: '<think>{{ reasoning }}</think>{{ response }}'"
            raise FieldError("reasoning: is written beside one completion alone", fix=fix)
        pair = self.model_dump(include={"chosen", "rejected"}, exclude_none=True)
        if pair and not self.preference:
            raise FieldError(f"{next(iter(pair))}: is read for pairs only", fix="add preference: true")
        names = [task.name for task in self.tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise FieldError(f"tasks: two are called {twice[0]!r}", fix="give each a name of its own")
        if self.tasks:
            self.prompt = self.tasks[0].prompt
        elif self.preference:
            self.chosen, self.rejected = self.chosen or "better", self.rejected or "worse"
        else:
            self.completion = self.completion or "response"
        return self

    def list_read(self) -> set[str]:
        """The reasoning, where it is learnt."""
        return set() if self.reasoning == "drop" else {"reasoning"}

    def columns_after(self, columns: set[str]) -> set[str]:
        """All columns but those that training would take in place of what the step writes."""
        return columns - LEARNT

    def unwritten(self) -> set[str]:
        """Of the columns that the step can write, those that it does not write in this form."""
        found = {"chosen", "rejected"} if not self.preference else {"completion"}
        found |= set() if self.tasks else {"task", "weight"}
        found |= set() if self.tools is not None else {"tools"}
        return found if self.teacher_prompt is not None else found | {"prompt_teacher"}

    def said_by_student(self) -> set[str]:
        """The completion, or that of each task; the better text of a pair."""
        told = [each for each in (self.completion, self.chosen, *(task.completion for task in self.tasks)) if each]
        read = (template.list_read(each) if template.is_template(each) else {each} for each in told)
        return self.list_read().union(*read)

    def shown_to_student(self) -> list[tuple[str, str, bool]]:
        """The prompts of all tasks."""
        if self.tasks:
            return [(f"tasks[{number}].prompt", task.prompt, task.hint) for number, task in enumerate(self.tasks)]
        return [("prompt", self.prompt, self.hint)]


LEARNT = {"prompt", "completion", "chosen", "rejected", "messages", "conversations"}
"""Columns that training knows by name: those that the data had are gone when the student's own are written."""
LABELS = {"label": ("completion",), "kto_tag": ("completion", "output")}
"""Columns by which data says whether an answer of its own is a good one, and what that answer is called."""


@row_step(
    reads=["{completion}", "{chosen}", "{rejected}", "{drop_context}"],
    writes=["prompt", "completion", "chosen", "rejected", "task", "weight", "prompt_teacher", "tools"],
    drops=[
        "empty completion",
        "empty completion of task {task.name}",
        "empty chosen or rejected",
        "label is false",
        "context in the student's prompt",
    ],
)
async def run(row: Row, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    if config.teacher_prompt is not None:
        row = row | {"prompt_teacher": ctx.render(config.teacher_prompt, row)}
    if config.tools is not None:
        row = row | {"tools": config.offer(row)}
    for outcome in _format_tasks(row, config, ctx) if config.tasks else [_format_whole(row, config, ctx)]:
        yield outcome


def _put(row: Row, written: Mapping[str, list[Message]]) -> Row:
    """The row with what the step writes, and without what training would take in its place."""
    return Row({name: value for name, value in (row | written).items() if name in written or name not in LEARNT})


def _is_bad(row: Row, text: str | None) -> bool:
    """Whether a completion is an answer of the data, or made of one, that the data itself calls a bad one."""
    said = template.list_read(text) if text and template.is_template(text) else {text}
    return any(says_no(row.get(label)) and not said.isdisjoint(answers) for label, answers in LABELS.items())


def _format_whole(row: Row, config: Config, ctx: Context) -> Outcome:
    prompt = ctx.render(config.prompt, row)
    if _shows_context(prompt, row, config):
        return Dropped(row, "context in the student's prompt")
    if not config.preference:
        if _is_bad(row, config.completion):
            return Dropped(row, "label is false")
        said = _write_reply(row, config.completion, config.reasoning, _find_calls(row, config))
        return _put(row, {"prompt": prompt, "completion": said}) if said else Dropped(row, "empty completion")
    chosen, rejected = _write_reply(row, config.chosen), _write_reply(row, config.rejected)
    if not (chosen and rejected):
        return Dropped(row, "empty chosen or rejected")
    return _put(row, {"prompt": prompt, "chosen": chosen, "rejected": rejected})


def _format_tasks(row: Row, config: Config, ctx: Context) -> list[Outcome]:
    found: list[Outcome] = []
    for task in config.tasks:
        own = row.child(task.name, {"task": task.name, "weight": task.weight})
        said = _write_reply(row, task.completion)
        if not said or _is_bad(row, task.completion):
            found.append(Dropped(own, f"empty completion of task {task.name}" if not said else "label is false"))
            continue
        prompt = _add_prefix(ctx.render(task.prompt, row), task.prefix)
        if _shows_context(prompt, row, config):
            found.append(Dropped(own, "context in the student's prompt"))
        else:
            found.append(_put(own, {"prompt": prompt, "completion": said}))
    return found


def _find_calls(row: Row, config: Config) -> list[dict[str, Any]]:
    """What the assistant calls of the tools that are offered, without what a vendor wants to see again beside it."""
    calls = row.get("tool_calls") if config.tools is not None else None
    return [{name: call[name] for name in ("id", "type", "function")} for call in calls or ()]


def _write_reply(
    row: Row, text: str | None, reasoning: str = "drop", calls: Sequence[dict[str, Any]] = ()
) -> list[Message]:
    """What the assistant says and calls, as TRL wants it; nothing if there is neither."""
    if isinstance(told := row.get(str(text)), list) and is_conversation(told):
        return told
    content = _write_text(row, str(text)).strip()
    thought = write_text(row["reasoning"]).strip() if reasoning != "drop" and row.get("reasoning") else ""
    if not (content or calls):
        return []
    called = {"tool_calls": list(calls)} if calls else {}
    if reasoning == "think":
        return [{"role": "assistant", "content": put_reasoning_before(thought, content), **called}]
    beside = {"reasoning_content": thought} if thought else {}
    return [{"role": "assistant", "content": content, **beside, **called}]


def _write_text(row: Row, text: str) -> str:
    if not template.is_template(text):
        value = row.get(text)
        return "" if value is None else write_text(value)
    found = template.parse(text)
    return found.render(row) if all(row.get(name) is not None for name in found.names) else ""


def _add_prefix(prompt: list[Message], prefix: str) -> list[Message]:
    """The prompt with a text before its last user message."""
    last = max((number for number, message in enumerate(prompt) if message["role"] == "user"), default=-1)
    return [
        {**message, "content": prefix + message["content"]} if number == last else message
        for number, message in enumerate(prompt)
    ]


def _shows_context(prompt: list[Message], row: Row, config: Config) -> bool:
    shown = join_plain(prompt)
    return any(
        leakage.holds(shown, text) for column in config.drop_context for text in leakage.list_texts(row.get(column))
    )
