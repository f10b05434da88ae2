"""What steps record for the report of a run, such as evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

Entry = dict[str, Any]
Place = tuple[int, ...]
"""Which step has recorded an entry, in which round: see `PlannedStep.place`."""


class Records:
    """The lists of the report that steps append to, each entry with the step that has recorded it."""

    def __init__(self) -> None:
        self._lists: dict[str, list[tuple[Place, Entry]]] = {}
        self._taken: set[Place] = set()

    def add(self, key: str, place: Place, entries: Sequence[Entry]) -> None:
        """Appends entries of a step to a list."""
        self._lists.setdefault(key, []).extend((place, entry) for entry in entries)

    def find(self, key: str, place: Place | None = None) -> list[Entry]:
        """The entries of a list, oldest first; those of a step alone if its place is given."""
        return [entry for at, entry in self._lists.get(key, []) if place is None or at == place]

    def take(self, others: "Records", place: Place) -> None:
        """Takes in what a step has recorded that another variant of the recipe has run for this one, too."""
        self._taken.add(place)
        for key in others._lists:
            self.add(key, place, others.find(key, place))

    def find_own(self) -> dict[str, list[Entry]]:
        """All lists by their keys, without what was taken in."""
        return {key: [entry for at, entry in kept if at not in self._taken] for key, kept in self._lists.items()}

    def find_all(self) -> dict[str, list[Entry]]:
        """All lists by their keys."""
        return {key: self.find(key) for key in self._lists}

    def count(self) -> dict[str, int]:
        """How many entries each list has."""
        return {key: len(entries) for key, entries in self._lists.items()}

    def find_since(self, counts: Mapping[str, int]) -> dict[str, list[Entry]]:
        """All lists without the entries that were there when they had so many."""
        return {key: entries[counts.get(key, 0) :] for key, entries in self.find_all().items()}
