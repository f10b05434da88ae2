"""The JSON Schema of a recipe, for editors that complete and check while one writes."""

from typing import Any

from blackbox_kd import answers, models
from blackbox_kd.recipe.loop_config import LoopConfig
from blackbox_kd.recipe.spec import RecipeFile
from blackbox_kd.sdk.fields import find_answers, find_earlier
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.sdk.step_config import StepConfig
from blackbox_kd.tables.sources import TableSource


def build_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of recipes with the package's own steps and providers."""
    definitions: dict[str, Any] = {}
    schema = _move_definitions(RecipeFile.model_json_schema(), definitions)
    registry = Registry()
    kinds = _list_kinds(definitions)
    steps = []
    for name in registry.names():
        step = registry.get(name)
        for form in step.all_forms:
            part = _move_definitions(form.model_json_schema(by_alias=True), definitions)
            part["required"] = [field for field in part["required"] if field not in find_earlier(form)]
            for field in find_answers(form):
                part["properties"][field]["anyOf"] = kinds
            part["properties"]["step"] = {"const": name, "description": step.doc.split("\n")[0]}
            steps.append(_define("_".join(filter(None, ("step", name, _name(form)))), part, definitions))
    providers = []
    for name in models.providers():
        part = _move_definitions(models.provider(name).Config.model_json_schema(by_alias=True), definitions)
        part["properties"]["provider"] = {"const": name}
        providers.append(_define(f"model_{name}", part, definitions))
    table = _define("table", _move_definitions(TableSource.model_json_schema(by_alias=True), definitions), definitions)
    loop = _move_definitions(LoopConfig.model_json_schema(by_alias=True), definitions)
    loop["properties"]["steps"]["items"] = {"oneOf": steps}
    only = {"type": "object", "properties": {"loop": _define("loop", loop, definitions)}, "additionalProperties": False}
    schema["properties"]["steps"]["items"] = {"oneOf": [*steps, {**only, "required": ["loop"]}]}
    schema["properties"]["models"]["additionalProperties"] = {"oneOf": providers}
    schema["properties"]["data"]["additionalProperties"] = table
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A blackbox-kd recipe",
        **{key: value for key, value in schema.items() if key != "title"},
        "$defs": definitions,
    }


def _list_kinds(definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The kinds of answers: their names, those with fields, and what plugins may bring."""
    fields = {}
    for name in answers.kinds():
        part = _move_definitions(answers.find(name).model_json_schema(by_alias=True), definitions)
        part["required"] = [each for each in part.get("required", []) if each not in answers.find(name).from_earlier]
        fields[name] = _define(f"answer_{name}", part, definitions)
    told = {"type": "object", "properties": fields, "minProperties": 1, "maxProperties": 1}
    return [{"enum": answers.kinds()}, told, {"type": "string"}, {"type": "null"}]


def _name(form: type[StepConfig]) -> str:
    """What sets the forms of a step apart; empty for a step with one."""
    return form.__name__ if form.told_by else ""


def _move_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema, its own definitions moved to the common ones, its empty `step` titles left out."""
    definitions.update(schema.pop("$defs", {}))
    return schema


def _define(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, str]:
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}
