"""Markup of chat templates in a reply: what a server without the right parser leaves in the text.

The reasoning is taken out, ends and heads of turns are cut off, and what is left makes the reply unusable: a student
would learn to write it. Text that only speaks of such markup stays as it is: HTML's `<s>`, and whatever stands in
code, in quotes, or in the question.

Source   the chat templates of ChatML (Qwen, SmolLM, Yi), Llama 2 to 4, Mistral, Gemma 1 to 4, Phi, DeepSeek, harmony
         (gpt-oss), Command, GLM, Granite, EXAONE, Kimi, Seed, InternLM and Nemotron
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from blackbox_kd.paths import read_patterns, read_table

PAIRS: list[tuple[str, str]] = [(opening, closing) for opening, closing in read_table(__file__)["pairs"]]
"""What reasoning stands between."""
_ANGLED = re.compile(r"<(?:/?(?:think>|seed:|SYS>>|s>)|<|/<|(?:start|end)_of_|eo[tads]>|EOS>|pad>|extra_id_1>|unused9)")
_BRACKETED = re.compile(r"\[(?:/?(?:THINK|INST)\]|EO[ST]\]|TOOL_CALLS\]|e~\[)")
_PATTERNS = read_patterns(__file__)
_LAST = _PATTERNS["last"]
_LAST_CHARS = 80
_HEAD = _PATTERNS["head"]
_WRAPPERS = ("<|START_RESPONSE|>", "<|begin_of_solution|>", "<|START_TEXT|>")
_MARKUP = _PATTERNS["markup"]
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|``[^`]*``|`[^`\n]*`", re.DOTALL)
_QUOTES = ("\"'“‘„«「『(", "\"'”’“»」』)")
_STRUCK = re.compile(r"<s(?:\s[^<>]*)?>")
_HARMONY = re.compile(
    r"(?:<\|start\|>(?P<role>[^<]*))?<\|channel\|>(?P<channel>\w*)(?P<header>[^<]*(?:<\|constrain\|>[^<]*)?)<\|message\|>"
)
_HARMONY_ENDS = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_HARMONY = re.compile(r"\Aanalysis(?=\S)(.*?)assistantfinal(?=\S)(.*)\Z", re.DOTALL)


class Parts(NamedTuple):
    """A reply, taken apart.

    Args:
        text: what the model says, without blanks around it.
        reasoning: what stood before it; "" if there is none.
        is_whole: whether the reasoning came to its end.
        is_plain: whether there is nothing in the text that could be markup.
    """

    text: str
    reasoning: str = ""
    is_whole: bool = True
    is_plain: bool = False


def split(content: str) -> Parts:
    """Text and reasoning of a reply, without the ends and heads of turns."""
    text = content.strip()
    if not _may_have_markup(text):
        bare = _BARE_HARMONY.match(text)  # a server that leaves special tokens out leaves this of harmony
        return Parts(bare[2].strip(), bare[1].strip()) if bare else Parts(text, is_plain=True)
    if "<|channel|>" in text and "<|message|>" in text:
        return _split_channels(text)
    text = _drop_head(_drop_ends(text))
    for opening, closing in PAIRS:
        opened = text.startswith(opening)
        head, found, tail = text.partition(closing)
        if found and (opened or opening not in head):  # the chat template may have opened the block
            return Parts(_drop_wrapper(tail.strip()), head.removeprefix(opening).strip())
        if opened:
            return Parts("", text.removeprefix(opening).strip(), is_whole=False)
    return Parts(_drop_wrapper(text))


def find_left(text: str) -> Iterator[str]:
    """The pieces of markup in a text of `split` that are no part of code, of a quotation, or of HTML."""
    if not _may_have_markup(text):
        return
    plain = _CODE.sub(lambda code: " " * len(code[0]), text)
    is_struck = plain.count("</s>") <= len(_STRUCK.findall(plain))
    for found in _MARKUP.finditer(plain):
        if not (_is_quoted(plain, found.start(), found.end()) or (is_struck and found["html"] is not None)):
            yield found[0]


def _may_have_markup(text: str) -> bool:
    """Whether a text has to be looked at closely. It is asked of every reply: single characters are found at once."""
    return (
        "|" in text
        or "｜" in text
        or "◁" in text
        or ("<" in text and ">" in text and _ANGLED.search(text) is not None)
        or ("[" in text and _BRACKETED.search(text) is not None)
    )


def _drop_ends(text: str) -> str:
    """A text without the tokens that end a turn; `</s>` counts as HTML where a tag before it opens it."""
    unopened = text.count("</s>") - len(_STRUCK.findall(text)) if text.endswith(("</s>", ">", "]", "[")) else 0
    end = len(text)
    while found := _LAST.search(text[max(0, end - _LAST_CHARS) : end]):
        if found["html"] is not None:
            if unopened <= 0:
                break
            unopened -= 1
        end -= len(found[0])
        while end and text[end - 1].isspace():
            end -= 1
    return text[:end]


def _drop_head(text: str) -> str:
    found = _HEAD.match(text)
    return text[found.end() :] if found else text


def _drop_wrapper(text: str) -> str:
    for wrapper in _WRAPPERS:
        text = text.removeprefix(wrapper).lstrip()
    return text


def _split_channels(text: str) -> Parts:
    """The parts of a reply in harmony: what stands in the channel `final` is its text, all else is reasoning.

    A call of a tool, or text between the channels, leaves it as it is: its markup then makes it unusable.
    """
    heads = list(_HARMONY.finditer(text))
    if not heads:
        return Parts(_drop_ends(text))
    begun, ended, loose = text[: heads[0].start()].partition("<|end|>")  # the chat template may have opened a channel
    if loose.strip() or (begun.strip() and not ended):
        return Parts(text)
    said: list[str] = []
    thought = [begun.strip()] if begun.strip() else []
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        content = text[head.end() : after.start() if after else len(text)]
        end = _HARMONY_ENDS.search(content)
        is_call = " to=" in f" {head['role'] or ''} {head['header']}" or (end is not None and end[0] == "<|call|>")
        if is_call or (end is not None and content[end.end() :].strip()):
            return Parts(text)
        where = said if head["channel"] == "final" else thought
        where.append(content[: end.start() if end else len(content)].strip())
    return Parts("\n".join(said), "\n".join(thought), is_whole=bool(said))


def _is_quoted(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return bool(before and after) and before in _QUOTES[0] and after in _QUOTES[1]
