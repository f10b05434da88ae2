"""Refuses a process the network and processes of its own, and notes in the file REFUSED what it tried.

Python imports it by its name before anything else, in every process that has this folder in PYTHONPATH. uvloop starts
processes without an audit event: such a one finds this module, too, and ends at once.
"""

import os
import sys

LOG = os.open(os.environ["REFUSED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
FIRST = "REFUSED_SINCE"
"""Variable that the first process leaves to those that it starts."""
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")


def refuse(event, arguments):
    if event in NETWORK or event in PROCESSES:
        note(f"{event} {arguments[1:2]!r}")
        raise RuntimeError(f"refused: {event}")


def note(what):
    os.write(LOG, what.encode() + b"\n")


if FIRST in os.environ:
    note(f"process {sys.orig_argv!r}")
    os._exit(1)
os.environ[FIRST] = str(os.getpid())
sys.addaudithook(refuse)
