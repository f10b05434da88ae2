"""Where the command line begins. Nothing is imported before Ctrl-C ends in a message: imports take half a second."""

import os
import sys

STOPPED = b"error: stopped; run the same command to go on\n"


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    for descriptor in range(3):  # of one that is closed, the ledger would get the number, and what is printed
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115 - Python has no stream for one that was closed
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    try:
        from blackbox_kd.cli.app import run_command

        status = run_command()
    except KeyboardInterrupt:
        os.write(2, STOPPED)  # what else prints may be what was just being imported
        status = 130
    sys.exit(status)
