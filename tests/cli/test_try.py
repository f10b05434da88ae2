"""`try`: a step on a few rows, as a user meets it. The run gets for nothing what it pays for, and stays as it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.runs.folder import RunFolder
from tests.cli.conftest import Command
from tests.support.runs import QUESTIONS, execute, trained, write_rows

GENERATE = {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 2, "temperature": 1.0}
JUDGE = {"step": "judge", "mode": "scale", "models": ["grader"], "of": "response", "criteria": {"clear": "is it?"}}
GRADER = {"provider": "scripted", "replies": ["It is.\nclear: 9"]}
PRICED = {"provider": "scripted", "price": {"input": 1, "output": 10}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> None:
    values: dict[str, Any] = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": PRICED, "grader": GRADER},
        "steps": [GENERATE, {"step": "check", "answer": "number"}, JUDGE],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values | changes))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_step_is_tried_on_three_rows_and_the_run_does_not_buy_their_replies_again(
    folder: Path, blackbox: Command
) -> None:
    told = blackbox("try", "recipe.yaml", "--json").told
    assert (told["step"], len(told["rows"]), told["spent"]["calls"]) == ("steps[0] (generate)", 3, 6)
    asked = told["tries"][0]["asked"]
    assert [each["text"].splitlines()[-1] for each in asked[:3]] == [*["The answer is 1."] * 2, "The answer is 2."]
    assert asked[1]["messages"] == [{"role": "user", "content": "What is 0 + 1?"}]
    assert asked[0]["cost_usd"] == pytest.approx(asked[0]["prompt_tokens"] / 1e6 + asked[0]["completion_tokens"] / 1e5)
    assert told["tries"][0]["became"][1]["id"] == f"{told['rows'][0]}.1"
    assert not (folder / "runs" / "demo").exists()
    assert blackbox("try", "recipe.yaml", "--rows", "6", "--json").told["spent"]["replayed"] == 6
    models = {entry["name"]: entry for entry in blackbox("run", "recipe.yaml", "--json").told["models"]}
    assert (models["teacher"]["calls"], models["teacher"]["replayed"]) == (0, 12)


def test_what_is_tried_is_on_the_bill_of_the_run(folder: Path, blackbox: Command) -> None:
    write(folder, budget={"requests": 4})
    done = blackbox("try", "recipe.yaml")
    assert done.status == 3
    assert "budget.requests" in done.err
    stopped = blackbox("run", "recipe.yaml", "--json")
    assert (stopped.status, json.loads(stopped.out)["spent"]["requests"]) == (3, 4)


def test_it_is_read_side_by_side(blackbox: Command) -> None:
    done = blackbox("try", "recipe.yaml", "--rows", "1")
    lines = done.out.splitlines()
    assert lines[0] == "steps[0] (generate) of demo: 1 row"
    assert lines[3] == "[user] What is 0 + 1?"
    assert lines[4].split() == ["->", "teacher", "->", "teacher,", "sample", "1"]
    assert any(line.split() == ["The", "answer", "is", "1."] * 2 for line in lines)
    assert lines[-1].endswith("a run will not buy them again")
    assert "\x1b" not in done.out


def test_a_dry_try_sends_nothing_needs_no_key_and_makes_no_file(
    folder: Path, blackbox: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    write(folder, models={"teacher": {"provider": "openai", "model": "gpt-4.1-mini"}, "grader": GRADER})
    done = blackbox("try", "recipe.yaml", "--dry", "--json")
    assert [each["text"] for each in done.told["tries"][0]["asked"]] == [None] * 6
    assert done.told["estimate"]["calls"]["likely"] == 6
    assert done.told["estimate"]["usd"]["likely"] > 0
    words = blackbox("try", "recipe.yaml", "--dry", "--rows", "2").out
    assert "[user] What is 1 + 1?" in words
    assert "no reply" not in words
    assert "nothing was sent; it would be about 4 calls, " in words
    assert not (folder / "runs").exists()
    refused = blackbox("try", "recipe.yaml", "judge", "--dry")
    assert refused.status == 2
    assert "none of 3 rows comes through steps[0] (generate)" in refused.err
    assert "6 times: the reply is not in the ledger" in refused.err


def test_another_prompt_is_rendered_and_asked_beside_the_recipes(folder: Path, blackbox: Command) -> None:
    (folder / "short.jinja").write_text(
        "{% system %}Be short.{% endsystem %}{% user %}Q: {{ instruction }}{% enduser %}"
    )
    told = blackbox("try", "recipe.yaml", "--against", "short", "--rows", "1", "--json").told
    assert [each["prompt"] for each in told["tries"]] == ["student/plain", "short"]
    assert told["tries"][1]["asked"][0]["messages"][0]["content"] == "Be short."
    assert told["spent"]["calls"] == 4
    words = blackbox("try", "recipe.yaml", "--against", "short", "--rows", "1").out
    assert next(line.split() for line in words.splitlines() if "short" in line) == ["student/plain", "short"]
    assert any("[user] What is 0 + 1?" in line and "Be short." in line for line in words.splitlines())


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{{ nowhere }}", "'nowhere'"),
        ("{{ instruction", "short"),
        (None, "short"),
    ],
    ids=["a column that is not there", "no template", "no file"],
)
def test_a_prompt_that_cannot_be_rendered_is_refused_before_anything_is_asked(
    folder: Path, blackbox: Command, prompt: str | None, said: str
) -> None:
    if prompt is not None:
        (folder / "short.jinja").write_text(prompt)
    done = blackbox("try", "recipe.yaml", "--against", "short")
    assert done.status == 2
    assert said in done.err
    assert "fix: " in done.err
    assert not (folder / "runs").exists()


def test_a_prompt_that_only_some_rows_can_fill_says_of_which_it_cannot(folder: Path, blackbox: Command) -> None:
    write_rows(folder / "train.jsonl", [{"instruction": "1 + 1?", "hint": "count"}, {"instruction": "2 + 1?"}])
    (folder / "hinted.jinja").write_text("{{ instruction }} ({{ hint }})")
    write(folder, models={"teacher": PRICED}, steps=[{**GENERATE, "prompt": "hinted"}])
    told = blackbox("try", "recipe.yaml", "--json").told
    assert [("failed" in each) for each in told["tries"][0]["became"]] == [False, False, True]
    assert "hint" in told["tries"][0]["became"][2]["failed"]
    alone = blackbox("try", "recipe.yaml", "--row", told["rows"][1])
    assert alone.status == 2
    assert "steps[0] (generate): no row could be asked" in alone.err


def test_rows_come_from_the_tables_of_the_run_which_stays_as_it_is(folder: Path, blackbox: Command) -> None:
    best = {"step": "select", "per": "instruction", "best": 1}
    write(folder, steps=[GENERATE, {"step": "check", "answer": "number"}, best, JUDGE])
    blackbox("run", "recipe.yaml")
    before = snapshot(folder / "runs" / "demo")
    done = blackbox("try", "recipe.yaml", "judge", "--json")
    assert "rows of runs/demo/tables/03_select.jsonl" in done.err
    assert "comes before it" not in done.err
    assert (done.told["spent"]["calls"], done.told["spent"]["replayed"]) == (0, 3)
    assert snapshot(folder / "runs" / "demo") == before


@pytest.mark.parametrize("change", ["a step", "a model", "a prompt", "the data", "the seed", "another recipe"])
def test_tables_of_a_run_of_another_recipe_do_not_count(folder: Path, blackbox: Command, change: str) -> None:
    (folder / "ask.jinja").write_text("{{ instruction }}")
    best = {"step": "select", "per": "instruction", "best": 1}
    steps = [{**GENERATE, "prompt": "ask"}, {"step": "check", "answer": "number"}, best, JUDGE]
    write(folder, steps=steps)
    blackbox("run", "recipe.yaml")
    changes: dict[str, Any] = {"steps": steps}
    if change == "a step":
        changes["steps"] = [{**steps[0], "temperature": 0.5}, *steps[1:]]
    elif change == "a model":
        changes["models"] = {"teacher": {**PRICED, "replies": ["It is {{ reference }}."]}, "grader": GRADER}
    elif change == "a prompt":
        (folder / "ask.jinja").write_text("Please: {{ instruction }}")
    elif change == "the data":
        write_rows(folder / "train.jsonl", [{"instruction": "What is 7 + 1?", "reference": "8"}])
    elif change == "the seed":
        changes["seed"] = 1
    else:
        changes["steps"] = [steps[1] | {"of": "instruction", "against": "reference"}, steps[0], *steps[1:]]
    write(folder, **changes)
    done = blackbox("try", "recipe.yaml", "3" if change != "another recipe" else "judge", "--json")
    assert done.status == 0, done.err
    assert "rows of runs" not in done.err
    assert "steps[2] (select) comes before it" in done.err or change == "another recipe"


def test_steps_before_it_that_ask_are_asked_for_these_rows_and_that_is_said(blackbox: Command) -> None:
    done = blackbox("try", "recipe.yaml", "judge", "--rows", "2", "--json")
    assert "steps[0] (generate) comes before it and is asked for 2 rows" in done.err
    assert len(done.told["rows"]) == 2
    assert done.told["spent"]["calls"] == 6, "four replies, and a grade for two of them"


def test_a_row_is_named_by_its_id_or_by_that_of_a_row_made_of_it(folder: Path, blackbox: Command) -> None:
    blackbox("run", "recipe.yaml")
    ids = [json.loads(line)["id"] for line in (folder / "runs/demo/tables/03_judge.jsonl").read_text().splitlines()]
    one = blackbox("try", "recipe.yaml", "judge", "--row", ids[3], "--json").told
    assert one["rows"] == [ids[3]]
    two = blackbox("try", "recipe.yaml", "judge", "--row", ids[3][:-2], "--json").told
    assert two["rows"] == ids[2:4]
    both = blackbox("try", "recipe.yaml", "--row", ids[0][:-2], "--row", ids[3][:-2], "--json").told
    assert both["rows"] == [ids[0][:-2], ids[3][:-2]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sort"], "step 'sort': the recipe has no such step\n  steps: 0 (generate), 1 (check), 2 (judge)"),
        (["9"], "step '9': the recipe has no such step"),
        (
            ["check"],
            "steps[1] (check) asks no model and trains none, so there is nothing to try\n  steps that ask: 0 ",
        ),
        (["--row", "nobody"], "--row nobody: no such row comes to steps[0] (generate)\n  rows begin with "),
        (["judge", "--row", "nobody"], "--row nobody: "),
        (["--rows", "0"], "0 is not in the range"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(blackbox: Command, arguments: list[str], said: str) -> None:
    done = blackbox("try", "recipe.yaml", *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


def test_a_recipe_that_asks_nothing_has_nothing_to_try(folder: Path, blackbox: Command) -> None:
    write(folder, models={}, steps=[{"step": "filter", "keep": "len(instruction) > 0"}])
    assert "no step asks a model" in blackbox("try", "recipe.yaml").err


def test_a_run_under_way_is_not_disturbed(folder: Path, blackbox: Command) -> None:
    with RunFolder(folder / "runs" / "demo"):
        done = blackbox("try", "recipe.yaml")
        assert done.status == 2
        assert "another process runs in this folder" in done.err
        assert blackbox("try", "recipe.yaml", "--dry").status == 0


def test_rows_that_a_step_draws_are_those_that_a_run_draws(folder: Path, blackbox: Command) -> None:
    write(
        folder,
        models={"teacher": PRICED},
        steps=[{**GENERATE, "rows": 20, "samples": 1, "keep": [], "as": "instruction"}],
    )
    told = blackbox("try", "recipe.yaml", "--json").told
    assert told["spent"]["calls"] == 3
    models = blackbox("run", "recipe.yaml", "--json").told["models"]
    assert (models[0]["calls"], models[0]["replayed"]) == (17, 3)


def test_an_exam_is_tried_with_the_student_that_the_run_has_trained(blackbox: Command) -> None:
    run = trained().path
    places = ["--run-dir", str(run), "--ledger", str(run.parent / "ledger.sqlite")]
    before = snapshot(run)
    told = blackbox("try", str(run.parent / "recipe.yaml"), "evaluate", *places, "--json").told
    assert {each["model"] for each in told["tries"][0]["asked"]} == {"student@base", "student@1", "teacher"}
    assert (len(told["tries"][0]["asked"]), told["spent"]["calls"]) == (9, 0)
    assert snapshot(run) == before
    refused = blackbox("try", str(run.parent / "recipe.yaml"), "evaluate")
    assert refused.status == 2
    assert "steps[6] (evaluate) asks 'student', which the run has not trained yet" in refused.err
    assert "fix: run the recipe --until 5" in refused.err


def test_a_step_of_a_loop_is_tried_as_in_its_first_round(folder: Path, blackbox: Command) -> None:
    loop = {"loop": {"rounds": 2, "steps": [{**GENERATE, "input": "train", "samples": 1}]}}
    write(folder, models={"teacher": PRICED}, steps=[loop])
    told = blackbox("try", "recipe.yaml", "0.0", "--json").told
    assert told["step"] == "steps[0].loop.steps[0] (generate), round 1"
    models = blackbox("run", "recipe.yaml", "--json").told["models"]
    assert models[0]["replayed"] == 3
    with_other = blackbox("try", "recipe.yaml", "--against", "rationale/cot", "--rows", "1", "--json")
    assert [each["prompt"] for each in with_other.told["tries"]] == ["student/plain", "rationale/cot"]


def test_a_finished_run_of_the_engine_and_a_try_agree_on_every_row(folder: Path, blackbox: Command) -> None:
    values = json.loads((folder / "recipe.yaml").read_text())
    execute(folder, values, run_dir="runs/demo", ledger=folder / "runs" / "ledger.sqlite")
    rows = [json.loads(line) for line in (folder / "runs/demo/tables/03_judge.jsonl").read_text().splitlines()]
    told = blackbox("try", "recipe.yaml", "judge", "--rows", "4", "--json").told
    assert [each["row"] for each in told["tries"][0]["became"]] == rows[:4]


def test_tools_that_are_offered_and_what_a_reply_calls_of_them_are_shown(folder: Path, blackbox: Command) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    write_rows(folder / "train.jsonl", [{"instruction": "Add.", "tools": [tool]}])
    step = {"step": "generate", "model": "teacher", "prompt": "student/plain", "tools": "tools"}
    write(folder, models={"teacher": PRICED}, steps=[step])
    done = blackbox("try", "recipe.yaml")
    assert done.status == 0, done.err
    assert "[user] Add.\n(tools) add\n-> teacher" in done.out
    asked = blackbox("try", "recipe.yaml", "--json").told["tries"][0]["asked"][0]
    assert asked["tools"] == [tool]
    assert asked["tool_calls"] == []
