"""Notes what a process connects to, starts and writes, as JSON lines in the file AUDIT_LOG; see `tests/test_security.py`.

Python imports it by its name before anything else, in every process that has this folder in PYTHONPATH.
"""

import json
import os
import sys

LOG = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {"os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.chmod": 1, "os.truncate": 1}
PATHS |= {"os.rename": 2, "os.link": 2, "os.symlink": 2}
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")


def note(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and flags & WRITES:
            write("write", path)
    elif event in PATHS:
        for path in arguments[: PATHS[event]]:
            if isinstance(path, str | bytes | os.PathLike):
                write("write", path)
    elif event in NETWORK:
        record("network", f"{event} {arguments[1:]!r}")
    elif event in PROCESSES:
        record("process", f"{event} {arguments!r}")


def write(kind, path):
    record(kind, os.path.abspath(os.fsdecode(path)))


def record(kind, what):
    os.write(LOG, json.dumps([kind, what]).encode() + b"\n")


sys.addaudithook(note)
