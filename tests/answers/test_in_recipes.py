"""Kinds of answers in recipes: said once, with the files beside them, and of a plugin."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from tests.support.runs import execute, rows_of, write_rows

TICKETS = [
    {
        "instruction": "I was charged twice.",
        "said": ["billing", "Label: Billing", "**refund**"],
        "reference": "billing",
    },
    {"instruction": "Give me my money back!", "said": ["It is a refund.", "refund", "refund"], "reference": "refund"},
    {"instruction": "Hello?", "said": ["billing or refund", "I cannot say.", "refund"], "reference": "refund"},
]
SAYS = {"provider": "scripted", "replies": ["{{ said[sample] }}"]}
ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 3, "temperature": 1.0}


def run(folder: Path, *steps: dict[str, Any], rows: list[dict[str, Any]] = TICKETS, **head: Any) -> Any:
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "exam.jsonl", [row | {"instruction": f"Exam: {row['instruction']}"} for row in rows])
    data: dict[str, Any] = {"train": {"path": "train.jsonl"}}
    if any(step.get("input") == "exam" for step in steps):
        data["exam"] = {"path": "exam.jsonl", "held_out": True}
    values = {"name": "demo", "data": data, "models": {"teacher": SAYS}, "steps": steps, **head}
    return execute(folder, values, allow_code="plugins" in head)


def test_labels_are_said_once_and_the_commonest_is_kept(tmp_path: Path) -> None:
    job = run(
        tmp_path,
        ASK,
        {"step": "check", "answer": {"label": {"labels": ["billing", "refund", "other"]}}, "against": None},
        {"step": "select", "per": "instruction", "by": "majority", "min_share": 0.6, "as": "vote_share"},
        {"step": "evaluate", "input": "exam", "models": ["teacher"]},
    )
    checked = rows_of(tmp_path / "run/tables/02_check.jsonl")
    assert [row["answer"] for row in checked] == [
        "billing", "billing", "refund", "refund", "refund", "refund", None, None, "refund",
    ]  # fmt: skip
    assert not any("correct" in row for row in checked)
    kept = rows_of(tmp_path / "run/tables/03_select.jsonl")
    assert [(row["answer"], row["vote_share"], row["response"]) for row in kept] == [
        ("billing", 2 / 3, "billing"),
        ("refund", 1.0, "It is a refund."),
    ]
    lost = rows_of(tmp_path / "run/dropped.jsonl")
    assert [row["reason"] for row in lost].count("no majority") == 3
    [evaluation] = job.report["evaluations"]
    assert (evaluation["n"], evaluation["right"], evaluation["read"]) == (3, 2, 2)


def test_the_labels_of_generate_and_the_schema_of_generate_are_those_of_its_check(tmp_path: Path) -> None:
    labelled = {**ASK, "samples": 1, "labels": ["billing", "refund"]}
    write_rows(tmp_path / "train.jsonl", TICKETS)
    schema = {"type": "object", "properties": {"total": {"type": "number"}}}
    (tmp_path / "total.json").write_text(json.dumps(schema))
    (tmp_path / "recipe.yaml").write_text(
        json.dumps(
            {
                "name": "demo",
                "data": {"train": {"path": "train.jsonl"}},
                "models": {"teacher": SAYS},
                "steps": [
                    labelled,
                    {"step": "check", "answer": "label"},
                    {
                        "step": "check",
                        "answer": {"label": {"labels": ["refund", "billing", "c"]}},
                        "answer_as": "b",
                        "correct_as": "c",
                    },
                    {"step": "check", "answer": "label", "answer_as": "d", "correct_as": "e"},
                    {**labelled, "labels": None, "schema": "total.json", "as": "said"},
                    {
                        "step": "check",
                        "of": "said",
                        "answer": {"json": {"lists": "sets"}},
                        "against": None,
                        "answer_as": "f",
                    },
                    {
                        "step": "check",
                        "of": "said",
                        "answer": {"json": {"schema": "total.json"}},
                        "against": None,
                        "answer_as": "g",
                    },
                ],
            }
        )
    )
    recipe = load_recipe(tmp_path / "recipe.yaml", env={})
    said = [step.config.answer_kind() for step in recipe.steps if step.step.name == "check"]
    assert said == [
        {"label": {"labels": ["billing", "refund"]}},
        {"label": {"labels": ["refund", "billing", "c"]}},
        {"label": {"labels": ["refund", "billing", "c"]}},
        {"json": {"lists": "sets", "schema": schema}},
        {"json": {"schema": schema}},
    ]


def test_queries_are_run_on_the_database_beside_the_recipe(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as database:
        database.executescript(
            "CREATE TABLE item (id INTEGER, name TEXT); INSERT INTO item VALUES (1, 'Tea'), (2, 'Cup');"
        )
    database.close()
    said = ["SELECT count(*) FROM item;", "```sql\nSELECT max(id) FROM item\n```", "DELETE FROM item"]
    rows = [{"instruction": "How many?", "said": said, "reference": "SELECT 2"}]
    run(tmp_path, ASK, {"step": "check", "answer": {"sql": {"database": "shop.sqlite"}}}, rows=rows)
    checked = rows_of(tmp_path / "run/tables/02_check.jsonl")
    assert [(row["answer"], row["correct"]) for row in checked] == [
        ("SELECT count(*) FROM item", True),
        ("SELECT max(id) FROM item", True),
        (None, False),
    ]


def test_a_query_of_the_data_that_fails_is_told_by_check_with_its_fix(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "shop.sqlite").close()
    rows = [{"instruction": "How many?", "said": ["SELECT 1"] * 3, "reference": "SELECT count(*) FROM item"}]
    with pytest.raises(RecipeError, match="cannot be run on shop") as caught:
        run(tmp_path, ASK, {"step": "check", "answer": {"sql": {"database": "shop.sqlite"}}}, rows=rows)
    [problem] = caught.value.problems
    assert problem.message.endswith("cannot be run on shop.sqlite: no such table: item.")
    assert problem.fix == "mend the query of the row, or name the database that it is for"


PLUGIN = '''"""A number of an article."""

import re
from collections.abc import Mapping
from typing import Any

from blackbox_kd.sdk import AnswerKind, answer


@answer
class Article(AnswerKind):
    """A number of an article."""

    letters: int = 2
    """Letters that it begins with."""

    def read(self, text: str, row: Mapping[str, Any]) -> str | None:
        found = re.findall(rf"\\b[A-Z]{{{self.letters}}}\\d{{4}}\\b", text)
        return found[-1] if found else None

    def same(self, answer: str, reference: str, row: Mapping[str, Any]) -> bool:
        return answer == reference
'''


def test_a_plugin_brings_a_kind_of_answer_and_its_code_is_a_part_of_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "article.py").write_text(PLUGIN)
    rows = [{"instruction": "Which?", "said": ["It is AB1234.", "ABC1234", "none"], "reference": "AB1234"}]
    steps = [
        ASK,
        {"step": "check", "answer": {"article": {"letters": 2}}},
        {"step": "evaluate", "input": "exam", "models": ["teacher"]},
    ]
    job = run(tmp_path, *steps, rows=rows, plugins=["article.py"])
    checked = rows_of(tmp_path / "run/tables/02_check.jsonl")
    assert [(row["answer"], row["correct"]) for row in checked] == [("AB1234", True), (None, False), (None, False)]
    assert [entry["right"] for entry in job.report["evaluations"]] == [1]
    (tmp_path / "article.py").write_text(PLUGIN.replace("return answer == reference", "return False"))
    again = run(tmp_path, *steps, rows=rows, plugins=["article.py"])
    assert [entry["right"] for entry in again.report["evaluations"]] == [0]
