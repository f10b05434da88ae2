"""Where a field belongs that stands where there is no field of that name: what it is called here, or its place."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache

from pydantic import BaseModel

from blackbox_kd import models
from blackbox_kd.recipe import field_types
from blackbox_kd.recipe.budget import BudgetConfig
from blackbox_kd.recipe.loop_config import LoopConfig
from blackbox_kd.recipe.spec import RecipeFile
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.tables.sources import TableSource

OWN_NAMES: Mapping[str, str] = {
    "api_base": "base_url",
    "endpoint": "base_url",
    "url": "base_url",
    "timeout": "timeout_s",
    "concurrency": "max_concurrency",
    "max_workers": "max_concurrency",
    "n": "samples",
    "num_samples": "samples",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
    "seed": "sampling_seed",
    "json_schema": "schema",
    "output_schema": "schema",
    "choices": "labels",
    "classes": "labels",
    "pattern": "regex",
    "output_column": "as",
    "into": "as",
    "save_as": "as",
    "few_shot": "examples",
    "condition": "keep",
    "where": "keep",
    "dedupe": "novelty",
    "dedup": "novelty",
    "deduplicate": "novelty",
    "lr": "learning_rate",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "rank": "r",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "max_seq_length": "max_length",
    "per_device_train_batch_size": "batch_size",
    "dataset": "hub",
    "file": "path",
    "model_name": "model",
    "model_id": "model",
    "type": "provider",
    "dollars": "usd",
    "max_usd": "usd",
    "calls": "requests",
}
"""What other tools call a field, and what it is called here."""
_BODY = """
chat_template_kwargs frequency_penalty guided_json logit_bias metadata min_p parallel_tool_calls presence_penalty
reasoning reasoning_effort repetition_penalty response_format service_tier store structured_outputs thinking
tool_choice tools top_k top_logprobs user verbosity
"""
OF_THE_BODY = frozenset(_BODY.split())
"""Fields of requests that endpoints know, and that go to them as they are."""
ADVICE: Mapping[str, str] = {
    "headers": "provider: openai and provider: azure send headers of your own",
    "api_version": "write provider: azure at the model, which takes it; Azure's v1 API has none",
    "system": "write the text into the prompt's file, between {% system %} and {% endsystem %}",
    "system_prompt": "write the text into the prompt's file, between {% system %} and {% endsystem %}",
    "messages": "write the messages into the prompt's file, each between {% user %} and {% enduser %} and the like",
    "stream": "take it out: replies come whole",
    "dedupe": "write a step for it: - {step: filter, novelty: {max: 0.7}}",
    "if": "put a step before it: - {step: filter, keep: EXPRESSION}",
    **dict.fromkeys(
        ("metrics", "metric"), "evaluate measures accuracy, and what its metrics: names; a win rate needs judge: MODEL"
    ),
    **dict.fromkeys(("schema", "labels", "regex", "json_schema"), "of the steps only generate wants replies of a form"),
}
_NEW = "- {step: filter, novelty: {max: 0.7}}"
_DRAWN = "- {step: select, rows: N, by: random}"
STEPS: Mapping[str, str] = {
    **dict.fromkeys(("dedupe", "dedup", "deduplicate", "unique"), _NEW),
    **dict.fromkeys(("sample", "subset", "shuffle", "limit"), _DRAWN),
    **dict.fromkeys(("sft", "finetune", "fine_tune", "distill"), "- {step: train, model: STUDENT}"),
    "dpo": "- {step: train, model: STUDENT, method: dpo}",
    **dict.fromkeys(("concat", "concatenate", "merge", "join"), "- {step: mix, tables: {ONE: 1, OTHER: 1}}"),
    **dict.fromkeys(("ask", "prompt", "llm", "complete", "rewrite"), "- {step: generate, model: NAME, prompt: NAME}"),
    **dict.fromkeys(("verify", "grade_answers", "parse"), "- {step: check, answer: KIND}"),
    **dict.fromkeys(("rate", "grade", "review"), "- {step: judge, mode: scale, models: [NAME]}"),
    "drop": "- {step: filter, keep: EXPRESSION}",
}
"""What other tools call a step, and how it is written here."""


def find_place(name: str, here: Collection[str]) -> str:
    """What to do with a field that has no place where it stands, or nothing.

    Args:
        name: the field.
        here: fields that may stand there.
    """
    if OWN_NAMES.get(name) in here:
        return f"write {OWN_NAMES[name]}: in its place"
    if name == "thinking" and "chat_template_kwargs" in here:
        return "write chat_template_kwargs: {enable_thinking: true}, or as the model's own template calls it"
    if name in OF_THE_BODY:
        for field in ("extra", "extra_body"):
            if field in here:
                return f"write {field}: {{{name}: ...}}, which goes to the endpoint as it is"
    advice = ADVICE.get("dedupe" if OWN_NAMES.get(name) == "novelty" else name, "")
    known = next((each for each in (name, OWN_NAMES.get(name, "")) if each in _find_places()), "")
    belongs = f"{known}: belongs to {_list_places(_find_places()[known])}" if known else ""
    if advice:
        return f"{advice}; {belongs}" if known == name else advice
    return f"take it out here: {belongs}" if known else ""


def _list_places(places: list[str]) -> str:
    *most, last = places
    return f"{', '.join(most)} or {last}" if most else last


@cache
def _find_places() -> dict[str, list[str]]:
    """Every field of a recipe, and the places that it may stand in."""
    registry = Registry()
    kinds: list[tuple[str, type[BaseModel]]] = [
        ("the top of the recipe", RecipeFile),
        ("budget:", BudgetConfig),
        ("a table under data:", TableSource),
        *(("a model", models.provider(name).Config) for name in models.providers()),
        ("loop:", LoopConfig),
        *((f"the step {name}", form) for name in registry.names() for form in registry.get(name).all_forms),
    ]
    found: dict[str, list[str]] = {}
    for place, kind in kinds:
        for field, inside in _walk_fields(kind):
            where = f"{inside} of {place}" if inside else place
            if where not in found.setdefault(field, []):
                found[field].append(where)
    return found


def _walk_fields(kind: type[BaseModel], inside: str = "") -> Iterator[tuple[str, str]]:
    for name in field_types.list_fields(kind):
        yield name, inside
        for inner in field_types.find_inner_models(field_types.find_spot(kind, [name]).annotation):
            yield from _walk_fields(inner, f"{name}:")
