"""What is seen of the rows of a training: how many and how long, what is learnt of them, and what is odd about them.

It is kept beside the rows, and not with the model: it holds one of them.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

from blackbox_kd.privacy import write_whole
from blackbox_kd.training import masks, preflight
from blackbox_kd.training.artefacts import Job, Settings, name_preflight
from blackbox_kd.training.job import FIRST_PROCESS, read_rows
from blackbox_kd.training.masks import IGNORED, Tokens
from blackbox_kd.training.model import find_ends, load_tokenizer
from blackbox_kd.training.seen import Bar, Preflight, Refused, Stretch

PAIRS, ANSWER = ("chosen", "rejected"), ("completion",)
"""What is learnt of a row: of pairs, and otherwise."""
BARS, MOST = 10, 0.95
"""Most bars of a histogram for this share of the rows."""
LINES = 60
"""Stretches of the row that is shown."""
LONGEST = 400
"""Characters of one of them."""


class Looked(NamedTuple):
    """The rows of a job as they are trained on.

    Args:
        tokenizer: the student's.
        rows: those that were not refused.
        lengths: what they are as tokens.
        control: how often control tokens stood in them.
        columns: what is learnt of a row.
    """

    tokenizer: Any
    rows: list[dict[str, Any]]
    lengths: preflight.Lengths
    control: Counter[str]
    columns: Sequence[str]


def look(method: str, job: Job, refused: list[Refused] | None = None) -> Looked:
    """Reads the rows of a job and holds them against the chat template; arguments and errors as of `check_template`."""
    tokenizer, control, columns = load_tokenizer(job), Counter[str](), PAIRS if method == "dpo" else ANSWER
    rows = read_rows(Path(job.data), tokenizer, ["prompt", *columns], control)
    how: dict[str, Any] = {"earlier": job.settings.turns == "all", "ends": find_ends(job), "refused": refused}
    lengths = preflight.check_template(tokenizer, rows, columns, **how)
    out = {each.number for each in refused or ()}
    return Looked(tokenizer, [row for number, row in enumerate(rows) if number not in out], lengths, control, columns)


def describe_rows(
    looked: Looked, settings: Settings, limit: int, evaluation_rows: int, odd: Iterable[str]
) -> Preflight:
    """What is seen of rows.

    Args:
        looked: the rows.
        settings: of their training.
        limit: most tokens of a row.
        evaluation_rows: how many are kept back for the evaluation loss.
        odd: what is odd about these.
    """
    lengths, tokenizer = looked.lengths, looked.tokenizer
    texts = [text for column in looked.columns for text in lengths.texts[column]]
    learnt, left_out = count_turns(looked.rows, settings)
    if len(looked.columns) > 1:  # of two texts neither is the turn that is learnt
        learnt = left_out = 0
    too_long = sum(length > limit for length in lengths.tokens)
    return Preflight(
        rows=len(looked.rows),
        tokens=sum(len(text.ids) for text in texts),
        trained_tokens=sum(text.learnt for text in texts),
        lengths=list(_draw(lengths.tokens)),
        longest=max(lengths.tokens, default=0),
        median=median_low(lengths.tokens) if lengths.tokens else 0,
        max_length=limit,
        too_long=too_long,
        evaluation_rows=evaluation_rows,
        turns=learnt,
        turns_left_out=left_out,
        duplicates=len(looked.rows) - len({_identify(lengths, number) for number in range(len(looked.rows))}),
        control_tokens=dict(looked.control.most_common()),
        ends={tokenizer.decode([end]): count for end, count in lengths.ends.most_common()},
        example={column: _show(tokenizer, lengths.texts[column][0]) for column in looked.columns if looked.rows},
        warnings=list(odd),
    )


def list_warnings(found: Preflight) -> Iterator[str]:
    """What a screen tells of what was seen."""
    yield from found.warnings
    if found.duplicates:
        yield f"rows that stand there more than once: {found.duplicates:,}; each counts as often as it stands there"
    if found.turns_left_out:
        yield f"turns of the assistant that are read and not learnt: {found.turns_left_out:,}"
    if found.control_tokens:
        told = ", ".join(f"{token!r} {count:,}" for token, count in found.control_tokens.items())
        yield f"control tokens in the text of rows, which are made harmless: {told}"


def keep(job: Job, found: Preflight) -> None:
    """Writes what was seen beside the rows."""
    if FIRST_PROCESS:
        write_whole(name_preflight(job), found.model_dump_json(exclude_unset=True))


def count_turns(rows: Sequence[dict[str, Any]], settings: Settings) -> tuple[int, int]:
    """How many turns of the assistant are learnt, and how many are read alone."""
    earlier, answers = settings.turns == "all", [row.get("completion", []) for row in rows]
    pairs = list(zip((row["prompt"] for row in rows), answers, strict=True))
    learnt = sum(len(masks.find_learnt(asked, said, earlier=earlier)) for asked, said in pairs)
    return learnt, sum(masks.count_turns([*asked, *said]) for asked, said in pairs) - learnt


def cut(tokenizer: Any, text: Tokens) -> Iterator[Stretch]:
    """A text in stretches: it is cut at line ends, and where what is trained begins and ends."""
    line = 0
    parts: list[tuple[tuple[bool, int], int]] = []
    for token, label in zip(text.ids, text.labels, strict=True):
        parts.append(((label != IGNORED, line), token))
        line += tokenizer.decode([token]) == "\n"
    for (trained, _), part in groupby(parts, key=lambda pair: pair[0]):
        yield Stretch(trained=trained, text=tokenizer.decode([token for _, token in part]))


def _identify(lengths: preflight.Lengths, number: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(texts[number].ids) for texts in lengths.texts.values())


def _draw(tokens: Sequence[int]) -> Iterator[Bar]:
    """A histogram, whose bars are as wide as a power of two for most rows, and ever wider for the longest ones."""
    ordered, width = sorted(tokens), 8
    if not ordered:
        return
    most = ordered[int(MOST * (len(ordered) - 1))]
    while most // width - ordered[0] // width >= BARS:
        width *= 2
    above, done = (ordered[0] - 1) // width * width, 0
    while done < len(ordered):
        width *= 1 if above < most else 2
        before, done = done, bisect_right(ordered, above + width)
        yield Bar(above=above, up_to=above + width, rows=done - before)
        above += width


def _show(tokenizer: Any, text: Tokens) -> list[Stretch]:
    """The beginning and the end of a text, as much of it as is read."""
    found = [_shorten(stretch) for stretch in cut(tokenizer, text)]
    if len(found) <= LINES:
        return found
    half = LINES // 2
    gap = Stretch(trained=False, text=f"[... {len(found) - 2 * half:,} lines]")
    return [*found[:half], gap, *found[-half:]]


def _shorten(stretch: Stretch) -> Stretch:
    if len(stretch.text) <= LONGEST:
        return stretch
    half = LONGEST // 2
    return stretch.model_copy(update={"text": f"{stretch.text[:half]} [...] {stretch.text[-half:]}"})
