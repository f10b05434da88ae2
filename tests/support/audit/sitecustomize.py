"""Notes what a process connects to, starts and writes, as JSON lines in the file AUDIT_LOG: for `test_security.py`.

Python imports it by its name before anything else, in every process that has this folder in PYTHONPATH. That is also
how a process is seen that uvloop starts, for which there is no event.
"""

import json
import os
import sys

LOG = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.rename", "os.link", "os.symlink")
RELATIVE = ("os.mkdir", "os.remove", "os.rmdir", "os.chmod")
"""Events whose last argument is the open folder that the path starts at, or -1."""
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")

FIRST = "AUDIT_SINCE"
"""Variable that the first process leaves to those that it starts."""


def note(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and flags & WRITES:
            record("write", whole(path))
    elif event in CHANGES:
        paths = [path for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        place = arguments[-1] if event in RELATIVE else -1
        for path in paths[1:] if event == "os.symlink" else paths:  # what a link says is no path of ours
            record("write", whole(path, place))
    elif event in NETWORK:
        record("network", f"{event} {arguments[1:]!r}")
    elif event in PROCESSES:
        record("process", f"{event} {arguments[:2]!r}")  # what follows is the environment, keys and all


def whole(path, place=-1):
    """The path from the root, when it is told relative to an open folder, too."""
    folder = os.readlink(f"/proc/self/fd/{place}") if place >= 0 else os.getcwd()  # noqa: PTH109, PTH115
    return os.path.normpath(os.path.join(folder, os.fsdecode(path)))  # noqa: PTH118 - pathlib is not loaded yet


def record(kind, what):
    os.write(LOG, json.dumps([kind, what]).encode() + b"\n")


if FIRST in os.environ:
    record("process", f"started as {sys.orig_argv!r}")
os.environ[FIRST] = str(os.getpid())
sys.addaudithook(note)
