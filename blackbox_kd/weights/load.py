"""Tokenizers and models as transformers loads them, for asking and for training alike.

From safetensors alone, a hub model at the very commit that names it in the ledger, and with the chat template that the
recipe gives: what is trained is what is served.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError

from blackbox_kd.errors import FOLD_SYSTEM, SetupError, quote_cause
from blackbox_kd.privacy import switch_off_telemetry
from blackbox_kd.sandbox import chat_template as chat_template_sandbox

PLAIN = "plain"
BUNDLED = {
    name: Path(__file__).with_name(f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")
    for name in (PLAIN, "tools")
}
"""Templates that a recipe names by a word: `plain` for base models; `tools`, ChatML with tools as Hermes and Qwen write
them, for small models whose own template takes none. In `plain` the end of text comes once, after the last answer: a
base model forgets what stands before it."""
PLAIN_STOP = "\nQuestion:"
"""Where a reply in the plain form ends at the latest: a base model goes on with a question of its own."""


def explain_template(name: str, folder: Path) -> tuple[str, str] | None:
    """What is wrong with a recipe's `chat_template`, and the fix; None if nothing is."""
    if name in BUNDLED:
        return None
    fix = f"write {' or '.join(BUNDLED)}, or name a .jinja file, relative to the recipe"
    if not name.endswith(".jinja"):
        return f"{name!r} is no chat template.", fix
    return None if (folder / name).is_file() else (f"{name!r} does not exist in {str(folder)!r}.", fix)


def read_template(name: str | None, folder: Path) -> str | None:
    """The template that a recipe names in `chat_template`; None for the model's own.

    Raises:
        SetupError: there is no such template.
    """
    if name is None:
        return None
    problem = explain_template(name, folder)
    if problem is not None:
        raise SetupError(f"chat_template: {problem[0]}", fix=problem[1])
    return BUNDLED[name] if name in BUNDLED else (folder / name).read_text(encoding="utf-8")


def find_template(name: str | None, model: Path, folder: Path) -> str | None:
    """The template that a model is asked with, as far as it can be read without loading the model; else None.

    Args:
        name: the recipe's `chat_template`.
        model: the folder of the model, if it is one.
        folder: the recipe's.
    """
    if name is not None:
        return None if explain_template(name, folder) else read_template(name, folder)
    if (file := model / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    config = model / "tokenizer_config.json"
    found = json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None
    return found if isinstance(found, str) else None


def load_tokenizer(place: str, chat_template: str | None = None, **how: Any) -> Any:
    """The tokenizer of a model, with the template's text in place of its own.

    Args:
        place: what `locate.resolve` gave, or the folder of an adapter.
        chat_template: the text of a template; None for the tokenizer's own.
        how: passed on to transformers.

    Raises:
        SetupError: the template cannot be rendered.
        OSError, ValueError: there is no tokenizer.
    """
    switch_off_telemetry()
    from transformers import AutoTokenizer

    chat_template_sandbox.install()
    name, revision = _split_commit(place)
    loaded = AutoTokenizer.from_pretrained(name, revision=revision, **how)
    if chat_template is None:
        return loaded
    loaded.chat_template = chat_template
    try:
        loaded.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is code of its own and can raise anything
        what, fix = explain_refusal(error, [])
        raise SetupError(f"model {name!r}: {what}", fix=fix) from error
    return loaded


def explain_refusal(error: Exception, messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """What a chat template has against messages, and what to do about it."""
    reason = quote_cause(error).rstrip(".")
    fix = "mend the template, or write chat_template: plain"
    if "system" in reason.lower() and any(message["role"] == "system" for message in messages):
        fix = FOLD_SYSTEM
    elif "alternate" in reason.lower():
        fix = "let user and assistant take turns, the user first"
    what = "the sandbox stops it" if isinstance(error, SecurityError) else "it says no"
    return f"the chat template cannot write these messages, {what}: {reason}", fix


def load_config(place: str) -> Any:
    """The config of a model, without its weights; `place` as above."""
    from transformers import AutoConfig

    name, revision = _split_commit(place)
    return AutoConfig.from_pretrained(name, revision=revision)


def load_model(place: str, dtype: str, **how: Any) -> Any:
    """The weights of a causal language model; `place` and `how` as above.

    Raises:
        OSError, ValueError: it cannot be loaded.
    """
    switch_off_telemetry()
    from transformers import AutoModelForCausalLM

    name, revision = _split_commit(place)
    return AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype, use_safetensors=True, **how)


def find_context_length(config: Any) -> int | None:
    """The most tokens that a model of a config can attend to; None if the config sets no limit.

    A model that sees pictures, too, says it in the part of its config that is about text.
    """
    length: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length


def find_end_of_turn(tokenizer: Any, template_values: Mapping[str, Any] | None = None) -> int | None:
    """The control token by which a chat template ends an answer; None if it writes none.

    A model that was trained on such answers writes it last, whatever its config calls the end: that of a base
    checkpoint names the end of a text, which no answer holds.
    """
    _, answer, after = _write_answer(tokenizer, template_values or {}).rpartition(_ANSWER)
    added = tokenizer.added_tokens_decoder.items()
    control = {*tokenizer.all_special_ids, *(number for number, token in added if token.content.strip())}
    found = tokenizer(after, add_special_tokens=False)["input_ids"] if answer else []
    return next((number for number in found if number in control), None)


def read_ends(*places: str) -> list[int]:
    """The tokens that end an answer by the generation config in the first of some places that has one; no weights."""
    from transformers import GenerationConfig

    for place in places:
        name, revision = _split_commit(place)
        try:
            named = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
        except OSError:  # an adapter of somebody else's has none
            continue
        return [named] if isinstance(named, int) else list(named or [])
    return []


def find_ends(tokenizer: Any, model: Any, template_values: Mapping[str, Any] | None = None) -> list[int]:
    """All tokens that end an answer of a model: its template's, and those that its config names."""
    named = model.generation_config.eos_token_id
    named = [named] if isinstance(named, int) else named or []
    ends = (find_end_of_turn(tokenizer, template_values), tokenizer.eos_token_id, *named)
    return list(dict.fromkeys(end for end in ends if end is not None))


def mark_end_of_turn(tokenizer: Any, model: Any) -> None:
    """Makes the token that ends an answer the model's end for whoever else loads it, in all that says so.

    A template that writes the tokenizer's own end, too, would write another text then: that tokenizer keeps its end.
    """
    model.generation_config.eos_token_id = find_ends(tokenizer, model)
    end, before, written = find_end_of_turn(tokenizer), tokenizer.eos_token, _write_answer(tokenizer, {})
    if end is None or end == tokenizer.eos_token_id:
        return
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if _write_answer(tokenizer, {}) != written:
        tokenizer.eos_token = before
    else:
        model.config.get_text_config().eos_token_id = end


_ANSWER = "So be it"


def _write_answer(tokenizer: Any, template_values: Mapping[str, Any]) -> str:
    """A question and an answer as the chat template writes them; "" if it cannot."""
    import jinja2

    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **template_values))
    except jinja2.TemplateError:
        return ""


def _split_commit(place: str) -> tuple[str, str]:
    """Folder or hub id, and the commit of a hub id. Names of folders may hold an `@`, hub ids never do."""
    name, _, commit = place.rpartition("@")
    return (name, commit) if name and not Path(place).is_dir() else (place, "main")
