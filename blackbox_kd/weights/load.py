"""Tokenizers and models as transformers loads them, for asking and for training alike.

From safetensors alone, a hub model at the very commit that names it in the ledger, and with the chat template that the
recipe gives: what is trained is what is served.
"""

from pathlib import Path
from typing import Any

from blackbox_kd.errors import SetupError
from blackbox_kd.privacy import no_telemetry

PLAIN = "plain"
PLAIN_TEMPLATE = """\
{{- bos_token if bos_token is defined and bos_token else '' }}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' %}{{ 'Question: ' + message['content'] + '\\n' }}
{%- else %}{{ 'Answer: ' + message['content'] + (eos_token if loop.last else '\\n\\n') }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"""
"""For base models. The end of text comes once, after the last answer: a base model forgets what stands before it."""
PLAIN_STOP = "\nQuestion:"
"""Where a reply in the plain form ends at the latest: a base model goes on with a question of its own."""


def template_problem(name: str, folder: Path) -> tuple[str, str] | None:
    """What is wrong with a recipe's `chat_template`, and the fix; None if nothing is."""
    if name == PLAIN:
        return None
    fix = f"write {PLAIN}, or name a .jinja file, relative to the recipe"
    if not name.endswith(".jinja"):
        return f"{name!r} is no chat template.", fix
    return None if (folder / name).is_file() else (f"{name!r} does not exist in {str(folder)!r}.", fix)


def template_text(name: str | None, folder: Path) -> str | None:
    """The template that a recipe names in `chat_template`; None for the model's own.

    Raises:
        SetupError: there is no such template.
    """
    if name is None:
        return None
    problem = template_problem(name, folder)
    if problem is not None:
        raise SetupError(f"chat_template: {problem[0]}\n  fix: {problem[1]}")
    return PLAIN_TEMPLATE if name == PLAIN else (folder / name).read_text(encoding="utf-8")


def tokenizer(place: str, chat_template: str | None = None, **how: Any) -> Any:
    """The tokenizer of a model, with the template's text in place of its own.

    Args:
        place: what `locate.resolve` gave, or the folder of an adapter.
        chat_template: the text of a template; None for the tokenizer's own.
        how: passed on to transformers.

    Raises:
        SetupError: the template cannot be rendered.
        OSError, ValueError: there is no tokenizer.
    """
    no_telemetry()
    import jinja2
    from transformers import AutoTokenizer

    name, revision = _named(place)
    loaded = AutoTokenizer.from_pretrained(name, revision=revision, **how)
    if chat_template is None:
        return loaded
    loaded.chat_template = chat_template
    try:
        loaded.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=False)
    except jinja2.TemplateError as error:
        fix = "mend the template, or chat_template: plain"
        raise SetupError(f"model {name!r}: its chat_template fails: {error.message}\n  fix: {fix}") from error
    return loaded


def model(place: str, dtype: str) -> Any:
    """The weights of a causal language model; `place` as above.

    Raises:
        OSError, ValueError: it cannot be loaded.
    """
    no_telemetry()
    from transformers import AutoModelForCausalLM

    name, revision = _named(place)
    return AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype, use_safetensors=True)


def context_length(model: Any) -> int | None:
    """The most tokens that a model can attend to; None if its config sets no limit.

    A model that sees pictures, too, says it in the part of its config that is about text.
    """
    length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length


def _named(place: str) -> tuple[str, str]:
    """Folder or hub id, and the commit of a hub id. Names of folders may hold an `@`, hub ids never do."""
    name, _, commit = place.rpartition("@")
    return (name, commit) if name and not Path(place).is_dir() else (place, "main")
