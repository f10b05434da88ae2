"""Small files beside a recipe: what they hold takes the place of their names, so that a recipe stays whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blackbox_kd.errors import Problem, UserError, quote_cause
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.yaml_source import Path as Place
from blackbox_kd.recipe.yaml_source import Source, quote
from blackbox_kd.sdk.fields import FromFile

MOST_BYTES = 2**20
"""The largest file that is read."""


def take_in(
    fields: Mapping[str, FromFile],
    values: dict[str, Any],
    folder: Path,
    at: tuple[Place, str, Source],
    problems: list[Problem],
) -> set[str]:
    """Puts what files hold in the place of their names; returns the fields whose file cannot be read.

    Args:
        fields: those of a step whose value may stand in a file, and what the name of the file ends in.
        values: of the step, as the recipe has them; they are changed.
        folder: the recipe's.
        at: where the step stands, the label under which messages speak of it, and what knows the lines.
        problems: is added to.
    """
    path, label, source = at
    wrong = set()
    for name, mark in fields.items():
        value = values.get(name)
        inside = value if mark.of_texts and isinstance(value, dict) else {}
        named = {key: each["file"] for key, each in inside.items() if isinstance(each, dict) and [*each] == ["file"]}
        try:
            if isinstance(value, str) and value.endswith(mark.suffix) and not mark.of_texts:
                values[name] = read_json(folder, value) if mark.suffix else read_object(folder, value)
            elif named:
                values[name] = {**inside, **{key: {"text": read_text(folder, str(f))} for key, f in named.items()}}
        except UserError as error:
            wrong.add(name)
            message = f"{name}: {error.what}."
            problems.append(Problem(source.line((*path, name)), label, message, error.exists, error.fix))
    return wrong


def read_object(folder: Path, file: str) -> dict[str, Any]:
    """The JSON object in a file; arguments and errors as of `read_json`."""
    found = read_json(folder, file)
    if not isinstance(found, dict):
        fix = "name a .json file beside the recipe"
        raise UserError(f"{quote(file)} holds {quote(found)}, which is no object", fix=fix)
    return found


def read_json(folder: Path, file: str) -> Any:
    """What a JSON file holds.

    Args:
        folder: the recipe's; the file lies in it, as what it holds is sent away with prompts.
        file: its name, relative to the folder.

    Raises:
        UserError: there is no such file, or it holds no JSON.
    """
    text = read_text(folder, file, "name a .json file beside the recipe")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{quote(file)} is no JSON: {quote_cause(error)}", fix="mend the file") from error


def read_text(folder: Path, file: str, fix: str = "name a file beside the recipe") -> str:
    """The text of a file.

    Args:
        folder: the recipe's; the file lies in it.
        file: its name, relative to the folder.
        fix: what is done where there is none.

    Raises:
        UserError: there is no such file, it lies elsewhere, is too large or no UTF-8.
    """
    name = quote(file)
    places = [folder.resolve(), *([find_bundled("data").resolve()] if folder == find_bundled("recipes") else [])]
    try:
        place = (folder / file).resolve()
        if not any(place.is_relative_to(each) for each in places):
            raise UserError(f"{name} lies outside of the recipe's folder", fix="put the file beside the recipe")
        if not place.is_file():
            raise UserError(f"there is no file {name} beside the recipe", fix=fix)
        if (size := place.stat().st_size) > MOST_BYTES:
            raise UserError(
                f"{name} has {size:,} bytes, and at most {MOST_BYTES:,} are read", fix="name a smaller file"
            )
        return place.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{name} cannot be read: {quote_cause(error)}", fix=fix) from error
