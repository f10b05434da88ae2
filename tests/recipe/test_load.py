import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from blackbox_kd.errors import Problem, RecipeError, UserError
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe import yaml_source
from blackbox_kd.recipe.load import build_recipe, load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.support.runs import KEYS

HEAD = """\
name: demo
data:
  train: {path: rows.jsonl}
  test: {path: held.jsonl, held_out: true}
models:
  teacher: {provider: scripted}
steps:
"""
ASK = "  - {step: generate, model: teacher, prompt: rationale/cot}\n"
ASK_TEST = "  - {step: evaluate, input: test, models: [teacher]}\n"
EXAM = ASK_TEST.replace("}", ", FIELDS}")

Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a recipe's text, beside a table with the columns `instruction`, `reference` and `topic`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"instruction": "What is 2 + 3?", "reference": "5", "topic": "sums"}\n')
    (tmp_path / "held.jsonl").write_text('{"instruction": "And 3 + 4?", "reference": "7", "topic": "sums"}\n')

    def loaded(text: str, *overrides: str, **how: object) -> Recipe:
        Path("demo.yaml").write_text(text, encoding="utf-8")
        return load_recipe(Path("demo.yaml"), overrides=overrides, **{"env": {}, **how})  # type: ignore[arg-type]

    return loaded


def problems(load: Load, text: str, *overrides: str, **how: object) -> list[str]:
    """The problems of a recipe: the line, and the first sentence of each."""
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides, **how)
    return [f"{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_a_recipe_is_read_with_its_tables_models_prompts_and_steps(load: Load) -> None:
    found = load(HEAD + ASK + "  - {step: check, answer: number}\n" + ASK_TEST)
    assert found.name == "demo"
    assert {name: table.held_out for name, table in found.data.items()} == {"train": False, "test": True}
    assert found.models["teacher"].provider == "scripted"
    assert [planned.label for planned in found.steps] == [
        "steps[0] (generate)",
        "steps[1] (check)",
        "steps[2] (evaluate)",
    ]
    assert [planned.line for planned in found.steps] == [8, 9, 10]
    assert set(found.prompts) == {"rationale/cot", "student/plain"}
    assert found.folder == Path.cwd()


@pytest.mark.parametrize("path", sorted(find_bundled("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_with_the_package_is_without_problems(path: Path) -> None:
    assert load_recipe(path, env=KEYS).steps


def test_overrides_are_applied_before_the_check(load: Load) -> None:
    found = load(HEAD + ASK + ASK_TEST, "steps.0.samples=3", "steps.evaluate.answer=choice", "budget.usd=1.5", "seed=5")
    assert found.steps[0].config.samples == 3  # type: ignore[attr-defined]
    assert found.steps[1].config.answer == "choice"  # type: ignore[attr-defined]
    assert (found.head.budget.usd, found.head.seed) == (1.5, 5)
    assert found.source.values["steps"][0]["samples"] == 3, "the resolved copy in the run folder shows it"


def test_a_wrong_override_is_named_as_the_origin_of_the_problem(load: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        load(HEAD + ASK + ASK_TEST, "steps.0.samples=0", "steps.1.answer=numbr", "bugdet.usd=1")
    assert [(p.line, p.expected.rpartition("; ")[2]) for p in caught.value.problems] == [
        (1, "given by --set bugdet.usd"),
        (8, "given by --set steps.0.samples"),
        (9, "given by --set steps.1.answer"),
    ]


def test_an_override_that_leads_nowhere_is_an_error_of_its_own(load: Load) -> None:
    with pytest.raises(UserError, match=r"--set steps.filter.keep=...: steps has no entry 'filter'"):
        load(HEAD + ASK, "steps.filter.keep=x")


def test_another_provider_takes_the_teachers_place(load: Load) -> None:
    text = HEAD.replace("scripted", "openai, model: gpt-4.1-mini") + ASK + ASK_TEST
    found = load(text, "steps.1.answer=number", teacher="scripted")
    assert found.models["teacher"].provider == "scripted"
    with pytest.raises(UserError, match="no model called 'teacher'"):
        load(text.replace("teacher", "big"), teacher="scripted")


@pytest.mark.parametrize(
    ("before", "fields", "expected"),
    [
        ("  - {step: check, answer: number}\n", "", ("number", "reference", "student/plain")),
        ("  - {step: check, answer: number, against: topic}\n", "", ("number", "topic", "student/plain")),
        ("  - {step: check, answer: number}\n", ", answer: choice", ("choice", "reference", "student/plain")),
        (
            "  - {step: check, answer: number, against: topic}\n  - {step: check, answer: choice}\n",
            "",
            ("choice", "reference", "student/plain"),
        ),
        (
            "  - {step: format, prompt: rationale/cot}\n  - {step: check, answer: number}\n",
            "",
            ("number", "reference", "rationale/cot"),
        ),
        (EXAM.replace("FIELDS", "answer: exact, against: topic"), "", ("exact", "topic", "student/plain")),
        (
            "  - {step: check, answer: number}\n" + EXAM.replace("FIELDS", "answer: exact, against: topic"),
            "",
            ("number", "reference", "student/plain"),
        ),
        (
            EXAM.replace("FIELDS", "answer: choice"),
            ", judge: teacher, models: [teacher, other]",
            (None, None, "student/plain"),
        ),
    ],
    ids=[
        "taken",
        "all of its fields",
        "own value wins",
        "the nearest, its defaults included",
        "each from its own step",
        "an exam does where nothing is checked",
        "what is checked comes before an exam",
        "a judge compares in its place",
    ],
)
def test_a_field_left_out_takes_the_value_of_the_nearest_earlier_step(
    load: Load, before: str, fields: str, expected: tuple[str | None, str | None, str]
) -> None:
    text = HEAD.replace("scripted}", "scripted}\n  other: {provider: scripted}" if "other" in fields else "scripted}")
    asked = ASK_TEST.replace(", models: [teacher]", "" if "models:" in fields else ", models: [teacher]")
    found = load(text + ASK + before + asked.replace("}", f"{fields}}}"))
    config = found.steps[-1].config
    assert (config.answer, config.against, config.prompt) == expected  # type: ignore[attr-defined]


def test_a_wrong_step_is_reported_once_and_not_by_those_that_build_on_it(load: Load) -> None:
    text = HEAD.replace("scripted}", "scripted}\n  student: {provider: transformers, model: a/b}") + (
        "  - {step: generate, model: teacher, prompt: rationale/cot, sampels: 2, as: draft, output: drafts}\n"
        "  - {step: chek, answer: number, of: draft}\n"
        "  - {step: split, outputs: {right: correct, wrong: [1]}}\n"
        "  - {step: select, input: right, rows: 5, by: top, column: quality}\n"
        "  - {step: mix, tables: {drafts: 1, wrong: 1}}\n"
        "  - {step: train, model: student, epocs: 1}\n"
        "  - {step: evaluate, input: test, models: [student@1, student]}\n"
    )
    assert problems(load, text) == [
        "9: unknown field 'sampels'.",
        "10: unknown step 'chek'.",
        "11: field 'outputs.wrong' must be an expression or a number, not [1].",
        "14: unknown field 'epocs'.",
    ]


def test_wrong_data_and_models_are_reported_once_and_not_by_their_readers(load: Load) -> None:
    text = HEAD.replace("rows.jsonl}", "none.jsonl}").replace("scripted}", "scripted, modle: x}") + ASK
    assert problems(load, text + ASK_TEST, "steps.1.answer=number") == [
        "3: no file 'none.jsonl'.",
        "6: unknown field 'modle'.",
    ]
    assert problems(load, "name: demo\nmodels: 5\nsteps:\n" + ASK) == [
        "1: field 'data' is missing.",
        "2: field 'models' must be a mapping, not 5.",
    ]


def test_a_step_that_inherits_from_a_wrong_one_does_not_repeat_it(load: Load) -> None:
    assert problems(load, HEAD + ASK + "  - {step: check, answer: 5}\n" + ASK_TEST) == [
        "9: field 'answer' must be a kind of answer, not 5."
    ]
    assert problems(load, HEAD + ASK + "  - {step: check}\n" + ASK_TEST) == ["9: field 'answer' is missing."]


def test_columns_are_followed_along_the_chain(load: Load) -> None:
    text = HEAD + (
        "  - {step: generate, model: teacher, prompt: rationale/cot, as: draft, output: drafts}\n"
        "  - {step: check, answer: number, of: draft}\n"
        "  - {step: split, outputs: {right: correct, wrong: not correct}}\n"
        "  - {step: filter, input: wrong, keep: len(draft) > 3, output: retry}\n"
        "  - {step: mix, tables: {right: 1, drafts: 1}, output: both}\n"
        "  - {step: select, input: both, per: topic, best: 1, by: shortest, column: draft}\n"
        "  - {step: format, completion: draft}\n"
    )
    assert len(load(text + ASK_TEST).steps) == 8
    assert problems(load, text.replace("per: topic", "per: correct") + ASK_TEST) == [
        "13: reads column 'correct', which no earlier step writes."
    ], "a mixed table has the columns that all of its parts have"
    assert problems(load, text.replace("completion: draft", "completion: response") + ASK_TEST) == [
        "14: reads column 'response', which no earlier step writes."
    ]


def test_columns_that_only_loading_would_tell_are_not_missed(load: Load) -> None:
    text = HEAD.replace("train: {path: rows.jsonl}", "train: {hub: openai/gsm8k, name: main}")
    assert load(
        text
        + ASK
        + "  - {step: check, answer: number, against: anything}\n"
        + ASK_TEST.replace("}", ", against: topic}")
    )


def test_what_evaluate_writes_is_found_by_its_name_alone(load: Load) -> None:
    text = HEAD + ASK + "  - {step: evaluate, models: [teacher], answer: number, output: asked}\n"
    tail = "  - {step: filter, keep: cost_usd == None}\n  - {step: filter, input: asked, keep: not correct}\n"
    assert load(text + tail + ASK_TEST.replace("}", ", answer: number}"))


PAIRS = "  - {step: generate, model: teacher, prompt: student/plain, as: other}\n"
PAIRS += "  - {step: pair, better: response, worse: other}\n"


@pytest.mark.parametrize(
    ("before", "method", "said"),
    [
        ("  - {step: format}\n", "sft", ""),
        ("", "sft", ""),
        ("  - {step: format, tasks: [{name: solve}]}\n", "sft", ""),
        (PAIRS + "  - {step: format, preference: true}\n", "dpo", ""),
        ("  - {step: format}\n", "dpo", "the rows are of the shape completion (prompt, completion), which method dpo"),
        (PAIRS, "dpo", "the rows are of the shape own (instruction, response), which method dpo cannot learn from."),
        (PAIRS + "  - {step: format, preference: true}\n", "sft", "the rows are of the shape preference"),
    ],
)
def test_a_method_is_checked_against_the_columns_that_it_would_read(
    load: Load, before: str, method: str, said: str
) -> None:
    head = HEAD.replace("scripted}", "scripted}\n  student: {provider: transformers, model: a/b}")
    text = head + ASK + before + f"  - {{step: train, model: student, method: {method}}}\n"
    text += ASK_TEST.replace("}", ", answer: number}")
    if not said:
        assert load(text)
        return
    (found,) = problems(load, text)
    assert said in found


def test_a_method_is_not_checked_against_columns_that_only_loading_would_tell(load: Load) -> None:
    head = HEAD.replace("train: {path: rows.jsonl}", "train: {hub: openai/gsm8k, name: main}")
    head = head.replace("teacher: {provider: scripted}", "student: {provider: transformers, model: a/b}")
    ask = ASK_TEST.replace("teacher", "student").replace("}", ", answer: number}")
    assert load(head + "  - {step: train, model: student, method: dpo}\n" + ask)


def test_format_writes_the_columns_of_its_own_form_alone(load: Load) -> None:
    keep = "  - {step: filter, keep: '%s != None'}\n" + ASK_TEST.replace("}", ", answer: number}")
    forms = {
        "{step: format}": ("completion", "chosen", "task", "prompt_teacher"),
        "{step: format, teacher_prompt: student/plain}": ("prompt_teacher", "chosen"),
        "{step: format, tasks: [{name: solve}]}": ("weight", "rejected"),
        "{step: format, preference: true, chosen: response, rejected: topic}": ("rejected", "completion", "weight"),
    }
    for form, (written, *others) in forms.items():
        text = f"{HEAD}{ASK}  - {form}\n"
        assert load(text + keep % written)
        for name in others:
            (found,) = problems(load, text + keep % name)
            assert f"uses {name!r}, which no earlier step writes" in found


@pytest.mark.parametrize("version", ["student", "student@base", "student@1", "student@2"])
def test_versions_of_a_model_exist_from_their_training_on(load: Load, version: str) -> None:
    head = HEAD.replace("scripted}", "scripted}\n  student: {provider: transformers, model: a/b}")
    train = "  - {step: train, input: rows, model: student}\n"
    made = ASK.replace("}", ", output: rows}")
    asked = ASK_TEST.replace("[teacher]", f"['{version}']").replace("}", ", answer: number}")
    assert load(head + made + train + train + asked)
    if version == "student@2":
        assert problems(load, head + made + train + asked + train) == [
            "11: model 'student@2' does not exist at this point of the chain."
        ]


PLUGIN = '''"""Adds a mark."""

from blackbox_kd.sdk import Context, NewColumn, Row, StepConfig, row_step


class Config(StepConfig):
    into: NewColumn = "mark"
    """Column that is written."""


@row_step(reads=["response"], writes=["{into}"])
async def run(row: Row, config: Config, ctx: Context) -> Row:
    return row | {config.into: len(row["response"])}
'''


def test_a_plugin_runs_only_when_code_is_allowed(load: Load) -> None:
    Path("mark.py").write_text(PLUGIN + "\nopen('it_ran', 'w').close()\n")
    text = HEAD + ASK + "  - {step: mark}\n  - {step: filter, keep: mark > 3}\n" + ASK_TEST + "plugins: [mark.py]\n"
    text = text.replace("[teacher]}", "[teacher], answer: number}")
    assert problems(load, text) == ["12: plugin 'mark.py' is Python code, which a recipe may not run by itself."]
    assert not Path("it_ran").exists()
    found = load(text, allow_code=True)
    assert Path("it_ran").exists()
    assert found.registry.get("mark").writes == ("{into}",)
    assert problems(load, text.replace("mark > 3", "marks > 3"), allow_code=True) == [
        "10: expression 'marks > 3' uses 'marks', which no earlier step writes."
    ]


def test_a_plugin_that_cannot_be_loaded_is_a_problem_of_the_recipe(load: Load) -> None:
    Path("mark.py").write_text("1 / 0\n")
    text = HEAD + ASK + "  - {step: mark}\n" + ASK_TEST.replace("}", ", answer: number}") + "plugins: [mark.py]\n"
    assert problems(load, text, allow_code=True) == [
        "11: plugin 'mark.py': cannot be loaded: line 1: ZeroDivisionError: division by zero."
    ]


def test_only_the_needed_variable_of_a_prompt_must_be_a_column(load: Load) -> None:
    Path("prompts").mkdir()
    Path("prompts/own.jinja").write_text("{{ instruction }}{% if hint is defined %}{{ hint }}{% endif %}{{ topic }}")
    text = HEAD + ASK.replace("rationale/cot", "own") + ASK_TEST.replace("}", ", answer: number}")
    assert load(text).prompts["own"].path == Path("prompts/own.jinja").resolve()
    assert problems(load, text.replace("path: rows.jsonl}", "path: rows.jsonl, rename: {topic: level}}")) == [
        "8: prompt 'own' uses 'topic', which no earlier step writes."
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "demo.yaml: does not exist.\n  fix: name a YAML file in UTF-8"),
        (b"name: \xff\n", "demo.yaml: byte 6 is not UTF-8.\n  fix: name a YAML file in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_users_error(load: Load, content: bytes | None, reason: str) -> None:
    if content is not None:
        Path("demo.yaml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_recipe(Path("demo.yaml"))
    assert str(caught.value) == reason


def test_a_folder_is_no_recipe(load: Load) -> None:
    Path("demo.yaml").mkdir()
    with pytest.raises(UserError, match=r"demo\.yaml: is no file"):
        load_recipe(Path("demo.yaml"))


def test_a_byte_order_mark_and_windows_line_ends_are_read(load: Load) -> None:
    text = HEAD + ASK + ASK_TEST.replace("}", ", answer: number}")
    Path("demo.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_recipe(Path("demo.yaml"), env={}).steps[1].line == 9


def test_a_recipe_that_is_written_out_and_read_again_is_the_same(load: Load) -> None:
    found = load(HEAD + ASK + ASK_TEST.replace("}", ", answer: number}"), "description=no")
    again = load(yaml_source.dump(found.source.values))
    assert again.source.values == found.source.values
    assert [planned.config for planned in again.steps] == [planned.config for planned in found.steps]


def test_a_recipe_without_a_file_is_checked_like_any_other(load: Load) -> None:
    values = {"name": "made", "data": {"rows": {"path": "rows.jsonl"}}, "steps": [{"step": "select", "rows": 0}]}
    with pytest.raises(RecipeError) as caught:
        build_recipe(yaml_source.Source(values=values), file="command line", folder=Path.cwd(), env={})
    assert str(caught.value) == (
        "command line:1: steps[0] (select): field 'rows' must be a whole number of at least 1, not 0.\n"
        "  rows: Rows kept in all, after `best`.\n"
        "  fix: write rows: 1"
    )


WHOLE = {
    "name": "demo",
    "seed": 1,
    "data": {
        "train": {"path": "rows.jsonl", "rename": {"topic": "level"}, "limit": 3},
        "test": {"path": "held.jsonl", "held_out": True},
    },
    "models": {
        "teacher": {"provider": "scripted", "replies": ["a"], "price": {"input": 1, "output": 2}},
        "student": {"provider": "transformers", "model": "a/b"},
    },
    "budget": {"usd": 1},
    "plugins": [],
    "steps": [
        {
            "step": "generate", "models": ["teacher"], "prompt": "rationale/cot", "samples": 2, "as": "response",
            "examples": {"table": "train", "count": 1}, "stop": ["x"], "extra": {"top_k": 3}, "output": "made",
        },
        {"step": "check", "answer": "number", "against": "reference"},
        {"step": "split", "outputs": {"right": "correct", "wrong": "not correct"}},
        {"step": "mix", "tables": {"right": 1, "wrong": 0.5}, "rows": 10},
        {"step": "select", "per": "level", "best": 1, "by": "shortest", "column": "response"},
        {"step": "format"},
        {"step": "train", "model": "student"},
        {"step": "evaluate", "input": "test", "models": ["student@base", "student@1"], "by": ["topic"]},
    ],
}  # fmt: skip
JUNK = [
    None, True, -1, 10**30, 0.5, "", "a/b", "../x", "a@b", "student@9", "#1", "id", "step", "{{", "é\0", "x" * 5000,
    [], [[]], [None], ["teacher"], {}, {"": ""}, {"step": "filter"}, {"a": {"b": [1]}},
]  # fmt: skip


def places(values: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside of values."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path, *(deeper for key, value in inner for deeper in places(value, (*path, key)))]


def problems_of(values: dict[str, object]) -> list[Problem]:
    try:
        build_recipe(yaml_source.Source(values=values), file="demo.yaml", folder=Path.cwd(), env={})
    except RecipeError as error:
        return error.problems
    return []


@pytest.mark.parametrize("path", places(WHOLE)[1:], ids=yaml_source.format_path)
def test_whatever_stands_in_a_field_the_check_ends_in_problems_and_not_in_a_traceback(
    load: Load, path: tuple[str | int, ...]
) -> None:
    for junk in JUNK:
        values = copy.deepcopy(WHOLE)
        parent = values
        for part in path[:-1]:
            parent = parent[part]  # type: ignore[index]
        parent[path[-1]] = junk  # type: ignore[index]
        found = problems_of(values)
        assert all(problem.message.endswith(".") and problem.fix for problem in found), found


def test_the_recipe_that_the_junk_was_put_into_is_itself_without_problems(load: Load) -> None:
    assert problems_of(WHOLE) == []


@pytest.mark.parametrize(
    "override",
    ["models.teacher.api_key=sk-012", "models.teacher.key_env=[sk-012]", "nothing.0.x.y=sk-012", "steps.9.key=sk-012"],
)
def test_a_key_given_on_the_command_line_is_not_shown(load: Load, override: str) -> None:
    text = HEAD.replace("scripted", "vllm, model: a/b") + ASK
    with pytest.raises(UserError) as caught:
        load(text, override)
    assert "sk-012" not in str(caught.value)
