"""Estimates: what is counted, what is assumed, what a ledger and a probe know, and what a run then really does."""

import datetime
import json
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from blackbox_kd.calls.prices import TieredPrice
from blackbox_kd.engine.estimate.assumptions import KEPT, Asking, measure_share
from blackbox_kd.engine.estimate.dry_transport import DryCall
from blackbox_kd.engine.estimate.estimate import estimate as estimate_run
from blackbox_kd.engine.estimate.spans import NOTHING, Span
from blackbox_kd.engine.estimate.tables import EstimateOptions
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.errors import BudgetReached, DataError, RecipeError
from blackbox_kd.models import ModelConfig, Price
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.schema import Usage
from tests.support.fake_server import FakeServer
from tests.support.runs import write_rows

ROWS = [{"instruction": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(10)]
HELD_OUT = [{"instruction": f"And {n} + 2?", "reference": str(n + 2)} for n in range(40, 44)]
PRICE = {"input": 1, "output": 10}


def recipe_values(**changes: Any) -> dict[str, Any]:
    return {
        "name": "demo",
        "data": {"train": {"path": "train.jsonl"}, "test": {"path": "test.jsonl", "held_out": True}},
        "models": {"teacher": {"provider": "openai", "model": "gpt-4.1-mini"}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 0.5, "max_tokens": 100},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
            {"step": "evaluate", "input": "test", "models": ["teacher"], "max_tokens": 50},
        ],
    } | changes


def load(folder: Path, values: Mapping[str, Any]) -> Recipe:
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "test.jsonl", HELD_OUT)
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return load_recipe(folder / "recipe.yaml", env={"OPENAI_API_KEY": "sk-test"})


async def estimate(folder: Path, values: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    places = {"run_dir": folder / "run", "ledger": folder / "ledger.sqlite", "env": {"OPENAI_API_KEY": "sk-test"}}
    return await estimate_run(load(folder, values), EstimateOptions(**(places | options)))


async def run(folder: Path, values: Mapping[str, Any], **options: Any) -> Run:
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    job = Run(load(folder, values), RunOptions(**places, **options))
    await job.execute()
    return job


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as running:
        yield running


def behind(server: FakeServer, **fields: Any) -> dict[str, Any]:
    return {"teacher": {"provider": "openai", "model": "m", "base_url": server.url, "price": PRICE, **fields}}


class TestCounting:
    async def test_calls_are_rows_times_samples_times_models(self, tmp_path: Path) -> None:
        values = recipe_values(models={name: {"provider": "openai", "model": "gpt-4.1-mini"} for name in "ab"})
        values["steps"] = [
            {"step": "generate", "models": ["a", "b"], "prompt": "student/plain", "samples": 3, "temperature": 1.0}
        ]
        values["data"].pop("test")
        found = await estimate(tmp_path, values, limit=4)
        assert [(entry["model"], entry["calls"]["likely"]) for entry in found["steps"]] == [("a", 12), ("b", 12)]
        assert found["total"]["calls"] == {"low": 24, "likely": 24, "high": 26}

    async def test_an_estimate_leaves_nothing_behind(self, tmp_path: Path) -> None:
        await estimate(tmp_path, recipe_values())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "test.jsonl", "train.jsonl"]

    async def test_prompts_are_measured_as_they_are_rendered(self, tmp_path: Path) -> None:
        found = await estimate(tmp_path, recipe_values(), until="generate")
        size = sum(len(row["instruction"]) for row in ROWS)
        assert found["total"]["prompt_tokens"]["likely"] == round(size / 4 + 10 * 4)
        values = recipe_values()
        values["steps"][0]["prompt"] = "rationale/cot"
        longer = await estimate(tmp_path, values, until="generate")
        assert longer["total"]["prompt_tokens"]["low"] > 2 * found["total"]["prompt_tokens"]["high"]

    async def test_replies_are_a_share_of_max_tokens_and_cost_what_the_list_says(self, tmp_path: Path) -> None:
        found = await estimate(tmp_path, recipe_values(), until="generate")
        assert found["total"]["completion_tokens"] == {"low": 150, "likely": 400, "high": 1100}
        usd = found["total"]["usd"]
        assert 0 < usd["low"] < usd["likely"] < usd["high"]
        assert usd["likely"] == pytest.approx((10 * 8 * 0.4 + 400 * 1.6) / 1e6, rel=0.05)
        assert "steps[0] (generate), teacher: replies of 15 / 40 / 100 % of max_tokens" in found["assumptions"]

    @pytest.mark.parametrize(("fields", "room"), [({}, 0), ({"thinking": "low"}, 2048), ({"thinking": "off"}, 0)])
    async def test_room_for_reasoning_is_counted_where_a_step_leaves_it(
        self, tmp_path: Path, fields: dict[str, str], room: int
    ) -> None:
        values = recipe_values(models={"teacher": {"provider": "openai", "model": "gpt-5.1", **fields}})
        values["steps"][0] = {"step": "generate", "model": "teacher", "prompt": "student/plain"}
        found = await estimate(tmp_path, values, until="generate")
        assert found["total"]["completion_tokens"]["likely"] == round(len(ROWS) * (0.4 * 1024 + 0.1 * room))

    async def test_a_step_behind_a_filter_is_asked_by_a_share_of_the_rows(self, tmp_path: Path) -> None:
        values = recipe_values()
        values["steps"][3] = values["steps"][0] | {"prompt": "second", "as": "note"}
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Shorten: {{ response }}")
        found = await estimate(tmp_path, values)
        assert found["steps"][1]["calls"] == {"low": 3, "likely": 6, "high": 11}
        assert found["steps"][1]["prompt_tokens"]["likely"] > 6 * 40
        assert "steps[2] (filter): 30 / 60 / 100 % of the rows pass" in found["assumptions"]

    async def test_examples_of_the_prompt_are_counted_with_it(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "shown.jsonl", [{"instruction": "x " * 200, "response": "y " * 200}] * 3)
        values = recipe_values()
        values["data"]["shown"] = {"path": "shown.jsonl"}
        values["steps"][0] |= {"prompt": "rationale/few_shot", "examples": {"table": "shown", "count": 2}}
        found = await estimate(tmp_path, values, until="generate")
        assert found["total"]["prompt_tokens"]["likely"] > 10 * 2 * 800 / 4

    async def test_an_unknown_price_makes_an_unknown_total_and_never_0(self, tmp_path: Path) -> None:
        values = recipe_values()
        values["models"]["odd"] = {"provider": "openai", "model": "nobodys-model", "base_url": "http://127.0.0.1:9/v1"}
        values["steps"][3]["models"] = ["teacher", "odd"]
        found = await estimate(tmp_path, values)
        assert [entry["usd"] is None for entry in found["steps"]] == [False, False, True]
        assert found["total"]["usd"] is None
        assert found["total"]["usd_known"]["likely"] > 0

    async def test_a_model_in_this_process_costs_nothing_but_time(self, tmp_path: Path) -> None:
        values = recipe_values(models={"teacher": {"provider": "transformers", "model": "some/model"}})
        found = await estimate(tmp_path, values)
        assert found["total"]["usd"] == {"low": 0, "likely": 0, "high": 0}
        assert found["total"]["calls"]["likely"] == 14
        assert found["total"]["seconds"]["high"] > found["total"]["seconds"]["low"] > 0

    async def test_a_batch_costs_half_and_takes_up_to_a_day(self, tmp_path: Path) -> None:
        values = recipe_values()
        usd = (await estimate(tmp_path, values))["total"]["usd"]
        values["models"]["teacher"]["batch"] = True
        found = await estimate(tmp_path, values, until="generate")
        assert found["total"]["seconds"] == {"low": 600, "likely": 3600, "high": 86400}
        assert (await estimate(tmp_path, values))["total"]["usd"]["likely"] == pytest.approx(
            usd["likely"] / 2, rel=0.01
        )

    async def test_a_student_is_asked_after_its_training_too_and_nothing_is_loaded(self, tmp_path: Path) -> None:
        values = recipe_values()
        values["models"]["student"] = {"provider": "transformers", "model": "some/model"}
        values["steps"][3:3] = [{"step": "format"}, {"step": "train", "model": "student"}]
        values["steps"][-1]["models"] = ["student@base", "student"]
        found = await estimate(tmp_path, values)
        assert [(entry["model"], entry["calls"]["likely"]) for entry in found["steps"]] == [
            ("teacher", 10),
            ("student@base", 4),
            ("student", 4),
        ]
        assert "steps[4] (train): the time that training takes is not counted" in found["assumptions"]

    async def test_a_data_set_out_of_reach_counts_with_its_limit_and_without_one_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
        values = recipe_values()
        values["data"]["train"] = {"hub": "nobody/has-this", "limit": 300}
        found = await estimate(tmp_path, values, until="generate")
        assert found["total"]["calls"]["likely"] == 300
        assert found["assumptions"][0] == "data.train: out of reach, taken to have 300 rows like those of test"
        values["data"]["train"].pop("limit")
        with pytest.raises(DataError, match="nobody/has-this"):
            await estimate(tmp_path, values, until="generate")

    @pytest.mark.parametrize("paid", [0, 3])
    async def test_a_step_of_ones_own_is_counted_by_what_it_says_it_asks(
        self, tmp_path: Path, server: FakeServer, paid: int
    ) -> None:
        (tmp_path / "ask_twice.py").write_text(
            '"""Asks twice."""\n'
            "from collections import Counter\n"
            "from blackbox_kd.sdk import Ask, ModelName, SamplingConfig, row_step\n"
            "class Config(SamplingConfig):\n"
            "    who: ModelName\n"
            "    def calls_by_model(self):\n"
            "        return Counter({self.who: 2})\n"
            "@row_step(writes=['note'])\n"
            "async def run(row, config: Config, ctx):\n"
            "    messages = [{'role': 'user', 'content': row['instruction']}]\n"
            "    for sample in range(2):\n"
            "        reply = await ctx.ask(config.who, Ask(messages, config.sampling(), row, sample))\n"
            "    return row | {'note': reply.text}\n"
        )
        steps = [{"step": "ask_twice", "who": "teacher"}]
        values = recipe_values(plugins=["ask_twice.py"], models=behind(server), steps=steps)
        values["data"].pop("test")
        write_rows(tmp_path / "train.jsonl", ROWS)
        (tmp_path / "recipe.yaml").write_text(json.dumps(values))
        recipe = load_recipe(tmp_path / "recipe.yaml", allow_code=True, env={})
        options = EstimateOptions(tmp_path / "run", tmp_path / "ledger.sqlite", {}, probe=paid)
        found = (await estimate_run(recipe, options))["steps"][0]
        assert (found["paid"], found["calls"]["likely"]) == (paid, 20 - paid)


class TestTheLedger:
    async def test_what_is_paid_is_not_counted_again_and_what_it_shows_replaces_assumptions(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server), budget={"requests": 8})
        with pytest.raises(BudgetReached):
            await run(tmp_path, values)
        found = await estimate(tmp_path, values | {"budget": {"requests": 1000}})
        generate, evaluate = found["steps"]
        assert (generate["paid"], generate["calls"]["likely"]) == (8, 2)
        assert generate["completion_tokens"] == {"low": 8, "likely": 8, "high": 9}
        assert (evaluate["paid"], evaluate["calls"]["likely"]) == (0, 4)
        assert found["spent"]["requests"] == 8
        assert server.stats()["requests"] == 8

    async def test_after_the_whole_run_nothing_is_left(self, tmp_path: Path, server: FakeServer) -> None:
        values = recipe_values(models=behind(server), max_failed_share=1.0)
        values["steps"][2]["keep"] = "len(response) > 0"
        await run(tmp_path, values)
        found = await estimate(tmp_path, values)
        assert found["total"]["calls"] == {"low": 0, "likely": 0, "high": 0}
        assert found["total"]["usd"] == {"low": 0, "likely": 0, "high": 0}
        assert [entry["paid"] for entry in found["steps"]] == [10, 4]

    async def test_calls_behind_paid_replies_are_known_exactly(self, tmp_path: Path, server: FakeServer) -> None:
        values = recipe_values(models=behind(server))
        values["steps"] = [
            *values["steps"][:2],
            {"step": "filter", "keep": "len(response) > 0"},
            values["steps"][0] | {"as": "second", "prompt": "second"},
        ]
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Again: {{ response }}")
        await run(tmp_path, values, until="filter")
        found = await estimate(tmp_path, values)
        assert found["steps"][1]["calls"] == {"low": 10, "likely": 10, "high": 11}
        assert found["assumptions"] == ["steps[3] (generate), teacher: replies of 15 / 40 / 100 % of max_tokens"]

    async def test_behind_table_steps_nothing_is_left_after_the_whole_run(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server))
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Again: {{ response }}")
        (tmp_path / "third.jinja").write_text("Once more: {{ second }}")
        (tmp_path / "few.jinja").write_text("{% for e in examples %}{{ e.third }}{% endfor %}{{ instruction }}")
        first = values["steps"][0]
        shown = {"examples": {"table": "all", "count": 2, "choose": "random"}}
        values["steps"] = [
            first | {"samples": 3},
            {"step": "select", "per": "instruction", "best": 2, "by": "random"},
            first | {"prompt": "second", "as": "second"},
            {"step": "split", "outputs": {"one": 0.4, "two": 0.6}},
            first | {"input": "two", "prompt": "third", "as": "third", "output": "more"},
            {"step": "mix", "tables": {"more": 1.5}, "output": "all"},
            first | {"input": "train", "prompt": "few", "as": "fourth"} | shown,
        ]
        job = await run(tmp_path, values)
        found = await estimate(tmp_path, values)
        assert found["total"]["calls"] == {"low": 0, "likely": 0, "high": 0}
        assert sum(entry["paid"] for entry in found["steps"]) == job.report["models"][0]["calls"]
        assert server.stats()["requests"] == job.report["models"][0]["calls"]

    async def test_a_step_that_trains_is_not_run_and_passes_its_rows_on(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        student = {"student": {"provider": "transformers", "model": "some/model"}}
        values = recipe_values(models=behind(server) | student)
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Again: {{ response }}")
        again = values["steps"][0] | {"prompt": "second", "as": "second"}
        train = {"step": "train", "model": "student"}
        values["steps"] = [values["steps"][0], {"step": "format"}, train, again]
        await run(tmp_path, values, until="format")
        found = await estimate(tmp_path, values)
        assert [entry["calls"]["likely"] for entry in found["steps"]] == [0, 10]
        taught = values | {"models": behind(server), "steps": [values["steps"][0], {"step": "format"}, again]}
        await run(tmp_path, taught)
        found = await estimate(tmp_path, values)
        assert [(entry["paid"], entry["calls"]["high"]) for entry in found["steps"]] == [(10, 0), (10, 0)]

    async def test_rows_beyond_those_that_are_looked_up_count_as_not_paid_for(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server))
        await run(tmp_path, values, until="generate")
        found = await estimate(tmp_path, values, until="generate", looked_up=4)
        assert (found["steps"][0]["paid"], found["total"]["calls"]["likely"]) == (4, 6)


class TestTheProbe:
    async def test_its_calls_are_those_of_the_run_and_never_bought_again(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server))
        values["steps"][2]["keep"] = "len(response) > 0"
        found = await estimate(tmp_path, values, probe=3)
        assert server.stats()["requests"] == 6
        assert found["probe"]["calls"] == 6
        assert found["probe"]["usd"] == pytest.approx(found["spent"]["usd"])
        assert [(entry["measured"], entry["calls"]["likely"]) for entry in found["steps"]] == [(3, 7), (3, 1)]
        assert found["steps"][0]["completion_tokens"]["likely"] == 7 * 4
        assert "steps[0] (generate), teacher: replies as long as the 3 in the ledger" in found["assumptions"]
        job = await run(tmp_path, values | {"max_failed_share": 1.0})
        assert (job.report["models"][0]["calls"], job.report["models"][0]["replayed"]) == (8, 6)
        assert server.stats()["requests"] == server.stats()["answered"] == 14

    async def test_it_asks_later_steps_about_rows_that_got_there(self, tmp_path: Path, server: FakeServer) -> None:
        values = recipe_values(models=behind(server))
        values["steps"] = [values["steps"][0], values["steps"][0] | {"as": "second", "prompt": "second"}]
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Again: {{ response }}")
        found = await estimate(tmp_path, values, probe=2)
        assert [entry["measured"] for entry in found["steps"]] == [2, 2]
        await run(tmp_path, values)
        assert server.stats()["requests"] == server.stats()["distinct"] == 20

    @pytest.mark.parametrize("probe", [0, 5])
    async def test_prompts_that_show_earlier_replies_are_as_long_as_those(self, tmp_path: Path, probe: int) -> None:
        values = recipe_values()
        values["data"].pop("test")
        long = values["steps"][0] | {"max_tokens": 3000}
        values["steps"] = [long, long | {"prompt": "second", "max_tokens": 50, "as": "better"}]
        (tmp_path / "second.jinja").write_text("Say it better: {{ response }}")
        async with FakeServer(rule="word " * 2500 + "{n}") as server:
            values["models"] = behind(server, price={"input": 2.5, "output": 10})
            found = await estimate(tmp_path, values, probe=probe)
        second = found["steps"][1]
        calls, prompt = second["calls"], second["prompt_tokens"]
        if probe:
            assert prompt["low"] == pytest.approx(5 * 2504, rel=0.01)
            assert prompt["likely"] == pytest.approx(5 * 2504, rel=0.01)
        else:
            assert prompt["low"] == pytest.approx(10 * 450, rel=0.1)
            assert prompt["likely"] == pytest.approx(10 * 1200, rel=0.1)
            assert prompt["high"] > 10 * 3000
        assert prompt["low"] <= prompt["likely"] <= prompt["high"]
        assert second["usd"]["high"] > calls["likely"] * 2500 * 2.5e-6

    async def test_a_reply_that_takes_the_place_of_a_text_is_as_long_as_replies_are(self, tmp_path: Path) -> None:
        values = recipe_values()
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("{{ instruction }}")
        long = values["steps"][0] | {"max_tokens": 3000, "as": "instruction"}
        values["steps"] = [long, values["steps"][0] | {"prompt": "second", "max_tokens": 50}]
        found = await estimate(tmp_path, values)
        assert found["steps"][1]["prompt_tokens"]["high"] > 10 * 3000

    async def test_rounds_after_the_first_are_not_probed_and_measured_by_it(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server))
        values["data"].pop("test")
        (tmp_path / "second.jinja").write_text("Again: {{ response }}")
        again = values["steps"][0] | {"prompt": "second", "as": "second"}
        until = {"table": "lessons", "rows": 1000}
        steps = [values["steps"][0] | {"input": "train"}, again | {"output": "lessons"}]
        values["steps"] = [{"loop": {"rounds": 3, "until": until, "steps": steps}}]
        found = await estimate(tmp_path, values, probe=2)
        assert server.stats()["requests"] == found["probe"]["calls"] == 4
        assert [entry["paid"] for entry in found["steps"]] == [2, 2, 0, 0, 0, 0]
        assert [entry["measured"] for entry in found["steps"]] == [2] * 6
        first, second = found["steps"][1], found["steps"][3]
        each = [entry["prompt_tokens"]["likely"] / entry["calls"]["likely"] for entry in (first, second)]
        assert each[1] == pytest.approx(each[0], rel=0.1)

    async def test_probes_that_are_cut_off_are_told_and_asked_again(self, tmp_path: Path) -> None:
        async with FakeServer(always="cut_off") as server:
            values = recipe_values(models=behind(server))
            found = await estimate(tmp_path, values, probe=4, until="generate")
        assert found["total"]["calls"]["likely"] == 6 * 3 + 4 * 2
        assert 6 * 2 < found["total"]["calls"]["low"] <= found["total"]["calls"]["high"] == 6 * 3 + 4 * 2
        note = next(note for note in found["assumptions"] if "probes" in note)
        assert note.startswith(
            "steps[0] (generate), teacher: 4 of 4 probes could not be used: truncated: the reply was cut off after "
        )

    async def test_what_a_server_says_to_its_probes_is_told(self, tmp_path: Path) -> None:
        async with FakeServer(always="400") as server:
            values = recipe_values(models=behind(server))
            found = await estimate(tmp_path, values, probe=3, until="generate")
        assert found["total"]["calls"]["likely"] == 10
        note = next(note for note in found["assumptions"] if "probes" in note)
        assert note.startswith("steps[0] (generate), teacher: 3 of 3 probes could not be used: ")
        assert "this is a 400" in note

    async def test_models_that_cost_nothing_are_not_probed(self, tmp_path: Path) -> None:
        values = recipe_values(models={"teacher": {"provider": "scripted"}})
        found = await estimate(tmp_path, values, probe=3)
        assert found["probe"] == {"calls": 0, "usd": 0.0}

    async def test_it_keeps_to_the_budget(self, tmp_path: Path, server: FakeServer) -> None:
        values = recipe_values(models=behind(server), budget={"requests": 2})
        with pytest.raises(BudgetReached):
            await estimate(tmp_path, values, probe=3)
        assert server.stats()["requests"] == 2


class TestTheLookAtTheList:
    """Before probes are sent, endpoints are asked for their models."""

    async def look(self, folder: Path, models: Any, probe: int = 1, **fields: Any) -> list[tuple[str, str, str]]:
        async with FakeServer() as server:
            server.models = models
            values = recipe_values(models=behind(server, refuses=[], **fields))
            notes = Notes(datetime.date(2026, 11, 28))
            options = EstimateOptions(folder / "run", folder / "ledger.sqlite", {}, probe=probe)
            found = await estimate_run(load(folder, values), options, notes=notes)
            assert found["probe"] is None or found["probe"]["calls"] > 0
            assert bool(server.listed) == bool(probe)
            assert all(note["path"] == "models.teacher" and note["line"] > 0 for note in found["notes"])
            self.url = server.url
            return [(note["level"], note["what"].replace(server.url, "URL"), note["fix"]) for note in found["notes"]]

    async def test_a_model_that_is_listed_and_goes_on_is_nothing_to_speak_of(self, tmp_path: Path) -> None:
        far = {"data": [{"id": "m", "shutdown_date": "2027-04-01"}]}
        assert await self.look(tmp_path, {"data": [{"id": "m", "shutdown_date": None}]}) == []
        assert await self.look(tmp_path, far) == []
        assert await self.look(tmp_path, {"data": [{"id": "other"}]}, probe=0) == [], "nothing is sent without --probe"

    @pytest.mark.parametrize(
        ("listed", "what"),
        [
            ([], None),
            ([{"id": "other"}], "'m' is not listed by URL/models."),
            (
                [{"id": "m", "shutdown_date": "2027-01-14"}],
                "'m' is switched off on 2027-01-14, in 47 days, as URL/models says.",
            ),
            (
                [{"id": "m", "retires_at": "2026-11-01T00:00:00Z", "lifecycle": "deprecated"}],
                "'m' is switched off since 2026-11-01, as URL/models says.",
            ),
            ([{"id": "m", "lifecycle": "retired"}], "'m' is switched off for good, as URL/models says."),
            ([{"id": "m", "expiration_date": "2026-11-29"}], "'m' is switched off on 2026-11-29, in 1 day, as URL/"),
        ],
    )
    async def test_what_is_not_listed_or_ends_soon_is_warned_of(
        self, tmp_path: Path, listed: Any, what: str | None
    ) -> None:
        [(level, said, fix)] = await self.look(tmp_path, {"data": listed})
        if what is None:
            assert (level, fix) == ("note", "")
            assert said == "whether 'm' is listed is not known: URL/models has no list of models that can be read."
        else:
            assert level == "warning"
            assert said.startswith(what)
            assert fix

    @pytest.mark.parametrize("action", ["404", "500", "401", "429:1", "html", "text", "reset", "deep"])
    async def test_a_look_that_fails_is_one_line_and_nothing_else(self, tmp_path: Path, action: str) -> None:
        [(level, what, fix)] = await self.look(tmp_path, action)
        assert (level, fix) == ("note", "")
        assert what.startswith("whether 'm' is listed is not known: ")
        assert "\n" not in what

    async def test_the_key_goes_along(self, tmp_path: Path) -> None:
        async with FakeServer() as server:
            values = recipe_values(models=behind(server, key_env="OWN_KEY"))
            env = {"OWN_KEY": "sk-0123456789abcdef"}
            recipe = load(tmp_path, values)
            options = EstimateOptions(tmp_path / "run", tmp_path / "ledger.sqlite", env, probe=1)
            await estimate_run(recipe, options)
            assert [headers["Authorization"] for headers in server.listed] == ["Bearer sk-0123456789abcdef"]

    async def test_a_server_of_ones_own_is_not_asked(self, tmp_path: Path) -> None:
        async with FakeServer() as server:
            teacher = {"provider": "vllm", "model": "served", "base_url": server.url, "price": PRICE}
            found = await estimate(tmp_path, recipe_values(models={"teacher": teacher}), probe=1)
            assert (found["notes"], server.listed) == ([], [])
            assert found["probe"]["calls"] > 0


class TestTheBudget:
    @pytest.mark.parametrize(
        ("limit", "verdict"), [(16, "fits"), (14, "high breaks"), (13, "likely breaks"), (0, "likely breaks")]
    )
    async def test_it_says_which_estimate_breaks_it(self, tmp_path: Path, limit: int, verdict: str) -> None:
        found = await estimate(tmp_path, recipe_values(budget={"requests": limit}))
        assert found["budget"] == [{"limit": "requests", "most": limit, "spent": 0, "verdict": verdict}]

    async def test_what_is_spent_is_not_left(self, tmp_path: Path, server: FakeServer) -> None:
        values = recipe_values(models=behind(server), budget={"requests": 20})
        await run(tmp_path, values, until="generate")
        values["steps"][0]["max_tokens"] = 99
        found = await estimate(tmp_path, values)
        assert found["budget"] == [{"limit": "requests", "most": 20, "spent": 10, "verdict": "likely breaks"}]

    async def test_dollars_without_a_price_end_a_run_before_its_first_call(
        self, tmp_path: Path, server: FakeServer
    ) -> None:
        values = recipe_values(models=behind(server, price=None), budget={"usd": 1.0})
        with pytest.raises(RecipeError) as caught:
            await run(tmp_path, values)
        assert str(caught.value) == (
            f"{tmp_path}/recipe.yaml:1: models.teacher: no price is known for 'm', so budget.usd = 1 could not be "
            "kept.\n  fix: add price: {input: ..., output: ...} (USD for a million tokens), or limit requests: or "
            "tokens: instead"
        )
        assert server.stats()["requests"] == 0
        with pytest.raises(RecipeError):
            await estimate(tmp_path, values, probe=1)
        found = await estimate(tmp_path, values)
        assert [entry["verdict"] for entry in found["budget"]] == ["no price"]
        assert found["total"]["usd"] is None
        values["models"]["teacher"]["price"] = PRICE
        assert (await estimate(tmp_path, values))["budget"][0]["verdict"] == "fits"


class TestNumbers:
    def test_few_rows_prove_no_share_and_many_narrow_it(self) -> None:
        assert measure_share(3, 3) is KEPT
        narrow, wide = measure_share(500, 500), measure_share(20, 20)
        assert narrow.likely == wide.likely == 0.5
        assert wide.low < narrow.low < 0.5 < narrow.high < wide.high
        assert measure_share(30, 0) == Span(1.0, 1.0, 1.0)

    def test_one_reply_measures_the_likely_length_and_not_the_bounds(self) -> None:
        line = self.line([DryCall("m", 400, 1, 100, False, Usage(100, 30)), DryCall("m", 400, 1, 100, False)])
        assert line.completion == Span(15, 30, 100)
        assert line.prompt == Span.of(100)

    def test_replies_of_one_length_leave_no_doubt(self) -> None:
        paid = [DryCall("m", 400, 1, 100, False, Usage(100, 30))] * 5
        line = self.line([*paid, DryCall("m", 800, 1, 100, False)])
        assert (line.completion, line.prompt, line.paid) == (Span.of(30), Span.of(200), 5)
        assert line.usd == Span.of((200 * 1 + 30 * 10) / 1e6)

    def test_limits_of_the_endpoint_bound_the_time(self) -> None:
        class Limited(ModelConfig):
            @property
            def rate_limits(self) -> tuple[float | None, float | None]:
                return 6, None

        call = DryCall("m", 400, 1, 100, False)
        config = Limited(provider="openai", model="m")
        line = Asking([call] * 60, NOTHING, []).line("s", "m", config, [])
        assert line.seconds == Span.of(600)
        assert line.usd is None

    @staticmethod
    def line(found: list[DryCall], *met: Price) -> Any:
        config = ModelConfig(provider="openai", model="m")
        return Asking(found, NOTHING, []).line("s", "m", config, met or [Price(input=1, output=10)])


class TestCosts:
    """With prompts of 8,000 bytes, of which 6,144 are the same in all of them."""

    CACHING = Price(input=1, output=10, cached=0.1)
    CALLS: ClassVar = [DryCall("m", 8000, 0, 100, False, beginnings=(1, 2, 3, 4, 5, 6, n)) for n in range(100, 140)]
    SHARE = 6144 / 8000

    def test_what_prompts_share_is_read_from_a_cache_for_most_of_them(self) -> None:
        line = TestNumbers.line(self.CALLS, self.CACHING)
        tokens, saved = 2000, int(2000 * self.SHARE * 0.7) * 0.9
        assert line.saved.likely == pytest.approx(40 * saved / 1e6)
        assert line.usd.likely == pytest.approx(40 * (tokens - saved + 40 * 10) / 1e6)
        assert line.saved.high == 0, "nobody promises it"

    def test_what_is_not_found_there_is_written_where_that_has_a_price(self) -> None:
        price = Price(input=1, output=10, cached=0.1, cache_write=1.25)
        line = TestNumbers.line(self.CALLS, price)
        tokens = math.ceil(8000 / 3)
        assert line.usd.high == pytest.approx(40 * (tokens + int(tokens * self.SHARE) * 0.25 + 100 * 10) / 1e6)
        assert line.saved.high < 0 < line.saved.likely

    @pytest.mark.parametrize(
        ("calls", "price"),
        [
            (CALLS, Price(input=1, output=10)),
            ([DryCall("m", 8000, 0, 100, False, beginnings=(n,)) for n in range(40)], CACHING),
            ([DryCall("m", 1500, 0, 100, False, beginnings=(1,))] * 40, CACHING),
            ([DryCall("m", 8000, 0, 100, False)] * 40, CACHING),
        ],
        ids=["no price for it", "nothing shared", "too short", "not looked at"],
    )
    def test_others_save_nothing(self, calls: list[DryCall], price: Price) -> None:
        line = TestNumbers.line(calls, price)
        assert line.saved == NOTHING
        assert line.usd == TestNumbers.line(calls, Price(input=1, output=10)).usd

    def test_enough_replies_measure_what_is_read_from_the_cache(self) -> None:
        paid = [DryCall("m", 8000, 0, 100, False, Usage(2000, 30, cached_tokens=1000, cache_write_tokens=100))] * 20
        line = TestNumbers.line([*paid, *self.CALLS], Price(input=1, output=10, cached=0.1, cache_write=1.25))
        assert line.saved == Span.of(pytest.approx(40 * (1000 * 0.9 - 100 * 0.25) / 1e6))

    def test_of_prices_that_change_the_present_one_is_likely_and_the_dearest_high(self) -> None:
        met = [Price(input=1, output=10), Price(input=2, output=20), Price(input=0.5, output=5)]
        line = TestNumbers.line([DryCall("m", 400, 0, 100, False, Usage(100, 30))] * 5 + self.CALLS[:1], *met)
        each = line.usd.likely
        assert (line.usd.low, line.usd.high) == (pytest.approx(each / 2), pytest.approx(each * 2))

    def test_a_long_prompt_costs_as_its_tier(self) -> None:
        price = TieredPrice(input=1, output=10, tiers=[(1500, Price(input=2, output=15))])
        assert TestNumbers.line(self.CALLS, price).usd.likely == pytest.approx(40 * (2000 * 2 + 40 * 15) / 1e6)

    def test_a_reply_without_a_limit_has_room_for_reasoning(self) -> None:
        line = TestNumbers.line([DryCall("m", 400, 0, None, False, room=8192)])
        assert line.completion.likely == pytest.approx(500 + 0.1 * 8192)
        assert TestNumbers.line([DryCall("m", 400, 0, None, False)]).completion.likely == 500

    async def test_an_estimate_tells_of_what_its_rows_share(self, tmp_path: Path) -> None:
        (tmp_path / "shared.jinja").write_text(
            "{% system %}" + "Solve it step by step. " * 400 + "{% endsystem %}{% user %}{{ instruction }}{% enduser %}"
        )
        teacher = {"provider": "openai", "model": "gpt-5.1"}
        values = recipe_values(models={"teacher": teacher})
        values["steps"][0] |= {"prompt": "shared"}
        values["steps"][0].pop("temperature", None)
        found = await estimate(tmp_path, values, until="generate")
        saved = found["total"]["cache_saved_usd"]
        assert 0 == saved["high"] < saved["likely"] < saved["low"]
        told = " of the prompts is read from the endpoint's cache (95 / 70 / 0 % of what they share); that saves"
        assert any(told in line for line in found["assumptions"])
        values["models"]["teacher"]["price"] = PRICE
        assert (await estimate(tmp_path, values, until="generate"))["total"]["cache_saved_usd"]["likely"] == 0


async def test_a_schema_is_counted_among_what_is_asked(tmp_path: Path) -> None:
    properties = {
        f"field_{n}": {"type": "string", "description": "What stands there, word by word."} for n in range(20)
    }
    ask = recipe_values()["steps"][0]
    plain, wanted = [
        await estimate(tmp_path, recipe_values(data={"train": {"path": "train.jsonl"}}, steps=[step]))
        for step in (ask, {**ask, "schema": {"type": "object", "properties": properties}})
    ]
    assert wanted["total"]["prompt_tokens"]["likely"] > plain["total"]["prompt_tokens"]["likely"] + 10 * 200


async def test_items_of_lists_that_are_yet_to_be_written_are_taken_for_five_and_known_ones_are_counted(
    tmp_path: Path,
) -> None:
    ask = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 0.5, "max_tokens": 100}
    each = {"step": "map", "each": "lines(response)", "as": "line"}
    values = recipe_values(steps=[ask, each, {**ask, "as": "later"}], data={"train": {"path": "train.jsonl"}})
    found = await estimate(tmp_path, values)
    assert [entry["calls"]["likely"] for entry in found["steps"]] == [10, 30], "and six of ten rows pass, by default"
    assert "steps[1] (map): 5 rows of each row that is not there yet" in found["assumptions"]
    values["steps"] = [{**each, "each": "split(instruction, ' ')"}, {**ask, "as": "later"}]
    found = await estimate(tmp_path, values)
    assert [entry["calls"]["likely"] for entry in found["steps"]] == [50]
    assert not any("not there yet" in told for told in found["assumptions"])
    values["steps"] = [ask, {**ask, "turns": "lines(response)", "as": "later"}, {**ask, "as": "last"}]
    found = await estimate(tmp_path, values)
    assert [entry["calls"]["likely"] for entry in found["steps"]] == [10, 40, 10], "four turns each, and one row"
