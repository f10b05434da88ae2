"""Where files lie that are not the user's recipe: bundled prompts and recipes, cache and settings."""

import functools
import os
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import Any

import blackbox_kd


def find_bundled(folder: str) -> Path:
    """Where the package keeps its `prompts`, `recipes` or `data`: inside the wheel, or beside it in a checkout."""
    package = Path(blackbox_kd.__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


@functools.cache
def list_modules(folder: str) -> tuple[str, ...]:
    """Names of the modules in a package's folder; those that begin with `_` are shared by the others."""
    return tuple(each.name for each in pkgutil.iter_modules([folder]) if each.name[0] != "_" and not each.ispkg)


def read_table(module: str) -> dict[str, Any]:
    """What stands in the .toml file beside a module, by the module's `__file__`."""
    return tomllib.loads(Path(module).with_suffix(".toml").read_text(encoding="utf-8"))


def read_patterns(module: str) -> dict[str, re.Pattern[str]]:
    """The compiled `[patterns]` of the .toml file beside a module.

    They begin with their flags, as in `(?ix)`, and may be lists of parts. `<NAME>` in one stands for an entry of
    `[words]`, of alternatives that several patterns share.
    """
    table = read_table(module)
    words: dict[str, str] = {}

    def fill(value: Any, between: str) -> str:
        text = value if isinstance(value, str) else between.join(value)
        for name, word in words.items():
            text = text.replace(f"<{name}>", word)
        return text

    for name, value in table.get("words", {}).items():
        words[name] = fill(value, "|")
    return {name: re.compile(fill(value, "")) for name, value in table["patterns"].items()}


def find_cache_folder() -> Path:
    """Where converted weights are kept; XDG_CACHE_HOME is honoured."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "blackbox-kd"


def find_config_folder() -> Path:
    """Where is kept what the user has agreed to; XDG_CONFIG_HOME is honoured."""
    root = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(root) / "blackbox-kd"
