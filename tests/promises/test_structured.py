"""Replies of a form, from endpoints of each vendor: what is sent, what is kept of what comes, and what is told."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BlackboxError, RecipeError
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Notes
from tests.support.runs import rows_of, write_rows
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.azure import KEY, FakeAzure
from tests.support.teachers.base import FakeTeacher
from tests.support.teachers.chat import FakeChat
from tests.support.teachers.compatible import FakeDeepSeek, FakeLlamaCpp, FakeOllama, FakeOpenRouter, FakeVllm
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.mistral import FakeMistral
from tests.support.teachers.responses import FakeResponses

INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "total": {"type": "number", "minimum": 0},
        "vendor": {"type": ["string", "null"], "description": "As written."},
    },
    "required": ["total", "vendor"],
    "additionalProperties": False,
}
LOOSE = {**INVOICE, "required": ["total"]}
LABELS = ["billing", "Lost card"]
LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": LABELS}},
    "required": ["label"],
    "additionalProperties": False,
}
OF_CLAUDE = {
    "type": "object",
    "properties": {
        "total": {"type": "number", "description": '{"minimum": 0}'},
        "vendor": {"type": ["string", "null"], "description": "As written."},
    },
    "required": ["total", "vendor"],
    "additionalProperties": False,
}
AS_JSON = '{{"total": {n}, "vendor": "Acme"}}'
"""What the servers reply; `{n}` follows from the question."""
FOUR = [{"text": f"Invoice {n}"} for n in range(4)]


def asked_for(name: str, schema: Mapping[str, Any], strict: bool = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


FLAT = {"type": "json_schema", "name": "reply", "schema": INVOICE, "strict": True}
GEMINI = {"responseMimeType": "application/json", "responseJsonSchema": INVOICE}
AT: Mapping[str, tuple[type[FakeTeacher], dict[str, Any], str, Any]] = {
    "openai": (FakeChat, {"provider": "openai", "model": "gpt-4.1"}, "response_format", asked_for("reply", INVOICE)),
    "responses": (FakeResponses, {"provider": "openai", "model": "gpt-4.1", "api": "responses"}, "text.format", FLAT),
    "azure": (FakeAzure, {"provider": "azure", "model": "mine"}, "response_format", asked_for("reply", INVOICE)),
    "mistral": (
        *(FakeMistral, {"provider": "mistral", "model": "mistral-small-2603"}),
        *("response_format", asked_for("reply", INVOICE)),
    ),
    "anthropic": (
        *(FakeAnthropic, {"provider": "anthropic", "model": "claude-haiku-5-5"}),
        *("output_config.format", {"type": "json_schema", "schema": OF_CLAUDE}),
    ),
    "gemini": (FakeGemini, {"provider": "gemini", "model": "gemini-3.8-flash"}, "generationConfig", GEMINI),
    "vllm": (FakeVllm, {"provider": "vllm", "model": "m"}, "response_format", asked_for("reply", INVOICE)),
    "deepseek": (
        *(FakeDeepSeek, {"provider": "openai", "model": "deepseek-flash"}),
        *("response_format", {"type": "json_object"}),
    ),
    "openrouter": (
        *(FakeOpenRouter, {"provider": "openai", "model": "a/b"}),
        *("response_format", asked_for("reply", INVOICE)),
    ),
    "ollama": (FakeOllama, {"provider": "openai", "model": "qwen3:4b"}, "response_format", asked_for("reply", INVOICE)),
    "llama.cpp": (FakeLlamaCpp, {"provider": "openai", "model": "m"}, "response_format", asked_for("reply", INVOICE)),
}
"""Of each endpoint: the server, the model's entry, and what it is sent for the schema."""


def find(body: Any, path: str) -> Any:
    for part in path.split("."):
        body = body.get(part, {})
    return body


class Folder:
    """Where a recipe is run again and again.

    Args:
        path: of the folder.
        server: that is asked; one that plays a host stands in as its proxy.
        entry: the model's.
    """

    def __init__(self, path: Path, server: FakeTeacher, entry: Mapping[str, Any]) -> None:
        self.path, self.server = path, server
        host = getattr(server, "base_url", None)
        price = {"input": 1, "output": 10}
        self.entry = {"base_url": host or server.url, "key_env": "SOME_KEY", "price": price, **entry}
        self.env = {"SOME_KEY": KEY}
        self.proxy = server.url if host else None
        self.notes = Notes()
        self.report: dict[str, Any] = {}
        self.error: BlackboxError | None = None

    async def run(self, **step: Any) -> list[dict[str, Any]]:
        """The rows of a step that is run on four rows; none where the run ended with an error."""
        write_rows(self.path / "train.jsonl", FOUR)
        (self.path / "extract.jinja").write_text("Read as JSON: {{ text }}")
        ask = {"step": "generate", "model": "teacher", "prompt": "extract", "max_tokens": 100, **step}
        values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"teacher": self.entry}}
        (self.path / "recipe.yaml").write_text(json.dumps({**values, "steps": [ask], "max_failed_share": 1}))
        places = {"cache": self.path / "cache", "run_dir": self.path / "run", "ledger": self.path / "ledger.sqlite"}
        with pytest.MonkeyPatch.context() if self.proxy else nullcontext() as patch:
            if patch is not None:
                patch.setenv("http_proxy", str(self.proxy))
            self.notes = Notes()
            job = Run(
                load_recipe(self.path / "recipe.yaml", env=self.env, notes=self.notes),
                RunOptions(**places, env=self.env),
            )
            try:
                await job.execute()
            except RecipeError:
                raise
            except BlackboxError as error:
                self.error = error
        self.report = job.report
        file = self.path / "run/tables/01_generate.jsonl"
        return rows_of(file) if file.exists() else []

    @property
    def told(self) -> list[str]:
        """What the check notes of the step."""
        return [note.what for note in self.notes.list_all() if note.path.startswith("steps")]


@pytest.mark.parametrize("name", AT)
async def test_a_schema_is_sent_as_the_endpoint_takes_it_and_the_object_is_a_column(tmp_path: Path, name: str) -> None:
    kind, entry, at, wanted = AT[name]
    async with kind(rule=AS_JSON) as server:
        rows = await Folder(tmp_path, server, entry).run(schema=INVOICE, parsed="invoice")
    sent = [find(body, at) for body in server.seen]
    wanted = wanted | {
        name: value for name, value in sent[0].items() if at == "generationConfig" and name not in wanted
    }
    assert sent == [wanted] * 4
    assert [json.loads(row["response"]) for row in rows] == [row["invoice"] for row in rows]
    assert {row["invoice"]["vendor"] for row in rows} == {"Acme"}


@pytest.mark.parametrize("name", AT)
async def test_a_label_is_asked_for_inside_of_an_object_and_kept_without_it(tmp_path: Path, name: str) -> None:
    kind, entry, at, _ = AT[name]
    is_held = name != "deepseek"
    async with kind(rule='{{"label": "Lost card"}}' if is_held else "lost card.") as server:
        rows = await Folder(tmp_path, server, entry).run(labels=LABELS)
    assert [row["response"] for row in rows] == ["Lost card"] * 4
    sent = json.dumps(find(server.seen[0], at))
    assert ("Lost card" in sent, "json" in sent) == (is_held, is_held)


@pytest.mark.parametrize("name", AT)
async def test_a_pattern_goes_to_vllm_alone_and_is_looked_at_everywhere(tmp_path: Path, name: str) -> None:
    kind, entry, _, _ = AT[name]
    async with kind(rule="EUR {n}") as server:
        folder = Folder(tmp_path, server, entry)
        rows = await folder.run(regex="EUR [0-9]+")
        assert len(rows) == 4
        assert [body.get("structured_outputs") for body in server.seen] == [
            {"regex": "EUR [0-9]+"} if name == "vllm" else None
        ] * 4
        assert any("is not held to regex:" in told for told in folder.told) == (name != "vllm")
        assert await folder.run(regex="USD [0-9]+", tries=1) == []
        assert folder.report["funnel"][0]["failed"] == {"regex": 4}


async def test_a_reply_of_another_form_is_asked_for_anew_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    async with FakeChat(rule='{{"total": "{n}"}}') as server:
        folder = Folder(tmp_path, server, AT["openai"][1])
        assert await folder.run(schema=INVOICE, tries=2) == []
        assert folder.report["funnel"][0]["failed"] == {"schema": 4}
        assert (folder.report["models"][0]["calls"], folder.report["spent"]["requests"]) == (8, 8)
        assert folder.report["spent"]["usd"] > 0
        failed = rows_of(tmp_path / "run/failed.jsonl")
        assert "the reply does not fit the schema ('vendor' is a required property)" in failed[0]["error"]
        assert await folder.run(schema=INVOICE, tries=2) == []
        assert len(server.seen) == 8, "nothing is bought again"


async def test_at_temperature_0_a_reply_of_another_form_fails_its_row_at_once_and_check_says_so(tmp_path: Path) -> None:
    async with FakeChat(rule="no json") as server:
        folder = Folder(tmp_path, server, AT["openai"][1])
        assert await folder.run(schema=INVOICE, temperature=0) == []
        assert len(server.seen) == 4
        assert folder.told == [
            "temperature: 0 brings the same reply again, so one of another form fails its row at once."
        ]


async def test_a_reply_that_is_almost_json_is_mended_and_its_row_marked(tmp_path: Path) -> None:
    async with FakeChat(rule='Here: {{"total": {n}, "vendor": null,}}') as server:
        rows = await Folder(tmp_path, server, AT["openai"][1]).run(schema=INVOICE, repair=True, parsed="invoice")
    assert [row["repaired"] for row in rows] == [True] * 4
    assert all(json.loads(row["response"]) == row["invoice"] for row in rows)
    assert len(server.seen) == 4


async def test_a_schema_outside_of_the_strict_subset_is_sent_without_strict_and_check_says_why(tmp_path: Path) -> None:
    async with FakeChat(rule=AS_JSON) as server:
        folder = Folder(tmp_path, server, AT["openai"][1])
        assert len(await folder.run(schema=LOOSE)) == 4
    assert server.seen[0]["response_format"] == asked_for("reply", LOOSE, strict=False)
    assert folder.told[0].startswith(
        "model 'teacher' (gpt-4.1) may not be held to schema:, which is sent without strict, as vendor is not among"
    )


async def test_claude_is_not_asked_for_objects_that_it_could_only_write_empty(tmp_path: Path) -> None:
    open_ended = {"type": "object", "properties": {"more": {"type": "object"}}}
    async with FakeAnthropic(rule='{{"more": {{"a": {n}}}}}') as server:
        folder = Folder(tmp_path, server, AT["anthropic"][1])
        rows = await folder.run(schema=open_ended)
    assert len(rows) == 4
    assert "format" not in server.seen[0].get("output_config", {})
    assert "model 'teacher' (claude-haiku-5-5) is not held to schema:, as it takes no such form" in folder.told[0]


async def test_a_model_that_is_said_to_take_no_form_is_asked_by_its_prompt_alone(tmp_path: Path) -> None:
    async with FakeChat(rule=AS_JSON) as server:
        entry = {**AT["openai"][1], "refuses": ["response_format"]}
        folder = Folder(tmp_path, server, entry)
        assert len(await folder.run(schema=INVOICE)) == 4
    assert "response_format" not in server.seen[0]
    assert "is not held to schema:" in folder.told[0]


async def test_a_json_mode_whose_prompt_lacks_the_word_is_a_problem_of_check(tmp_path: Path) -> None:
    (tmp_path / "plain.jinja").write_text("Read {{ text }}")
    what = "replies in JSON only where the prompt says the word, and prompt 'plain' does not"
    async with FakeDeepSeek() as server:
        folder = Folder(tmp_path, server, AT["deepseek"][1])
        with pytest.raises(RecipeError, match=what):
            await folder.run(schema=INVOICE, prompt="plain")


async def test_the_same_rows_come_of_all_endpoints_and_of_a_run_that_asks_nobody(tmp_path: Path) -> None:
    async with FakeMistral(rule=AS_JSON) as server:
        folder = Folder(tmp_path, server, AT["mistral"][1])
        first = await folder.run(schema=INVOICE, parsed="invoice")
        (tmp_path / "run/tables/01_generate.jsonl").unlink()
        assert await folder.run(schema=INVOICE, parsed="invoice") == first
        assert len(server.seen) == 4
        assert len(await folder.run(labels=["a", "b"], temperature=0)) == 0
        assert len(server.seen) == 8, "a reply to another form is another one"


async def test_a_schema_beside_the_recipe_stands_in_the_recipe_that_a_run_carries(tmp_path: Path) -> None:
    async with FakeChat(rule=AS_JSON) as server:
        folder = Folder(tmp_path, server, AT["openai"][1])
        (tmp_path / "invoice.schema.json").write_text(json.dumps(INVOICE))
        rows = await folder.run(schema="invoice.schema.json", parsed="invoice")
        assert server.seen[0]["response_format"] == asked_for("reply", INVOICE)
    (tmp_path / "invoice.schema.json").unlink()
    kept = load_recipe(tmp_path / "run/recipe.yaml", env=folder.env)
    assert kept.source.values["steps"][0]["schema"] == INVOICE
    assert len(rows) == 4
