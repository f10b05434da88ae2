"""Runs the benchmarks and prints a table: what was measured, against what, and the target."""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROUNDS = 3
"""Pairs of runs, in turn; the median of the pairs' ratios counts, because machines drift."""


@contextmanager
def stub(latency: str = "0", rate: str = "0", fault_share: str = "0") -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", latency, rate, fault_share]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def measured(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def ratio(url: str, first: str, second: str, calls: int, flight: int) -> tuple[float, dict[str, Any]]:
    """Median of second's seconds over first's, measured in turn; and what was measured of the first at last."""
    pairs = []
    for _ in range(ROUNDS):
        one, other = (measured("clients", kind, url, calls, flight) for kind in (first, second))
        pairs.append((other["seconds"] / one["seconds"], one))
    return statistics.median(pair[0] for pair in pairs), pairs[-1][1]


def throughput() -> None:
    with stub() as url:
        found, last = ratio(url, "ours", "bare", 5000, 128)
        row("5,000 calls at once: ours over bare aiohttp, requests/s", f"{found:.2f}", "at least 0.50")
        row("  requests/s of ours; peak memory", f"{5000 / last['seconds']:.0f}; {last['peak_mb']:.0f} MB", "")
        found, _ = ratio(url, "ours", "openai", 1000, 128)
        row("1,000 calls at once: ours over AsyncOpenAI, requests/s", f"{found:.1f}", "at least 6")


def latency() -> None:
    with stub("lognormal:1,0.8") as url:
        one, other = (measured("clients", kind, url, 3000, 128) for kind in ("bare", "ours"))
        found = other["seconds"] / one["seconds"]
        row("3,000 calls, lognormal latency: ours over bare, seconds", f"{found:.3f}", "at most 1.05")


def limited() -> None:
    with stub("0.05", "50", "0.02") as url:
        found = measured("clients", "ours", url, 1000, 128)
        with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as answer:
            counts = json.load(answer)
        row(
            "1,000 calls, 50/s allowed, 2 % 500s: seconds over the ideal 20",
            f"{found['seconds'] / 20:.3f}",
            "at most 1.08",
        )
        row("  429s that were caused", str(counts.get("429", 0)), "at most 50")


def rows() -> None:
    with tempfile.TemporaryDirectory() as folder:
        small = measured("rows", 10_000, Path(folder) / "small")
        large = measured("rows", 100_000, Path(folder) / "large")
        row("100,000 rows through generate, check, filter: peak memory", f"{large['peak_mb']:.0f} MB", "under 250 MB")
        row("  more than with 10,000 rows", f"{large['peak_mb'] - small['peak_mb']:.0f} MB", "under 60 MB")
        again = measured("rows", 100_000, Path(folder) / "large")
        row("resume of 100,000 answered rows: rows/s", f"{again['rows_per_s']:.0f}", "at least 8,000")
        if again["calls"]:
            raise SystemExit(f"the resume asked {again['calls']} rows again")


def start() -> None:
    script = "from blackbox_kd.cli import main; main()"
    for name, arguments, target in (
        ("--help", ["--help"], "under 0.5 s"),
        ("check of a recipe", ["check", "quickstart"], "under 0.8 s"),
    ):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        row(f"blackbox-kd {name}: CPU seconds", f"{spent:.2f}", target)


def row(what: str, value: str, target: str) -> None:
    print(f"{what:<68} {value:>16}   {target}", flush=True)


ALL: dict[str, Callable[[], None]] = {
    "start": start,
    "throughput": throughput,
    "latency": latency,
    "limited": limited,
    "rows": rows,
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
