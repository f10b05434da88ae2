"""Lets trainings and commands run in forks of processes that have loaded all: see `tests/support/warm_start.py`.

Python imports it by its name before anything else, in every process that has this folder in PYTHONPATH.
"""

import os
import sys

PLACE = os.environ.get("TESTS_WARM_START")
"""Folder with the sockets of the processes that have the libraries."""
COMMAND = "from blackbox_kd.cli.main import main; main()"
LOOKS_EVERY_S = 0.05


def find_kind():
    """What this process is, if it is to be a fork."""
    how, what = [*sys.orig_argv[1:3], "", ""][:2]
    if how == "-m" and what.startswith("blackbox_kd.training."):
        return "training"
    return "command" if (how, what) == ("-c", COMMAND) and "TESTS_WARM_COMMAND" in os.environ else None


def hand_over(kind):
    """Ends with what the fork ends with; goes on if nobody is there, or if it was told to go on by itself."""
    import json
    import select
    import signal
    import socket

    parent = os.getppid()
    order = {"command": sys.orig_argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(f"{PLACE}/{kind}")
        except OSError:
            return
        written = json.dumps(order).encode()
        socket.send_fds(line, [len(written).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(written)
        while not select.select([line], [], [], LOOKS_EVERY_S)[0]:
            if os.getppid() != parent:  # a training ends by itself then, and the fork is to see the same
                line.sendall(b"orphaned")
                os._exit(1)
        said = line.makefile().readline()
    if not said:  # whoever forks is gone, and the fork with it
        os._exit(1)
    status = json.loads(said)
    if status is None:
        return
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    os._exit(status)


if PLACE and (found := find_kind()):
    hand_over(found)
