"""Loads a model's files for asking it; what is wrong with them is said before any row."""

from typing import Any

from blackbox_kd.errors import BlackboxError, SetupError, quote_cause
from blackbox_kd.weights import load as weights


def load(place: str, adapter: str | None, dtype: str, chat_template: str | None) -> tuple[Any, Any]:
    """A tokenizer that pads on the left, and a model with its adapter merged.

    Raises:
        SetupError: the files cannot be loaded.
    """
    try:
        tokenizer = weights.load_tokenizer(adapter or place, chat_template, padding_side="left")
        model = weights.load_model(place, dtype)
        if adapter is not None:
            from peft import PeftModel

            # Merged, an adapter costs nothing at each token.
            model = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    except BlackboxError:
        raise
    except Exception as error:  # whatever is wrong with files of others, it is wrong for every row
        what = f"model {place!r} cannot be loaded: {quote_cause(error)}"
        raise SetupError(what, fix=_mend(error)) from error
    return tokenizer, model


def move(model: Any, device: str) -> None:
    """Puts a model on a device, for asking alone.

    Raises:
        SetupError: there is no such device, or no room on it.
    """
    try:
        model.to(device).eval()
    except Exception as error:
        raise SetupError(f"the model cannot be moved to {device!r}: {quote_cause(error)}", fix=_mend(error)) from error


def _mend(error: Exception) -> str:
    """What to do about a model that cannot be loaded."""
    if isinstance(error, ImportError):
        return f"pip install {error.name}" if error.name else "install what it asks for"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "take a smaller model, or dtype: bfloat16 at it"
    if isinstance(error, OSError):
        return "check the name, HF_TOKEN, network"
    return "save the model anew with save_pretrained, or take another one"
