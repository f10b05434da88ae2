"""What a recording has of a recipe already: it is kept where models have other names, or are sampled otherwise, by now.

Such a change makes every key another one, and no reply. Which request is the one of an earlier reply its messages say,
and which model of the recipe was asked; the first run shows how that request is written now, and with it the keys.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

from aiohttp import web

from blackbox_kd.ledger.ledger import compute_key
from blackbox_kd.recipe.spec import Recipe
from tests.promises.golden import replay
from tests.support.runs import rows_of

TEACHER = replay.HERE / "teacher.jsonl"
ROUNDS, ATTEMPTS, SAMPLES = 4, 10, 20
"""The most of each that a recording has."""
Asked = tuple[str, str]
"""The name of a model in the recipe, and the messages."""


class Earlier:
    """The replies of a recording, as a ledger would have them today, and models that say what is in none.

    Args:
        recording: its folder; None if nothing of it is to be kept.
        recipe: says which models are asked through an endpoint.
    """

    def __init__(self, recording: Path | None, recipe: Recipe) -> None:
        file = recording and recording / "replies.jsonl"
        self._replies = rows_of(file) if file is not None and file.exists() else []
        self._away = {name for name, model in recipe.models.items() if not model.local}
        self._wires: dict[Asked, dict[str, Any]] = {}

    def learn(self, replies: list[dict[str, Any]]) -> bool:
        """Notes how requests are written today; whether one of them was written otherwise before."""
        wires = {self._find_asked(reply): json.loads(reply["wire"]) for reply in replies if self._is_away(reply)}
        before = {self._find_asked(reply) for reply in self._replies if self._is_away(reply)}
        new = (wires.keys() - self._wires.keys()) & before
        self._wires |= wires
        return bool(new)

    def find_replies(self) -> list[dict[str, Any]]:
        """The replies under the keys of today; those of models in this process as they are."""
        found = [reply for reply in self._replies if not self._is_away(reply)]
        for reply in self._replies:
            wire = self._wires.get(self._find_asked(reply)) if self._is_away(reply) else None
            if wire is not None:
                key = compute_key(wire, **find_place(reply))
                found.append({**reply, "key": key, "wire": json.dumps(wire, ensure_ascii=False)})
        return found

    async def reply(self, request: web.BaseRequest) -> web.StreamResponse:
        """The reply of a real model to the question that the last message holds, or any that was recorded."""
        messages = (await request.json())["messages"]
        last = messages[-1]["content"]
        found = next((row for row in rows_of(TEACHER) if row["question"] in last), None)
        if found is None:
            asked = json.dumps(messages)
            body = next((each["body"] for each in self._replies if self._find_asked(each)[1] == asked), None)
            if body is None:
                return web.json_response({"error": {"message": f"no recorded reply to {last[:200]!r}"}}, status=400)
            return web.Response(text=body, content_type="application/json")
        message = {"role": "assistant", "content": found["response"]}
        usage = {"prompt_tokens": len(last.split()), "completion_tokens": found["completion_tokens"]}
        choice = {"index": 0, "message": message, "finish_reason": found["finish_reason"]}
        return web.json_response({"model": found["model"], "choices": [choice], "usage": usage})

    def _is_away(self, reply: dict[str, Any]) -> bool:
        return reply["model"] in self._away

    @staticmethod
    def _find_asked(reply: dict[str, Any]) -> Asked:
        return reply["model"], json.dumps(json.loads(reply["wire"]).get("body", {}).get("messages"))


def find_place(reply: dict[str, Any]) -> dict[str, Any]:
    """The row, sample, attempt and round of a recorded reply, of which its key was made."""
    wire, row_id = json.loads(reply["wire"]), reply["row_id"]
    for round, attempt, sample in product(range(ROUNDS), range(ATTEMPTS), range(SAMPLES)):
        place = {"row_id": row_id, "sample": sample, "attempt": attempt, "round": round}
        if compute_key(wire, **place) == reply["key"]:
            return place
    raise LookupError(f"{reply['key']}: no key of its request")
