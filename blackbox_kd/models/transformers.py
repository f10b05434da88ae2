"""A model in this process, loaded with transformers: hub id, folder, `.gguf` file, or `package:NAME/FILE.gguf`.

Requests are answered side by side: a reply that is done makes room for the next at once.
"""

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from blackbox_kd.analysis.logprobs import (
    BY_ID,
    CONTINUE,
    DRAWN,
    DRAWS,
    LOGPROBS,
    OPEN,
    TOKENS,
    TOKENS_TOLD,
    TOP,
)
from blackbox_kd.errors import CallError, RequestRejected
from blackbox_kd.models import InProcess, Model, ModelConfig, Setup, WeightsConfig
from blackbox_kd.models.local.calls import read_calls
from blackbox_kd.models.local.engine import Engine, LocalRequest, Written, make_seed
from blackbox_kd.schema import Request, digest
from blackbox_kd.weights import load, locate

if TYPE_CHECKING:
    from blackbox_kd.models.local.scoring import Found

_SCORED = {LOGPROBS, TOKENS, *OPEN}
KNOWN: tuple[set[str], ...] = ({TOKENS}, _SCORED, {*_SCORED, DRAWS}, {"logprobs", TOP}, {"echo", *OPEN})
"""Fields of a request beside those of every model, which mean something together alone."""
_LOADING = threading.Lock()
"""One model is loaded at a time: transformers makes a model without memory for its weights at first, by a switch that
holds for whatever other threads load meanwhile."""
GATHER_S = 0.02
"""How long an idle engine waits for requests that come together with the first."""


class Config(WeightsConfig):
    """A model whose weights are on this machine, or on the Hub."""

    local: ClassVar[bool] = True
    scores: ClassVar[bool] = True

    model: str = Field(min_length=1)
    """Hub id, folder (relative to the recipe), `.gguf` file, or `package:NAME/FILE.gguf`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision; `auto` is float32 on a CPU and bfloat16 on a GPU."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""
    max_batch: int | None = Field(default=None, ge=1)
    """The most replies written at once; 32 on a CPU and 128 on a GPU if left out."""
    max_concurrency: int = Field(default=96, ge=1)
    """Requests that may wait at once; more than `max_batch`, so that the next batch is always full."""

    def missing(self, setup: Setup) -> list[tuple[str, str, str]]:
        """What stands in the way of opening a model: the config's field, what is wrong, what to do."""
        found = locate.explain_name(self.model, setup.folder)
        problems = [("model", *found)] if found else []
        if self.adapter is not None and (wrong := locate.adapter_problem(self.adapter, setup.folder)):
            problems.append(("adapter", *wrong))
        template = load.explain_template(self.chat_template, setup.folder) if self.chat_template else None
        if template is not None:
            problems.append(("chat_template", *template))
        return problems

    def leaves_tools_out(self, folder: Path) -> bool:
        """Whether the chat template, where it is at hand, does not speak of tools."""
        template = load.find_template(self.chat_template, folder / self.model, folder)
        return template is not None and "tools" not in template

    def needs(self) -> dict[str, str]:
        """Packages that loading the model takes, and the extra that brings each."""
        also = ["gguf"] if self.model.endswith(".gguf") else []
        also += ["peft"] if self.adapter is not None else []
        return dict.fromkeys(["torch", "transformers", *also], "train")

    def identity(self, setup: Setup) -> str:
        """What names a model in fingerprints: the hashes of its weights and of its adapter, and how they are used."""
        return digest(_identify_weights(self, setup))


def open_model(config: Config, setup: Setup) -> Model:
    """Opens a model; the weights are converted, if they must be, and loaded at the first call.

    Raises:
        SetupError: there are no such weights.
    """
    return TransformersModel(config, setup)


def _identify_weights(config: Config, setup: Setup) -> list[Any]:
    named = locate.identity(config.model, setup.cache, setup.folder)
    adapter = locate.hash_folder(setup.folder / config.adapter, setup.cache) if config.adapter else None
    template = load.read_template(config.chat_template, setup.folder)
    how = [adapter, config.dtype, config.chat_template_kwargs]
    return [named, *how] if template is None else [named, *how, template]


class TransformersModel(InProcess):
    """See `models.Model`."""

    def __init__(self, config: Config, setup: Setup) -> None:
        self.config: ModelConfig = config
        self._config = config
        self._setup = setup
        self._identity = config.identity(setup)
        self.endpoint = f"transformers {self._identity[:16]}"
        self._stops = [load.PLAIN_STOP] if config.chat_template == load.PLAIN else []
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generate")
        self._new: list[LocalRequest] = []
        self._open: dict[LocalRequest, asyncio.Future[Written]] = {}
        self._worker: asyncio.Task[None] | None = None

    def wire(self, request: Request) -> dict[str, Any]:
        """All that decides the reply; the run's seed only where something is drawn."""
        sampling = request.sampling
        temperature = 1.0 if sampling.temperature is None else sampling.temperature
        known = {"top_k"}.union(*(fields for fields in KNOWN if fields <= sampling.extra.keys()))
        if unknown := sampling.extra.keys() - known:
            raise RequestRejected(f"provider transformers knows no field {sorted(unknown)}", kind="rejected")
        wire = {
            **sampling.extra,
            "weights": self._identity,
            "messages": request.messages,
            "temperature": temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stop": [*sampling.stop, *self._stops] or None,
            "seed": [self._setup.seed, sampling.seed] if temperature > 0 or DRAWS in sampling.extra else None,
            "tools": list(request.tools) or None,
        }
        return {name: value for name, value in wire.items() if value is not None}

    async def send(self, wire: dict[str, Any], request: Request) -> tuple[str, Mapping[str, str]]:
        """Waits for its turn; returns the reply in the form of a chat completion."""
        job = LocalRequest(
            messages=request.messages,
            temperature=wire["temperature"],
            top_p=wire.get("top_p", 1.0),
            top_k=wire.get("top_k", 0),
            max_tokens=wire.get("max_tokens", 1024),
            stop=tuple(wire.get("stop", ())),
            seed=make_seed(wire, request.row.id, request.sample, request.attempt),
            scored=LOGPROBS in wire,
            is_open=bool(wire.get(CONTINUE)),
            top=wire.get(LOGPROBS, wire.get(TOP, 0)),
            draws=wire.get(DRAWS, 0),
            tools=request.tools,
        )
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._new.append(job)
        self._open[job] = future
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        try:
            told, calls = wire.get(TOKENS, False), bool(request.tools)
            return _make_completion(self.config.model, await future, told=told, calls=calls), {}
        finally:
            self._open.pop(job, None)
            job.drop()

    async def close(self) -> None:
        """Ends the worker and frees the weights."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown(wait=True)
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _load_engine(self) -> Engine:
        if self._engine is None:
            config, setup = self._config, self._setup
            with _LOADING:
                self._engine = Engine(
                    locate.resolve(config.model, setup.cache, setup.folder),
                    str(setup.folder / config.adapter) if config.adapter else None,
                    config.dtype,
                    config.device,
                    config.chat_template_kwargs,
                    rows=config.max_batch,
                    chat_template=load.read_template(config.chat_template, setup.folder),
                )
        return self._engine

    async def _work(self) -> None:
        """Lets the engine write on, in its thread, until nobody waits."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(GATHER_S)
        while self._open:
            new, self._new = [job for job in self._new if job in self._open], []
            try:
                ended = await loop.run_in_executor(self._thread, self._advance, new)
            except BaseException as error:
                for future in self._open.values():
                    if not future.done():
                        future.set_exception(error)
                if isinstance(error, Exception):  # those who wait have it
                    return
                raise
            for job, outcome in ended:
                self._settle(job, outcome)

    def _advance(self, new: list[LocalRequest]) -> list[tuple[LocalRequest, Written | CallError]]:
        return self._load_engine().advance(new)

    def _settle(self, job: LocalRequest, outcome: Written | CallError) -> None:
        future = self._open.pop(job, None)
        if future is None or future.done():
            return
        if isinstance(outcome, Written):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


def _make_completion(model: str, written: Written, *, told: bool, calls: bool) -> str:
    """The body of a chat completion.

    Args:
        model: as the recipe calls it.
        written: the reply.
        told: with the prompt's tokens, and their log-probabilities if there are any.
        calls: whether the reply may call tools, which stand in its text.
    """
    usage = {"prompt_tokens": len(written.prompt), "completion_tokens": written.tokens}
    message: dict[str, Any] = {"role": "assistant", "content": written.text}
    if calls and (found := read_calls(written.text)):
        message = {"role": "assistant", "content": found[0] or None, "tool_calls": found[1]}
    choice = {"index": 0, "message": message, "finish_reason": written.finish_reason}
    if written.told:
        choice["logprobs"] = {"content": [_tell_written(*each) for each in written.told]}
    body: dict[str, Any] = {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    if told:
        body[TOKENS_TOLD] = written.prompt
    if told and written.found is not None:
        pairs = zip(written.prompt[1:], written.found, written.texts, strict=True)
        body[LOGPROBS] = [None, *(_tell_scored(*each) for each in pairs)]
        if any(found.drawn for found in written.found):
            body[DRAWN] = [None, *(found.drawn for found in written.found)]
    return json.dumps(body, ensure_ascii=False)


def _tell_written(token: int, text: str, likeliest: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A token of a reply, as OpenAI tells it; by its id, as vLLM does."""
    top = [{"token": f"{BY_ID}{each}", "logprob": value} for each, value in likeliest]
    return {"token": f"{BY_ID}{token}", "bytes": list(text.encode()), TOP: top}


def _tell_scored(token: int, found: "Found", text: tuple[str, str] | None) -> dict[str, Any]:
    """A token of a prompt, as vLLM tells it; without likeliest ones its log-probability alone."""
    if text is None:
        return {str(token): {"logprob": found.logprob}}
    told: dict[str, Any] = {str(each): {"logprob": value} for each, value in found.top}
    told[str(found.top[0][0])]["decoded_token"] = text[1]
    return told | {str(token): {"logprob": found.logprob, "rank": found.rank, "decoded_token": text[0]}}
