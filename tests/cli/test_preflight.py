"""`train --preflight` and `try` of a training: what would be trained, as a user reads it; nothing is loaded or left."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.support.runs import QUESTIONS, write_rows
from tests.support.tiny import tiny_model

ROWS = [
    *({"prompt": f"say {n}", "completion": str(n), "finish_reason": "stop"} for n in range(5)),
    {"prompt": "say 9", "completion": "9", "finish_reason": "FinishReason.MAX_TOKENS"},
    {"id": "empty", "prompt": "say nothing", "completion": ""},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With rows, and a student whose file of weights is empty: whoever loads it fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_rows(tmp_path / "rows.jsonl", ROWS)
    shutil.copytree(tiny_model(), tmp_path / "student")
    (tmp_path / "student" / "model.safetensors").write_bytes(b"")
    return tmp_path


def look(blackbox: Command, *more: str) -> Any:
    return blackbox("train", "--preflight", "--data", "rows.jsonl", "--student", "student", *more)


def test_what_would_be_trained_is_told_and_no_file_is_left(folder: Path, blackbox: Command) -> None:
    before = {path.name for path in folder.iterdir()}
    done = look(blackbox)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "steps[0] (train) of train: student (sft), looked at and not trained"
    assert lines[2].startswith("rows: 6, tokens: ")
    assert "end of turn that is trained: <|im_end|> (6 answers)" in lines
    at = next(number for number, line in enumerate(lines) if line.startswith("the first row as the student"))
    assert lines[at + 1 : at + 5] == [
        "  | <|im_start|>user⏎",
        "  | say 0<|im_end|>⏎",
        "  | <|im_start|>assistant⏎",
        "x | 0<|im_end|>⏎",
    ]
    assert any(line.startswith("memory: about 0.0 GiB (an estimate") for line in lines)
    cut = "note: 1 of 7 rows: finish_reason says that the answer was cut off (max_tokens): the student would learn to"
    assert any(line.startswith(cut) for line in lines)
    assert lines[-2] == "left out: empty: column 'completion' is empty"
    assert lines[-1] == "nothing was trained; a training would take these rows"
    assert {path.name for path in folder.iterdir()} - before <= {"cache"}


def test_rows_that_a_training_would_refuse_end_in_its_exit_status(folder: Path, blackbox: Command) -> None:
    template = folder / "student" / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ message['content'] }}", "{{ message['content'] | upper }}"))
    write_rows(folder / "rows.jsonl", [*ROWS, {"id": "words", "prompt": "say", "completion": "a word"}])
    done = look(blackbox, "--max-length", "48", "--json")
    assert done.status == 2
    told = json.loads(done.out)
    assert (told["schema_version"], told["ok"]) == (1, False)
    [seen] = [entry["preflight"] for entry in told["trainings"]]
    assert [each["where"] for each in seen["refused"]] == ["row 6 (completion), id 'words'"]
    assert "leaves out of the answer what it says: 'a word'" in seen["refused"][0]["reason"]
    assert done.err.splitlines() == [f"error: {line}" for line in told["problems"][0].splitlines()]
    words = look(blackbox).out.splitlines()
    assert words[-2].startswith("refused: row 6 (completion), id 'words': the chat template leaves out")
    assert words[-1].startswith("  fix: a chat template that writes it")


def test_long_rows_are_marked_and_refused_unless_they_are_dropped(folder: Path, blackbox: Command) -> None:
    write_rows(folder / "rows.jsonl", [*ROWS, {"prompt": "say", "completion": "z" * 100}])
    done = look(blackbox, "--max-length", "64")
    assert (done.status, "(too long)" in done.out) == (2, True)
    assert "error: rows longer than max_length 64: 1\n  fix: max_length: 128, or long_rows: drop" in done.err
    assert look(blackbox, "--max-length", "64", "--long-rows", "drop").status == 0


def test_a_training_of_a_recipe_is_looked_at_with_the_rows_of_its_run(folder: Path, blackbox: Command) -> None:
    write_rows(folder / "train.jsonl", QUESTIONS)
    steps = [
        {"step": "generate", "model": "teacher", "prompt": "student/plain"},
        {"step": "check", "answer": "number"},
        {"step": "format"},
        {"step": "train", "model": "student", "eval_share": 0.2},
    ]
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}, "student": {"provider": "transformers", "model": "student"}},
        "steps": steps,
    }
    (folder / "recipe.yaml").write_text(json.dumps(values))
    few = blackbox("try", "recipe.yaml", "train", "--json")
    assert (few.told["rows"], "steps[0] (generate) comes before it and is asked for 3 rows" in few.err) == (3, True)
    blackbox("run", "recipe.yaml", "--until", "format")
    done = blackbox("try", "recipe.yaml", "train", "--json")
    [told] = done.told["trainings"]
    assert (told["model"], told["method"], told["preflight"]["rows"], done.told["spent"]["calls"]) == (
        "student",
        "sft",
        6,
        0,
    )
    assert told["preflight"]["evaluation_rows"] == 1
    assert not (folder / "runs/demo/models").exists() or not list((folder / "runs/demo/models").iterdir())
