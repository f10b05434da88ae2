"""What is looked at before training starts: lengths, template, labels. A row is refused or left out, never cut.

The checks are those whose absence has made published distillations fail: a training prompt that is not a prefix of
prompt and completion, an end of turn outside the loss, a doubled think block, rows cut before their answer.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.training import masks
from blackbox_kd.training.masks import IGNORED, Tokens
from blackbox_kd.weights import conversation
from blackbox_kd.weights.load import explain_refusal, find_end_of_turn

LONGEST = 4096
"""Tokens that a row may have when nobody set max_length: beyond it, memory and not the data should be thought of."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of N rows through the student's chat template.

    Args:
        tokens: how many, of prompt and completion together; of the longer one where a row has two completions.
        texts: prompt and completion of each row, by the completions' columns.
    """

    tokens: list[int]
    texts: dict[str, list[Tokens]]

    @property
    def completions(self) -> dict[str, list[int]]:
        """How many tokens of each row are learnt, by the completions' columns."""
        return {column: [text.learnt for text in texts] for column, texts in self.texts.items()}

    def percentile(self, share: float) -> int:
        """The length that `share` of the rows do not exceed."""
        ordered = sorted(self.tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def tokenize_row(tokenizer: Any, row: Mapping[str, Any], column: str) -> tuple[list[int], list[int]]:
    """Token ids of a row's prompt alone, and of the prompt and the completion in a column."""
    prompt = conversation.encode(tokenizer, row["prompt"], row.get("tools"), asks=True)
    return prompt, conversation.encode(tokenizer, [*row["prompt"], *row[column]], row.get("tools"))


def check_template(
    tokenizer: Any, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, earlier: bool = False
) -> Lengths:
    """Holds the completions in `columns` of every row against the chat template; returns what they are as tokens.

    Args:
        tokenizer: of the student.
        rows: with messages in `prompt` and in `columns`, and perhaps `tools`.
        columns: of the completions.
        earlier: whether the assistant's turns in the prompt are learnt, too.

    Raises:
        DataError: the template is missing, or training on it would not be what serving with it is.
    """
    if not tokenizer.chat_template:
        raise DataError(
            "the model has no chat template, so nothing says where a turn ends",
            fix="use the instruct version of the model, or chat_template: plain beside its name",
        )
    ends = {tokenizer.eos_token_id, find_end_of_turn(tokenizer)}
    template = masks.find_template(tokenizer) if earlier else None
    has_tools = conversation.takes_tools(tokenizer)
    tokens = []
    texts: dict[str, list[Tokens]] = {column: [] for column in columns}
    for number, row in enumerate(rows):
        for column in columns:
            where = f"row {number} ({column})"
            if not has_tools and conversation.uses_tools([*row["prompt"], *row[column]], row.get("tools")):
                raise DataError(f"{where}: {conversation.NO_TOOLS}", fix=conversation.GIVE_TOOLS)
            try:
                found = _mask_row(tokenizer, row, column, template, earlier=earlier)
            except DataError as error:
                raise error.within(where) from error
            except Exception as error:  # a template is code of its own and can raise anything
                what, fix = explain_refusal(error, row["prompt"])
                raise DataError(f"{where}: {what}", fix=fix) from error
            _check_row(tokenizer, where, found, ends)
            texts[column].append(found)
        tokens.append(max(len(texts[column][-1].ids) for column in columns))
    return Lengths(tokens, texts)


def _mask_row(tokenizer: Any, row: Mapping[str, Any], column: str, template: str | None, *, earlier: bool) -> Tokens:
    """A row's tokens; of a completion that is one message, all that stands behind the prompt is learnt."""
    asked, said = row["prompt"], row[column]
    if earlier or len(said) > 1:
        learnt = masks.find_learnt(asked, said, earlier=earlier)
        return masks.mask(tokenizer, [*asked, *said], row.get("tools"), learnt, template)
    prompt, both = tokenize_row(tokenizer, row, column)
    if both[: len(prompt)] != prompt:
        raise DataError(
            "the chat template writes the prompt differently when an answer follows, "
            "so the student would be trained on another prompt than it is served",
            fix="use a template whose generation prompt is a prefix of the whole conversation",
        )
    return Tokens(both, [IGNORED] * len(prompt) + both[len(prompt) :])


def _check_row(tokenizer: Any, where: str, text: Tokens, ends: Set[int | None]) -> None:
    turns = [list(turn) for is_learnt, turn in groupby(text.labels, lambda label: label != IGNORED) if is_learnt]
    if not turns or not ends & set(turns[-1]):
        raise DataError(
            f"{where}: no end of turn inside the completion, so the student would never stop",
            fix="use a chat template that closes the assistant's turn",
        )
    if any(tokenizer.decode(turn).count("<think>") > 1 for turn in turns):
        raise DataError(
            f"{where}: two think blocks in one answer",
            fix="take <think>...</think> out of the completion; the template writes its own",
        )


def choose_length(lengths: Lengths, wanted: int | None, model_limit: int | None) -> int:
    """Most tokens of a row: what was asked for, or the longest row's, within what the model and memory allow."""
    if wanted is not None:
        return wanted
    longest = -(-max(lengths.tokens) // 8) * 8
    return min(longest, LONGEST, model_limit or LONGEST)


def select_rows(lengths: Lengths, limit: int, *, drop: bool) -> list[int]:
    """Numbers of the rows that fit.

    Raises:
        DataError: some do not, and nobody said that they may be left out; or none fits.
    """
    fit = [number for number, length in enumerate(lengths.tokens) if length <= limit]
    over = len(lengths.tokens) - len(fit)
    if over and not drop:
        longest = max(lengths.tokens)
        needed = -(-longest // 8) * 8
        raise DataError(
            f"{over:,} of {len(lengths.tokens):,} rows ({100 * over / len(lengths.tokens):.1f} %) are "
            f"longer than max_length {limit} tokens and would lose their final answer.",
            exists=f"longest: {longest:,} tokens; 99th percentile: {lengths.percentile(0.99):,}",
            fix=f"max_length: {needed}, or long_rows: drop",
        )
    if not fit:
        raise DataError(f"no row fits into max_length {limit}", fix="raise max_length")
    return fit
