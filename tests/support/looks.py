"""What changes when a field of a recipe changes: ways to look at whole runs, at models, and at trainings."""

import asyncio
import functools
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_kd import models
from blackbox_kd.calls import prices, tariff
from blackbox_kd.calls.budget import Budget
from blackbox_kd.calls.caller import Caller
from blackbox_kd.calls.transport import DirectTransport
from blackbox_kd.engine import push
from blackbox_kd.engine.context import RunContext
from blackbox_kd.engine.model_pool import ModelPool
from blackbox_kd.engine.run import Run, RunOptions
from blackbox_kd.engine.state import RunState
from blackbox_kd.engine.versions import Versions
from blackbox_kd.errors import BlackboxError, CallError
from blackbox_kd.models import Model, ModelConfig, Setup, scripted
from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.recipe.push import PushConfig
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.folder import RunFolder
from blackbox_kd.schema import Ask, Request, Row, Sampling, Usage
from blackbox_kd.steps import train
from blackbox_kd.training import dpo, launch, model, packing, sft
from blackbox_kd.training.artefacts import Settings
from blackbox_kd.training.machine import Machine
from tests.calls.test_caller import MemoryLedger
from tests.support.fake_batches import FakeBatches
from tests.support.fake_server import FakeServer
from tests.support.fakes import FakeContext, outcomes
from tests.support.runs import rows_of, trained, write_rows
from tests.support.teachers.anthropic import FakeAnthropic
from tests.support.teachers.azure import FakeAzure
from tests.support.teachers.gemini import FakeGemini
from tests.support.teachers.mistral import FakeMistral
from tests.support.tiny import tiny_model
from tests.support.virtual_time import run as in_virtual_time

SERVER = "http://server"
"""Stands in recipes for the URL of a server that is started for the run."""
HUB = "HUB"
"""Stands in `--set` assignments for a folder that looks like a data set of the Hub."""
RunLook = Callable[["Seen"], Any]
ModelLook = Callable[[ModelConfig], Awaitable[Any]]


def a_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fields-"))


# A whole run.


@dataclass
class Seen:
    """What a run left behind.

    Args:
        folder: where the recipe stands.
        error: what the recipe or the run was refused with, or "".
        bodies: of the requests that the server got.
    """

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

    def table(self, name: str) -> list[dict[str, Any]]:
        return rows_of(self.folder / f"run/tables/{name}.jsonl")


def furnish(folder: Path) -> Path:
    """The files that recipes here name; returns the folder."""
    for name, start, count in (("train", 0, 5), ("other", 20, 2), ("test", 40, 4), ("shots", 60, 3), ("many", 100, 20)):
        write_rows(folder / f"{name}.jsonl", map(_row, range(start, start + count)))
    for name, start, count in (("mute", 0, 3), ("mute2", 3, 2)):
        write_rows(folder / f"{name}.jsonl", ({"instruction": str(start + n), "response": ""} for n in range(count)))
    (folder / "rule.md").write_text("As it is: {{ x }}\n")
    (folder / "guide.md").write_text("# One\n\nA word. Two more.\n\n# Two\n\nThe end.\n")
    (folder / "broken.jsonl").write_text('{"q": 1}\n[2]\n')
    (folder / "tuned.jsonl").write_text('{"prompt": "Ask", "completion": "Told"}\n')
    (folder / "short.jinja").write_text("In short: {{ instruction }}")
    shots = "{% for shot in examples | default([]) %}{{ shot.instruction }} {% endfor %}Now: {{ instruction }}"
    (folder / "shots.jinja").write_text(shots)
    (folder / "told.jinja").write_text("{{ context | default('nothing') }} {{ instruction }}")
    (folder / "said.py").write_text("def reply(messages, row, sample):\n    return 'said by a function'\n")
    (folder / "look.py").write_text("def look_up():\n    return 'looked up'\n")
    (folder / "shout.py").write_text(
        "from blackbox_kd.sdk import StepConfig, row_step\n"
        "@row_step(reads=['response'], writes=['response'])\n"
        "async def run(row, config: StepConfig, ctx):\n"
        "    return row | {'response': row['response'].upper()}\n"
    )
    _write_hub(folder / HUB)
    return folder


def _row(number: int) -> dict[str, Any]:
    return {
        "instruction": f"What is {number} + 1?",
        "reference": f"{number + 1}.0",
        "gold": "99",
        "response": "Well, " * (9 - number % 10) + f"1 + 1 = 3. The answer is {number + 1}.",
        "draft": "The answer is 0.",
        "score": number,
        "rank": -number,
        "kind": "ab"[number % 2],
        "half": "ab"[number % 5 > 2],
    }


def _write_hub(folder: Path) -> None:
    """Two configurations with two splits each."""
    folder.mkdir()
    front = ""
    for config in ("plain", "hard"):
        front += f"- config_name: {config}\n  default: {str(config == 'plain').lower()}\n  data_files:\n"
        for split in ("train", "test"):
            front += f"  - {{split: {split}, path: {config}-{split}.jsonl}}\n"
            write_rows(folder / f"{config}-{split}.jsonl", [{"instruction": f"{config} {split}", "score": 1}])
    (folder / "README.md").write_text(f"---\nconfigs:\n{front}---\n")


async def ran(values: Mapping[str, Any], *sets: str, check_only: bool = False) -> Seen:
    """Runs a recipe, with `--set` assignments, in a folder of its own; an error is part of what is seen."""
    folder = furnish(a_folder())
    async with FakeServer() as server:
        (folder / "recipe.yaml").write_text(json.dumps(values).replace(SERVER, server.url))
        overrides = [text.replace(SERVER, server.url).replace(HUB, str(folder / HUB)) for text in sets]
        try:
            recipe = load_recipe(folder / "recipe.yaml", overrides=overrides, allow_code=True, env={})
            if not check_only:
                await executed(recipe, folder)
        except BlackboxError as error:
            return Seen(folder, str(error), server.seen)
        return Seen(folder, "", server.seen)


async def executed(recipe: Recipe, folder: Path) -> None:
    places = {"cache": folder / "cache", "run_dir": folder / "run", "ledger": folder / "ledger.sqlite"}
    await Run(recipe, RunOptions(**places, env={})).execute()


def column(name: str) -> RunLook:
    return lambda seen: [row.get(name) for row in seen.rows]


def count(seen: Seen) -> int:
    return len(seen.rows)


def calls(seen: Seen) -> int:
    """Replies that were had of the first model."""
    return int(seen.report["models"][0]["calls"])


def rows_in(seen: Seen) -> int:
    """Rows that the last step was given."""
    return int(seen.report["funnel"][-1]["in"])


def error(part: str) -> RunLook:
    return lambda seen: part in seen.error


def report(name: str) -> RunLook:
    return lambda seen: seen.report[name]


def evaluation(name: str) -> RunLook:
    return lambda seen: seen.report["evaluations"][0].get(name)


def card(part: str) -> RunLook:
    return lambda seen: part in (seen.folder / "run/dataset/README.md").read_text()


def body(name: str) -> RunLook:
    """A field of the first request that was sent."""
    return lambda seen: seen.bodies[0].get(name)


def asked(seen: Seen) -> str:
    return str(seen.bodies[0]["messages"][-1]["content"])


def both_asked(seen: Seen) -> str:
    """What the first two requests asked, in one order whichever came first."""
    return "\n".join(sorted(str(each["messages"][-1]["content"]) for each in seen.bodies[:2]))


def shown(seen: Seen) -> set[str]:
    """The examples that were shown, over all requests."""
    return {str(each["messages"][-1]["content"]).partition("Now:")[0] for each in seen.bodies}


# A model.

MESSAGES = [{"role": "user", "content": "What is 2 + 2?"}]
REQUEST = Request(MESSAGES, Sampling(max_tokens=9), Row({"id": "r", "reference": "4"}))
WITH_SYSTEM = Request(
    [{"role": "system", "content": "Be brief."}, *MESSAGES], Sampling(max_tokens=9), Row({"id": "r", "reference": "4"})
)
KEYS = {"SOME_KEY": "sk-some"}


def opened(config: ModelConfig) -> Model:
    setup = Setup("m", furnish(a_folder()), a_folder(), KEYS, allow_code=True)
    model: Model = models.provider(config.provider).open_model(config, setup)
    return model


async def reply(config: ModelConfig, asked: Request = REQUEST) -> dict[str, Any]:
    """The body of a reply."""
    model = opened(config)
    try:
        text, _ = await model.send(model.wire(asked), asked)
        return dict(json.loads(text))
    finally:
        await model.close()


def said(name: str) -> ModelLook:
    async def look(config: ModelConfig) -> Any:
        found = await reply(config)
        choice = found["choices"][0]
        return {**found, "text": choice["message"]["content"], "finish_reason": choice["finish_reason"]}[name]

    return look


async def likely(config: ModelConfig) -> float:
    """The log-probability of what is asked, the first word left out."""
    asked = Request(MESSAGES, Sampling(max_tokens=1, extra={"prompt_logprobs": 0}), REQUEST.row)
    found = (await reply(config, asked))["prompt_logprobs"]
    return sum(told["logprob"] for place in found[1:] for told in place.values())


def sent(look: Callable[[FakeServer], Any], **server: Any) -> ModelLook:
    """What a server sees of one request, or the kind of fault; the path of `base_url` is kept."""

    async def looked(config: Any) -> Any:
        async with FakeServer(**server) as fake:
            path = "/other" if "other" in str(config.base_url) else ""
            try:
                await reply(config.model_copy(update={"base_url": fake.url + path}))
            except CallError as fault:
                return fault.kind
            return look(fake)

    return looked


def sent_to(vendor: Callable[..., Any], look: Callable[[Any], Any], action: str = "ok") -> ModelLook:
    """What a vendor's server sees of one request with a system message, or the kind of fault."""

    async def looked(config: Any) -> Any:
        async with vendor(always=action) as fake:
            try:
                await reply(config.model_copy(update={"base_url": fake.url}), WITH_SYSTEM)
            except CallError as fault:
                return fault.kind
            return look(fake)

    return looked


async def goes_to(config: ModelConfig) -> str | None:
    """Where requests go."""
    place = config.sends_to(Setup("m", Path(), Path(), KEYS))
    return place and place[0]


async def roles(config: Any) -> list[str]:
    """Who says what is sent of a system message and a question."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 and 2?"}]
    asked = Request(messages, Sampling(), Row({"id": "r"}))
    async with FakeServer() as fake:
        model = opened(config.model_copy(update={"base_url": fake.url}))
        await model.send(model.wire(asked), asked)
        await model.close()
        apart = ["system"] if "system" in fake.seen[0] else []
        return apart + [message["role"] for message in fake.seen[0]["messages"]]


def sent_body(name: str) -> ModelLook:
    return sent(lambda server: server.seen[0].get(name))


async def bill(config: ModelConfig) -> float | None:
    """What a million prompt tokens, half of them cached and half of them written there, and 100,000 others cost."""
    usage = Usage(1_000_000, 100_000, cached_tokens=500_000, cache_write_tokens=500_000, cache_write_1h_tokens=250_000)
    found = tariff.find(config, "http://nowhere")
    return None if found is None else prices.compute_cost(found.now, usage)


async def marks(config: Any) -> bool:
    """Whether a long system text is marked as worth keeping."""
    messages = [{"role": "system", "content": "Be brief. " * 1000}, *MESSAGES]
    asked = Request(messages, Sampling(max_tokens=9), Row({"id": "r"}))
    async with FakeServer() as fake:
        model = opened(config.model_copy(update={"base_url": fake.url}))
        await model.send(model.wire(asked), asked)
        await model.close()
        return "cache_control" in json.dumps(fake.seen[0])


class _OpenAzure(FakeAzure):
    is_open = True


async def batches(config: ModelConfig) -> list[int]:
    """The sizes of the batches that five rows are handed in with."""
    return await _hand_in(config, _OpenAzure() if config.provider == "azure" else FakeBatches())


async def jobs(config: ModelConfig) -> list[int]:
    """The same of Mistral's jobs."""
    return await _hand_in(config, FakeMistral())


async def message_batches(config: ModelConfig) -> list[int]:
    """The same of Anthropic's batches."""
    return await _hand_in(config, FakeAnthropic())


async def gemini_batches(config: ModelConfig) -> list[int]:
    """The same of Gemini's batches."""
    return await _hand_in(config, FakeGemini())


async def _hand_in(
    config: ModelConfig, fake: FakeBatches | FakeAzure | FakeMistral | FakeAnthropic | FakeGemini
) -> list[int]:
    async with fake as server:
        folder = furnish(a_folder())
        entry = {**config.model_dump(exclude_unset=True), "base_url": server.url}
        step = {"step": "generate", "model": "m", "prompt": "student/plain"}
        values = {"name": "demo", "data": {"train": {"path": "train.jsonl"}}, "models": {"m": entry}, "steps": [step]}
        (folder / "recipe.yaml").write_text(json.dumps(values))
        await executed(load_recipe(folder / "recipe.yaml", env={}), folder)
        return server.sizes()


class _Slow(scripted.ScriptedModel):
    """Takes half a second for a reply, and counts how many are in the making."""

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


async def _thirty_calls(config: ModelConfig) -> tuple[int, float]:
    model, began = _Slow(config), asyncio.get_running_loop().time()
    caller = Caller(DirectTransport(MemoryLedger(), Budget()))  # type: ignore[arg-type]
    rows = [Row({"id": str(number), "reference": "4"}) for number in range(30)]
    await asyncio.gather(*(caller.ask(model, Ask(MESSAGES, Sampling(), row)) for row in rows))
    return model.most, asyncio.get_running_loop().time() - began


async def at_once(config: ModelConfig) -> int:
    """The most requests in flight that the config leads to."""
    return (await asyncio.to_thread(lambda: in_virtual_time(_thirty_calls(config))))[0]


async def seconds(config: ModelConfig) -> float:
    """The virtual seconds that 30 calls take with the config."""
    return (await asyncio.to_thread(lambda: in_virtual_time(_thirty_calls(config))))[1]


# A model in this process.


@functools.cache
def adapter() -> Path:
    """A folder with an adapter of the tiny model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = a_folder()
    config = LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model()), config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model() / name, folder / name)
    return folder


@functools.cache
def other_weights() -> Path:
    """A folder with a model of other weights."""
    from safetensors.torch import load_file, save_file

    folder = a_folder()
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    found = load_file(folder / "model.safetensors")
    save_file({name: -value for name, value in found.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def template_file() -> str:
    """A file with a chat template of its own."""
    file = a_folder() / "short.jinja"
    file.write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    return str(file)


@functools.cache
def other_template() -> Path:
    """A folder with a model whose chat template shows a variable."""
    folder = a_folder()
    shutil.copytree(tiny_model(), folder, dirs_exist_ok=True)
    template = folder / "chat_template.jinja"
    template.write_text("{{ tone | default('') }}" + template.read_text())
    return folder


async def key(config: ModelConfig) -> str:
    """What names the weights in the key of a call."""
    return str(opened(config).wire(REQUEST)["weights"])


async def precision(config: ModelConfig) -> str:
    model: Any = opened(config)
    await model.send(model.wire(REQUEST), REQUEST)
    found = str(next(model._engine._model.parameters()).dtype)
    await model.close()
    return found


async def refuses_device(config: ModelConfig) -> bool:
    try:
        await reply(config)
    except Exception as found:
        return "nowhere" in str(found)
    return False


async def rows_at_once(config: ModelConfig) -> int:
    """The most texts in one forward pass when eight are asked for together."""
    model: Any = opened(config)
    most = 0

    def look(module: Any, inputs: Any, output: Any) -> None:
        nonlocal most
        most = max(most, len(output))

    await model.send(model.wire(REQUEST), REQUEST)
    model._engine._model.get_input_embeddings().register_forward_hook(look)
    requests = [Request(MESSAGES, Sampling(max_tokens=9), Row({"id": str(number)})) for number in range(8)]
    await asyncio.gather(*(model.send(model.wire(each), each) for each in requests))
    await model.close()
    return most


async def prompt_tokens(config: ModelConfig) -> int:
    return int((await reply(config))["usage"]["prompt_tokens"])


# A training.


def settings(**fields: Any) -> dict[str, Any]:
    """The settings that the step `train` hands to training."""
    ctx = FakeContext()
    config = train.Config.model_validate({"step": "train", "model": "student", **fields})
    asyncio.run(outcomes(train, [], config, ctx))
    return dict(ctx.trained[0][2])


@functools.cache
def _parts() -> dict[str, Any]:
    from datasets import Dataset

    return {"train": Dataset.from_list([{"prompt": []}] * 160)}


def arguments(chosen: dict[str, Any]) -> Any:
    """TRL's arguments for 160 rows."""
    return sft.make_arguments(Settings.model_validate(chosen), Path("out"), _parts(), 512, Machine("cpu", "float32", 0))


def packs(chosen: dict[str, Any]) -> bool:
    """Whether the rows of a pass are packed, on a CPU."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from blackbox_kd.training.sft_trainer import CompletionTrainer

    trainer = CompletionTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model()),
        args=arguments(chosen),
        train_dataset=Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 2),
        processing_class=AutoTokenizer.from_pretrained(tiny_model()),
    )
    return packing.choose_packing(trainer, chosen["packing"], Machine("cpu", "float32", 0))[0]


def preference_arguments(chosen: dict[str, Any]) -> Any:
    """TRL's arguments for 160 pairs."""
    return dpo.make_arguments(Settings.model_validate(chosen), Path("out"), _parts(), 512, Machine("cpu", "float32", 0))


def teacher_arguments(chosen: dict[str, Any]) -> Any:
    """TRL's arguments of a training by a teacher, for 160 rows."""
    from blackbox_kd.training import gkd

    return gkd.make_arguments(Settings.model_validate(chosen), Path("out"), _parts(), 512, Machine("cpu", "float32", 0))


def lora(chosen: dict[str, Any]) -> Any:
    """Peft's config for the tiny model."""
    from transformers import AutoModelForCausalLM

    return model.make_lora_config(Settings.model_validate(chosen), AutoModelForCausalLM.from_pretrained(tiny_model()))


@functools.cache
def training(changed: bool) -> dict[str, Any]:
    """What a training says at its end: a plain one, and one that leaves out and keeps back rows."""
    if not changed:
        return dict(trained().report["trainings"][0])
    folder = a_folder()
    turns = [*((f"say {number}", "yes") for number in range(9)), ("say it", "z" * 200)]
    rows = ({"prompt": [_turn("user", ask)], "completion": [_turn("assistant", say)]} for ask, say in turns)
    write_rows(folder / "rows.jsonl", rows)
    chosen = settings(eval_share=0.3, max_length=64, long_rows="drop", max_steps=1)
    del chosen["start"]
    job = {"model": str(tiny_model()), "adapter_from": None, "data": str(folder / "rows.jsonl")}
    (folder / "job.json").write_text(json.dumps({**job, "output": str(folder / "out"), "settings": chosen}))
    return asyncio.run(launch.run_training("sft", folder / "job.json", lambda event: None)).write()


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def adapter_from(start: str) -> str | None:
    """The adapter that a second training starts from: its job is looked at, and then it is stopped."""
    chosen = settings(start=start)

    async def main() -> Any:
        folder = furnish(a_folder())
        values = {
            "name": "demo",
            "data": {"train": {"path": "train.jsonl"}},
            "models": {"student": {"provider": "transformers", "model": str(tiny_model())}},
            "steps": [{"step": "train", "model": "student", "start": start}],
        }
        (folder / "recipe.yaml").write_text(json.dumps(values))
        recipe = load_recipe(folder / "recipe.yaml", env={})
        with RunFolder(folder / "run") as run_folder:
            known = ModelPool(recipe, folder / "cache", {})
            known.versions.add("student", adapter())
            context = RunContext(RunState(recipe, run_folder, known, None), recipe.steps[0])  # type: ignore[arg-type]
            rows = [Row({"id": "r", "instruction": "a", "response": "b"})]
            task = asyncio.ensure_future(context.train("student", "sft", chosen, rows))
            job = folder / "run/work/train_student@2.json"
            while not (job.exists() and job.read_text().endswith("}")):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return json.loads(job.read_text())["adapter_from"]

    found: str | None = asyncio.run(main())
    return found


# What a run would publish.


def sent_to_the_hub(entry: dict[str, Any]) -> Callable[[], list[tuple[str, str, bool]]]:
    """Kinds and names of repositories that a finished run sends to by `push:`, and whether they are public."""

    def look() -> list[tuple[str, str, bool]]:
        run = trained().path
        versions = Versions()
        versions.add("student", run / "models/student@1")
        uploads = push.Pushing(PushConfig(**entry)).list_uploads(run, versions)
        return [(upload.kind, upload.repository, upload.public) for upload, _ in uploads]

    return look
