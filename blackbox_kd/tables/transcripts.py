"""Conversations that somebody has written into one text, with the marks of a chat template or of a data set -> turns.

Known: ChatML (`<|im_start|>`), Llama 2 and 3 and Mistral (`[INST]`, `<|start_header_id|>`), Gemma
(`<start_of_turn>`), Zephyr and Phi (`<|user|>`), Alpaca and Guanaco (`### Instruction:`, `### Human:`), and speakers
at the beginning of a paragraph (`Human:`, `USER:`).
"""

import re

_TOKENS = (
    re.compile(r"<\|im_start\|>[ \t]*(?P<role>\w+)"),
    re.compile(r"<\|start_header_id\|>\s*(?P<role>\w+)\s*<\|end_header_id\|>"),
    re.compile(r"<start_of_turn>[ \t]*(?P<role>\w+)"),
    re.compile(r"<\|(?P<role>system|user|assistant)\|>"),
    re.compile(r"(?P<role>\[/?INST\])"),
)
"""Marks made of control tokens: a text that begins with one is rendered, whatever it says."""
_WORDS = (
    re.compile(
        r"^###[ \t]*(?P<role>system|instruction|input|human|user|question|response|assistant|output|answer)"
        r"(?:[ \t]*\([^)\n]{0,60}\))?[ \t]*:",
        re.IGNORECASE | re.MULTILINE,
    ),
    re.compile(r"(?:^|\n\n)[ \t]*(?P<role>human|user|assistant|gpt|system)[ \t]*:", re.IGNORECASE),
    re.compile(r"(?:^|\s)(?P<role>USER|ASSISTANT):"),
)
"""Marks made of words, which an ordinary text can hold too."""
_ROLES = {
    **dict.fromkeys(("user", "human", "instruction", "question", "input", "[inst]"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "response", "output", "answer", "[/inst]"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_BEGIN = re.compile(r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>)\s*")
_ENDS = (
    *("</s>", "<s>", "<eos>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"),
    "<end_of_turn>",
)
_SYSTEM = re.compile(r"^\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
"""Where Llama 2 has its system message: at the beginning of the first question."""


def is_marked(text: str) -> bool:
    """Whether a text begins with the control token of a turn, so that it is a rendered conversation for certain."""
    bare = _BEGIN.sub("", text).lstrip()
    return any(mark.match(bare) for mark in _TOKENS)


def split_turns(text: str) -> list[tuple[str, str]] | None:
    """The turns of a rendered conversation, each a role and what was said; None if the text is none."""
    bare = _BEGIN.sub("", text)
    for mark in (*_TOKENS, *_WORDS):
        found = _split_at(bare, mark)
        if found is not None:
            return found
    return None


def _split_at(text: str, mark: re.Pattern[str]) -> list[tuple[str, str]] | None:
    """The turns between marks; None unless the marks are those of a user and an assistant."""
    marks = list(mark.finditer(text))
    roles = [_ROLES.get(match["role"].lower()) for match in marks]
    if None in roles or not {"user", "assistant"}.issubset(roles):
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
    while end := next((end for end in _ENDS if text.endswith(end)), ""):
        text = text.removesuffix(end).rstrip()
    return text
