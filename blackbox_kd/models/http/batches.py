"""How an endpoint takes requests by the file and answers them within a day: what calls need to know of it.

Each vendor has a module of its own.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blackbox_kd.errors import CallError

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Batch:
    """How a batch stands.

    Args:
        id: the endpoint's name for it.
        status: `validating`, `in_progress`, ... or one of ENDED.
        files: of results and of errors; those that there are.
        done: requests with a result.
        errors: why it was not begun: `code`, `message` and `param` of each, and the `line` of the file, from 1.
    """

    id: str
    status: str
    files: tuple[str, ...]
    done: int
    errors: tuple[Mapping[str, Any], ...]


class BatchApi(Protocol):
    """Files and batches of one endpoint. For one event loop; nothing is sent before the first call.

    The methods that ask the endpoint raise a CallError by class, see `errors`.
    """

    base_url: str
    """Batches that were handed in at another one are not looked for here."""
    most_lines: int
    """Requests that a file may hold."""
    most_bytes: int
    """Bytes that a file may have, as it is written for us: a line for each request, see `calls.batch.store`."""

    async def upload(self, path: Path) -> str:
        """Uploads a file of requests; returns what the endpoint calls it, or the path where `create` hands it in."""
        ...

    async def create(self, file_id: str, mark: str) -> str:
        """Hands an uploaded file in as a batch that carries `mark`; returns the batch's id.

        Never sent a second time by itself: after a fault the batch can be there all the same.
        """
        ...

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The id of the batch that carries `mark`, or was made of the file, or None.

        Args:
            file_id: of its requests.
            mark: see `create`.
            since: Unix time before which it cannot have been created.
        """
        ...

    async def look(self, batch_id: str) -> Batch:
        """How a batch stands."""
        ...

    def lines(self, file_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The lines of a file of results, as they arrive; each names its request by `custom_id`."""
        ...

    def outcome(self, line: Mapping[str, Any]) -> str | CallError:
        """What a line of results says: the raw body of a reply, or the error of its request."""
        ...

    def explain_unanswered(self, batch: Batch) -> CallError:
        """Why requests of a batch that has ended have no line among its results."""
        ...

    def explain_line(self, batch: Batch, number: int) -> CallError | None:
        """What is wrong with the line of a number, from 1, in the file of a batch that was not begun; None if nothing.

        The other lines are worth another try: in a file without those that are named.
        """
        ...

    async def close(self) -> None:
        """Closes the connections."""
        ...
