"""What keeps a run its user's own affair: files that nobody else can read, libraries that report to nobody."""

import functools
import os
import re
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from blackbox_kd.errors import StepError

NO_TELEMETRY = "HF_HUB_DISABLE_TELEMETRY"
UMASK = 0o077
"""What processes that are started for a run begin with: all that they write is for its owner alone."""


def open_anew(path: Path) -> BinaryIO:
    """Opens a new file, for its owner alone, in place of what is there; a link there is removed, not followed."""
    path.unlink(missing_ok=True)
    return open(path, "xb", opener=_open_privately)


def open_shared(path: Path) -> BinaryIO:
    """Opens a file to which several processes of its owner append; it is made where there is none."""
    return open(path, "ab", opener=_open_privately)


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


Secret = str | tuple[str, ...] | None
"""What a server is sent and nobody is shown: a key, or several."""


def hide_key(text: str, key: Secret) -> str:
    """A text of a server without the key that it was sent, however the text encodes it: JSON, a URL, HTML."""
    if isinstance(key, tuple):
        for each in sorted(key, key=len, reverse=True):  # one may be a part of another
            text = hide_key(text, each)
        return text
    if not key:
        return text
    text = text.replace(key, HIDDEN)
    return _match_encoded(key).sub(HIDDEN, text) if any(sign in text for sign in _ESCAPES) else text


def tell_cause(error: BaseException, key: Secret) -> BaseException | None:
    """An error as the cause of another; None if a traceback of it would show the key."""
    link: BaseException | None = error
    while link is not None:
        said = str(link)
        if hide_key(said, key) != said:
            return None
        link = link.__cause__ or link.__context__
    return error


HIDDEN = "[key]"
_ESCAPES = ("\\u00", "\\/", "%", "&#")


@functools.lru_cache(maxsize=64)
def _match_encoded(key: str) -> re.Pattern[str]:
    """A key in which any character may be written as an escape. Runs of backslashes are those of JSON in JSON."""
    ways = []
    for char in key:
        code = "".join(
            f"[{digit.lower()}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(char):02x}"
        )
        plain = rf"\\{{0,8}}{re.escape(char)}" if char == "/" else re.escape(char)
        escaped = [
            rf"\\{{1,8}}u00{code}",
            rf"%(?:25){{0,4}}{code}",
            rf"&#0{{0,5}}{ord(char)};",
            rf"&#[xX]0{{0,5}}{code};",
        ]
        ways.append(f"(?:{'|'.join([plain, *escaped])})")
    return re.compile("".join(ways))


def link_or_copy(source: Path, target: Path) -> None:
    """Puts a file at a second place, in place of what is there: as a hard link, or as a copy where there are none."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:  # another file system, or one without hard links
        with source.open("rb") as whole, open_anew(part) as copy:
            shutil.copyfileobj(whole, copy)
    part.replace(target)
    part.unlink(missing_ok=True)  # where both were links to one file already, replacing does nothing


KEPT = "what the ledger holds is kept"
MAKE_ROOM = "make room, or the folder writable, and run the same command: it goes on"
"""What is said of a file of a run that cannot be written."""


def switch_off_telemetry() -> None:
    """Switches off what libraries would report about their use, unless the user has said that they may.

    Call it before one of them is imported; where somebody else has done that already, it works too.
    """
    said = os.environ.setdefault(NO_TELEMETRY, "1")
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and said == "1":
        setattr(constants, NO_TELEMETRY, True)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that a kill leaves the old text or the new one, never a part.

    Raises:
        StepError: the disk is full or the folder is read-only.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open_anew(part) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StepError(f"{path}: cannot be written: {error.strerror}; {KEPT}", fix=MAKE_ROOM) from error
