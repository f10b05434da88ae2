"""Many rows through generate, check and filter on scripted replies: `python -m benchmarks.rows ROWS FOLDER`.

Run twice on one folder, the second run takes every reply from the ledger. Prints rows a second and peak memory.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path


def main(rows: str, place: str) -> None:
    from blackbox_kd import recipe as recipes
    from blackbox_kd.runner import Options, Run

    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.jsonl").open("w") as file:
        for number in range(int(rows)):
            row = {"instruction": f"What is {number} and 1? " + "Think. " * 30, "reference": str(number + 1)}
            file.write(json.dumps(row) + "\n")
    recipe = {
        "name": "rows",
        "data": {"train": {"path": "train.jsonl"}},
        "models": {"teacher": {"provider": "scripted"}},
        "steps": [
            {"step": "generate", "model": "teacher", "prompt": "student/plain"},
            {"step": "check", "answer": "number"},
            {"step": "filter", "keep": "correct"},
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    options = Options(cache=folder, run_dir=folder / "run", ledger=folder / "ledger.sqlite")
    run = Run(recipes.load(folder / "recipe.yaml"), options)
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
