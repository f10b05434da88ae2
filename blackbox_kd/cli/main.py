"""Where the command line begins. Nothing is imported before Ctrl-C ends in a message: imports take half a second."""

import os
import sys

STOPPED = b"error: stopped; run the same command to go on\n"


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    try:
        from blackbox_kd.cli.app import run_command

        status = run_command()
    except KeyboardInterrupt:
        os.write(2, STOPPED)  # what else prints may be what was just being imported
        status = 130
    sys.exit(status)
