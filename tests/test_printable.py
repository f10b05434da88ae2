"""Texts of others are shown and not obeyed: by a terminal, by who reads JSON, and by a page that renders Markdown."""

import json
import sys
import unicodedata
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from blackbox_kd.printable import escape_json, escape_line, escape_markdown, escape_text, quote_code

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
SHOWN = "\u00ad\u200c\u200d"
"""Marks without a look of their own that texts need, and that do nothing to a terminal: hyphens, joiners."""
ATTACKS = [
    "\x1b[2J\x1b[1;1Hall is well",
    "\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b31mred\x9d0;title\x9c",
    "all rows kept\rno rows kept",
    "abc\x08\x08\x08xyz",
    "\u202egnp.exe",
    "user\u2066 // admin\u2069\u2067",
    "a\u2028b\u2029c",
    "name\u200b\ufeff\U000e0041",
    "half \ud83d of a character",
]
MARKUP = [
    "![](https://evil.example/pixel.png)",
    "[click](https://evil.example) [x][1]\n\n[1]: https://evil.example",
    "<img src=x onerror=alert(1)><!-- hidden",
    "</td></table><script>alert(1)</script>",
    "a | b | c",
    "`code` and ``more`` and ~~less~~",
    "*a* _b_ __c__ **d** 9*9=81 and 3*3",
    "# heading",
    "1. one",
    "1) one",
    "- item",
    "> quote",
    "+ item",
    "---",
    "===",
    "&lt;b&gt; &#60; &copy; A&B",
    "\\*already\\* \\_escaped\\_ C:\\new",
    "line\n# heading\n- item",
    "snake_case_name, steps[0] (generate)",
    "https://huggingface.co/x_y_z",
]


def is_safe(char: str) -> bool:
    return char in "\n\t" or char in SHOWN or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_is_left_that_a_terminal_obeys_and_all_of_it_can_be_seen(text: str) -> None:
    shown = escape_text(text)
    assert all(map(is_safe, shown))
    assert shown.encode("ascii", "backslashreplace").decode() == text.encode(
        "ascii", "backslashreplace"
    ).decode().translate({code: f"\\x{code:02x}" for code in [*range(9), *range(11, 32), 127]})


def test_every_invisible_character_is_shown_but_those_that_scripts_need() -> None:
    visible_formats = {"Arabic", "SYRIAC", "KAITHI"}  # signs before a number or a word, which have a look
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if is_safe(char) or any(
            unicodedata.name(char, "").upper().startswith(each.upper()) for each in visible_formats
        ):
            continue
        assert escape_text(f"a{char}b") != f"a{char}b", hex(code)


def test_texts_of_all_scripts_stay_as_they_are() -> None:
    text = "Ünïcödé\tنص\n中文 हिन्दी 👩\u200d🔬 می\u200cخواهم co\u00adop"
    assert escape_text(text) == text


def test_a_name_takes_one_line() -> None:
    assert escape_line("train\n  fix: rm -rf ~\r\n\tx") == "train\\n  fix: rm -rf ~\\n\\tx"


@pytest.mark.parametrize("text", [*ATTACKS, *MARKUP])
def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = escape_json(json.dumps({"text": text}, ensure_ascii=False, indent=1))
    assert all(map(is_safe, shown))
    assert json.loads(shown) == {"text": text}


def read(markdown: str) -> str:
    return MARKDOWN.render(markdown)


@pytest.mark.parametrize("text", [*ATTACKS, *MARKUP])
def test_a_page_shows_a_text_in_a_sentence_and_in_a_cell_and_makes_nothing_of_it(text: str) -> None:
    expected = escape_line(text).strip()
    sentence = read(f"It says {escape_markdown(text)}")
    assert unescape(sentence) == f"<p>It says {expected}</p>\n"
    cell = read(f"| a | b |\n|---|---|\n| {escape_markdown(text)} | last |")
    assert "<td>last</td>" in cell
    assert f"<td>{expected}</td>" in unescape(cell)
    alone = read(escape_markdown(text))
    assert unescape(alone) == f"<p>{expected}</p>\n"


@pytest.mark.parametrize("text", [*ATTACKS, *MARKUP, "a`b", "``", " ", "`a``b`"])
def test_a_page_shows_a_name_as_code_whatever_it_holds(text: str) -> None:
    assert unescape(read(f"By {quote_code(text)} alone.")) == f"<p>By <code>{escape_line(text)}</code> alone.</p>\n"


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1.)(][!*_`~<>/&;#\\|-=+:$\n\t\x1b\u202e "), max_size=16))
def test_own_signs_of_markdown_in_any_order_mean_nothing(text: str) -> None:
    page = unescape(read(f"x {escape_markdown(text)} y"))
    assert page.split() == f"<p>x {escape_line(text)} y</p>".split()
    alone = unescape(read(escape_markdown(text.strip(" "))))
    assert alone.split() == f"<p>{escape_line(text.strip(' '))}</p>".split() or not text.strip(" ")
