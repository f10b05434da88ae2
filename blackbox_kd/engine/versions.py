"""The versions of models that training makes, and which of them a bare name means."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_kd.errors import StepError
from blackbox_kd.schema import BASE, ModelRef
from blackbox_kd.tables.stored import StoredTable


@dataclass(frozen=True, slots=True)
class Version:
    """One training of a model.

    Args:
        ref: the version, such as `student@2`.
        folder: its adapter or its weights.
        source: the table that it was trained on; None if its step reads several.
    """

    ref: ModelRef
    folder: Path
    source: StoredTable | None = None


class Versions:
    """All trainings of a run, in order. What else speaks of a version asks here."""

    def __init__(self) -> None:
        self._all: list[Version] = []
        self._chosen: dict[str, int] = {}
        self._exact: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Version]:
        return iter(self._all)

    def add(self, name: str, folder: Path, source: StoredTable | None = None) -> Version:
        """Notes the next version of a model; it is the latest one, and what the bare name means, from now on."""
        version = Version(self.name_next(name), folder, source)
        self._all.append(version)
        self._chosen.pop(name, None)
        self._exact.clear()
        return version

    def name_next(self, name: str) -> ModelRef:
        """What the next version of a model is called."""
        return ModelRef(name, str(self._count(name) + 1))

    def list_since(self, count: int) -> list[Version]:
        """The versions but the first `count`."""
        return self._all[count:]

    def restore(self, version: str) -> None:
        """Makes an earlier version, such as `student@1` or `student@base`, the one that the bare name means."""
        ref = ModelRef.parse(version)
        self._chosen[ref.name] = 0 if ref.version in ("", BASE) else int(ref.version)
        self._exact.clear()

    def complete(self, name: str) -> str:
        """A name with its version, see `name_exactly`; it is asked for by every call."""
        if name not in self._exact:
            self._exact[name] = str(self.name_exactly(ModelRef.parse(name)))
        return self._exact[name]

    def name_exactly(self, ref: ModelRef) -> ModelRef:
        """A model with its version: `student` after two trainings is `student@2`; `teacher` stays `teacher`."""
        trained = self._count(ref.name)
        if not trained and ref.version in ("", BASE):
            return ModelRef(ref.name)
        return ref if ref.version else replace(ref, version=str(self._chosen.get(ref.name, trained) or BASE))

    def find(self, ref: ModelRef) -> Version:
        """A version.

        Raises:
            StepError: no training has made it yet.
        """
        found = next((version for version in self._all if version.ref == ref), None)
        if found is None:
            raise StepError(f"model {str(ref)!r}: only {self._count(ref.name)} versions have been trained so far")
        return found

    def list_sources(self) -> dict[str, StoredTable]:
        """The table that each version was trained on, by the version."""
        return {str(version.ref): version.source for version in self._all if version.source is not None}

    def _count(self, name: str) -> int:
        return sum(version.ref.name == name for version in self._all)
