"""What a run has made goes to the Hub as it lies in its folder, privately, and only where that is asked for."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.push import describe_terms
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_hub import TOKEN, FakeHub
from tests.support.runs import command, trained, write_rows

PUSH = ["export", "run", "--push", "me/student", "--push-dataset", "me/rows"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(trained().path, tmp_path / "run", symlinks=True)
    return tmp_path


async def push(hub: FakeHub, folder: Path, *options: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(command, folder, *PUSH, *options, **hub.env(folder, token))


async def test_a_student_and_its_rows_are_sent_as_they_lie_there_and_are_private(folder: Path) -> None:
    async with FakeHub(create=503) as hub:
        done = await push(hub, folder)
        assert done.stderr.rstrip().endswith(f"\n  fix: push it again later\n  fix: blackbox-kd {' '.join(PUSH)}")
        assert done.returncode == 1
        hub.failing.clear()
        done = await push(hub, folder)
        assert done.returncode == 0, done.stderr
        model, rows = hub.repositories["model", "me/student"], hub.repositories["dataset", "me/rows"]
        assert done.stdout.splitlines() == [
            f"pushed: {hub.url}/me/student (private)",
            f"pushed: {hub.url}/datasets/me/rows (private)",
        ]
        assert (model.private, rows.private) == (True, True)
        assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer.json"} <= model.files.keys()
        assert {"train.jsonl", "train.parquet", "README.md", "recipe.yaml"} <= rows.files.keys()
        assert not [name for name in rows.files if name.startswith("inputs/")], "the exam is among them"
        for repository, place in ((model, "run/models/student@1"), (rows, "run/dataset")):
            for name, content in repository.files.items():
                assert content == (folder / place / name).read_bytes(), name
        assert "adapter_model.safetensors" in model.large
        for path in folder.rglob("*"):
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path

        (folder / "run/models/student@1/README.md").write_text("---\nlicense: mit\n---\n# Other\n")
        again = await push(hub, folder)
        assert model.commits[1:] == [["README.md"]]
        assert len(rows.commits) == 1
        assert again.stdout.endswith("/datasets/me/rows (nothing has changed)\n")

        rows.private = False
        done = await push(hub, folder)
        assert done.returncode == 2
        assert "push: me/rows is public, and nothing says that this may be\n  fix: push it with --public" in done.stderr
        del hub.repositories["model", "me/student"]
        done = await push(hub, folder, "--public")
        assert done.stdout.startswith(f"pushed: {hub.url}/me/student (public)\n")
        assert not hub.repositories["model", "me/student"].private


REFUSED = [
    ("create-401", "the hub does not know the token (401)", "SetupError"),
    ("create-403", "the token may not write there (403)", "SetupError"),
    ("create-409", "somebody else is changing it (409)", "StepError"),
    ("create-503", "the hub answers with status 503", "StepError"),
    ("commit-404", "the hub has no such owner or repository, or hides it (404)", "SetupError"),
    ("commit-412", "the hub answers with status 412", "StepError"),
    ("commit-500", "the hub answers with status 500", "StepError"),
]
SEND = """
import sys
from pathlib import Path
from blackbox_kd.errors import BlackboxError
from blackbox_kd.runs.hub import Upload, send
for name in sys.argv[1:]:
    try:
        send(Upload(f"me/{name}", "model", {"recipe.py": Path("recipe.py")}))
    except BlackboxError as error:
        print(type(error).__name__, error, sep="|", end="\\0")
"""


async def send(hub: FakeHub, folder: Path, *names: str, token: str = TOKEN) -> list[tuple[str, str]]:
    """The errors that sending to repositories of these names ends in: what they are, and what they say."""
    (folder / "recipe.py").write_text("1\n")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    how: Any = {"cwd": folder, "env": clean | hub.env(folder, token), "capture_output": True, "text": True}
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", SEND, *names], **how)
    assert done.returncode == 0, done.stderr
    assert token == "" or token not in done.stdout
    return [(kind, text) for kind, _, text in (told.partition("|") for told in done.stdout.split("\0")[:-1])]


async def test_what_the_hub_refuses_is_told_in_words_and_with_its_own(tmp_path: Path) -> None:
    async with FakeHub() as hub:
        told = await send(hub, tmp_path, *(name for name, _, _ in REFUSED))
    for (name, what, kind), (found, text) in zip(REFUSED, told, strict=True):
        assert (found, text.splitlines()[0]) == (kind, f"push: me/{name}: {what}")
        assert text.splitlines()[1] == "  the hub says: said by the hub about Bearer [key]"
        assert text.splitlines()[2].startswith("  fix: ")


async def test_a_token_that_is_wrong_or_lacking_and_a_hub_that_is_gone_are_told(tmp_path: Path) -> None:
    async with FakeHub() as hub:
        [(kind, text)] = await send(hub, tmp_path, "it", token="hf_of_nobody")
        assert (kind, text.splitlines()[0]) == ("SetupError", "push: me/it: the hub does not know the token (401)")
        assert "fix: export HF_TOKEN=TOKEN" in text
        asked = len(hub.asked)
        [(kind, text)] = await send(hub, tmp_path, "it", token="")
        assert (kind, text.splitlines()[0]) == ("SetupError", "push: there is no token for the hub")
        assert len(hub.asked) == asked
    [(kind, text)] = await send(hub, tmp_path, "it")
    assert kind == "StepError"
    assert text.startswith("push: me/it: it was not sent: ")


def rows_alone(folder: Path, **head: Any) -> Path:
    write_rows(folder / "train.jsonl", [{"instruction": f"Say {n}."} for n in range(3)])
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain"}, {"step": "format"}],
    }
    (folder / "recipe.yaml").write_text(json.dumps(values | head))
    return folder


async def test_a_whole_run_sends_what_its_recipe_says_and_a_part_of_one_does_not(tmp_path: Path) -> None:
    rows_alone(tmp_path, push={"dataset": "me/rows"})
    async with FakeHub() as hub:

        async def run(*options: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
            env = hub.env(tmp_path, token)
            return await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", *options, **env)

        for part in (("--limit", "2"), ("--scripted",)):
            done = await run(*part)
            assert done.returncode == 0, done.stderr
        assert not hub.asked
        hub.failing["create"] = 500
        done = await run()
        assert done.stderr.rstrip().endswith("\n  fix: blackbox-kd export runs/demo --push-dataset me/rows")
        hub.failing.clear()
        done = await run()
        assert f"pushed: {hub.url}/datasets/me/rows (private)" in done.stderr
        files = hub.repositories["dataset", "me/rows"].files
        assert b"push" not in files["recipe.yaml"], "whoever runs it again has repositories of their own"
        assert b"push:\n  dataset: me/rows" in (tmp_path / "runs/demo/recipe.yaml").read_bytes()
        assert "error: push: there is no token for the hub" in (await run(token="")).stderr


def test_the_terms_of_a_teacher_are_a_warning_before_anything_is_published(tmp_path: Path) -> None:
    teacher = {"provider": "openai", "model": "gpt-5-mini", "key_env": "KEY"}
    rows_alone(tmp_path, push={"dataset": "me/rows"}, models={"teacher": teacher})
    done = command(tmp_path, "check", "recipe.yaml", KEY="sk-0")
    assert "warning: models.teacher: OpenAI's terms: outputs may not be used to develop models" in done.stdout
    rows_alone(tmp_path, models={"teacher": teacher})
    assert "note: models.teacher: OpenAI's terms" in command(tmp_path, "check", "recipe.yaml", KEY="sk-0").stdout
    told = describe_terms(load_recipe(tmp_path / "recipe.yaml", env={"KEY": "sk-0"}))
    assert told[0].startswith("teacher: OpenAI's terms: outputs may not be used to develop models that compete")
    assert told[-1] == "read them before you publish (this is no legal advice)"
