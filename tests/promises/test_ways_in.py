"""The ways in besides a recipe: fine-tuning on rows that exist already, and evaluating what came of it."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import DataError
from blackbox_kd.recipe import adhoc
from blackbox_kd.runs import dataset
from blackbox_kd.schema import Row
from blackbox_kd.tables import sources
from tests.support.runs import command, rows_of, write_rows
from tests.support.tiny import tiny_model

FILES = ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"]
SUMS = [(f"What is {n} + {n}?", f"It is {2 * n}.") for n in range(1, 7)]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SHAPES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "prompt and completion": lambda ask, say: {"prompt": ask, "completion": say},
    "messages": lambda ask, say: {"messages": [user(ask), assistant(say)]},
    "ShareGPT": lambda ask, say: {"conversations": [{"from": "human", "value": ask}, {"from": "gpt", "value": say}]},
    "Alpaca": lambda ask, say: {"instruction": ask, "input": "", "output": say},
    "instruction and response": lambda ask, say: {"instruction": ask, "response": say, "reference": "x"},
}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows as the ending of the file says; a cell of CSV that is no text becomes JSON."""
    if path.suffix == ".jsonl":
        write_rows(path, rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
            writer.writerows(cells)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def data_set(data: Path, *overrides: str) -> list[dict[str, Any]]:
    """What training would read: the rows of a file as the command `train` finds them, and writes them."""
    recipe = adhoc.train(str(data), str(tiny_model()), "sft", "train", {}, overrides)
    source = recipe.data["rows"]
    rows = sources.make_rows(sources.read(source, recipe.folder), source.rename)
    return rows_of(dataset.write_dataset(data.parent / "dataset", rows, "sft"))


def taught(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    return [(row["prompt"], row["completion"]) for row in rows]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_learnt_from_in_every_kind_of_file(tmp_path: Path, file: str, shape: str) -> None:
    found = data_set(write(tmp_path / file, [SHAPES[shape](ask, say) for ask, say in SUMS]))
    assert taught(found) == [([user(ask)], [assistant(say)]) for ask, say in SUMS]
    assert len({row["id"] for row in found}) == len(SUMS)


@pytest.mark.parametrize("file", FILES)
def test_other_names_of_columns_are_renamed(tmp_path: Path, file: str) -> None:
    data = write(tmp_path / file, [{"question": ask, "solution": say} for ask, say in SUMS])
    with pytest.raises(DataError) as caught:
        data_set(data)
    assert str(caught.value).startswith(f"{data}: the columns question, solution make no shape that training knows\n")
    assert str(caught.value).endswith("\n  fix: rename columns: --set data.rows.rename.OLD=NEW")
    renamed = [f"data.rows.rename.{old}={new}" for old, new in (("question", "instruction"), ("solution", "response"))]
    assert taught(data_set(data, *renamed)) == [([user(ask)], [assistant(say)]) for ask, say in SUMS]


def test_files_of_a_glob_are_read_together(tmp_path: Path) -> None:
    for number, (ask, say) in enumerate(SUMS):
        write(tmp_path / f"part{number}.jsonl", [{"prompt": ask, "completion": say}])
    assert len(data_set(tmp_path / "part*.jsonl")) == len(SUMS)


class TestRefusals:
    """What ends with a message and status 2 before a model is loaded."""

    def refused(self, folder: Path, *arguments: object, told: str = "") -> str:
        done = command(folder, *arguments)
        assert (done.returncode, done.stdout) == (2, told), done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def test_rows_of_no_known_shape(self, tmp_path: Path) -> None:
        write(tmp_path / "odd.csv", [{"spam": "1", "eggs": "2"}])
        told = self.refused(tmp_path, "train", "--data", "odd.csv", "--student", tiny_model())
        assert "odd.csv: the columns eggs, spam make no shape that training knows" in told
        assert "alpaca (instruction, output)" in told

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.csv", [{"prompt": "1", "completion": "2"}])
        told = self.refused(tmp_path, "train", "--data", "row.csv", "--student", tiny_model())
        assert "no file 'row.csv'\n  files there: rows.csv\n  fix: did you mean 'rows.csv'?" in told

    def test_preferences_for_a_method_that_learns_from_completions(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.jsonl", [{"prompt": "1 + 1?", "chosen": "2", "rejected": "3"}])
        told = self.refused(tmp_path, "train", "--data", "rows.jsonl", "--student", tiny_model())
        assert "shape preference (chosen, rejected), which method sft cannot learn from\n  fix: --method dpo" in told

    def test_completions_for_a_method_that_learns_from_preferences(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.jsonl", [{"prompt": "1 + 1?", "completion": "2"}])
        told = self.refused(tmp_path, "train", "--data", "rows.jsonl", "--student", tiny_model(), "--method", "dpo")
        assert "shape completion (prompt, completion), which method dpo cannot learn from\n  fix: --method sft" in told

    def test_rows_from_none_of_which_anything_can_be_learnt(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.jsonl", [{"messages": [user("a")]}, {"messages": [user("b"), assistant("")]}])
        told = self.refused(
            tmp_path, "train", "--data", "rows.jsonl", "--student", tiny_model(), told="report: runs/train/report.md\n"
        )
        assert "steps[0] (train): nothing can be learnt from any of the 2 rows" in told
        assert "2 times: the conversation has no turn of the assistant" in told
        assert "fix: name other columns in a step format, or mend the rows; they are in " in told
        assert told.rstrip().endswith("dataset/left_out.jsonl")

    def test_questions_whose_columns_are_not_known(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.csv", [{"q": "1 + 1?", "answer": "2"}])
        told = self.refused(tmp_path, "evaluate", "--data", "rows.csv", "--student", tiny_model(), "--answer", "number")
        assert "no column any of instruction, question, problem, input, prompt for the question" in told
        assert "columns: id, q, answer\n  fix: --question COLUMN" in told

    def test_a_folder_that_is_no_adapter(self, tmp_path: Path) -> None:
        write(tmp_path / "rows.csv", [{"question": "1 + 1?", "answer": "2"}])
        how = ["--student", tiny_model(), "--adapter", "nowhere", "--answer", "number"]
        told = self.refused(tmp_path, "evaluate", "--data", "rows.csv", *how)
        assert "'nowhere' is no folder of an adapter" in told


@pytest.fixture(scope="module")
def trained_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `train --data` has run on a file with two bad rows among the good ones."""
    folder = tmp_path_factory.mktemp("train")
    good = [SHAPES["messages"](ask, say) for ask, say in SUMS]
    write(folder / "chats.jsonl", [{"messages": [user("Hi")]}, *good, {"messages": []}])
    done = command(
        folder, "train", "--data", "chats.jsonl", "--student", tiny_model(),
        "--set", "steps.train.max_steps=1", "--set", "steps.train.r=4", "--learning-rate", "0.01",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_training_leaves_an_adapter_and_a_report_of_the_rows_that_taught_nothing(trained_here: Path) -> None:
    run = trained_here / "runs" / "train"
    assert (run / "models/student@1/adapter_model.safetensors").exists()
    assert (run / "models/student/README.md").exists()
    report = json.loads((run / "report.json").read_text())
    reasons = {"the conversation has no turn of the assistant": 1, "column 'messages' is empty": 1}
    assert report["dataset"] == {"rows": len(SUMS), "left_out": reasons}
    [training] = report["trainings"]
    assert (training["rows"], training["steps"], training["left_out"]) == (len(SUMS), 1, reasons)
    assert training["settings"]["learning_rate"] == 0.01
    text = (run / "report.md").read_text()
    assert "2 rows are not in the data set, as nothing can be learnt from them" in text
    assert "- messages:\n\n      user: What is 1 + 1?\n      assistant: It is 2.\n" in text


def test_an_adapter_is_compared_with_its_base_on_questions_with_right_answers(trained_here: Path) -> None:
    write(trained_here / "test.csv", [{"question": ask, "answer": str(2 * n)} for n, (ask, _) in enumerate(SUMS, 1)])
    done = command(
        trained_here, "evaluate", "--data", "test.csv", "--student", tiny_model(), "--answer", "number",
        "--adapter", "runs/train/models/student@1", "--max-tokens", "4", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(entry["model"], entry["n"]) for entry in report["evaluations"]] == [("base", 6), ("student", 6)]
    assert all(len(entry["ci95"]) == 2 for entry in report["evaluations"])
    [entry] = report["comparisons"]
    assert (entry["model"], entry["against"], entry["n"]) == ("student", "base", 6)
    assert {"gain", "ci95", "p_value", "gained", "lost"} <= set(entry)
    assert [model["name"] for model in report["models"]] == ["base", "student"]


def test_a_trained_adapter_can_be_trained_on_and_all_weights_can_be(trained_here: Path) -> None:
    write(trained_here / "more.csv", [SHAPES["Alpaca"](ask, say) for ask, say in SUMS])
    done = command(
        trained_here, "train", "--data", "more.csv", "--student", tiny_model(), "--adapter", "full", "--name", "more",
        "--set", "models.student.adapter=runs/train/models/student@1", "--set", "steps.train.max_steps=1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trainings"][0]["rows"] == len(SUMS)
    made = trained_here / "runs/more/models/student@1"
    assert (made / "model.safetensors").exists()
    assert not (made / "adapter_config.json").exists()
    job = json.loads((trained_here / "runs/more/work/train_student@1.json").read_text())
    assert job["adapter_from"] == str(trained_here / "runs/train/models/student@1")


@pytest.mark.skipif(shutil.which("nohup") is None, reason="there is no nohup")
def test_a_training_under_nohup_goes_on_when_the_terminal_is_closed(tmp_path: Path) -> None:
    data = write(tmp_path / "sums.csv", [SHAPES["Alpaca"](ask, say) for ask, say in SUMS])
    program = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()"]
    process = subprocess.Popen(
        ["nohup", *program, "train", "--data", data, "--student", tiny_model(), "--set", "steps.train.max_steps=4"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        process_group=0,  # a job of a shell, which sends its jobs the signal when it ends
    )
    training = tmp_path / "runs" / "train" / "models" / "student@1"
    while not (training / "job.sha256").exists():
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGHUP)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said.decode()
    assert json.loads((training / "training.json").read_text())["steps"] == 4


PREFERENCES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "texts": lambda ask, say: {"prompt": ask, "chosen": say, "rejected": "No."},
    "messages": lambda ask, say: {"prompt": [user(ask)], "chosen": [assistant(say)], "rejected": [assistant("No.")]},
    "whole conversations": lambda ask, say: {
        "chosen": [user(ask), assistant(say)],
        "rejected": [user(ask), assistant("No.")],
    },
}


@pytest.mark.parametrize("shape", PREFERENCES)
def test_every_shape_of_preferences_is_learnt_from(tmp_path: Path, shape: str) -> None:
    data = write(tmp_path / "pairs.jsonl", [PREFERENCES[shape](ask, say) for ask, say in SUMS])
    recipe = adhoc.train(str(data), str(tiny_model()), "dpo", "train", {})
    rows = sources.make_rows(sources.read(recipe.data["rows"], recipe.folder), {})
    found = rows_of(dataset.write_dataset(tmp_path / "dataset", rows, "dpo"))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in found] == [
        ([user(ask)], [assistant(say)], [assistant("No.")]) for ask, say in SUMS
    ]


def test_preferences_are_taught_to_an_adapter(trained_here: Path) -> None:
    write(trained_here / "pairs.jsonl", [PREFERENCES["texts"](ask, say) for ask, say in SUMS])
    done = command(
        trained_here, "train", "--data", "pairs.jsonl", "--student", tiny_model(), "--method", "dpo", "--name", "dpo",
        "--set", "models.student.adapter=runs/train/models/student@1", "--set", "steps.train.max_steps=3",
        "--learning-rate", "0.01", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [training] = json.loads(done.stdout)["trainings"]
    assert (training["method"], training["rows"], training["warnings"]) == ("dpo", len(SUMS), [])
    assert training["preferences"]["margin"]["last"] > training["preferences"]["margin"]["first"]
    assert (trained_here / "runs/dpo/models/student/README.md").exists()


def test_what_is_not_learnt_of_a_file_is_said_on_the_screen_and_in_the_report(tmp_path: Path) -> None:
    rows = [
        {"prompt": ask, "completion": [assistant(say), user("Thanks"), assistant(say)], "label": n != 3, "source": "x"}
        for n, (ask, say) in enumerate(SUMS)
    ]
    rows[0]["context"] = "Sums are easy."
    write(tmp_path / "rows.jsonl", rows)
    done = command(
        tmp_path, "train", "--data", "rows.jsonl", "--student", tiny_model(), "--set", "steps.train.max_steps=1",
        "--set", "steps.train.r=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bad = "1 of 6 rows: left out: column 'label' is false: the answer is one that must not be learnt"
    about = "1 of 6 rows: left out: column 'context' carries meaning that would be left out; put its text into the "
    unused = "columns that are not used: source"
    assert f"warning: {bad}\n" in done.stderr
    assert f"warning: {about}" in done.stderr
    assert f"warning: {unused}\n" in done.stderr
    report = (tmp_path / "runs/train/report.md").read_text()
    assert f"  - {bad}\n" in report
    [training] = json.loads((tmp_path / "runs/train/report.json").read_text())["trainings"]
    assert training["rows"] == 4


def test_turns_that_are_not_learnt_are_counted_on_the_screen(tmp_path: Path) -> None:
    say: list[str] = []
    turns = [[user(ask), assistant(told), user("Thanks")] for ask, told in SUMS]
    table = [Row({"id": str(n), "messages": each, "topic": "sums"}) for n, each in enumerate(turns)]
    dataset.write_dataset(tmp_path, table, "sft", say=say.append)
    assert say == ["6 of 6 rows: what follows the last answer is left out", "columns that are not used: topic"]
