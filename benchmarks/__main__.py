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

from benchmarks import gpu

ROUNDS = 5
"""Pairs of runs, in turn; the median of the pairs' ratios counts, because machines drift."""


@contextmanager
def stub(latency: str = "0", rate: str = "0", fault_share: str = "0", stretch: str = "0") -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", latency, rate, fault_share, stretch]
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


def throughput() -> None:
    calls, flight, kinds = 5000, 128, ("ours", "bare", "openai")
    with stub() as url:
        rounds = [{kind: measured("clients", kind, url, calls, flight) for kind in kinds} for _ in range(ROUNDS)]

    def middle(of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(of, rounds))

    for kind, name, target in (("bare", "bare aiohttp", "at least 0.50"), ("openai", "AsyncOpenAI", "at least 6")):
        found = middle(lambda each, kind=kind: each[kind]["seconds"] / each["ours"]["seconds"])  # type: ignore[misc]
        row(f"5,000 calls at once: ours over {name}, requests/s", f"{found:.2f}", target)
        spent = middle(lambda each, kind=kind: each["ours"]["cpu_s"] / each[kind]["cpu_s"])  # type: ignore[misc]
        row(f"  CPU of ours over that of {name}", f"{spent:.2f}", "")
    per_s, cpu_s = middle(lambda each: calls / each["ours"]["seconds"]), middle(lambda each: each["ours"]["cpu_s"])
    row("  ours: requests/s; CPU for a call", f"{per_s:.0f}; {1e3 * cpu_s / calls:.2f} ms", "")


def latency() -> None:
    with stub("lognormal:1,0.8") as url:
        one, other = (measured("clients", kind, url, 3000, 128) for kind in ("bare", "ours"))
        found = other["seconds"] / one["seconds"]
        row("3,000 calls, lognormal latency: ours over bare, seconds", f"{found:.3f}", "at most 1.05")


def limited() -> None:
    with stub("0.05", "50", "0.02") as url:
        found = measured("clients", "ours", url, 1000, 128)
        row(
            "1,000 calls, 50/s allowed, 2 % 500s: seconds over the ideal 20",
            f"{found['seconds'] / 20:.3f}",
            "at most 1.08",
        )
        row("  429s that were caused", str(refused(url)), "at most 50")


def recovery() -> None:
    for says, name in (("nothing", "without Retry-After"), ("rest", "with Retry-After")):
        with stub("0.1", stretch=f"8:{says}") as url:
            found = measured("clients", "ours", url, 400, 64)
            row(
                f"400 calls, all refused for 8 s, {name}: seconds over the 8",
                f"{found['seconds'] / 8:.2f}",
                "at most 2",
            )
            row("  429s that were caused", str(refused(url)), "at most 50")


def refused(url: str) -> int:
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/stats") as answer:
        return int(json.load(answer).get("429", 0))


def rows() -> None:
    with tempfile.TemporaryDirectory() as folder, stub() as url:
        small = measured("rows", 10_000, Path(folder) / "small", url)
        large = measured("rows", 100_000, Path(folder) / "large", url)
        row("100,000 rows through generate, check, filter: peak memory", f"{large['peak_mb']:.0f} MB", "under 250 MB")
        row("  more than with 10,000 rows", f"{large['peak_mb'] - small['peak_mb']:.0f} MB", "under 60 MB")
        again = measured("rows", 100_000, Path(folder) / "large", url)
        row("resume of 100,000 answered rows: rows/s", f"{again['rows_per_s']:.0f}", "at least 8,000")
        if again["calls"]:
            raise SystemExit(f"the resume asked {again['calls']} rows again")


def start() -> None:
    script = "from blackbox_kd.cli.main import main; main()"
    for name, arguments, target in (
        ("--help", ["--help"], "under 0.5 s"),
        ("check of a recipe", ["check", "quickstart"], "under 0.8 s"),
    ):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        row(f"blackbox-kd {name}: CPU seconds", f"{spent:.2f}", target)


def training() -> None:
    with tempfile.TemporaryDirectory() as folder:
        gpu.main(["--size", "small", "--out", folder, "--only", "sft,sft_packed,dpo"])
        parts = json.loads((Path(folder) / "gpu.json").read_text())["parts"]
    for name, found in parts.items():
        ours, plain = found["ours"], found["plain"]
        row(f"{name} against plain TRL: seconds", f"{ours['seconds'] / plain['seconds']:.3f}", "at most 1.02")
        row("  peak memory", f"{ours['peak_memory_mb'] / plain['peak_memory_mb']:.3f}", "at most 1.00")
        row("  losses at most apart", f"{found['losses']['most_apart']:.1e}", "at most 1e-4")


def row(what: str, value: str, target: str) -> None:
    print(f"{what:<68} {value:>16}   {target}", flush=True)


ALL: dict[str, Callable[[], None]] = {
    "start": start,
    "training": training,
    "throughput": throughput,
    "latency": latency,
    "limited": limited,
    "recovery": recovery,
    "rows": rows,
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
