"""blackbox-kd: distil a model you can only reach through an API into a small one you own.

From Python: `run`, `check`, `estimate` and `load`, see `blackbox_kd.api`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blackbox_kd.api import Result, check, estimate, load, run

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "check", "estimate", "load", "run"]


def __getattr__(name: str) -> Any:
    """What `api` has, loaded only when somebody asks for it: the command line and its help want to begin at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from blackbox_kd import api

    return getattr(api, name)
