"""Whom keys and files are sent to: a recipe names variables, files and URLs, and its author may be a stranger.

Without a question a key goes to where it belongs: OPENAI_API_KEY to OpenAI and those of other vendors to them, any key
to the hosts of OPENAI_BASE_URL and AZURE_OPENAI_ENDPOINT and to this machine. So do rows of files that lie in the
recipe's own folder, or go to a vendor that is known. Anywhere else they go once the user has agreed to that pair of
variable, or file, and host: with `--trust HOST`, at the terminal, or for all with BLACKBOX_KD_TRUST=HOST,HOST. The
first two are remembered. Variables whose values go into headers and URLs are keys, too.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from blackbox_kd import models
from blackbox_kd.errors import Problem, RecipeError, UserError
from blackbox_kd.models.http.aliases import list_vendors
from blackbox_kd.models.http.connection import is_loopback
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.tables.files import find_files

VENDORS_KEYS = {(vendor.key_env, vendor.host) for vendor in list_vendors().values()}
"""Keys and the hosts of the vendors whose they are."""
ENDPOINTS = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT")
"""Variables with which users name their own endpoints."""
OWN_KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
"""Keys that are theirs."""
_VENDORS = """
api.openai.com api.anthropic.com generativelanguage.googleapis.com openrouter.ai api.mistral.ai api.deepseek.com
api.together.xyz api.together.ai api.fireworks.ai api.groq.com api.x.ai api.cerebras.ai api.cohere.com
router.huggingface.co integrate.api.nvidia.com api.deepinfra.com dashscope.aliyuncs.com api.moonshot.ai api.z.ai
"""
VENDORS = frozenset(_VENDORS.split())
"""Hosts that are asked by the user's own account with them: a stranger sees nothing of what they are sent."""
VARIABLE = "BLACKBOX_KD_TRUST"
FILE = "trusted.json"


@dataclass(frozen=True, slots=True)
class Route:
    """A key, or the rows of a file, on their way out.

    Args:
        model: name of the model in the recipe.
        kind: what `name` names.
        name: the environment variable that holds the key, or the file.
        host: where it goes; `http://HOST` where others on the way can read it.
        is_open: whether it goes there only if the user agrees.
    """

    model: str
    kind: Literal["variable", "file"]
    name: str
    host: str
    is_open: bool

    @property
    def what(self) -> str:
        """What is sent, in words."""
        return f"the key in {self.name}" if self.kind == "variable" else f"rows of {self.name}"

    def text(self) -> str:
        """The line that a user reads."""
        unencrypted = " without encryption" if self.host.startswith("http://") else ""
        verb = "is" if self.kind == "variable" else "are"
        return f"models.{self.model}: {self.what} {verb} sent to {self.host}{unencrypted}"

    def refusal(self) -> tuple[str, str]:
        """What is wrong as long as the user has not agreed, and the fix."""
        outside = ", outside of the recipe's folder," if self.kind == "file" else ""
        message = f"{self.what}{outside} would be sent to {self.host}, and you have not agreed to that."
        it = "that key" if self.kind == "variable" else "it"
        fix = f"if you trust {self.host} with {it}: --trust {self.host} (once), or {VARIABLE}={self.host} in CI"
        return message, fix


def host_of(url: str) -> str:
    """What a user agrees to: the host of a URL in ASCII, with the scheme where that is not https."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host = (parts.hostname or "").encode("idna").decode()  # two hosts that look the same are not the same here
    except ValueError:  # no URL: no host is called so
        return url
    return host if parts.scheme == "https" else f"{parts.scheme}://{host}"


def find_routes(recipe: Recipe, env: Mapping[str, str]) -> list[Route]:
    """Keys and files that a recipe sends to others than those whom they belong to."""
    own = {host_of(env[name]) for name in ENDPOINTS if env.get(name)}
    files = list(_files_elsewhere(recipe))
    found = []
    for name, config in recipe.models.items():
        for url, variable, field in config.routes(models.Setup(name, recipe.folder, Path(), env)):
            if is_loopback(url):
                continue
            host = host_of(url)
            if variable is not None and not _belongs(variable, host, own):
                found.append(Route(name, "variable", variable, host, is_open=host not in own))
            if host not in VENDORS | own and not _is_given(recipe, "models", name, field):
                found += [Route(name, "file", file, host, is_open=True) for file in files]
    return list(dict.fromkeys(found))


def _belongs(variable: str, host: str, own: Collection[str]) -> bool:
    """Whether a key goes to where it belongs."""
    return (variable, host) in VENDORS_KEYS or (variable in OWN_KEYS and host in own)


def _files_elsewhere(recipe: Recipe) -> Iterator[str]:
    """Files of data that lie outside of the recipe's folder, and that the user has not named himself."""
    places = [recipe.folder.resolve()]
    places += [find_bundled("data").resolve()] if places[0] == find_bundled("recipes").resolve() else []
    for name, table in recipe.data.items():
        if table.path is None or _is_given(recipe, "data", name, "path"):
            continue
        found = [path.resolve() for path in find_files(table.path, recipe.folder)]
        if any(not any(path.is_relative_to(place) for place in places) for path in found):
            yield os.path.normpath(recipe.folder / Path(table.path).expanduser())


def _is_given(recipe: Recipe, *path: str) -> bool:
    """Whether the user has set a field by hand, with `--set`."""
    return any(path[:length] in recipe.source.overrides for length in range(1, len(path) + 1))


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
    return lambda route: not route.is_open or route.host in hosts or (route.kind, route.name, route.host) in pairs


def settle(
    recipe: Recipe,
    env: Mapping[str, str],
    config: Path,
    *,
    given: Iterable[str] = (),
    ask: Callable[[str], bool] | None = None,
) -> None:
    """Lets a run begin only if the user agrees to where its keys and files go; what is agreed to is remembered.

    Args:
        recipe: the recipe.
        env: where OPENAI_BASE_URL and BLACKBOX_KD_TRUST are looked up.
        config: the user's folder of settings.
        given: hosts that the user has just agreed to.
        ask: asks the user; None where nobody can answer.

    Raises:
        RecipeError: a key or a file would go where the user has not agreed to.
        UserError: what was agreed to cannot be read or written.
    """
    known, hosts = find_agreed(config, env), {host_of(host) for host in given}
    new: list[Route] = []
    problems = []
    for route in find_routes(recipe, env):
        if known(route):
            continue
        if route.host in hosts or (ask is not None and ask(f"Send {route.what} to {route.host}?")):
            new.append(route)
            continue
        message, fix = route.refusal()
        problems.append(Problem(recipe.source.line(("models", route.model)), f"models.{route.model}", message, "", fix))
    if new:
        _remember(config / FILE, {(route.kind, route.name, route.host) for route in new})
    if problems:
        raise RecipeError(recipe.file, problems)


Agreed = set[tuple[str, str, str]]
"""Kinds, names and hosts of routes."""


def _read_remembered(file: Path) -> Agreed:
    try:
        listed = json.loads(file.read_text())["trusted"]
        kinds = ["file" if "file" in pair else "variable" for pair in listed]
        return {(kind, str(pair[kind]), str(pair["host"])) for kind, pair in zip(kinds, listed, strict=True)}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{file}: cannot be read: {type(error).__name__}: {error}"
        raise UserError(message, fix="mend the file or remove it; you are asked again then") from error


def _remember(file: Path, new: Agreed) -> None:
    """Adds to the file, which only its owner can read or change; a kill leaves the old one or the new one."""
    listed = [{kind: name, "host": host} for kind, name, host in sorted(_read_remembered(file) | new)]
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
