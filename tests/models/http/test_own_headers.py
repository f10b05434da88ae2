"""Headers and URL parameters of a recipe's own: what their variables hold is sent, and shown and kept nowhere."""

import asyncio
import html
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

import pytest

from blackbox_kd.errors import CallError, RecipeError, SetupError
from blackbox_kd.models import Model, Setup, openai
from blackbox_kd.recipe import trust
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import Request, Row, Sampling
from tests.support.fake_batches import FakeBatches
from tests.support.fake_server import FakeServer
from tests.support.runs import command, execute, write_rows
from tests.support.teachers.chat import FakeChat

TOKEN, PASSWORD = "gateway-token-0123456789", "pass-word/0123456789=="
ENV = {"TOKEN": TOKEN, "PASSWORD": PASSWORD, "WHOLE": f"Bearer {TOKEN}", "OPENAI_API_KEY": "sk-test-0123456789abcdef"}
MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]


def opened(url: str, env: Mapping[str, str] = ENV, **fields: Any) -> Model:
    config = openai.Config.model_validate({"provider": "openai", "model": "gpt-4.1", "base_url": url, **fields})
    return openai.open_model(config, Setup("teacher", Path(), Path(), env))


async def send(model: Model) -> str:
    asked = Request(MESSAGES, Sampling(), Row(id="r1"))
    try:
        return (await model.send(model.wire(asked), asked))[0]
    finally:
        await model.close()


class TestWhatIsSent:
    async def test_values_are_those_of_variables_and_of_the_recipe(self) -> None:
        headers = {"X-Token": "$TOKEN", "X-Team": "a team", "X-Both": "${TOKEN}-$PASSWORD", "X-Price": "5$$"}
        async with FakeServer() as fake:
            await send(opened(fake.url, headers=headers, query={"version": "2", "sig": "$PASSWORD"}))
            sent = fake.seen_headers[0]
            assert [sent[name] for name in headers] == [TOKEN, "a team", f"{TOKEN}-{PASSWORD}", "5$"]
            assert sent["Authorization"] == "Bearer EMPTY"
            path = next(iter(fake.stats()["paths"]))
            assert unquote(path) == f"/v1/chat/completions?version=2&sig={PASSWORD}"

    @pytest.mark.parametrize(
        ("value", "sent"),
        [("Bearer $TOKEN", f"Bearer {TOKEN}"), ("$WHOLE", f"Bearer {TOKEN}"), ("Basic $TOKEN", f"Basic {TOKEN}")],
    )
    @pytest.mark.parametrize("name", ["Authorization", "authorization"])
    async def test_an_authorization_of_the_recipe_takes_the_place_of_the_key_and_needs_none(
        self, name: str, value: str, sent: str
    ) -> None:
        async with FakeServer() as fake:
            await send(opened(fake.url, {**ENV, "OPENAI_API_KEY": ""}, headers={name: value}))
            assert fake.seen_headers[0]["Authorization"] == sent
        opened("https://api.openai.com/v1", {"TOKEN": TOKEN, "WHOLE": PASSWORD}, headers={name: value})

    async def test_they_go_with_files_and_batches_too(self, tmp_path: Path) -> None:
        async with FakeBatches() as fake:
            fields = {"headers": {"Authorization": "Bearer $TOKEN"}, "query": {"team": "a"}, "batch": True}
            await asyncio.to_thread(execute, tmp_path, recipe(fake.url, **fields), env=ENV)
            assert fake.keys == {f"Bearer {TOKEN}"}
            assert fake.sizes() == [6]

    def test_they_are_in_no_key_and_in_no_identity(self) -> None:
        asked = Request(MESSAGES, Sampling(), Row(id="r1"))
        nowhere = Setup("t", Path(), Path(), {})
        plain = opened("http://127.0.0.1:9/v1")
        other = opened("http://127.0.0.1:9/v1", headers={"X-Token": "$TOKEN"}, query={"team": "a"})
        assert plain.wire(asked) == other.wire(asked)
        assert plain.config.identity(nowhere) == other.config.identity(nowhere)

    def test_they_are_in_no_representation(self) -> None:
        model: Any = opened("http://127.0.0.1:9/v1", headers={"X-Token": "$TOKEN"}, query={"sig": "$PASSWORD"})
        shown = repr(vars(model)) + repr(vars(model._http)) + repr(vars(model.batch_api))
        assert TOKEN not in shown
        assert PASSWORD not in shown


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("headers", "said"),
        [
            ({"Authorization": "Bearer abc"}, "looks like a secret"),
            ({"api-key": "abc"}, "looks like a secret"),
            ({"X-Auth-Token": "abc"}, "looks like a secret"),
            ({"Cookie": "session=abc"}, "looks like a secret"),
            ({"X Team": "a"}, "is no name of a header"),
            ({"X-Team:": "a"}, "is no name of a header"),
            ({"Content-Length": "3"}, "says how a request is sent"),
            ({"host": "elsewhere"}, "says how a request is sent"),
            ({"X-Team": "a\r\nX-Other: abc"}, "characters in it that cannot be sent"),
            ({"X-Team": "caf\u00e9"}, "characters in it that cannot be sent"),
            ({"X-Team": "$ abc"}, "has a $ in it"),
            ({"X-Team": "${abc"}, "has a $ in it"),
            ({"X-Team": "a", "x-team": "b"}, "are one header"),
        ],
    )
    def test_a_header_that_cannot_be_one_or_holds_a_secret_is_refused_without_its_value(
        self, headers: dict[str, str], said: str
    ) -> None:
        with pytest.raises(ValueError, match="headers") as caught:
            opened("http://127.0.0.1:9/v1", headers=headers)
        message = caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]
        assert said in message
        assert "abc" not in message

    @pytest.mark.parametrize("name", ["key", "access_token", "sig", "subscription-key"])
    def test_a_parameter_that_holds_a_secret_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="looks like a secret"):
            opened("http://127.0.0.1:9/v1", query={name: "abc"})

    @pytest.mark.parametrize("value", ["", " ", "your-api-key", "a\nb", "caf\u00e9"])
    @pytest.mark.parametrize("field", ["headers", "query"])
    def test_a_variable_that_holds_nothing_to_send_is_named_and_what_it_holds_is_not_shown(
        self, field: str, value: str
    ) -> None:
        with pytest.raises(SetupError, match=r"the variable TOKEN (is not set|holds)") as caught:
            opened("http://127.0.0.1:9/v1", {"TOKEN": value}, **{field: {"X-Token": "$TOKEN"}})
        assert caught.value.fix == "export TOKEN=VALUE"
        assert not value.strip() or value not in str(caught.value)


class TestWhatComesBack:
    @pytest.mark.parametrize("way", ["plain", "json", "url", "html"])
    @pytest.mark.parametrize("action", ["echo", "redirect", "repeat"])
    @pytest.mark.parametrize("value", ["Bearer $TOKEN", "$WHOLE"])
    async def test_a_secret_that_the_server_repeats_is_not_shown(self, action: str, way: str, value: str) -> None:
        async with FakeServer([f"{action}:{way}"]) as fake:
            try:
                said = await send(opened(fake.url, headers={"Authorization": value}))
            except CallError as error:
                said = "".join(traceback.format_exception(error))
        assert TOKEN not in html.unescape(unquote(json.dumps(said)))
        assert TOKEN not in html.unescape(unquote(said.encode().decode("unicode_escape")))

    async def test_all_secrets_are_hidden_in_an_error_that_repeats_the_headers_and_the_url(self) -> None:
        async with FakeChat(["echo"]) as fake:
            headers = {"X-Token": "$TOKEN", "X-Other": "$PASSWORD"}
            with pytest.raises(CallError) as caught:
                await send(opened(fake.url, headers=headers, query={"sig": "$PASSWORD"}))
        shown = "".join(traceback.format_exception(caught.value))
        assert TOKEN not in shown
        assert PASSWORD not in unquote_plus(shown)

    async def test_an_endpoint_that_cannot_be_reached_shows_no_parameter(self) -> None:
        with pytest.raises(CallError) as caught:
            await send(opened("http://127.0.0.1:9/v1", query={"sig": "$PASSWORD"}))
        assert PASSWORD not in unquote_plus("".join(traceback.format_exception(caught.value)))
        assert "?" not in str(caught.value)


STEPS = [{"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": None}]


def recipe(url: str, **fields: Any) -> dict[str, Any]:
    teacher = {"provider": "openai", "model": "m", "base_url": url, "price": {"input": 1, "output": 10}, **fields}
    return {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"teacher": teacher}, "steps": STEPS}


def write(folder: Path, url: str, **fields: Any) -> Path:
    write_rows(folder / "train.jsonl", [{"instruction": "What is 1 + 1?", "reference": "2"}])
    (folder / "recipe.yaml").write_text(json.dumps(recipe(url, **fields)))
    return folder / "recipe.yaml"


class TestRuns:
    async def test_no_secret_is_in_any_file_of_a_run_nor_in_what_it_says_and_a_change_costs_no_call(
        self, tmp_path: Path
    ) -> None:
        rule = f"The answer is {TOKEN}."
        async with FakeServer(["echo", "429:0"], rule=rule) as fake:
            fields = {"headers": {"X-Token": "$TOKEN"}, "query": {"sig": "${PASSWORD}"}}
            write(tmp_path, fake.url, **fields)
            for _ in range(2):
                said = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", **ENV)
            assert said.returncode == 0, said.stderr
            kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            for secret in (TOKEN, PASSWORD):
                assert secret.encode() not in kept
                assert secret not in said.stdout + said.stderr
            assert b"$TOKEN" in kept
            asked = len(fake.seen)
            write(tmp_path, fake.url, headers={"X-Token": "${PASSWORD}", "X-Team": "b"})
            again = await asyncio.to_thread(command, tmp_path, "run", "recipe.yaml", **ENV)
            assert (again.returncode, len(fake.seen)) == (0, asked)


class TestWhereTheyGo:
    def test_what_a_variable_holds_goes_to_a_stranger_only_if_the_user_agrees(self, tmp_path: Path) -> None:
        fields = {"headers": {"X-Cloud": "$TOKEN"}, "query": {"sig": "$PASSWORD"}}
        file = write(tmp_path, "https://gateway.example.com/v1", **fields)
        loaded = load_recipe(file, env=ENV)
        with pytest.raises(RecipeError) as caught:
            trust.settle(loaded, ENV, tmp_path / "config")
        for variable in ("TOKEN", "PASSWORD"):
            assert f"the key in {variable} would be sent to gateway.example.com" in str(caught.value)
        trust.settle(loaded, ENV, tmp_path / "config", given=["gateway.example.com"])
        trust.settle(loaded, ENV, tmp_path / "config")
        fields["headers"]["X-More"] = "$WHOLE"
        with pytest.raises(RecipeError, match="the key in WHOLE would be sent"):
            trust.settle(
                load_recipe(write(tmp_path, "https://gateway.example.com/v1", **fields), env=ENV),
                ENV,
                tmp_path / "config",
            )

    def test_a_secret_of_another_does_not_go_to_a_vendor_unasked(self, tmp_path: Path) -> None:
        file = write(tmp_path, "https://api.openai.com/v1", headers={"X-Cloud": "$TOKEN"})
        with pytest.raises(RecipeError, match=r"the key in TOKEN would be sent to api\.openai\.com"):
            trust.settle(load_recipe(file, env=ENV), ENV, tmp_path / "config")

    def test_openais_key_goes_to_openai_in_a_header_too(self, tmp_path: Path) -> None:
        file = write(tmp_path, "https://api.openai.com/v1", headers={"Authorization": "Bearer $OPENAI_API_KEY"})
        assert trust.find_routes(load_recipe(file, env=ENV), ENV) == []

    @pytest.mark.parametrize(
        "servers", [["https://gpu-2.example.com/v1"], ["https://api.openai.com/v1", "https://gpu-2.example.com/v1"]]
    )
    def test_a_key_goes_to_none_of_several_servers_unasked(self, tmp_path: Path, servers: list[str]) -> None:
        file = write(tmp_path, "https://api.openai.com/v1", servers=servers, key_env="OPENAI_API_KEY")
        with pytest.raises(RecipeError, match=r"OPENAI_API_KEY would be sent to gpu-2\.example\.com"):
            trust.settle(load_recipe(file, env=ENV), ENV, tmp_path / "config")

    def test_openais_key_is_not_sent_to_servers_that_are_not_openais(self) -> None:
        config = openai.Config(provider="openai", model="m", servers=["https://gpu-2.example.com/v1"])
        sent = config.routes(Setup("t", Path(), Path(), ENV))
        assert [(each.url, each.variable) for each in sent] == [("https://gpu-2.example.com/v1", None)]
