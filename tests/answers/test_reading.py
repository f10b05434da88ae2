"""What a person reads in a text, line by line of `reading.jsonl`, and what must hold of every text."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd import answers
from blackbox_kd.analysis import verdicts
from blackbox_kd.errors import DataError

LINES: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("reading.jsonl").read_text().splitlines()
]
ANSWERS = [line for line in LINES if line["kind"] not in ("scale", "panel")]
VERDICTS = [line for line in LINES if line["kind"] in ("scale", "panel")]
KINDS = ["number", "choice", "boolean", "exact", "math"]


def name(line: dict[str, Any]) -> str:
    return f"{line['kind']}-{line['language']}-{line['text'][:50]!r}-{str(line.get('reference'))[:20]!r}"


def judge(line: dict[str, Any], text: str) -> tuple[str | None, bool]:
    kind = {line["kind"]: line["options"]} if "options" in line else line["kind"]
    row = {"choices": line["choices"]} if "choices" in line else {}
    return answers.judge(kind, text, line["reference"], row)


@pytest.mark.parametrize(
    "text", ["The answer is:", "So it is.\nThe answer is", 'The answer is: ""', "The answer to it is ."]
)
@pytest.mark.parametrize(("kind", "reference"), [("exact", "forty minutes"), ("number", "4"), ("choice", "A")])
def test_a_text_that_breaks_off_before_its_answer_is_not_right(text: str, kind: str, reference: str) -> None:
    assert answers.judge(kind, text, reference, {})[1] is False
    assert answers.judge(kind, f"The answer is: {reference}", reference, {})[1] is True


@pytest.mark.parametrize("line", ANSWERS, ids=name)
def test_a_reader_agrees_with_a_person(line: dict[str, Any]) -> None:
    if line.get("refused"):
        with pytest.raises(DataError, match="the reference"):
            judge(line, line["text"])
        return
    read, right = judge(line, line["text"])
    assert (read is not None, right) == (line["read"] is not None, line["right"]), read
    if read is not None:
        assert judge(line | {"reference": line["read"]}, line["text"])[1], f"it read {read!r}"


@pytest.mark.parametrize("line", VERDICTS, ids=name)
def test_a_verdict_is_read_as_a_person_reads_it(line: dict[str, Any]) -> None:
    scale = tuple(line["scale"])
    try:
        if line["kind"] == "scale":
            read: Any = verdicts.read_labelled(line["text"], line["labels"], scale)
        else:
            read = verdicts.read_bracketed(line["text"], scale)
    except ValueError:
        read = None
    assert read == line["read"]


def test_the_lines_are_many_in_many_languages_and_grouped_by_kind() -> None:
    assert len(LINES) >= 400
    assert len({line["language"] for line in LINES}) >= 10
    kinds = [line["kind"] for line in LINES]
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before] == [
        *KINDS,
        "scale",
        "panel",
    ]


WORDS = st.sampled_from(
    [
        "a",
        "b",
        "the",
        "5",
        "6",
        "7",
        "12",
        "1,234",
        "3.5",
        "-2",
        "1/2",
        "50%",
        "$4",
        "k",
        "M",
        "and",
        "or",
        ",",
        ".",
        ":",
        "feet",
        "inches",
        "hours",
        "March",
        "pm",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "=",
        "x",
        "+",
        "is",
        "not",
        "yes",
        "no",
        "true",
        "A",
        "B",
        "C",
        "twelve",
        "twenty-one",
        "hundred",
        "dozen",
        "million",
        "答案",
        "是",
        "42",
        "個",
        "万",
        "円",
        "Antwort",
        "Ответ",
        "Paris",
        "wait",
        "actually",
        "Question:",
        "####",
        "\\frac{1}{2}",
        "\\begin{pmatrix}",
        "&",
        "\\\\",
        "\\end{pmatrix}",
        "$",
        "½",
        "×",
        "²",
        "－",
        "Ａ",
        "１",
        "«x»",
        "'y'",
        "\u200b",
    ]
)
REFERENCES = st.one_of(
    st.lists(WORDS, min_size=1, max_size=6).map(" ".join),
    st.text(min_size=1, max_size=30),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.sampled_from([str(line["reference"]) for line in ANSWERS]),
).filter(lambda text: len(text.splitlines()) == 1)
"""Whatever may stand in a column with right answers; most of it is refused by some kind."""
SETTINGS = settings(derandomize=True, max_examples=400, deadline=None)


def accepts(kind: str, reference: str) -> bool:
    try:
        answers.kind(kind).same("", reference, {})
    except DataError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(reference=REFERENCES)
def test_a_reference_that_is_accepted_is_the_same_as_itself_and_right_as_a_reply(kind: str, reference: str) -> None:
    if not accepts(kind, reference):
        return
    assert answers.kind(kind).same(reference, reference, {})
    for reply in (reference, f"The answer is {reference}."):
        assert answers.judge(kind, reply, reference, {})[1], reply


SENTENCES = [
    "I hope this helps!",
    "Let me know if you have any questions.",
    "We went through it step by step.",
    "That is what was asked for.",
    "Everything else follows from it.",
    "Please wait for the next lesson.",
    "A question well asked is a question half answered.",
    "Isn't mathematics beautiful?",
    "Viel Erfolg beim Lernen.",
    "Bonne journée !",
    "希望对你有帮助。",
]


@SETTINGS
@given(
    line=st.sampled_from([line for line in ANSWERS if "answer" in line["text"].lower() and line["read"]]),
    sentence=st.sampled_from(SENTENCES),
    joint=st.sampled_from([" ", "\n", "\n\n"]),
)
def test_a_sentence_without_numbers_changes_nothing(line: dict[str, Any], sentence: str, joint: str) -> None:
    text = line["text"]
    if line["kind"] == "exact" and not text.rstrip("\"'*”").endswith((".", "。")):
        joint = "\n"  # there a text goes on until its sentence ends
    if line["kind"] == "exact" and sentence[0] not in "ILTI":
        joint = "\n"  # a capital and a full stop may begin a name
    if line["kind"] == "math" or text.endswith(("</answer>", "}")) or "<answer>" in text or "####" in text:
        joint = "\n"
    closed = text if text.rstrip("*\"'").endswith((".", "!", "。", "?")) or joint != " " else f"{text}."
    assert judge(line, f"{closed}{joint}{sentence}") == judge(line, text)
    assert judge(line, f"{sentence}\n{text}") == judge(line, text)


HOSTILE = [
    "the answer is ",
    "The answer is 5, ",
    "wait, ",
    "#### 5\n",
    "Question: ",
    "<answer>",
    "</answer>",
    "A, ",
    "not A or B ",
    "A is wrong, ",
    "yes or no ",
    "x = 3, ",
    "{1, ",
    "[[1, 2], ",
    "\\begin{pmatrix}",
    "答案是",
    "四",
    "two hundred and ",
    "1 234 ",
    "5 feet ",
    "[1]",
    "(\n",
    "正",
    "ด",
    "'",
    ". ",
    "a",
    "5",
    "- ",
    "$",
    "```",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("piece", "kind"), [(piece, KINDS[number % len(KINDS)]) for number, piece in enumerate(HOSTILE * 2)]
)
def test_a_long_text_is_read_in_linear_time(piece: str, kind: str) -> None:
    text, began = (piece * 250_000)[:250_000], time.process_time()
    answers.judge(kind, text, "yes" if kind == "boolean" else "A" if kind in ("choice", "exact") else "5", {})
    answers.goes_on(text)
    for read in (
        lambda: verdicts.read_labelled(text, ["quality"], (1, 10)),
        lambda: verdicts.read_bracketed(text, (1, 5)),
    ):
        try:
            assert read()
        except ValueError:
            continue
    # What takes a minute for a megabyte, and grows with the square, takes this long for a quarter of one.
    assert time.process_time() - began < 60 / 4**2
