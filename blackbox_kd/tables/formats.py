"""The shapes of rows that training knows, recognised by their columns.

preference    chosen, rejected, and what was asked: prompt, conversations, messages or instruction; it may be left out
              where both are whole conversations, or texts that begin alike
preferred     input, preferred_output, non_preferred_output: OpenAI's preferences
completion    prompt, completion: texts or messages
messages      messages: [{role, content}, ...]
sharegpt      conversations: [{from, value}, ...]
own           instruction, response: what a recipe's rows are called
alpaca        instruction, output
text          text: a conversation that is rendered already

What is learnt is the last turn of the assistant, and the prompt is all before it. A column that carries meaning is
used where the shape has a place for it, and refused by its name where it has none: system, history, context and input
belong to what is asked, tools to the whole conversation, reasoning_content and thinking to the answer, weight and label
say whether it is learnt.
"""

from collections.abc import Iterable, Mapping, Set
from functools import cache

from blackbox_kd.errors import DataError
from blackbox_kd.paths import read_table

_TABLE = read_table(__file__)
SHAPES: dict[str, tuple[str, ...]] = {name: tuple(needed) for name, needed in _TABLE["shapes"].items()}
"""Columns that each shape needs; the first shape that fits is taken."""
PAIRS = ("preference", "preferred")
"""Shapes of a better and a worse answer."""
ASKED = ("system", "system_prompt", "history", "context", "input")
"""Columns that belong to what is asked."""
THOUGHT = ("reasoning_content", "thinking")
"""Columns with the reasoning before an answer."""
TOOLS = ("tools", "functions")
"""Columns with the tools that the assistant may call; the first one that holds any is taken."""
UNUSABLE = ("image", "images", "video", "videos", "audio", "audios")
"""Columns with what a conversation of text cannot show; rows that hold something there are refused."""
MEANINGFUL = frozenset((*ASKED, *THOUGHT, *TOOLS, *UNUSABLE))
LABELS = {"label": ("completion",), "kto_tag": ("completion", "messages", "sharegpt", "own", "alpaca")}
"""Columns that say whether an answer is one to learn, and the shapes beside which they say it."""
_USED: dict[str, list[str]] = _TABLE["used"]
"""Columns that each shape has a place for, besides those it needs."""


LABELLED = ("label", "kto_tag", "correct")
"""Columns of which one says whether an answer is good, where good and bad ones are learnt from."""


def read_label(row: Mapping[str, object], written: Set[str]) -> bool:
    """Whether the answer of a row is a good one.

    Args:
        row: the row.
        written: columns that steps have written: what they say is of the answer that is there now.

    Raises:
        DataError: no column says it, by true or false.
    """
    found = [name for name in LABELLED if name in row]
    name = next((name for name in found if name in written), next(iter(found), None))
    if name is None:
        raise DataError(f"no column says whether the answer is good: {' or '.join(LABELLED)}")
    said = row[name].strip().lower() if isinstance(row[name], str) else row[name]  # type: ignore[attr-defined]
    if said not in (True, False, "true", "false"):
        raise DataError(f"column {name!r} says neither true nor false")
    return said in (True, "true")


def says_no(label: object) -> bool:
    """Whether a label says that an answer is none to learn; a file of CSV says so by a text."""
    return label is False or (isinstance(label, str) and label.strip().lower() == "false")


def recognise(columns: Iterable[str]) -> str:
    """The name of the shape that a table's columns make.

    Raises:
        DataError: none fits; the message names the columns found and the shapes known.
    """
    found = set(columns)
    for name, needed in SHAPES.items():
        if found.issuperset(needed):
            return name
    known = "; ".join(f"{name} ({', '.join(needed)})" for name, needed in SHAPES.items())
    raise DataError(
        f"the columns {', '.join(sorted(found)) or '(none)'} make no shape that training knows",
        exists=f"known: {known}",
        fix="rename columns (rename: under data:), or put a step format before",
    )


def find_answers(shape: str) -> tuple[str, ...]:
    """The columns of a shape that hold what is learnt."""
    needed = SHAPES[shape]
    return needed if shape == "preference" else needed[1:] or needed


@cache
def list_used(shape: str) -> frozenset[str]:
    """The columns that the rows of a shape are made of, or that say whether and how much they are learnt."""
    labels = {name for name, shapes in LABELS.items() if shape in shapes}
    return frozenset({*SHAPES[shape], *_USED[shape], *labels, "weight"})


def refuse_method(method: str, shape: str) -> str | None:
    """Why a method of training cannot learn from a shape; None if it can."""
    if (shape in PAIRS) == (method == "dpo"):
        return None
    return f"the rows are of the shape {shape} ({', '.join(SHAPES[shape])}), which method {method} cannot learn from"


def list_ignored(shape: str, written: Set[str]) -> set[str]:
    """Columns that are no part of a row's conversation, since steps have written what they would belong to.

    Args:
        shape: of the rows.
        written: columns that steps have written. A prompt that was rendered shows all that it shall, but for tools that
            a step has put beside it; what is said of an answer (its reasoning, whether it is a good one) is not said of
            the answer that has taken its place.
    """
    own = set(SHAPES[shape])
    if "prompt" in written:
        return {*ASKED, *THOUGHT, *UNUSABLE, *LABELS, *set(TOOLS).difference(written)} - own
    of_answer = {*THOUGHT, *LABELS} if not written.isdisjoint(find_answers(shape)) else set()
    return (of_answer | {name for name in (*ASKED, *UNUSABLE) if name in written}) - own
