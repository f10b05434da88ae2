"""Mistral's batches: files and results are as OpenAI has them, jobs are its own, and each is for one model."""

from collections.abc import Callable, Mapping
from typing import Any

from blackbox_kd import json_text
from blackbox_kd.models.http.batches import CLOCKS_DIFFER_S, Batch, list_objects, quote_id
from blackbox_kd.models.http.client import Address
from blackbox_kd.models.http.openai_batches import ENDPOINT, MARK, OpenAIBatches

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
    """Files and jobs for one model, see `batches.BatchApi`.

    Args:
        address: of the endpoint.
        model: as the endpoint calls it.
        translate: makes the endpoint's body of one of chat completions.
    """

    most_lines = BATCH_LINES

    def __init__(self, address: Address, model: str, translate: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(address, translate)
        self.most_bytes = BATCH_BYTES
        self._model = model
        self._jobs = f"{self.base_url}/batch/jobs"

    def _make_line(self, line: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """A line without what is said once for the job."""
        return {"custom_id": line["custom_id"], "body": {name: body[name] for name in body if name != "model"}}

    async def create(self, file_id: str, mark: str) -> str:
        """See `BatchApi.create`."""
        job = {
            "endpoint": ENDPOINT,
            "model": self._model,
            "input_files": [file_id],
            "metadata": {MARK: mark},
            "timeout_hours": HOURS,
        }
        return self._read_text(await self._ask("POST", self._jobs, json_text.encode(job)), "id")

    async def find(self, file_id: str, mark: str, since: float) -> str | None:
        """See `BatchApi.find`."""
        page = 0
        while True:
            listed = await self._ask("GET", f"{self._jobs}?page={page}&page_size={PAGE}&order_by=-created")
            jobs = list_objects(listed.get("data"))
            for job in jobs:
                if (job.get("metadata") or {}).get(MARK) == mark or file_id in (job.get("input_files") or ()):
                    return self._read_text(job, "id")
                if (job.get("created_at") or 0) < since - CLOCKS_DIFFER_S:  # the newest come first
                    return None
            if len(jobs) < PAGE:
                return None
            page += 1

    async def look(self, batch_id: str) -> Batch:
        """See `BatchApi.look`."""
        job = await self._ask("GET", f"{self._jobs}/{quote_id(batch_id)}", tells_errors=True)
        said = self._read_text(job, "status")
        status = _STATUS.get(said, said.lower())
        files = tuple(file for file in (job.get("output_file"), job.get("error_file")) if file)
        return Batch(
            id=batch_id,
            status=status,
            files=files,
            # Of a job that was broken off, what was done by then may not be given out.
            done=int(job.get("succeeded_requests") or 0) if files or status == "completed" else 0,
            errors=tuple(
                self._read_error({"message": each.get("message")}) for each in list_objects(job.get("errors"))
            ),
        )
