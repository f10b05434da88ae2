"""Names that stand for a vendor's current models: `cheap` and `strong`, by the table in aliases.toml."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from blackbox_kd import paths

WORDS = ("cheap", "strong")
"""Names of models that stand for others."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor of the table.

    Args:
        name: as the table calls it; that of its provider, if it has one of its own.
        base_url: where its models are reached.
        key_env: variable that holds its key.
        cheap: a model for many rows.
        strong: a model where quality decides.
    """

    name: str
    base_url: str
    key_env: str
    cheap: str
    strong: str

    @property
    def host(self) -> str:
        """Where its key belongs: the host of its URL."""
        return urlsplit(self.base_url).hostname or ""

    def find_model(self, word: str) -> str:
        """The model that one of WORDS stands for."""
        return {"cheap": self.cheap, "strong": self.strong}[word]


@dataclass(frozen=True, slots=True)
class Alias:
    """A model that a recipe names by what it is good for.

    Args:
        vendor: whose model it is.
        word: what the recipe says.
        model: what that stands for.
    """

    vendor: str
    word: str
    model: str

    @property
    def key(self) -> str:
        """What a run's manifest notes it by."""
        return f"{self.vendor}:{self.word}"


@cache
def list_vendors() -> Mapping[str, Vendor]:
    """The vendors of the table by name."""
    return {name: Vendor(name, **entry) for name, entry in paths.read_table(__file__).items()}


def find_vendor_at(base_url: str) -> Vendor | None:
    """The vendor that a URL leads to."""
    place = _find_place(base_url)
    return next((vendor for vendor in list_vendors().values() if _find_place(vendor.base_url) == place), None)


def _find_place(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port
    except ValueError:  # no URL
        return None, None
