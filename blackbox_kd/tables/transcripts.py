"""Conversations that somebody has written into one text, with the marks of a chat template or of a data set -> turns.

Known: ChatML (`<|im_start|>`), Llama 2 to 4 and Mistral (`[INST]`, `<|start_header_id|>`), Gemma (`<start_of_turn>`),
Zephyr and Phi (`<|user|>`), DeepSeek, harmony, Command, Granite and EXAONE, Alpaca and Guanaco (`### Instruction:`,
`### Human:`), and speakers at the beginning of a paragraph (`Human:`, `USER:`).
"""

import re

from blackbox_kd.paths import read_table

_TABLE = read_table(__file__)
_TOKENS = [re.compile(mark) for mark in _TABLE["tokens"]]
"""Marks made of control tokens: a text that begins with one is rendered, whatever it says."""
_QUOTED = re.compile(r"[`\"'\u201c\u201e]\s*$")
"""What stands before a mark that a text speaks of."""
_HEADED = re.compile(r"^###[ \t]*\w+[ \t]*:[ \t]*$", re.MULTILINE)
"""A mark on a line of its own; behind words it may be a heading that a text speaks of."""
_WORDS = [re.compile(mark) for mark in _TABLE["words"]]
"""Marks made of words, which an ordinary text can hold too."""
_LINES = re.compile(r"^[ \t]*(?P<role>human|user|assistant|gpt|system|ai|bot)[ \t]*:", re.IGNORECASE | re.MULTILINE)
"""Speakers at the beginning of a line: of a prompt whose last line is for the assistant to go on with."""
_ROLES = {name: role for role, names in _TABLE["roles"].items() for name in names}
_BEGIN = re.compile(
    r"^\s*(?:<s>|<bos>|<BOS_TOKEN>|<\|begin_of_text\|>|<\|endoftext\|>"
    r"|<\uff5cbegin\u2581of\u2581sentence\uff5c>)\s*"
)
_ENDS: list[str] = _TABLE["ends"]
_SYSTEM = re.compile(r"^\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
"""Where Llama 2 has its system message: at the beginning of the first question."""


def split_column(text: str, role: str) -> list[tuple[str, str]] | None:
    """The turns that a column of a prompt (`role` user) or of an answer holds; None if it is a text like any other.

    Ends of turns are taken off in any case. Of a prompt the mark that asks the model to begin is none of the turns.
    """
    bare = _BEGIN.sub("", text).lstrip()
    marks, needed = [mark for mark in _TOKENS if mark.match(bare)], {role}
    if not marks and role == "user" and _ends_with_mark(bare):
        marks, needed = [*_WORDS, _LINES], {"user", "assistant"}
    elif not marks and (head := _HEADED.match(bare)):
        marks = [mark for mark in _WORDS[:1] if _name_roles(mark, head[0]) == [role]]
    for mark in marks:
        if found := _split_at(bare, mark, needed):
            return found[:-1] if role == "user" and found[-1] == ("assistant", "") else found
    stripped = _strip_ends(text)
    return [(role, stripped)] if stripped != text.strip() else None


def find_mark(text: str) -> str:
    """The first control token in a text that begins a turn and that it does not merely speak of; empty if none does."""
    for mark in _TOKENS:
        for match in mark.finditer(text):
            if match["role"].lower() in _ROLES and not _QUOTED.search(text[: match.start()]):
                return match[0]
    return ""


def _ends_with_mark(text: str) -> bool:
    """Whether a text ends with what asks an assistant to begin, such as `### Response:`."""
    last = text.rstrip().rpartition("\n")[2]
    return last.endswith(":") and any(_name_roles(mark, last)[-1:] == ["assistant"] for mark in (*_WORDS, _LINES))


def _name_roles(mark: re.Pattern[str], line: str) -> list[str | None]:
    return [_ROLES.get(match["role"].lower()) for match in mark.finditer(line)]


def split_turns(text: str) -> list[tuple[str, str]] | None:
    """The turns of a rendered conversation, each a role and what was said; None if the text is none."""
    bare = _BEGIN.sub("", text)
    for mark in (*_TOKENS, *_WORDS):
        found = _split_at(bare, mark, needed={"user", "assistant"})
        if found is not None:
            return found
    return None


def _split_at(text: str, mark: re.Pattern[str], needed: set[str]) -> list[tuple[str, str]] | None:
    """The turns between marks; None unless the marks are those of known speakers, and of all that are needed."""
    marks = list(mark.finditer(text))
    roles = _name_roles(mark, text)
    if None in roles or not needed.issubset(roles):
        return None
    before = text[: marks[0].start()].strip()
    if before and mark in _TOKENS:
        return None
    found = [("system", before)] if before else []
    ends = [*(match.start() for match in marks[1:]), len(text)]
    for role, match, end in zip(roles, marks, ends, strict=True):
        said = _strip_ends(text[match.end() : end])
        if role == "user" and (system := _SYSTEM.match(said)):
            found.append(("system", system[1].strip()))
            said = said[system.end() :].strip()
        if match["role"].lower() == "input" and found and found[-1][0] == "user":
            found[-1] = ("user", f"{found[-1][1]}\n\n{said}".strip())
        elif said or role == "assistant":
            found.append((str(role), said))
    return found


def _strip_ends(text: str) -> str:
    """A text without the control tokens at its end."""
    text = text.strip()
    # HTML ends what is struck through with the same sign as Llama 2 its turns.
    ends = _ENDS if "<s>" not in text.removeprefix("<s>").removesuffix("<s>") else _ENDS[2:]
    while end := next((end for end in ends if text.endswith(end)), ""):
        text = text.removesuffix(end).rstrip()
    return text
