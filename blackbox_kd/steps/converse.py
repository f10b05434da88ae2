"""Lets two models talk with each other; the conversation is a row of its own.

Reads    the prompt's variables and those of with_prompt, the expression's columns
Writes   {into}, model, sample, usage, cost_usd
Drops    nothing
Calls    2 * turns * samples per row at most, half of them of each model
Source   Li et al. 2023, arXiv:2303.17760 (CAMEL: two models in conversation, each with a prompt of its own)
"""

from collections import Counter
from collections.abc import AsyncIterator

from blackbox_kd.schema import Usage
from blackbox_kd.sdk import (
    Ask,
    CallError,
    Context,
    Expression,
    Failed,
    Field,
    Message,
    ModelName,
    NewColumn,
    Outcome,
    PromptName,
    Row,
    SamplingConfig,
    expressions,
    row_step,
)


class Config(SamplingConfig):
    """Fields of `converse`. In the conversation that comes out, who begins is `user`, and who answers `assistant`."""

    model: ModelName
    """Model that begins: a customer, say."""
    prompt: PromptName
    """Template of what it is shown. The variable `messages` is the conversation so far as it sees it, its own turns
    `assistant`, which `{% conversation messages %}` hands through; at first it is empty."""
    other: ModelName = Field(alias="with")
    """Model that answers."""
    other_prompt: PromptName = Field(alias="with_prompt")
    """Template of what that one is shown, with the same variable; its own turns are `assistant`, too."""
    turns: int = Field(default=4, ge=1, le=100)
    """The most turns of each."""
    until: Expression | None = None
    """What ends the conversation before that, over the row with `said` in it, the latest turn: `'[done]' in said`. A
    turn of the model that begins for which it holds is left out."""
    into: NewColumn = Field(default="messages", alias="as")
    """Column for the conversation, a list of messages."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Conversations per row."""
    accept_truncated: bool = False
    """Whether a turn that reached `max_tokens` is said as it is; else its conversation fails."""

    def problems(self) -> list[tuple[str, str, str]]:
        """Conversations that would all be the same."""
        if self.temperature == 0 and self.samples > 1:
            what = f"samples: {self.samples} at temperature: 0 would be {self.samples} times the same conversation."
            return [("samples", what, "raise the temperature, or samples: 1")]
        return []

    def prompt_variables(self) -> set[str]:
        """The conversation so far."""
        return {"messages"}

    def expression_columns(self) -> set[str]:
        """What `until` sees besides the row."""
        return {"said"}

    def keeps_held_out(self) -> bool:
        """What is said to held-out rows is held out."""
        return True

    def shown_to_asked(self) -> list[tuple[str, str, bool]]:
        """Both prompts."""
        return [("prompt", self.prompt, False), ("with_prompt", self.other_prompt, False)]

    def calls_by_model(self) -> Counter[str]:
        """As many of each as turns."""
        count = self.turns * self.samples
        return Counter({self.model: count}) + Counter({self.other: count})


@row_step(writes=["{into}", "model", "sample", "usage", "cost_usd"])
async def run(row: Row, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    for sample in range(config.samples):
        yield await _talk(row, sample, config, ctx)


async def _talk(row: Row, sample: int, config: Config, ctx: Context) -> Outcome:
    texts: list[str] = []
    usage = Usage()
    cost: float | None = 0.0
    asked = {"model": config.other, "sample": sample}
    while len(texts) < 2 * config.turns:
        begins = len(texts) % 2 == 0
        model, prompt = (config.model, config.prompt) if begins else (config.other, config.other_prompt)
        messages = ctx.render(prompt, {**row, "messages": _list_messages(texts, own=len(texts) % 2)})
        try:
            reply = await ctx.ask(
                model, Ask(messages, config.sampling(), row, sample, accept_truncated=config.accept_truncated)
            )
        except CallError as error:
            return Failed(row.child(str(sample), asked), error.kind, str(error), fix=error.fix)
        usage += reply.usage
        cost = None if cost is None or reply.cost_usd is None else cost + reply.cost_usd
        ends = config.until is not None and expressions.evaluate(config.until, {**row, "said": reply.text})
        if not (ends and begins):
            texts.append(reply.text)
        if ends:
            break
    if not texts:
        return Failed(row.child(str(sample), asked), "empty", f"{config.model!r} ended the conversation at once")
    told = {config.into: _list_messages(texts, own=1), "usage": usage.entry(), "cost_usd": cost}
    return row.child(str(sample), asked | told)


def _list_messages(texts: list[str], own: int) -> list[Message]:
    """The turns as messages; those at `own`, 0 for the first and every second one after it, are the assistant's."""
    return [{"role": "assistant" if at % 2 == own else "user", "content": text} for at, text in enumerate(texts)]
