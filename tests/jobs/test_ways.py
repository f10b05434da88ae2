"""Jobs beside a recipe: its prompt is tried out, a notebook runs it, and other vendors are asked."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import blackbox_kd
from tests.jobs.conftest import Job, conversations
from tests.support.notebook import Notebook
from tests.support.runs import command
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.azure import KEY
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.mistral import FakeMistral
from tests.support.teachers.responses import FakeResponses
from tests.support.teachers.speaking import serving, speaking

TITLES = """
name: titles
data:
  train: {path: texts.jsonl}
models:
  teacher: {provider: openai, base_url: SERVER, model: gpt-x}
steps:
  - {step: generate, model: teacher, prompt: title, as: title}
  - {step: format, prompt: title, completion: title}
"""


def entitle(body: Mapping[str, Any]) -> str:
    asked = str(body["messages"][-1]["content"])
    animal = re.findall(r"The (\w+)", asked)[0].capitalize()
    return animal if "one word" in asked else f"The Red {animal}"


def write_titles(job: Job) -> None:
    job.write("texts.jsonl", [{"text": f"The {animal} is red."} for animal in ("cat", "dog", "fox")])
    job.write("title.jinja", "A title for: {{ text }}")
    job.write("short.jinja", "A title of one word for: {{ text }}")


TRIED = """\
steps[0] (generate) of titles: 1 row

row ID
 title                              short
 [user] A title for: The cat is     [user] A title of one word for:
 red.                               The cat is red.

 -> teacher                         -> teacher
 The Red Cat                        Cat
 (20 + 10 tokens, cost unknown,     (20 + 10 tokens, cost unknown)
 from the ledger)

1 call, 30 tokens, at an unknown cost, 1 reply from the ledger; a run will not buy them again
"""


def test_a_prompt_is_tried_against_another_and_the_better_one_is_run(job: Job) -> None:
    write_titles(job)
    with speaking(entitle) as server:
        job.place(TITLES, SERVER=server.url)
        told = [
            command(job.folder, "try", "recipe.yaml", "--rows", "1", *more, COLUMNS="70", OPENAI_API_KEY="sk-0")
            for more in ([], ["--against", "short"])
        ]
        assert [each.stderr for each in told] == ["", ""]
        assert re.sub(r"row \w{16}", "row ID", told[1].stdout) == TRIED
        assert len(server.seen) == 2, "what was tried before is not asked again"
        job.write("title.jinja", (job.folder / "short.jinja").read_text())
        result = blackbox_kd.run("recipe.yaml", quiet=True)
        assert len(server.seen) == 4, "what was tried is not paid again"
    assert conversations(result) == [
        f"user: A title of one word for: The {animal} is red.\nassistant: {animal.capitalize()}"
        for animal in ("cat", "dog", "fox")
    ]


def test_a_notebook_runs_a_recipe_and_looks_at_its_rows(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(blackbox_kd.__file__).parents[1]))
    write_titles(job)
    with speaking(entitle) as server, Notebook(job.folder) as notebook:
        job.place(TITLES, SERVER=server.url)
        notebook.run("import blackbox_kd")
        told = notebook.run("result = blackbox_kd.run('recipe.yaml', set={'steps.generate.prompt': 'short'})")
        assert told == "steps[0] (generate): 3 in, 3 out\nsteps[1] (format): 3 in, 3 out\n"
        shown = notebook.run("print(*result.dataset['default']['title'].to_pylist(), sep=chr(10))")
        assert shown == "Cat\nDog\nFox\n"
        assert notebook.run("result") == "Result(runs/titles): complete"
    assert conversations(blackbox_kd.load("titles")) == [
        f"user: A title for: The {animal} is red.\nassistant: {animal.capitalize()}" for animal in ("cat", "dog", "fox")
    ]


PROVIDERS = """
name: vendors
data:
  train: {path: texts.jsonl}
models:
  openai: {provider: openai, base_url: RESPONSES, model: gpt-4.1, api: responses}
  anthropic: {provider: anthropic, base_url: ANTHROPIC, model: claude-haiku-5-5}
  gemini: {provider: gemini, base_url: GEMINI, model: gemini-3.8-flash}
  mistral: {provider: mistral, base_url: MISTRAL, model: mistral-small-2603}
steps:
  - {step: generate, models: [openai, anthropic, gemini, mistral], prompt: title, as: title, max_tokens: 50}
  - {step: format, prompt: title, completion: "{{ model }}: {{ title }}"}
"""


def test_four_vendors_are_asked_the_same(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"RESPONSES": FakeResponses, "ANTHROPIC": FakeAnthropic, "GEMINI": FakeGemini, "MISTRAL": FakeMistral}
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    write_titles(job)
    with ExitStack() as servers:
        opened = {name: servers.enter_context(serving(kind(rule="A title."))) for name, kind in kinds.items()}
        job.place(PROVIDERS, **{name: server.url for name, server in opened.items()})
        result = blackbox_kd.run("recipe.yaml", quiet=True)
        assert {name: len(server.seen) for name, server in opened.items()} == dict.fromkeys(kinds, 3)
    assert conversations(result) == [
        f"user: A title for: The {animal} is red.\nassistant: {model}: A title."
        for animal in ("cat", "dog", "fox")
        for model in ("anthropic", "gemini", "mistral", "openai")
    ]
