"""A run asks the model that it began with, also where a later version of the package has another one for its name.

Two copies of the package, which differ in their table of vendors' models, ask one server.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import blackbox_kd
from tests.support.runs import QUESTIONS, command, write_rows

PACKAGE = Path(blackbox_kd.__file__).parent
TABLE = """
[openai]
base_url = "{url}"
key_env = "OPENAI_API_KEY"
cheap = "{cheap}"
strong = "strong-one"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server in a process of its own."""
    run = [sys.executable, "-m", "tests.support.fake_server"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def project(tmp_path: Path, server: str) -> Path:
    """A recipe with `model: cheap`, and the packages `old` and `new`."""
    for version in ("old", "new"):
        shutil.copytree(PACKAGE, tmp_path / version / "blackbox_kd", ignore=shutil.ignore_patterns("__pycache__"))
        table = tmp_path / version / "blackbox_kd/models/http/aliases.toml"
        table.write_text(TABLE.format(url=server, cheap=f"{version}-model"))
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {
            "teacher": {"provider": "openai", "model": "cheap", "base_url": server, "price": {"input": 1, "output": 2}}
        },
        "budget": {"usd": 1},
        "steps": [{"step": "generate", "model": "teacher", "prompt": "ask", "max_tokens": 50}],
    }
    write_rows(tmp_path / "train.jsonl", QUESTIONS)
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    (tmp_path / "ask.jinja").write_text("{{ instruction }}")
    return tmp_path


def run(project: Path, version: str, *arguments: str, verb: str = "run") -> tuple[dict[str, Any], str]:
    """What a command of a version of the package prints as JSON, and what it says."""
    path = os.pathsep.join([str(project / version), *filter(None, sys.path)])
    done = command(project, verb, "recipe.yaml", "--json", *arguments, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def count_asked(project: Path) -> dict[str, int]:
    """Replies in the ledger by the model that wrote them."""
    done = command(project, "ledger", "export", "-")
    wires = [json.loads(json.loads(line)["wire"]) for line in done.stdout.splitlines()]
    asked = [wire["body"]["model"] for wire in wires]
    return {name: asked.count(name) for name in sorted(set(asked))}


def count_requests(server: str) -> int:
    """Requests that the server has had."""
    with urllib.request.urlopen(server.removesuffix("/v1") + "/stats") as answer:
        return int(json.load(answer)["requests"])


def test_a_run_goes_on_with_the_model_that_it_began_with_and_says_so(project: Path, server: str) -> None:
    before = count_requests(server)
    run(project, "old", "--limit", "2")
    assert count_asked(project) == {"old-model": 2}
    report, said = run(project, "new")
    told = (
        "models.teacher: cheap is old-model, with which this run began; by now it is new-model: "
        "--model teacher=openai:new-model asks that one, and pays for all of its replies"
    )
    assert told in said
    assert count_asked(project) == {"old-model": 6}
    assert "model: old-model" in (project / "runs/demo/recipe.yaml").read_text()
    report, said = run(project, "new")
    assert told in said
    assert report["models"][0]["calls"] == 0
    left, said = run(project, "new", verb="estimate")
    assert left["total"]["calls"]["high"] == 0
    assert told in left["assumptions"]
    assert count_requests(server) - before == 6
    there = [f"--set=models.teacher.{field}" for field in (f"base_url={server}", "price={input: 1, output: 2}")]
    _, said = run(project, "new", "--model", "teacher=openai:new-model", *there)
    assert "began" not in said
    assert count_asked(project) == {"new-model": 6, "old-model": 6}


def test_another_run_begins_with_the_model_of_its_version(project: Path) -> None:
    run(project, "old")
    _, said = run(project, "new", "--run-dir", "runs/other")
    assert "began" not in said
    assert count_asked(project) == {"new-model": 6, "old-model": 6}
    left, _ = run(project, "new", "--run-dir", "runs/third", verb="estimate")
    assert left["total"]["calls"]["likely"] == 0, "replies are shared between runs"
    left, _ = run(project, "old", "--run-dir", "runs/other", verb="estimate")
    assert left["total"]["calls"]["likely"] == 0


def test_shards_are_joined_with_the_model_that_they_asked_and_the_run_goes_on_with_it(project: Path) -> None:
    run(project, "old", "--shard", "1/2")
    run(project, "old", "--shard", "2/2")
    _, said = run(project, "new", verb="merge")
    assert "models.teacher: cheap is old-model, with which this run began" in said
    report, said = run(project, "new")
    assert "models.teacher: cheap is old-model, with which this run began" in said
    assert sum(entry["calls"] for entry in report["models"]) == 0
    assert count_asked(project) == {"old-model": 6}


def test_a_shard_that_begins_after_another_asks_the_same_model(project: Path) -> None:
    run(project, "old", "--shard", "1/2")
    _, said = run(project, "new", "--shard", "2/2")
    assert "models.teacher: cheap is old-model, with which this run began" in said
    assert count_asked(project) == {"old-model": 6}
