"""Says how likely a model finds a given text: the sum and the mean of its tokens' log-probabilities.

Reads    the prompt's variables, {of}
Writes   {into}, {mean}, {tokens}
Drops    nothing
Calls    2 per row, of one token each
Source   Gu et al. 2024, arXiv:2410.17215 (rows are chosen by the difference between a large and a small model)
"""

from collections import Counter
from typing import Self

from pydantic import model_validator

from blackbox_kd.analysis import logprobs
from blackbox_kd.sdk import (
    Ask,
    Column,
    Context,
    Failed,
    Field,
    Message,
    NewColumn,
    PromptName,
    Reply,
    Row,
    Sampling,
    ScoringModel,
    SetupError,
    StepConfig,
    all_of,
    row_step,
    write_text,
)


class Config(StepConfig):
    """Fields of `score`. Two steps with an `as` of their own let rows be chosen by what two models find."""

    model: ScoringModel
    """Model that scores; its provider must offer log-probabilities (vllm, transformers)."""
    of: Column = "response"
    """Column with the text; blanks around it do not count, nor does the end of the turn."""
    prompt: PromptName = "student/plain"
    """Template of the messages that the text is an answer to."""
    into: NewColumn = Field(default="logprob", alias="as")
    """Column for the sum over the tokens of the text, in natural logarithms."""
    mean: NewColumn | None = None
    """Column for the mean over the tokens, the negative of the loss; `logprob_mean` if left out, or what `as` names
    with `_mean` behind it."""
    tokens: NewColumn | None = None
    """Column for the number of tokens; `tokens` if left out, or what `as` names with `_tokens` behind it."""

    @model_validator(mode="after")
    def _name_alike(self) -> Self:
        self.mean = self.mean or f"{self.into}_mean"
        self.tokens = self.tokens or ("tokens" if self.into == "logprob" else f"{self.into}_tokens")
        return self

    def calls_by_model(self) -> Counter[str]:
        """Two: the text after its messages, and the messages alone."""
        return Counter({self.model: 2})


@row_step(reads=["{of}"], writes=["{into}", "{mean}", "{tokens}"])
async def run(row: Row, config: Config, ctx: Context) -> Row | Failed:
    text = "" if row[config.of] is None else write_text(row[config.of]).strip()
    if not text:
        return Failed(row, "empty", f"column {config.of!r} holds no text")
    before = ctx.render(config.prompt, row)
    found = await _score([*before, {"role": "assistant", "content": text}], before, row, config, ctx)
    if not found:
        return Failed(row, "empty", f"the chat template leaves nothing of column {config.of!r}")
    total = sum(found)
    return row | {config.into: total, str(config.mean): total / len(found), str(config.tokens): len(found)}


async def _score(whole: list[Message], before: list[Message], row: Row, config: Config, ctx: Context) -> list[float]:
    """The log-probabilities of the tokens that `whole` has after `before`."""

    async def ask(messages: list[Message], sampling: Sampling) -> Reply:
        return await ctx.ask(config.model, Ask(messages, sampling, row, accept_truncated=True))

    replies = await all_of(ask(whole, logprobs.WITH_TEXT), ask(before, logprobs.BEFORE_TEXT))
    try:
        return logprobs.read_logprobs(*replies)
    except ValueError as error:
        what = f"{ctx.step}: model {config.model!r} cannot score: {error}"
        raise SetupError(what, fix="a model of provider vllm (0.11 or later) or transformers") from error
