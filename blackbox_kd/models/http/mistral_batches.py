"""Mistral's batches: files and results are as OpenAI has them, jobs are its own, and each is for one model."""

from collections.abc import Callable, Mapping
from typing import Any

from blackbox_kd.errors import ServerFault
from blackbox_kd.models.http.batches import Batch
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.openai_batches import CLOCKS_DIFFER_S, ENDPOINT, MARK, OpenAIBatches

BATCH_LINES = 100_000
"""Requests of a job, and bytes of a file: https://docs.mistral.ai/resources/known-limitations."""
BATCH_BYTES = 512_000_000
HOURS = 24
"""What a job may take; the endpoint's own default."""
PAGE = 100
_STATUS = {
    "QUEUED": "validating",
    "RUNNING": "in_progress",
    "SUCCESS": "completed",
    "FAILED": "failed",
    "TIMEOUT_EXCEEDED": "expired",
    "CANCELLATION_REQUESTED": "cancelling",
    "CANCELLED": "cancelled",
}


class MistralBatches(OpenAIBatches):
    """Files and jobs for one model. For one event loop; nothing is sent or imported before the first call.

    Args:
        address: of the endpoint; its `timeout_s` is the longest silence.
        model: as the endpoint calls it.
        translate: makes the endpoint's body of one of chat completions.

    The methods raise a CallError by class, see `errors`.
    """

    most_lines = BATCH_LINES

    def __init__(self, address: Address, model: str, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(address, translate)
        self.most_bytes = BATCH_BYTES
        self._model = model

    def _make_line(self, line: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """A line without what is said once for the job."""
        return {"custom_id": line["custom_id"], "body": {name: body[name] for name in body if name != "model"}}

    async def create(self, file_id: str, mark: str) -> str:
        """Hands an uploaded file in as a job that carries `mark`; returns its id.

        Never sent a second time by itself: after a fault the job can be there all the same.
        """
        job = {
            "endpoint": ENDPOINT,
            "model": self._model,
            "input_files": [file_id],
            "metadata": {MARK: mark},
            "timeout_hours": HOURS,
        }
        with self._convert_errors("/batch/jobs"):
            return str(self._read(await self._connect().post("/batch/jobs", cast_to=object, body=job), "id"))

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """The id of the job that carries `mark`, or was made of the file, or None.

        Args:
            file_id: of its requests.
            mark: see `create`.
            since: Unix time before which it cannot have been created.
        """
        page = 0
        while True:
            query = {"page": page, "page_size": PAGE, "order_by": "-created"}
            with self._convert_errors("/batch/jobs"):
                listed = await self._connect().get("/batch/jobs", cast_to=object, options={"params": query})
            jobs = self._read(listed, "data") or []
            for job in jobs:
                if (job.get("metadata") or {}).get(MARK) == mark or file_id in (job.get("input_files") or ()):
                    return str(self._read(job, "id"))
                if self._read(job, "created_at") < since - CLOCKS_DIFFER_S:  # the newest come first
                    return None
            if len(jobs) < PAGE:
                return None
            page += 1

    async def look(self, batch_id: str) -> Batch:
        """How a job stands."""
        with self._convert_errors(f"/batch/jobs/{batch_id}"):
            job = await self._connect().get(f"/batch/jobs/{batch_id}", cast_to=object)
        said = str(self._read(job, "status"))
        status = _STATUS.get(said, said.lower())
        files = tuple(file for file in (job.get("output_file"), job.get("error_file")) if file)
        done = int(job.get("succeeded_requests") or 0)
        errors = [each for each in job.get("errors") or () if isinstance(each, Mapping)]
        return Batch(
            id=batch_id,
            status=status,
            files=files,
            # Of a job that was broken off, what was done by then may not be given out.
            done=done if files or status == "completed" else 0,
            errors=tuple(
                {"code": None, "message": self._hide(str(each.get("message"))), "param": None, "line": None}
                for each in errors
            ),
        )

    def _read(self, found: Any, name: str) -> Any:
        """A field of an answer; a gateway's page instead of the answer comes as a plain string."""
        if not isinstance(found, Mapping) or name not in found:
            raise ServerFault(f"{self.base_url}: what came has no {name!r}", kind="unreadable")
        return found[name]
