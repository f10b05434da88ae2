"""A key goes where it belongs without a question, and to any other host only if the user has agreed to that pair."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.errors import RecipeError, UserError
from blackbox_kd.recipe import trust
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.spec import Recipe
from tests.support.fake_server import FakeServer
from tests.support.runs import command, write_rows

ENV = {"OPENAI_API_KEY": "sk-1", "MY_KEY": "sk-2", "SECRET": "sk-3"} | {
    "OPENROUTER_API_KEY": "sk-4",
    "MISTRAL_API_KEY": "sk-5",
}
STRANGER: dict[str, Any] = {"base_url": "https://gateway.example.com/v1", "key_env": "MY_KEY"}
SAID = "models.teacher: the key in MY_KEY is sent to gateway.example.com"


def write(folder: Path, provider: str = "openai", **fields: Any) -> None:
    values = {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": provider, "model": "m", **fields}},
        "steps": [{"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 8}],
    }
    write_rows(folder / "train.jsonl", [{"instruction": "What is 1 + 1?", "reference": "2"}])
    (folder / "recipe.yaml").write_text(json.dumps(values))


def load(folder: Path, provider: str = "openai", env: dict[str, str] = ENV, **fields: Any) -> Recipe:
    write(folder, provider, **fields)
    return load_recipe(folder / "recipe.yaml", env=env)


@pytest.mark.parametrize(
    ("fields", "env"),
    [
        ({}, {}),
        ({"base_url": "https://api.openai.com/v1"}, {}),
        ({"base_url": "https://API.OpenAI.com/v1", "key_env": "OPENAI_API_KEY"}, {}),
        ({}, {"OPENAI_BASE_URL": "https://gateway.example.com/v1"}),
        ({}, {"OPENAI_BASE_URL": "http://10.0.0.5:8000/v1"}),
        ({"base_url": "http://127.0.0.1:8000/v1", "key_env": "MY_KEY"}, {}),
        ({"base_url": "http://localhost:8000/v1", "key_env": "MY_KEY"}, {}),
        ({"base_url": "http://127.0.0.1:8000/v1"}, {}),
        ({"base_url": "https://openrouter.ai/api/v1", "key_env": "OPENROUTER_API_KEY"}, {}),
        ({"base_url": "https://api.mistral.ai/v1", "key_env": "MISTRAL_API_KEY"}, {}),
        ({"provider": "vllm"}, {}),
        ({"provider": "vllm", "base_url": "http://127.0.0.1:8000/v1", "key_env": "MY_KEY"}, {}),
        ({"provider": "vllm", "base_url": "https://gpu.example.com/v1"}, {}),
    ],
)
def test_a_key_goes_where_it_belongs_without_a_word(
    tmp_path: Path, fields: dict[str, Any], env: dict[str, str]
) -> None:
    assert trust.find_routes(load(tmp_path, **fields, env=ENV | env), ENV | env) == []


@pytest.mark.parametrize(
    ("fields", "variable", "host"),
    [
        (STRANGER, "MY_KEY", "gateway.example.com"),
        (STRANGER | {"key_env": "OPENAI_API_KEY"}, "OPENAI_API_KEY", "gateway.example.com"),
        ({"base_url": "https://api.openai.com/v1", "key_env": "SECRET"}, "SECRET", "api.openai.com"),
        ({"base_url": "http://api.openai.com/v1"}, "OPENAI_API_KEY", "http://api.openai.com"),
        ({"base_url": "https://openrouter.ai/api/v1", "key_env": "OPENAI_API_KEY"}, "OPENAI_API_KEY", "openrouter.ai"),
        ({"base_url": "https://api.openai.com/v1", "key_env": "MISTRAL_API_KEY"}, "MISTRAL_API_KEY", "api.openai.com"),
        ({"base_url": "http://api.mistral.ai/v1", "key_env": "MISTRAL_API_KEY"}, "MISTRAL_API_KEY", "http://api.mistral.ai"),
        ({"base_url": "https://api.openai.com.evil.io", "key_env": "MY_KEY"}, "MY_KEY", "api.openai.com.evil.io"),
        ({"base_url": "https://аpi.openai.com/v1", "key_env": "MY_KEY"}, "MY_KEY", "xn--pi-6kc.openai.com"),
        ({"base_url": "http://10.0.0.5:8000/v1", "key_env": "MY_KEY"}, "MY_KEY", "http://10.0.0.5"),
        ({"provider": "vllm", **STRANGER}, "MY_KEY", "gateway.example.com"),
    ],
)  # fmt: skip
def test_a_key_goes_elsewhere_only_if_the_user_agrees(
    tmp_path: Path, fields: dict[str, Any], variable: str, host: str
) -> None:
    recipe = load(tmp_path, **fields)
    with pytest.raises(RecipeError) as caught:
        trust.settle(recipe, ENV, tmp_path)
    assert str(caught.value).splitlines() == [
        f"{recipe.file}:1: models.teacher: the key in {variable} would be sent to {host}, and you have not agreed to "
        "that.",
        f"  fix: if you trust {host} with that key: --trust {host} (once), or BLACKBOX_KD_TRUST={host} in CI",
    ]
    trust.settle(recipe, ENV, tmp_path, given=[host])
    trust.settle(recipe, ENV, tmp_path)
    trust.settle(recipe, ENV | {trust.VARIABLE: f"other.example.com, {host}"}, tmp_path / "new")


def test_what_was_agreed_to_is_a_pair_and_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    config = tmp_path / "config" / "blackbox-kd"
    before = os.umask(0)
    try:
        trust.settle(load(tmp_path, **STRANGER), ENV, config, given=["https://gateway.example.com:443/v1"])
    finally:
        os.umask(before)
    file = config / "trusted.json"
    assert json.loads(file.read_text()) == {"trusted": [{"variable": "MY_KEY", "host": "gateway.example.com"}]}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, file)] == [0o700, 0o600]
    with pytest.raises(RecipeError, match="the key in SECRET would be sent to gateway"):
        trust.settle(load(tmp_path, **STRANGER | {"key_env": "SECRET"}), ENV, config)
    with pytest.raises(RecipeError, match="sent to http://gateway"):
        trust.settle(load(tmp_path, **STRANGER | {"base_url": "http://gateway.example.com/v1"}), ENV, config)


def test_what_the_user_answers_decides_and_only_a_yes_is_remembered(tmp_path: Path) -> None:
    recipe, asked = load(tmp_path, **STRANGER), []
    for answer in (False, True):

        def ask(question: str, answer: bool = answer) -> bool:
            asked.append(question)
            return answer

        if answer:
            trust.settle(recipe, ENV, tmp_path, ask=ask)
        else:
            with pytest.raises(RecipeError):
                trust.settle(recipe, ENV, tmp_path, ask=ask)
            assert not (tmp_path / "trusted.json").exists()
    trust.settle(recipe, ENV, tmp_path, ask=ask)
    assert asked == ["Send the key in MY_KEY to gateway.example.com?"] * 2


def test_a_file_that_cannot_be_read_is_no_agreement(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"trusted": [{"host": "x"}]}'):
        (tmp_path / "trusted.json").write_text(text)
        with pytest.raises(UserError, match=r"trusted\.json: cannot be read"):
            trust.settle(load(tmp_path, **STRANGER), ENV, tmp_path)


# The command line


def test_check_and_estimate_say_where_a_key_goes_and_send_nothing(tmp_path: Path) -> None:
    write(tmp_path, **STRANGER)
    for name in ("check", "estimate"):
        done = command(tmp_path, name, "recipe.yaml", "--json", MY_KEY="sk-2", XDG_CONFIG_HOME=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, f"{SAID}; a run will want your agreement\n")
        assert json.loads(done.stdout)["schema_version"] == 1


@pytest.mark.parametrize("arguments", [["run"], ["estimate", "--probe", "1"]], ids=" ".join)
def test_a_run_does_not_begin_before_the_user_has_agreed(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path, base_url="http://gateway.invalid/v1", key_env="MY_KEY")
    env = {"MY_KEY": "sk-2", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    refused = command(tmp_path, *arguments, "recipe.yaml", **env)
    assert refused.returncode == 2
    assert "is sent to http://gateway.invalid without encryption\n" in refused.stderr
    assert "--trust http://gateway.invalid (once)" in refused.stderr
    assert not (tmp_path / "runs").exists()
    for more in (["--trust", "http://gateway.invalid"], []):
        agreed = command(tmp_path, *arguments, "recipe.yaml", *more, **env)
        assert "not agreed" not in agreed.stderr
        assert "http://gateway.invalid/v1/chat/completions: cannot be reached" in agreed.stderr
    told = command(tmp_path, "path", **env)
    assert json.loads(told.stdout)["config"] == str(tmp_path / "config/blackbox-kd")


def test_at_a_terminal_the_user_is_asked(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX's")
    write(tmp_path, base_url="http://gateway.invalid/v1", key_env="MY_KEY")
    env = os.environ | {"MY_KEY": "sk-2", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    ours, theirs = pty.openpty()
    code = "from blackbox_kd.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "recipe.yaml"], cwd=tmp_path, env=env, stdin=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, b"y\n")
    said = b""
    while True:
        try:
            said += os.read(ours, 1000)
        except OSError:  # the last one who had the terminal open is gone
            break
    os.close(ours)
    process.wait()
    assert b"Send the key in MY_KEY to http://gateway.invalid? [y/N]" in said
    assert b"cannot be reached" in said
    assert (tmp_path / "config/blackbox-kd/trusted.json").exists()


async def test_servers_on_this_machine_are_asked_without_a_question(tmp_path: Path) -> None:
    async with FakeServer() as server:
        write(tmp_path, base_url=server.url, key_env="MY_KEY")
        code = "from blackbox_kd.cli.main import main; main()"
        env = os.environ | {"MY_KEY": "sk-2", "XDG_CONFIG_HOME": str(tmp_path / "config")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "run", "recipe.yaml", cwd=tmp_path, env=env, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        assert process.returncode == 0, said
        assert server.seen_headers[0]["Authorization"] == "Bearer sk-2"
    assert b"is sent to" not in said
    assert not (tmp_path / "config").exists()


# Files


GPU = {"provider": "vllm", "base_url": "https://gpu.example.com/v1"}


def load_with(folder: Path, path: str, *overrides: str, **fields: Any) -> Recipe:
    """A recipe in a folder of its own, beside the user's `notes.jsonl`."""
    own = folder / "recipe"
    own.mkdir(exist_ok=True)
    write_rows(folder / "notes.jsonl", [{"instruction": "My diary", "reference": "x"}])
    write(own, **{name: value for name, value in (GPU | fields).items() if value is not None})
    values = json.loads((own / "recipe.yaml").read_text())
    values["data"]["train"]["path"] = path
    (own / "recipe.yaml").write_text(json.dumps(values))
    return load_recipe(own / "recipe.yaml", env=ENV, overrides=overrides)


@pytest.mark.parametrize(
    "path", ["../notes.jsonl", "{folder}/notes.jsonl", "../no*.jsonl", "link.jsonl", "own/../../notes.jsonl"]
)
def test_rows_of_a_file_elsewhere_go_to_a_host_that_nobody_knows_only_if_the_user_agrees(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "recipe" / "own").mkdir(parents=True)
    (tmp_path / "recipe/link.jsonl").symlink_to(tmp_path / "notes.jsonl")
    recipe = load_with(tmp_path, path.replace("{folder}", str(tmp_path)))
    [route] = trust.find_routes(recipe, ENV)
    with pytest.raises(RecipeError) as caught:
        trust.settle(recipe, ENV, tmp_path)
    assert str(caught.value).splitlines() == [
        f"{recipe.file}:1: models.teacher: rows of {route.name}, outside of the recipe's folder, would be sent to "
        "gpu.example.com, and you have not agreed to that.",
        "  fix: if you trust gpu.example.com with it: --trust gpu.example.com (once), or "
        "BLACKBOX_KD_TRUST=gpu.example.com in CI",
    ]
    asked = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    trust.settle(recipe, ENV, tmp_path, ask=ask)
    trust.settle(recipe, ENV, tmp_path)
    assert asked == [f"Send rows of {route.name} to gpu.example.com?"]
    assert json.loads((tmp_path / "trusted.json").read_text())["trusted"] == [
        {"file": route.name, "host": "gpu.example.com"}
    ]


@pytest.mark.parametrize(
    ("path", "overrides", "fields"),
    [
        ("train.jsonl", (), {}),
        ("../notes.jsonl", (), {"base_url": "http://127.0.0.1:8000/v1"}),
        ("../notes.jsonl", (), {"provider": "openai", "base_url": "https://api.mistral.ai/v1"}),
        ("../notes.jsonl", (), {"provider": "openai", "base_url": None}),
        ("train.jsonl", ("data.train.path=../notes.jsonl",), {}),
        ("../notes.jsonl", ("models.teacher.base_url=https://mine.example.com/v1",), {}),
    ],
    ids=["in its folder", "to this machine", "to a vendor", "to OpenAI", "own_given_by_hand", "own_host_given_by_hand"],
)
def test_rows_go_without_a_word_where_nobody_else_reads_them_or_the_user_has_said_so(
    tmp_path: Path, path: str, overrides: tuple[str, ...], fields: dict[str, Any]
) -> None:
    recipe = load_with(tmp_path, path, *overrides, **fields)
    assert [route for route in trust.find_routes(recipe, ENV) if route.kind == "file"] == []


def test_own_agreeing_to_a_key_is_not_agreeing_to_files(tmp_path: Path) -> None:
    recipe = load_with(tmp_path, "../notes.jsonl", key_env="MY_KEY")
    assert [route.kind for route in trust.find_routes(recipe, ENV)] == ["variable", "file"]
    (tmp_path / "trusted.json").write_text('{"trusted": [{"variable": "MY_KEY", "host": "gpu.example.com"}]}')
    with pytest.raises(RecipeError, match="rows of"):
        trust.settle(recipe, ENV, tmp_path)
    trust.settle(recipe, ENV, tmp_path, given=["gpu.example.com"])
    assert len(json.loads((tmp_path / "trusted.json").read_text())["trusted"]) == 2


def test_documents_that_a_link_leads_to_are_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/diary.md").write_text("# Today\n\nMy diary.\n")
    (tmp_path / "recipe/docs").mkdir(parents=True)
    (tmp_path / "recipe/docs/out").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "recipe", **{name: value for name, value in GPU.items() if value is not None})
    values = json.loads((tmp_path / "recipe/recipe.yaml").read_text())
    values["data"]["train"] = {"path": "docs/**/*.md", "chunk": {}, "rename": {"text": "instruction"}}
    (tmp_path / "recipe/recipe.yaml").write_text(json.dumps(values))
    recipe = load_recipe(tmp_path / "recipe/recipe.yaml", env=ENV)
    assert [route.kind for route in trust.find_routes(recipe, ENV)] == ["file"]
