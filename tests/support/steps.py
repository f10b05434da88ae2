"""Configs of steps for tests, made of fields as a recipe writes them."""

from typing import Any

from blackbox_kd.errors import Problem
from blackbox_kd.recipe.forms import StepEntry
from blackbox_kd.recipe.yaml_source import Source
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.sdk.step_config import StepConfig


def read_step(step: str, fields: dict[str, Any]) -> tuple[StepConfig | None, list[Problem]]:
    """The config of a step, and what is wrong with its fields."""
    problems: list[Problem] = []
    values = {"step": step, **fields}
    source = Source(values={"steps": [values]})
    entry = StepEntry(values, ("steps", 0), f"steps[0] ({step})", source, problems)
    return entry.read(Registry().get(step).all_forms, ()), problems


def config_of(step: str, fields: dict[str, Any]) -> Any:
    """The config of a step whose fields are right."""
    config, problems = read_step(step, fields)
    assert not problems, problems
    return config


def messages_of(step: str, fields: dict[str, Any]) -> list[str]:
    """What is wrong with the fields of a step, and between them, each with its fix."""
    config, problems = read_step(step, fields)
    between = [(message, fix) for _, message, fix in config.problems()] if config is not None else []
    return [f"{what}; {fix}" for what, fix in [*((each.message, each.fix) for each in problems), *between]]
