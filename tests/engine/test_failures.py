"""When failed rows end a run, what is said then, and what is not bought any more."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import StepError, TooManyFailed
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_quirks import QuirkyServer
from tests.support.runs import command, execute, rows_of, write_rows
from tests.support.tiny import bare_model

ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 0}
CUT = {"text": "It is", "finish_reason": "length"}
RIGHT = {"provider": "scripted", "replies": ["The answer is {{ reference }}."]}
CHECK = {"step": "check", "answer": "number"}


def values(*steps: dict[str, Any], **models: Any) -> dict[str, Any]:
    data = {"train": {"path": "train.jsonl"}}
    return {"name": "demo", "data": data, "models": models, "steps": list(steps)}


def questions(folder: Path, count: int) -> None:
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(count)]
    write_rows(folder / "train.jsonl", rows)


async def run(folder: Path, server: QuirkyServer, rows: int, *steps: dict[str, Any], share: float = 0.05) -> Run:
    """Runs steps whose teacher has every second request refused, and whose other teacher is a good one."""
    questions(folder, rows)

    def model(name: str) -> dict[str, Any]:
        return {"provider": "openai", "model": name, "base_url": server.url, "max_concurrency": 8}

    models = {"teacher": model("azurefilter"), "other": model("good")}
    named = {step["model"] for step in steps if "model" in step}
    recipe = values(*steps, **{name: models[name] for name in named}) | {"max_failed_share": share}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places))
    await job.execute()
    return job


class TestWithinAStep:
    async def test_no_more_rows_are_begun_once_200_show_that_too_many_fail(self, tmp_path: Path) -> None:
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed) as caught:
                await run(tmp_path, server, 1000, ASK)
            assert 200 <= server.asked["azurefilter"] <= 300
        said = str(caught.value)
        assert "rows failed" in said.splitlines()[0]
        assert "times: " in said
        assert "The response was filtered" in said
        assert f"see {tmp_path}/run/failed.jsonl" in said
        report = json.loads((tmp_path / "run/report.json").read_text())
        assert len(rows_of(tmp_path / "run/failed.jsonl")) == report["funnel"][0]["failed"]["refused"] > 90

    async def test_fewer_rows_are_all_asked(self, tmp_path: Path) -> None:
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed, match="95 of 190 rows failed: 95 refused"):
                await run(tmp_path, server, 190, ASK)
            assert server.asked["azurefilter"] == 190

    async def test_so_are_they_where_the_recipe_allows_it(self, tmp_path: Path) -> None:
        async with QuirkyServer() as server:
            job = await run(tmp_path, server, 400, ASK, share=0.6)
            assert (server.asked["azurefilter"], job.report["status"]) == (400, "complete")

    async def test_a_later_step_of_the_segment_is_looked_at_too(self, tmp_path: Path) -> None:
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed, match=r"steps\[1\] \(generate\)"):
                await run(tmp_path, server, 1000, ASK | {"model": "other"}, ASK | {"as": "second"})
            assert server.asked["azurefilter"] <= 300


async def test_requests_that_are_all_rejected_alike_end_the_run_with_the_fix(tmp_path: Path) -> None:
    questions(tmp_path, 300)
    async with QuirkyServer() as server:
        model = {"provider": "openai", "model": "ctx", "base_url": server.url, "max_concurrency": 8}
        recipe = values(ASK, teacher=model)
        for rows in (300, 6):
            (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
            done = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", "--limit", rows)
            assert done.returncode == 1
            assert "report: runs/demo/" in done.stdout
            assert "maximum context length is 2048 tokens" in done.stderr
            assert "  fix: show less in the prompt, or lower max_tokens: of the step" in done.stderr
            assert ("all of its first 20 requests were rejected so)" in done.stderr) == (rows == 300)
            assert ("    6 times: " in done.stderr) == (rows == 6)
            assert "--retry-failed" not in done.stderr
        assert server.asked["ctx"] <= 20 + 8 + 6


def test_own_a_student_whose_template_takes_no_system_text_names_a_row_and_the_fix(tmp_path: Path) -> None:
    questions(tmp_path, 30)
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (tmp_path / "mine.jinja").write_text(f"{no_system}{{{{ messages[-1].content }}}}<|im_end|>")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/ask.jinja").write_text(
        "{% system %}Be brief.{% endsystem %}{% user %}{{ instruction }}{% enduser %}"
    )
    student = {"provider": "transformers", "model": str(bare_model()), "chat_template": "mine.jinja"}
    with pytest.raises(StepError) as caught:
        execute(tmp_path, values(ASK | {"model": "student", "prompt": "ask", "max_tokens": 4}, student=student))
    assert "it says no: System role not supported (row '" in caught.value.what
    assert caught.value.fix.startswith("fold the system text into the user's turn: begin the turn with it")


class TestBetweenSteps:
    async def test_what_follows_a_step_of_which_too_many_rows_failed_is_not_bought(self, tmp_path: Path) -> None:
        chosen = {"step": "select", "per": "instruction", "best": 1}
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed, match=r"steps\[0\] \(generate\): 20 of 40 rows failed"):
                await run(tmp_path, server, 40, ASK, chosen, ASK | {"model": "other", "as": "second"})
            assert (server.asked["azurefilter"], server.asked["good"]) == (40, 0)

    def test_nothing_is_trained_on_what_is_left(self, tmp_path: Path) -> None:
        training = {"step": "train", "model": "student", "max_steps": 1}
        student = {"provider": "transformers", "model": "no/such-model"}
        teacher = {"provider": "scripted", "replies": [CUT]}
        with pytest.raises(TooManyFailed, match=r"steps\[0\] \(generate\): 6 of 6 rows failed: 6 truncated"):
            execute(tmp_path, values(ASK, {"step": "format"}, training, teacher=teacher, student=student))

    def test_a_judge_that_nobody_can_read_ends_the_run_with_its_reason(self, tmp_path: Path) -> None:
        judging = {"step": "judge", "mode": "scale", "models": ["judge"], "temperature": 0}
        recipe = values(
            ASK,
            judging,
            {"step": "select", "per": "instruction", "best": 1, "by": "top", "column": "score"},
            teacher=RIGHT,
            judge={"provider": "scripted", "replies": ["I like it."]},
        )
        with pytest.raises(TooManyFailed) as caught:
            execute(tmp_path, recipe)
        assert caught.value.exit_status == 1
        assert "steps[1] (judge): 6 of 6 rows failed: 6 unreadable" in str(caught.value)
        assert "6 times: model 'judge': " in str(caught.value)
        assert "I like it." in str(caught.value)


class TestTheLastStep:
    @pytest.mark.parametrize("steps", [[ASK], [ASK, {"step": "format"}], [ASK, CHECK]], ids=len)
    async def test_a_report_says_that_too_many_of_its_rows_failed_as_the_exit_status_does(
        self, tmp_path: Path, steps: list[dict[str, Any]]
    ) -> None:
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed):
                await run(tmp_path, server, 20, *steps)
        report = json.loads((tmp_path / "run/report.json").read_text())
        assert (report["status"], report["ended"]) == ("steps[0] (generate): 10 of 20 rows failed: 10 refused", "error")
        assert "The run is not complete: steps" in (tmp_path / "run/report.md").read_text()
        assert report["dataset"]["rows"] == 10  # what can be used is there

    async def test_own_a_run_that_goes_on_after_it_is_complete_once_the_recipe_allows_it(self, tmp_path: Path) -> None:
        async with QuirkyServer() as server:
            with pytest.raises(TooManyFailed):
                await run(tmp_path, server, 20, ASK)
            job = await run(tmp_path, server, 20, ASK, share=0.6)
        assert (job.report["status"], job.report["dataset"]["rows"]) == (
            "complete",
            15,
        )  # half of the ten are let through now


class TestNothingLeft:
    @pytest.mark.parametrize("until", ["filter", "format"])
    def test_own_a_part_of_a_run_that_keeps_no_row_is_not_complete_either(self, tmp_path: Path, until: str) -> None:
        wrong = {"provider": "scripted", "replies": ["The answer is 99."]}
        steps = [ASK, CHECK, {"step": "filter", "keep": "correct"}, {"step": "format"}, ASK | {"as": "more"}]
        with pytest.raises(StepError, match=r"no row is left of 6: 6 dropped at steps\[2\]"):
            execute(tmp_path, values(*steps, teacher=wrong), until=until)
        assert json.loads((tmp_path / "run/report.json").read_text())["ended"] == "error"

    def test_own_nor_one_whose_named_data_set_is_empty(self, tmp_path: Path) -> None:
        wrong = {"provider": "scripted", "replies": ["The answer is 99."]}
        kept = {"step": "filter", "keep": "correct", "output": "good"}
        recipe = values(ASK, CHECK, kept, teacher=wrong) | {"dataset": "good"}
        with pytest.raises(StepError, match="no row is left of 6"):
            execute(tmp_path, recipe)

    def test_a_run_that_keeps_no_row_is_not_complete_and_says_where_they_went(self, tmp_path: Path) -> None:
        wrong = {"provider": "scripted", "replies": ["The answer is 99."]}
        with pytest.raises(StepError) as caught:
            execute(tmp_path, values(ASK, CHECK, {"step": "filter", "keep": "correct"}, teacher=wrong))
        assert caught.value.exit_status == 1
        said = "no row is left of 6: 6 dropped at steps[2] (filter) (6 not (correct))"
        assert str(caught.value).splitlines()[0] == said
        report = json.loads((tmp_path / "run/report.json").read_text())
        assert (report["status"], report["dataset"]) == (said, None)
        assert "The run is not complete: no row is left of 6" in (tmp_path / "run/report.md").read_text()

    def test_the_error_shows_a_row_that_was_dropped_and_what_was_read_of_it(self, tmp_path: Path) -> None:
        silent = {"provider": "scripted", "replies": ["I would rather not say."]}
        with pytest.raises(StepError) as caught:
            execute(tmp_path, values(ASK, CHECK, {"step": "filter", "keep": "correct"}, teacher=silent))
        assert 'instruction "What is 0 + 1?", response "I would rather not say."' in caught.value.exists
        assert 'reference "1", no answer could be read (not (correct))' in caught.value.exists

    def test_a_data_set_that_lacks_all_rows_of_its_table_is_no_result(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "train.jsonl", [{"prompt": "What is 1 + 1?", "completion": " "}] * 3)
        step = {"step": "filter", "keep": "len(prompt) > 1"}
        with pytest.raises(StepError, match="the data set is empty: nothing can be learnt from any of its 3") as at:
            execute(tmp_path, values(step))
        assert at.value.exit_status == 1
        assert "3 times: " in at.value.exists
        assert 'prompt "What is 1 + 1?"' in at.value.exists
        assert len(rows_of(tmp_path / "run/dataset/left_out.jsonl")) == 3

    def test_not_even_where_the_recipe_lets_all_rows_fail(self, tmp_path: Path) -> None:
        recipe = values(ASK, teacher={"provider": "scripted", "replies": [CUT]}) | {"max_failed_share": 1.0}
        job = execute(tmp_path, recipe)
        assert job.report["status"] == "no row is left of 6: 6 failed at steps[0] (generate) (6 truncated)"

    def test_a_row_that_is_kept_is_enough(self, tmp_path: Path) -> None:
        job = execute(tmp_path, values(ASK, {"step": "filter", "keep": 'reference == "1"'}, teacher=RIGHT))
        assert (job.report["status"], job.report["dataset"]["rows"]) == ("complete", 1)


def test_a_run_that_ends_for_its_failures_prints_its_evidence_first(tmp_path: Path) -> None:
    evaluate = {"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}
    recipe = values(evaluate, ASK | {"model": "cut"}, teacher=RIGHT, cut={"provider": "scripted", "replies": [CUT]})
    questions(tmp_path, 6)
    recipe["data"]["test"] = {"path": "test.jsonl", "held_out": True}
    write_rows(tmp_path / "test.jsonl", [{"instruction": "And 50 + 1?", "reference": "51"}])
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    done = command(tmp_path, "run", "recipe.yaml")
    assert done.returncode == 1, done.stderr
    assert "teacher on test: 1 of 1 right" in done.stdout
    assert "report: runs/demo/report.md" in done.stdout
    assert "6 of 6 rows failed: 6 truncated\n    6 times: model 'cut': the reply was cut off" in done.stderr, (
        done.stderr
    )
