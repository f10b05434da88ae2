"""What an expression may say, what it means for a row, and that nothing else gets through."""

import ast
import warnings
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.errors import DataError, FieldError
from blackbox_kd.sandbox.expressions import FUNCTIONS, evaluate, parse

ROW: dict[str, Any] = {
    "id": "r0",
    "response": "Yes, there are 12 apples.",
    "score": 4,
    "share": 0.5,
    "text": "4",
    "correct": True,
    "flagged": False,
    "nothing": None,
    "scores": [1, 5, 3],
    "metadata": {"difficulty": 2, "source": "a", "gap": None},
    "my column": 7,
    "class": "b",
    "len": 9,
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("correct", True),
        ("not flagged and score >= 4", True),
        ("flagged or score == 4", True),
        ("1 < score < 4", False),
        ("score in [1, 4]", True),
        ("score not in {1, 4}", False),
        ("'apples' in response", True),
        ("score + 1 - 2 * 3", -1),
        ("score / 8 + 7 // 2 + 7 % 4", 6.5),
        ("-score", -4),
        ("'many' if score > 3 else 'few'", "many"),
        ("metadata['difficulty'] + scores[-1]", 5),
        ("response[:3]", "Yes"),
        ("response[5:]", "there are 12 apples."),
        ("correct == true and flagged == false", True),
        ("nothing is None and nothing == None and nothing == null", True),
        ("score is not None and score > 3", True),
        ("nothing is not None and nothing > 3", False),
        ("metadata['gap'] is None", True),
        ("len(response) < 2000", True),
        ("words(response)", 5),
        ("lower(strip(response)) == 'yes, there are 12 apples.'", True),
        ("upper('a')", "A"),
        ("startswith(response, 'Yes') and endswith(response, '.')", True),
        ("contains(response, 'apples') and contains(scores, 5)", True),
        (r"matches(response, '\\d+ apples')", True),
        ("matches(response, '(?i)YES')", True),
        ("number(text) + number('0.5')", 4.5),
        ("abs(-2) + round(2.567, 2) + min(1, 2) + max(scores) + sum(scores)", 19.57),
        ("text(score)", "4"),
        ("column('my column') + 1", 8),
        ("column('class') == 'b'", True),
        ("len", 9),
        ("score * 'ab'", "abababab"),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(expression: str, value: Any) -> None:
    assert evaluate(expression, ROW) == value


def test_names_are_the_columns_that_an_expression_reads() -> None:
    expression = parse("len(response) > 3 and column('my column') or scores[0] == true")
    assert expression.names == {"response", "my column", "scores"}


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("response.upper()", "'response.upper' is not one of the functions"),
        ("response.text", "'response.text' is an attribute"),
        ("().__class__", "is an attribute"),
        ("__import__('os')", "'__import__' is not one of the functions"),
        ("eval('1')", "'eval' is not one of the functions"),
        ("lenght(response)", "did you mean len?"),
        ("(lambda: 1)()", "is not one of the functions"),
        ("lambda: 1", "is a lambda"),
        ("f'{response}'", "is an f-string"),
        ("2 ** 9", r"the operator \*\*"),
        ("1 | 2", "a bit operation"),
        ("[x for x in scores]", "is a comprehension"),
        ("{'a': 1}", "is an object"),
        ("(x := 1)", "is an assignment"),
        ("scores[::2]", "a slice with a step"),
        ("max(*scores)", "without names and stars"),
        ("round(share, digits=1)", "without names and stars"),
        ("lower()", "missing a required argument"),
        ("lower('a', 'b')", "too many positional arguments"),
        ("matches(response, text)", "argument 2 is a text in quotes"),
        ("matches(response, '(')", "no regular expression of RE2's"),
        ("matches(response, '(?=x)')", "no regular expression of RE2's"),
        ("column(response)", "argument 1 is a text in quotes"),
        ("score is 4", "asks for None only\n  fix: write == or !="),
        ("...", "not allowed"),
        ("b'x'", "not allowed"),
        ("1j", "not allowed"),
        ("score = 4", "to compare, write =="),
        ("correct && flagged", "write and"),
        ("correct || flagged", "write or"),
        ("!correct", "write not"),
        ("class == 'b'", r"column\('NAME'\)"),
        ("", "it is empty"),
        ("x" * 2_000, "1,000 are the most"),
        ("-" * 990 + "1", "nested too deeply"),
        ("\0", "null bytes"),
    ],
)
def test_what_is_not_allowed_is_named(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(expression)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("grade > 3", "the row has no column 'grade'; its columns: id, response"),
        ("nothing > 3", "column 'nothing' is None; to allow for it, write: nothing is not None and"),
        ("nothing == 3", "column 'nothing' is None"),
        ("nothing in [3]", "column 'nothing' is None"),
        ("not nothing", "column 'nothing' is None"),
        ("metadata['gap'] == 1", "'gap' in .* is None"),
        ("metadata['level'] == 1", "there is no 'level' in"),
        ("scores[9]", "there is no 9 in"),
        ("text == 4", r"'4' and 4 are never equal, one is text\n  fix: number"),
        ("text != 4", "never equal"),
        ("text > 3", r"number\(\.\.\.\) turns text into a number"),
        ("score / 0", "division by zero"),
        ("'%1000000000d' % 5", "% takes numbers"),
        ("response * 100000000", "a repetition is at most 100,000 long"),
        ("[0] * 100000000", "a repetition is at most 100,000 long"),
        ("round(5, -1000000000)", "at most 15 digits"),
        ("lower(score)", r"lower\(\) takes text, got 4"),
        ("number('many')", "'many' is no number"),
    ],
)
def test_a_row_that_does_not_fit_is_an_error_and_not_false(expression: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        evaluate(expression, ROW)


def test_columns_are_read_only_where_they_are_needed() -> None:
    assert evaluate("correct or grade > 3", ROW) is True


def test_a_column_cannot_pose_as_a_function_or_a_helper() -> None:
    assert evaluate("len(response)", {"response": "abc", "len": "x", "<len>": "x", "<column>": "x"}) == 3


def test_a_pattern_that_python_would_search_for_ages_is_searched_in_linear_time() -> None:
    assert evaluate("matches(response, '(a+)+$')", {"response": "a" * 50_000 + "!"}) is False


def test_the_builtins_are_out_of_reach() -> None:
    assert "__builtins__" not in parse("score").names
    with pytest.raises(DataError, match="no column '__builtins__'"):
        evaluate("__builtins__", ROW)


ATOMS = st.sampled_from(["score", "response", "nothing", "scores", "1", "0.5", "'a'", "None", "[]", "True", "9" * 40])
HOSTILE = st.sampled_from(
    ["().__class__", "open('x')", "__import__('os')", "(lambda: 1)", "f'{score}'", "[a for a in b]"]
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = ["+", "-", "*", "/", "//", "%", "**", "and", "or", "==", "!=", "<", ">=", "in", "is", "@", "|", "<<", "."]
    binary = st.sampled_from(signs)
    return st.one_of(
        st.tuples(inner, binary, inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"),
        st.tuples(st.sampled_from([*FUNCTIONS, "eval", "exit"]), inner).map(lambda parts: f"{parts[0]}({parts[1]})"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        inner.map(lambda part: f"not {part}"),
        inner.map(lambda part: f"{part}.real"),
    )


@settings(max_examples=400, deadline=None)
@given(st.recursive(ATOMS | HOSTILE, combined, max_leaves=8))
def test_whatever_is_written_ends_in_a_plain_value_or_in_an_error_of_ours(expression: str) -> None:
    try:
        value = evaluate(expression, ROW)
    except (DataError, ValueError):
        return
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


@settings(max_examples=200, deadline=None)
@given(st.recursive(ATOMS, combined, max_leaves=6), HOSTILE)
def test_a_hostile_part_is_refused_wherever_it_stands(expression: str, hostile: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse(f"({expression}) if score else {hostile}")
    assert not isinstance(refused.value, DataError)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return
    ast.parse(text.strip(), mode="eval")


@pytest.mark.parametrize("text", ["score > 1and correct", "matches(response, '\\d+')", "not [1](score)", "1 is score"])
def test_python_warns_nobody_of_the_style_of_an_expression(text: str) -> None:
    parse.cache_clear()
    with warnings.catch_warnings(record=True) as warned, suppress(FieldError):
        warnings.simplefilter("always")
        parse(text)
    assert warned == []
