"""Whom keys are sent to: a recipe names a variable and a URL, and its author may be a stranger.

Without a question a key goes to where it belongs: OPENAI_API_KEY to OpenAI, any key to the host of OPENAI_BASE_URL
and to this machine. To any other host it goes once the user has agreed to that pair of variable and host: with
`--trust HOST`, at the terminal, or for all variables with BLACKBOX_KD_TRUST=HOST,HOST. The first two are remembered.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from blackbox_kd import models
from blackbox_kd.errors import Problem, RecipeError, UserError
from blackbox_kd.models.http.chat import is_loopback
from blackbox_kd.recipe.spec import Recipe

OPENAI = ("OPENAI_API_KEY", "api.openai.com")
VARIABLE = "BLACKBOX_KD_TRUST"
FILE = "trusted.json"


@dataclass(frozen=True, slots=True)
class Route:
    """A key on its way out.

    Args:
        model: name of the model in the recipe.
        variable: the environment variable that holds the key.
        host: where it goes; `http://HOST` where others on the way can read it.
        is_open: whether it goes there only if the user agrees.
    """

    model: str
    variable: str
    host: str
    is_open: bool

    def text(self) -> str:
        """The line that a user reads."""
        unencrypted = " without encryption" if self.host.startswith("http://") else ""
        return f"models.{self.model}: the key in {self.variable} is sent to {self.host}{unencrypted}"


def host_of(url: str) -> str:
    """What a user agrees to: the host of a URL in ASCII, with the scheme where that is not https."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = (parts.hostname or "").encode("idna").decode()  # two hosts that look the same are not the same here
    except ValueError:  # no URL: no host is called so
        return url
    return host if parts.scheme == "https" else f"{parts.scheme}://{host}"


def routes(recipe: Recipe, env: Mapping[str, str]) -> list[Route]:
    """Keys that a recipe sends to others than those whom they belong to."""
    own = host_of(env["OPENAI_BASE_URL"]) if env.get("OPENAI_BASE_URL") else ""
    found = []
    for name, config in recipe.models.items():
        sent = config.key_goes_to(models.Setup(name, recipe.folder, Path(), env))
        if sent is None or is_loopback(sent[1]):
            continue
        variable, host = sent[0], host_of(sent[1])
        if (variable, host) not in (OPENAI, (OPENAI[0], own)):
            found.append(Route(name, variable, host, is_open=host != own))
    return found


def find_agreed(config: Path, env: Mapping[str, str]) -> Callable[[Route], bool]:
    """Tells of a route whether the user has agreed to it before.

    Args:
        config: the user's folder of settings.
        env: where BLACKBOX_KD_TRUST is looked up.

    Raises:
        UserError: the file of what was agreed to cannot be read.
    """
    pairs = _read_remembered(config / FILE)
    hosts = {host_of(host.strip()) for host in env.get(VARIABLE, "").split(",") if host.strip()}
    return lambda route: not route.is_open or route.host in hosts or (route.variable, route.host) in pairs


def settle(
    recipe: Recipe,
    env: Mapping[str, str],
    config: Path,
    *,
    given: Iterable[str] = (),
    ask: Callable[[str], bool] | None = None,
) -> None:
    """Lets a run begin only if the user agrees to where its keys go; what is agreed to is remembered.

    Args:
        recipe: the recipe.
        env: where OPENAI_BASE_URL and BLACKBOX_KD_TRUST are looked up.
        config: the user's folder of settings.
        given: hosts that the user has just agreed to.
        ask: asks the user; None where nobody can answer.

    Raises:
        RecipeError: a key would go where the user has not agreed to.
        UserError: what was agreed to cannot be read or written.
    """
    known, hosts = find_agreed(config, env), {host_of(host) for host in given}
    new: list[Route] = []
    problems = []
    for route in routes(recipe, env):
        if known(route):
            continue
        if route.host in hosts or (ask is not None and ask(f"Send the key in {route.variable} to {route.host}?")):
            new.append(route)
            continue
        fix = f"if you trust {route.host} with that key: --trust {route.host} (once), or {VARIABLE}={route.host} in CI"
        message = f"the key in {route.variable} would be sent to {route.host}, and you have not agreed to that."
        problems.append(Problem(recipe.source.line(("models", route.model)), f"models.{route.model}", message, "", fix))
    if new:
        _remember(config / FILE, {(route.variable, route.host) for route in new})
    if problems:
        raise RecipeError(recipe.file, problems)


def _read_remembered(file: Path) -> set[tuple[str, str]]:
    try:
        return {(str(pair["variable"]), str(pair["host"])) for pair in json.loads(file.read_text())["trusted"]}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{file}: cannot be read: {type(error).__name__}: {error}"
        raise UserError(message, fix="mend the file or remove it; you are asked again then") from error


def _remember(file: Path, pairs: set[tuple[str, str]]) -> None:
    """Adds to the file, which only its owner can read or change; a kill leaves the old one or the new one."""
    listed = [{"variable": variable, "host": host} for variable, host in sorted(_read_remembered(file) | pairs)]
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(json.dumps({"trusted": listed}, indent=1) + "\n")
        part.replace(file)
    except OSError as error:
        fix = f"make the folder writable, or export {VARIABLE}=HOST"
        raise UserError(f"{file}: cannot be written: {error.strerror}", fix=fix) from error
