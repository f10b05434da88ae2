"""Looks at a training without it: `python -m blackbox_kd.training.look JOB.json METHOD`. No weights are loaded.

What is seen is left beside the rows, as a training leaves it.
"""

import sys

from blackbox_kd.training import job as jobs
from blackbox_kd.training import memory, overview, preflight, topk
from blackbox_kd.training.artefacts import Job
from blackbox_kd.training.machine import Read, read_machine
from blackbox_kd.training.model import refuse_other_tokens
from blackbox_kd.training.seen import Refused
from blackbox_kd.training.split import split_rows
from blackbox_kd.weights.load import find_context_length, load_config


def look(method: str, job: Job, read: Read = read_machine) -> None:
    """Reads rows, tokenizer, chat template and configs, and writes what a training would see of them."""
    if job.teacher is not None:
        refuse_other_tokens(method, job)
    refused: list[Refused] = []
    looked, settings = overview.look(method, job, refused), job.settings
    config, tokens = load_config(job.model), looked.lengths.tokens
    limit = preflight.choose_length(looked.lengths, settings.max_length, find_context_length(config))
    fit = [number for number, length in enumerate(tokens) if length <= limit]
    if method == "topk" and fit:
        topk.make_columns(looked, fit, settings)
    learnt = [looked.rows[number] for number in fit]
    parts, odd = split_rows([{"number": number} for number in fit], learnt, settings) if fit else ({}, [])
    found = overview.describe_rows(looked, settings, limit, len(parts.get("test", [])), odd)
    planned = memory.estimate(job, config, looked.lengths, fit, read()) if fit else None
    overview.keep(job, found.model_copy(update={"refused": refused, "memory": planned}))


if __name__ == "__main__":
    jobs.run_process(sys.argv[2], lambda job_file, _: look(sys.argv[2], Job.model_validate_json(job_file.read_text())))
