"""The command line as a user meets it: exit statuses, streams, messages, the three ways in."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe import yaml_source
from tests.promises.test_kill import stats
from tests.support.warm_start import WARM_COMMAND

SCRIPT = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()"]


def cli(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "BLACKBOX_"))}
    return subprocess.run(
        [*SCRIPT, *arguments],
        cwd=folder,
        env=clean | WARM_COMMAND | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: Any) -> None:
    values: dict[str, Any] = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | changes, sort_keys=False))


def test_a_run_ends_with_0_and_its_report_is_data_on_stdout(folder: Path) -> None:
    done = cli(folder, "run", "recipe.yaml", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema_version"] == 1
    assert report["funnel"][2]["out"] == 6
    assert "steps[2] (filter): 6 in, 6 out" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_what_a_stopped_run_has_not_made_anew_is_shown_as_an_earlier_runs(folder: Path) -> None:
    cli(folder, "run", "recipe.yaml")
    lines = cli(folder, "show", "demo").stdout
    assert "       6  dataset/\n" in lines
    assert "earlier" not in lines
    stopped = cli(folder, "run", "recipe.yaml", "--set", "budget.requests=7", "--set", "steps.0.temperature=0.5")
    assert stopped.returncode == 3, stopped.stderr
    assert [line for line in cli(folder, "show", "demo").stdout.splitlines() if "earlier" in line] == [
        "       6  03_filter   of an earlier run",
        "       6  dataset/   of an earlier run",
    ]
    assert not json.loads(cli(folder, "show", "demo", "--json").stdout)["dataset"]["current"]


def test_what_a_run_made_can_be_shown(folder: Path) -> None:
    cli(folder, "run", "recipe.yaml")
    tables = json.loads(cli(folder, "show", "demo", "--json").stdout)
    assert {entry["table"]: entry["rows"] for entry in tables["tables"]} == {
        "00_train": 6,
        "03_filter": 6,
        "dropped": 0,
        "failed": 0,
    }
    rows = json.loads(cli(folder, "show", "runs/demo", "filter", "-n", "2", "--json").stdout)["rows"]
    assert [row["answer"] for row in rows] == ["1", "2"]
    assert "## Rows" in cli(folder, "report", "demo").stdout
    assert json.loads(cli(folder, "report", "demo", "--json").stdout)["status"] == "complete"
    missing = cli(folder, "show", "demo", "tables")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "has no table 'tables'" in missing.stderr


def test_a_wrong_recipe_ends_with_2_and_a_message_without_a_traceback(folder: Path) -> None:
    write(folder, steps=[{"step": "generat"}])
    done = cli(folder, "check", "recipe.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "recipe.yaml:" in done.stderr
    assert "did you mean 'generate'?" in done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(cli(folder, "check", "recipe.yaml", "--json").stdout)
    assert found["ok"] is False
    assert any("unknown step 'generat'" in problem["message"] for problem in found["problems"])


OLD = {"provider": "openai", "model": "gpt-4", "base_url": "https://old.example.com/v1"}
"""A model that is switched off for good, whatever the day."""


def test_notes_stand_after_a_check_that_found_nothing_wrong_and_end_with_0(folder: Path) -> None:
    write(folder, models={"teacher": OLD})
    done = cli(folder, "check", "recipe.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    first, warning, fix, note, *rest = done.stdout.splitlines()
    assert first == "recipe.yaml: 3 steps, 1 models, no problems"
    assert warning.startswith("recipe.yaml:8: warning: models.teacher: 'gpt-4' is switched off at OpenAI since 2026-")
    assert fix == "  fix: write model: gpt-6.1-terra, or another one that goes on"
    assert note.startswith("recipe.yaml:8: note: models.teacher: OpenAI's terms: outputs may not be used to develop")
    assert rest == ["  fix: read them before you train or publish (this is no legal advice)"]


def test_notes_are_data_of_a_check_also_where_something_is_wrong(folder: Path) -> None:
    for changes, status in (({}, 0), ({"steps": [{"step": "generate", "model": "teacher"}]}, 2)):
        write(folder, models={"teacher": OLD}, **changes)
        done = cli(folder, "check", "recipe.yaml", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["ok"], bool(found["problems"])) == (status, not status, bool(status))
        assert found["schema_version"] == 1
        assert [(note["level"], note["line"], note["path"]) for note in found["notes"]][:1] == [
            ("warning", 8, "models.teacher")
        ]
        assert all(note.keys() == {"level", "line", "path", "what", "fix"} for note in found["notes"])
    write(folder)
    assert json.loads(cli(folder, "check", "recipe.yaml", "--json").stdout)["notes"] == []


def test_a_run_says_its_warnings_once_and_no_notes(folder: Path) -> None:
    exam = {"step": "evaluate", "models": ["teacher", "other"], "answer": "number"}
    old = OLD | {"provider": "openai", "base_url": "https://127.0.0.2.example.com/v1"}
    write(folder, models={"teacher": {"provider": "scripted"}, "other": old}, budget={"requests": 1}, steps=[exam])
    done = cli(folder, "run", "recipe.yaml")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("warning: models.other: 'gpt-4' is switched off at OpenAI") == 1
    assert "note:" not in done.stdout + done.stderr


def test_wrong_usage_ends_with_2(folder: Path) -> None:
    assert cli(folder, "run").returncode == 2
    assert cli(folder, "frobnicate").returncode == 2
    unknown = cli(folder, "run", "nothing")
    assert unknown.returncode == 2
    assert "recipe 'nothing' does not exist" in unknown.stderr


def test_too_many_failed_rows_end_with_1_and_a_reached_budget_with_3(folder: Path) -> None:
    cut_off = {"provider": "scripted", "replies": [{"text": "It", "finish_reason": "length"}]}
    write(folder, models={"teacher": cut_off})
    failed = cli(folder, "run", "recipe.yaml")
    assert failed.returncode == 1
    assert "max_failed_share" in failed.stderr
    write(folder, name="poor", budget={"requests": 2})
    poor = cli(folder, "run", "recipe.yaml")
    assert poor.returncode == 3
    assert cli(folder, "run", "recipe.yaml", "--set", "budget.requests=6").returncode == 0


def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import asyncio\n"
        "async def reply(messages, row, sample):\n"
        "    await asyncio.sleep(0.1 if row['reference'] == '1' else 30)\n"
        "    return 'The answer is ' + row['reference']\n"
    )
    write(folder, models={"teacher": {"provider": "scripted", "function": "slow.py:reply", "max_concurrency": 6}})
    process = subprocess.Popen(
        [*SCRIPT, "run", "recipe.yaml", "--allow-code"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    ledger = folder / "runs" / "ledger.sqlite"
    while not ledger.exists() or replies(ledger) < 1:
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Run the same command to go on" in said
    (folder / "slow.py").write_text((folder / "slow.py").read_text().replace("30", "0"))
    again = cli(folder, "run", "recipe.yaml", "--allow-code", "--json")
    assert json.loads(again.stdout)["spent"]["requests"] >= 6


@contextmanager
def serving(latency: str) -> Iterator[str]:
    """The URL of a server that takes its time."""
    serve = [sys.executable, "-m", "tests.support.fake_server", "--latency", latency]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def signalled(folder: Path, command: list[str], url: str, *numbers: signal.Signals) -> tuple[int, str]:
    """Starts a command and sends it signals when the server has two of its calls; its exit status and what it said."""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    while stats(url)["requests"] < 2:
        time.sleep(0.02)
        assert process.poll() is None
    for number in numbers:
        process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [(["run"], signal.SIGINT, 130), (["run"], signal.SIGHUP, 130), (["estimate", "--probe", "2"], signal.SIGINT, 0)],
    ids=["Ctrl-C", "a closed terminal", "Ctrl-C on a probe"],
)
def test_a_stop_waits_for_paid_calls_under_way_and_asks_no_more(
    folder: Path, command: list[str], number: signal.Signals, status: int
) -> None:
    with serving("1.5") as url:
        teacher = {"provider": "openai", "model": "m", "base_url": url, "max_concurrency": 2}
        write(folder, models={"teacher": teacher})
        ended, said = signalled(folder, [*SCRIPT, *command, "recipe.yaml"], url, number)
    assert ended == status, said  # an estimate has all that it asked for then
    assert "waiting up to 30 s for the calls under way" in said
    ledger = folder / "runs" / "ledger.sqlite"
    assert replies(ledger, "intents") == 0
    assert 2 <= replies(ledger) <= 6


@pytest.mark.skipif(shutil.which("nohup") is None, reason="there is no nohup")
@pytest.mark.parametrize(
    ("numbers", "status", "least"),
    [([signal.SIGHUP, signal.SIGINT], 0, 6), ([signal.SIGTERM], 130, 2)],
    ids=["a closed terminal", "kill"],
)
def test_a_run_under_nohup_heeds_kill_alone(
    folder: Path, numbers: list[signal.Signals], status: int, least: int
) -> None:
    in_background = ["sh", "-c", 'trap "" INT; exec nohup "$@"', "sh"]  # `nohup ... &` in a script
    with serving("1") as url:
        teacher = {"provider": "openai", "model": "m", "base_url": url, "max_concurrency": 2}
        write(folder, models={"teacher": teacher})
        run = [*SCRIPT, "run", "recipe.yaml", "--set", "steps.2.keep=len(response) > 0"]
        ended, said = signalled(folder, [*in_background, *run], url, *numbers)
    assert ended == status, said
    assert ("waiting up to 30 s for the calls under way" in said) == (status == 130)
    assert least <= replies(folder / "runs" / "ledger.sqlite") <= 6


def replies(ledger: Path, table: str = "replies") -> int:
    import sqlite3

    try:
        with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as file:
            return int(file.execute(f"select count(*) from {table}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_server_that_is_not_there_is_named_and_there_is_no_traceback(folder: Path) -> None:
    write(folder, models={"teacher": {"provider": "openai", "model": "m", "timeout_s": 5}})
    done = cli(folder, "run", "recipe.yaml", OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_API_KEY="sk-secret")
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    written = b"".join(path.read_bytes() for path in (folder / "runs").glob("**/*") if path.is_file())
    assert b"sk-secret" not in written + done.stderr.encode()


def test_the_steps_and_their_fields_are_told(folder: Path) -> None:
    listed = cli(folder, "steps").stdout
    assert all(name in listed for name in ("generate", "check", "filter", "select", "train", "evaluate"))
    told = cli(folder, "steps", "generate").stdout
    assert "samples (default 1)" in told
    assert "Calls    len(models) * samples per row" in told
    assert cli(folder, "steps", "genrate").returncode == 2
    assert json.loads(cli(folder, "steps", "--json").stdout)["steps"]


def test_the_schema_accepts_the_bundled_recipes_and_refuses_a_misspelt_field(folder: Path) -> None:
    schema = json.loads(cli(folder, "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in find_bundled("recipes").glob("*.yaml"):
        values = yaml_source.read(path.read_text()).values
        assert list(validator.iter_errors(values)) == [], path
        values["steps"][0]["temprature"] = 1
        assert list(validator.iter_errors(values)), path


def test_a_recipe_is_found_by_its_bare_name_anywhere(folder: Path) -> None:
    done = cli(folder, "check", "rationales_only", OPENAI_API_KEY="sk-test")
    assert done.returncode == 0, done.stderr
    assert "no problems" in done.stdout


def test_help_and_version_load_nothing_heavy(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from blackbox_kd.cli.main import main; main()", "--version"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {
        "torch",
        "transformers",
        "trl",
        "datasets",
        "openai",
        "pyarrow",
        "scipy",
        "aiohttp",
        "pydantic",
    }
    assert done.stdout.startswith("blackbox-kd, version ")


def test_rows_of_no_known_shape_are_refused_with_the_columns_that_were_found(folder: Path) -> None:
    (folder / "odd.csv").write_text("spam,eggs\n1,2\n")
    done = cli(folder, "train", "--data", "odd.csv", "--student", "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert done.returncode == 2
    assert "spam" in done.stderr
    assert "eggs" in done.stderr


def test_questions_without_a_reference_are_refused_with_the_columns_that_were_found(folder: Path) -> None:
    (folder / "odd.jsonl").write_text('{"question": "x", "colour": "red"}\n')
    done = cli(folder, "evaluate", "--data", "odd.jsonl", "--student", "a/b", "--answer", "number")
    assert done.returncode == 2
    assert "no column any of reference, answer" in done.stderr
    assert "fix: --reference COLUMN" in done.stderr


@pytest.mark.parametrize("close", ["| head -c 1", ">&-", ">&- 2>&-", "2>&1 | head -c 1"])
def test_a_stdout_that_nobody_reads_ends_no_run(folder: Path, close: str) -> None:
    code = "from blackbox_kd.cli.main import main; main()"
    script = f"set -o pipefail; {sys.executable} -c '{code}' run recipe.yaml --json {close}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "BrokenPipe" not in done.stderr
    assert json.loads((folder / "runs/demo/report.json").read_text())["ended"] == "complete"
    assert (folder / "runs/ledger.sqlite").read_bytes()[:15] == b"SQLite format 3"


@pytest.mark.parametrize("verb", ["check", "estimate", "run"])
def test_another_model_is_named_on_the_command_line_and_what_goes_with_the_old_one_is_said(
    folder: Path, verb: str
) -> None:
    gone = {"provider": "openai", "model": "gone", "base_url": "https://gone.example.com/v1", "key_env": "GONE_KEY"}
    write(folder, models={"teacher": gone})
    done = cli(folder, verb, "recipe.yaml", "--model", "teacher=scripted:qwen3:8b")
    assert done.returncode == 0, done.stderr
    said = "--model teacher=scripted:qwen3:8b: base_url, key_env of models.teacher left out, as of another model"
    assert said in done.stderr.splitlines()
    if verb == "run":
        assert "model: qwen3:8b" in (folder / "runs/demo/recipe.yaml").read_text()
    done = cli(folder, verb, "recipe.yaml", "--teacher", "openai:cheap")
    assert done.returncode == (0 if verb == "estimate" else 2)
    assert ("OPENAI_API_KEY is not set" in done.stderr) == (verb != "estimate")
    done = cli(folder, verb, "recipe.yaml", "--model", "techer=openai:cheap")
    assert done.returncode == 2
    assert "fix: did you mean 'teacher'?" in done.stderr


def test_the_help_of_commands_that_read_a_recipe_tells_how_a_model_is_swapped(folder: Path) -> None:
    for verb in ("check", "estimate", "run", "merge"):
        said = " ".join(cli(folder, verb, "--help").stdout.split())
        assert "--model NAME=PROVIDER:MODEL Another model in the place of one of the recipe's" in said
        assert "--teacher PROVIDER:MODEL The same for the model called teacher" in said


def test_the_schema_tells_of_names_that_stand_for_models(folder: Path) -> None:
    schema = json.loads(cli(folder, "schema").stdout)
    assert json.dumps(schema).count("`cheap` and `strong` stand for a known vendor's current ones") >= 4
