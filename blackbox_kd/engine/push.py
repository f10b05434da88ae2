"""Publishes what a run has made: folders of trained models and the data set, each with its card."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from blackbox_kd.engine.versions import Versions
from blackbox_kd.errors import BlackboxError, UserError
from blackbox_kd.models.http.terms import NO_ADVICE
from blackbox_kd.recipe.push import PushConfig
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import carried, hub
from blackbox_kd.runs.delivery import FOLDER
from blackbox_kd.runs.hub import Upload
from blackbox_kd.runs.manifest import read_manifest
from blackbox_kd.schema import ModelRef


def describe_terms(recipe: Recipe) -> list[str]:
    """What terms say of the models that rows were learnt from, for whoever is about to publish."""
    told = [f"{name}: {text}" for name in sorted(recipe.learnt_from) for text in recipe.terms.get(name, ())]
    return [*told, f"read them before you publish ({NO_ADVICE})"] if told else []


def list_model(folder: Path, repository: str, *, public: bool) -> Upload:
    """The folder of a model as it is sent."""
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.endswith(".part")}
    return Upload(repository, "model", files, public)


def list_dataset(run: Path, repository: str, *, public: bool) -> Upload:
    """The data set of a run as it is sent: without the rows that its recipe starts from, exams among them.

    Raises:
        UserError: the run has none.
    """
    told = read_manifest(run).dataset
    if told is None:
        raise UserError(f"{run}: there is no data set to push", fix="run the recipe to its end")
    names = [name for name in told.list_files() if not name.startswith(f"{carried.INPUTS}/")]
    return Upload(repository, "dataset", {name: run / FOLDER / name for name in names}, public)


@dataclass(frozen=True, slots=True)
class Pushing:
    """What a run sends once it has come to its end.

    Args:
        config: the recipe's; None if the run sends nothing.
    """

    config: PushConfig | None

    @classmethod
    def of(cls, recipe: Recipe, parts: Mapping[str, object]) -> Self:
        """That of a recipe; nothing of a run on replies that are made up, or of a part of it: `{"--limit": 3}`."""
        is_part = recipe.scripted or any(value is not None for value in parts.values())
        return cls(None if is_part else recipe.head.push)

    def refuse_unready(self) -> None:
        """Refuses a run that could not send what it makes.

        Raises:
            SetupError: the hub's client or a token is missing.
        """
        if self.config is not None:
            hub.refuse_unready()

    def list_uploads(self, run: Path, versions: Versions) -> list[tuple[Upload, str]]:
        """What is sent of a run's folder, each with the command that sends it.

        Raises:
            UserError: the run has no data set.
            StepError: it has not trained such a model.
        """
        if self.config is None:
            return []
        found, public = [], self.config.public
        for name, repository in self.config.models.items():
            version = versions.find(versions.name_exactly(ModelRef(name)))
            upload = list_model(version.folder, repository, public=public)
            found.append((upload, ["--model", str(version.ref), "--push", repository]))
        if self.config.dataset:
            found.append(
                (list_dataset(run, self.config.dataset, public=public), ["--push-dataset", self.config.dataset])
            )
        flags = ["--public"] if public else []
        return [
            (upload, shlex.join(["blackbox-kd", "export", str(run), *options, *flags])) for upload, options in found
        ]

    def send(self, run: Path, versions: Versions, say: Callable[[str], None]) -> None:
        """Sends it, see `send`."""
        send(self.list_uploads(run, versions), say)


def send(uploads: Sequence[tuple[Upload, str]], say: Callable[[str], None]) -> None:
    """Sends one after the other.

    Args:
        uploads: each with the command that sends it.
        say: is told where each is.

    Raises:
        BlackboxError: the hub has refused one; the fix has the commands for it and those that are left.
    """
    for number, (upload, _) in enumerate(uploads):
        try:
            say(f"pushed: {hub.send(upload)}")
        except BlackboxError as error:
            again = dict.fromkeys(command for _, command in uploads[number:])
            raise type(error)(error.what, exists=error.exists, fix="\n".join([error.fix, *again])) from None
