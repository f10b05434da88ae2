"""`estimate` and `ledger` as a user meets them: what is printed where, exit statuses, messages."""

import json
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_main import cli, write

PRICED = {"teacher": {"provider": "scripted", "price": {"input": 1, "output": 10}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path, models=PRICED)
    return tmp_path


def ledger(folder: Path) -> Path:
    return folder / "runs" / "ledger.sqlite"


def replies(file: Path) -> int:
    with sqlite3.connect(file) as db:
        return int(db.execute("select count(*) from replies").fetchone()[0])


class TestEstimate:
    def test_its_numbers_are_data_and_nothing_is_made_by_it(self, folder: Path) -> None:
        done = cli(folder, "estimate", "recipe.yaml", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found["schema_version"] == 1
        assert found["total"]["calls"] == {"low": 6, "likely": 6, "high": 7}
        assert found["total"]["usd"]["likely"] > 0
        assert not (folder / "runs").exists()

    def test_a_key_is_not_needed_to_know_what_a_run_would_cost(self, folder: Path) -> None:
        write(folder, models={"teacher": {"provider": "openai", "model": "gpt-4.1-mini"}})
        assert cli(folder, "check", "recipe.yaml").returncode == 2
        done = cli(folder, "estimate", "recipe.yaml")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "demo: what is left to ask"
        assert lines[2].split() == ["calls", "tokens", "USD", "time"]
        assert lines[3].split()[:8] == ["steps[0]", "(generate)", "teacher", "6", "/", "6", "/", "7"]
        assert "assumed: steps[0] (generate), teacher: replies of 15 / 40 / 100 % of max_tokens" in lines
        assert cli(folder, "estimate", "recipe.yaml", "--probe", "1").returncode == 2

    def test_after_a_run_nothing_is_left(self, folder: Path) -> None:
        cli(folder, "run", "recipe.yaml")
        done = cli(folder, "estimate", "recipe.yaml")
        assert done.stdout.splitlines()[0] == "demo: what is left to ask; 6 replies are in the ledger"
        assert done.stdout.splitlines()[3].split()[3:] == ["0", "0", "0.00", "0", "s"]

    def test_the_replies_of_a_run_are_counted_behind_its_table_steps_too(self, folder: Path) -> None:
        asks = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
        best = {"step": "select", "per": "instruction", "best": 1, "by": "longest"}
        write(folder, models=PRICED, steps=[asks | {"samples": 2}, best, asks | {"as": "second"}])
        report = json.loads(cli(folder, "run", "recipe.yaml", "--json").stdout)
        lines = cli(folder, "estimate", "recipe.yaml").stdout.splitlines()
        bought = report["models"][0]["calls"]
        assert bought == 18
        assert lines[0] == f"demo: what is left to ask; {bought} replies are in the ledger"
        assert next(line for line in lines if line.startswith("all ")).split() == ["all", "0", "0", "0.00", "0", "s"]

    def test_it_says_what_a_budget_has_room_for(self, folder: Path) -> None:
        write(folder, models=PRICED, budget={"usd": 0.03, "requests": 2})
        said = cli(folder, "estimate", "recipe.yaml").stdout
        assert "budget.usd = 0.03: the likely estimate fits, the high one does not" in said
        assert "budget.requests = 2: the likely estimate does not fit" in said

    @pytest.mark.parametrize(
        ("hours", "verdict"), [(8.0, "the high estimate fits"), (1e-5, "the likely estimate does not fit")]
    )
    def test_it_says_whether_the_hours_are_enough(self, folder: Path, hours: float, verdict: str) -> None:
        write(folder, models={"teacher": {"provider": "openai", "model": "gpt-6-luna"}}, budget={"hours": hours})
        assert f"budget.hours = {hours}: {verdict}" in cli(folder, "estimate", "recipe.yaml").stdout

    def test_an_unknown_price_is_said_to_be_unknown_and_a_budget_in_dollars_refused(self, folder: Path) -> None:
        nobody = {"teacher": {"provider": "openai", "model": "nobody", "base_url": "http://127.0.0.1:9/v1"}}
        write(folder, models=nobody, budget={"usd": 1})
        done = cli(folder, "estimate", "recipe.yaml")
        assert "unknown" in done.stdout.splitlines()[3]
        assert "cannot be kept: a model has no known price" in done.stdout
        for command in ("check", "run"):
            refused = cli(folder, command, "recipe.yaml")
            assert refused.returncode == 2
            what = "models.teacher: no price is known for 'nobody', so budget.usd = 1 could not be kept"
            assert what in refused.stderr
            assert "fix: add price: {input: ..., output: ...}" in refused.stderr
        found = json.loads(cli(folder, "check", "recipe.yaml", "--json").stdout)
        assert [problem["path"] for problem in found["problems"]] == ["models.teacher"]

    def test_the_limit_and_the_last_step_are_those_of_a_run(self, folder: Path) -> None:
        found = json.loads(cli(folder, "estimate", "recipe.yaml", "--limit", "2", "--json").stdout)
        assert found["total"]["calls"]["likely"] == 2
        done = cli(folder, "estimate", "recipe.yaml", "--until", "sort")
        assert done.returncode == 2
        assert "the recipe has no such step" in done.stderr


class TestLedger:
    @pytest.fixture
    def bought(self, folder: Path) -> Path:
        assert cli(folder, "run", "recipe.yaml").returncode == 0
        return folder

    def test_its_summary_is_shown_with_and_without_a_word(self, bought: Path) -> None:
        for command in (["ledger"], ["ledger", "summary"], ["ledger", "--run", "demo"]):
            done = cli(bought, *command)
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[0].startswith("runs/ledger.sqlite: 6 replies, ")
            assert done.stdout.splitlines()[3].split()[:3] == ["runs/demo", "teacher", "6"]
        for command in (["ledger", "--json"], ["ledger", "summary", "--json", "--ledger", str(ledger(bought))]):
            found = json.loads(cli(bought, *command).stdout)
            assert found["schema_version"] == 1
            assert [(entry["run"], entry["calls"]) for entry in found["bought"]] == [(str(bought / "runs/demo"), 6)]

    def test_options_before_a_command_hold_for_it(self, bought: Path) -> None:
        shutil.copy(ledger(bought), bought / "other.sqlite")
        done = cli(bought, "ledger", "--ledger", "other.sqlite", "prune", "--before", "2999-01-01", "--yes")
        assert (done.returncode, done.stderr) == (0, "6 replies removed from other.sqlite\n")
        assert cli(bought, "ledger").stdout.startswith("runs/ledger.sqlite: 6 replies, ")
        for command in (["--run", "nope", "export", "x.jsonl"], ["--run", "nope", "prune", "--before", "2999-01-01"]):
            done = cli(bought, "ledger", *command)
            assert (done.returncode, "has nothing of the run 'nope'" in done.stderr) == (2, True)
        assert json.loads(cli(bought, "ledger", "--json", "summary").stdout)["bought"]
        for command in (["--json", "export", "x.jsonl"], ["--run", "demo", "rescue", "a.sqlite", "b.sqlite"]):
            assert cli(bought, "ledger", *command).returncode == 2

    def test_a_ledger_that_is_not_there_is_an_error_and_is_not_made(self, folder: Path) -> None:
        for command in (["ledger"], ["ledger", "export", "x.jsonl"], ["ledger", "prune", "--run", "demo", "--yes"]):
            done = cli(folder, *command)
            assert (done.returncode, done.stdout) == (1, "")
            assert "there is no ledger 'runs/ledger.sqlite'" in done.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["recipe.yaml", "train.jsonl"]

    def test_replies_are_exported_for_their_owner_alone(self, bought: Path) -> None:
        done = cli(bought, "ledger", "export", "out.jsonl", "--run", "runs/demo")
        assert (done.returncode, done.stdout) == (0, "")
        assert "6 replies written to out.jsonl" in done.stderr
        lines = [json.loads(line) for line in (bought / "out.jsonl").read_text().splitlines()]
        assert {line["model"] for line in lines} == {"teacher"}
        assert stat.S_IMODE((bought / "out.jsonl").stat().st_mode) == 0o600
        assert len(cli(bought, "ledger", "export", "-").stdout.splitlines()) == 6
        nowhere = cli(bought, "ledger", "export", "no/such/out.jsonl")
        assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (2, True)

    def test_a_run_it_does_not_know_is_refused_with_the_ones_it_knows(self, bought: Path) -> None:
        done = cli(bought, "ledger", "export", "out.jsonl", "--run", "dmeo")
        assert done.returncode == 2
        assert "runs/ledger.sqlite has nothing of the run 'dmeo'" in done.stderr
        assert "fix: did you mean 'demo'?" in done.stderr
        assert not (bought / "out.jsonl").exists()

    def test_nothing_is_pruned_by_accident(self, bought: Path) -> None:
        assert "prune would remove everything" in cli(bought, "ledger", "prune").stderr
        assert "fix: add --yes" in cli(bought, "ledger", "prune", "--run", "demo").stderr
        assert "is no time" in cli(bought, "ledger", "prune", "--before", "yesterday").stderr
        assert replies(ledger(bought)) == 6

    def test_what_is_pruned_is_bought_again(self, bought: Path) -> None:
        assert "0 replies removed" in cli(bought, "ledger", "prune", "--before", "2020-01-31", "--yes").stderr
        assert "6 replies removed" in cli(bought, "ledger", "prune", "--run", "demo", "--yes").stderr
        report = json.loads(cli(bought, "run", "recipe.yaml", "--json").stdout)
        assert report["models"][0]["calls"] == 6

    def test_what_can_be_read_of_a_damaged_ledger_is_rescued(self, bought: Path) -> None:
        with ledger(bought).open("r+b") as file:
            file.seek(0, 2)
            file.truncate(file.tell() - 8192)
        done = cli(bought, "ledger", "rescue", "runs/ledger.sqlite", "runs/new.sqlite")
        assert done.returncode == 0, done.stderr
        assert "replies saved in runs/new.sqlite" in done.stderr
        assert cli(bought, "ledger", "--ledger", "runs/new.sqlite").returncode == 0
        again = cli(bought, "ledger", "rescue", "runs/ledger.sqlite", "runs/new.sqlite")
        assert again.returncode == 1


def test_failed_rows_can_be_asked_for_anew_from_the_command_line(folder: Path) -> None:
    recover: dict[str, Any] = {"provider": "scripted", "replies": ["{% if attempt > 2 %}Now it is 1.{% endif %}"]}
    write(folder, models={"teacher": recover}, max_failed_share=1.0)
    first = json.loads(cli(folder, "run", "recipe.yaml", "--json").stdout)
    assert first["funnel"][0]["failed"] == {"empty": 6}
    again = json.loads(cli(folder, "run", "recipe.yaml", "--retry-failed", "--json").stdout)
    assert again["funnel"][0]["failed"] == {}
    later = json.loads(cli(folder, "run", "recipe.yaml", "--json").stdout)
    assert (later["funnel"], later["models"][0]["calls"]) == (again["funnel"], 0)


def test_a_run_that_was_moved_is_still_the_run_that_has_paid(folder: Path) -> None:
    stopped = cli(folder, "run", "recipe.yaml", "--set", "budget={requests: 4}")
    assert stopped.returncode == 3, stopped.stderr
    moved = folder.rename(folder.with_name("elsewhere"))
    again = cli(moved, "run", "recipe.yaml", "--set", "budget={requests: 5}", "--json")
    assert again.returncode == 3, again.stderr
    assert json.loads(again.stdout)["spent"]["requests"] == 5
    assert cli(moved, "ledger", "--run", "demo").stdout.splitlines()[3].split()[2] == "5"
    assert replies(ledger(moved)) == 5
