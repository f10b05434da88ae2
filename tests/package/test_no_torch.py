"""A rationale data set is made on a machine without torch: what a process has loaded when a command has ended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TRAINING = {"torch", "transformers", "trl", "datasets", "peft", "accelerate", "vllm", "openai"}
"""Packages that only training, generation in this process or the Hub need."""
CLI = """
import json, sys
from blackbox_kd.cli.main import main
sys.argv = ["blackbox-kd", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
"""
LOADED = """
import json, sys
sys.stderr.write("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
ROWS = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(4)]
RECIPE = {
    "name": "demo",
    "data": {"train": {"path": "rows.csv"}},
    "models": {"teacher": {"provider": "scripted", "price": {"input": 1, "output": 1}}},
    "steps": [
        {"step": "generate", "model": "teacher", "prompt": "rationale/cot", "samples": 2, "temperature": 1.0},
        {"step": "check", "answer": "number"},
        {"step": "filter", "keep": "correct"},
        {"step": "select", "per": "instruction", "best": 1, "by": "shortest"},
        {"step": "format"},
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe of a student that is never reached, and a finished run."""
    folder = tmp_path_factory.mktemp("no-torch")
    lines = ["instruction,reference", *(f"{row['instruction']},{row['reference']}" for row in ROWS)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def loaded_by(folder: Path, code: str, *arguments: str) -> set[str]:
    """Names of the packages that a process has loaded when `code` has run."""
    environment = {**os.environ, "OPENAI_API_KEY": "sk-0"}
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED, json.dumps(arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy(folder: Path) -> None:
    assert not loaded_by(folder, "import blackbox_kd") & (TRAINING | {"pyarrow", "scipy", "aiohttp", "numpy"})


def test_checking_a_recipe_that_trains_loads_nothing_heavy(folder: Path) -> None:
    assert not loaded_by(folder, CLI, "check", "cot_rationales") & (TRAINING | {"pyarrow", "scipy", "aiohttp"})


def test_a_data_set_is_made_from_the_command_line_without_torch(folder: Path) -> None:
    assert not loaded_by(folder, CLI, "run", "recipe.yaml") & TRAINING
    assert len((folder / "runs/demo/dataset/train.jsonl").read_text().splitlines()) == len(ROWS)
    assert (folder / "runs/demo/dataset/train.parquet").exists()


def test_a_chain_that_ends_in_training_needs_no_torch_up_to_there(folder: Path) -> None:
    student = {"provider": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    steps = [*RECIPE["steps"], {"step": "train", "model": "student"}]  # type: ignore[misc]
    values = {**RECIPE, "name": "later", "steps": steps, "models": {**RECIPE["models"], "student": student}}  # type: ignore[dict-item]
    (folder / "later.yaml").write_text(yaml.safe_dump(values))
    assert not loaded_by(folder, CLI, "run", "later.yaml", "--until", "format") & TRAINING


@pytest.mark.parametrize(
    "command",
    [["report", "demo"], ["show", "demo"], ["steps"], ["steps", "train"], ["schema"], ["path"], ["--help"]],
    ids=" ".join,
)
def test_commands_that_read_load_nothing_heavy(folder: Path, command: list[str]) -> None:
    if not (folder / "runs/demo/manifest.json").exists():
        loaded_by(folder, CLI, "run", "recipe.yaml")
    assert not loaded_by(folder, CLI, *command) & (TRAINING | {"pyarrow", "scipy"})
