"""The report of a run, in words and for programs: how it ended, what it cost, and rows to read."""

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import BudgetReached, Stopped
from blackbox_kd.runs.report import build, markdown
from blackbox_kd.runs.report.ending import Ending
from tests.support.fake_server import FakeServer
from tests.support.runs import execute, trained, write_rows

TEACHER = {"provider": "scripted", "price": {"input": 100, "output": 200}}
HALF_RIGHT = {"provider": "scripted", "replies": ["The answer is {{ reference }}.", "I do not know."]}


def values(**changes: Any) -> dict[str, Any]:
    """A run whose teacher is right, and an evaluation in which another model is right half of the time."""
    ask = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
    evaluate = {"step": "evaluate", "input": "test", "models": ["weak", "teacher"], "answer": "number"}
    found: dict[str, Any] = {
        "name": "demo",
        "paper": "arXiv:2212.08410",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": TEACHER, "weak": HALF_RIGHT},
        "steps": [ask, {"step": "check", "answer": "number"}, {"step": "filter", "keep": "correct"}, evaluate],
    }
    return found | changes


def report_of(folder: Path, recipe: dict[str, Any], **options: Any) -> tuple[str, dict[str, Any]]:
    """Both reports, of a run that may have stopped."""
    with suppress(BudgetReached):
        execute(folder, recipe, **options)
    return (folder / "run/report.md").read_text(), json.loads((folder / "run/report.json").read_text())


def section(text: str, title: str) -> str:
    """The part of a report below a heading that starts with `title`."""
    return next(part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(title))


def questions(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"And {n} + 2?", "reference": str(n + 2), "kind": "ab"[n % 2]} for n in range(count)]


def test_the_first_line_says_that_the_run_is_complete_what_it_made_and_what_it_cost(tmp_path: Path) -> None:
    text, found = report_of(tmp_path, values())
    spent = found["spent"]
    assert (spent["requests"], spent["usd"]) == (18, pytest.approx(0.0414))
    bill = f"18 calls, {spent['tokens']} tokens, $0.0414"
    assert text.split("\n")[2] == f"The run is complete: 6 rows in `dataset/`, {bill}."
    assert found["status"] == found["ended"] == "complete"
    assert found["dataset"] == {"rows": 6, "left_out": {}}
    assert (found["recipe"], found["paper"], found["seed"]) == ("demo", "arXiv:2212.08410", 0)


def test_a_stopped_run_says_why_what_is_kept_and_which_rows_were_being_worked_on(tmp_path: Path) -> None:
    text, found = report_of(tmp_path, values(budget={"requests": 2}))
    line = text.split("\n")[2]
    assert line.startswith("**The run is not complete: budget reached: 2 requests of budget.requests = 2 spent")
    assert line.endswith("** What is paid for is kept; the same command goes on from here.")
    assert "Rows that were still being worked on: 4 in steps[0] (generate)." in text
    assert found["dataset"] is None


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), Stopped()], ids=repr)
def test_a_run_that_was_told_to_stop_says_so_in_words(tmp_path: Path, error: BaseException) -> None:
    job = execute(tmp_path, values())
    found = build.collect(build.Facts(job.recipe, Ending.of(error), [], {}, [], job.report["spent"], []))
    build.write(tmp_path, found, [])
    assert (found["status"], found["ended"]) == ("stopped by Ctrl-C or SIGTERM", "stopped")
    assert "**The run is not complete: stopped by Ctrl-C or SIGTERM.**" in (tmp_path / "report.md").read_text()


def test_a_gain_is_told_with_its_interval_what_it_is_made_of_and_what_a_point_cost(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", questions(40))
    text, found = report_of(tmp_path, values())
    [entry] = found["comparisons"]
    gained, points = entry["gained"], 100 * entry["gain"]
    told = section(text, "Evidence")
    assert 10 < gained < 30
    assert f"On the same 40 rows of `test`, `teacher` is {points:.1f} points better than `weak` (95 % interval" in told
    assert f"; {gained} rows gained, 0 lost, McNemar p = " in told
    assert "The interval lies above 0, but not that of the answers right: these rows tell a gain of form alone" in told
    assert f"An answer could be read in 40 of its 40 replies (`weak`: {40 - gained})" in told
    assert f"Of the +{points:.1f} points, +{points:.1f} come from answers read" in told
    cost = found["spent"]["usd"]
    assert f"The run cost ${cost:.4f}: ${cost / points:.4f} for each point." in told
    assert "Of the 40 rows of the held-out table `test`, 0 stand among the training rows word for word" in told


def test_a_model_that_got_worse_has_no_price_of_a_point(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", questions(40))
    recipe = values()
    recipe["steps"][3]["models"] = ["teacher", "weak"]
    told = section(report_of(tmp_path, recipe)[0], "Evidence")
    assert "points worse than `teacher`" in told
    assert "The interval lies below 0: `weak` is the worse one." in told
    assert "for each point" not in told


def test_models_that_do_not_differ_are_not_called_better(tmp_path: Path) -> None:
    recipe = values(models={"teacher": TEACHER, "weak": TEACHER})
    told = section(report_of(tmp_path, recipe)[0], "Evidence")
    assert "`teacher` is as good as `weak`" in told
    assert "The interval holds 0: these rows do not tell which one is better." in told


def test_accuracy_by_a_column_is_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", questions(6))
    recipe = values()
    recipe["steps"][3]["by"] = ["kind"]
    text, _ = report_of(tmp_path, recipe)
    assert "`teacher` on `test` by `kind`: a: 3 (100.0 %) of 3 (95 % interval 43.9 % to 100.0 %); b: " in text


def test_a_cost_that_is_not_known_is_never_told_as_nothing() -> None:
    spent = {"requests": 3, "tokens": 30, "usd": 1.5, "usd_unknown": 2, "doubtful": 1, "repeated": 4}
    entry = {"name": "m", "calls": 2, "replayed": 1, "prompt_tokens": 3, "completion_tokens": 4, "cost_usd": None}
    found = {
        "recipe": "demo", "status": "complete", "ended": "complete", "dataset": None, "spent": spent, "models": [entry],
        "funnel": [], "evaluations": [], "comparisons": [], "contamination": [],
    }  # fmt: skip
    told = section(markdown.write_markdown(found, []), "Cost")
    assert "3 calls, 30 tokens, $1.50. What 2 of the calls cost is not known and not in the sum." in told
    assert "1 calls more were lost in flight, and may have been charged for." in told
    assert "Calls sent again because an earlier process left them without a reply: 4." in told
    assert "- `m`: 2 calls now, 1 replies from the ledger; 3 prompt and 4 completion tokens; cost not known" in told


@pytest.mark.parametrize(("usd", "told"), [(1.25, "saved $1.25"), (-0.5, "cost $0.5000")])
def test_what_a_cache_did_and_saved_is_told_under_its_model(usd: float, told: str) -> None:
    spent = {"requests": 3, "tokens": 30, "usd": 1.5, "usd_unknown": 0, "doubtful": 0, "repeated": 0}
    entry = {"name": "m", "calls": 2, "replayed": 1, "prompt_tokens": 3, "completion_tokens": 4, "cost_usd": 1.5}
    entry |= {"cached_tokens": 12_000, "cache_write_tokens": 3000, "cache_saved_usd": usd}
    found = {
        "recipe": "demo", "status": "complete", "ended": "complete", "dataset": None, "spent": spent, "models": [entry],
        "funnel": [], "evaluations": [], "comparisons": [], "contamination": [],
    }  # fmt: skip
    assert (
        "  - of its prompt tokens the endpoint read 12,000 from its cache and put 3,000 there, which has "
        f"{told}\n" in markdown.write_markdown(found, [])
    )


def test_rows_from_which_nothing_can_be_learnt_are_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"instruction": "a", "response": "b"}, {"instruction": "a", "response": ""}])
    recipe = values(steps=[{"step": "filter", "keep": "len(instruction) > 0"}], models={})
    recipe["data"].pop("test")
    text, found = report_of(tmp_path, recipe)
    assert found["dataset"] == {"rows": 1, "left_out": {"column 'response' is empty": 1}}
    assert (
        "1 rows are not in the data set, as nothing can be learnt from them (`dataset/left_out.jsonl`): "
        "1 column 'response' is empty." in text
    )
    assert "1 rows more are in `left_out.jsonl` alone" in (tmp_path / "run/dataset/README.md").read_text()


def test_reasons_stand_in_the_table_of_rows_without_breaking_it(tmp_path: Path) -> None:
    recipe = values()
    recipe["steps"][2]["keep"] = "answer == '1' or answer == '2|3'"
    text, _ = report_of(tmp_path, recipe)
    assert "| steps[2] (filter) | 6 | 0 | 1 | 5 not (answer == '1' or answer == '2\\|3') | 0 |" in text


class TestRowsToRead:
    def test_five_rows_are_shown_spread_over_the_table(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "train.jsonl", [{"instruction": f"Row {n}", "reference": "1"} for n in range(23)])
        text, _ = report_of(tmp_path, values())
        shown = section(text, "5 of 23 rows (`03_filter.jsonl`)")
        assert re.findall(r"- instruction: Row (\d+)", shown) == ["0", "4", "8", "12", "16"]

    def test_text_of_several_lines_or_with_markup_stands_as_it_is(self, tmp_path: Path) -> None:
        replies = ["<b>so</b>\n\n# One\nThe answer is {{ reference }}."]
        text, _ = report_of(tmp_path, values(models={"teacher": TEACHER | {"replies": replies}, "weak": HALF_RIGHT}))
        assert (
            "- response of `teacher` (right: read as 1):\n\n"
            "      <b>so</b>\n\n      # One\n      The answer is 1.\n" in text
        )

    def test_a_long_text_is_cut_with_a_mark(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "train.jsonl", [{"instruction": "long " * 1000, "reference": "1"}])
        text, _ = report_of(tmp_path, values())
        assert "long [...]" in text
        assert len(max(text.split("\n"), key=len)) < 1300

    def test_an_evaluation_shows_each_question_once_with_the_answers_of_all_models(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "test.jsonl", questions(40))
        text, _ = report_of(tmp_path, values())
        shown = section(text, "5 of 40 questions, each as every model answered it (`04_evaluate.jsonl`)")
        assert len(re.findall(r"^- instruction: ", shown, flags=re.M)) == 5
        assert len(re.findall(r"^- `weak` \((right: read as \d+|wrong: no answer can be read)\): ", shown, re.M)) == 5
        assert len(re.findall(r"^- `teacher` \(right: read as \d+\):", shown, re.M)) == 5

    def test_rows_of_other_columns_show_them_all(self, tmp_path: Path) -> None:
        turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
        write_rows(tmp_path / "train.jsonl", [{"conversations": turns}, {"colour": "red", "n": 3}])
        recipe = values(steps=[{"step": "select", "rows": 2}], models={})
        recipe["data"].pop("test")
        text, _ = report_of(tmp_path, recipe)
        assert "- conversations:\n\n      human: Hi\n      gpt: Ho\n" in text
        assert "- colour: red\n- n: 3\n" in text


class TestOfARunThatTrains:
    def test_training_is_told_in_a_line(self) -> None:
        told = section((trained().path / "report.md").read_text(), "Training")
        assert re.search(
            r"- `student@1` \(sft\): 6 rows, \d+ s on cpu, optimizer steps: 1; loss \d\.\d{3} at the start", told
        )

    def test_what_was_seen_of_its_rows_is_told_with_one_as_it_was_trained_on(self) -> None:
        told = section((trained().path / "report.md").read_text(), "Training").splitlines()
        assert "  - end of turn that is trained: <|im_end|> (6 answers)" in [line.replace("\\", "") for line in told]
        at = told.index("  - a row as it was trained on; x marks what is trained; the rest is read, and not learnt:")
        shown = [line.removeprefix("        ") for line in told[at + 2 : told.index("", at + 2)]]
        assert shown[0] == "  | <|im_start|>user⏎"
        assert "".join(line[4:] for line in shown if line.startswith("x")).endswith("The answer is 1.<|im_end|>⏎")
        [entry] = trained().report["trainings"]
        assert (entry["preflight"]["rows"], "memory" in entry["preflight"]) == (6, False)
        left = json.loads((trained().path / "models" / "student@1" / "training.json").read_text())
        assert "preflight" not in left, "rows are not published with a model"

    def test_rows_of_both_models_are_shown_beside_those_that_were_trained_on(self) -> None:
        text = (trained().path / "report.md").read_text()
        assert section(text, "5 of 6 rows (`06_train.jsonl`)").count("- response of `teacher` (right: read as") == 5
        shown = section(text, "5 of 6 questions")
        for name in ("student@base", "student"):
            assert shown.count(f"- `{name}` (wrong: no answer can be read, cut off)") == 5


def test_one_model_under_two_prompts_is_told_apart_in_both_reports(tmp_path: Path) -> None:
    (tmp_path / "short.jinja").write_text("In short: {{ instruction }}")
    replies = {"In short": "The answer is {{ reference }}.", "And": "The answer is 0."}
    ask = {"step": "evaluate", "input": "test", "models": ["weak"], "answer": "number"}
    recipe = values(models={"teacher": TEACHER, "weak": {"provider": "scripted", "replies": replies}})
    recipe["steps"][3:] = [ask, ask | {"prompt": "short"}]
    text, found = report_of(tmp_path, recipe)
    assert [entry["prompt"] for entry in found["evaluations"]] == ["student/plain", "short"]
    assert [entry["right"] for entry in found["evaluations"]] == [0, 6]
    assert "| weak (prompt `student/plain`) | test | 6 | 0 (0.0 %) |" in text
    assert "| weak (prompt `short`) | test | 6 | 6 (100.0 %) |" in text


async def test_replies_of_another_model_than_was_asked_for_are_told(tmp_path: Path) -> None:
    async with FakeServer(["other_model", "ok", "other_model"]) as server:
        teacher = {"provider": "openai", "model": "gpt-6-luna", "base_url": server.url, "refuses": []}
        recipe = values(models={"teacher": teacher}, steps=values()["steps"][:1])
        del recipe["data"]["test"]
        text, found = await asyncio.to_thread(report_of, tmp_path, recipe)
        assert found["models"][0]["rerouted"] == {"another-model": 2}
        told = "  - warning: 2 replies are by `another-model`, not by the model that was asked for"
        assert told in section(text, "Cost").splitlines()
        _, again = await asyncio.to_thread(report_of, tmp_path, recipe)
        assert (again["models"][0]["calls"], again["models"][0]["rerouted"]) == (0, {"another-model": 2})
