"""Kinds of answers as steps name them, made whole: with what stands in files, and what earlier steps have said."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from blackbox_kd import answers
from blackbox_kd.errors import Problem, UserError
from blackbox_kd.recipe import field_types
from blackbox_kd.recipe.beside import read_object
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.recipe.validation import validate
from blackbox_kd.recipe.yaml_source import Path, Source


@dataclass(frozen=True, slots=True)
class AnswerKinds:
    """The kinds of answers of a step.

    Args:
        recipe: that it is of.
        at: where the step stands, the label under which messages speak of it, and what knows the lines.
        find_earlier: the value of a field of the nearest earlier step that has one, and whether that step is wrong.
        problems: is added to.
    """

    recipe: Recipe
    at: tuple[Path, str, Source]
    find_earlier: Callable[[str], tuple[Any, bool]]
    problems: list[Problem]

    def complete(self, keys: list[str], values: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        """The fields of a step with whole kinds of answers, without those that are wrong; and these.

        Args:
            keys: fields that name a kind of answer.
            values: the fields as the recipe has them.
        """
        found, wrong = dict(values), set[str]()
        for key in keys:
            named = values.get(key)
            name, told = next(iter(named.items())) if isinstance(named, dict) and len(named) == 1 else (named, {})
            if not isinstance(name, str) or name not in self.recipe.registry.answers() or not isinstance(told, dict):
                continue
            fields = self._complete_fields(key, name, told)
            if fields is None:
                del found[key]
                wrong.add(key)
            else:
                found[key] = {name: fields} if fields else name
        return found, wrong

    def _complete_fields(self, key: str, name: str, told: dict[str, Any]) -> dict[str, Any] | None:
        """What a recipe says of a kind, and what it need not say again; None if that is wrong."""
        kind, fields = answers.find(name), dict(told)
        path, label, source = self.at
        for each in kind.from_file:
            if isinstance(file := fields.get(each), str):
                try:
                    told[each] = fields[each] = read_object(self.recipe.folder, file)
                except UserError as error:
                    self._add((*path, key, name, each), f"{each}: {error.what}.", error.exists, error.fix)
                    return None
        for each in kind.beside:
            if isinstance(file := fields.get(each), str):
                fields[each] = str((self.recipe.folder / file).resolve())
        for each in kind.from_earlier:
            if each in fields:
                continue
            value, is_wrong = self.find_earlier(each)
            if is_wrong:
                return None
            spot = field_types.find_spot(kind, [each])
            if value is not None:
                fields[each] = value
            elif spot.default is PydanticUndefined and fields.keys() <= {*field_types.list_fields(kind)}:
                what = f"answer: {name} needs {each}:, and no earlier step says any."
                fix = f"write {key}: {{{name}: {{{each}: {field_types.write_example(spot, None)}}}}}"
                self._add((*path, key), what, spot.about, fix)
                return None
        at = (*path, key, name)
        return fields if validate(kind, fields, at, f"{label}: {key}: {name}", source, self.problems) else None

    def _add(self, path: Path, message: str, expected: str, fix: str) -> None:
        _, label, source = self.at
        self.problems.append(Problem(source.line(path), label, message, expected, fix))
