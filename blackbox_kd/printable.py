"""Text of others, made fit to be shown: on a terminal, in JSON on a terminal, in Markdown.

Words of a server, names of its models, rows, and names in a stranger's recipe may hold what a terminal obeys (escape
sequences move the cursor, rewrite lines, set the title or the clipboard), what turns the reading direction of all that
follows, and what a page makes a picture of, which it fetches, or a link, a row of a table, or HTML.
"""

import os
import re
from typing import TextIO

_UNPRINTABLE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, but for line feed and tab
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"  # direction, invisible spaces and operators, line separators
    "\u180e\ufeff\ufff9-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # format, tags
    "\ud800-\udfff"
    "]"
)
"""What nobody can see and a terminal may act on. Joiners, which Persian and emoji need, are not among it."""
_ACTIVE = re.compile(
    r"[`|]|~~|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=[(\[:])|\$(?!\d)"
    r"|(?<![^\W_])_|_(?![^\W_])|\*(?=\S)|(?<=\S)\*"
    r"|\\(?=[!-/:-@\[-`{-~])"
)
"""What Markdown would take for code, a cell, HTML, a link or picture, mathematics, emphasis or an escape."""
_BLOCK = re.compile(r"\A(?=#{1,6}(?:\s|\Z)|>|[-+*](?:\s|\Z)|(?:-\s*){3}|={3}|\d{1,9}[.)](?:\s|\Z))(\d*)")
"""What would begin a heading, a quotation or a list."""


def write_to(stream: TextIO | None, text: str) -> None:
    """Writes to stdout or stderr, as long as somebody reads it: a pipe that was closed ends no run that is paid for."""
    if stream is None or stream.closed:
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, stream.fileno())  # what is still buffered, and all that comes, goes nowhere
        os.close(nobody)


def escape_text(text: str) -> str:
    """A text of several lines in which nothing is left that a terminal would obey: it stands there as an escape."""
    return _UNPRINTABLE.sub(_escape, text.replace("\r\n", "\n"))


def escape_line(text: str) -> str:
    """The same of a name or a sentence: a line break in it is an escape, too, and can forge no line of ours."""
    return escape_text(text).replace("\n", "\\n").replace("\t", "\\t")


def escape_json(text: str) -> str:
    """A text of JSON that says the same to who reads it, and in which a terminal finds nothing to obey."""
    return _UNPRINTABLE.sub(_escape_unit, text)


def escape_markdown(text: str) -> str:
    """A text of others in a sentence or a cell of a table: the page shows each sign of it, and obeys none."""
    return _BLOCK.sub(r"\1\\", _ACTIVE.sub(r"\\\g<0>", escape_line(text)))


def quote_code(text: str) -> str:
    """A name of others as code, whatever backticks it holds itself."""
    text = escape_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if len(fence) > 1 or not text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_unit(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
