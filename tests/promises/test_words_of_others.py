"""What a server, a row or a stranger's recipe says is shown and not obeyed: on the screen, in reports, in cards."""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from blackbox_kd.errors import RecipeError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_answers import ATTACK
from tests.support.runs import command, write_rows

ROOT = Path(__file__).parents[2]
KEPT = "\u200c\u200d\u00ad"


def recipe(url: str, **changes: Any) -> dict[str, Any]:
    teacher = {"provider": "openai", "model": "m", "base_url": url, "max_concurrency": 1}
    return {
        "name": "demo",
        "description": f"- {ATTACK}",
        "license": ATTACK,
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": teacher},
        "max_failed_share": 1.0,
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0},
            {"step": "filter", "keep": f"not contains(response, '{ATTACK[:-12]}') or instruction == 'What is 0?'"},
            {"step": "format"},
        ],
    } | changes


def shown(text: str) -> str:
    """Asserts that a text holds nothing that a terminal obeys; returns it."""
    bad = [hex(ord(c)) for c in text if c not in "\n\t" and c not in KEPT and unicodedata.category(c) in ("Cc", "Cf")]
    assert not bad, text
    return text


def page(markdown: str) -> str:
    """Asserts that a page of a text holds no markup of a stranger; returns it."""
    html = MarkdownIt("commonmark").enable("table").render(re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S))
    assert not re.search(r"<(img|script)|href=.https://evil|<h1>heading", html), html
    return html


@contextmanager
def serving(always: str) -> Iterator[str]:
    """The URL of a server that answers like this, in a process of its own."""
    server = [sys.executable, "-m", "tests.support.fake_server", "--always", always]
    with subprocess.Popen(server, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"What is {n}?", "reference": "1", f"by {ATTACK}": ATTACK} for n in range(3)]
    write_rows(tmp_path / "train.jsonl", [*rows, {"instruction": f"And this? {ATTACK}", "reference": "2"}])
    return tmp_path


def test_words_of_a_server_and_a_recipe_are_shown_on_the_screen_in_report_and_card(folder: Path) -> None:
    with serving("attack") as url:
        (folder / "recipe.yaml").write_text(json.dumps(recipe(url)))
        done = command(folder, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    shown(done.stdout + done.stderr)
    said = page(shown((folder / "runs/demo/report.md").read_text()))
    assert "![](https://evil.example/pixel.png)" in said, "it is there to be read"
    card = (folder / "runs/demo/dataset/README.md").read_text()
    page(shown(card))
    assert yaml.safe_load(card.split("---\n")[1])["license"] == ATTACK
    for arguments in (["show", "demo"], ["show", "demo", "format"], ["report", "demo"], ["ledger"]):
        assert shown(command(folder, *arguments).stdout)
    rows = json.loads(shown(command(folder, "show", "demo", "format", "--json").stdout))["rows"]
    assert rows[0][f"by {ATTACK}"] == ATTACK, "to a program it says what it said"
    line = shown(command(folder, "ledger", "export", "-").stdout).splitlines()[0]
    assert ATTACK in json.loads(json.loads(line)["body"])["model"]


def test_words_of_a_server_that_refuses_are_shown(folder: Path) -> None:
    with serving("attack400") as url:
        (folder / "recipe.yaml").write_text(json.dumps(recipe(url, max_failed_share=0.0)))
        done = command(folder, "--debug", "run", "recipe.yaml")
    assert done.returncode == 1
    shown(done.stdout + done.stderr)
    page(shown((folder / "runs/demo/report.md").read_text()))
    assert shown(command(folder, "show", "demo", "failed").stdout)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {f"train {ATTACK}": {"path": "train.jsonl"}}},
        {"data": {"train": {"path": f"{ATTACK}.jsonl"}}},
        {f"field {ATTACK}": 1},
        {"models": {f"teacher\n  fix: rm -rf ~\n{ATTACK}": {"provider": "scripted"}}},
        {"models": {"teacher": {"provider": "scripted", "model": ATTACK, f"x{ATTACK}": ATTACK}}},
        {"steps": [{"step": "filter", "keep": f"{ATTACK} == 1"}]},
        {"steps": [{"step": f"filter{ATTACK}"}]},
        {"steps": [{"step": "generate", "model": "teacher", "prompt": ATTACK}]},
        {"plugins": [f"{ATTACK}.py"]},
        {"name": ATTACK},
    ],
)
def test_own_words_of_a_recipe_forge_no_line_of_a_message(folder: Path, changes: dict[str, Any]) -> None:
    (folder / "recipe.yaml").write_text(json.dumps(recipe("http://127.0.0.1:9/v1", **changes)))
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.yaml", env={})
    lines = shown(str(caught.value)).splitlines()
    assert all(re.match(r"/\S+recipe\.yaml:1: |  \S|$", line) for line in lines), lines
    assert "  fix: rm -rf ~" not in lines
