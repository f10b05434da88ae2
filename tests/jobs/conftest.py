"""Where a job is done as its user does it: a folder, a recipe in it, a teacher at a URL, and what comes of it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import blackbox_kd
from blackbox_kd.api import Result
from tests.support.runs import write_rows
from tests.support.teachers.speaking import FakeSpeaking, Say, speaking
from tests.support.tiny import SMOLLM2, tiny_model

LONGEST = 25
"""Lines of a recipe."""
REMAINS = ("None", "True", "False", "nan", "{'", "['", "\\u", "\\n", "<|", "{{", "{%", "Undefined")
"""What no text of a data set has that was put together as it should be."""


class Job:
    """A job in a folder, which is the working one.

    Args:
        folder: of the recipe and all that it reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: FakeSpeaking

    def write(self, name: str, holds: str | Iterable[Mapping[str, Any]]) -> None:
        """Writes a file: a text, or JSON lines."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(holds, encoding="utf-8") if isinstance(holds, str) else write_rows(path, holds)

    def place(self, recipe: str, student: str | Path | None = None, **urls: str) -> None:
        """Writes the recipe with the URLs that its capital words stand for."""
        assert len(recipe.strip().splitlines()) <= LONGEST
        if "STUDENT" in recipe:
            urls["STUDENT"] = str(student or tiny_model())
        for word, value in urls.items():
            recipe = recipe.replace(word, value)
        (self.folder / "recipe.yaml").write_text(recipe)

    def run(self, recipe: str, say: Say, student: str | Path | None = None) -> Result:
        """Runs a recipe whose teacher says what `say` returns."""
        with speaking(say) as self.server:
            self.place(recipe, student, SERVER=self.server.url)
            result = blackbox_kd.run("recipe.yaml", quiet=True)
        assert result.report["status"] == "complete"
        return result


def conversations(result: Result, config: str = "default") -> list[str]:
    """The rows of a data set, each as it is said: a line for each message, its calls as JSON behind it; sorted, since
    replies come in any order.
    """
    assert result.dataset is not None
    told = [_write(row["prompt"] + row["completion"]) for row in result.dataset[config].to_pylist()]
    assert not [(text, word) for text in told for word in REMAINS if word in text]
    return sorted(told)


def _write(messages: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for message in messages:
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        told = [message["content"], *(f"{call['name']} {call['arguments']}" for call in calls)]
        lines.append(f"{message['role']}: {' '.join(filter(None, told))}")
    return "\n".join(lines)


def column(result: Result, table: str, name: str) -> list[Any]:
    """The values of a column, of the rows sorted by their ids; JSON is read."""
    values = result.tables[table].sort_by("id").column(name).to_pylist()
    return [json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value for value in values]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Job(tmp_path)


@pytest.fixture
def tiny() -> Path:
    """The model of random weights."""
    return tiny_model()


@pytest.fixture
def smollm2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smollm2_cache: Path) -> str:
    """The name of SmolLM2, whose weights are at hand."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/blackbox-kd").symlink_to(smollm2_cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SMOLLM2
