"""What a user should know of a recipe that is not wrong: notes, and warnings."""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from blackbox_kd.errors import write_message
from blackbox_kd.printable import escape_line

Level = Literal["note", "warning"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know.

    Args:
        level: a `warning` is of what will go wrong, a `note` of what is to be heeded.
        line: 1-based line of the recipe file.
        path: where in the recipe, such as `models.teacher`.
        what: there is to know.
        fix: what can be done; empty if there is nothing to do.
    """

    level: Level
    line: int
    path: str
    what: str
    fix: str = ""

    def text(self, file: str) -> str:
        """The note as the lines that a user reads."""
        what = f"{file}:{self.line}: {self.level}: {self.path}: {self.what}"
        return write_message(escape_line(what), fix=escape_line(self.fix))


@dataclass(slots=True)
class Notes:
    """Collects notes, of a recipe that is wrong, too.

    Args:
        today: day on which a model is asked.
        found: notes in the order in which they were found.
        told: what the command line has changed without being asked to, in the order in which it was.
    """

    today: date = field(default_factory=date.today)
    found: list[Note] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def add(self, note: Note) -> None:
        """Adds a note, once."""
        if note not in self.found:
            self.found.append(note)

    def list_all(self) -> list[Note]:
        """All of them, in file order."""
        return sorted(self.found, key=lambda note: note.line)

    def list_warnings(self) -> list[Note]:
        """Those of what will go wrong."""
        return [note for note in self.list_all() if note.level == "warning"]
