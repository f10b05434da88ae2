"""No knob that nothing reads: every field of a recipe, a table, a model and a step changes something one can see.

The fields are found in the config classes. Each has a case in `CASES`: what is looked at (see `looks`) without it
and with it, and what it becomes. A field without a case fails by its name: give it a case, or take the field out.
"""

import asyncio
import functools
import importlib.util
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from blackbox_kd import answers, models
from blackbox_kd.models.http.parameters import CAPS
from blackbox_kd.recipe.spec import RecipeFile
from blackbox_kd.schema import Row
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.steps import benchmark
from blackbox_kd.steps import filter as filter_step
from blackbox_kd.tables.sources import TableSource
from blackbox_kd.training import model, sft
from blackbox_kd.training.artefacts import Job, Settings
from tests.support import looks
from tests.support.fakes import FakeContext, FakeTable, outcomes
from tests.support.looks import (
    HUB,
    SERVER,
    Seen,
    body,
    calls,
    card,
    column,
    count,
    error,
    evaluation,
    report,
    rows_in,
    said,
)
from tests.support.steps import config_of
from tests.support.teachers.gemini import FakeGemini
from tests.support.tiny import tiny_model


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
        for form in registry.get(name).all_forms:
            found += fields_of(form, name)
    for name in answers.kinds():
        found += fields_of(answers.find(name), f"answer.{name}")
    return sorted(set(found))  # in one order: a type that is one of several has none of its own


Case = tuple[Callable[[], Any], Callable[[], Any], Any]
"""What is seen without a field, what with it, and what that must be: a value, or a test that holds for it."""

# Recipes to start from.

TRAIN = {"train": {"path": "train.jsonl"}}
TWO = {**TRAIN, "extra": {"path": "other.jsonl"}}
HELD_OUT = {"test": {"path": "test.jsonl", "held_out": True}}
MUTE = {"train": {"path": "mute.jsonl"}, "extra": {"path": "mute2.jsonl"}}
"""Rows from which nothing can be learnt: a training on them is refused before it begins."""
MODELS: dict[str, dict[str, Any]] = {
    "teacher": {"provider": "scripted"},
    "right": {"provider": "scripted", "replies": ["The answer is {{ reference | float | int }}."]},
    "other": {"provider": "scripted", "replies": ["Said by another."]},
    "thinker": {"provider": "scripted", "replies": ["<think>Count on.</think>1"]},
    "grader": {"provider": "scripted", "replies": ["Well done.\nquality: 7"]},
    "served": {"provider": "openai", "model": "m", "base_url": SERVER, "price": {"input": 1, "output": 10}},
    "student": {"provider": "transformers", "model": "HuggingFaceTB/SmolLM2-135M-Instruct"},
}
ASK: dict[str, Any] = {"step": "generate", "model": "teacher", "prompt": "student/plain", "temperature": 1.0}
STEPS: dict[str, dict[str, Any]] = {
    "benchmark": {"step": "benchmark", "models": ["student"], "tasks": ["arc_easy"]},
    "check": {"step": "check", "answer": "number"},
    "converse": {
        "step": "converse",
        "model": "other",
        "prompt": "student/plain",
        "with": "right",
        "with_prompt": "short",
        "turns": 2,
        "temperature": 1.0,
    },
    "evaluate": {"step": "evaluate", "models": ["right"], "answer": "number"},
    "filter": {"step": "filter", "keep": "score >= 1"},
    "format": {"step": "format"},
    "generate": ASK,
    "judge": {"step": "judge", "mode": "scale", "models": ["grader"]},
    "map": {"step": "map", "set": {"told": "as it was"}},
    "mix": {"step": "mix", "tables": {"train": 1}},
    "pair": {"step": "pair", "better": "response", "worse": "draft"},
    "score": {"step": "score", "model": "teacher"},
    "select": {"step": "select", "rows": 4},
    "split": {"step": "split", "outputs": {"low": "score < 2", "high": "score >= 2"}},
    "train": {"step": "train", "model": "student"},
}
"""Each step as short as it can be written."""


def recipe(*steps: Mapping[str, Any], data: Mapping[str, Any] = TRAIN, **head: Any) -> dict[str, Any]:
    """A recipe with those of our models that its steps name."""
    named = [name for step in steps for name in (step.get("model"), step.get("with"), *step.get("models", []))]
    used = {name: MODELS[name] for name in MODELS if name in named}
    return {"name": "demo", "data": data, "models": used, "steps": steps, **head}


LOOKUP = "{type: function, function: {name: look_up}}"
CALLED = '[{"name": "look_up"}]'
TOLD = {"step": "check", "answer": "number", "against": "instruction"}
SHOWN_TO_ASKED = recipe(TOLD, {**ASK, "model": "student"}, {**STEPS["format"], "hint": True}, STEPS["train"])
SHOTS = {**ASK, "model": "served", "prompt": "shots"}
RECORDED = recipe({**ASK, "model": "m"}, models={"m": {"provider": "recorded", "replies": "/dev/null"}})
CALLS = {"provider": "scripted", "replies": [{"tool_calls": CALLED}]}
CUT_OFF = {"teacher": {"provider": "scripted", "replies": [{"text": "It", "finish_reason": "length"}]}}
BASES: dict[str, dict[str, Any]] = {
    **{name: recipe(step) for name, step in STEPS.items() if name not in ("evaluate", "train")},
    "asked": recipe({**ASK, "model": "served", "temperature": None}),
    "two models": recipe(ASK, {**ASK, "model": None, "models": ["other", "teacher"], "as": "later"}),
    "shown": recipe(
        {**SHOTS, "examples": {"table": "shots", "count": 1}}, data={**TRAIN, "shots": {"path": "shots.jsonl"}}
    ),
    "unshown": recipe(SHOTS),
    "evaluate": recipe({**STEPS["evaluate"], "input": "test"}, data=HELD_OUT),
    "evaluate asked": recipe({**STEPS["evaluate"], "input": "test", "models": ["served"]}, data=HELD_OUT),
    "many asked": recipe(
        {**STEPS["evaluate"], "input": "test", "models": ["served"], "metrics": ["rouge_l", "accuracy"]},
        data={"test": {"path": "many.jsonl", "held_out": True}},
    ),
    "mended": recipe(
        {"step": "mix", "tables": {"train": 1, "mended": 1}, "by": "instruction"},
        data={**TRAIN, "mended": {"rows": [{"instruction": "What is 0 + 1?", "score": 77}]}},
    ),
    "two tables": recipe({"step": "mix", "tables": {"train": 1, "extra": 1}}, data=TWO),
    "drawn": recipe({"step": "select", "rows": 2, "by": "random"}),
    "top": recipe({"step": "select", "rows": 2, "by": "top", "column": "score"}),
    "ranked": recipe({"step": "pair", "per": "kind", "rank": "score", "max_similarity": 1}),
    "items": recipe({"step": "map", "each": "split(instruction, ' ')", "as": "item"}),
    "told of groups": recipe({"step": "map", "per": "kind", "set": {"told": {"expr": "count()"}}}),
    "groups": recipe({"step": "select", "per": "kind", "best": 1}),
    "cut off": recipe(ASK, models=CUT_OFF),
    "empty": recipe(ASK, models={"teacher": {"provider": "scripted", "replies": [""]}}),
    "of no form": recipe({**ASK, "model": "other"}),
    "objects": recipe(
        {**ASK, "schema": {"type": "object"}}, models={"teacher": {"provider": "scripted", "replies": ['{"a": 1}']}}
    ),
    "almost objects": recipe(
        {**ASK, "schema": {"type": "object"}}, models={"teacher": {"provider": "scripted", "replies": ['{"a": 1,}']}}
    ),
    "shout": recipe({"step": "shout"}),
    "train": recipe(STEPS["train"], data={"train": MUTE["train"]}),
    "hub": recipe(STEPS["filter"]),
    "made": recipe({"step": "filter", "keep": "len(instruction) > 0"}),
    "as it is": recipe({"step": "map", "set": {"told": "so"}}),
}
_ASKED_BOTH = {**STEPS["evaluate"], "models": ["right", "other"]}
_JUDGED = {**_ASKED_BOTH, "input": "test", "judge": "referee"}
REFEREE = {"provider": "scripted", "replies": ["So it is.\nAnswer 1: 7\nAnswer 2: 3"]}
_TOLD = {**SHOTS, "prompt": "told"}
_TWO_MODELS = {name: MODELS[name] for name in ("right", "other")}
BASES |= {
    "two answer": recipe({**_ASKED_BOTH, "input": "test"}, data=HELD_OUT),
    "judged": recipe(_JUDGED, data=HELD_OUT, models={**_TWO_MODELS, "referee": REFEREE}),
    "calling": recipe({**ASK, "tools": [{"name": "look_up"}]}, models={"teacher": CALLS}),
    "evaluate calling": recipe(
        {**STEPS["evaluate"], "models": ["teacher"], "input": "test", "tools": [{"name": "look_up"}]},
        data=HELD_OUT,
        models={"teacher": CALLS},
    ),
    "graded by a server": recipe(
        {**STEPS["evaluate"], "input": "test", "judge": "referee", "mode": "scale"},
        data=HELD_OUT,
        models={"right": MODELS["right"], "referee": MODELS["served"]},
    ),
    "judged by a server": recipe(_JUDGED, data=HELD_OUT, models={**_TWO_MODELS, "referee": MODELS["served"]}),
    "untold": recipe(_TOLD),
    "told": recipe(
        {**_ASKED_BOTH, "input": "train"},
        {**_ASKED_BOTH, "input": "shots"},
        {**_TOLD, "context": {"evaluation": "train", "model": "right"}},
        data={**TRAIN, "shots": {"path": "shots.jsonl"}},
        models={**_TWO_MODELS, "served": MODELS["served"]},
    ),
}
SEES_SHOTS = "data={train: {path: train.jsonl}, shots: {path: shots.jsonl}}"
_PAIR = {"step": "judge", "mode": "pairwise", "a": "response", "b": "draft"}
_PANEL = {"step": "judge", "mode": "panel", "author": "kind"}
_REVIEWERS = {name: {"provider": "scripted", "replies": [f"[{at}]"]} for at, name in enumerate("abc", 3)}
BASES |= {
    "judge asked": recipe({**STEPS["judge"], "models": ["served"]}),
    "pair judged": recipe({**_PAIR, "models": ["other"]}, models={"other": REFEREE}),
    "pair asked": recipe({**_PAIR, "models": ["served"]}),
    "panel": recipe({**_PANEL, "models": ["a", "b"]}, models={name: _REVIEWERS[name] for name in "ab"}),
    "panel unread": recipe(
        {**_PANEL, "models": ["a", "b", "c"]},
        models={**_REVIEWERS, "c": {"provider": "scripted", "replies": ["I cannot say."]}},
    ),
    "converse asked": recipe({**STEPS["converse"], "model": "served", "temperature": None}),
    "answered asked": recipe({**STEPS["converse"], "with": "served"}),
    "talk cut off": recipe(
        {**STEPS["converse"], "model": "teacher", "max_tokens": 8},
        models={"teacher": CUT_OFF["teacher"], "right": MODELS["right"]},
    ),
    "score asked": recipe(
        {**STEPS["score"], "model": "served"}, models={"served": {**MODELS["served"], "provider": "vllm"}}
    ),
}
FROM_HUB = f"data.train={{hub: {HUB}}}"
GUIDE = "data.train.path=guide.md"
TOLD_APART = "steps=[{step: mix, tables: {train: 1, extra: 1}}, {step: filter, absent_from: {table: extra}}]"
MADE = "data.train={generator: reasoning_gym, task: chain_sum, size: 3}"


@functools.cache
def seen(base: str, *sets: str) -> Seen:
    return asyncio.run(looks.ran(BASES[base], *sets))


def runs(base: str, look: looks.RunLook, becomes: Any, *sets: str, before: str = "") -> Case:
    """A base is run as it is (or with one assignment), and with `--set` assignments."""
    start = (before,) if before else ()
    return lambda: look(seen(base, *start)), lambda: look(seen(base, *start, *sets)), becomes


def checked(values: Mapping[str, Any], part: str, becomes: bool, *sets: str) -> Case:
    """A recipe is checked only; what is looked at is whether the refusal says `part`."""

    def look(*assignments: str) -> bool:
        return part in asyncio.run(looks.ran(values, *assignments, check_only=True)).error

    return look, lambda: look(*sets), becomes


def pushes(without: dict[str, Any], given: dict[str, Any], becomes: Any) -> Case:
    """What a finished run would send to the Hub by one entry, and by another."""
    return looks.sent_to_the_hub(without), looks.sent_to_the_hub(given), becomes


def opens(
    provider: str, look: looks.ModelLook, becomes: Any, without: Mapping[str, Any] | None = None, **fields: Any
) -> Case:
    """A model is opened without the fields, and with them; a function as a value is a folder that is made first."""

    def looked(chosen: Mapping[str, Any]) -> Any:
        values = {"provider": provider, "model": tiny_model if provider == "transformers" else "m", **chosen}
        made = {name: str(value()) if callable(value) else value for name, value in values.items()}
        return asyncio.run(_awaited(look(models.provider(provider).Config.model_validate(made))))

    return lambda: looked(without or {}), lambda: looked(fields), becomes


async def _awaited(looking: Awaitable[Any]) -> Any:
    return await looking


def trains(look: Callable[[dict[str, Any]], Any], becomes: Any, **fields: Any) -> Case:
    """The settings of a training lead to other arguments of TRL, or another config of peft."""
    return lambda: look(looks.settings()), lambda: look(looks.settings(**fields)), becomes


def told(name: str, becomes: Any) -> Case:
    """What a training says at its end."""
    return lambda: looks.training(False)[name], lambda: looks.training(True)[name], becomes


def benchmarked(name: str, value: Any) -> Case:
    """What the harness is told to do."""

    def look(**fields: Any) -> Any:
        ctx, config = FakeContext(), benchmark.Config.model_validate({**STEPS["benchmark"], **fields})
        asyncio.run(outcomes(benchmark, [], config, ctx))
        return ctx.benchmarked[0][1][name]

    return look, lambda: look(**{name: value}), value


def argument(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda settings: getattr(looks.arguments(settings), name)


def lora(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda settings: getattr(looks.lora(settings), name)


def prefers(name: str, becomes: Any, **fields: Any) -> Case:
    """The settings of a training on preferences lead to other arguments of TRL."""

    def look(settings: dict[str, Any]) -> Any:
        return getattr(looks.preference_arguments(settings), name)

    return lambda: look(looks.settings(method="dpo")), lambda: look(looks.settings(method="dpo", **fields)), becomes


def taught(name: str, becomes: Any, **fields: Any) -> Case:
    """The settings of a training by a teacher lead to other arguments of TRL."""
    plain = {"method": "gkd", "teacher": "big"}

    def look(**more: Any) -> Any:
        return getattr(looks.teacher_arguments(looks.settings(**plain, **more)), name)

    return look, lambda: look(**fields), becomes


def held(name: str) -> Callable[[dict[str, Any]], Any]:
    """How weights are to be held in few bits."""

    def look(settings: dict[str, Any]) -> Any:
        how = model.choose_form(Settings.model_validate(settings), "float32").get("quantization_config")
        return how is not None and getattr(how, name)

    return look


def merges_under(**fields: Any) -> bool:
    """Whether a training merges the adapter that is there already."""
    values = {"model": "m", "adapter_from": "a", "data": "d", "output": "o", "settings": looks.settings(**fields)}
    return model.merges(Job.model_validate(values))


def turns_learnt(settings: dict[str, Any]) -> int:
    """How many turns of a chat of two are learnt."""
    chat = [{"role": role, "content": "So?"} for role in ("user", "assistant") * 2]
    row = {"prompt": chat[:3], "completion": chat[3:]}
    return sft.count_turns([row], Settings.model_validate(settings)).get("turns", 0)


def rows_of_a_step(settings: dict[str, Any]) -> int:
    made = looks.arguments(settings)
    return int(made.per_device_train_batch_size * made.gradient_accumulation_steps)


PATH_ASKED = looks.sent(lambda it: next(iter(it.stats()["paths"])))
GENERATORS = {"data.task", "data.size", "data.seed", "data.options"}
"""Fields that say what a generator makes."""


def anything(value: Any) -> bool:
    """For cases in which it is enough that something else comes out."""
    return value is not None


def first(name: str) -> looks.RunLook:
    """The text of the first message in a column of the first row."""
    return lambda seen: (seen.rows[0].get(name) or [{"content": None}])[0]["content"]


def low(seen: Seen) -> int:
    return len(seen.table("01_split_low"))


LABELS = {"extra_body": {"labels": {"a": "b"}}}


def gemini_sees(look: Callable[[FakeGemini], Any], action: str = "ok") -> looks.ModelLook:
    return looks.sent_to(FakeGemini, look, action)


CASES: dict[str, Case] = {
    "recipe.name": runs("filter", report("recipe"), "other", "name=other"),
    "recipe.description": runs("filter", card("\nSums.\n"), True, "description=Sums."),
    "recipe.paper": runs("filter", report("paper"), "arXiv:1", "paper=arXiv:1"),
    "recipe.license": runs("filter", card("license: mit\n"), True, "license=mit"),
    "recipe.seed": runs("drawn", column("score"), anything, "seed=1"),
    "recipe.seeds": checked(BASES["filter"], "seeds: no step trains a model", True, "seeds=[0, 1]"),
    "recipe.arms": checked(
        BASES["filter"], "arms.other: no training differs", True, "arms={other: {set: {steps.0.keep: score > 1}}}"
    ),
    "recipe.arms.set": checked(
        BASES["filter"], "an arm changes what stands below", True, "arms={other: {set: {seed: 3}}}"
    ),
    "recipe.data": runs("filter", rows_in, 2, "data={train: {path: other.jsonl}}"),
    "recipe.dataset": checked(BASES["filter"], "dataset: unknown table 'nobody'", True, "dataset=nobody"),
    "recipe.models": runs(
        "generate", column("response"), ["Ho"] * 5, "models={teacher: {provider: scripted, replies: [Ho]}}"
    ),
    "recipe.budget": runs("generate", error("2 requests of budget.requests = 2 spent"), True, "budget={requests: 2}"),
    "recipe.budget.usd": runs("asked", error("of budget.usd = 0"), True, "budget.usd=0"),
    "recipe.budget.requests": runs("generate", error("of budget.requests = 3"), True, "budget.requests=3"),
    "recipe.budget.tokens": runs("generate", error("of budget.tokens = 500"), True, "budget.tokens=500"),
    "recipe.budget.hours": runs("asked", error("budget.hours = 1e-09 are over"), True, "budget.hours=0.000000001"),
    "recipe.terms": checked(BASES["asked"], "terms: open, and 'm' is learnt from", True, "terms=open"),
    "recipe.push": pushes({"dataset": "me/rows"}, {"models": {"student": "me/it"}}, [("model", "me/it", False)]),
    "recipe.push.models": pushes(
        {"dataset": "me/rows"},
        {"dataset": "me/rows", "models": {"student": "me/it"}},
        [("model", "me/it", False), ("dataset", "me/rows", False)],
    ),
    "recipe.push.dataset": pushes(
        {"models": {"student": "me/it"}},
        {"models": {"student": "me/it"}, "dataset": "me/rows"},
        [("model", "me/it", False), ("dataset", "me/rows", False)],
    ),
    "recipe.push.public": pushes(
        {"dataset": "me/rows"}, {"dataset": "me/rows", "public": True}, [("dataset", "me/rows", True)]
    ),
    "recipe.max_failed_share": runs("cut off", error("5 of 5 rows failed"), False, "max_failed_share=1.0"),
    "recipe.plugins": runs("shout", error("unknown step 'shout'"), False, "plugins=[shout.py]"),
    "recipe.steps": runs("filter", count, 5, "steps=[{step: format}]"),
    "data.path": runs("filter", rows_in, 2, "data.train.path=other.jsonl"),
    "data.rows": runs("as it is", column("q"), [7], "data.train={rows: [{q: 7}]}"),
    "data.format": runs(
        "as it is", column("response"), ["Told"], "data.train.format=auto", before="data.train.path=tuned.jsonl"
    ),
    "data.chunk": runs("as it is", column("heading"), ["One", "Two"], "data.train.chunk={}", before=GUIDE),
    "data.chunk.words": runs(
        "as it is", count, 3, "data.train.chunk.words=5", before="data={train: {path: guide.md, chunk: {overlap: 0}}}"
    ),
    "data.chunk.overlap": runs(
        "as it is",
        count,
        4,
        "data.train.chunk.overlap=3",
        before="data={train: {path: guide.md, chunk: {words: 4, overlap: 0}}}",
    ),
    "data.chunk.by": runs(
        "as it is", count, 1, "data.train.chunk.by=file", before="data={train: {path: guide.md, chunk: {by: heading}}}"
    ),
    "data.bad_lines": runs(
        "as it is",
        error("broken.jsonl, line 2"),
        False,
        "data.train.bad_lines=drop",
        before="data.train.path=broken.jsonl",
    ),
    "data.rename": runs("filter", column("truth"), ["99"] * 4, "data.train.rename={gold: truth}"),
    "data.held_out": runs("filter", error("there is no table to read"), True, "data.train.held_out=true"),
    "data.limit": runs("filter", rows_in, 3, "data.train.limit=3"),
    "data.hub": runs("hub", column("instruction"), ["plain train"], FROM_HUB),
    "data.name": runs("hub", column("instruction"), ["hard train"], "data.train.name=hard", before=FROM_HUB),
    "data.split": runs("hub", column("instruction"), ["plain test"], "data.train.split=test", before=FROM_HUB),
    "data.generator": runs("made", lambda it: "gym" in it.error or it.rows[0].get("task"), anything, MADE),
    "data.task": runs("made", column("task"), ["gcd"] * 3, "data.train.task=gcd", before=MADE),
    "data.size": runs("made", count, 7, "data.train.size=7", before=MADE),
    "data.seed": runs("made", column("instruction"), anything, "data.train.seed=1", before=MADE),
    "data.options": runs("made", column("instruction"), anything, "data.train.options={max_terms: 2}", before=MADE),
    "check.answer": runs("check", column("correct"), [False] * 5, "steps.0.answer=exact"),
    "check.against": runs("check", column("correct"), [False] * 5, "steps.0.against=gold"),
    "check.of": runs("check", column("answer"), ["0"] * 5, "steps.0.of=draft"),
    "check.answer_as": runs("check", lambda it: it.rows[0].get("said"), "1", "steps.0.answer_as=said"),
    "check.correct_as": runs("check", lambda it: it.rows[0].get("is_right"), True, "steps.0.correct_as=is_right"),
    "evaluate.models": runs("evaluate", count, 8, "models.other={provider: scripted}", "steps.0.models=[right, other]"),
    "evaluate.prompt": runs("evaluate asked", looks.asked, "In short: What is 40 + 1?", "steps.0.prompt=short"),
    "evaluate.prompts": runs(
        "evaluate asked", looks.asked, "In short: What is 40 + 1?", "steps.0.prompts={served: short}"
    ),
    "evaluate.of": runs("evaluate", evaluation("right"), 0, "steps.0.of=gold"),
    "evaluate.metrics": runs(
        "evaluate",
        evaluation("metrics"),
        lambda it: it.keys() == {"macro_f1", "accuracy"},
        "steps.0.metrics=[macro_f1]",
    ),
    "evaluate.require": runs("many asked", error("is required"), True, "steps.0.require={at_least: 1}"),
    "evaluate.require.at_least": runs(
        "many asked", error("is required"), True, "steps.0.require.at_least=0.9", before="steps.0.require={at_least: 0}"
    ),
    "evaluate.require.metric": runs(
        "many asked",
        error("reaches 0.0 % rouge_l on 'test'"),
        True,
        "steps.0.require.metric=rouge_l",
        before="steps.0.require={at_least: 1}",
    ),
    "converse.model": runs(
        "converse", first("messages"), "The answer is 1.", "steps.0.model=right", "steps.0.with=other"
    ),
    "converse.prompt": runs(
        "converse asked", looks.asked, lambda it: it.startswith("In short:"), "steps.0.prompt=short"
    ),
    "converse.with": runs(
        "converse", lambda it: it.rows[0]["model"], "other", "steps.0.model=right", "steps.0.with=other"
    ),
    "converse.with_prompt": runs("answered asked", looks.asked, "What is 0 + 1?", "steps.0.with_prompt=student/plain"),
    "converse.turns": runs("converse", lambda it: len(it.rows[0]["messages"]), 6, "steps.0.turns=3"),
    "converse.until": runs(
        "converse", lambda it: len(it.rows[0]["messages"]), 2, "steps.0.until=contains(said, 'answer')"
    ),
    "converse.as": runs("converse", lambda it: "talk" in it.rows[0], True, "steps.0.as=talk"),
    "converse.accept_truncated": runs("talk cut off", count, 5, "steps.0.accept_truncated=true"),
    "converse.samples": runs("converse", count, 10, "steps.0.samples=2"),
    "evaluate.answer": runs("evaluate", evaluation("right"), 0, "steps.0.answer=exact"),
    "evaluate.against": runs("evaluate", evaluation("right"), 0, "steps.0.against=gold"),
    "evaluate.by": runs(
        "evaluate", evaluation("slices"), lambda it: it["kind"].keys() == {"a", "b"}, "steps.0.by=[kind]"
    ),
    "evaluate.cluster": runs(
        "evaluate", lambda it: it.report["evaluations"][0]["ci95"], anything, "steps.0.cluster=kind"
    ),
    "evaluate.samples": runs("evaluate", count, 12, "steps.0.samples=3", before="steps.0.temperature=1"),
    "evaluate.judge": runs(
        "two answer",
        lambda it: len(it.report.get("win_rates", [])),
        1,
        f"models.referee={REFEREE}",
        "steps.0.judge=referee",
    ),
    "evaluate.mode": runs(
        "judged",
        lambda it: sorted(it.report["evaluations"][0].get("metrics", {})),
        ["accuracy", "score"],
        f"models.referee={MODELS['grader']}",
        "steps.0.mode=scale",
    ),
    "evaluate.criteria": runs(
        "graded by a server", looks.asked, lambda it: "- tone: how polite" in it, "steps.0.criteria={tone: how polite}"
    ),
    "evaluate.hint": runs(
        "graded by a server", looks.asked, lambda it: "\n99\n[END right answer" in it, "steps.0.hint=gold"
    ),
    "evaluate.judge_prompt": runs(
        "judged by a server", looks.asked, "In short: What is 40 + 1?", "steps.0.judge_prompt=short"
    ),
    "evaluate.against_model": runs(
        "judged", lambda it: it.report["win_rates"][0]["against"], "other", "steps.0.against_model=other"
    ),
    "evaluate.judge_temperature": runs("judged by a server", body("temperature"), 0.7, "steps.0.judge_temperature=0.7"),
    "evaluate.judge_max_tokens": runs("judged by a server", body("max_tokens"), 77, "steps.0.judge_max_tokens=77"),
    "filter.keep": runs("filter", column("score"), [3, 4], "steps.0.keep=score >= 3"),
    "format.prompt": runs(
        "format", lambda it: it.rows[0]["prompt"][0]["content"], "In short: What is 0 + 1?", "steps.0.prompt=short"
    ),
    "format.completion": runs(
        "format", lambda it: it.rows[0]["completion"][0]["content"], "The answer is 0.", "steps.0.completion=draft"
    ),
    "format.reasoning": runs(
        "thought",
        lambda it: it.rows[0]["completion"][0],
        {"role": "assistant", "content": "1", "reasoning_content": "Count on."},
        "steps.1.reasoning=field",
    ),
    "generate.model": runs("two models", lambda it: it.rows[0]["response"], "Said by another.", "steps.0.model=other"),
    "generate.models": runs("two models", count, 5, "steps.1.models=[]", "steps.1.model=other"),
    "generate.choose": runs("two models", count, 5, "steps.1.choose=one"),
    "generate.prompt": runs("asked", looks.asked, lambda it: it.startswith("In short:"), "steps.0.prompt=short"),
    "generate.as": runs("generate", lambda it: "said" in it.rows[0], True, "steps.0.as=said"),
    "generate.top_logprobs": runs(
        "generate", lambda it: len(it.rows[0].get("top_logprobs", {"top": [[]]})["top"][0]), 2, "steps.0.top_logprobs=2"
    ),
    "generate.begin": runs(
        "generate", lambda it: it.rows[0]["response"].startswith(it.rows[0]["draft"]), True, "steps.0.begin=draft"
    ),
    "generate.samples": runs("generate", count, 15, "steps.0.samples=3"),
    "generate.examples": runs(
        "unshown", looks.shown, {"What is 0 + 1? ", "What is 1 + 1? "}, "steps.0.examples={table: train, count: 1}"
    ),
    "generate.examples.table": runs(
        "shown",
        looks.shown,
        {"What is 20 + 1? "},
        "data={train: {path: train.jsonl}, more: {path: other.jsonl}}",
        "steps.0.examples.table=more",
    ),
    "generate.examples.count": runs(
        "shown", looks.shown, {"What is 60 + 1? What is 61 + 1? "}, "steps.0.examples.count=2"
    ),
    "generate.rows": runs("generate", count, 3, "steps.0.rows=3"),
    "generate.run_tools": runs("calling", calls, 5 * 9, "steps.0.run_tools=look.py"),
    "generate.most_calls": runs("calling", calls, 5 * 3, "steps.0.most_calls=2", before="steps.0.run_tools=look.py"),
    "evaluate.run_tools": runs("evaluate calling", calls, 4 * 9, "steps.0.run_tools=look.py"),
    "evaluate.most_calls": runs(
        "evaluate calling", calls, 4 * 3, "steps.0.most_calls=2", before="steps.0.run_tools=look.py"
    ),
    "generate.turns": runs(
        "generate",
        column("response"),
        lambda it: all(len(each) == 5 for each in it),
        "steps.0.turns=split(instruction, ' ')",
    ),
    "generate.after": runs("generate", lambda it: it.rows[0]["response"], "1.0.", "steps.0.after=The answer is"),
    "generate.retry_until": runs(
        "generate", report("funnel"), lambda it: it[0]["failed"] == {"retry_until": 5}, "steps.0.retry_until=sample > 1"
    ),
    "generate.tries": runs("empty", calls, 25, "steps.0.tries=5"),
    "generate.accept_truncated": runs("cut off", column("response"), ["It"] * 5, "steps.0.accept_truncated=true"),
    "generate.hint": checked(SHOWN_TO_ASKED, "shows the student 'instruction'", False, "steps.1.hint=true"),
    "generate.schema": runs(
        "of no form", report("funnel"), lambda it: it[0]["failed"] == {"schema": 5}, "steps.0.schema={type: object}"
    ),
    "generate.labels": runs(
        "of no form", report("funnel"), lambda it: it[0]["failed"] == {"labels": 5}, "steps.0.labels=[good, bad]"
    ),
    "generate.regex": runs(
        "of no form", report("funnel"), lambda it: it[0]["failed"] == {"regex": 5}, "steps.0.regex='[0-9]+'"
    ),
    "generate.parsed": runs("objects", lambda it: it.rows[0].get("told"), {"a": 1}, "steps.0.parsed=told"),
    "generate.repair": runs("almost objects", column("response"), ['{"a": 1}'] * 5, "steps.0.repair=true"),
    "generate.tools": runs("generate", lambda it: it.rows[0].get("tool_calls"), [], f"steps.0.tools=[{LOOKUP}]"),
    "format.tools": runs("format", lambda it: "tools" in it.rows[0], True, f"steps.0.tools=[{LOOKUP}]"),
    "evaluate.tools": runs("evaluate asked", lambda it: "tools" in it.bodies[0], True, f"steps.0.tools=[{LOOKUP}]"),
    "generate.keep": runs(
        "generate",
        lambda it: set(it.rows[0]) & {"instruction", "score", "seed_id"},
        {"score", "seed_id"},
        "steps.0.keep=[score]",
    ),
    "generate.context": runs(
        "untold", looks.asked, lambda it: "What is 4 + 1?" in it, "steps.0.context={table: train}"
    ),
    "generate.context.table": runs(
        "untold",
        looks.asked,
        lambda it: "What is 62 + 1?" in it,
        SEES_SHOTS,
        "steps.0.context={table: shots}",
        before="steps.0.context={table: train}",
    ),
    "generate.context.rows": runs(
        "untold",
        looks.asked,
        lambda it: "What is 3 + 1?" not in it,
        "steps.0.context={table: train, rows: 1}",
        before="steps.0.context={table: train}",
    ),
    "generate.context.choose": runs(
        "untold",
        looks.asked,
        lambda it: "What is 0 + 1?" in it,
        "steps.0.context={table: train, rows: 2, choose: random}",
        before="steps.0.context={table: train, rows: 2}",
    ),
    "generate.context.evaluation": runs(
        "told", looks.asked, lambda it: '"table": "shots"' in it, "steps.2.context.evaluation=shots"
    ),
    "generate.context.model": runs(
        "told", looks.asked, lambda it: '"model": "other"' in it, "steps.2.context.model=other"
    ),
    "generate.examples.choose": runs(
        "shown", lambda it: len(looks.shown(it)), lambda it: it > 1, "steps.0.examples.choose=random"
    ),
    "judge.mode": checked(BASES["judge"], "field 'a' is missing", True, "steps.0.mode=pairwise"),
    "judge.models": runs(
        "judge",
        lambda it: [*it.rows[0]["scores"]],
        ["second"],
        "models={second: {provider: scripted, replies: ['quality: 2']}}",
        "steps.0.models=[second]",
    ),
    "judge.prompt": runs("judge asked", looks.asked, lambda it: it.startswith("In short:"), "steps.0.prompt=short"),
    "judge.of": runs(
        "judge asked", looks.asked, lambda it: "\nThe answer is 0.\n[END answer" in it, "steps.0.of=draft"
    ),
    "judge.a": runs("pair asked", looks.both_asked, lambda it: "\n99\n[END answer 1" in it, "steps.0.a=gold"),
    "judge.b": runs("pair asked", looks.both_asked, lambda it: "\n99\n[END answer 2" in it, "steps.0.b=gold"),
    "judge.author": runs(
        "panel",
        lambda it: "".join(name for row in it.rows for name in row["scores"]),
        "bbbaa",
        "steps.0.author=half",
    ),
    "judge.hint": runs("judge asked", looks.asked, lambda it: "\n99\n[END right answer" in it, "steps.0.hint=gold"),
    "judge.criteria": runs(
        "judge asked", looks.asked, lambda it: "\n- style: it is short\n" in it, "steps.0.criteria={style: it is short}"
    ),
    "judge.scale": runs("judge asked", looks.asked, lambda it: "0 (worst) to 3 (best)" in it, "steps.0.scale=[0, 3]"),
    "judge.accept_above": runs(
        "judge", lambda it: it.report["funnel"][-1]["dropped"], {"not above 7": 5}, "steps.0.accept_above=7"
    ),
    "judge.min_reviews": runs("panel unread", error("5 of 5 rows failed"), False, "steps.0.min_reviews=1"),
    "judge.score": runs("judge", column("grade"), [7] * 5, "steps.0.score=grade"),
    "judge.score_a": runs("pair judged", column("ours"), [5] * 5, "steps.0.score_a=ours"),
    "judge.score_b": runs("pair judged", column("theirs"), [5] * 5, "steps.0.score_b=theirs"),
    "judge.gap": runs("pair judged", column("lead"), [0] * 5, "steps.0.gap=lead"),
    "mix.tables": runs("two tables", count, 11, "steps.0.tables={train: 1, extra: 3}"),
    "mix.by": runs("mended", count, 6, "steps.0.by=null"),
    "mix.take": runs("mended", lambda it: 77 in column("score")(it), False, "steps.0.take=first"),
    "mix.rows": runs("two tables", count, 4, "steps.0.rows=4"),
    "mix.shuffle": runs(
        "two tables",
        lambda it: [row["score"] >= 20 for row in it.rows],
        [False] * 5 + [True] * 2,
        "steps.0.shuffle=false",
    ),
    "mix.input": checked(BASES["mix"], "input: train would not be read", True, "steps.0.input=train"),
    "pair.better": runs(
        "pair", column("better"), [f"What is {n} + 1?" for n in range(5)], "steps.0.better=instruction"
    ),
    "pair.worse": runs("pair", column("worse"), [f"What is {n} + 1?" for n in range(5)], "steps.0.worse=instruction"),
    "pair.gap": runs("pair", column("gap"), [1, 2, 3, 4], "steps.0.gap=score"),
    "pair.min_gap": runs("pair", column("gap"), [3, 4], "steps.0.min_gap=3", before="steps.0.gap=score"),
    "pair.max_similarity": runs("pair", count, lambda it: it < 5, "steps.0.max_similarity=0.3"),
    "pair.per": runs("ranked", column("gap"), [1, 2, 1, 1], "steps.0.per=half"),
    "pair.rank": runs("ranked", column("score"), [0, 0, 2, 1], "steps.0.rank=-score"),
    "pair.of": runs("ranked", column("better"), ["The answer is 0."] * 4, "steps.0.of=draft"),
    "pair.max_pairs": runs("ranked", count, 2, "steps.0.max_pairs=1"),
    "score.model": runs(
        "score",
        lambda it: it.report["models"][0]["name"],
        "second",
        "models={second: {provider: scripted}}",
        "steps.0.model=second",
    ),
    "score.of": runs("score", column("tokens"), [4] * 5, "steps.0.of=draft"),
    "score.prompt": runs(
        "score asked",
        lambda it: it.bodies[0]["messages"][0]["content"],
        lambda it: it.startswith("In short:"),
        "steps.0.prompt=short",
    ),
    "score.as": runs("score", lambda it: "small_mean" in it.rows[0], True, "steps.0.as=small"),
    "score.mean": runs("score", lambda it: "each" in it.rows[0], True, "steps.0.mean=each"),
    "score.top": runs("score", lambda it: "top_logprobs" in it.rows[0], True, "steps.0.top=2"),
    "score.top_as": runs(
        "score",
        lambda it: sorted(it.rows[0].get("likely", [])),
        ["logprobs", "tokens", "top"],
        "steps.0={step: score, model: teacher, top: 2, top_as: likely}",
    ),
    "score.draws": runs(
        "score", lambda it: sum(it.rows[0].get("top_logprobs", {"counts": [[0]]})["counts"][0]), 9, "steps.0.draws=9"
    ),
    "score.ranks": runs("score", lambda it: it.rows[0].get("ranks"), anything, "steps.0.ranks=ranks"),
    "score.pieces": runs("score", lambda it: it.rows[0].get("pieces"), anything, "steps.0.pieces=pieces"),
    "score.likeliest": runs("score", lambda it: it.rows[0].get("best"), anything, "steps.0.likeliest=best"),
    "score.tokens": runs("score", lambda it: "length" in it.rows[0], True, "steps.0.tokens=length"),
    "map.set": runs("map", column("told"), [3] * 5, "steps.0.set.told=3"),
    "map.set.expr": runs("map", column("told"), [0, 1, 2, 3, 4], "steps.0.set={told: {expr: number(score)}}"),
    "map.redact": runs(
        "map", column("gold"), ["[number]"] * 5, "steps.0={step: map, set: {to: x}, redact: [{number: '[0-9]+'}]}"
    ),
    "map.set.text": runs("map", column("told"), ["{{ x }}"] * 5, "steps.0.set={told: {text: '{{ x }}'}}"),
    "map.set.file": runs("map", column("told"), ["As it is: {{ x }}\n"] * 5, "steps.0.set={told: {file: rule.md}}"),
    "map.remove": runs("map", lambda it: "kind" in it.rows[0], False, "steps.0.remove=[kind]"),
    "map.each": runs("items", count, 5, "steps.0.each=split(instruction, '+++')"),
    "map.as": runs("items", lambda it: "word" in it.rows[0], True, "steps.0.as=word"),
    "map.number": runs("items", lambda it: it.rows[1].get("at"), 2, "steps.0.number=at"),
    "map.before": runs("items", lambda it: len(it.rows[2].get("old", "")), 2, "steps.0.before=old"),
    "map.per": runs("told of groups", column("told"), [1] * 5, "steps.0.per=score"),
    "map.keep": runs("told of groups", count, lambda it: it < 5, "steps.0.keep=first"),
    "map.gather": runs("told of groups", lambda it: "all" in it.rows[0], True, "steps.0.gather={all: score}"),
    "select.per": runs("groups", column("score"), [0, 3], "steps.0.per=half"),
    "select.best": runs("groups", column("score"), [0, 1, 2, 3], "steps.0.best=2"),
    "select.rows": runs("select", column("score"), [0], "steps.0.rows=1"),
    "select.share": runs("top", column("score"), [4], "steps.0={step: select, share: 0.2, by: top, column: score}"),
    "select.by": runs("select", column("score"), [1, 2, 3, 4], "steps.0.by=shortest"),
    "select.column": runs("top", column("score"), [0, 1], "steps.0.column=rank"),
    "split.outputs": runs("split", low, 4, "steps.0.outputs.low=score < 4"),
    "split.per": runs(
        "split",
        lambda it: len({row["kind"] for row in it.table("01_split_low")}) if it.report["tables"] else 0,
        lambda kinds: kinds < 2,
        "steps.0.per=kind",
        before="steps.0.outputs={low: 0.5, high: 0.5}",
    ),
    "split.balance": runs("split", low, 3, "steps.0.balance=upsample"),
    "split.output": checked(BASES["split"], "output: named would stay empty", True, "steps.0.output=named"),
    "benchmark.models": checked(BASES["benchmark"], "is named twice", True, "steps.0.models=[student, student]"),
    "benchmark.tasks": checked(BASES["benchmark"], "'ours.yaml' does not exist", True, "steps.0.tasks=[ours.yaml]"),
    "benchmark.few_shot": benchmarked("few_shot", 5),
    "benchmark.limit": benchmarked("limit", 100),
    "benchmark.chat": benchmarked("chat", True),
    "benchmark.input": checked(BASES["benchmark"], "unknown table 'none'", True, "steps.0.input=none"),
    "benchmark.output": checked(BASES["benchmark"], "table 'train' exists already", True, "steps.0.output=train"),
    "train.model": checked(
        BASES["train"],
        "model 'other' cannot be trained",
        True,
        "models={other: {provider: scripted}}",
        "steps.0.model=other",
    ),
    "train.input": runs("train on both", error("any of the 2 rows"), True, "steps.1.input=extra"),
    "train.method": runs("train", error("dpo"), True, "steps.0.method=dpo"),
    "train.start": (lambda: looks.adapter_from("latest"), lambda: looks.adapter_from("base"), None),
    "train.adapter": trains(argument("learning_rate"), 2e-5, adapter="full"),
    "train.r": trains(lora("r"), 4, r=4),
    "train.alpha": trains(lora("lora_alpha"), 5, alpha=5),
    "train.dropout": trains(lora("lora_dropout"), 0.1, dropout=0.1),
    "train.layers": trains(lora("layers_to_transform"), [1], layers=0.5),
    "train.learning_rate": trains(argument("learning_rate"), 1e-3, learning_rate=1e-3),
    "train.epochs": trains(argument("num_train_epochs"), 7, epochs=7),
    "train.max_steps": trains(argument("max_steps"), 9, max_steps=9),
    "train.max_steps.as": checked(
        recipe(STEPS["train"]),
        "'student' is trained by no step before this one",
        True,
        "steps.0.max_steps={as: student}",
    ),
    "train.batch_size": trains(rows_of_a_step, 6, batch_size=6),
    "train.max_length": told("max_length", 64),
    "train.long_rows": told("rows_left_out", 1),
    "train.packing": trains(looks.packs, True, packing=True),
    "train.turns": trains(turns_learnt, 2, turns="all"),
    "train.eval_share": told("rows_for_evaluation_loss", 3),
    "train.warmup": trains(argument("warmup_steps"), 0.2, warmup=0.2),
    "train.weight_decay": trains(argument("weight_decay"), 0.3, weight_decay=0.3),
    "train.max_grad_norm": trains(argument("max_grad_norm"), 2.0, max_grad_norm=2.0),
    "train.beta": prefers("beta", 0.5, beta=0.5),
    "train.sft_weight": prefers("loss_type", ["sigmoid"], sft_weight=0),
    "train.loss": prefers("loss_type", ["hinge", "sft"], loss="hinge"),
    "train.teacher": checked(BASES["train"], "unknown model 'big'", True, "steps.0.method=gkd", "steps.0.teacher=big"),
    "train.temperature": taught("temperature", 0.4, temperature=0.4),
    "train.on_policy": taught("lmbda", 1.0, on_policy=1),
    "train.max_tokens": taught("max_new_tokens", 33, max_tokens=33),
    "train.top": checked(BASES["train"], "'likeliest'", True, "steps.0.method=topk", "steps.0.top=likeliest"),
    "train.gpus": trains(lambda settings: settings.get("gpus"), 2, gpus=2),
    "train.accelerate": checked(
        BASES["train"], "accelerate: 'fsdp2.yaml' does not exist", True, "steps.0.accelerate=fsdp2.yaml"
    ),
    "train.seed": trains(argument("seed"), 99, seed=99),
    "train.checkpoint_minutes": trains(lambda settings: settings.get("checkpoint_minutes"), 1.0, checkpoint_minutes=1),
    "train.patience": trains(argument("restore_callback_states_from_checkpoint"), True, patience=3),
    "train.report_to": trains(argument("report_to"), ["tensorboard"], report_to=["tensorboard"]),
    "train.trl": trains(argument("adam_beta2"), 0.95, trl={"adam_beta2": 0.95}),
    "train.lora": trains(lora("use_rslora"), True, lora={"use_rslora": True}),
    "train.continue": (lambda: merges_under(), lambda: merges_under(**{"continue": "merge"}), True),
    "train.load": trains(held("load_in_4bit"), True, load={"bits": 4}),
    "train.load.bits": trains(held("load_in_8bit"), True, load={"bits": 8}),
    "train.dtype": trains(
        lambda settings: model.choose_dtype(Settings.model_validate(settings), "float32"), "bfloat16", dtype="bfloat16"
    ),
    "train.attn": trains(
        lambda settings: model.choose_form(Settings.model_validate(settings), "float32").get("attn_implementation"),
        "eager",
        attn="eager",
    ),
    "openai.max_tokens_field": opens(
        "openai", looks.sent_body("max_completion_tokens"), 9, max_tokens_field="max_completion_tokens"
    ),
    "mistral.rpm": opens("mistral", looks.seconds, lambda it: it > 10, rpm=60),
    "mistral.tpm": opens("mistral", looks.seconds, lambda it: it > 10, tpm=600),
    "mistral.batch": opens("mistral", looks.jobs, [5], batch=True),
    "gemini.model": opens("gemini", gemini_sees(lambda it: it.models), ["n"], model="n"),
    "gemini.base_url": opens("gemini", looks.goes_to, "http://other", base_url="http://other"),
    "gemini.key_env": opens(
        "gemini", gemini_sees(lambda it: it.seen_headers[0].get("x-goog-api-key")), "sk-some", key_env="SOME_KEY"
    ),
    "gemini.timeout_s": opens("gemini", gemini_sees(lambda it: "a reply", "slow"), "timeout", timeout_s=0.1),
    "gemini.extra_body": opens("gemini", gemini_sees(lambda it: it.seen[0].get("labels")), {"a": "b"}, **LABELS),
    "gemini.thinking": opens(
        "gemini",
        gemini_sees(lambda it: it.seen[0]["generationConfig"].get("thinkingConfig")),
        {"thinkingLevel": "LOW", "includeThoughts": True},
        thinking="low",
    ),
    "gemini.system": opens("gemini", gemini_sees(lambda it: "systemInstruction" in it.seen[0]), False, system="fold"),
    "gemini.refuses": opens(
        "gemini", gemini_sees(lambda it: it.seen[0].get("labels")), None, LABELS, refuses=["labels"], **LABELS
    ),
    "gemini.rpm": opens("gemini", looks.seconds, lambda it: it > 10, rpm=60),
    "gemini.tpm": opens("gemini", looks.seconds, lambda it: it > 10, tpm=600),
    "gemini.batch": opens("gemini", looks.gemini_batches, [5], batch=True),
    "openai.distillable_only": opens(
        "openai", looks.sent_body("provider"), {"enforce_distillable_text": True}, distillable_only=True
    ),
    "azure.max_tokens_field": opens("azure", looks.sent_body("max_tokens"), 9, max_tokens_field="max_tokens"),
    "azure.api_version": opens("azure", PATH_ASKED, lambda it: "/deployments/m/" in it, api_version="2024-10-21"),
    "azure.auth": opens(
        "azure",
        looks.sent(lambda it: it.seen_headers[0].get("Authorization")),
        "Bearer sk-some",
        {"key_env": "SOME_KEY"},
        key_env="SOME_KEY",
        auth="token",
    ),
    "vllm.top_k": opens("vllm", looks.sent_body("top_k"), 5, top_k=5),
    "vllm.min_p": opens("vllm", looks.sent_body("min_p"), 0.2, min_p=0.2),
    "vllm.repetition_penalty": opens("vllm", looks.sent_body("repetition_penalty"), 1.1, repetition_penalty=1.1),
    "vllm.chat_template_kwargs": opens(
        "vllm", looks.sent_body("chat_template_kwargs"), {"a": 1}, chat_template_kwargs={"a": 1}
    ),
    "scripted.model": opens("scripted", said("model"), "n", model="n"),
    "scripted.replies": opens("scripted", said("text"), "Ho", replies=["Ho"]),
    "scripted.replies.text": opens("scripted", said("text"), "Ho", replies=[{"text": "Ho"}]),
    "scripted.replies.nats": opens(
        "scripted", looks.likely, -12.0, {"replies": ["Ho"]}, replies=[{"text": "Ho", "nats": 2.0}]
    ),
    "scripted.replies.finish_reason": opens(
        "scripted",
        said("finish_reason"),
        "length",
        {"replies": ["Ho"]},
        replies=[{"text": "Ho", "finish_reason": "length"}],
    ),
    "scripted.replies.tool_calls": opens(
        "scripted", said("finish_reason"), "tool_calls", {"replies": ["Ho"]}, replies=[{"tool_calls": CALLED}]
    ),
    "scripted.replies.usage": opens(
        "scripted", said("usage"), {"prompt_tokens": 77}, replies=[{"text": "Ho", "usage": {"prompt_tokens": 77}}]
    ),
    "recorded.replies": checked(RECORDED, "'/dev/null' has no replies", False, "models.m.replies=gone.jsonl"),
    "recorded.model": checked(RECORDED, "has no replies of a model 'judge'", True, "models.m.model=judge"),
    "scripted.stands_in": opens(
        "scripted", said("text"), lambda it: "That is the answer" not in it, stands_in="openai:cheap"
    ),
    "scripted.function": opens("scripted", said("text"), "said by a function", function="said.py:reply"),
    "transformers.model": opens("transformers", looks.key, anything, model=looks.other_weights),
    "transformers.adapter": opens("transformers", looks.key, anything, adapter=looks.adapter),
    "transformers.dtype": opens("transformers", looks.precision, "torch.bfloat16", {"device": "cpu"}, dtype="bfloat16"),
    "transformers.device": opens("transformers", looks.refuses_device, True, device="nowhere"),
    "transformers.max_batch": opens("transformers", looks.rows_at_once, 3, max_batch=3),
    "transformers.chat_template": opens(
        "transformers", looks.prompt_tokens, lambda tokens: tokens < 20, chat_template=looks.template_file
    ),
    "transformers.chat_template_kwargs": opens(
        "transformers",
        looks.prompt_tokens,
        anything,
        {"model": looks.other_template},
        model=looks.other_template,
        chat_template_kwargs={"tone": "kind"},
    ),
}
CASES |= {
    "anthropic.model": opens("anthropic", looks.sent_body("model"), "n", model="n"),
    "anthropic.base_url": opens(
        "anthropic", looks.sent(lambda it: "/other/" in next(iter(it.stats()["paths"]))), True, base_url="http://other"
    ),
    "anthropic.key_env": opens(
        "anthropic", looks.sent(lambda it: it.seen_headers[0].get("x-api-key")), "sk-some", key_env="SOME_KEY"
    ),
    "anthropic.timeout_s": opens(
        "anthropic", looks.sent(lambda it: "a reply", latency="0.4"), "timeout", timeout_s=0.1
    ),
    "anthropic.extra_body": opens("anthropic", looks.sent_body("top_k"), 5, extra_body={"top_k": 5}),
    "anthropic.system": opens("anthropic", looks.roles, ["user"], system="fold"),
    "anthropic.thinking": opens("anthropic", looks.sent_body("output_config"), {"effort": "low"}, thinking="low"),
    "anthropic.cache": opens("anthropic", looks.marks, False, cache=False),
    "anthropic.rpm": opens("anthropic", looks.seconds, lambda it: it > 10, rpm=60),
    "anthropic.tpm": opens("anthropic", looks.seconds, lambda it: it > 10, tpm=600),
    "anthropic.batch": opens("anthropic", looks.message_batches, [5], batch=True),
    "anthropic.refuses": checked(
        recipe(
            {**ASK, "model": "m", "temperature": 0.5},
            models={"m": {"provider": "anthropic", "model": "claude-opus-4-5", "base_url": "http://127.0.0.1:9"}},
        ),
        "temperature: 0.5 is not taken by model 'm'",
        True,
        "models.m.refuses=[temperature]",
    ),
}
for _name in ("openai", "azure"):
    CASES |= {
        f"{_name}.rpm": opens(_name, looks.seconds, lambda it: it > 10, rpm=60),
        f"{_name}.tpm": opens(_name, looks.seconds, lambda it: it > 10, tpm=600),
        f"{_name}.batch": opens(_name, looks.batches, [5], batch=True),
        f"{_name}.api": opens(_name, PATH_ASKED, lambda it: it.endswith("/responses"), api="responses"),
        f"{_name}.headers": opens(
            _name, looks.sent(lambda it: it.seen_headers[0].get("X-Team")), "sk-some", headers={"X-Team": "$SOME_KEY"}
        ),
        f"{_name}.query": opens(_name, PATH_ASKED, lambda it: it.endswith("?team=a"), query={"team": "a"}),
    }
for _name in ("openai", "vllm"):
    CASES |= {
        f"{_name}.servers": opens(
            _name, looks.sent(lambda it: "the server"), "unreachable", servers=["http://127.0.0.1:9/v1"]
        ),
    }
for _name in ("openai", "vllm", "mistral", "azure"):
    _key, _said = ("api-key", "sk-some") if _name == "azure" else ("Authorization", "Bearer sk-some")
    _cap, _other = CAPS if _name == "azure" else CAPS[::-1]
    CASES |= {
        f"{_name}.model": opens(_name, looks.sent_body("model"), "n", model="n"),
        f"{_name}.base_url": opens(
            _name, looks.sent(lambda it: "/other/" in next(iter(it.stats()["paths"]))), True, base_url="http://other/v1"
        ),
        f"{_name}.key_env": opens(
            _name, looks.sent(lambda it, key=_key: it.seen_headers[0].get(key)), _said, key_env="SOME_KEY"
        ),
        f"{_name}.timeout_s": opens(_name, looks.sent(lambda it: "a reply", latency="0.4"), "timeout", timeout_s=0.1),
        f"{_name}.extra_body": opens(_name, looks.sent_body("user"), "me", extra_body={"user": "me"}),
        f"{_name}.refuses": opens(_name, looks.sent_body(_cap), 9, refuses=[_other]),
        f"{_name}.system": opens(_name, looks.roles, ["user"], system="fold"),
        f"{_name}.thinking": opens(_name, looks.sent_body("reasoning_effort"), "low", thinking="low"),
    }
for _name in ("anthropic", "gemini", "openai", "vllm", "mistral", "azure"):
    CASES |= {
        f"{_name}.{_field}": checked(
            recipe({**ASK, "model": "m", "max_tokens": 9}, models={"m": {**MODELS["served"], "provider": _name}}),
            "max_tokens: 9 is more than model 'm' (m) lets through",
            True,
            f"models.m.{_set}",
        )
        for _field, _set in (("limits", "limits={max_tokens: 8}"), ("limits.max_tokens", "limits.max_tokens=8"))
    }
for _name in ("anthropic", "gemini", "openai", "vllm", "mistral", "azure", "scripted"):
    _price = {"input": 1, "output": 10}
    CASES |= {
        f"{_name}.price": opens(_name, looks.bill, 2.0, price=_price),
        f"{_name}.price.input": opens(_name, looks.bill, 4.0, {"price": _price}, price={**_price, "input": 3}),
        f"{_name}.price.output": opens(_name, looks.bill, 3.0, {"price": _price}, price={**_price, "output": 20}),
        f"{_name}.price.cached": opens(_name, looks.bill, 1.75, {"price": _price}, price={**_price, "cached": 0.5}),
        f"{_name}.price.cache_write": opens(
            _name, looks.bill, 2.5, {"price": _price}, price={**_price, "cache_write": 2}
        ),
        f"{_name}.price.cache_write_1h": opens(
            _name, looks.bill, 3.0, {"price": _price}, price={**_price, "cache_write_1h": 5}
        ),
    }
_NEEDED = {"recorded": {"replies": "told.jsonl"}}
for _name in models.providers():
    _own = _NEEDED.get(_name, {})
    CASES |= {
        f"{_name}.max_concurrency": opens(_name, looks.at_once, 2, _own, max_concurrency=2, **_own),
        f"{_name}.provider": checked(
            recipe({**ASK, "model": "m"}, models={"m": {"provider": _name, "model": "a/b"}}),
            "unknown provider 'nobody'",
            True,
            "models.m.provider=nobody",
        ),
    }
for _name, _base in (
    ("generate", "asked"),
    ("evaluate", "evaluate asked"),
    ("judge", "judge asked"),
    ("converse", "converse asked"),
):
    CASES |= {
        f"{_name}.temperature": runs(_base, body("temperature"), 0.3, "steps.0.temperature=0.3"),
        f"{_name}.top_p": runs(_base, body("top_p"), 0.8, "steps.0.top_p=0.8"),
        f"{_name}.max_tokens": runs(_base, body("max_tokens"), 77, "steps.0.max_tokens=77"),
        f"{_name}.stop": runs(_base, body("stop"), ["END"], "steps.0.stop=[END]"),
        f"{_name}.sampling_seed": runs(_base, body("seed"), 3, "steps.0.sampling_seed=3"),
        f"{_name}.extra": runs(_base, body("top_k"), 5, "steps.0.extra={top_k: 5}"),
    }


# Steps that compare rows with others.


def new(**novelty: Any) -> dict[str, Any]:
    return recipe({"step": "filter", "novelty": novelty})


async def _formed(text: str, fields: Mapping[str, Any]) -> str:
    config = config_of("filter", {"well_formed": "instruction", **fields})
    return type(await filter_step.run(Row(id="r", instruction=text), config, FakeContext())).__name__


def formed(text: str, becomes: str, **fields: Any) -> Case:
    """What becomes of a generated instruction."""
    return lambda: asyncio.run(_formed(text, {})), lambda: asyncio.run(_formed(text, fields)), becomes


async def _likeness(model: Any) -> float:
    novelty = {"metric": "embedding", "model": str(model()), "max": 1.0}
    config = config_of("filter", {"novelty": novelty})
    table = FakeTable("t", [Row(id=text, instruction=text) for text in ("How many are left?", "A poem about the sea")])
    return float([row["similarity"] async for row in filter_step.run_table(table, config, FakeContext())][1])


PARTLY = "{% if kind == 'a' %}The answer is {{ reference | float | int }}.{% else %}No.{% endif %}"
GAP_MODELS = {"right": MODELS["right"], "partly": {"provider": "scripted", "replies": [PARTLY]}}
EXAM = {"step": "evaluate", "input": "extra", "models": ["right", "partly"], "answer": "number", "by": ["kind", "half"]}
GAP = {"by": "kind", "teacher": "right", "student": "partly", "on": "extra"}
TEN: dict[str, Any] = {"step": "mix", "tables": {"train": 1}, "rows": 10}
BASES |= {
    "new": new(),
    "leaks": recipe({"step": "filter", "leaks": {"answer": "gold", "in": "instruction"}}),
    "leaking": recipe({"step": "filter", "leaks": {"answer": "score", "in": "instruction"}}),
    "share": recipe({"step": "filter", "share": {"of": "kind", "max": 0.1}}),
    "thought": recipe({**ASK, "model": "thinker"}, STEPS["format"]),
    "tasks": recipe({"step": "format", "tasks": [{"name": "a"}]}),
    "pairs": recipe({"step": "format", "preference": True, "chosen": "response", "rejected": "draft"}),
    "replay": recipe({"step": "mix", "tables": {"train": 1}, "replay": {"table": "extra", "share": 0.2}}, data=TWO),
    "even": recipe(EXAM, TEN, data=TWO, models=GAP_MODELS),
    "gap": recipe(EXAM, {**TEN, "gap": GAP}, data=TWO, models=GAP_MODELS),
    "gap again": recipe(
        EXAM,
        {"loop": {"rounds": 2, "steps": [{**TEN, "gap": GAP, "output": "drawn"}, {**EXAM, "against": "gold"}]}},
        {"step": "filter", "input": "drawn", "keep": "len(kind) > 0"},
        data=TWO,
        models=GAP_MODELS,
    ),
    "far": recipe({"step": "select", "by": "kcenter", "column": "instruction", "rows": 2}),
    "votes": recipe({"step": "select", "by": "kcenter", "per": "score", "votes": "half", "rows": 2}),
    "majority": recipe({"step": "select", "by": "majority", "per": "kind", "column": "half"}),
    "majority of numbers": recipe(
        {"step": "select", "by": "majority", "per": "kind", "column": "said"},
        data={"train": {"rows": [{"kind": "a", "said": said} for said in ("1/2", "0.5", "7")]}},
    ),
    "near": recipe({"step": "select", "by": "retrieve", "index": "extra"}, data=TWO),
    "beside": recipe({"step": "select", "by": "draw", "index": "extra"}, data=TWO),
    "near itself": recipe({"step": "select", "by": "retrieve", "index": "train"}),
}
SHOWN = recipe(TOLD, STEPS["format"])
SHOWN_BY_TASK = recipe(TOLD, {"step": "format", "tasks": [{"name": "a"}]})
SAME = "data.same={path: train.jsonl}"
MORE = "data={train: {path: train.jsonl}, more: {path: shots.jsonl}}"


def kinds_drawn(seen: Seen) -> tuple[int, int]:
    found = column("kind")(seen)
    return found.count("a"), found.count("b")


def nearest(seen: Seen) -> list[str]:
    return [found["instruction"] for found in seen.rows[0]["retrieved"]]


CASES |= {
    "filter.novelty": runs("filter", count, 1, "steps.0={step: filter, novelty: {}}"),
    "filter.novelty.column": runs("new", count, 5, "steps.0.novelty.column=reference"),
    "filter.novelty.against": runs("new", count, 0, SAME, "steps.0.novelty.against=[same]"),
    "filter.novelty.per": runs("new", count, 5, "steps.0.novelty.per=reference"),
    "filter.novelty.metric": runs("new", count, 5, "steps.0.novelty.metric=minhash"),
    "filter.novelty.max": runs("new", count, 5, "steps.0.novelty.max=0.8"),
    "filter.novelty.model": (
        lambda: asyncio.run(_likeness(tiny_model)),
        lambda: asyncio.run(_likeness(looks.other_weights)),
        anything,
    ),
    "filter.well_formed": runs("filter", count, 0, "steps.0={step: filter, well_formed: reference}"),
    "filter.paper_faithful": formed("Écris un poème court", "Dropped", paper_faithful=True),
    "filter.leaks": runs("filter", count, 0, "steps.0={step: filter, leaks: {answer: score, in: instruction}}"),
    "filter.leaks.answer": runs("leaks", count, 0, "steps.0.leaks.answer=score"),
    "filter.leaks.in": runs("leaking", count, 5, "steps.0.leaks.in=kind"),
    "filter.absent_from": runs("two tables", count, 5, TOLD_APART),
    "filter.absent_from.table": runs("two tables", count, 2, "steps.1.absent_from.table=train", before=TOLD_APART),
    "filter.absent_from.by": runs("two tables", count, 0, "steps.1.absent_from.by=kind", before=TOLD_APART),
    "filter.share": runs("filter", count, 2, "steps.0={step: filter, share: {of: kind, max: 0.1}}"),
    "filter.share.of": runs("share", count, 5, "steps.0.share.of=score"),
    "filter.share.max": runs("share", count, 4, "steps.0.share.max=0.5"),
    "format.hint": checked(SHOWN, "shows the student 'instruction'", False, "steps.1.hint=true"),
    "format.tasks": runs("format", count, 10, "steps.0={step: format, tasks: [{name: a}, {name: b}]}"),
    "format.tasks.name": runs("tasks", column("task"), ["b"] * 5, "steps.0.tasks.0.name=b"),
    "format.tasks.prompt": runs("tasks", first("prompt"), "In short: What is 0 + 1?", "steps.0.tasks.0.prompt=short"),
    "format.tasks.completion": runs("tasks", first("completion"), "99", "steps.0.tasks.0.completion=gold"),
    "format.tasks.prefix": runs("tasks", first("prompt"), "Say: What is 0 + 1?", "steps.0.tasks.0.prefix='Say: '"),
    "format.tasks.weight": runs("tasks", column("weight"), [0.5] * 5, "steps.0.tasks.0.weight=0.5"),
    "format.tasks.hint": checked(SHOWN_BY_TASK, "shows the student 'instruction'", False, "steps.1.tasks.0.hint=true"),
    "format.preference": runs(
        "format", first("chosen"), "99", "steps.0={step: format, preference: true, chosen: gold, rejected: draft}"
    ),
    "format.chosen": runs("pairs", first("chosen"), "99", "steps.0.chosen=gold"),
    "format.rejected": runs("pairs", first("rejected"), "99", "steps.0.rejected=gold"),
    "format.drop_context": runs("format", count, 0, "steps.0.drop_context=[instruction]"),
    "format.teacher_prompt": runs(
        "format", first("prompt_teacher"), "In short: What is 0 + 1?", "steps.0.teacher_prompt=short"
    ),
    "mix.replay": runs("mix", count, 7, "data.extra={path: other.jsonl}", "steps.0.replay={table: extra, share: 0.2}"),
    "mix.replay.table": runs(
        "replay", lambda it: max(column("score")(it)) >= 60, True, MORE, "steps.0.replay.table=more"
    ),
    "mix.replay.share": runs("replay", count, 6, "steps.0.replay.share=0.1"),
    "mix.gap": runs("even", kinds_drawn, (1, 9), "steps.1.gap={by: kind, teacher: right, student: partly, on: extra}"),
    "mix.gap.by": runs("gap", lambda it: set(column("half")(it)), {"a"}, "steps.1.gap.by=half"),
    "mix.gap.teacher": runs("gap", kinds_drawn, (5, 5), "steps.1.gap.teacher=partly"),
    "mix.gap.student": runs("gap", kinds_drawn, (5, 5), "steps.1.gap.student=right"),
    "mix.gap.on": runs("gap", error("no evaluation of model 'right' on table 'train'"), True, "steps.1.gap.on=train"),
    "mix.gap.temperature": runs("gap", kinds_drawn, (5, 5), "steps.1.gap.temperature=100"),
    "mix.gap.smooth": runs("gap again", kinds_drawn, (5, 5), "steps.1.loop.steps.0.gap.smooth=0"),
    "mix.gap.floor": runs("gap", kinds_drawn, (0, 10), "steps.1.gap.floor=0"),
    "select.votes": runs("votes", column("score"), anything, "steps.0.votes=kind"),
    "select.labelled": runs("far", column("instruction"), anything, SAME, "steps.0.labelled=same"),
    "select.index": runs("near", nearest, anything, MORE, "steps.0.index=more"),
    "select.count": runs("near", lambda it: len(nearest(it)), 1, "steps.0.count=1"),
    "select.where": runs(
        "beside", lambda it: len(it.rows[0].get("drawn", [])), 0, "steps.0.where='score == other[\"score\"] + 99'"
    ),
    "select.own": runs("near itself", nearest, lambda it: it[0] == "What is 0 + 1?", "steps.0.own=true"),
    "select.min_share": runs("majority", count, 0, "steps.0.min_share=0.9"),
    "select.answer": runs("majority of numbers", count, 1, "steps.0.answer=number"),
    "select.as": runs("near", lambda it: "found" in it.rows[0], True, "steps.0.as=found"),
}
BOTH = {"step": "mix", "tables": {"train": 1, "extra": 1}, "output": "both"}
BASES["train on both"] = recipe(BOTH, STEPS["train"], data=MUTE)
for _name, _step in STEPS.items():
    CASES[f"{_name}.step"] = checked(recipe(_step), "unknown step 'nonsense'", True, "steps.0.step=nonsense")
    _chain = recipe(_step, {"step": "filter", "keep": "len(instruction) > 0", "input": "named"})
    CASES.setdefault(f"{_name}.output", checked(_chain, "unknown table 'named'", False, "steps.0.output=named"))
    BASES[f"{_name} on both"] = recipe(BOTH, _step, data=MUTE if _name == "train" else TWO)
    CASES.setdefault(f"{_name}.input", runs(f"{_name} on both", rows_in, 2, "steps.1.input=extra"))


def judged(name: str, text: str, reference: str, without: Mapping[str, Any], **fields: Any) -> Case:
    """A kind of answer reads a text and compares it, without a field and with it."""

    def judge(said: Mapping[str, Any]) -> bool:
        return answers.judge({name: said}, text, reference, {})[1]

    return lambda: judge(without), lambda: judge({**without, **fields}), True


def a_database(*statements: str) -> str:
    """The name of a SQLite file in which some statements were run."""
    file = looks.a_folder() / "shop.sqlite"
    with sqlite3.connect(file) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    return str(file)


ONE, TWO_ITEMS = (a_database("CREATE TABLE t (a)", *["INSERT INTO t VALUES (1)"] * count) for count in (1, 2))
SLOW = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) SELECT max(x) FROM n"
CALLS = ['[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]']
CALLS.append('[{"name": "g", "arguments": {}}, {"name": "f", "arguments": {}}]')
TEXTS = {"schema": {"type": "object", "properties": {"a": {"type": "number"}}}}
CASES |= {
    "answer.number.decimal": judged("number", "It is 3,5.", "7/2", {"decimal": "."}, decimal=","),
    "answer.label.labels": judged("label", "Label: c", "c", {"labels": ["c", "label: c"]}, labels=["c", "d"]),
    "answer.json.schema": judged("json", '{"a": "1.50"}', '{"a": "1.5"}', {}, **TEXTS),
    "answer.json.repair": judged("json", "{'a': 1}", '{"a": 1}', {}, repair=True),
    "answer.sql.database": judged("sql", "SELECT count(*) FROM t", "SELECT 2", {"database": ONE}, database=TWO_ITEMS),
    "answer.sql.seconds": judged("sql", SLOW, "SELECT 300000", {"database": ONE, "seconds": 0.001}, seconds=30),
    "answer.tool_call.order": judged("tool_call", *CALLS, {"order": "fixed"}, order="free"),
}
for _name, _write in (("json", "{}".format), ("tool_call", '[{{"name": "f", "arguments": {}}}]'.format)):
    CASES |= {
        f"answer.{_name}.lists": judged(_name, _write('{"a": [1, 2]}'), _write('{"a": [2, 1]}'), {}, lists="sets"),
        f"answer.{_name}.tolerance": judged(_name, _write('{"a": 1.1}'), _write('{"a": 1}'), {}, tolerance=0.2),
        f"answer.{_name}.decimal": judged(_name, _write('{"a": "1,5"}'), _write('{"a": 1.5}'), {}, decimal=","),
        f"answer.{_name}.dates": judged(
            _name, _write('{"a": "5.3.2024"}'), _write('{"a": "2024-03-05"}'), {}, dates="day_first"
        ),
    }


@pytest.mark.parametrize("field", all_fields())
def test_a_field_changes_something(field: str) -> None:
    if field in GENERATORS and importlib.util.find_spec("reasoning_gym") is None:
        pytest.skip("reasoning_gym is not installed")
    assert field in CASES, f"{field} has no case in CASES: nobody knows whether anything reads it"
    without, with_it, becomes = CASES[field]
    before, after = without(), with_it()
    assert after != before
    assert becomes(after) if callable(becomes) else after == becomes


def test_no_case_is_of_a_field_that_does_not_exist() -> None:
    assert set(CASES) <= set(all_fields())


async def test_a_named_output_holds_the_rows_of_its_step() -> None:
    values = recipe(
        {**STEPS["filter"], "output": "named"},
        {"step": "mix", "tables": {"train": 1}},
        {"step": "filter", "keep": "len(instruction) > 0", "input": "named"},
    )
    assert rows_in(await looks.ran(values)) == 4
