"""How many connections fit beside the files that a process may have open: `ulimit -n`."""

import sys

KEPT_FREE = 40
"""Descriptors for all else: the ledger, a stage's files, libraries that are loaded, answers of the name server."""
ENOUGH = 8192


def raise_limit() -> None:
    """Raises the process's own limit as far as it may, and it needs."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def count_connections(endpoints: int) -> int | None:
    """The most connections that each of several endpoints can have; None where there is no limit."""
    if sys.platform == "win32" or not endpoints:
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(1, (soft - KEPT_FREE) // endpoints)
