"""Weights are found by the names that recipes use, are named by their content, and come out of GGUF once."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blackbox_kd.errors import SetupError, StepError
from blackbox_kd.weights import locate
from tests.support.tiny import SMOLLM2, tiny_model


def refused(spec: str, folder: Path) -> str:
    with pytest.raises(SetupError) as caught:
        locate.resolve(spec, folder / "cache", folder)
    return str(caught.value)


def copy(folder: Path) -> Path:
    return Path(shutil.copytree(tiny_model(), folder / "model"))


@pytest.fixture(autouse=True)
def _nothing_known_of_the_hub() -> None:
    locate.find_commit.cache_clear()


def test_a_folder_is_found_from_the_recipe(tmp_path: Path) -> None:
    copy(tmp_path)
    assert locate.resolve("model", tmp_path, tmp_path) == str((tmp_path / "model").resolve())


def test_what_cannot_be_loaded_is_refused_with_a_reason_and_a_fix(tmp_path: Path) -> None:
    assert "fix: name a folder, relative to the recipe, or a hub id" in refused("./nowhere", tmp_path)
    assert "'small.gguf' does not exist" in refused("small.gguf", tmp_path)
    assert "fix: pip install no-such-package" in refused("package:no_such_package/small.gguf", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "it has no config.json" in refused("empty", tmp_path)
    (tmp_path / "empty" / "adapter_config.json").write_text("{}")
    assert "an adapter; name the model in model: and this folder in adapter:" in refused("empty", tmp_path)


def test_a_package_is_looked_into_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "weights_in_a_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "small.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "it has: small.gguf" in refused("package:weights_in_a_package/large.gguf", tmp_path)
    assert locate.explain_name("package:weights_in_a_package/small.gguf", tmp_path) is None
    assert "weights_in_a_package" not in sys.modules


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights are not read" in refused("model", tmp_path)


def test_the_identity_changes_with_the_weights_and_with_the_chat_template_alone(tmp_path: Path) -> None:
    folder, cache = copy(tmp_path), tmp_path / "cache"
    first = locate.identity("model", cache, tmp_path)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert locate.identity("elsewhere", cache, tmp_path) == first
    (folder / "README.md").write_text("other words")
    assert locate.identity("model", cache, tmp_path) == first
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")
    second = locate.identity("model", cache, tmp_path)
    stored = folder / "model.safetensors"
    stored.write_bytes(stored.read_bytes()[:-1] + b"\x07")
    assert len({first, second, locate.identity("model", cache, tmp_path)}) == 3


def test_the_identity_of_a_gguf_file_is_its_own_and_nothing_is_converted_for_it(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    first = locate.identity("small.gguf", tmp_path / "cache", tmp_path)
    assert first == hashlib.sha256(b"GGUF").hexdigest()
    assert not (tmp_path / "cache" / "weights").exists()


def test_a_hash_is_remembered_and_forgotten_when_the_file_changes(tmp_path: Path) -> None:
    file, cache = tmp_path / "a.safetensors", tmp_path / "cache"
    file.write_bytes(b"one")
    first = locate.hash_file(file, cache)
    [memo] = (cache / "hashes").iterdir()
    memo.write_text("remembered")
    assert locate.hash_file(file, cache) == "remembered"
    file.write_bytes(b"another")
    assert locate.hash_file(file, cache) not in ("remembered", first)


def test_a_hub_model_is_what_its_name_said_when_it_was_taken(tmp_path: Path) -> None:
    """In a process of its own: libraries read HF_HOME when they are imported."""
    hub = tmp_path / "hub" / "models--some--model"
    for commit, tone in (("a" * 40, "kind"), ("b" * 40, "stern")):
        snapshot = hub / "snapshots" / commit
        shutil.copytree(tiny_model(), snapshot)
        template = snapshot / "chat_template.jinja"
        template.write_text(f"{tone} {template.read_text()}")
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("a" * 40)
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "MODEL": "some/model"}
    code = [sys.executable, "-c", PINNED, str(tmp_path), str(hub / "refs" / "main"), "b" * 40]
    done = subprocess.run(code, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"some/model@{'a' * 40}", "kind", "kind", "True", "kind"]


PINNED = """
import asyncio, json, sys
from pathlib import Path
from blackbox_kd.models import Setup, transformers
from blackbox_kd.schema import Request, Row, Sampling
from blackbox_kd.weights import load, locate

folder, main, other = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
opened = transformers.open_model(
    transformers.Config(provider="transformers", model="some/model"), Setup("m", folder, folder / "cache", {})
)
request = Request([{"role": "user", "content": "Hi"}], Sampling(temperature=0.0, max_tokens=1), Row(id="a"))
wire = opened.wire(request)
main.write_text(other)  # what the hub calls `main` moves on before the weights are loaded
asyncio.run(opened.send(wire, request))
place = locate.resolve("some/model", folder / "cache", folder)
print(place)
print(opened._engine._tokenizer.chat_template.split()[0])
print(load.load_tokenizer(place).chat_template.split()[0])
print(load.load_model(place, "float32").config._name_or_path == "some/model")
from blackbox_kd.training import model
from types import SimpleNamespace
job = SimpleNamespace(model=place, adapter_from=None, chat_template=None, chat_template_kwargs=None)
print(model.load_tokenizer(job).chat_template.split()[0])
"""


def test_a_hub_model_that_nobody_can_be_asked_about_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate.identity("some/model", tmp_path, tmp_path) == "some/model@main"
    assert locate.resolve("some/model", tmp_path, tmp_path) == "some/model@main"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ('{"model_type": "t5", "is_encoder_decoder": true}', "an encoder with a decoder"),
        ('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}', "BertForMaskedLM, which writes no text"),
        ('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}', "writes no text"),
        ('{"architectures": ["LlamaForCausalLM"]}', "has no model_type"),
        ('{"model_type": "lla', "is no JSON"),
        ('{"model_type": "bloom", "architectures": ["BloomForCausalLM"]}', None),
        ('{"model_type": "gemma4", "architectures": ["Gemma4ForConditionalGeneration"]}', None),
        ('{"model_type": "llama"}', None),
    ],
)
def test_a_model_that_writes_no_text_is_refused_by_what_its_config_says(
    tmp_path: Path, config: str, told: str | None
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(config)
    (tmp_path / "m" / "model.safetensors").write_text("")
    found = locate.explain_name("m", tmp_path)
    assert (found is None) == (told is None)
    if found is not None:
        assert str(told) in found[0]
        assert found[1]


def test_a_file_that_is_no_gguf_is_said_to_be_none_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not weights")
    with pytest.raises(StepError, match=r"broken\.gguf: cannot be converted to safetensors"):
        locate.resolve("broken.gguf", tmp_path / "cache", tmp_path)
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_gguf_file_is_converted_once_and_loads_like_any_folder(smollm2_cache: Path) -> None:
    from transformers import AutoTokenizer

    [folder] = (smollm2_cache / "weights").iterdir()
    assert (folder / "model.safetensors").stat().st_size > 500_000_000
    made = folder.stat().st_mtime_ns
    assert locate.resolve(SMOLLM2, smollm2_cache, Path.cwd()) == str(folder)
    assert folder.stat().st_mtime_ns == made
    assert locate.explain_name(str(folder), Path.cwd()) is None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert shown.endswith("<|im_start|>user\nHi<|im_end|>\n")
    assert list((smollm2_cache / "weights").iterdir()) == [folder]


def test_two_adapters_are_the_same_whatever_order_their_configs_are_written_in(tmp_path: Path) -> None:
    hashes = []
    for name, modules, rank in (("a", ["q", "k"], 4), ("b", ["k", "q"], 4), ("c", ["k", "q"], 8)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        config = {"target_modules": modules, "base_model_name_or_path": f"/home/{name}/base", "r": rank}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        hashes.append(locate.hash_folder(folder, tmp_path / "cache"))
    assert hashes[0] == hashes[1] != hashes[2]
