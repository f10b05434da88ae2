"""What a run carries so that it can be run again: its recipe, and beside it the prompts, the code and the small data.

    recipe.yaml     as it was run, its paths leading to the files beside it
    prompts/        every prompt, with what it includes, as its text was
    inputs/         the rows of each table to start from, as they were read, where they are few

What is too large is named by its path in a run's folder. In a data set, which is there to be published, no path of the
machine is written: the recipe says at its top how to point at what it lacks.
"""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from blackbox_kd import json_text
from blackbox_kd.errors import DataError
from blackbox_kd.models import WeightsConfig
from blackbox_kd.printable import escape_text
from blackbox_kd.privacy import link_or_copy, open_anew, write_whole
from blackbox_kd.recipe import yaml_source
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.yaml_source import parse_path
from blackbox_kd.schema import digest
from blackbox_kd.tables import readers, sources
from blackbox_kd.tables.bad_lines import BadLines

INPUTS = "inputs"
MOST_BYTES = 10_000_000
"""Of the rows of a table that are kept beside the recipe."""
WHENCE = ("path", "rows", "hub", "name", "split", "generator", "task", "size", "seed", "options")
"""Fields of a table to start from that say where it is."""
HOW = ("format", "chunk", "bad_lines")
"""Those that say how its files are read; rows that were kept are rows already."""


def read_and_keep(
    run: Path, recipe: Recipe, name: str, count: int | None, bad_lines: BadLines | None = None
) -> Iterator[dict[str, Any]]:
    """The first rows of a table to start from; all of its rows are kept in the run's folder if they are few.

    Args:
        run: the run's folder.
        recipe: what is run.
        name: of the table.
        count: how many rows are wanted; None for all. Of a table that is no file no more are fetched than that.
        bad_lines: is told how many lines of it were left out.
    """
    source, target = recipe.data[name], run / INPUTS / f"{name}.jsonl"
    found = sources.read(source, recipe.folder, bad_lines=bad_lines)
    if source.rows is not None:  # the recipe holds them
        yield from islice(found, count)
        return
    if source.path is not None and (recipe.folder / source.path).resolve() == target.resolve():
        yield from islice(found, count)  # it is the recipe of this folder that is run, and the rows are kept already
        return
    keeper = _Keeper(target)
    with closing(keeper.pass_on(found)) as rows:
        yield from islice(rows, count)
        with suppress(DataError):  # a row that is not wanted may be as it likes
            while source.path is not None and keeper.is_open and next(rows, None) is not None:
                pass


def keep(run: Path, recipe: Recipe, name: str) -> None:
    """Keeps the rows of a table that the run does not read, so that the whole recipe can be run from where it works.

    Those of other places than files are not fetched for it; what an earlier run has kept of them goes.
    """
    if recipe.data[name].path is None:
        (run / INPUTS / f"{name}.jsonl").unlink(missing_ok=True)
    else:
        with suppress(DataError):
            deque(read_and_keep(run, recipe, name, 0), maxlen=0)


def take_over(shard: Path, run: Path) -> None:
    """Takes over the rows of tables to start from that a shard has kept."""
    (run / INPUTS).mkdir(mode=0o700, exist_ok=True)
    for file in (shard / INPUTS).glob("*.jsonl"):
        link_or_copy(file, run / INPUTS / file.name)


def format_options(limit: int | None, until: str | None) -> str:
    """The options of the command line that decide what comes out."""
    given = {"--limit": limit, "--until": until}
    return " ".join(f"{name} {value}" for name, value in given.items() if value is not None)


class _Keeper:
    """Keeps the rows that pass, as long as they are few and whoever reads them from there finds the same."""

    def __init__(self, target: Path) -> None:
        self.is_open = True
        self._target = target
        self._part = target.with_name(f"{target.stem}.part.jsonl")
        self._sha, self._size = hashlib.sha256(), 0

    def pass_on(self, rows: Iterable[dict[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """The rows."""
        self._target.parent.mkdir(mode=0o700, exist_ok=True)
        is_whole = False
        try:
            with open_anew(self._part) as file:
                for row in rows:
                    if self.is_open:
                        self._take(row, file)
                    yield row
            is_whole = self.is_open and self._size > 0 and self._is_read_back()
        finally:
            if is_whole:
                self._part.replace(self._target)
            else:
                self._part.unlink()
                self._target.unlink(missing_ok=True)

    def _take(self, row: dict[str, Any], file: BinaryIO) -> None:
        line = json_text.encode(row)
        self._size += len(line) + 1
        self.is_open = self._size <= MOST_BYTES
        self._sha.update(digest(row).encode())
        file.write(line + b"\n")

    def _is_read_back(self) -> bool:
        """Whether a reader finds the same rows; of what other sources hold, JSON has no form for some (NaN)."""
        sha = hashlib.sha256()
        try:
            for row in readers.read_file(self._part):
                sha.update(digest(row).encode())
        except DataError:
            return False
        return sha.digest() == self._sha.digest()


@dataclass(slots=True)
class _Copy:
    """A copy of a recipe that is being made.

    Args:
        recipe: the recipe.
        run: the run's folder, with the tables that were kept.
        folder: where the copy goes.
        is_public: whether it is to hold no path of the machine.
    """

    recipe: Recipe
    run: Path
    folder: Path
    is_public: bool
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: dict[str, bytes | Path] = field(default_factory=dict)

    def make(self) -> None:
        """Fills `values`, `notes` and `files`."""
        self.values = deepcopy(self.recipe.source.values)
        if self.is_public:  # whoever runs it again has repositories of their own
            self.values.pop("push", None)
        self._place_prompts()
        for name in self.recipe.data:
            self._place_table(name)
        self._place_code()
        for name in self.recipe.models:
            self._place_model(name)

    def _place_prompts(self) -> None:
        renamed = {name: self._place_prompt(name) for name in self.recipe.prompts}
        for planned in self.recipe.steps:
            for mention in planned.references:
                if mention.kind == "prompt" and renamed.get(mention.value, mention.value) != mention.value:
                    self._replace(planned.at, mention.field, mention.value, renamed[mention.value])
            for at, file in planned.config.files().items():
                self._replace(planned.at, at, file, self._place_beside(file))

    def _place_prompt(self, name: str) -> str:
        """Puts a prompt among the files; returns what it is called there."""
        prompt = self.recipe.prompts[name]
        end = "" if name.endswith(".jinja") else ".jinja"
        number = 0 if _stays_inside(name) else 1
        while True:
            called = f"own{number}/{PurePosixPath(name).name}" if number else name
            beside = PurePosixPath(f"prompts/{called}").parent
            wanted = {f"prompts/{called}{end}": prompt.text.encode()}
            wanted |= {str(beside / inner): text.encode() for inner, text in prompt.included.items()}
            if all(self.files.get(place, text) == text for place, text in wanted.items()):
                self.files |= wanted
                return called
            number += 1

    def _replace(self, at: yaml_source.Path, name: str, old: str, new: str) -> None:
        """Writes another value into a field of a step, if the recipe has it there and it was not left out."""
        here: Any = self.values
        for part in at:
            here = here[part]
        try:
            *path, last = parse_path(name, here)
            for part in path:
                here = here[part]
            if here[last] == old:
                here[last] = new
        except (ValueError, KeyError, IndexError, TypeError):
            return

    def _place_table(self, name: str) -> None:
        source, place = self.recipe.data[name], f"{INPUTS}/{name}.jsonl"
        is_raw = self.is_public and any(planned.config.redacts() for planned in self.recipe.steps)
        if source.rows is not None or (is_raw and source.path is None):
            return
        if is_raw:
            self.notes.append(f"data.{name} may hold the personal data that is taken out: --set data.{name}.path=FILE")
        elif (kept := self.run / place).exists():
            self.files[place] = kept
            if source.path is None:
                self.notes.append(f"data.{name} holds rows of {source.hub or source.generator}, as they were read")
        elif source.path is None:
            return
        elif self.is_public:
            place = f"{INPUTS}/{PurePosixPath(source.path).name}"
            self.notes.append(f"data.{name} is too large to stand beside this file: --set data.{name}.path=FILE")
        else:
            place = str(self.recipe.folder / Path(source.path).expanduser())
        entry, gone = self.values["data"][name], WHENCE + (HOW if place in self.files else ())
        self.values["data"][name] = {"path": place} | {k: v for k, v in entry.items() if k not in gone}

    def _place_code(self) -> None:
        if plugins := self.values.get("plugins"):
            plugins[:] = map(self._place_beside, plugins)
        for name, model in self.recipe.models.items():
            entry = self.values["models"][name]
            for name_of_field, file in model.find_files().items():
                entry[name_of_field] = self._place_beside(file) + entry[name_of_field].removeprefix(file)

    def _place_beside(self, file: str) -> str:
        """Puts a file that the recipe names among those of the copy; returns its place there."""
        place = file if _stays_inside(file) else f"files/{PurePosixPath(file).name}"
        self.files[place] = (self.recipe.folder / file).read_bytes()
        return place

    def _place_model(self, name: str) -> None:
        """Weights are too large to stand beside a recipe: in a run's folder they are named by where they are."""
        model, entry = self.recipe.models[name], self.values["models"][name]
        if not isinstance(model, WeightsConfig):
            return
        for key, place in (("model", model.model), ("adapter", model.adapter)):
            if place is None or not (self.recipe.folder / place).exists():
                continue
            if self.is_public:
                entry[key] = f"./{Path(place).name}"
                self.notes.append(f"models.{name}.{key} is a place of its maker's: --set models.{name}.{key}=FOLDER")
            else:
                entry[key] = str((self.recipe.folder / place).absolute())


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and not name.startswith("~")


def write(recipe: Recipe, run: Path, folder: Path, options: str = "", *, is_public: bool = False) -> list[str]:
    """Writes a recipe as it was run, overrides applied, with all that it needs beside it where that is small.

    Args:
        recipe: the recipe.
        run: the run's folder, with the tables that were kept.
        folder: where the copy goes.
        options: of the command that ran it, such as `--limit 3`.
        is_public: whether it is to hold no path of the machine.

    Returns:
        The files beside the recipe, relative to `folder`.
    """
    copy = _Copy(recipe, run, folder, is_public)
    copy.make()
    for place, content in copy.files.items():
        target = folder / place
        for parent in reversed(target.relative_to(folder).parents):
            (folder / parent).mkdir(mode=0o700, exist_ok=True)
        if isinstance(content, bytes):
            _write_bytes(target, content)
        elif content != target:
            link_or_copy(content, target)
    run_with = f"; run it with {options} to make the same" if options else ""
    head = [f"{Path(recipe.file).name}, as it was run{run_with}", *copy.notes]
    comment = "".join(f"# {escape_text(' '.join(line.split()))}\n" for line in head)
    write_whole(folder / "recipe.yaml", comment + yaml_source.dump(copy.values))
    return [*copy.files, "recipe.yaml"]


def _write_bytes(target: Path, content: bytes) -> None:
    part = target.with_name(f"{target.name}.part")
    with open_anew(part) as file:
        file.write(content)
    part.replace(target)
