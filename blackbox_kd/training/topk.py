"""Learning the likeliest tokens that a teacher told of with a text: `python -m blackbox_kd.training.topk JOB.json`.

The rows are those of `sft`, with a column of JSON: the `tokens` of a text; for each its likeliest ones (`top`), and
their `logprobs`, or the `counts` by which they were drawn. Where the student cuts the text into the same tokens the
loss is the divergence of the teacher from the student over those and one bucket of all others; elsewhere it is the
plain one.

Source: Shum et al. 2024, arXiv:2408.12168 (FIRST: few probabilities and an "other" bucket, with a temperature);
Anshumann et al. 2025, arXiv:2503.16870 (RS-KD: counts of draws, which need no bucket); the rates are those of `sft`.
"""

from collections.abc import Iterator
from typing import Any

from blackbox_kd.errors import DataError
from blackbox_kd.training import dpo, sft
from blackbox_kd.training import job as jobs
from blackbox_kd.training.artefacts import Job, Result, Settings
from blackbox_kd.training.machine import Machines
from blackbox_kd.training.masks import IGNORED
from blackbox_kd.training.overview import Looked
from blackbox_kd.training.progress import Tell
from blackbox_kd.training.stage import prepare
from blackbox_kd.training.told import Reader, Target, Told, read_told

LEAST_ALIGNED = 0.9
"""Share of the tokens that the student must cut as the teacher did, in rows that tell of them."""
EMPTY: dict[str, list[Any]] = {"top_at": [], "top_ids": [], "top_shares": [], "top_other": []}


def train(job: Job, name: str, machines: Machines, tell: Tell) -> Result:
    """Loads, checks, trains and saves; returns what training.json holds."""
    from blackbox_kd.training.topk_trainer import TopTrainer

    def make(looked: Looked, fit: list[int]) -> list[dict[str, Any]]:
        return make_columns(looked, fit, job.settings)

    stage = prepare("topk", job, name, machines, tell, make, find_warnings)
    trainer = TopTrainer(**stage.list_given(sft.make_arguments))
    learnt = sum(stage.looked.lengths.completions["completion"][number] for number in stage.fit)
    told = sum(len(at) for part in stage.parts.values() for at in part["top_at"])
    return stage.finish(
        trainer,
        found={
            "warnings": stage.warnings,
            "tokens": sum(stage.looked.lengths.tokens[number] for number in stage.fit),
            "tokens_with_probabilities": round(told / learnt, 4),
        },
    )


def find_warnings(job: Job, rows: list[dict[str, Any]]) -> Iterator[str]:
    """What is odd about a job, but no reason to refuse it."""
    if any(row.get("weight", 1.0) != 1.0 for row in rows):
        yield dpo.UNWEIGHTED.format("topk")
    without = sum(row.get(str(job.settings.top)) in (None, "") for row in rows)
    if without:
        yield f"{without:,} of {len(rows):,} rows have no {job.settings.top}, and are learnt by the plain loss"


def make_columns(looked: Looked, fit: list[int], settings: Settings) -> list[dict[str, Any]]:
    """The columns that training reads of rows: tokens and labels; and where the teacher told of tokens, its targets.

    Raises:
        DataError: no row tells of any, or what is told is of other tokens.
    """
    reader, texts = Reader(looked.tokenizer), looked.lengths.texts["completion"]
    made, known, wanted = list[dict[str, Any]](), 0, 0
    for number in fit:
        row, text = looked.rows[number], texts[number]
        columns: dict[str, Any] = {"input_ids": text.ids, "labels": text.labels}
        told = read_told(row.get(str(settings.top)), number)
        if told is None:
            made.append(columns | EMPTY)
            continue
        places = [at for at, label in enumerate(text.labels) if label != IGNORED]
        found = reader.align(told, [text.ids[at] for at in places], number)
        targets = [(places[at], told.find_target(index, settings.temperature or 1.0)) for at, index in found]
        made.append(columns | _list_targets(targets, reader, told))
        known, wanted = known + len(found), wanted + len(places)
    if not wanted:
        raise DataError(f"no row has anything in {settings.top}", fix="generate: {top_logprobs: 5}, or method: sft")
    if known < LEAST_ALIGNED * wanted:
        raise DataError(
            f"the student cuts {100 * known / wanted:.0f} % of the tokens as {settings.top} has them, "
            f"and at least {100 * LEAST_ALIGNED:.0f} % are needed",
            fix="a student of the teacher's family, a completion that is the teacher's text, or method: gold or sft",
        )
    return made


def _list_targets(targets: list[tuple[int, Target]], reader: Reader, told: Told) -> dict[str, Any]:
    """Where in the row the teacher told of tokens, and what: ids and their shares, and that of all others."""
    columns: dict[str, Any] = {name: [] for name in EMPTY}
    for at, target in targets:
        pairs = [(reader.find_id(token), share) for token, share in zip(target.tokens, target.shares, strict=True)]
        ids = [number for number, _ in pairs if number is not None]
        unknown = sum(share for number, share in pairs if number is None)
        columns["top_at"].append(at)
        columns["top_ids"].append(ids)
        columns["top_shares"].append([share for number, share in pairs if number is not None])
        columns["top_other"].append(target.other + unknown)
    return columns


if __name__ == "__main__":
    jobs.main("topk", train)
