"""Asks one or several models with a prompt; each reply is a row of its own.

Reads    the prompt's variables, the expression's columns, {begin}
Writes   {into}, {parsed}, model, sample, finish_reason, usage, cost_usd, reasoning, repaired, tool_calls, top_logprobs, trace
Drops    nothing
Calls    len(models) * samples per row; samples, where one model is drawn; with turns, as many for each item
Source   Kim and Rush 2016, arXiv:1606.07947 (the teacher's text is the target)
"""  # noqa: E501

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from blackbox_kd.sdk import (
    Ask,
    Asking,
    CallError,
    Column,
    Computed,
    Context,
    Examples,
    Expression,
    Failed,
    Field,
    FieldError,
    FormConfig,
    ModelName,
    NewColumn,
    Outcome,
    PromptName,
    Reading,
    Row,
    RunsToolsConfig,
    ShownBeside,
    WrittenConfig,
    add_up,
    ask_in_turn,
    choose_examples,
    find_context,
    find_named_twice,
    find_read,
    row_step,
)

_OF_A_REPLY = {"model", "sample", "finish_reason", "usage", "cost_usd"}
_LINEAGE = {"parent", "seed_id"}
_OF_A_TURN = ("turn", "earlier")
GUESSED_TURNS = 4
"""Items of a list that are not there yet, for the estimate."""


class Config(FormConfig, RunsToolsConfig, WrittenConfig):
    """Fields of `generate`. A reply that is cut off is not used, unless the step says so."""

    model: ModelName | None = None
    """Model that is asked."""
    models: list[ModelName] = Field(default_factory=list)
    """Several models that are all asked, in place of `model`; see `choose`."""
    choose: Literal["all", "one"] = "all"
    """`one`: a row is asked of one of `models`, drawn by the run's seed; all its samples are of that one."""
    prompt: PromptName
    """Template of the messages."""
    into: NewColumn = Field(default="response", alias="as")
    """Column that the reply is written to."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Replies per row and model."""
    rows: int | None = Field(default=None, ge=1, le=10_000_000)
    """So many rows are drawn from the input, with replacement, and asked about; all rows once if left out."""
    examples: Examples | None = None
    """Worked examples for a few-shot prompt."""
    context: ShownBeside | None = None
    """A small table, or the report of an evaluation, for the prompt's variable `context`; or several of them, each
    under a name: `{wrong: {table: wrong}, report: {evaluation: dev, model: student}}` are `context.wrong` and so on."""
    turns: Expression | None = None
    """A list whose items are asked one after the other: the prompt's `turn` is the item, and `earlier` a list of what
    was asked before it and replied, each `{question, answer}`. The column of the reply holds the list of replies."""
    after: str | None = Field(default=None, min_length=1)
    """Mark after whose last occurrence the text begins that is kept (`Rationale:`); a reply without it is not used."""
    retry_until: Expression | None = None
    """What must hold over the row with the reply in it; a reply for which it does not is asked for anew."""
    tries: int = Field(default=3, ge=1, le=100)
    """The most replies that are asked for until one can be used; then the row fails."""
    accept_truncated: bool = False
    """Whether a reply that reached `max_tokens` is taken as it is: in an exam it is an answer, if a wrong one."""
    hint: bool = False
    """Whether a model that the recipe trains may be shown the right answer; others may always."""
    keep: list[Column] | None = None
    """The reply begins a row of its own: of the columns before only these remain, beside `parent` and `seed_id`."""

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> Self:
        if (self.model is None) == (not self.models):
            raise FieldError(fix="give either model: NAME or models: [NAMES]")
        if self.choose == "one" and len(self.models) < 2:
            raise FieldError("choose: one draws from several models", fix="give models: [NAMES]")
        if self.form is not None and self.after is not None:
            what = "after: cuts off what stands before a mark, and a reply of a form is read as a whole"
            raise FieldError(what, fix="take after: out, or schema:, labels: and regex:")
        read = self.model_dump(include={"after", "retry_until", "begin", "top_logprobs"}, exclude_none=True)
        given = [*read, *([self.form.field] if self.form is not None else [])]
        if self.run_tools is not None and given:
            fix = "read the answer by check:, or ask for it in a step of its own"
            raise FieldError(f"run_tools: brings several replies, and {given[0]}: is of one", fix=fix)
        alone = {"tools": self.tools, "begin": self.begin, "top_logprobs": self.top_logprobs}
        if self.turns is not None and (given := [name for name, value in alone.items() if value is not None]):
            what = f"turns: asks item after item, and {given[0]}: is of one reply"
            raise FieldError(what, fix=f"take one of turns: and {given[0]}: out")
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Replies that would all be the same, and columns that would be hidden."""
        found = find_named_twice(self.models) + self.find_unrun()
        varies = self.examples is not None and self.examples.choose == "random"
        if self.temperature == 0 and not varies:
            if self.samples > 1:
                what = f"samples: {self.samples} at temperature: 0 would be {self.samples} times the same reply."
                found.append(("samples", what, "raise the temperature, or samples: 1"))
            if self.rows is not None:
                what = f"rows: {self.rows} draws rows more than once, and at temperature: 0 they bring the same reply."
                found.append(("rows", what, "raise the temperature, take rows: out, or examples: {choose: random}"))
        if self.temperature == 0 and self.retry_until is not None:
            what = "retry_until asks again, and at temperature: 0 the next reply is the same one."
            found.append(("retry_until", what, "raise the temperature, or drop the rows by a filter"))
        for index, name in enumerate(self.keep or ()):
            if name in self.expression_columns() | _OF_A_REPLY | _LINEAGE:
                what = f"keep: column {name!r} is written by the step itself, which would hide the one that is kept."
                found.append((f"keep[{index}]", what, f"take {name} out of keep:, or write the reply with as: NAME"))
        return found

    def prompt_variables(self) -> set[str]:
        """`examples` and `context`, empty where the step gives none, so that one prompt serves with and without; and
        what there is to show of the form and of turns.
        """
        return {"examples", "context", *self.form_variables(), *self.variables_made_of()}

    def variables_made_of(self) -> dict[str, set[str]]:
        """What is asked in turn is made of the list's columns."""
        return dict.fromkeys(_OF_A_TURN, find_read(Computed(expr=self.turns))) if self.turns is not None else {}

    def lists(self) -> set[str]:
        """What is asked item by item."""
        return {"turns"}

    def columns_for(self, field: str) -> set[str]:
        """Nothing that a reply brings, for the list that is asked about."""
        return set() if field == "turns" else super().columns_for(field)

    def expression_columns(self) -> set[str]:
        """Columns that `retry_until` sees besides those of the row."""
        of_form = {self.parsed} if self.parsed is not None else set()
        of_tools = {"tool_calls"} if self.tools is not None else set()
        told = {"repaired"} if self.repair else set()
        return {self.into, "model", "sample", *of_form, *of_tools, *told, *self.variables_made_of()}

    def columns_after(self, columns: set[str]) -> set[str]:
        """All columns, or those that `keep` names."""
        return columns if self.keep is None else {"id", *self.keep, *_LINEAGE}

    def begins_rows(self) -> bool:
        """Where `keep` leaves nothing of the row, no question that the right answer is of."""
        return self.keep == []

    def unwritten(self) -> set[str]:
        """A reply that is called `reasoning` stands where the model's own would."""
        written = {
            "top_logprobs": self.top_logprobs is not None,
            "repaired": self.repair,
            "tool_calls": self.tools is not None,
            "trace": self.run_tools is not None,
            "reasoning": self.into != "reasoning",
        }
        return {name for name, is_written in written.items() if not is_written}

    def texts(self) -> set[str]:
        """What the models reply."""
        return {self.into}

    def keeps_held_out(self) -> bool:
        """What it writes of held-out rows is held out: evidence that is asked for, replies that `evaluate` measures."""
        return self.rows is None

    def shown_to_asked(self) -> list[tuple[str, str, bool]]:
        """The prompt."""
        return [("prompt", self.prompt, self.hint)]

    def rows_to_draw(self) -> int | None:
        """See `rows`."""
        return self.rows

    def calls_by_model(self) -> Mapping[str, float]:
        """A reply of each model that is asked, and as often as `samples`; on average, where one is drawn."""
        each = GUESSED_TURNS if self.turns is not None else self.guessed_replies
        factor = each / (len(self.models) if self.choose == "one" else 1)
        return {name: count * factor for name, count in Counter(self.names() * self.samples).items()}

    def rows_per_row(self) -> float:
        """One for each reply, or for each list of them."""
        return self.samples if self.choose == "one" else len(self.names()) * self.samples

    def names(self) -> list[str]:
        """The models that are asked."""
        return self.models or [str(self.model)]


@row_step(
    reads=["{begin}"],
    writes=[
        *("{into}", "{parsed}", "model", "sample", "finish_reason", "usage", "cost_usd", "reasoning", "repaired"),
        *("tool_calls", "top_logprobs", "trace"),
    ],
)
async def run(row: Row, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    names = config.names() if config.choose == "all" else [ctx.rng("choose", row.id).choice(config.models)]
    calls = [(model, sample) for model in names for sample in range(config.samples)]
    if len(calls) == 1:
        yield await _ask(row, *calls[0], config, ctx)
        return
    tasks = [asyncio.ensure_future(_ask(row, *call, config, ctx)) for call in calls]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    except Exception:  # it ends the run, but the other replies are paid for, or will be
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        for task in tasks:
            task.cancel()


async def _ask(row: Row, model: str, sample: int, config: Config, ctx: Context) -> Outcome:
    tag = f"{model}.{sample}" if config.models else str(sample)
    asked = {"model": model, "sample": sample}
    values = {"examples": [], "context": "", **config.form_variables(), **row}
    if config.examples is not None:
        values["examples"] = choose_examples(config.examples, row, sample, ctx)
    if config.context is not None:
        values["context"] = find_context(config.context, row, sample, ctx)
    sampling, begun = config.sampling_for(row)

    def make(shown: Mapping[str, Any]) -> Ask[dict[str, Any]]:
        messages, form, tools = ctx.render(config.prompt, {**values, **shown}), config.form, config.offer(row)
        read = Reading(config.into, row | asked | shown, after=config.after, until=config.retry_until, form=form)
        return Ask(
            [*messages, *begun],
            sampling,
            row,
            sample,
            read=read,
            accept_truncated=config.accept_truncated,
            tries=config.tries,
            form=form.request if form else {},
            tools=tools,
        )

    try:
        if config.turns:
            found = await _ask_all(row, config, lambda shown: ctx.ask(model, make(shown)))
        else:
            found = await _ask_once(config, make({}), model, ctx)
    except CallError as error:
        return Failed(row.child(tag, asked), error.kind, str(error), fix=error.fix)
    found = {"tool_calls": []} | found if config.tools is not None else found
    return _begin(row, config).child(tag, asked | found)


async def _ask_once(config: Config, ask: Ask[dict[str, Any]], model: str, ctx: Context) -> dict[str, Any]:
    """The columns of the reply; of the last one, where the calls of those before it are run."""
    replies, said = await config.converse(model, ask, ctx)
    kept = replies[-1].value
    told = {"trace": said} if said else config.list_told(replies[-1], str(kept[config.into]), model, ctx)
    return add_up(replies) | kept | told


async def _ask_all(row: Row, config: Config, ask: Asking) -> dict[str, Any]:
    """The columns of a list of replies; of no item there is none."""
    replies = await ask_in_turn(str(config.turns), row, config.into, ask)
    lists = [name for name in (config.into, config.parsed) if name is not None]
    return {
        **add_up(replies),
        **{name: [reply.value[name] for reply in replies] for name in lists},
        **({"repaired": any(reply.value["repaired"] for reply in replies)} if config.repair else {}),
    }


def _begin(row: Row, config: Config) -> Row:
    """The row that the reply is added to: the parent, or what is kept of it."""
    if config.keep is None:
        return row
    parent = row.drawn_from or row.id
    kept = {name: row[name] for name in config.keep if name in row}
    return Row({**kept, "id": row.id, "parent": parent, "seed_id": row.get("seed_id", parent)})
