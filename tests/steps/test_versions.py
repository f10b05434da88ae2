"""What every step makes of the same rows, held against what it made of them when its version was last raised.

A finished table step is taken over while its version is the same. So a change of its rows that comes without a new
version would leave the old rows, or a student that was trained on them, in every run folder that is gone on with.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blackbox_kd.recipe.load import load_recipe
from blackbox_kd.schema import digest
from blackbox_kd.sdk.registry import Registry
from blackbox_kd.steps import benchmark, train
from tests.support.fakes import FakeContext, outcomes, rows
from tests.support.reached import reach
from tests.support.runs import execute, rows_of, write_rows

KEPT = Path(__file__).with_name("versions.json")
"""By the name of a step: its version, and the digest of the rows that it makes below."""
ROWS = [
    {
        "instruction": f"{'Take' if n % 3 else 'Put'} {['apple', 'pear', 'plum', 'fig'][n % 4]} and add {n % 5}.",
        "reference": str(n + n % 5),
        "kind": "abc"[n % 3],
        "more": ["a long text with many words", "short"][n % 2],
    }
    for n in range(12)
]
EXAM = [row | {"instruction": f"Exam {number}: {row['instruction']}"} for number, row in enumerate(ROWS[:6])]
RIGHT, WRONG = "Easy. The answer is {{ reference }}.", "The answer is 77."
MODELS = {
    "teacher": {"provider": "scripted", "replies": [f"{{% if sample == 1 %}}{WRONG}{{% else %}}{RIGHT}{{% endif %}}"]},
    "weak": {"provider": "scripted", "replies": [f"{{% if kind == 'a' %}}{RIGHT}{{% else %}}{WRONG}{{% endif %}}"]},
    "judge": {"provider": "scripted", "replies": ["Fine.\nstyle: {{ 2 + (reference | int) % 3 }}"]},
    "referee": {"provider": "scripted", "replies": ["Well.\nAnswer 1: {{ 5 + (reference | int) % 3 }}\nAnswer 2: 6"]},
}
STEPS: list[dict[str, Any]] = [
    {"step": "generate", "model": "teacher", "prompt": "student/plain", "samples": 3, "temperature": 1.0},
    {"step": "generate", "model": "weak", "prompt": "student/plain", "as": "own", "rows": 20},
    {"step": "check", "answer": "number"},
    {"step": "judge", "mode": "scale", "models": ["judge"], "scale": [1, 5], "criteria": {"style": "it is short"}},
    {"step": "score", "model": "teacher", "output": "scored"},
    {"step": "filter", "keep": "correct or score > 4", "output": "kept"},
    {"step": "filter", "input": "kept", "novelty": {"max": 0.8}, "output": "new"},
    {"step": "filter", "input": "kept", "novelty": {"column": "more", "max": 0.6, "metric": "minhash"}},
    {"step": "filter", "input": "kept", "share": {"of": "kind", "max": 0.3}},
    {"step": "filter", "input": "kept", "well_formed": "instruction", "paper_faithful": True},
    {"step": "select", "input": "kept", "per": "instruction", "best": 1, "by": "random", "output": "best"},
    {"step": "select", "input": "kept", "rows": 5, "by": "top", "column": "score"},
    {"step": "select", "input": "best", "rows": 4, "by": "kcenter", "column": "instruction", "output": "far"},
    {"step": "select", "input": "best", "by": "retrieve", "index": "far"},
    {"step": "split", "input": "kept", "outputs": {"one": 0.5, "two": 0.25}, "balance": "upsample"},
    {"step": "split", "input": "best", "outputs": {"some": "kind == 'a'", "others": "kind != 'a'"}},
    {"step": "evaluate", "input": "exam", "models": ["teacher", "weak"], "answer": "number", "by": ["kind"]},
    {
        "step": "evaluate", "input": "exam", "models": ["teacher", "weak"], "judge": "referee",
        "answer": "number", "max_tokens": 5,
    },
    {"step": "mix", "tables": {"one": 1, "two": 2}, "replay": {"table": "best", "share": 0.3}, "rows": 9},
    {"step": "mix", "tables": {"one": 0.5, "some": 2}, "shuffle": False},
    {
        "step": "mix", "tables": {"kept": 1}, "rows": 8,
        "gap": {"by": "kind", "teacher": "teacher", "student": "weak", "on": "exam"},
    },
    {"step": "pair", "input": "kept", "better": "response", "worse": "own", "max_similarity": 0.99},
    {"step": "pair", "input": "scored", "per": "instruction", "rank": "len(response)", "output": "pairs"},
    {"step": "format", "input": "kept", "prompt": "student/plain", "output": "formatted"},
    {"step": "format", "input": "pairs", "prompt": "student/plain", "preference": True},
    {"step": "map", "input": "kept", "set": {"told": "{{ kind | upper }}"}, "each": "split(more, ' ')", "as": "word"},
    {"step": "map", "per": "kind", "set": {"place": {"expr": "rank(score)"}}, "gather": {"words": "word"}},
    {"step": "select", "input": "scored", "per": "kind", "by": "majority", "column": "more", "as": "share"},
    {
        "step": "converse", "input": "train", "model": "teacher", "prompt": "student/plain", "with": "weak",
        "with_prompt": "student/plain", "turns": 2, "until": "'77' in said",
    },
]  # fmt: skip


def run_all(folder: Path) -> dict[str, str]:
    """The digests of what the steps of a recipe write and report, by their names."""
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "exam.jsonl", EXAM)
    data = {"train": {"path": "train.jsonl"}, "exam": {"path": "exam.jsonl", "held_out": True}}
    steps = [{"output": f"t{number}"} | step for number, step in enumerate(STEPS)]
    for step in steps:
        if step["step"] == "split":
            del step["output"]
    job = execute(folder, {"name": "all", "seed": 5, "data": data, "models": MODELS, "steps": steps})
    found: dict[str, list[Any]] = {}
    for planned in load_recipe(folder / "recipe.yaml", env={}).steps:
        number = f"{planned.index + 1:02}"
        files = sorted((folder / "run" / "tables").glob(f"{number}_*.jsonl"))
        assert files
        tables = [rows_of(file) for file in files]
        assert any(tables), planned.label
        funnel = [entry for entry in job.report["funnel"] if entry["step"] == planned.label]
        said = dict(reported(job.report, planned.label))
        found.setdefault(planned.step.name, []).append([tables, funnel, said])
    return {name: shorten(each) for name, each in found.items()}


def shorten(found: list[Any]) -> str:
    """The digest of values; the last places of floats differ by processors."""
    return digest(json.loads(json.dumps(found), parse_float=lambda text: f"{float(text):.9g}"), 16)


def reported(report: dict[str, Any], label: str) -> Iterator[tuple[str, Any]]:
    for key in ("evaluations", "comparisons", "agreements", "win_rates", "mixtures"):
        own = [entry for entry in report.get(key, []) if entry["step"] == label]
        if own:
            yield key, own


async def digest_of_train() -> str:
    """The digest of what training is asked for; without a GPU in the tests, weights would differ by machines."""
    found: list[Any] = []
    for fields in ({}, {"adapter": "full", "epochs": 3}, {"method": "dpo"}, {"method": "dpo", "adapter": "full"}):
        ctx = FakeContext()
        config = train.Config.model_validate({"step": "train", "model": "student", **fields})
        written = await outcomes(train, rows(*ROWS), config, ctx)
        found.append([written, ctx.trained])
    return shorten(found)


async def digest_of_benchmark() -> str:
    """The digest of what is asked for and recorded; the harness and its models are others'."""
    ctx = FakeContext()
    ctx.reached = ({"one": [reach([1, 0, 1, 1])], "two": [reach([1, 0, 0, 0.5])]}, [None], "lm_eval 0")
    config = benchmark.Config.model_validate({"step": "benchmark", "models": ["one", "two"], "tasks": ["rivers"]})
    written = await outcomes(benchmark, rows(*ROWS), config, ctx)
    return shorten([written, ctx.benchmarked, ctx.recorded])


def test_rows_of_a_step_change_only_with_its_version(tmp_path: Path) -> None:
    made = run_all(tmp_path)
    made |= {"train": asyncio.run(digest_of_train()), "benchmark": asyncio.run(digest_of_benchmark())}
    registry = Registry()
    assert sorted(made) == registry.names()
    now = {name: {"version": registry.get(name).version, "rows": made[name]} for name in registry.names()}
    kept = json.loads(KEPT.read_text())
    changed = [
        name
        for name in [*dict.fromkeys(step["step"] for step in STEPS), "train", "benchmark"]
        if now[name] != kept.get(name)
    ]
    assert not changed, (
        f"the rows of `{changed[0]}` are not what they were, and with them perhaps those of later steps: {changed}\n"
        f"if they are meant to change, raise `version` in its decorator and write into {KEPT.name}:\n"
        f"{json.dumps(now, indent=1)}"
    )
    assert now == kept
