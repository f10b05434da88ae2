"""What a user gets of an endpoint with odd manners: rows, exit status, message, and what is booked.

Six questions are asked of a model at 1 and 10 dollars for a million tokens; a reply has 40 and 30 of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BlackboxError
from blackbox_kd.recipe.load import load_recipe
from tests.support.fake_quirks import GOOD, HALF, QuirkyServer
from tests.support.runs import QUESTIONS, rows_of, write_rows

REPLY = 340e-6
"""What a reply costs."""


@dataclass(frozen=True)
class Outcome:
    """What a run ends in.

    Args:
        rows: rows that it keeps.
        status: of the process.
        says: what the error or the report says.
        booked: dollars that its replies cost.
        failed: kind of the errors of the rows that failed.
        unknown: replies whose cost is not known.
        text: of a row's reply.
        doubtful: dollars that calls of unknown cost can have cost at most, at least so many.
    """

    rows: int
    status: int
    says: str
    booked: float
    failed: str = ""
    unknown: int = 0
    text: str = GOOD
    doubtful: float = 0.0


FINE = Outcome(6, 0, "The run is complete: 6 rows", 6 * REPLY)
CUT = Outcome(0, 1, "the reply was cut off after 30 tokens", 12 * REPLY, "truncated")
WITHHELD = Outcome(0, 1, "there is no reply", 18 * REPLY, "refused")
CATEGORIES = (
    *("bio_policy", "misalignment_policy_violation", "invalid_prompt", "safety", "blocklist"),
    *("prohibited_content", "spii", "image_safety", "image_other", "model_armor", "escalation"),
)
"""Words for a withheld reply that say for what, and are not asked again."""
BROKEN = Outcome(0, 1, "the endpoint broke the reply off", 18 * REPLY, "unreadable")
UNKNOWN = Outcome(0, 1, "how the reply ended is not", 18 * REPLY, "unreadable")
TOOL = Outcome(0, 1, "the reply calls a tool, and none was offered", 18 * REPLY, "unreadable")
WORDS = {
    Outcome(6, 0, "The run is complete: 6 rows", 6 * REPLY, text=HALF): "stop completed end_turn stop_sequence",
    CUT: "length max_output_tokens max_messages steered max_tokens continuation",
    Outcome(0, 1, "the context of the model is full", 12 * REPLY, "truncated"): (
        "model_context_window_exceeded model_length"
    ),
    WITHHELD: "content_filter refusal",
    **{replace(WITHHELD, failed=f"refused: {word}", booked=6 * REPLY): word for word in CATEGORIES},
    **{replace(WITHHELD, failed=f"refused: {word}"): word for word in ("recitation", "language")},
    TOOL: "tool_calls function_call tool_use",
    BROKEN: (
        "failed server_error rate_limit_exceeded cancelled other malformed_function_call unexpected_tool_call "
        "too_many_tool_calls malformed_response missing_thought_signature finish_reason_unspecified error "
        "insufficient_system_resource abort repetition pause_turn"
    ),
    UNKNOWN: "null none finito ran_out_of_ink",
    Outcome(0, 1, "the endpoint has limited this account", 0): "pup_limited_disabled",
}
ENDS = {
    f"fin-{written}": outcome
    for outcome, words in WORDS.items()
    for word in words.split()
    for written in ([word] if word in ("null", "none") else [word, word.upper()])
}
MOST = 1e-6 * 2000
"""The most that a call of these can cost, its 200 completion tokens alone."""
QUIRKS = {
    "good": FINE,
    "err200-429": FINE,
    "err200-402": Outcome(0, 1, "add credit to the account", 0),
    "err200-401": Outcome(0, 2, "check the key", 0),
    "err200-404": Outcome(0, 2, "check `model` and `base_url`", 0),
    "err200-400": Outcome(0, 1, "what came is an error: 400 Bad Request", 0, "rejected"),
    "body-detail": Outcome(0, 1, "Insufficient balance", 0),
    "body-message": Outcome(0, 2, "Unauthorized", 0),
    "body-event": Outcome(0, 1, "402 Payment Required", 0),
    "body-errors": Outcome(0, 1, "Payment required", 0),
    "body-text": Outcome(0, 1, "it did not work", 0, "unnamed_error"),
    "choice-error": BROKEN,
    "emptylen": Outcome(0, 1, "all of them hidden reasoning; raise max_tokens", 12 * 10_280e-6, "truncated"),
    "nullreason": Outcome(0, 1, "the reply has no text, but 32 characters of reasoning", 18 * REPLY, "empty"),
    "harmony": FINE,
    "think": FINE,
    "leak-im": FINE,
    "leak-inst": Outcome(0, 1, "'</s>' in it, which is markup of a chat template", 18 * REPLY, "markup"),
    "azurefilter": Outcome(3, 1, "3 of 6 rows failed: 3 refused", 3 * REPLY, "refused"),
    "nousage": Outcome(6, 0, "at a cost that is not known", 0, unknown=6, doubtful=6 * MOST),
    "usage-overflow": Outcome(6, 0, "at a cost that is not known", 0, unknown=6, doubtful=6 * MOST),
    "usage-true": Outcome(6, 0, "at a cost that is not known", 0, unknown=6, doubtful=6 * MOST),
    "gemlist": FINE,
    "date-far": FINE,
    "ctx": Outcome(0, 1, "maximum context length is 2048 tokens", 0, "rejected"),
    "sse": Outcome(0, 1, "the endpoint streams its reply", 0, "unreadable", unknown=18, doubtful=18 * MOST),
    "emptychoices": Outcome(0, 1, "it blocks the prompt (PROHIBITED_CONTENT)", 18 * REPLY, "refused"),
    "daily": Outcome(0, 1, "UTC or later: until then the endpoint wants no requests", 0),
    "bom": FINE,
    "keepalive": FINE,
    "burst429": FINE,
    "burst200": FINE,
    "notemp": Outcome(0, 2, "leave temperature: out of the step", 0),
}
ADAPTED = {
    "notemp": FINE,
    "needmct": FINE,
    "nosystem": FINE,
}
"""What a run makes of these, as its requests are adapted to what a model takes: the temperature here is the usual one,
and the model's entry says `system: fold`."""
LATER = {"toolcall": Outcome(6, 0, "The run is complete: 6 rows", 6 * REPLY, text="")}
"""What a run will make of these once it knows tools."""


async def run(
    folder: Path, name: str, fields: Mapping[str, Any] | None = None, /, **changes: Any
) -> tuple[int, str, Run]:
    """Exit status and message of a run, and the run."""
    write_rows(folder / "train.jsonl", QUESTIONS)
    step = {"step": "generate", "model": "teacher", "prompt": "student/plain", "max_tokens": 200, "temperature": 0.7}
    async with QuirkyServer() as server:
        teacher = {"provider": "openai", "model": name, "base_url": server.url, "price": {"input": 1, "output": 10}}
        values = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"teacher": teacher | dict(fields or {})},
            "budget": {"usd": 1.0},
            "steps": [step | changes],
        }
        (folder / "recipe.yaml").write_text(json.dumps(values))
        places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
        job = Run(load_recipe(folder / "recipe.yaml"), RunOptions(**places))
        try:
            await job.execute()
        except BlackboxError as error:
            return error.exit_status, str(error), job
        return 0, "", job


def check(folder: Path, outcome: Outcome, status: int, said: str, job: Run) -> None:
    rows = rows_of(folder / "run/tables/01_generate.jsonl") if outcome.rows and not status else []
    assert (status, len(rows) or job.report["funnel"][0]["out"]) == (outcome.status, outcome.rows), said
    assert {row["response"] for row in rows} <= {outcome.text}
    assert outcome.says in said + (folder / "run/report.md").read_text()
    spent = job.report["spent"]
    assert (spent["usd"], spent["usd_unknown"]) == (pytest.approx(outcome.booked), outcome.unknown)
    assert outcome.doubtful <= spent["doubtful_usd"] <= outcome.doubtful * 1.2
    assert set(job.report["funnel"][0]["failed"]) == ({outcome.failed} if outcome.failed else set())
    assert (job.report["status"] == "complete") == (status == 0)


@pytest.mark.parametrize("name", ENDS)
async def test_every_end_of_a_reply(tmp_path: Path, name: str) -> None:
    check(tmp_path, ENDS[name], *await run(tmp_path, name))


@pytest.mark.parametrize("name", QUIRKS)
async def test_every_oddity(tmp_path: Path, name: str) -> None:
    check(tmp_path, QUIRKS[name], *await run(tmp_path, name))


@pytest.mark.parametrize("name", ADAPTED)
async def test_every_oddity_that_a_request_is_adapted_to(tmp_path: Path, name: str) -> None:
    changes = {"prompt": "answer/helpful", "temperature": 1.0 if name == "notemp" else 0.7}
    check(tmp_path, ADAPTED[name], *await run(tmp_path, name, {"system": "fold"}, **changes))


async def test_what_a_model_without_the_role_system_is_not_told_is_offered(tmp_path: Path) -> None:
    refused = Outcome(0, 2, "write system: fold at the model", 0)
    check(tmp_path, refused, *await run(tmp_path, "nosystem", prompt="answer/helpful"))


@pytest.mark.parametrize(("name", "sampled"), [("notemp", True), ("good", False)])
async def test_an_exam_is_held_at_another_temperature_where_a_model_takes_none_and_the_report_says_so(
    tmp_path: Path, name: str, sampled: bool
) -> None:
    write_rows(
        tmp_path / "test.jsonl", [{"instruction": f"How much is {n} and 3?", "reference": "7"} for n in range(6)]
    )
    async with QuirkyServer() as server:
        teacher = {"provider": "openai", "model": name, "base_url": server.url, "price": {"input": 1, "output": 10}}
        values = {
            "name": "exam",
            "data": {"test": {"path": "test.jsonl", "held_out": True}},
            "models": {"teacher": teacher},
            "steps": [{"step": "evaluate", "input": "test", "models": ["teacher"], "answer": "number"}],
        }
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        for run_dir in ("run", "again", "poor"):
            if run_dir == "poor":
                (tmp_path / "recipe.yaml").write_text(json.dumps(values | {"budget": {"usd": 0.0001}}))
            places = {"cache": tmp_path / "cache", "run_dir": tmp_path / run_dir, "ledger": tmp_path / "ledger.sqlite"}
            await Run(load_recipe(tmp_path / "recipe.yaml"), RunOptions(**places)).execute()
            report = (tmp_path / run_dir / "report.md").read_text()
            assert ("6 replies were drawn at its own temperature" in report) == sampled
        sent = [body.get("temperature") for body in server.bodies]
        assert sent.count(None) == (6 if sampled else 0)
        assert 6 <= len(sent) <= (12 if sampled else 6)


@pytest.mark.xfail(reason="tools are not known yet", strict=True)
@pytest.mark.parametrize("name", LATER)
async def test_every_oddity_of_tools(tmp_path: Path, name: str) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    check(tmp_path, LATER[name], *await run(tmp_path, name, tools=tools))
