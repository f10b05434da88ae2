"""Asks a model the questions of standard benchmarks: `python -m blackbox_kd.training.benchmark JOB.json`.

The tasks with their prompts and metrics are lm-evaluation-harness's; the model is loaded as for any other exam. In the
working directory lie the files that tasks of the user's own name.

Source   lm_eval 0.4.13: `simple_evaluate`, whose numbers are those of its own command line
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from blackbox_kd.errors import BlackboxError, SetupError, UserError, did_you_mean, quote_cause
from blackbox_kd.privacy import UMASK, write_whole
from blackbox_kd.training.launch import ENDED
from blackbox_kd.weights import load

ROWS = {"cpu": 8, "cuda": "auto"}
"""Texts in one pass."""
RESAMPLES = 1_000
"""Draws for the standard error of a metric that is no mean over questions."""
TASK_FILES = (".yaml", ".yml")


def main() -> None:
    """Asks what the job says that the command line names; an error of the user's ends in its message."""
    os.umask(UMASK)
    os.dup2(2, 1)  # libraries print
    job_file = Path(sys.argv[1])
    job = json.loads(job_file.read_text())
    try:
        found = ask(job)
    except BlackboxError as error:
        job_file.with_suffix(ENDED).write_text(json.dumps({"refused": f"{error}"}))
        sys.exit(error.exit_status)
    write_whole(Path(job["output"]), json.dumps(found))


def ask(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the model reaches in each task of a job; see `analysis.benchmarks.TaskResult`.

    Raises:
        UserError: there is no such task, or its questions cannot be had.
        SetupError: the model cannot be loaded.
    """
    from lm_eval.tasks import TaskManager

    # Its own fourteen thousand take seconds to find.
    manager = TaskManager(include_defaults=not all(name.endswith(TASK_FILES) for name in job["tasks"]))
    tasks = {name: load_tasks(manager, name) for name in job["tasks"]}
    model = load_harness_model(job)
    return [ask_task(name, parts, model, job) for name, parts in tasks.items()]


def load_tasks(manager: Any, name: str) -> dict[str, Any]:
    """The tasks that a name stands for, several where it is a group, with their questions.

    Raises:
        UserError: there is none of that name, or its questions cannot be had.
    """
    try:
        found: dict[str, Any] = manager.load([name])["tasks"]
    except KeyError as error:
        what = f"lm_eval has no task {name!r}" if name not in manager.all_tasks else f"task {name!r}: {error}"
        fix = did_you_mean(name, manager.all_tasks) or "lm-eval ls tasks lists them; or name a .yaml file of your own"
        raise UserError(what, fix=fix) from error
    except Exception as error:  # data sets are fetched by the code of others, which can raise anything
        what = f"the questions of task {name!r} cannot be had: {quote_cause(error)}"
        raise UserError(what, fix="look at the network and HF_TOKEN, or at the files that the task names") from error
    return found


def load_harness_model(job: Mapping[str, Any]) -> Any:
    """The model as lm_eval asks it: our weights, adapter and tokenizer.

    Raises:
        SetupError: it cannot be loaded.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    is_there = torch.cuda.is_available()
    device = ("cuda" if is_there else "cpu") if job["device"] == "auto" else job["device"]
    dtype = ("bfloat16" if device.startswith("cuda") else "float32") if job["dtype"] == "auto" else job["dtype"]
    place, adapter = job["model"], job["adapter"]
    try:
        tokenizer = load.load_tokenizer(adapter or place, job["chat_template"], padding_side="left")
        model = load.load_model(place, dtype)
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
        model.to(device).eval()
    except BlackboxError:
        raise
    except Exception as error:
        raise SetupError(f"model {place!r} cannot be loaded: {quote_cause(error)}", fix="look at its folder") from error
    rows = ROWS["cuda" if device.startswith("cuda") else "cpu"]
    values = job["chat_template_kwargs"]
    return HFLM(pretrained=model, backend="causal", tokenizer=tokenizer, batch_size=rows, chat_template_args=values)


def ask_task(name: str, parts: Mapping[str, Any], model: Any, job: Mapping[str, Any]) -> dict[str, Any]:
    """What the model reaches in a task, or in all tasks of a group, whose questions count alike.

    Args:
        name: as the recipe has it.
        parts: its tasks, by their names.
        model: as lm_eval asks it.
        job: with `limit`, `few_shot` and `chat`, and the folder `samples`.
    """
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model=model,
        tasks=list(parts.values()),
        num_fewshot=job["few_shot"],
        limit=job["limit"],
        apply_chat_template=job["chat"],
        bootstrap_iters=RESAMPLES,
        confirm_run_unsafe_code=job["allow_code"],
    )
    samples = {part: sorted(found["samples"][part], key=lambda each: each["doc_id"]) for part in parts}
    _keep_samples(Path(job["samples"]) / f"{Path(name).stem}.jsonl", samples)
    scores, higher = _collect_scores(samples), found["higher_is_better"]
    if len(parts) == 1:
        [part] = parts
        metrics = _read_metrics(found["results"][part], higher[part])
        means = {label: mean(each.values()) for label, each in scores.items()}
        # What is no mean over the questions cannot be compared question by question.
        scores = {k: v for k, v in scores.items() if k in metrics and abs(means[k] - metrics[k]["value"]) < 1e-9}
    else:
        known = {_label(metric, "none"): up for each in higher.values() for metric, up in each.items()}
        metrics = {label: _pool(list(each.values()), known.get(label.split(" ")[0])) for label, each in scores.items()}
    return {
        "task": Path(name).stem if name.endswith(TASK_FILES) else name,
        "n": sum(len({each["doc_id"] for each in own}) for own in samples.values()),
        "few_shot": max(found["n-shot"].values()),
        "versions": sorted({str(each) for each in found["versions"].values()}),
        "metrics": metrics,
        "scores": scores,
        "questions": [
            _write_question(parts[part], each["doc"]) for part, own in samples.items() for each in _once(own)
        ],
    }


def _once(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A sample of each question; there is one for every filter that answers go through."""
    return list({each["doc_id"]: each for each in samples}.values())


def _keep_samples(file: Path, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"task": part, **each}, default=str) for part, own in samples.items() for each in own]
    write_whole(file, "".join(line + "\n" for line in lines))


def _label(metric: str, chosen: str) -> str:
    return metric if chosen == "none" else f"{metric} ({chosen})"


def _collect_scores(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """What each question has brought, by metric and question, where that is a number."""
    scores: dict[str, dict[str, float]] = {}
    for part, own in samples.items():
        for sample in own:
            for metric in sample["metrics"]:
                try:
                    value = float(sample[metric])
                except (TypeError, ValueError):
                    continue
                scores.setdefault(_label(metric, sample["filter"]), {})[f"{part} {sample['doc_id']}"] = value
    return scores


def _read_metrics(results: Mapping[str, Any], higher: Mapping[str, bool]) -> dict[str, dict[str, Any]]:
    """The metrics of a task and their standard errors, as lm_eval has worked them out."""
    found = {}
    for key, value in results.items():
        metric, _, chosen = key.partition(",")
        if chosen and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = results.get(f"{metric}_stderr,{chosen}")
            stderr = error if isinstance(error, int | float) and math.isfinite(error) else None
            told = {"value": value, "stderr": stderr, "higher_is_better": higher.get(metric)}
            found[_label(metric, chosen)] = told
    return found


def _pool(values: Sequence[float], higher: bool | None) -> dict[str, Any]:
    stderr = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"value": mean(values), "stderr": stderr, "higher_is_better": higher}


def _write_question(task: Any, doc: Mapping[str, Any]) -> dict[str, Any]:
    """What a question asks, as it stands in the data and as the task writes it."""
    text = task.doc_to_decontamination_query(doc) if task.should_decontaminate() else task.doc_to_text(doc)
    return {"doc": {key: value for key, value in doc.items() if isinstance(value, str)}, "asked": str(text)}


if __name__ == "__main__":
    main()
