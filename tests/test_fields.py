"""No knob that nothing reads: every field of a recipe, a table, a model and a step changes something one can see.

The fields are found in the config classes. Each has a case in `CASES`: what is looked at without it and with it,
and what it becomes. A field without a case fails by its name: give it one, or take it out.
"""

import asyncio
import functools
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from blackbox_kd import models, open_models
from blackbox_kd import recipe as recipes
from blackbox_kd.calls import prices
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.context import RunContext, Shared
from blackbox_kd.errors import BlackboxError, CallError
from blackbox_kd.models import Model, ModelConfig, Setup, scripted
from blackbox_kd.recipe import RecipeFile
from blackbox_kd.registry import Registry
from blackbox_kd.run import RunFolder
from blackbox_kd.runner import Options, Run
from blackbox_kd.schema import Request, Row, Sampling, Usage
from blackbox_kd.sources import TableSource
from blackbox_kd.steps import train as train_step
from blackbox_kd.training import launch, sft
from tests.calls.test_caller import MemoryLedger
from tests.fake_batches import FakeBatches
from tests.fake_server import FakeServer
from tests.fakes import FakeContext, outcomes
from tests.runs import rows_of, trained, write_rows
from tests.tiny import tiny_model
from tests.virtual_time import run as in_virtual_time

SERVER = "http://server"
"""Stands in recipes for the URL of a server that is started for the run."""


def fields_of(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    """Paths of the fields of a config class and of the classes inside of it, as recipes name them."""
    for name, entry in kind.model_fields.items():
        path = f"{prefix}.{entry.alias or name}"
        yield path
        for inner in inside(entry.annotation):
            yield from fields_of(inner, path)


def inside(annotation: Any) -> set[type[BaseModel]]:
    """The config classes that an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for part in get_args(annotation) for found in inside(part)}


def all_fields() -> list[str]:
    registry = Registry()
    found = [*fields_of(RecipeFile, "recipe"), *fields_of(TableSource, "data")]
    for name in models.providers():
        found += fields_of(models.provider(name).Config, name)
    for name in registry.names():
        found += fields_of(registry.get(name).config, name)
    return found


# What can be looked at: a whole run, a request that a provider sends, the arguments of a training.


@dataclass
class Seen:
    """What a run left behind."""

    folder: Path
    error: str
    bodies: list[dict[str, Any]]

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run/report.json").read_text()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the last table."""
        return rows_of(max((self.folder / "run/tables").glob("*.jsonl")))


def furnish(folder: Path) -> None:
    """The files that recipes here read."""
    for name, start, count in (("train", 0, 5), ("other", 20, 2), ("test", 40, 4), ("shots", 60, 3)):
        write_rows(
            folder / f"{name}.jsonl",
            (
                {
                    "instruction": f"What is {n} + 1?",
                    "reference": f"{n + 1}.0",
                    "gold": "99",
                    "response": "Well, " * (9 - n % 10) + f"1 + 1 = 3. The answer is {n + 1}.",
                    "draft": "The answer is 0.",
                    "score": n,
                    "rank": -n,
                    "kind": "ab"[n % 2],
                    "half": "ab"[n % 5 > 2],
                }
                for n in range(start, start + count)
            ),
        )
    write_rows(folder / "mute.jsonl", [{"instruction": str(n), "response": ""} for n in range(3)])
    write_rows(folder / "mute2.jsonl", [{"instruction": str(n), "response": ""} for n in range(3, 5)])
    (folder / "short.jinja").write_text("In short: {{ instruction }}")
    shots = "{% for shot in examples | default([]) %}{{ shot.instruction }} {% endfor %}Now: {{ instruction }}"
    (folder / "shots.jinja").write_text(shots)
    (folder / "said.py").write_text(
        "import asyncio\n"
        "async def reply(messages, row, sample):\n"
        "    await asyncio.sleep(0)\n"
        "    return 'said by a function'\n"
    )
    (folder / "shout.py").write_text(
        "from blackbox_kd.registry import StepConfig, row_step\n"
        "@row_step(reads=['response'], writes=['response'])\n"
        "async def run(row, config: StepConfig, ctx):\n"
        "    return row | {'response': row['response'].upper()}\n"
    )


async def ran(values: Mapping[str, Any], sets: tuple[str, ...] = ()) -> Seen:
    """Runs a recipe, with `--set` assignments, in a folder of its own; an error is part of what is seen."""
    folder = Path(tempfile.mkdtemp(prefix="fields-"))
    furnish(folder)
    async with FakeServer() as server:
        (folder / "recipe.yaml").write_text(json.dumps(values).replace(SERVER, server.url))
        overrides = [text.replace(SERVER, server.url) for text in sets]
        error = ""
        try:
            recipe = recipes.load(folder / "recipe.yaml", overrides=overrides, allow_code=True, env={})
            places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
            await Run(recipe, Options(**places, env={})).execute()
        except BlackboxError as found:
            error = str(found)
        return Seen(folder, error, server.seen)


def recipe(*steps: Mapping[str, Any], data: Mapping[str, Any] | None = None, **head: Any) -> dict[str, Any]:
    """A recipe with the models that its steps name."""
    text = json.dumps(steps)
    known: dict[str, dict[str, Any]] = {
        "teacher": {"provider": "scripted"},
        "right": {"provider": "scripted", "replies": ["The answer is {{ reference | float | int }}."]},
        "other": {"provider": "scripted", "replies": ["Said by another."]},
        "served": {"provider": "openai", "model": "m", "base_url": SERVER, "price": {"input": 1, "output": 10}},
        "student": {"provider": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"},
    }
    used = {name: config for name, config in known.items() if f'"{name}"' in text}
    return {"name": "demo", "data": data or {"train": {"path": "train.jsonl"}}, "models": used, "steps": steps, **head}


HELD_OUT = {"test": {"path": "test.jsonl", "held_out": True}}
ASK = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
STEPS: dict[str, dict[str, Any]] = {
    "check": {"step": "check", "answer": "number"},
    "evaluate": {"step": "evaluate", "models": ["right"], "answer": "number"},
    "filter": {"step": "filter", "keep": "score >= 1"},
    "format": {"step": "format"},
    "generate": ASK,
    "mix": {"step": "mix", "tables": {"train": 1}},
    "select": {"step": "select", "rows": 4},
    "split": {"step": "split", "outputs": {"low": "score < 2", "high": "score >= 2"}},
    "train": {"step": "train", "model": "student"},
}
"""Each step as short as it can be written."""
MUTE = {"train": {"path": "mute.jsonl"}, "other": {"path": "mute2.jsonl"}}
"""Rows from which nothing can be learnt: a training on them is refused before it begins."""
BASES: dict[str, dict[str, Any]] = {
    **{name: recipe(step) for name, step in STEPS.items() if name not in ("evaluate", "train")},
    "train": recipe(STEPS["train"], data={"train": MUTE["train"]}),
    "asked": recipe({**ASK, "model": "served", "temperature": None}),
    "two models": recipe({**ASK, "model": None, "models": ["other", "teacher"], "as": "first"}, ASK),
    "shown": recipe(
        {**ASK, "model": "served", "prompt": "shots", "examples": {"table": "shots", "count": 1}},
        data={"train": {"path": "train.jsonl"}, "shots": {"path": "shots.jsonl"}},
    ),
    "evaluate": recipe({**STEPS["evaluate"], "input": "test"}, data=HELD_OUT | {"train": {"path": "train.jsonl"}}),
    "evaluate asked": recipe({**STEPS["evaluate"], "input": "test", "models": ["served"]}, data=HELD_OUT),
    "two tables": recipe(
        {"step": "mix", "tables": {"train": 1, "other": 1}},
        data={"train": {"path": "train.jsonl"}, "other": {"path": "other.jsonl"}},
    ),
    "drawn": recipe({"step": "select", "rows": 2, "by": "random"}),
    "top": recipe({"step": "select", "rows": 2, "by": "top", "column": "score"}),
    "groups": recipe({"step": "select", "per": "kind", "best": 1}),
    "cut off": recipe(ASK, models={"teacher": {"provider": "scripted", "replies": [{"text": "It", "finish_reason": "length"}]}}),
}  # fmt: skip
BASES["evaluate"]["steps"] = [*BASES["evaluate"]["steps"], STEPS["filter"]]


@functools.cache
def base(name: str) -> Seen:
    """A base, run once."""
    return asyncio.run(ran(BASES[name]))


class Case:
    """What is seen without a field, what with it, and what that has to be: a value, or what is true of it."""

    becomes: Any

    def observe(self) -> tuple[Any, Any]:
        raise NotImplementedError


@dataclass
class Runs(Case):
    """A base is run as it is, and with `--set` assignments."""

    base: str | dict[str, Any]
    sets: str | tuple[str, ...]
    look: Callable[[Seen], Any]
    becomes: Any

    def observe(self) -> tuple[Any, Any]:
        sets = (self.sets,) if isinstance(self.sets, str) else self.sets
        if isinstance(self.base, str):
            return self.look(base(self.base)), self.look(asyncio.run(ran(BASES[self.base], sets)))
        return self.look(asyncio.run(ran(self.base))), self.look(asyncio.run(ran(self.base, sets)))


@dataclass
class Opens(Case):
    """A provider is given a config without the fields, and with them."""

    provider: str
    fields: dict[str, Any]
    look: Callable[[ModelConfig], Awaitable[Any]]
    becomes: Any
    without: Mapping[str, Any] | None = None

    def observe(self) -> tuple[Any, Any]:
        kind: type[ModelConfig] = models.provider(self.provider).Config
        start = {"provider": self.provider, "model": str(tiny_model()) if self.provider == "transformers" else "m"}
        configs = [kind.model_validate(start | dict(fields)) for fields in (self.without or {}, self.fields)]
        before, after = (asyncio.run(self._looked(config)) for config in configs)
        return before, after

    async def _looked(self, config: ModelConfig) -> Any:
        return await self.look(config)


@dataclass
class Trains(Case):
    """The settings of a training lead to other arguments of TRL or of peft."""

    fields: dict[str, Any]
    look: Callable[[dict[str, Any]], Any]
    becomes: Any

    def observe(self) -> tuple[Any, Any]:
        return self.look(settings_of({})), self.look(settings_of(self.fields))


@dataclass
class Shows(Case):
    """Anything else: two functions."""

    without: Callable[[], Any]
    with_it: Callable[[], Any]
    becomes: Any

    def observe(self) -> tuple[Any, Any]:
        return self.without(), self.with_it()


# Ways to look at a run.


def column(name: str) -> Callable[[Seen], Any]:
    return lambda seen: [row.get(name) for row in seen.rows]


def error(part: str) -> Callable[[Seen], bool]:
    return lambda seen: part in seen.error


def body(name: str) -> Callable[[Seen], Any]:
    return lambda seen: seen.bodies[0].get(name)


def asked(seen: Seen) -> str:
    return str(seen.bodies[0]["messages"][-1]["content"])


def all_asked(seen: Seen) -> set[str]:
    return {str(each["messages"][-1]["content"]).partition("Now:")[0] for each in seen.bodies}


def evaluation(name: str) -> Callable[[Seen], Any]:
    return lambda seen: seen.report["evaluations"][0].get(name)


def card(seen: Seen) -> str:
    return (seen.folder / "run/dataset/README.md").read_text()


def rows_in(seen: Seen) -> int:
    return int(seen.report["funnel"][-1]["in"])


# Ways to look at a model.

MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
KEYS = {"FIRST_KEY": "sk-first", "SECOND_KEY": "sk-second"}


def request(row: str = "r", sampling: Sampling | None = None) -> Request:
    return Request(MESSAGES, sampling or Sampling(max_tokens=9), Row({"id": row, "reference": "4"}))


def opened(config: ModelConfig, folder: Path | None = None) -> Model:
    setup = Setup("m", folder or Path(), Path(tempfile.mkdtemp(prefix="fields-cache-")), KEYS, allow_code=True)
    model: Model = models.provider(config.provider).open_model(config, setup)
    return model


async def reply(config: ModelConfig, folder: Path | None = None) -> dict[str, Any]:
    """The body of one reply."""
    model = opened(config, folder)
    try:
        text, _ = await model.send(model.wire(request()), request())
        return dict(json.loads(text))
    finally:
        await model.close()


def sent(look: Callable[[FakeServer], Any], **server: Any) -> Callable[[ModelConfig], Awaitable[Any]]:
    """What a server sees of one request; the path of `base_url` is kept."""

    async def looked(config: ModelConfig) -> Any:
        async with FakeServer(**server) as fake:
            path = "/other" if "other" in str(config.base_url) else ""  # type: ignore[attr-defined]
            try:
                await reply(config.model_copy(update={"base_url": fake.url + path}))
            except CallError as fault:
                return fault.kind
            return look(fake)

    return looked


def sent_body(name: str) -> Callable[[ModelConfig], Awaitable[Any]]:
    return sent(lambda server: server.seen[0].get(name))


async def bill(config: ModelConfig) -> float | None:
    """What a reply with 1000 prompt tokens, 500 of them cached, and 100 completion tokens costs."""
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=100_000, cached_tokens=500_000)
    return prices.cost(prices.price_of(config, "http://nowhere"), usage)


def in_virtual(look: str) -> Callable[[ModelConfig], Awaitable[Any]]:
    """How fast 30 requests go out, or how many at once, as the caller reads the config: without real time."""

    class Slow(scripted.ScriptedModel):
        def __init__(self, config: ModelConfig) -> None:
            super().__init__(scripted.Config(provider="scripted"), Setup("m", Path(), Path(), {}))
            self.config, self.endpoint = config, "http://nowhere m"
            self.now = self.most = 0

        async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.5)
            self.now -= 1
            return await super().send(wire, request)

    async def main(config: ModelConfig) -> dict[str, float]:
        model, began = Slow(config), asyncio.get_running_loop().time()
        caller = Caller(MemoryLedger(), Budget())  # type: ignore[arg-type]
        rows = [Row({"id": str(number), "reference": "4"}) for number in range(30)]
        await asyncio.gather(*(caller.ask(model, MESSAGES, Sampling(), row=row) for row in rows))
        return {"most": model.most, "seconds": asyncio.get_running_loop().time() - began}

    async def looked(config: ModelConfig) -> Any:
        found = await asyncio.to_thread(lambda: in_virtual_time(main(config)))
        return found[look]

    return looked


async def in_batches(config: ModelConfig) -> Any:
    async with FakeBatches() as server:
        folder = Path(tempfile.mkdtemp(prefix="fields-"))
        furnish(folder)
        entry = {**config.model_dump(exclude_unset=True), "base_url": server.url}
        values = recipe({**ASK, "model": "served"}, models={"served": entry})
        (folder / "recipe.yaml").write_text(json.dumps(values))
        places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
        await Run(recipes.load(folder / "recipe.yaml", env={}), Options(**places, env={})).execute()
        return server.sizes()


# Ways to look at a model in this process.


@functools.cache
def variant(kind: str) -> Path:
    """A folder with other weights, an adapter, or a template that reads a variable."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{kind}-"))
    if kind == "adapter":
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        plain = AutoModelForCausalLM.from_pretrained(tiny_model())
        get_peft_model(plain, LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")).save_pretrained(
            folder
        )
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(tiny_model() / name, folder / name)
        return folder
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    if kind == "weights":
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        save_file({name: -value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    else:
        template = folder / "chat_template.jinja"
        template.write_text("{{ tone | default('') }}" + template.read_text())
    return folder


async def weights(config: ModelConfig) -> str:
    """What names the weights in a request's key."""
    return str(opened(config).wire(request())["weights"])


async def precision(config: ModelConfig) -> str:
    model: Any = opened(config)
    await model.send(model.wire(request()), request())
    found = str(next(model._engine._model.parameters()).dtype)
    await model.close()
    return found


async def device_error(config: ModelConfig) -> bool:
    try:
        await reply(config)
    except Exception as found:
        return "nowhere" in str(found)
    return False


async def rows_at_once(config: ModelConfig) -> int:
    """The most texts in one forward pass when eight are asked for together."""
    model: Any = opened(config)
    most = 0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal most
        most = max(most, len(output))

    await model.send(model.wire(request()), request())
    model._engine._model.get_input_embeddings().register_forward_hook(count)
    asked = [request(str(number)) for number in range(8)]
    await asyncio.gather(*(model.send(model.wire(each), each) for each in asked))
    await model.close()
    return most


async def prompt_tokens(config: ModelConfig) -> int:
    return int((await reply(config))["usage"]["prompt_tokens"])


# Ways to look at a training.


def settings_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the step `train` hands to training."""
    ctx = FakeContext()
    config = train_step.Config.model_validate({"step": "train", "model": "student", **fields})
    asyncio.run(outcomes(train_step, [], config, ctx))
    return dict(ctx.trained[0][2])


def argument(name: str) -> Callable[[dict[str, Any]], Any]:
    """An argument of TRL's for 160 rows."""

    def look(settings: dict[str, Any]) -> Any:
        made = sft.arguments(settings, Path("out"), 160, 512, on_gpu=False, evaluates=False)
        return getattr(made, name)

    return look


def lora(name: str) -> Callable[[dict[str, Any]], Any]:
    def look(settings: dict[str, Any]) -> Any:
        from transformers import AutoModelForCausalLM

        return getattr(sft.lora(settings, AutoModelForCausalLM.from_pretrained(tiny_model())), name)

    return look


def rows_of_a_step(settings: dict[str, Any]) -> int:
    made = sft.arguments(settings, Path("out"), 160, 512, on_gpu=False, evaluates=False)
    return int(made.per_device_train_batch_size * made.gradient_accumulation_steps)


@functools.cache
def training(changed: bool) -> dict[str, Any]:
    """What training says at its end: of a plain run, and of one that is given less to learn."""
    if not changed:
        return dict(trained().report["trainings"][0])
    folder = Path(tempfile.mkdtemp(prefix="fields-train-"))
    turns = [(f"say {n}", "yes") for n in range(9)] + [("say it", "z" * 200)]
    write_rows(
        folder / "rows.jsonl",
        ({"prompt": [{"role": "user", "content": a}], "completion": [{"role": "assistant", "content": b}]} for a, b in turns),
    )  # fmt: skip
    fields = {"eval_share": 0.3, "max_length": 64, "long_rows": "drop", "max_steps": 1, "seed": 1}
    settings = {key: value for key, value in settings_of(fields).items() if key != "start"}
    job = {"model": str(tiny_model()), "adapter_from": None, "data": str(folder / "rows.jsonl")}
    (folder / "job.json").write_text(json.dumps({**job, "output": str(folder / "out"), "settings": settings}))
    return asyncio.run(launch.run_training("sft", folder / "job.json", lambda event: None))


def told(name: str, becomes: Any) -> Case:
    return Shows(lambda: training(False)[name], lambda: training(True)[name], becomes)


def adapter_from(start: str) -> str | None:
    """The adapter that a second training starts from: its job is looked at, and then it is stopped."""

    async def main() -> str | None:
        folder = Path(tempfile.mkdtemp(prefix="fields-start-"))
        furnish(folder)
        values = recipe({**STEPS["train"], "start": start})
        values["models"]["student"]["model"] = str(tiny_model())
        (folder / "recipe.yaml").write_text(json.dumps(values))
        found = recipes.load(folder / "recipe.yaml", env={})
        with RunFolder(folder / "run") as run_folder:
            shared = Shared(found, run_folder, open_models.OpenModels(found, folder / "cache", {}), None)  # type: ignore[arg-type]
            shared.models.versions["student"] = [variant("adapter")]
            rows = [Row({"id": "r", "instruction": "a", "response": "b"})]
            context = RunContext(shared, found.steps[0])
            task = asyncio.ensure_future(context.train("student", "sft", settings_of({"start": start}), rows))
            job = folder / "run/work/train_student@2.json"
            while not job.exists():
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found_adapter: str | None = json.loads(job.read_text())["adapter_from"]
            return found_adapter

    return asyncio.run(main())


# Ways to look at a table of `data:`.


def hub_folder() -> str:
    """A data set as the Hub has it, in a folder: two configurations, two splits."""
    folder = Path(tempfile.mkdtemp(prefix="fields-hub-"))
    for config in ("plain", "hard"):
        for split in ("train", "test"):
            write_rows(folder / f"{config}-{split}.jsonl", [{"instruction": f"{config} {split}"}])
    files = "".join(
        f"- config_name: {config}\n  default: {'true' if config == 'plain' else 'false'}\n  data_files:\n"
        + "".join(f"  - {{split: {split}, path: {config}-{split}.jsonl}}\n" for split in ("train", "test"))
        for config in ("plain", "hard")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{files}---\n")
    return str(folder)


def from_hub(**fields: Any) -> dict[str, Any]:
    return recipe({"step": "filter", "keep": "len(instruction) > 0"}, data={"train": fields})


def generated(**fields: Any) -> dict[str, Any]:
    entry = {"generator": "reasoning_gym", "task": "chain_sum", "size": 3} | fields
    return recipe({"step": "filter", "keep": "len(instruction) > 0"}, data={"train": entry})


HUB = hub_folder()
UNGENERATED = pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="reasoning_gym is missing")
NEEDS_GENERATOR = {f"data.{name}" for name in ("task", "size", "seed", "options")}


def differs(value: Any) -> bool:
    return bool(value)


CASES: dict[str, Case] = {
    # The head.
    "recipe.name": Runs("filter", "name=other", lambda seen: seen.report["recipe"], "other"),
    "recipe.description": Runs("filter", "description=Sums.", lambda seen: "\nSums.\n" in card(seen), True),
    "recipe.paper": Runs("filter", "paper=arXiv:1", lambda seen: seen.report["paper"], "arXiv:1"),
    "recipe.license": Runs("filter", "license=mit", lambda seen: card(seen).split("\n")[1], "license: mit"),
    "recipe.seed": Runs("drawn", "seed=1", column("id"), differs),
    "recipe.data": Runs("filter", "data={train: {path: other.jsonl}}", rows_in, 2),
    "recipe.models": Runs("generate", "models={teacher: {provider: scripted, replies: [Ho]}}", column("response"), ["Ho"] * 5),
    "recipe.budget": Runs("generate", "budget={requests: 2}", error("2 requests of budget.requests = 2 spent"), True),
    "recipe.budget.usd": Runs("asked", "budget.usd=0", error("of budget.usd = 0"), True),
    "recipe.budget.requests": Runs("generate", "budget.requests=3", error("budget.requests = 3"), True),
    "recipe.budget.tokens": Runs("generate", "budget.tokens=2000", error("budget.tokens = 2000"), True),
    "recipe.max_failed_share": Runs("cut off", "max_failed_share=1.0", error("5 of 5 rows failed"), False),
    "recipe.plugins": Runs(recipe({"step": "shout"}), "plugins=[shout.py]", error("unknown step 'shout'"), False),
    "recipe.steps": Runs("filter", "steps=[{step: format}]", lambda seen: seen.report["funnel"][0]["step"], "steps[0] (format)"),
    # Tables.
    "data.path": Runs("filter", "data.train.path=other.jsonl", rows_in, 2),
    "data.rename": Runs("filter", "data.train.rename={gold: truth}", column("truth"), ["99"] * 4),
    "data.held_out": Runs("filter", "data.train.held_out=true", error("there is no table to read"), True),
    "data.limit": Runs("filter", "data.train.limit=3", rows_in, 3),
    "data.hub": Runs("filter", (f"data.train={{hub: {HUB}}}", "steps.0.keep=len(instruction) > 0"), column("instruction"), ["plain train"]),
    "data.name": Runs(from_hub(hub=HUB), "data.train.name=hard", column("instruction"), ["hard train"]),
    "data.split": Runs(from_hub(hub=HUB), "data.train.split=test", column("instruction"), ["plain test"]),
    "data.generator": Runs("filter", "data.train={generator: reasoning_gym, task: chain_sum}", lambda seen: "reasoning_gym" in seen.error or rows_in(seen) == 100, True),
    "data.task": Runs(generated(), "data.train.task=basic_arithmetic", column("task"), ["basic_arithmetic"] * 3),
    "data.size": Runs(generated(), "data.train.size=7", rows_in, 7),
    "data.seed": Runs(generated(), "data.train.seed=1", column("instruction"), differs),
    "data.options": Runs(generated(), "data.train.options={min_terms: 9, max_terms: 9}", column("instruction"), differs),
    # check
    "check.answer": Runs("check", "steps.0.answer=exact", column("correct"), [False] * 5),
    "check.against": Runs("check", "steps.0.against=gold", column("correct"), [False] * 5),
    "check.of": Runs("check", "steps.0.of=draft", column("answer"), ["0"] * 5),
    "check.fix_arithmetic": Runs("check", "steps.0.fix_arithmetic=true", lambda seen: "1 + 1 = 2." in seen.rows[0]["response"], True),
    # evaluate
    "evaluate.models": Runs("evaluate", ("models.other={provider: scripted}", "steps.0.models=[right, other]"), lambda seen: len(seen.report["evaluations"]), 2),
    "evaluate.prompt": Runs("evaluate asked", "steps.0.prompt=short", asked, "In short: What is 40 + 1?"),
    "evaluate.answer": Runs("evaluate", "steps.0.answer=exact", evaluation("right"), 0),
    "evaluate.against": Runs("evaluate", "steps.0.against=gold", evaluation("right"), 0),
    "evaluate.by": Runs("evaluate", "steps.0.by=[kind]", lambda seen: list(seen.report["evaluations"][0].get("slices", {"none": {}}).values())[0].keys() - set(), {"a", "b"}),
    # filter, format
    "filter.keep": Runs("filter", "steps.0.keep=score >= 3", column("score"), [3, 4]),
    "format.prompt": Runs("format", "steps.0.prompt=short", lambda seen: seen.rows[0]["prompt"][0]["content"], "In short: What is 0 + 1?"),
    "format.completion": Runs("format", "steps.0.completion=draft", lambda seen: seen.rows[0]["completion"][0]["content"], "The answer is 0."),
    # generate
    "generate.model": Runs("two models", "steps.1.model=other", lambda seen: set(column("model")(seen)), {"other"}),
    "generate.models": Runs("two models", ("steps.1.model=null", "steps.1.models=[other, teacher]"), lambda seen: len(seen.rows), 20),
    "generate.prompt": Runs("asked", "steps.0.prompt=short", lambda seen: asked(seen)[:9], "In short:"),
    "generate.as": Runs("generate", "steps.0.as=said", lambda seen: "said" in seen.rows[0], True),
    "generate.samples": Runs("generate", "steps.0.samples=3", lambda seen: len(seen.rows), 15),
    "generate.examples": Runs(recipe({**ASK, "model": "served", "prompt": "shots"}), "steps.0.examples={table: train, count: 1}", all_asked, {"What is 0 + 1? ", "What is 1 + 1? "}),
    "generate.examples.table": Runs("shown", ("data.shots.path=other.jsonl", "steps.0.examples.table=shots"), all_asked, {"What is 20 + 1? "}),
    "generate.examples.count": Runs("shown", "steps.0.examples.count=2", all_asked, {"What is 60 + 1? What is 61 + 1? "}),
    "generate.examples.choose": Runs("shown", "steps.0.examples.choose=random", lambda seen: len(all_asked(seen)) > 1, True),
    # mix, select, split
    "mix.tables": Runs("two tables", "steps.0.tables={train: 1, other: 3}", lambda seen: len(seen.rows), 11),
    "mix.rows": Runs("two tables", "steps.0.rows=4", lambda seen: len(seen.rows), 4),
    "mix.shuffle": Runs("two tables", "steps.0.shuffle=false", lambda seen: [n >= 20 for n in column("score")(seen)], [False] * 5 + [True] * 2),
    "select.per": Runs("groups", "steps.0.per=half", column("score"), [0, 3]),
    "select.best": Runs("groups", "steps.0.best=2", column("score"), [0, 1, 2, 3]),
    "select.rows": Runs("select", "steps.0.rows=1", column("score"), [0]),
    "select.by": Runs("select", ("steps.0.rows=2", "steps.0.by=shortest"), column("score"), [3, 4]),
    "select.column": Runs("top", "steps.0.column=rank", column("score"), [0, 1]),
    "split.outputs": Runs("split", "steps.0.outputs={low: 0.0001, high: 0.9999}", lambda seen: len(rows_of(seen.folder / "run/tables/01_split_low.jsonl")), 0),
    "split.balance": Runs("split", "steps.0.balance=upsample", lambda seen: len(rows_of(seen.folder / "run/tables/01_split_low.jsonl")), 3),
    # train
    "train.model": Runs("train", ("models={other: {provider: scripted}}", "steps.0.model=other"), error("model 'other' cannot be trained"), True),
    "train.method": Runs("train", "steps.0.method=dpo", error("dpo"), True),
    "train.start": Shows(lambda: adapter_from("base"), lambda: adapter_from("latest"), lambda path: path == str(variant("adapter"))),
    "train.adapter": Trains({"adapter": "full"}, argument("learning_rate"), 2e-5),
    "train.r": Trains({"r": 4}, lora("r"), 4),
    "train.alpha": Trains({"alpha": 5}, lora("lora_alpha"), 5),
    "train.dropout": Trains({"dropout": 0.1}, lora("lora_dropout"), 0.1),
    "train.layers": Trains({"layers": 0.5}, lora("layers_to_transform"), [1]),
    "train.learning_rate": Trains({"learning_rate": 1e-3}, argument("learning_rate"), 1e-3),
    "train.epochs": Trains({"epochs": 7}, argument("num_train_epochs"), 7),
    "train.max_steps": Trains({"max_steps": 9}, argument("max_steps"), 9),
    "train.batch_size": Trains({"batch_size": 6}, rows_of_a_step, 6),
    "train.max_length": told("max_length", 64),
    "train.long_rows": told("rows_left_out", 1),
    "train.packing": Trains({"packing": True}, argument("packing"), True),
    "train.eval_share": told("rows_for_evaluation_loss", 3),
    "train.warmup": Trains({"warmup": 0.2}, argument("warmup_steps"), 0.2),
    "train.weight_decay": Trains({"weight_decay": 0.3}, argument("weight_decay"), 0.3),
    "train.max_grad_norm": Trains({"max_grad_norm": 2.0}, argument("max_grad_norm"), 2.0),
    "train.seed": Trains({"seed": 99}, argument("seed"), 99),
    # openai
    "openai.rpm": Opens("openai", {"rpm": 60}, in_virtual("seconds"), lambda seconds: 10 < seconds < 60),
    "openai.tpm": Opens("openai", {"tpm": 600}, in_virtual("seconds"), lambda seconds: seconds > 10),
    "openai.batch": Opens("openai", {"batch": True}, in_batches, [5]),
    "openai.max_tokens_field": Opens("openai", {"max_tokens_field": "max_completion_tokens"}, sent_body("max_completion_tokens"), 9),
    # vllm
    **{
        f"vllm.{name}": Opens("vllm", {name: value}, sent_body(name), value)
        for name, value in (("top_k", 5), ("min_p", 0.2), ("repetition_penalty", 1.1), ("chat_template_kwargs", {"a": 1}))
    },
    # Both of them.
    **{
        f"{name}.{field}": case
        for name in ("openai", "vllm")
        for field, case in {
            "model": Opens(name, {"model": "n"}, sent_body("model"), "n"),
            "base_url": Opens(name, {"base_url": "http://other/v1"}, sent(lambda server: [path.count("other") for path in server.stats()["paths"]]), [1]),
            "key_env": Opens(name, {"key_env": "SECOND_KEY"}, sent(lambda server: server.seen_headers[0]["Authorization"]), "Bearer sk-second"),
            "timeout_s": Opens(name, {"timeout_s": 0.1}, sent(lambda server: "a reply", latency="0.4"), "timeout"),
            "extra_body": Opens(name, {"extra_body": {"seed": 7}}, sent_body("seed"), 7),
        }.items()
    },
    # scripted
    "scripted.model": Opens("scripted", {"model": "n"}, lambda config: _said(config, "model"), "n"),
    "scripted.replies": Opens("scripted", {"replies": ["Ho"]}, lambda config: _said(config, "text"), "Ho"),
    "scripted.replies.text": Opens("scripted", {"replies": [{"text": "Ho"}]}, lambda config: _said(config, "text"), "Ho"),
    "scripted.replies.finish_reason": Opens("scripted", {"replies": [{"text": "Ho", "finish_reason": "length"}]}, lambda config: _said(config, "finish_reason"), "length"),
    "scripted.replies.usage": Opens("scripted", {"replies": [{"text": "Ho", "usage": {"prompt_tokens": 77}}]}, lambda config: _said(config, "usage"), {"prompt_tokens": 77}),
    "scripted.function": Opens("scripted", {"function": "said.py:reply"}, lambda config: _said(config, "text"), "said by a function"),
    # transformers
    "transformers.model": Shows(lambda: _weights_of({}), lambda: _weights_of({"model": str(variant("weights"))}), differs),
    "transformers.adapter": Shows(lambda: _weights_of({}), lambda: _weights_of({"adapter": str(variant("adapter"))}), differs),
    "transformers.dtype": Opens("transformers", {"dtype": "bfloat16"}, precision, "torch.bfloat16", without={"device": "cpu"}),
    "transformers.device": Opens("transformers", {"device": "nowhere"}, device_error, True),
    "transformers.max_batch": Opens("transformers", {"max_batch": 3}, rows_at_once, 3),
    "transformers.chat_template_kwargs": Shows(lambda: _tokens_of({}), lambda: _tokens_of({"tone": "kind"}), lambda tokens: tokens == _tokens_of({}) + 4),
    # What several have in common.
    **{f"{name}.provider": Runs(recipe({**ASK, "model": "m"}, models={"m": {"provider": name, "model": "m"}}), "models.m.provider=nobody", error("unknown provider 'nobody'"), True) for name in models.providers()},
    **{f"{name}.max_concurrency": Opens(name, {"max_concurrency": 2}, in_virtual("most"), 2) for name in models.providers()},
    **{
        f"{name}.price{field}": Opens(name, {"price": with_it}, bill, becomes, without={"price": {"input": 1, "output": 10}} if field else {})
        for name in ("openai", "vllm", "scripted")
        for field, with_it, becomes in (
            ("", {"input": 1, "output": 10}, 2.0),
            (".input", {"input": 3, "output": 10}, 4.0),
            (".output", {"input": 1, "output": 20}, 3.0),
            (".cached", {"input": 1, "output": 10, "cached": 0.5}, 1.75),
        )
    },
    **{
        f"{name}.{field}": Runs(base_name, f"steps.0.{field}={json.dumps(value)}", body(wire), becomes)
        for name, base_name in (("generate", "asked"), ("evaluate", "evaluate asked"))
        for field, value, wire, becomes in (
            ("temperature", 0.3, "temperature", 0.3),
            ("top_p", 0.8, "top_p", 0.8),
            ("max_tokens", 77, "max_tokens", 77),
            ("stop", ["END"], "stop", ["END"]),
            ("sampling_seed", 3, "seed", 3),
            ("extra", {"top_k": 5}, "top_k", 5),
        )
    },
    **{f"{name}.step": Runs(recipe(step), "steps.0.step=nonsense", error("unknown step 'nonsense'"), True) for name, step in STEPS.items()},
    **{
        f"{name}.output": Runs(recipe(step, {"step": "filter", "keep": "1 == 1", "input": "named"}, data={"train": MUTE["train"]} if name == "train" else None), "steps.0.output=named", error("unknown table 'named'"), False)
        for name, step in STEPS.items()
        if name != "split"
    },
    "split.output": Runs("split", "steps.0.output=named", error("output: named would stay empty"), True),
    **{
        f"{name}.input": Runs(
            recipe({"step": "mix", "tables": {"train": 1, "other": 1}, "output": "both"}, step, data={"train": {"path": "train.jsonl"}, "other": {"path": "other.jsonl"}}),
            "steps.1.input=other",
            rows_in,
            2,
        )
        for name, step in STEPS.items()
        if name not in ("mix", "train")
    },
    "mix.input": Runs("mix", "steps.0.input=train", error("input: train would not be read"), True),
    "train.input": Runs(
        recipe({"step": "mix", "tables": {"train": 1, "other": 1}, "output": "both"}, STEPS["train"], data=MUTE),
        "steps.1.input=other",
        lambda seen: seen.error.partition(" rows")[0].rpartition(" ")[2],
        "2",
    ),
}  # fmt: skip


async def _said(config: ModelConfig, what: str) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="fields-"))
    furnish(folder)
    found = await reply(config, folder)
    choice = found["choices"][0]
    parts = {"text": choice["message"]["content"], "finish_reason": choice["finish_reason"]}
    return parts.get(what, found.get(what))


def _local(fields: Mapping[str, Any]) -> ModelConfig:
    config: ModelConfig = models.provider("transformers").Config.model_validate(
        {"provider": "transformers", "model": str(tiny_model()), **fields}
    )
    return config


def _weights_of(fields: Mapping[str, Any]) -> str:
    return asyncio.run(weights(_local(fields)))


def _tokens_of(values: Mapping[str, Any]) -> int:
    return asyncio.run(prompt_tokens(_local({"model": str(variant("template")), "chat_template_kwargs": values})))


@pytest.mark.parametrize(
    "field", [pytest.param(name, marks=UNGENERATED) if name in NEEDS_GENERATOR else name for name in all_fields()]
)
def test_a_field_changes_something(field: str) -> None:
    case = CASES.get(field)
    assert case is not None, f"{field} has no case in CASES: nobody knows whether anything reads it"
    before, after = case.observe()
    assert after != before
    if callable(case.becomes):
        assert case.becomes(after)
    else:
        assert after == case.becomes


def test_no_case_is_of_a_field_that_does_not_exist() -> None:
    assert set(CASES) <= set(all_fields())
