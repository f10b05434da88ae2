import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_kd.errors import UserError
from blackbox_kd.recipe import yaml_source
from blackbox_kd.recipe.overrides import override
from blackbox_kd.recipe.yaml_source import Source, format_path, parse_path, read

RECIPE = """\
name: demo
models:
  teacher: {provider: scripted}
  qwen2.5: {provider: vllm}
steps:
  - step: generate
    samples: 2
  -
    step: check
    answer: number
  - step: generate
    stop: [a,
           b]
"""


def source(text: str = RECIPE) -> Source:
    found = read(text)
    assert not found.problems
    return found


def test_every_value_knows_its_line() -> None:
    found = source()
    assert found.line(("models", "teacher", "provider")) == 3
    assert found.line(("steps", 0)) == 6
    assert found.line(("steps", 0, "samples")) == 7
    assert found.line(("steps", 1)) == 9
    assert found.line(("steps", 2, "stop", 1)) == 13


def test_a_value_that_is_not_there_has_the_line_of_the_one_around_it() -> None:
    assert source().line(("steps", 1, "against")) == 9
    assert source().line(("budget", "usd")) == 1
    assert Source(values={"name": "made by a command"}).line(("name",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("1e-5", 1e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("true", True),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("'null'", "null"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = source(f"x: {text}").values["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("key", ["on", "no", "5", "null", "<<"])
def test_keys_are_text(key: str) -> None:
    assert source(f"{key}: 1").values == {key: 1}


@pytest.mark.parametrize("text", ["!!int x: 1", "x: !!bool maybe", "x: !!timestamp 5", "x: !secret y", "x: !<tag:a> 1"])
def test_no_tag_is_read_whatever_it_says(text: str) -> None:
    found = read(text)
    assert found.values is None
    assert "is not read: recipes hold plain values" in found.problems[0].message


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abc", "bcd", strict=True)
    )
    (problem,) = read(bomb).problems
    assert problem.line == 1
    assert problem.message.startswith("anchor '&a' is not read")


def test_a_number_of_a_million_digits_is_refused_and_not_converted() -> None:
    (problem,) = read("seed: " + "9" * 900_000).problems
    assert problem.message == f"number {'9' * 40}... is too large."


def test_brackets_by_the_thousand_do_not_exhaust_the_stack() -> None:
    for text in ("x: " + "[" * 100_000, "x: " + "{a: " * 10_000, "- " * 100_000):
        assert [problem.message for problem in read(text).problems] == ["nested deeper than 50 levels."]


def test_a_character_that_yaml_does_not_know_is_shown_with_its_line() -> None:
    (problem,) = read("name: demo\nseed: \x07\n").problems
    assert (problem.line, problem.message) == (2, r"character '\x07' cannot stand in YAML.")


def test_a_text_of_more_than_a_megabyte_is_not_parsed() -> None:
    assert read("x: " + "y" * 999_997).values is not None
    assert (
        read("x: " + "y" * 999_998).problems[0].message == "the recipe has 1,000,001 bytes; at most 1,000,000 are read."
    )


def test_all_double_fields_of_a_recipe_are_found_at_once() -> None:
    problems = read("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n").problems
    assert [(problem.line, problem.path) for problem in problems] == [(2, ""), (5, "b")]


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from(list("ab:- \n\t{}[],'\"#&*!|>%@`?~1.e\\\x00\ufeff")), max_size=40) | st.text(max_size=40)
)
def test_no_text_makes_the_reader_fail_otherwise_than_by_a_problem(text: str) -> None:
    found = read(text)
    assert found.values is None or not found.problems
    assert all(problem.line >= 1 and problem.fix for problem in found.problems)


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029\ufeff"), max_size=20)
WORDS = PLAIN | st.sampled_from(
    ["no", "1e5", "0o7", "012", "1:30", "~", "", "<<", "=", "*a", "- a", "a: b", "#x", "a\nb"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_written_is_read_back_as_it_was(value: object) -> None:
    assert source(yaml_source.dump(value)).values == value


def test_a_value_that_occurs_twice_is_written_without_an_alias() -> None:
    stop = ["\n"]
    assert source(yaml_source.dump({"a": stop, "b": stop})).values == {"a": ["\n"], "b": ["\n"]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("steps.0.samples", 8),
        ("steps[0].samples", 8),
        ("steps.-1.samples", 8),
        ("steps.check.answer", "choice"),
        ("models.teacher.provider", "openai"),
        ("models.qwen2.5.provider", "openai"),
        ("steps.2.stop.1", "c"),
        ("name", "other"),
    ],
)
def test_a_value_is_changed_by_position_name_or_nested_path(path: str, value: object) -> None:
    found = source()
    override(found, f"{path}={value}")
    here = found.values
    for part in parse_path(path, found.values):
        here = here[part]
    assert here == value


def test_fields_on_the_way_are_made() -> None:
    found = source("name: demo\nbudget:\n")
    override(found, "budget.usd=0.5")
    override(found, "data.train.rename.question=instruction")
    assert found.values == {
        "name": "demo",
        "budget": {"usd": 0.5},
        "data": {"train": {"rename": {"question": "instruction"}}},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.1", 0.1),
        ("true", True),
        ("null", None),
        ("", ""),
        ("[a, b]", ["a", "b"]),
        ("{usd: 1}", {"usd": 1}),
        ("score >= 4 and correct", "score >= 4 and correct"),
        ("answer == 'x'", "answer == 'x'"),
        ("/home/me/rows.jsonl", "/home/me/rows.jsonl"),
    ],
)
def test_the_value_of_an_override_is_yaml(text: str, value: object) -> None:
    found = source("a: 1\n")
    override(found, f"a={text}")
    assert found.values == {"a": value}


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("steps.0.samples", "it is not PATH=VALUE"),
        ("=3", "it is not PATH=VALUE"),
        ("steps..samples=3", "a part of the path is empty"),
        ("steps.9.samples=3", "steps has no entry '9', but positions 0 to 2 and steps generate, check, generate"),
        (
            "steps.filter.keep=x",
            "steps has no entry 'filter', but positions 0 to 2 and steps generate, check, generate",
        ),
        ("steps.generate.samples=3", "2 steps are called 'generate'; use a position: 0, 2"),
        ("steps.2.stop.5=x", "steps[2].stop has no entry '5', but positions 0 to 1"),
        ("name.first=x", "name is 'demo', which has no field 'first'"),
        ("seed=[1", "the value cannot be read: the bracket opened here is not closed, or lacks a comma inside"),
        ("seed=&a 1", "the value cannot be read: anchor '&a' is not read: a few bytes of them can become gigabytes"),
    ],
)
def test_an_override_that_leads_nowhere_says_why_and_changes_nothing(assignment: str, reason: str) -> None:
    found = source()
    with pytest.raises(UserError) as caught:
        override(found, assignment)
    path, equals, _ = assignment.partition("=")
    assert str(caught.value) == (
        f"--set {path}{equals and '=...'}: {reason}.\n"
        "  fix: write --set PATH=VALUE, such as models.teacher.model=NAME or steps.0.samples=4"
    )
    assert found.values == source().values


def test_a_value_remembers_the_override_that_gave_it() -> None:
    found = source()
    override(found, "models.teacher={provider: x}")
    assert found.note(("models", "teacher", "provider")) == "given by --set models.teacher"
    assert found.note(("models", "qwen2.5")) == ""
    assert found.line(("models", "teacher", "provider")) == 3


def test_a_path_is_written_as_a_reader_would_write_it() -> None:
    assert format_path(("steps", 0, "examples", "table")) == "steps[0].examples.table"
    assert format_path(()) == ""
