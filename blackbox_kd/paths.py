"""Where files lie that are not the user's recipe: bundled prompts and recipes, cache and settings."""

import os
from pathlib import Path

import blackbox_kd


def find_bundled(folder: str) -> Path:
    """Where the package keeps its `prompts`, `recipes` or `data`: inside the wheel, or beside it in a checkout."""
    package = Path(blackbox_kd.__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def find_cache_folder() -> Path:
    """Where converted weights are kept; XDG_CACHE_HOME is honoured."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "blackbox-kd"


def find_config_folder() -> Path:
    """Where is kept what the user has agreed to; XDG_CONFIG_HOME is honoured."""
    root = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(root) / "blackbox-kd"
