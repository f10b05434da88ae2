"""What a student would learn from a table: never the data's old answers in place of new ones, never half a question."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe import adhoc
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model

GENERATE = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
FORMAT = {"step": "format"}
TRAIN = {"step": "train", "model": "student", "max_steps": 1}
DPO = {"step": "train", "model": "student", "method": "dpo"}
TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "old"}]


def values(*steps: Mapping[str, Any]) -> dict[str, Any]:
    models: dict[str, Any] = {"teacher": {"provider": "scripted"}}
    if any("train" in step.values() for step in steps):
        models["student"] = {"provider": "transformers", "model": str(tiny_model())}
    if "teacher" not in json.dumps(steps):
        del models["teacher"]
    return {"name": "demo", "data": {"train": {"path": "rows.jsonl"}}, "models": models, "steps": list(steps)}


def told(folder: Path, rows: Sequence[Mapping[str, Any]], *steps: Mapping[str, Any]) -> list[str]:
    """What is wrong with a chain over some rows: each problem's place and message, and its fix."""
    write_rows(folder / "rows.jsonl", rows)
    (folder / "recipe.yaml").write_text(json.dumps(values(*steps)))
    try:
        load_recipe(folder / "recipe.yaml", env={})
    except RecipeError as error:
        return [f"{problem.path}: {problem.message} -> {problem.fix}" for problem in error.problems]
    return []


OLD: dict[str, tuple[dict[str, Any], Mapping[str, Any], str]] = {
    "messages": ({"messages": TURNS}, TRAIN, "'messages'"),
    "prompt and completion": ({"prompt": "a", "completion": "old"}, TRAIN, "'completion'"),
    "chosen and rejected": ({"chosen": "old", "rejected": "older", "prompt": "a"}, DPO, "'chosen' and 'rejected'"),
    "own_conversations": ({"conversations": [{"from": "human", "value": "a"}]}, TRAIN, "'conversations'"),
    "own_preferred": (
        {"input": {"messages": TURNS[:1]}, "preferred_output": TURNS[1:], "non_preferred_output": TURNS[1:]},
        DPO,
        "'preferred_output' and 'non_preferred_output'",
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_a_training_on_answers_that_the_data_had_is_refused_where_others_were_written(
    tmp_path: Path, case: str
) -> None:
    row, train, old = OLD[case]
    found = told(tmp_path, [{"instruction": "a", **row}], GENERATE, train)
    what = f"trains on {old} as the data had it, not on 'response', which an earlier step has written."
    assert found == [f"steps[1] (train): {what} -> put a step format before it, whose completion: names 'response'"]


@pytest.mark.parametrize("case", OLD)
def test_a_data_set_of_answers_that_the_data_had_is_refused_where_others_were_written(
    tmp_path: Path, case: str
) -> None:
    row, _, old = OLD[case]
    found = told(
        tmp_path, [{"instruction": "a", **row}], GENERATE, {"step": "check", "answer": "exact", "against": "x"}
    )
    assert found[0].startswith("steps[1] (check): reads column 'x'")
    [end] = [problem for problem in found if "data set" in problem]
    what = f"the data set would hold {old} as the data had it, not 'response', which a step has written."
    assert end == f"steps[1] (check): {what} -> end with a step format, whose completion: names 'response'"


def test_a_table_that_dataset_names_is_held_to_the_same(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "messages": TURNS}]
    chain = values(GENERATE | {"output": "raw"}, FORMAT, TRAIN) | {"dataset": "raw"}
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "recipe.yaml").write_text(json.dumps(chain))
    with pytest.raises(RecipeError, match="the data set would hold 'messages' as the data had it, not 'response'"):
        load_recipe(tmp_path / "recipe.yaml", env={})


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ({"messages": TURNS}, [GENERATE | {"as": "text"}, {"step": "filter", "keep": "len(text) > 1"}, TRAIN]),
        ({"messages": TURNS, "draft": "d"}, [{"step": "pair", "better": "draft", "worse": "instruction"}, TRAIN]),
        ({"instruction": "a", "output": "old"}, [GENERATE | {"as": "rationale"}, TRAIN]),
        ({"instruction": "a", "response": "old"}, [GENERATE | {"as": "rationale"}, TRAIN]),
    ],
    ids=["another column", "own_pairs", "own_alpaca", "own_response"],
)
def test_whatever_step_wrote_the_text_and_whatever_it_is_called(
    tmp_path: Path, row: dict[str, Any], steps: list[dict[str, Any]]
) -> None:
    [found] = told(tmp_path, [{"instruction": "a", **row}], *steps)
    assert "as the data had it" in found


@pytest.mark.parametrize("case", OLD)
def test_what_format_has_made_passes(tmp_path: Path, case: str) -> None:
    row, train, _ = OLD[case]
    rows = [{"instruction": "a", "worse": "w", **row}]
    pairs = {"step": "format", "preference": True, "chosen": "response"}
    made = pairs if train is DPO else FORMAT
    if case == "own_preferred":
        made = made | {"drop_context": ["input"]}
    assert told(tmp_path, rows, GENERATE, made, train) == []
    assert told(tmp_path, rows, GENERATE, made) == []


@pytest.mark.parametrize("case", OLD)
def test_rows_that_nobody_wrote_into_pass(tmp_path: Path, case: str) -> None:
    row, train, _ = OLD[case]
    assert (
        told(tmp_path, [{"instruction": "a", **row}], {"step": "filter", "keep": "len(instruction) > 0"}, train) == []
    )
    judge = {"step": "judge", "mode": "scale", "models": ["teacher"], "of": "instruction", "accept_above": 4}
    assert told(tmp_path, [{"instruction": "a", **row}], judge, train) == []
    write_rows(tmp_path / "mine.jsonl", [row] * 3)
    method = "dpo" if train is DPO else "sft"
    assert adhoc.train(str(tmp_path / "mine.jsonl"), str(tiny_model()), method, "mine", {}).steps


def test_rows_of_the_data_stand_beside_formatted_ones(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "prompt": "a", "completion": "old"}]
    mixed = {"step": "mix", "tables": {"train": 1, "new": 1}}
    assert told(tmp_path, rows, GENERATE, FORMAT | {"output": "new"}, mixed, TRAIN) == []


def test_what_the_data_had_is_gone_from_formatted_rows(tmp_path: Path) -> None:
    row = {"instruction": "a", "messages": TURNS, "chosen": "old", "rejected": "older", "conversations": []}
    write_rows(tmp_path / "rows.jsonl", [row])
    run = execute(tmp_path, values(GENERATE, FORMAT))
    [made] = rows_of(run.path / "dataset/train.jsonl")
    assert made["prompt"] == [{"role": "user", "content": "a"}]
    assert made["completion"][0]["content"] == made["response"]
    assert not {"chosen", "rejected", "messages", "conversations"} & made.keys()


MEANING = {
    "input": "the text",
    "context": "the text",
    "history": [["q", "a"]],
    "system": "Be brief.",
    "tools": [{"type": "function"}],
    "own_system_prompt": "Be brief.",
    "own_images": ["a.png"],
}


@pytest.mark.parametrize("case", MEANING)
def test_a_column_that_belongs_to_the_question_is_shown_to_the_student_or_declared(tmp_path: Path, case: str) -> None:
    name = case.removeprefix("own_")
    rows = [{"instruction": "a", name: None}, {"instruction": "b", name: MEANING[case]}]
    [found] = told(tmp_path, rows, GENERATE, FORMAT)
    assert found == (
        f"steps[1] (format): prompt 'student/plain' does not show {name!r}, so the student would learn to answer "
        f"without it. -> use a prompt that shows it, or drop_context: [{name}] if the student is to do without"
    )
    assert told(tmp_path, rows, GENERATE, FORMAT | {"drop_context": [name]}) == []
    (tmp_path / "both.jinja").write_text(f"{{{{ instruction }}}} {{% if {name} %}}{{{{ {name} }}}}{{% endif %}}")
    assert told(tmp_path, rows, GENERATE, FORMAT | {"prompt": "both"}) == []


EVALUATE = {
    "step": "evaluate",
    "models": ["teacher"],
    "answer": "exact",
    "against": "reference",
    "prompt": "student/plain",
}


@pytest.mark.parametrize("case", MEANING)
def test_so_is_it_to_models_that_are_examined(tmp_path: Path, case: str) -> None:
    name = case.removeprefix("own_")
    rows = [{"instruction": "a", "reference": "x", name: MEANING[case]}]
    [found] = told(tmp_path, rows, EVALUATE)
    assert found == (
        f"steps[0] (evaluate): prompt 'student/plain' does not show {name!r}, so the models would be asked without "
        "it. -> use a prompt that shows it, or rename it if they are to do without: --set "
        f"data.train.rename.{name}=NAME"
    )
    assert told(tmp_path, rows, GENERATE, FORMAT | {"drop_context": [name], "output": "made"}, EVALUATE) == []


@pytest.mark.parametrize("name", ["context", "own_input"])
def test_questions_of_a_file_are_not_asked_without_the_text_that_they_are_about(tmp_path: Path, name: str) -> None:
    name = name.removeprefix("own_")
    write_rows(tmp_path / "exam.jsonl", [{"question": "Who?", name: "Ann came.", "answer": "Ann"}] * 3)

    def build(*overrides: str) -> Any:
        model = str(tiny_model())
        given = {"answer": "exact"}
        return adhoc.evaluate(str(tmp_path / "exam.jsonl"), model, None, "exam", given, ("question", None), overrides)

    with pytest.raises(RecipeError, match=f"does not show '{name}'.*\n  fix: .*--set data.test.rename.{name}=NAME"):
        build()
    assert build(f"data.test.rename.{name}=unused").steps
    (tmp_path / "about.jinja").write_text(f"{{{{ {name} }}}} {{{{ instruction }}}}")
    assert build(f"steps.0.prompt={tmp_path / 'about.jinja'}").steps


@pytest.mark.parametrize(("name", "value"), [("context", "the text"), ("own_history", [["q", "a"]])])
def test_own_a_column_that_is_filled_late_in_the_data_is_found_before_the_first_call(
    tmp_path: Path, name: str, value: Any
) -> None:
    name = name.removeprefix("own_")
    rows = [{"instruction": f"q{number}", name: None} for number in range(2000)]
    write_rows(tmp_path / "rows.jsonl", [*rows, {"instruction": "last", name: value}])
    with pytest.raises(RecipeError, match=f"prompt 'student/plain' does not show '{name}'"):
        execute(tmp_path, values(GENERATE, FORMAT))
    assert not (tmp_path / "run/tables/01_generate.jsonl").exists()


def test_a_column_that_is_always_empty_is_nothing_to_show(tmp_path: Path) -> None:
    assert told(tmp_path, [{"instruction": "a", "input": "", "history": []}] * 3, GENERATE, FORMAT) == []


def test_reasoning_of_the_datas_own_answer_is_not_left_out_in_silence(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "answer": "b", "thinking": "c"}]
    [found] = told(tmp_path, rows, FORMAT | {"completion": "answer"})
    assert "'thinking' is the reasoning before an answer of the data, and would not be learnt." in found
    assert told(tmp_path, rows, GENERATE, FORMAT) == []


def test_what_a_model_has_thought_is_a_column_that_later_steps_may_read(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "reference": "b"}]
    assert told(tmp_path, rows, GENERATE, FORMAT | {"completion": "reasoning"}) == []
    assert told(tmp_path, rows, GENERATE | {"as": "reasoning"}, {"step": "filter", "keep": "len(reasoning) > 1"}) == []


def test_own_what_a_model_has_thought_with_the_answer_in_view_is_not_shown_to_the_student(tmp_path: Path) -> None:
    (tmp_path / "hinted.jinja").write_text("{{ instruction }} It is {{ reference }}.")
    (tmp_path / "thought.jinja").write_text("{{ instruction }} {{ reasoning }}")
    rows = [{"instruction": "a", "reference": "b"}]
    [found] = told(tmp_path, rows, GENERATE | {"prompt": "hinted"}, FORMAT | {"prompt": "thought"})
    assert "shows the student 'reasoning', which holds the right answer: steps[0] (generate) writes it" in found


def test_an_answer_that_the_data_calls_bad_is_not_taught(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n}", "completion": f"c{n}", "label": n == 1} for n in range(3)]
    write_rows(tmp_path / "rows.jsonl", rows)
    run = execute(tmp_path, values(FORMAT | {"completion": "completion"}))
    assert [row["instruction"] for row in rows_of(run.path / "dataset/train.jsonl")] == ["q1"]
    assert run.report["funnel"][0]["dropped"] == {"label is false": 2}


def test_columns_of_a_hub_table_are_checked_before_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "hub").mkdir()
    write_rows(tmp_path / "hub/train.jsonl", [{"instruction": "a", "messages": TURNS}])
    monkeypatch.chdir(tmp_path)
    chain = values(GENERATE, {"step": "select", "rows": 1})
    chain["data"] = {"train": {"hub": str(tmp_path / "hub")}}
    with pytest.raises(RecipeError, match="the data set would hold 'messages' as the data had it"):
        execute(tmp_path, chain)
    assert not (tmp_path / "run/tables/01_generate.jsonl").exists()
