"""What is learnt of a model that refuses a field which nobody had foreseen, and what the recipe asks for anyway."""

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.call import make_call
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.errors import EndpointRefused, RequestRejected
from blackbox_kd.models import Setup, openai
from blackbox_kd.schema import Ask, Row, Sampling
from tests.calls.test_reservations import Desk, opened
from tests.support.fake_quirks import FORMS, QuirkyServer

DEFAULT = Sampling(0.2, max_tokens=100, defaults=frozenset({"temperature", "max_tokens"}))
"""What a step asks for by itself."""
ASKED = Sampling(0.2, max_tokens=100)
GREEDY = Sampling(0.0, max_tokens=100, defaults=frozenset({"temperature"}))


def entry(desk: Desk) -> dict[str, Any]:
    return desk.caller.summary()[0]


@pytest.mark.parametrize("form", [*FORMS, "later_value", "later_mistral"])
async def test_a_default_that_a_model_refuses_is_left_out_and_never_sent_again(tmp_path: Path, form: str) -> None:
    name = f"refuses:temperature:{form}"
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        assert (await desk.ask(name, sampling=DEFAULT)).text
        assert (await desk.ask(name, "r2", DEFAULT)).text
        sent = [body.get("temperature") for body in desk.server.bodies]
        assert sent == [0.2] * (2 if form.startswith("later_") else 1) + [None, None]
        assert entry(desk)["faults"]["rejected"] == 1
        assert entry(desk)["retried"] == (1 if form.startswith("later_") else 0)
        assert entry(desk)["sampled"] == 2
        assert desk.budget._reserved["usd"] == 0
        desk.use(Budget(usd=50.0))
        assert (await desk.ask(name, sampling=DEFAULT)).replayed, "its key is that of what was asked"


async def test_several_fields_are_learnt_one_after_the_other(tmp_path: Path) -> None:
    name = "refuses:max_tokens+temperature:value"
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        await desk.ask(name, sampling=DEFAULT)
        fields = [set(body) - {"model", "messages"} for body in desk.server.bodies]
        both = {"temperature", "max_completion_tokens"}
        assert fields == [{"temperature", "max_tokens"}, both, {"max_completion_tokens"}]
        assert desk.server.bodies[-1]["max_completion_tokens"] == 100


async def test_of_many_in_flight_none_is_refused_twice_and_none_counts_as_an_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "refuses:temperature:value"
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path, Budget(usd=100.0)) as desk:
            desk.model(name, max_concurrency=64)
            replies = await desk.ask_many(name, 256, DEFAULT)
            assert {type(reply).__name__ for reply in replies} == {"Reply"}
            refused = sum("temperature" in body for body in desk.server.bodies)
            assert 1 <= refused <= 64
            assert len(desk.server.bodies) == 256 + refused
            assert entry(desk)["faults"] == {"rejected": refused}
            assert entry(desk)["retried"] == 0
    assert [record.message for record in caplog.records if "takes no" in record.message] == [
        "model 'teacher' takes no temperature: it is asked without it"
    ]


@pytest.mark.parametrize(
    ("field", "sampling", "fix"),
    [
        ("temperature", ASKED, "leave temperature: out of the step"),
        ("seed", Sampling(seed=3), "leave sampling_seed: out of the step"),
        ("stop", Sampling(stop=("a",)), "leave stop: out of the step"),
        ("top_k", Sampling(extra={"top_k": 3}), "mend top_k in extra: of the step"),
        ("min_p", Sampling(), "mend min_p in extra: of the step, or in extra_body: of the model"),
    ],
)
async def test_what_the_recipe_asks_for_ends_the_run_with_the_field(
    tmp_path: Path, field: str, sampling: Sampling, fix: str
) -> None:
    name = f"refuses:{field}:parameter"
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        desk.model(name, extra_body={"min_p": 0.1})
        with pytest.raises(EndpointRefused, match=f"it does not take '{field}'") as caught:
            await desk.ask(name, sampling=sampling)
        assert caught.value.fix.startswith(fix)
        with pytest.raises(EndpointRefused):
            await desk.ask(name, "r2", sampling)
        assert desk.server.asked[name] == 1, "nobody asks any more"


async def test_a_field_that_is_not_named_is_taken_for_a_default_alone(tmp_path: Path) -> None:
    name = "refuses:temperature:routed"
    async with opened(tmp_path, Budget()) as desk:
        with pytest.raises(RequestRejected, match="No endpoints found") as caught:
            await desk.ask(name, sampling=ASKED)
        assert "require_parameters: false" in caught.value.fix
        with pytest.raises(RequestRejected):
            await desk.ask("refuses:stop:routed", sampling=Sampling(0.2, stop=("a",), defaults=DEFAULT.defaults))
        assert [set(body) - {"model", "messages"} for body in desk.server.bodies] == [
            {"temperature", "max_tokens"},
            {"temperature", "stop"},
            {"stop"},
        ]


async def test_what_the_recipe_asks_for_is_refused_too_once_it_was_learnt(tmp_path: Path) -> None:
    name = "refuses:temperature:parameter"
    async with opened(tmp_path, Budget()) as desk:
        await desk.ask(name, sampling=DEFAULT)
        await desk.ask(name, "r2", Sampling(max_tokens=10))
        desk.use(Budget())
        with pytest.raises(EndpointRefused, match="does not take 'temperature'"):
            await desk.ask(name, "r3", ASKED)
        assert [body.get("temperature") for body in desk.server.bodies] == [0.2, None, None, 0.2]


@pytest.mark.parametrize("sampling", [Sampling(1.0, 1.0), Sampling(1, max_tokens=5)])
async def test_the_value_that_holds_anyway_is_no_wish(tmp_path: Path, sampling: Sampling) -> None:
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        await desk.ask("refuses:temperature+top_p:value", sampling=sampling)
        assert "temperature" not in desk.server.bodies[-1]
        assert entry(desk)["sampled"] == 0


async def test_a_name_of_max_tokens_that_the_recipe_gives_is_not_changed(tmp_path: Path) -> None:
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        name = "refuses:max_tokens:parameter"
        desk.model(name, max_tokens_field="max_tokens")
        with pytest.raises(EndpointRefused, match="does not take 'max_tokens'"):
            await desk.ask(name, sampling=DEFAULT)


@pytest.mark.parametrize("field", ["messages", "seed", "response_format"])
async def test_a_refusal_of_what_was_not_sent_or_has_to_be_is_one_of_the_request(tmp_path: Path, field: str) -> None:
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        await desk.ask("good")
        call_of = desk.server._answer
        desk.server._answer = lambda *asked: FORMS["value"](field)  # type: ignore[method-assign]
        with pytest.raises(RequestRejected):
            await desk.ask("good", "r2", DEFAULT)
        desk.server._answer = call_of  # type: ignore[method-assign]
        assert desk.server.asked["good"] == 2


async def test_what_was_learnt_is_kept_by_endpoint_and_model(tmp_path: Path) -> None:
    name = "refuses:temperature:anthropic"
    async with opened(tmp_path, Budget()) as desk:
        await desk.ask(name, sampling=DEFAULT)
        for budget in (Budget(), Budget(usd=0.0), Budget(requests=0)):
            desk.use(budget)  # another process: it knows only what is on disk
            assert (await desk.ask(name, sampling=DEFAULT)).replayed
        desk.use(Budget(usd=9.0))
        await desk.ask(name, "r2", DEFAULT)
        assert [body.get("temperature") for body in desk.server.bodies] == [0.2, None, None]
        async with QuirkyServer() as other:
            first, desk.server = desk.server, other
            desk._open[f"first {name}"] = desk._open.pop(name)
            desk.use(Budget())
            await desk.ask(name, sampling=DEFAULT)
            assert [body.get("temperature") for body in other.bodies] == [0.2, None], "it may be another model"
            desk.use(Budget())
            assert (await desk.ask(name, sampling=DEFAULT)).replayed
        assert len(first.bodies) == 3


async def test_what_was_learnt_holds_at_another_server_of_the_same_model(tmp_path: Path) -> None:
    name = "refuses:temperature:value"
    values = {"provider": "openai", "model": name, "base_url": "http://models.invalid/v1"}
    async with opened(tmp_path, Budget()) as desk, QuirkyServer() as other:
        for server, row, replayed in ((desk.server, "r1", False), (other, "r1", True), (other, "r2", False)):
            desk.use(Budget(usd=5.0))  # another process
            config = openai.Config.model_validate(
                {**values, "servers": [server.url], "price": {"input": 1, "output": 1}}
            )
            model = openai.open_model(config, Setup("teacher", Path(), Path(), {}))
            ask: Ask[str] = Ask([{"role": "user", "content": "1 + 1?"}], DEFAULT, Row(id=row))
            assert (await desk.caller.ask(model, ask, name="teacher")).replayed == replayed
            await model.close()
        assert [body.get("temperature") for body in desk.server.bodies] == [0.2, None]
        assert [body.get("temperature") for body in other.bodies] == [None]


async def test_a_recipe_that_says_what_is_refused_knows_better(tmp_path: Path) -> None:
    name = "refuses:temperature:words"
    async with opened(tmp_path, Budget()) as desk:
        await desk.ask(name, sampling=DEFAULT)
        for refuses, sent in (([], [0.2, None]), (["temperature"], [None])):
            desk.use(Budget())
            values = {"provider": "openai", "model": name, "base_url": desk.server.url, "refuses": refuses}
            model = openai.open_model(openai.Config.model_validate(values), Setup("teacher", Path(), Path(), {}))
            desk.server.bodies.clear()
            ask: Ask[str] = Ask([{"role": "user", "content": f"{refuses}?"}], DEFAULT, Row(id="r1"))
            await desk.caller.ask(model, ask, name="teacher")
            await model.close()
            assert [body.get("temperature") for body in desk.server.bodies] == sent


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("refuses:temperature:value", [0.0, None, None]),  # refused, unreadable, read
        ("gpt-6-astra", [None, None]),
        ("gemini-3.8-flash", [0.0, 0.0]),
    ],
)
async def test_a_model_without_temperature_is_asked_once_in_all_rounds_and_again_for_what_cannot_be_read(
    tmp_path: Path, name: str, sent: list[float | None]
) -> None:
    async with opened(tmp_path, Budget()) as desk:
        asked: Counter[str] = Counter()

        def read(text: str) -> str:
            asked[text] += 1
            if asked.total() == 1:
                raise ValueError("no number")
            return text

        model = desk.model(name)
        for round in (1, 2, 3):
            ask = Ask([{"role": "user", "content": "1 + 1?"}], GREEDY, Row(id="r1"), read=read if round == 1 else None)
            reply = await desk.caller.ask(model, ask, name="student", round=round)
            assert reply.replayed == (round > 1)
        assert [body.get("temperature") for body in desk.server.bodies] == sent
        [told] = desk.caller.summary()
        assert (told["sampled"], told["calls"], told["replayed"]) == (4, 2, 2)


async def test_own_the_shares_of_two_callers_are_learnt_by_both(tmp_path: Path) -> None:
    name = "refuses:temperature:nested"
    async with opened(tmp_path, Budget()) as desk:
        other = Caller(DirectTransport(desk.ledger, Budget()))
        model = desk.model(name)
        ask: Ask[str] = Ask([{"role": "user", "content": "Why?"}], DEFAULT, Row(id="r9"))
        await asyncio.gather(desk.ask(name, sampling=DEFAULT), other.ask(model, ask, name="teacher"))
        assert desk.ledger.find_refused(model.endpoint, name) == ["temperature"]


@pytest.mark.parametrize(
    ("fields", "sampling", "sent"),
    [
        ({}, DEFAULT, 100),
        ({"extra_body": {"reasoning_effort": "low"}}, DEFAULT, 100 + 2048),
        ({"extra_body": {"reasoning_effort": "low"}}, ASKED, 100),
        ({"extra_body": {"reasoning_effort": "low"}, "limits": {"max_tokens": 900}}, DEFAULT, 900),
        ({"thinking": "high"}, DEFAULT, 100 + 16_384),
        ({"thinking": "off"}, DEFAULT, 100),
        ({"limits": {"max_tokens": 50}}, DEFAULT, 50),
        ({"limits": {"max_tokens": 70}}, Sampling(), 70),
    ],
)
async def test_a_default_leaves_room_for_reasoning_and_its_key_knows_nothing_of_it(
    tmp_path: Path, fields: dict[str, Any], sampling: Sampling, sent: int
) -> None:
    async with opened(tmp_path, Budget(usd=100.0)) as desk:
        model = desk.model("good", **fields)
        ask: Ask[str] = Ask([{"role": "user", "content": "Why?"}], sampling, Row(id="r1"))
        call = make_call(desk.caller._transport.open(model, "teacher"), ask, 0, 0)
        assert call.wire["body"].get("max_tokens") == sampling.max_tokens
        assert call.bounds()[1] == sent, "what is set aside of a budget is what is let through"
        await desk.ask("good", sampling=sampling)
        assert desk.server.bodies[0]["max_tokens"] == sent
