"""Which process is which: a pid alone says little, because the system hands it out again."""

import os
import subprocess
from pathlib import Path

PROC = Path("/proc")


def start_of(pid: int) -> str | None:
    """When the running process with a pid was started, in a form to compare; None if there is no such process.

    The same string comes back for as long as the process runs, and never again for another process.
    """
    return _start_in_proc(pid) if (PROC / "self" / "stat").exists() else _start_from_ps(pid)


def _start_in_proc(pid: int) -> str | None:
    """Linux: id of the boot, and clock ticks from the boot to the start (`man 5 proc_pid_stat`, field 22)."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    if fields[0] in "ZX":  # killed, and only waiting for its parent to notice
        return None
    boot = (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    return f"{boot}/{fields[19]}"


def _start_from_ps(pid: int) -> str | None:
    """Other systems: the start as a date."""
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    state, _, start = shown.strip().partition(" ")
    return start.strip() if start and not state.startswith("Z") else None
