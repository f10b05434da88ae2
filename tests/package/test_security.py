"""A stranger's recipe runs no code and writes nowhere else; keys stay in memory; files are private; nobody is called.

What a process connects to, starts and writes is noted by an audit hook of the interpreter,
`tests/support/audit/sitecustomize.py`.
"""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from blackbox_kd import answers
from blackbox_kd.errors import DataError, RecipeError, UserError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.sandbox import expressions
from blackbox_kd.sandbox.prompt import Prompt
from blackbox_kd.schema import Row

ROOT = Path(__file__).parent.parent.parent
AUDIT = ROOT / "tests" / "support" / "audit"
COMMAND = [sys.executable, "-P", "-c", "from blackbox_kd.cli.main import main; main()"]
KEY = "sk-fake-Zq81xT0aRkeyW9"
TOKEN = "hf_fakeTokenQm27"
MARK = "PWNED"
ASK: dict[str, Any] = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
CHECK: dict[str, Any] = {"step": "check", "answer": "number"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    folder.mkdir()
    rows = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(6)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def values(**changes: Any) -> dict[str, Any]:
    return {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [ASK, CHECK, {"step": "select", "per": "instruction", "best": 1}, {"step": "format"}],
    } | changes


def write(folder: Path, **changes: Any) -> None:
    (folder / "recipe.yaml").write_text(json.dumps(values(**changes)))


def command_line(folder: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command line in a recipe's folder, watched, with a home of its own beside it."""
    around = folder.parent
    for name in ("home", "tmp"):
        (around / name).mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "OMP_NUM_THREADS")}
    own = {
        "HOME": str(around / "home"),
        "TMPDIR": str(around / "tmp"),
        "AUDIT_LOG": str(around / "audit.log"),
        "PYTHONPATH": str(AUDIT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=kept | own | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        umask=0o022,
    )


def audited(folder: Path, kind: str) -> list[str]:
    """What the commands run so far connected to, started or wrote."""
    noted = [json.loads(line) for line in (folder.parent / "audit.log").read_text().splitlines()]
    return [what for each, what in noted if each == kind]


def written_outside(folder: Path, *also: str) -> set[str]:
    """Paths written outside of the recipe's `runs/`, and of what else is allowed."""
    allowed = [folder / "runs", Path("/dev"), *(folder.parent / name for name in also)]
    return {path for path in audited(folder, "write") if not any(Path(path).is_relative_to(place) for place in allowed)}


def marks(folder: Path) -> list[Path]:
    return list(folder.parent.rglob(f"{MARK}*"))


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.parent.rglob("*") if path.is_file())


# Code


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch PWNED').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__.__builtins__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ instruction.format.__globals__ }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(meta) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{{ '%s'|format(instruction.__class__) }}",
    "{{ instruction['__class__'] }}",
    "{{ instruction|attr('__class__') }}",
    "{{ instruction|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ [instruction]|map(attribute='__class__.__mro__')|list }}",
    "{{ [instruction]|sort(attribute='__class__.__name__')|list }}",
    "{{ [instruction]|selectattr('__class__')|list }}",
    "{{ range.__self__ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{{ meta.items.__self__ }}",
    "{{ cycler('a').next.__func__.__globals__ }}",
    "{{ (tags|batch(1)).gi_frame.f_globals }}",
    "{{ instruction.__reduce_ex__(2) }}",
    "{% macro m() %}{{ m._func.__globals__ }}{% endmacro %}{{ m() }}",
    "{% for tag in tags %}{{ loop._iterator }}{% endfor %}",
    "{% system %}{{ caller.__globals__ }}{% endsystem %}",
    "{% import 'os' as os %}{{ os.system('touch PWNED') }}",
    "{% include '/etc/passwd' %}",
    "{% include '../secret.jinja' %}",
    "{% include 'recipe.yaml' %}",
    "{% debug %}",
    "{% do tags.append('x') %}",
    "{{ tags.append('x') }}",
    "{{ meta.update({'a': 2}) }}",
    "{{ lipsum.__globals__.os }}",
    "{{ config }}",
    "{{ environment.loader }}",
    "{{ 'a' * 10000000000 }}",
    "{{ 9 ** 99999999 }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_a_prompt_cannot_leave_the_sandbox(folder: Path, template: str) -> None:
    (folder.parent / "secret.jinja").write_text("the secret")
    (folder / "recipe.yaml").write_text("the secret")
    (folder / "ask.jinja").write_text(template)
    row = Row(id="a", instruction="What?", tags=["u"], meta={"a": 1})
    with pytest.raises(UserError) as caught:
        Prompt("ask", folder / "ask.jinja", [folder]).render(row)
    assert "the secret" not in str(caught.value)
    assert row == {"id": "a", "instruction": "What?", "tags": ["u"], "meta": {"a": 1}}


def test_what_a_row_or_a_reply_says_is_never_a_template(folder: Path) -> None:
    row = {"instruction": "{{ 7 * 7 }}{% include '/etc/passwd' %}", "reference": "{{ cycler.__init__ }}"}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    write(folder, steps=[ASK, {"step": "generate", "model": "teacher", "prompt": "again"}])
    (folder / "again.jinja").write_text("{{ instruction }} {{ response }}")
    assert command_line(folder, "run", "recipe.yaml").returncode == 0
    made = json.loads((folder / "runs/demo/tables/02_generate.jsonl").read_text())
    assert made["response"].endswith("{{ cycler.__init__ }}.")
    assert made["instruction"] == row["instruction"]


def test_the_templates_of_a_script_cannot_leave_the_sandbox_either(folder: Path) -> None:
    escape = "{{ cycler.__init__.__globals__.os.popen('touch PWNED').read() }}"
    write(folder, models={"teacher": {"provider": "scripted", "replies": [escape]}})
    done = command_line(folder, "run", "recipe.yaml")
    assert done.returncode == 1
    assert "6 of 6 rows failed" in done.stderr
    assert marks(folder) == audited(folder, "process") == []


EXPRESSIONS = [
    "().__class__.__bases__[0].__subclasses__()",
    "instruction.__class__",
    "instruction.format",
    "instruction['__class__']",
    "meta['__class__']",
    "__import__('os').system('touch PWNED')",
    "eval('1')",
    "open('PWNED', 'w')",
    "getattr(instruction, 'upper')",
    "globals()",
    "len.__globals__",
    "__builtins__",
    "column('__class__')",
    "[c for c in tags]",
    "(lambda: 1)()",
    "f'{instruction}'",
    "'%09999999999d' % 1",
    "(x := 1)",
    "min(*tags)",
    "text(value=1)",
    "await instruction",
    "import os",
    "9 ** 9 ** 9",
    "1 << 999999999",
    "'a' * 999999999",
    "text([[[1] * 90000] * 90000] * 90000)",
    "number('9' * 4000) * number('9' * 4000) == text(number('9' * 4000) * number('9' * 4000))",
    "round(1.5, 999999999)",
    "matches(instruction, '(?=x)')",
    "(" * 400 + "1" + ")" * 400,
    "not " * 330 + "1 +",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_refused_if_it_could_do_harm(expression: str) -> None:
    row = {"id": "a", "instruction": "What?", "tags": ["u"], "meta": {"a": 1}}
    with pytest.raises(ValueError):  # DataError is one
        expressions.evaluate(expression, row)


@pytest.mark.parametrize("kind", [kind for kind in answers.kinds() if not answers.missing(kind)])
def test_an_answer_is_read_and_compared_but_never_run(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with closing(sqlite3.connect("people.sqlite")) as database:
        database.execute("CREATE TABLE people (name TEXT)")
    fields = {"label": {"labels": ["yes", "no"]}, "sql": {"database": "people.sqlite"}}
    module = answers.kind({kind: fields[kind]} if kind in fields else kind)
    row = {"task": "chain_sum", "metadata": {}}
    for code in (
        "__import__('os').system('touch PWNED')",
        "(1).__class__.__base__.__subclasses__()",
        "open('PWNED','w')",
    ):
        for text in (code, f"The answer is {code}.", f"$\\boxed{{{code}}}$", f"The answer is ${code}$."):
            module.read(text, row)
            with suppress(DataError, KeyError):  # a verifier of another package wants rows of its own
                module.same(text, "1", row)
                module.same("1", text, row)
    assert marks(folder) == []


CODE = f"open({MARK!r}, 'w').close()\n"


@pytest.mark.parametrize("command", ["check", "run", "estimate"])
def test_plugins_and_functions_do_not_run_without_being_allowed(folder: Path, command: str) -> None:
    (folder / "mine.py").write_text(CODE)
    scripted = {"provider": "scripted", "function": "mine.py:reply"}
    write(folder, plugins=["mine.py"], models={"teacher": scripted}, steps=[ASK, {"step": "mine"}])
    done = command_line(folder, command, "recipe.yaml")
    assert done.returncode == 2
    assert done.stderr.count("which a recipe may not run by itself") == 2
    assert marks(folder) == []
    assert audited(folder, "process") == []
    assert written_outside(folder) == set()


TAGS = [
    "!!python/object/apply:os.system ['touch PWNED']",
    "!!python/object/new:subprocess.Popen [['touch', 'PWNED']]",
    "!!python/name:os.system ''",
    "!!python/module:mine ''",
    "!include /etc/passwd",
    "&anchor [*anchor]",
]


@pytest.mark.parametrize("tag", TAGS)
def test_tags_and_aliases_of_yaml_are_not_read(folder: Path, tag: str) -> None:
    (folder / "mine.py").write_text(CODE)
    (folder / "recipe.yaml").write_text(f"{yaml.safe_dump(values())}description: {tag}\n")
    done = command_line(folder, "run", "recipe.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: recipe.yaml:")
    assert marks(folder) == []
    assert written_outside(folder) == set()


# Where is written


def test_a_run_connects_to_nothing_starts_nothing_and_writes_into_runs_alone(folder: Path) -> None:
    write(folder)
    for command in ("check", "estimate", "run"):
        assert command_line(folder, command, "recipe.yaml").returncode == 0
    assert (folder / "runs/demo/dataset/train.parquet").exists()
    assert audited(folder, "network") == []
    assert audited(folder, "process") == []
    assert written_outside(folder, "tmp") == set()
    assert list((folder.parent / "tmp").iterdir()) == []


NAMES = ["../../out", "/tmp/out", "..", ".", "a/b", "a\\b", "out\n", "out\x00", "", " ", "~", "${HOME}", "é" * 100]


def with_name(name: str) -> list[dict[str, Any]]:
    """Recipes that give a name to each kind of thing whose name becomes a file's or a column's."""
    split = {"step": "split", "outputs": {name: "correct", "rest": "not correct"}}
    return [
        values(name=name),
        values(data={name: {"path": "train.jsonl"}}),
        values(models={name: {"provider": "scripted"}}, steps=[ASK | {"model": name}, CHECK]),
        values(steps=[ASK | {"output": name}, CHECK]),
        values(steps=[ASK, CHECK, split]),
        values(steps=[ASK | {"as": name}]),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_names_of_files_are_refused(folder: Path, name: str) -> None:
    for recipe in with_name(name):
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        with pytest.raises(RecipeError):
            load_recipe(folder / "recipe.yaml", env={})


def test_names_that_would_lead_out_of_the_run_folder_write_nothing(folder: Path) -> None:
    for recipe in with_name("../../out"):
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        done = command_line(folder, "run", "recipe.yaml")
        assert done.returncode == 2, recipe
        assert "'../../out'" in done.stderr
        assert "Traceback" not in done.stderr
    assert audited(folder, "write") == []


def test_data_is_read_from_anywhere_and_nothing_is_written_beside_it(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (folder / "train.jsonl").rename(outside / "train.jsonl")
    for path in ("../elsewhere/train.jsonl", str(outside / "*.jsonl")):
        write(folder, data={"train": {"path": path}})
        assert command_line(folder, "run", "recipe.yaml").returncode == 0
    assert [path.name for path in outside.iterdir()] == ["train.jsonl"]
    assert written_outside(folder) == set()


@pytest.mark.parametrize(
    "name",
    ["", "tables", "models", "dataset", "work", "work/lock", "report.md", "tables/00_train.part", "models/student@1"],
)
def test_links_in_a_run_folder_that_came_with_a_recipe_lead_nowhere(folder: Path, name: str) -> None:
    write(folder)
    victim = folder.parent / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    link = folder / "runs/demo" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(victim if name in ("", "tables", "models", "dataset", "work") else victim / "file")
    done = command_line(folder, "run", "recipe.yaml")
    assert done.returncode == 2
    assert "is a link to" in done.stderr
    assert [path.name for path in victim.iterdir()] == ["file"]
    assert (victim / "file").read_text() == "mine"


def test_a_manifest_that_came_with_a_recipe_cannot_name_files_elsewhere(folder: Path) -> None:
    write(folder)
    assert command_line(folder, "run", "recipe.yaml").returncode == 0
    file = folder / "runs/demo/manifest.json"
    manifest = json.loads(file.read_text())
    outside = folder.parent / "outside.jsonl"
    outside.write_text('{"id": "a", "instruction": "from elsewhere", "response": "x"}\n')
    manifest["stages"]["03_select"]["tables"][0]["path"] = "../../../outside.jsonl"
    manifest["stages"]["03_select"]["trained"] = [["teacher", "../../.."]]
    file.write_text(json.dumps(manifest))
    assert command_line(folder, "run", "recipe.yaml").returncode == 0
    assert b"from elsewhere" not in b"".join(path.read_bytes() for path in (folder / "runs").rglob("*.jsonl"))
    assert not (folder.parent / "README.md").exists()


# Keys


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.fake_server", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def remote(url: str) -> dict[str, Any]:
    return {"teacher": {"provider": "openai", "model": "fake", "base_url": url, "key_env": "MY_KEY", "timeout_s": 5}}


@pytest.mark.parametrize(
    ("plan", "status"), [("echo", 2), ("ok,ok,echo,echo", 1), ("400,ok,html,null,insufficient_quota", 1), ("ok", 0)]
)
def test_a_key_is_written_nowhere_whatever_the_server_says(folder: Path, plan: str, status: int) -> None:
    *first, _ = plan.split(",")
    with server("--plan", ",".join(first), "--always", plan.split(",")[-1]) as url:
        write(folder, models=remote(url) | {"teacher": remote(url)["teacher"] | {"max_concurrency": 1}})
        done = command_line(folder, "--debug", "run", "recipe.yaml", MY_KEY=KEY, HF_TOKEN=TOKEN)
    assert done.returncode == status, done.stderr
    assert ("Traceback" in done.stderr) == (status != 0)
    seen = everything_written(folder) + done.stdout.encode() + done.stderr.encode()
    assert KEY.encode() not in seen
    assert TOKEN.encode() not in seen
    assert (b"[key]" in seen) == ("echo" in plan)


def test_a_key_is_in_no_traceback_when_nobody_answers_or_a_proxy_refuses(folder: Path) -> None:
    said = ""
    for env in ({}, {"http_proxy": "http://me:hunter2@127.0.0.1:9"}):
        write(folder, models=remote("http://127.0.0.1:9/v1" if not env else "http://elsewhere.invalid/v1"))
        trusted = {"BLACKBOX_KD_TRUST": "http://elsewhere.invalid"}
        done = command_line(folder, "--debug", "run", "recipe.yaml", MY_KEY=KEY, **env, **trusted)
        assert done.returncode != 0
        assert "Traceback" in done.stderr
        said += done.stdout + done.stderr
    seen = everything_written(folder) + said.encode()
    assert KEY.encode() not in seen
    assert b"hunter2" not in seen


def test_a_key_that_was_pasted_into_the_recipe_is_refused_and_not_shown(folder: Path) -> None:
    for field in ({"key_env": KEY}, {"base_url": f"https://me:{KEY}@example.com/v1"}, {"api_key": KEY}):
        write(folder, models={"teacher": {"provider": "openai", "model": "m", "key_env": "MY_KEY"} | field})
        done = command_line(folder, "run", "recipe.yaml", MY_KEY="sk-other")
        assert done.returncode == 2
        assert KEY not in done.stdout + done.stderr
        assert not (folder / "runs").exists()


def test_the_key_of_openai_goes_to_nobody_else(folder: Path) -> None:
    with server() as url:
        write(folder, models={"teacher": {"provider": "openai", "model": "fake", "base_url": url}})
        done = command_line(folder, "run", "recipe.yaml", OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        with server("--always", "echo") as echo:
            write(folder, models={"teacher": {"provider": "openai", "model": "fake", "base_url": echo}})
            done = command_line(folder, "run", "recipe.yaml", OPENAI_API_KEY=KEY)
    assert "Bearer EMPTY" in done.stderr


# Files, and the libraries of training


def exposed(folder: Path) -> list[str]:
    """Files and folders of the runs that others could read, and the ledger's."""
    found = [path for path in (folder / "runs", *(folder / "runs").rglob("*")) if not path.is_symlink()]
    return [f"{path} {stat.S_IMODE(path.stat().st_mode):o}" for path in found if path.stat().st_mode & 0o077]


def test_what_a_run_writes_is_private_whatever_the_umask(folder: Path) -> None:
    write(folder)
    assert command_line(folder, "run", "recipe.yaml").returncode == 0
    assert {path.name for path in folder.glob("runs/*")} == {"demo", "ledger.sqlite"}
    assert exposed(folder) == []


def test_training_and_asking_a_model_take_no_code_from_here_call_nobody_and_leave_private_files(folder: Path) -> None:
    from tests.support.tiny import tiny_model

    for name in ("torch", "trl", "transformers", "json", "datasets", "usercustomize", "blackbox_kd"):
        (folder / f"{name}.py").write_text(CODE + "raise SystemExit(9)\n")
    student = {"provider": "transformers", "model": str(tiny_model())}
    teach = {"step": "train", "model": "student", "max_steps": 1, "r": 4, "batch_size": 2}
    test = {"step": "evaluate", "input": "test", "models": ["student"], "max_tokens": 4}
    (folder / "test.jsonl").write_text('{"instruction": "And 70 + 1?", "reference": "71"}\n')
    write(
        folder,
        data=values()["data"] | {"test": {"path": "test.jsonl", "held_out": True}},
        models=values()["models"] | {"student": student},
        steps=[*values()["steps"], teach, test],
    )
    done = command_line(folder, "--debug", "run", "recipe.yaml", MY_KEY=KEY, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/demo/models/student@1/adapter_model.safetensors").exists()
    assert [what for what in audited(folder, "process") if "blackbox_kd.training" in what], "what is started is seen"
    assert marks(folder) == []
    assert audited(folder, "network") == []
    assert exposed(folder) == []
    assert written_outside(folder, "home/.cache", "tmp") == set()
    seen = everything_written(folder) + done.stdout.encode() + done.stderr.encode()
    assert KEY.encode() not in seen
    assert TOKEN.encode() not in seen
