"""Where the rows of a recipe come from: a folder of documents, what an application has logged, the recipe itself."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.runs import execute, rows_of

DOCUMENTS = """
name: documents
data:
  docs: {path: "docs/**/[0-9]*.md", chunk: {words: 300, overlap: 40, by: heading}}
  exam: {path: "docs/exam*.txt", chunk: {words: 100}, held_out: true}
models:
  teacher: {provider: scripted, replies: ["What is {{ heading }}?\\nWho wrote part {{ part }}?"]}
steps:
  - {step: generate, model: teacher, prompt: ask, as: questions, temperature: 1}
  - {step: map, each: lines(questions), as: question, remove: [questions]}
  - {step: split, outputs: {train: 0.8, dev: 0.2}, per: source}
  - {step: filter, input: train, novelty: {column: text, against: [exam], max: 1}}
  - {step: format, prompt: ask, completion: question}
  - {step: evaluate, input: exam, models: [teacher], prompt: ask, answer: exact, against: part}
"""


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    [file] = (folder / "run/tables").glob(f"*{name}.jsonl")
    return rows_of(file)


def test_a_folder_of_twenty_long_files_becomes_questions_and_no_file_stands_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "docs/deep").mkdir(parents=True)
    (tmp_path / "ask.jinja").write_text("Ask about {{ heading }}: {{ text }}")
    for number in range(20):
        parts = (f"# Topic {number}.{p}\n\n" + f"Fact {number}.{p} holds here. " * 150 for p in range(3))
        name = f"deep/{number:02}" if number % 3 == 0 else f"{number:02}"
        (tmp_path / f"docs/{name}.md").write_text("\n\n".join(parts))
    (tmp_path / "docs/exam.txt").write_text("Line of the exam. " * 100)
    execute(tmp_path, yaml.safe_load(DOCUMENTS))
    train, dev = table(tmp_path, "split_train"), table(tmp_path, "split_dev")
    assert [len({row["source"] for row in rows}) for rows in (train, dev)] == [16, 4]
    assert not {row["source"] for row in train} & {row["source"] for row in dev}
    assert len(train) + len(dev) == 20 * 3 * 3 * 2
    made = {(row["source"], row["part"], row["question"]): row["text"] for row in (*train, *dev)}
    begins = {
        ("docs/01.md", 1, "What is Topic 1.0?"): "# Topic 1.0\n\nFact 1.0 holds here.",
        ("docs/01.md", 2, "Who wrote part 2?"): "Fact 1.0 holds here.",
        ("docs/deep/18.md", 7, "What is Topic 18.2?"): "# Topic 18.2\n\nFact 18.2 holds here.",
    }
    for key, begin in begins.items():
        assert made[key].startswith(begin), key
        assert made[key].endswith("holds here."), "a chunk ends with a sentence"
    assert "exam" not in (tmp_path / "run/tables/04_filter.jsonl").read_text()
    again = (tmp_path / "run/dataset/recipe.yaml").read_text()
    assert yaml.safe_load(again)["data"]["docs"] == {"path": "inputs/docs.jsonl"}, "the rows stand beside it"


TRACES = """
name: traces
data:
  traffic: {path: traffic.jsonl, format: auto, bad_lines: drop}
models:
  teacher: {provider: scripted, replies: ["Asked: {{ turn.history[-1].content }}"]}
steps:
  - {step: map, redact: [email, phone, card]}
  - {step: filter, keep: "feedback['thumbs'] == 1"}
  - {step: map, each: turns(messages), as: turn, remove: [messages]}
  - {step: generate, model: teacher, prompt: again, temperature: 1}
  - {step: format, prompt: again}
"""


def test_what_was_logged_is_redacted_filtered_and_answered_anew(tmp_path: Path) -> None:
    asked = "I am bob{}@example.com, card 4111 1111 1111 1111, order 4111111111111112: {}?"
    logged = [
        {
            "id": f"g{number}",
            "traceId": "t",
            "type": "GENERATION",
            "input": [{"role": "user", "content": asked.format(number, number)}],
            "output": {"role": "assistant", "content": "Call +49 30 1234567."},
            "scores": [{"name": "thumbs", "value": number % 2}],
        }
        for number in range(6)
    ]
    (tmp_path / "traffic.jsonl").write_text("\n".join(map(json.dumps, logged)) + "\nnot JSON\n")
    (tmp_path / "again.jinja").write_text("{{ turn.history[-1].content }}")
    run = execute(tmp_path, yaml.safe_load(TRACES))
    rows = table(tmp_path, "format")
    said = "I am [email], card [card], order 4111111111111112: {}?"
    assert [row["completion"][0]["content"] for row in rows] == [f"Asked: {said.format(n)}" for n in (1, 3, 5)]
    assert {row["turn"]["answer"] for row in rows} == {"Call [phone]."}
    assert run.report["bad_lines"] == [{"table": "traffic", "file": "traffic.jsonl", "left_out": 1}]
    assert run.report["funnel"][0]["counts"]["redacted email"] == 6
    told = (tmp_path / "run/report.md").read_text()
    assert "Of `traffic.jsonl` 1 could not be read and are left out." in told
    data = yaml.safe_load((tmp_path / "run/dataset/recipe.yaml").read_text())["data"]["traffic"]
    assert data == {"path": "inputs/traffic.jsonl", "format": "auto", "bad_lines": "drop"}
    assert not (tmp_path / "run/dataset/inputs").exists(), "what was logged is not published"


def test_rows_of_the_recipe_itself_are_run_and_stay_in_it(tmp_path: Path) -> None:
    seeds = [{"topic": "bees"}, {"topic": "trees"}, {"topic": "seas"}]
    steps = [{"step": "map", "set": {"prompt": "Tell me of {{ topic }}.", "completion": "So: {{ topic }}"}}]
    execute(tmp_path, {"name": "inline", "data": {"seeds": {"rows": seeds}}, "steps": steps})
    assert [row["prompt"] for row in table(tmp_path, "map")] == [
        "Tell me of bees.",
        "Tell me of trees.",
        "Tell me of seas.",
    ]
    assert yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["data"] == {"seeds": {"rows": seeds}}
