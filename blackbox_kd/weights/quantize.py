"""llama.cpp's quantiser: the program, where it is on the PATH, or the library inside of llama-cpp-python.

The library runs as a process of its own, `python -m blackbox_kd.weights.quantize SOURCE TARGET KIND`: what it does not
like ends its process.
"""

import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from blackbox_kd.errors import SetupError, UserError, did_you_mean

PROGRAM = "llama-quantize"
LIBRARY = "llama_cpp"
PLAIN = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""Kinds that gguf writes itself; all others are llama.cpp's to make."""
PREFIXES = ("ALL_", "MOSTLY_")
"""What gguf puts before the names of kinds."""


def refuse_kind(kind: str) -> None:
    """Refuses a kind of numbers, such as Q4_K_M, that cannot be written here.

    Raises:
        UserError: there is no such kind.
        SetupError: it takes a quantiser, and none is installed.
    """
    from gguf import LlamaFileType

    kinds = [name.partition("_")[2] for name in LlamaFileType.__members__ if name.startswith(PREFIXES)]
    if kind not in kinds:
        fix = did_you_mean(kind, kinds) or "name one of them"
        raise UserError(f"there is no kind {kind!r} of GGUF files", exists=f"kinds: {', '.join(kinds)}", fix=fix)
    if kind not in PLAIN and find_quantizer() is None:
        raise SetupError(
            f"{kind} is made by llama.cpp alone",
            exists=f"without it: {', '.join(PLAIN)}",
            fix=f"pip install llama-cpp-python, or install llama.cpp so that {PROGRAM} is on the PATH",
        )


def find_quantizer() -> list[str] | None:
    """The command that takes a source, a target and a kind; None if there is none."""
    if shutil.which(PROGRAM):
        return [PROGRAM]
    # Without -P, a module in the working directory, perhaps a stranger's, would take the place of ours.
    return [sys.executable, "-P", "-m", __name__] if find_spec(LIBRARY) else None


def main(arguments: Sequence[str]) -> int:
    """Quantises a file; returns what the process ends with."""
    import ctypes

    import llama_cpp  # type: ignore[import-not-found]
    from gguf import LlamaFileType

    source, target, kind = arguments
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = LlamaFileType[f"MOSTLY_{kind}"]
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(settings)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
