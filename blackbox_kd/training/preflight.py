"""What is looked at before training starts: lengths, template, labels. A row is refused or left out, never cut.

The checks are those whose absence has made published distillations fail: a training prompt that is not a prefix of
prompt and completion, an end of turn outside the loss, a doubled think block, rows cut before their answer.
"""

import copy
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby
from typing import Any

from blackbox_kd.errors import FOLD_SYSTEM, DataError
from blackbox_kd.training import masks
from blackbox_kd.training.masks import IGNORED, Tokens
from blackbox_kd.training.seen import Refused
from blackbox_kd.weights import conversation
from blackbox_kd.weights.load import explain_refusal, find_end_of_turn
from blackbox_kd.weights.template_values import set_values

LONGEST = 4096
"""Tokens that a row may have when nobody set max_length: beyond it, memory and not the data should be thought of."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of N rows through the student's chat template.

    Args:
        tokens: how many, of prompt and completion together; of the longer one where a row has two completions.
        texts: prompt and completion of each row, by the completions' columns.
        ends: the tokens that completions end in, and how many do.
    """

    tokens: list[int]
    texts: dict[str, list[Tokens]]
    ends: Counter[int] = field(default_factory=Counter)

    @property
    def completions(self) -> dict[str, list[int]]:
        """How many tokens of each row are learnt, by the completions' columns."""
        return {column: [text.learnt for text in texts] for column, texts in self.texts.items()}

    def percentile(self, share: float) -> int:
        """The length that `share` of the rows do not exceed."""
        ordered = sorted(self.tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def check_template(
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    earlier: bool = False,
    ends: Iterable[int] = (),
    refused: list[Refused] | None = None,
) -> Lengths:
    """Holds the completions in `columns` of every row against the chat template; returns what they are as tokens.

    Args:
        tokenizer: of the student.
        rows: with messages in `prompt` and in `columns`, and perhaps `tools` and `id`.
        columns: of the completions.
        earlier: whether the assistant's turns in the prompt are learnt, too.
        ends: tokens by which the model ends its turns, beside that of the tokenizer and of the template.
        refused: is given the rows that are refused, which the result then lacks; None to raise for the first one.

    Raises:
        DataError: the template is missing, or training on a row would not be what serving with it is.
    """
    if not tokenizer.chat_template:
        raise DataError(
            "the model has no chat template, so nothing says where a turn ends",
            fix="use the instruct version of the model, or chat_template: plain beside its name",
        )
    look = _Look(tokenizer, {*ends, tokenizer.eos_token_id, find_end_of_turn(tokenizer)}, earlier=earlier)
    found = Lengths([], {column: [] for column in columns}, look.ends)
    switch: str | None = None
    for number, row in enumerate(rows):
        masked: dict[str, Tokens] = {}
        try:
            for column in columns:
                masked[column] = look.mask(row, column)
        except DataError as error:
            if switch is None:
                switch = _name_switch(tokenizer, [row, *rows], columns, earlier=earlier, ends=ends)
            name = next((row[key] for key in ("source_id", "id") if row.get(key) is not None), None)
            named = f", id {name!r}" if name is not None else ""
            where, fix = f"row {number} ({column}){named}", ", or ".join(filter(None, (switch, error.fix)))
            if refused is None:
                raise DataError(f"{where}: {error.what}", exists=error.exists, fix=fix) from error
            refused.append(Refused(number=number, where=where, reason=error.what, exists=error.exists, fix=fix))
            continue
        found.tokens.append(max(len(text.ids) for text in masked.values()))
        for column, text in masked.items():
            found.texts[column].append(text)
    return found


def _name_switch(tokenizer: Any, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], **how: Any) -> str:
    """The value for the chat template with which rows pass that do not as it is; empty if there is none."""
    if getattr(tokenizer, "tried", False):
        return ""
    for name in conversation.find_switches(tokenizer):
        for value in (True, False):
            other = copy.copy(tokenizer)
            other.chat_template, other.tried = set_values(tokenizer.get_chat_template(), {name: value}), True
            with suppress(DataError):
                check_template(other, rows, columns, **how)
                return f"with chat_template_kwargs: {{{name}: {json.dumps(value)}}} beside its name these rows pass"
    return ""


class _Look:
    """Looks at rows, each for itself.

    Args:
        tokenizer: of the student.
        ends: tokens that end a turn.
        earlier: whether the assistant's turns in the prompt are learnt, too.
    """

    def __init__(self, tokenizer: Any, ends: Set[int | None], *, earlier: bool) -> None:
        self._tokenizer = tokenizer
        self._ends = ends
        self._earlier = earlier
        self._has_tools = conversation.takes_tools(tokenizer)
        self.ends: Counter[int] = Counter()
        self._read: set[str] = set()
        """Texts of system messages that the template is known to write."""

    @cached_property
    def _marked(self) -> str | None:
        return masks.find_template(self._tokenizer)

    def mask(self, row: Mapping[str, Any], column: str) -> Tokens:
        """A row's tokens, written in the first way that nothing is wrong with.

        The model's own template comes first where an answer alone is learnt: it writes what is served. That of TRL
        comes first where turns are learnt between others, and mends templates that were made for serving alone.

        Raises:
            DataError: something is wrong with each.
        """
        messages, tools = [*row["prompt"], *row[column]], row.get("tools")
        if not self._has_tools and conversation.uses_tools(messages, tools):
            raise DataError(conversation.NO_TOOLS, fix=conversation.GIVE_TOOLS)
        learnt = masks.find_learnt(row["prompt"], row[column], earlier=self._earlier)
        first: DataError | None = None
        alone = not self._earlier and len(row[column]) == 1
        for marked in (False, True) if alone else (True, False):
            if marked and self._marked is None:
                continue
            try:
                found = masks.mask(self._tokenizer, messages, tools, learnt, self._marked if marked else None)
                end = self._check(found, [_trim(messages[turn], turn < len(row["prompt"])) for turn in learnt])
                self._check_system(found, row["prompt"])
            except DataError as error:
                first = first or error
            except Exception as error:  # a template is code of its own and can raise anything
                what, fix = explain_refusal(error, row["prompt"])
                first = first or DataError(what, fix=fix)
            else:
                self.ends[end] += 1
                return found
        assert first is not None
        raise first

    def _check(self, text: Tokens, said: Sequence[Mapping[str, Any]]) -> int:
        """The token that the answer ends in."""
        pairs = groupby(zip(text.ids, text.labels, strict=True), lambda pair: pair[1] != IGNORED)
        parts = [(is_learnt, [token for token, _ in part]) for is_learnt, part in pairs]
        turns = [part for is_learnt, part in parts if is_learnt]
        end = self._find_last(turns[-1]) if turns else None
        if end is None or end not in self._ends:
            names = sorted(repr(self._tokenizer.decode([known])) for known in self._ends if known is not None)
            last = self._tokenizer.decode(turns[-1][-_CUE:] if turns else [])
            raise DataError(
                "no end of turn at the end of the completion, so the student would never stop",
                exists=f"it ends in {last!r}, and ends of turn are {', '.join(names)}",
                fix="use a chat template that closes the assistant's turn (chat_template: FILE.jinja at the model), or "
                "name the token that it closes it with as eos_token_id in the model's generation_config.json",
            )
        begun = self._tokenizer.decode(parts[0][1][-_CUE:]) if not parts[0][0] else ""
        opened = 1 if begun.rstrip().endswith("<think>") else 0
        if any(opened + self._tokenizer.decode(turn).count("<think>") > 1 for turn in turns):
            raise DataError(
                "two think blocks in one answer",
                fix="take <think>...</think> out of the completion; the template writes its own",
            )
        whole = self._tokenizer.decode([token for turn in turns for token in turn])
        for lost in (part for message in said for part in _list_said(message) if not self._holds(whole, part)):
            raise DataError(
                f"the chat template leaves out of the answer what it says: {lost[:60]!r}, so the student would not "
                "learn it",
                fix="a chat template that writes it (chat_template: FILE.jinja at the model), or rows without it",
            )
        return end

    def _check_system(self, text: Tokens, prompt: Sequence[Mapping[str, Any]]) -> None:
        for said in {message["content"] for message in prompt if message["role"] == "system"} - self._read:
            if not self._holds(self._tokenizer.decode(text.ids), said):
                raise DataError(
                    f"the chat template leaves the system text out: {said[:60]!r}, so the student would not read it, "
                    "in training or when it is asked",
                    fix=FOLD_SYSTEM,
                )
            self._read.add(said)

    def _find_last(self, turn: Sequence[int]) -> int | None:
        """The last token of a turn that is no white space."""
        return next((token for token in reversed(turn) if self._tokenizer.decode([token]).strip()), None)

    def _holds(self, whole: str, part: str) -> bool:
        """Whether a text is in another but for white space around it, be it escaped, or as the tokenizer spells it."""
        escaped = (json.dumps(part, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
        if any(form.strip() in whole for form in (part, part.strip(), *escaped, part.replace("'", "\\'"))):
            return True
        ids = self._tokenizer(part, add_special_tokens=False)["input_ids"]
        return self._tokenizer.decode(ids).strip() in whole


_CUE = 8
"""Tokens at the end of a prompt in which the beginning of a think block is looked for."""


def _trim(message: Mapping[str, Any], is_earlier: bool) -> Mapping[str, Any]:
    """What must be learnt of a message: templates leave the thoughts of earlier turns out, when they serve as well."""
    return {**message, "reasoning_content": None} if is_earlier else message


def _list_said(message: Mapping[str, Any]) -> Iterator[str]:
    """What must stand in what is learnt of a message: its text around think tags, names and values of its calls."""
    for text in (message.get("reasoning_content"), message.get("content")):
        yield from re.split("</?think>", text) if isinstance(text, str) else ()
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"]
        yield from _list_values(call["function"].get("arguments"))


def _list_values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from value
        yield from chain.from_iterable(map(_list_values, value.values()))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_list_values, value))


def choose_length(lengths: Lengths, wanted: int | None, model_limit: int | None) -> int:
    """Most tokens of a row: what was asked for, or the longest row's, within what the model and memory allow."""
    if wanted is not None:
        return wanted
    longest = -(-max(lengths.tokens, default=0) // 8) * 8
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
