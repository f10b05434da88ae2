"""Says how likely a model finds a given text, token by token, and what it would have written in its place.

Reads    the prompt's variables, {of}
Writes   {into}, {mean}, {tokens}, {top_into}, {ranks}, {pieces}, {likeliest}
Drops    nothing
Calls    2 per row, of one token each
Source   Gu et al. 2024, arXiv:2410.17215 (rows are chosen by the difference between a large and a small model);
         Shum et al. 2024, arXiv:2408.12168 (the likeliest five); Anshumann et al. 2025, arXiv:2503.16870 (draws)
"""

from collections import Counter
from typing import Any, Self

from pydantic import model_validator

from blackbox_kd.analysis import logprobs
from blackbox_kd.sdk import (
    Ask,
    Column,
    Context,
    Failed,
    Field,
    FieldError,
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
    top: int | None = Field(default=None, ge=1, le=1000)
    """So many of the tokens that the model finds likeliest at each place are told, too, in `top_as`. A vLLM server
    tells 20 unless it was started with `--max-logprobs N`."""
    draws: int | None = Field(default=None, ge=1, le=1000)
    """So many tokens are drawn at each place, with replacement, in place of the likeliest ones (RS-KD): from all of the
    vocabulary, or from the likeliest `top`, where all that is drawn beside them is one, a null."""
    top_into: NewColumn = Field(default="top_logprobs", alias="top_as")
    """Column for what `top` or `draws` tell: `{tokens, top, logprobs}`, or `counts` in place of `logprobs`. It is what
    `train: method: topk` learns from."""
    ranks: NewColumn | None = None
    """Column for a list of the ranks of the text's tokens: 1 where the model finds none likelier."""
    pieces: NewColumn | None = None
    """Column for a list of the tokens' texts."""
    likeliest: NewColumn | None = None
    """Column for a list of the texts of the likeliest token at each place."""

    @model_validator(mode="after")
    def _name_alike(self) -> Self:
        self.mean = self.mean or f"{self.into}_mean"
        self.tokens = self.tokens or ("tokens" if self.into == "logprob" else f"{self.into}_tokens")
        if self.top is None and self.draws is None and "top_into" in self.model_fields_set:
            raise FieldError("top_as: names a column for what nothing asks for", fix="add top: 5, or take top_as: out")
        return self

    def unwritten(self) -> set[str]:
        """What neither `top` nor `draws` asks for."""
        return {self.top_into} if self.top is None and self.draws is None else set()

    def set_for(self, field: str) -> dict[str, tuple[str, Any]]:
        """Draws from all of the vocabulary, which not every model that scores can tell."""
        return {logprobs.DRAWS: ("draws", self.draws)} if self.top is None and self.draws is not None else {}

    def calls_by_model(self) -> Counter[str]:
        """Two: the text after its messages, and the messages alone."""
        return Counter({self.model: 2})

    def sampling(self) -> Sampling:
        """What is asked of the text after its messages."""
        if self.top is None and self.draws is not None:
            return logprobs.ask_likeliest(1, self.draws)
        wants_texts = any((self.ranks, self.pieces, self.likeliest))
        return logprobs.ask_likeliest(self.top or int(wants_texts))


@row_step(
    reads=["{of}"],
    writes=["{into}", "{mean}", "{tokens}", "{top_into}", "{ranks}", "{pieces}", "{likeliest}"],
)
async def run(row: Row, config: Config, ctx: Context) -> Row | Failed:
    text = "" if row[config.of] is None else write_text(row[config.of]).strip()
    if not text:
        return Failed(row, "empty", f"column {config.of!r} holds no text")
    before = ctx.render(config.prompt, row)
    try:
        found = await _score([*before, {"role": "assistant", "content": text}], before, row, config, ctx)
        if not found:
            return Failed(row, "empty", f"the chat template leaves nothing of column {config.of!r}")
        total = sum(token.logprob for token in found)
        kept = {config.into: total, str(config.mean): total / len(found), str(config.tokens): len(found)}
        return row | kept | _list_columns(found, row, config, ctx)
    except ValueError as error:
        what = f"{ctx.step}: model {config.model!r} cannot score: {error}"
        raise SetupError(what, fix="a model of provider vllm (0.11 or later) or transformers") from error


async def _score(
    whole: list[Message], before: list[Message], row: Row, config: Config, ctx: Context
) -> list[logprobs.Token]:
    """The tokens that `whole` has after `before`."""

    async def ask(messages: list[Message], sampling: Sampling) -> Reply:
        return await ctx.ask(config.model, Ask(messages, sampling, row, accept_truncated=True))

    replies = await all_of(ask(whole, config.sampling()), ask(before, logprobs.BEFORE_TEXT))
    return logprobs.read_tokens(*replies)


def _list_columns(found: list[logprobs.Token], row: Row, config: Config, ctx: Context) -> dict[str, Any]:
    """What is told of each token, where a column is named for it."""
    told: dict[str, Any] = {}
    if config.draws is not None:
        random = ctx.rng("draws", row.id)
        top = config.top
        drawn = found if top is None else [logprobs.draw_tokens(t, top, config.draws, random) for t in found]
        told[config.top_into] = logprobs.list_drawn(drawn)
    elif config.top is not None:
        told[config.top_into] = logprobs.list_likeliest(found, config.top)
    lists: dict[str | None, list[Any]] = {
        config.ranks: [token.rank for token in found],
        config.pieces: [token.text for token in found],
        config.likeliest: [token.likeliest for token in found],
    }
    for column, values in lists.items():
        if column is not None and None in values:
            raise ValueError(f"the reply does not tell what column {column!r} is for")
    return told | {column: values for column, values in lists.items() if column is not None}
