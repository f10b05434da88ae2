"""Forms in which steps want replies: it is told what a model is not held to, so that the prompt has to ask for it."""

from collections.abc import Iterator, Mapping
from typing import Any

from blackbox_kd.models import ModelConfig
from blackbox_kd.models.http.parameters import FORMAT
from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.notes import Note, Notes
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.sdk.reading import ReplyForm
from blackbox_kd.sdk.reply_form import FormConfig, SchemaForm

OF_STRICT = ("openai", "azure", "mistral")
"""Providers that have OpenAI's `strict`, by which alone its models are held to a schema."""


def check(flow: Flow, notes: Notes) -> None:
    """Notes what models are not held to, and reports prompts that a model would refuse in its JSON mode."""
    for planned in flow.recipe.steps:
        config = planned.config
        if not isinstance(config, FormConfig) or (form := config.form) is None:
            continue
        for name in planned.list_models():
            model = flow.recipe.models.get(name)
            if model is None or (model.local and not model.trainable):
                continue  # a script says what it says
            taken = model.suit_form(form.request)
            if taken.get(FORMAT) == {"type": "json_object"}:
                _check_word(flow, planned, form, name)
            for what in _list_doubts(form, model, taken):
                shown = f"; each reply is looked at, and the prompt can show {{{{ {form.field} }}}}"
                _add(flow, notes, planned, form.field, f"model {name!r} ({model.model}) {what}{shown}")
        if config.temperature == 0:
            what = "temperature: 0 brings the same reply again, so one of another form fails its row at once"
            _add(flow, notes, planned, "temperature", what)


def _list_doubts(form: ReplyForm, model: ModelConfig, taken: Mapping[str, Any]) -> Iterator[str]:
    """What a model is not held to, if anything."""
    if not taken:
        yield f"is not held to {form.field}:, as {'it runs here' if model.local else 'it takes no such form'}"
    elif taken.get(FORMAT) == {"type": "json_object"}:
        yield f"is not held to {form.field}:, as it takes no schema, but asked for JSON"
    elif isinstance(form, SchemaForm) and form.loose and model.provider in OF_STRICT:
        yield f"may not be held to {form.field}:, which is sent without strict, as {form.loose}"


def _check_word(flow: Flow, planned: PlannedStep, form: ReplyForm, name: str) -> None:
    """Reports prompts without the word that the JSON mode of endpoints demands."""
    for mention in planned.references:
        prompt = flow.recipe.prompts.get(mention.value) if mention.kind == "prompt" else None
        if prompt is not None and "json" not in prompt.source.lower():
            what = f"model {name!r} replies in JSON only where the prompt says the word, and prompt {mention.value!r}"
            fix = f"write there: Answer in JSON of this schema: {{{{ {form.field} }}}}"
            flow.report(planned, mention.field, f"{what} does not.", "", fix)


def _add(flow: Flow, notes: Notes, planned: PlannedStep, field: str, what: str) -> None:
    line = flow.recipe.source.line((*planned.at, field))
    notes.add(Note("note", line, planned.label, f"{what}."))
