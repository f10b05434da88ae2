"""Publishes what a run has made: folders of trained models and the data set, each with its card."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blackbox_kd.engine.versions import Version
from blackbox_kd.errors import BlackboxError, UserError
from blackbox_kd.models.http.terms import NO_ADVICE
from blackbox_kd.recipe.push import PushConfig
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs import carried, hub
from blackbox_kd.runs.delivery import FOLDER
from blackbox_kd.runs.hub import Upload
from blackbox_kd.runs.manifest import read_manifest


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


def list_uploads(push: PushConfig, run: Path, models: Mapping[str, Version]) -> list[tuple[Upload, str]]:
    """What a recipe says is to be sent, each with the command that sends it.

    Args:
        push: the recipe's.
        run: the run's folder.
        models: the version of each model that is sent.
    """
    found = []
    for name, repository in push.models.items():
        upload = list_model(models[name].folder, repository, public=push.public)
        found.append((upload, ["--model", str(models[name].ref), "--push", repository]))
    if push.dataset:
        found.append((list_dataset(run, push.dataset, public=push.public), ["--push-dataset", push.dataset]))
    flags = ["--public"] if push.public else []
    return [(upload, shlex.join(["blackbox-kd", "export", str(run), *options, *flags])) for upload, options in found]


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
