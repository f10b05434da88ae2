"""Wrong recipes and, beside each, the exact message that it ends in.

`python -m tests.recipe.test_bad_recipes` writes the messages anew; read the difference before you commit it.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blackbox_kd import answers, models
from blackbox_kd.errors import RecipeError
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.sdk.registry import Registry
from tests.support.warm_start import WARM_COMMAND

FOLDER = Path(__file__).parent / "bad_recipes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
PROMPTS = find_bundled("prompts")
LISTS = {
    "{steps}": Registry().names(),
    "{providers}": models.providers(),
    "{answers}": answers.kinds(),
    "{bundled prompts}": sorted(p.relative_to(PROMPTS).with_suffix("").as_posix() for p in PROMPTS.glob("**/*.jinja")),
}
"""What messages list and a new step, provider, kind of answer or prompt makes longer."""


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def message_of(file: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, env={})
    return f"{caught.value}\n"


def expected(name: str) -> str:
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    for mark, names in LISTS.items():
        text = text.replace(mark, ", ".join(names))
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_recipe_ends_in_the_message_beside_it(name: str) -> None:
    assert message_of(Path(f"{name}.yaml")) == expected(name)


def test_no_message_is_without_its_recipe() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_message_says_where_what_and_how_to_mend_it(name: str) -> None:
    last = 0
    for problem in expected(name).rstrip("\n").split("\n\n"):
        first, *middle, fix = problem.split("\n")
        where = re.fullmatch(rf"{name}\.yaml:(\d+): .+\.", first)
        assert where is not None, first
        assert int(where[1]) >= last
        last = int(where[1])
        assert re.fullmatch(r"  fix: \S.+[^.]", fix), fix
        assert len(middle) <= 1
        assert all(re.match(r"  \S.", line) and not line.endswith(".:") for line in middle)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_speaks_of_recipes_and_not_of_the_libraries_that_read_them(name: str) -> None:
    text = expected(name)
    for jargon in (
        "Input should",
        "valid dictionary",
        "validation error",
        "type=",
        "pydantic",
        "Traceback",
        "NoneType",
    ):
        assert jargon not in text
    assert str(FOLDER) not in text
    assert "sk-" not in text, "a key is never shown"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("several_in_the_fields", [1, 2, 4, 6, 11, 12, 13, 18]),
        ("several_between_the_fields", [15, 16, 18, 19, 21, 22, 24, 25]),
        ("several_in_the_data", [3, 4, 5, 6, 6]),
    ],
)
def test_all_problems_of_a_recipe_are_reported_at_once_and_in_file_order(name: str, lines: list[int]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(f"{name}.yaml"), env={})
    assert [problem.line for problem in caught.value.problems] == lines


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from blackbox_kd.cli.main import main; main()"
    env = os.environ | WARM_COMMAND
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", ["unknown_step", "several_in_the_fields", "yaml_alias_bomb"])
def test_the_command_line_ends_with_status_2_and_the_message_on_stderr(command: str, name: str) -> None:
    done = command_line(command, f"{name}.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {expected(name)}"


def test_a_recipe_of_ten_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("name: demo\n" + "# rows, rows, rows\n" * 530_000)
    assert message_of(file) == (
        f"{file}:1: the recipe has 10,070,011 bytes; at most 1,000,000 are read.\n"
        "  fix: keep rows in a data file and name it under data:\n"
    )


FIXES = [
    ("answer_kind_for_other_references", "answer: number", "answer: exact"),
    ("answer_option_unknown", "decimals", "decimal"),
    ("answer_option_of_another_value", '";"', '","'),
    ("best_without_per", "best: 1", "best: 1\n    per: instruction"),
    ("budget_below_zero", "usd: -5", "usd: 0"),
    ("budget_without_an_hour", "hours: 0", "hours: 8"),
    ("budget_is_a_number", "budget: 5", "budget: {usd: 5}"),
    ("chat_template_of_another_name", "chatml", "plain"),
    ("column_id_written", "as: id", "as: reply"),
    ("column_written_twice", "as: model", "as: model_text"),
    ("data_file_is_missing", "trian.jsonl", "train.jsonl"),
    ("data_is_not_a_mapping", "train: data/train.jsonl", "train: {path: data/train.jsonl}"),
    ("empty_field", "prompt:", "prompt: rationale/cot"),
    ("evaluate_without_an_answer_kind", "models: [teacher]", "models: [teacher]\n    answer: number"),
    ("expression_with_an_unknown_column", "corect", "correct"),
    ("filter_with_no_form", "- step: filter", "- step: filter\n    keep: len(response) > 3"),
    ("filter_paper_faithful_alone", "    paper_faithful: true\n", ""),
    (
        "format_chosen_without_preference",
        "chosen: response",
        "preference: true\n    chosen: response\n    rejected: reference",
    ),
    ("format_completion_beside_tasks", "    completion: response\n", ""),
    ("format_task_name_with_a_dot", "explain.first", "explain_first"),
    ("format_task_shows_the_answer", "prompt: hinted", "prompt: hinted\n        hint: true"),
    ("judge_panel_with_too_many_reviews", "min_reviews: 2", "min_reviews: 1"),
    ("judge_scale_of_three_numbers", "[1, 5, 10]", "[1, 10]"),
    ("judge_with_a_field_of_another_mode", "    accept_above: 3\n", ""),
    ("judge_without_its_second_text", "a: response", "a: response\n    b: reference"),
    ("missing_field", "model: teacher", "model: teacher\n    prompt: rationale/cot"),
    ("mix_gap_with_weights", "{replies: 2}", "{replies: 1}"),
    ("mix_gap_without_rows", "    gap:", "    rows: 10\n    gap:"),
    ("mix_gap_that_nobody_measured", "models: [teacher]", "models: [teacher, student]\n    by: [instruction]"),
    ("model_and_models", "    models: [teacher]\n", ""),
    ("model_is_not_a_mapping", "gpt-4.1-mini", "{provider: scripted, model: gpt-4.1-mini}"),
    ("name_of_a_model_at_an_endpoint_of_ones_own", "model: cheap", "model: qwen3"),
    ("name_is_missing", "data:", "name: my_recipe\ndata:"),
    ("name_with_a_slash", "papers/demo", "papers_demo"),
    ("no_data", "models:", "data: {train: {path: data/train.jsonl}}\nmodels:"),
    ("novelty_against_its_own_input", "[train, replies]", "[train]"),
    ("novelty_by_embedding_without_a_model", "embedding", "embedding\n      model: some/encoder"),
    ("novelty_with_a_model_it_does_not_read", "model: some/encoder", "max: 0.5"),
    ("number_above_range", "temperature: 3", "temperature: 2"),
    ("number_below_range", "samples: 0", "samples: 1"),
    ("number_with_a_fraction", "0.5", "1"),
    ("output_beside_outputs", "    output: both\n", ""),
    ("pair_with_half_of_it", "better: response", "better: response\n    worse: reference"),
    ("pair_with_min_gap_and_no_gap", "min_gap: 2", "min_gap: 2\n    gap: words(response)"),
    ("samples_at_temperature_zero", "samples: 4", "samples: 1"),
    ("push_a_model_that_nothing_trains", "studnet", "student"),
    ("push_nothing", "{public: true}", "{public: true, dataset: OWNER/NAME}"),
    ("push_to_no_repository", "dataset: rows", "dataset: OWNER/NAME"),
    ("select_field_of_another_way", "by: random", "by: kcenter\n    column: instruction"),
    ("select_kcenter_without_points", "by: kcenter", "by: kcenter\n    column: instruction"),
    ("select_retrieve_with_a_budget", "    rows: 10\n", ""),
    ("select_retrieve_without_an_index", "by: retrieve", "by: retrieve\n    index: train"),
    ("select_top_without_a_column", "by: top", "by: top\n    column: reference"),
    ("select_votes_without_per", "votes: response", "votes: response\n    per: instruction"),
    ("terms_of_another_kind", "terms: closed", "terms: open"),
    ("step_written_as_a_key", "- check: {answer: number}", "- step: check\n    answer: number"),
    ("table_nobody_reads", "  more:\n    path: data/more.jsonl\n", ""),
    ("train_on_no_shape", "- step: train", "- step: format\n    prompt: ask\n    completion: answer\n  - step: train"),
    ("train_on_pairs_by_sft", "method: sft", "method: dpo"),
    (
        "train_without_pairs_by_dpo",
        "completion: reference",
        "preference: true\n    chosen: reference\n    rejected: response",
    ),
    ("until_an_accuracy_that_only_a_judge_sees", "judge: teacher", "judge: teacher\n          answer: number"),
    ("until_a_win_rate_of_the_other_model", "judge: teacher", "judge: teacher\n          against_model: teacher"),
    ("until_on_what_it_learns_from", "on: train", "on: dev"),
    ("until_patience_of_no_round", "patience: 0", "patience: 1"),
    ("version_after_a_loop_that_can_end_before", "student@2", "student"),
    ("context_of_an_evaluation_by_nobody", "models: [teacher]", "models: [teacher, student]"),
    ("train_beta_with_sft", "    beta: 0.1\n", ""),
    ("true_where_a_number_should_be", "samples: true", "samples: 1"),
    ("budget_that_limits_nothing", "{usd: null}", "{usd: 5}"),
    ("own_budget_without_a_limit", "budget: {}\n", ""),
    ("stop_of_no_text", '[""]', "[TEXT]"),
    ("expression_without_a_column", '"1"', "words(response) >= 4"),
    ("expression_of_the_wrong_kind", "reference > 3", "number(reference) > 3"),
    ("expression_that_wants_quotes", 'reference in ["a", "b"]', '\'reference in ["a", "b"]\''),
    ("own_expression_with_a_call_that_wants_quotes", 'contains(response, "yes")', "'contains(response, \"yes\")'"),
    ("own_expression_that_begins_with_a_quote", '"5" == reference', "'\"5\" == reference'"),
    ("own_expression_cut_by_a_comma", "max(words(response), 3) > 2", "'max(words(response), 3) > 2'"),
    ("own_expression_with_signs_of_a_word_processor", "≥", ">="),
    ("field_of_the_request", "response_format: {type: json_object}", "extra: {response_format: {type: json_object}}"),
    ("own_field_of_the_request_at_the_model", "reasoning_effort: low", "extra_body: {reasoning_effort: low}"),
    ("answer_by_against", "prompt: hinted", "prompt: hinted\n    hint: true"),
    ("held_out_file_that_is_trained_on", "./data/../data/train.jsonl", "data/test.jsonl"),
    ("unknown_answer_kind", "nubmer", "number"),
    ("unknown_column_in_check", "refrence", "reference"),
    ("unknown_field", "sampels", "samples"),
    ("unknown_field_deeper", "cuont", "count"),
    ("unknown_model", "techer", "teacher"),
    ("unknown_prompt", "rationale/cott", "rationale/cot"),
    ("unknown_provider", "opneai", "scripted"),
    ("unknown_step", "filtre", "filter"),
    ("unknown_table", "trian", "train"),
    ("unknown_top_level_field", "bugdet", "budget"),
    ("word_not_in_list", "shortst", "shortest"),
    ("wrong_type_bool", "sometimes", "true"),
    ("wrong_type_list", "models: teacher", "models: [teacher]"),
    ("wrong_type_mapping", "examples: 4", "examples: {table: train}"),
    ("wrong_type_text", "[5]", '["5"]'),
    ("yaml_field_twice", "ask\n    model: teacher\n", "ask\n"),
    ("yaml_starts_with_percent", "%50 of the rows", '"%50 of the rows"'),
    ("yaml_tab", "\t  samples", "    samples"),
    ("yaml_two_colons", "one teacher: many students", '"one teacher: many students"'),
    ("yaml_unclosed_bracket", "{usd: 5", "{usd: 5}"),
    ("yaml_unclosed_quote", '"demo', '"demo"'),
    ("yaml_wrong_indentation", "   samples", "    samples"),
]


@pytest.mark.parametrize(("name", "wrong", "mended"), FIXES, ids=[fix[0] for fix in FIXES])
def test_the_recipe_passes_once_its_fix_is_followed(name: str, wrong: str, mended: str, tmp_path: Path) -> None:
    text = Path(f"{name}.yaml").read_text(encoding="utf-8")
    assert wrong in text
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    file = tmp_path / f"{name}.yaml"
    file.write_text(text.replace(wrong, mended, 1), encoding="utf-8")
    assert load_recipe(file, env={}).steps


def test_the_recipe_passes_once_the_key_is_exported() -> None:
    assert load_recipe(Path("key_is_not_set.yaml"), env={"MY_TEACHERS_KEY": "sk-0123456789"}).models


def test_the_recipe_passes_once_its_plugin_is_allowed() -> None:
    found = load_recipe(Path("plugin_without_allow_code.yaml"), env={}, allow_code=True)
    assert [planned.step.name for planned in found.steps] == ["generate", "shout"]


def test_the_recipe_passes_once_the_plugin_of_an_older_version_has_the_new_lines(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    plugin, fixes = (
        tmp_path / "plugins" / "mumble.py",
        re.findall("  fix: (from .*)", expected("plugin_of_an_older_version")),
    )
    text = plugin.read_text(encoding="utf-8").replace("AskingConfig):", "SamplingConfig):")
    for old, fix in zip(
        re.findall(r"^from blackbox_kd\.(?:asking|registry|schema) .*$", text, re.MULTILINE), fixes, strict=True
    ):
        text = text.replace(old, fix.partition("; and write")[0])
    plugin.write_text(text, encoding="utf-8")
    found = load_recipe(tmp_path / "plugin_of_an_older_version.yaml", env={}, allow_code=True)
    assert [planned.step.name for planned in found.steps] == ["generate", "mumble"]


def _write_messages() -> None:
    with contextlib.chdir(FOLDER):
        for name in NAMES:
            text = message_of(Path(f"{name}.yaml"))
            for mark, names in LISTS.items():
                text = text.replace(", ".join(names), mark)
            Path(f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write_messages()
