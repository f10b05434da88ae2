r"""Characters and mark-up made one: of all scripts by `clean`, of LaTeX and Markdown by `plain`.

Both sides of every comparison pass through here, so that `\boxed{\$1{,}234.50}` and `**$1,234.50**` read alike, as do
the full-width and the plain letter, the typographic and the typed quote.
"""

import re
import unicodedata

from blackbox_kd.paths import read_table

_INVISIBLE = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0x00AD, 0xFE0E, 0xFE0F)
"""Zero-width characters, marks of direction, the soft hyphen, and what chooses between forms of a character."""
_TABLE = read_table(__file__)
_CHARACTERS = dict.fromkeys(_INVISIBLE, "") | {
    ord(sign): plain for plain, signs in _TABLE["characters"].items() for sign in signs
}
_THIN_SPACE = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_DIGIT = re.compile(r"(?![0-9])\d")
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Letters of Thai, Lao, Burmese, Khmer, Japanese, Chinese and Korean: no blank parts them from a number or a label."""
_SEAM = re.compile(rf"(?<=[{UNSPACED}])(?=[-+]?[0-9A-Za-z])|(?<=[0-9A-Za-z%])(?=[{UNSPACED}])")
_VULGAR: dict[str, str] = _TABLE["fractions"]
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_VULGAR_FRACTION = re.compile(f"[{''.join(_VULGAR)}]")
_SUPERSCRIPT = re.compile(r"(?<=[\w)])[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_STYLED = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|rm|it|sf|tt)|operatorname\*?|boxed|fbox|mbox|underline)"
    r"\s?\{([^{}]*)\}"
)
_SYMBOLS: dict[str, str] = _TABLE["symbols"]
_LATEX_STEPS = [(re.compile(step["says"]), step["means"]) for step in _TABLE["latex"]]
_SHORT_FRACTION = re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)")
_FRACTION = re.compile(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_BRACED_POWER = re.compile(r"\^\s?\{\s?([-+]?\s?\d+)\s?\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_EMPHASIS = re.compile(r"(?<![\w)*])\*(?=[^\s*])([^*\n]{1,200}?)(?<=[^\s*])\*(?![\w(*])")
_DEEPEST = 6


def clean(text: str) -> str:
    """The text in NFKC without invisible characters, with one sign for each minus and quote, and digits from 0 to 9.

    What NFKC would spoil is written out first: 2½ is no 21/2, 10⁸ no 108, and a thin space between digits groups them.
    """
    if text.isascii():
        return text
    text = _THIN_SPACE.sub("'", text.translate(_CHARACTERS))
    text = _VULGAR_FRACTION.sub(lambda match: f" {_VULGAR[match[0]]}", text)
    text = _SUPERSCRIPT.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)
    return _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), unicodedata.normalize("NFKC", text))


def part_scripts(text: str) -> str:
    """The text with a blank wherever a digit or a Latin letter touches a letter of a script without blanks."""
    return text if text.isascii() else _SEAM.sub(" ", text)


def plain(text: str) -> str:
    """The text with LaTeX and Markdown mark-up gone and one sign for each minus, space and operator."""
    text = clean(text).replace("`", "")
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    text = text.replace("**", "").replace("__", "")
    return _EMPHASIS.sub(r"\1", text)


def _without_latex(text: str) -> str:
    for pattern, plainly in _LATEX_STEPS:
        text = pattern.sub(plainly, text)
    text = _SHORT_FRACTION.sub(_quotient, text)
    text = _BRACED_POWER.sub(r"^\1", text)
    for _ in range(_DEEPEST):  # the innermost braces first
        flat = _FRACTION.sub(_quotient, _STYLED.sub(r" \1 ", text))
        if flat == text:
            break
        text = flat
    text = _COMMAND.sub(lambda match: _SYMBOLS.get(match[1], f" {match[1]} "), text)
    return text.replace("{", "").replace("}", "")


def _quotient(match: re.Match[str]) -> str:
    """A fraction of two numbers as `3/4`; of anything else as `(a)/(b)`, which is no number."""
    above, below = match[1].strip(), match[2].strip()
    if re.fullmatch(r"[\d.,]+", above) and re.fullmatch(r"[\d.,]+", below):
        whole = match.string[max(0, match.start() - 1) : match.start()]
        return f"{' ' if whole.isdigit() else ''}{above}/{below} "
    return f"({above})/({below})"
