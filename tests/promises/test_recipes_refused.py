"""Every bundled recipe makes the same rows where its teachers refuse a field that they did not refuse before.

The rows are those of the recordings, up to the first training; models behind an API are played by a server that looks
at the messages alone, and refuses `temperature`, `max_tokens` or the role `system`, as vendors do.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.recipe.spec import Recipe
from tests.promises.golden import replay
from tests.promises.golden.replay import RECORDINGS
from tests.support.fake_quirks import FORMS, refused
from tests.support.runs import rows_of

NO_ROLE = "Developer instruction is not enabled for this model"
LOCAL = {
    "difference_sampling",
    "first",
    "prompt_distill",
    "puzzle",
    "quickstart",
    "self_taught",
    "skd",
    "sparse_logits",
}
PAID = [recording for recording in RECORDINGS if recording.name not in LOCAL]


class Player:
    """The server; it runs while its context is open.

    Args:
        replies: of a recording; the first one to the same messages is said each time.
        refuses: a field, or `system`; nothing if empty.
    """

    def __init__(self, replies: list[dict[str, Any]], refuses: str = "") -> None:
        self.answered: Counter[bool] = Counter()
        self.fields: set[str] = set()
        self._refuses = refuses
        self._bodies: dict[str, str] = {}
        for reply in replies:
            messages = json.loads(reply["wire"]).get("body", {}).get("messages")
            self._bodies.setdefault(write_text(messages or []), reply["body"])

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        body = json.loads(await request.read())
        self.fields.update(body)
        if is_refused := self._finds_refused(body):
            answer = FORMS["parameter"](self._refuses) if self._refuses != "system" else refused(400, NO_ROLE)
            self.answered[not is_refused] += 1
            return web.json_response(answer[1], status=answer[0])
        self.answered[True] += 1
        return web.Response(text=self._bodies[write_text(body["messages"])], content_type="application/json")

    def _finds_refused(self, body: dict[str, Any]) -> bool:
        if self._refuses == "system":
            return any(message["role"] == "system" for message in body["messages"])
        return self._refuses in body


def write_text(messages: list[dict[str, str]]) -> str:
    """What messages say, whether or not the system message stands in the first question."""
    return "\n\n".join(message["content"] for message in messages)


def load(recording: Path, url: str, folds: bool) -> tuple[Recipe, set[str]]:
    """The recipe of a recording, with teachers of whom nothing is known; and their names."""
    plain = replay.load(recording)
    away = {name for name in replay.asked(plain, replay.how(recording).until) if not plain.models[name].local}
    fields = {"base_url": url, "model": "nobody-knows-{name}", "system": "fold" if folds else "role"}
    changes = [f"models.{n}.{field}={value.format(name=n)}" for n in away for field, value in fields.items()]
    return replay.load(recording, None, *changes), away


async def make_rows(recording: Path, folder: Path, refuses: str) -> tuple[dict[str, str], Player]:
    """SHA-256 of the tables of a run, and the server that it asked."""
    replies, told = rows_of(recording / "replies.jsonl"), replay.how(recording)
    async with Player(replies, refuses) as player:
        recipe, away = load(recording, player.url, folds=refuses == "system")
        folder.mkdir()
        ledger = folder / "ledger.sqlite"
        await asyncio.to_thread(replay.fill, ledger, [reply for reply in replies if reply["model"] not in away])
        options = RunOptions(
            cache=folder, run_dir=folder / "run", ledger=ledger, limit=told.limit, until=told.until, env=replay.ENV
        )
        job = Run(recipe, options)
        await job.execute()
        assert job.report["status"] == "complete"
    return replay.tables(folder / "run"), player


@pytest.mark.parametrize("recording", PAID, ids=lambda recording: recording.name)
async def test_a_recipe_makes_the_same_rows_where_its_teachers_refuse_a_field(recording: Path, tmp_path: Path) -> None:
    if missing := replay.missing_weights(replay.load(recording), replay.how(recording).until):
        pytest.skip(f"{recording.name}: {missing}")
    plain, server = await make_rows(recording, tmp_path / "plain", "")
    asked = server.answered[True]
    sent = server.fields
    assert asked
    assert not server.answered[False]
    assert "max_tokens" in sent
    for field in ("temperature", "max_tokens", "system"):
        tables, server = await make_rows(recording, tmp_path / field, field)
        assert tables == plain, field
        assert server.answered[True] == asked
        assert bool(server.answered[False]) == (field in sent), field


def test_the_recipes_without_a_teacher_behind_an_api_are_those_that_are_left_out() -> None:
    for recording in set(RECORDINGS) - set(PAID):
        assert all(model.local for model in replay.load(recording).models.values())
