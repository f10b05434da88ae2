"""Many rows through generate, check and filter: `python -m benchmarks.rows ROWS FOLDER URL`.

Run twice on one folder, the second run takes every reply from the ledger. Prints as JSON rows a second of the whole
run, from the file with the data to the data set and the report, and the peak memory.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path


def main(rows: str, place: str, url: str) -> None:
    from blackbox_kd.engine.run import Run, RunOptions
    from blackbox_kd.recipe.load import load_recipe

    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.jsonl").open("w") as file:
        for number in range(int(rows)):
            row = {"instruction": f"What is {number} and 1? " + "Think. " * 30, "reference": "4"}  # as the stub says
            file.write(json.dumps(row) + "\n")
    recipe = {
        "name": "rows",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "openai", "model": "stub", "base_url": url, "max_concurrency": 128}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain"},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    options = RunOptions(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite")
    run = Run(load_recipe(folder / "recipe.yaml"), options)
    began = time.perf_counter()
    asyncio.run(run.execute())
    seconds = time.perf_counter() - began
    [model] = run.report["models"]
    found = {
        "rows_per_s": int(rows) / seconds,
        "calls": model["calls"],
        "replayed": model["replayed"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
