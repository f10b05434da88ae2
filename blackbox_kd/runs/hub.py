"""Sends files to the Hub of Hugging Face with its own client, for nobody else to see unless it is said otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from blackbox_kd.errors import BlackboxError, SetupError, StepError, UserError, quote_cause
from blackbox_kd.privacy import hide_key, switch_off_telemetry

LOG_IN = (
    "export HF_TOKEN=TOKEN, one that may write (its settings are at huggingface.co/settings/tokens), or hf auth login"
)
LATER = "push it again later"
STATUSES: Mapping[int, tuple[type[BlackboxError], str, str]] = {
    401: (SetupError, "the hub does not know the token", LOG_IN),
    403: (SetupError, "the token may not write there", "take a token that may write for that owner, or another owner"),
    404: (
        SetupError,
        "the hub has no such owner or repository, or hides it",
        "correct OWNER/NAME, or take another token",
    ),
    409: (StepError, "somebody else is changing it", LATER),
}
"""What an answer of the hub means, and what is done about it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent.

    Args:
        repository: `OWNER/NAME`.
        kind: of the repository.
        files: by the names that they get there.
        public: whether everybody may see it.
    """

    repository: str
    kind: Literal["model", "dataset"]
    files: Mapping[str, Path]
    public: bool = False


def refuse_unready() -> str:
    """The user's token; nothing is asked.

    Raises:
        SetupError: the client or the token is missing.
    """
    if find_spec("huggingface_hub") is None:
        raise SetupError(
            "push: needs a package that is not installed: huggingface_hub", fix="pip install 'blackbox-kd[hub]'"
        )
    switch_off_telemetry()
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise SetupError("push: HF_HUB_OFFLINE says that the hub must not be asked", fix="unset HF_HUB_OFFLINE")
    token = get_token()
    if token is None:
        raise SetupError("push: there is no token for the hub", fix=LOG_IN)
    return str(token)


def send(upload: Upload) -> str:
    """Sends files in one commit, those that have changed; returns what to tell of it.

    Raises:
        SetupError, StepError: the hub has refused it, or cannot be reached; all files are where they were.
        UserError: the repository shows everybody what is meant for nobody else.
    """
    token = refuse_unready()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        before = _open_repository(api, upload)
        after = _commit(api, upload)
    except BlackboxError:
        raise
    except HfHubHTTPError as error:
        raise _explain(error, upload.repository, token) from None
    except Exception as error:  # what HTTP libraries raise, and the client around them, is of many kinds
        what = f"push: {upload.repository}: it was not sent: {hide_key(quote_cause(error), token)}"
        raise StepError(what, fix=LATER) from None
    prefix = "datasets/" if upload.kind == "dataset" else ""
    seen_by = "public" if upload.public else "private"
    return f"{api.endpoint}/{prefix}{upload.repository} ({'nothing has changed' if before == after else seen_by})"


def _open_repository(api: Any, upload: Upload) -> str | None:
    """The commit that a repository is at; one that is not there is made."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(upload.repository, repo_type=upload.kind)
    except RepositoryNotFoundError:
        api.create_repo(upload.repository, repo_type=upload.kind, private=not upload.public)
        return None
    if not upload.public and not found.private:
        raise UserError(
            f"push: {upload.repository} is public, and nothing says that this may be",
            fix="push it with --public (in a recipe public: true), or to another repository",
        )
    return str(found.sha)


def _commit(api: Any, upload: Upload) -> str:
    from huggingface_hub import CommitOperationAdd

    adds = [CommitOperationAdd(name, str(path)) for name, path in upload.files.items()]
    made = api.create_commit(upload.repository, adds, commit_message="blackbox-kd", repo_type=upload.kind)
    return str(made.oid)


def _explain(error: Any, repository: str, token: str) -> BlackboxError:
    status = error.response.status_code
    kind, what, fix = STATUSES.get(status, (StepError, f"the hub answers with status {status}", LATER))
    said = hide_key(" ".join((error.server_message or "").split()), token)
    return kind(
        f"push: {repository}: {what} ({status})" if status in STATUSES else f"push: {repository}: {what}",
        exists=said and f"the hub says: {said}",
        fix=fix,
    )
