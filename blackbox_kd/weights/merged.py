"""A trained adapter and its base as one model, and what ollama needs to serve it as it was trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blackbox_kd.weights import load

SYSTEM, USER, ANSWER, NEXT = "\u2460s", "\u2461u", "\u2462a", "\u2463n"


def merge_adapter(base: str, adapter: Path, target: Path) -> None:
    """Writes a base model with an adapter worked into its weights, in the precision of the base.

    Args:
        base: what `locate.resolve` gave.
        adapter: folder of the adapter, with its tokenizer.
        target: the folder that is written.
    """
    from peft import PeftModel

    model = load.load_model(base, "auto")
    stored = model.dtype
    merged = PeftModel.from_pretrained(model.float(), str(adapter)).merge_and_unload(safe_merge=True).to(stored)
    tokenizer = load.load_tokenizer(str(adapter))
    load.mark_end_of_turn(tokenizer, merged)
    merged.save_pretrained(target)
    tokenizer.save_pretrained(target)


def write_modelfile(model: Path, file: str, target: Path) -> bool:
    """Writes what `ollama create` reads; returns whether its template is known to write what the chat template does.

    Args:
        model: folder of the model that the GGUF file was made of.
        file: name of the GGUF file beside the Modelfile.
        target: the Modelfile.
    """
    tokenizer = load.load_tokenizer(str(model))
    template = translate_template(tokenizer)
    end = load.find_end_of_turn(tokenizer)
    stop = tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id if end is None else end)
    lines = [f"FROM ./{file}", "# the evaluations were greedy", "PARAMETER temperature 0", f'PARAMETER stop "{stop}"']
    if template is not None:
        lines.append(f'TEMPLATE """{template}"""')
    else:
        lines.append(
            "# The chat template could not be put into ollama's words: ollama takes what it makes of the file's."
        )
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return template is not None


def translate_template(tokenizer: Any) -> str | None:
    """A chat template in the words of ollama, for conversations of text in turns; None where it is not that plain."""
    import jinja2

    def write(*messages: tuple[str, str]) -> str:
        turns = [{"role": role, "content": text} for role, text in messages]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    try:
        first = _cut(write(("user", USER)), [USER])
        alone = _cut(write(("user", USER), ("assistant", ANSWER), ("user", NEXT)), [USER, ANSWER, NEXT])
        asked = (("system", SYSTEM), ("user", USER), ("assistant", ANSWER), ("user", NEXT))
        whole = _cut(write(*asked), [SYSTEM, USER, ANSWER, NEXT])
    except (jinja2.TemplateError, ValueError):
        return None
    head, after_system, after_user, after_answer, ask = whole
    if alone[1:] != [after_user, after_answer, ask] or first != [alone[0], ask] or ask != after_user:
        return None
    if any(mark in part for part in [*whole, *alone] for mark in ("{{", "}}", '"""')):
        return None
    return (
        "{{- range $i, $_ := .Messages }}"
        '{{- if eq .Role "system" }}' + head + "{{ .Content }}" + after_system + '{{ else if eq .Role "user" }}'
        "{{ if eq $i 0 }}" + alone[0] + "{{ end }}{{ .Content }}" + ask + "{{ else }}{{ .Content }}"
        "{{ if ne (len (slice $.Messages $i)) 1 }}" + after_answer + "{{ end }}{{ end }}{{ end }}"
    )


def _cut(text: str, marks: Sequence[str]) -> list[str]:
    """The parts of a text between marks that stand in it once each, in their order."""
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise ValueError("the template changes what it writes")
        parts.append(before)
    return [*parts, text]
