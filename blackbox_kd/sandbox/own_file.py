"""Python files of a recipe's author, which are run as they are: only where the user has allowed code."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from blackbox_kd.errors import SetupError
from blackbox_kd.schema import digest


def find_function(file: Path, name: str, who: str) -> Callable[..., Any]:
    """A function of a file, which is run once for all its functions.

    Args:
        file: the file.
        name: of the function.
        who: names it, for messages.

    Raises:
        SetupError: the file cannot be loaded, or has no such function.
    """
    try:
        module = _load(file, file.stat().st_mtime_ns)
    except Exception as error:
        raise SetupError(f"{who}: {file} cannot be loaded: {error!r}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SetupError(f"{who}: {file} has no function {name!r}")
    return function  # type: ignore[no-any-return]


@functools.cache
def _load(file: Path, written: int) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"own_{digest(str(file), 8)}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
