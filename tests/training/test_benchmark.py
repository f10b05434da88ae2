"""Standard benchmarks by lm_eval itself, on tasks of files, and a run from training to the report."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import UserError
from blackbox_kd.training import benchmark
from tests.support.runs import execute, rows_of, write_rows
from tests.support.tiny import tiny_model

pytest.importorskip("lm_eval")
COUNTRIES = [
    "France",
    "Germany",
    "Italy",
    "Spain",
    "Japan",
    "Egypt",
    "Russia",
    "Greece",
    "Portugal",
    "Austria",
    "Poland",
    "Hungary",
]
HEAD = """
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
"""
CHOOSE = f"""{HEAD}
task: choose
output_type: multiple_choice
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
SAY = f"""{HEAD}
task: say
output_type: generate_until
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
filter_list: [{{name: word, filter: [{{function: regex, regex_pattern: "(a+)"}}, {{function: take_first}}]}}]
"""


def write_tasks(folder: Path) -> list[str]:
    """Two tasks on the same questions; the names of their files."""
    docs = [
        {"question": f"What is the capital of {name}?", "choices": ["one", "two"], "answer": n % 2}
        for n, name in enumerate(COUNTRIES)
    ]
    write_rows(folder / "capitals.jsonl", docs)
    (folder / "choose.yaml").write_text(CHOOSE)
    (folder / "say.yaml").write_text(SAY)
    return ["choose.yaml", "say.yaml"]


def job(folder: Path, tasks: Iterable[str], **fields: Any) -> dict[str, Any]:
    return {
        "model": str(tiny_model()), "adapter": None, "chat_template": None, "chat_template_kwargs": {},
        "device": "cpu", "dtype": "auto", "tasks": list(tasks), "few_shot": None, "limit": None, "chat": False,
        "allow_code": True, "samples": str(folder / "samples"), **fields,
    }  # fmt: skip


def test_what_lm_eval_tells_is_read_with_each_question_and_its_samples_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    choose, say = benchmark.ask(job(tmp_path, write_tasks(tmp_path), chat=True))
    scores = choose["scores"]["acc"]
    assert (choose["task"], choose["n"], choose["few_shot"], len(scores)) == ("choose", 12, 0, 12)
    assert choose["metrics"]["acc"]["value"] == sum(scores.values()) / 12
    assert choose["metrics"]["acc"]["stderr"] > 0
    assert choose["questions"][0]["doc"]["question"] == "What is the capital of France?"
    assert choose["questions"][0]["asked"] == "Question: What is the capital of France?\nAnswer:"
    assert list(say["metrics"]) == ["exact_match (word)"] == list(say["scores"])
    samples = rows_of(tmp_path / "samples" / "choose.jsonl")
    assert len(samples) == 12
    assert samples[0]["arguments"][0][0].startswith("<|im_start|>user\nQuestion: What is the capital of France?")
    assert [sample["acc"] for sample in samples] == list(scores.values())


def test_a_task_that_cannot_be_had_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(tmp_path)
    write_tasks(tmp_path)
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    with pytest.raises(UserError, match=r"lm_eval has no task 'chooose'\n  fix: did you mean 'choose'\?"):
        benchmark.load_tasks(manager, "chooose")
    (tmp_path / "capitals.jsonl").unlink()
    with pytest.raises(UserError, match=r"the questions of task .choose. cannot be had: .*capitals.jsonl"):
        benchmark.load_tasks(manager, "choose")


@pytest.mark.slow
def test_a_student_is_asked_beside_its_base_and_what_it_has_learnt_by_heart_is_told(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path)
    write_rows(
        tmp_path / "train.jsonl",
        [{"prompt": f"what is the capital of {name}", "completion": "one"} for name in COUNTRIES[:3]],
    )
    steps = [
        {"step": "train", "model": "student", "max_steps": 2, "learning_rate": 0.1},
        {"step": "benchmark", "models": ["student@base", "student"], "tasks": tasks, "limit": 10},
    ]
    values = {
        "name": "forget", "data": {"train": {"path": "train.jsonl"}}, "steps": steps,
        "models": {"student": {"provider": "transformers", "model": str(tiny_model())}},
    }  # fmt: skip
    run = execute(tmp_path, values, allow_code=True)
    entries = run.report["benchmarks"]
    assert [(e["model"], e["version"], e["task"], e["n"]) for e in entries] == [
        (model, model.replace("student", "student@1") if "@" not in model else model, task, 10)
        for task in ("choose", "say")
        for model in ("student@base", "student")
    ]
    assert entries[0]["overlap"] | {"examples": []} == {"rows": 10, "exact": 3, "near": 0, "examples": []}
    assert [(e["table"], e["model"], e["n"]) for e in run.report["comparisons"]] == [
        ("choose", "student", 10),
        ("say", "student", 10),
    ]
    words = (run.path / "report.md").read_text()
    section = words[words.index("## Benchmarks") :]
    told = "Of the 10 questions of `choose`, 3 stand among the rows that were learnt word for word and 0 nearly"
    assert section.index(told) < section.index("| model | task |") < section.index("On the same 10 rows of `choose`")
    assert "it holds for this student" in section
    assert len(rows_of(run.path / "benchmarks" / "student@1" / "choose.jsonl")) == 10
    kept = {file: file.stat().st_mtime_ns for file in (run.path / "work").glob("benchmark_*.json")}
    again = execute(tmp_path, values | {"steps": [steps[0], {**steps[1], "output": "told"}]}, allow_code=True)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert json.dumps(again.report["benchmarks"]) == json.dumps(entries)
