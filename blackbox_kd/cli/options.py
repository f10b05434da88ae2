"""What several commands take: a recipe by its name, and the options of recipes and runs."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.output import ask, say
from blackbox_kd.paths import find_config_folder


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that read a recipe."""
    options = [
        click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the recipe."),
        click.option(
            "--model",
            "models",
            multiple=True,
            metavar="NAME=PROVIDER:MODEL",
            help="Another model in the place of one of the recipe's, such as judge=openai:strong.",
        ),
        click.option(
            "--teacher",
            metavar="PROVIDER:MODEL",
            help="The same for the model called teacher: anthropic:cheap, or scripted for a trial without a key.",
        ),
        click.option("--allow-code", is_flag=True, help="Let the recipe's plugins and functions run."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def script_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of commands that can be tried out with replies that are made up."""
    text = "Ask nobody: replies are made up in the form that each step reads. Works in scripted/, with a ledger there."
    return click.option("--scripted", is_flag=True, help=text)(command)


def load_named(recipe: str, *, notes: Any = None, env: Mapping[str, str] = os.environ, **how: Any) -> Any:
    """Reads and checks a recipe that a command names, with the options of `recipe_options`.

    Says on stderr what of the recipe the options have left out; other notes are the command's.

    Raises:
        UserError: see `load_recipe`.
    """
    from blackbox_kd.recipe.load import find_recipe, load_recipe
    from blackbox_kd.recipe.notes import Notes

    notes = Notes() if notes is None else notes
    found = load_recipe(find_recipe(recipe), env=env, notes=notes, **how)
    for line in notes.told:
        say(line, err=True)
    return found


def trust_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of commands that send keys."""
    text = "Agree that keys and files of the recipe are sent to HOST; remembered."
    return click.option("--trust", multiple=True, metavar="HOST", help=text)(command)


def say_where_keys_go(recipe: Any, env: Mapping[str, str]) -> None:
    """Says on stderr which keys and files a recipe sends to others than those whom they belong to."""
    from blackbox_kd.recipe import trust

    agreed = trust.find_agreed(find_config_folder(), env)
    for route in trust.find_routes(recipe, env):
        say(route.text() + ("" if agreed(route) else "; a run will want your agreement"), err=True)


def settle_trust(recipe: Any, env: Mapping[str, str], given: Sequence[str]) -> None:
    """Says where keys go, and lets a command go on only if the user has agreed to it or does so now.

    Raises:
        RecipeError: a key or a file would go where the user has not agreed to.
    """
    from blackbox_kd.recipe import trust

    for route in trust.find_routes(recipe, env):
        say(route.text(), err=True)
    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    trust.settle(recipe, env, find_config_folder(), given=given, ask=ask if at_terminal else None)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that speak of a run."""
    file = click.Path(path_type=Path)
    options = [
        click.option("--run-dir", type=file, help="The run's folder; runs/NAME if left out."),
        click.option("--ledger", type=file, help="The ledger of paid replies; runs/ledger.sqlite if left out."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help="At most so many rows of each table; a run works in trial/ then.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
