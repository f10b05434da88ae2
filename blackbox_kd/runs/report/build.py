"""The report of a run: `report.json` for programs, `report.md` in words."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.runs.accounts import Account
from blackbox_kd.runs.report import arms, comparisons, judges, under_way
from blackbox_kd.runs.report.ending import Ending
from blackbox_kd.runs.report.markdown import write_markdown
from blackbox_kd.runs.report.schema import SCHEMA_VERSION, Report
from blackbox_kd.tables.stored import StoredTable

PACKAGES = ("blackbox-kd", "aiohttp", "torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass(slots=True)
class Facts:
    """What a report is made of.

    Args:
        recipe: the recipe.
        ending: how the run has ended.
        accounts: the steps' balances.
        lists: what steps recorded: `evaluations`, `comparisons`, `trainings`.
        models: calls, tokens and cost by model, in this invocation.
        spent: calls, tokens and cost of all invocations of this run, from the ledger.
        contamination: held-out tables against training tables.
        tables: files in `tables/`, without their ending, that this run has written or taken over; the others there are
            an earlier run's. Empty if all are this run's.
        dataset: rows of the data set, and those that it lacks; None if this run has not written it, and what is there
            is an earlier run's.
        losses: steps that dropped most of their rows for one reason.
        bad_lines: lines of files to start from that were left out.
        variants: the other arms and seeds of the recipe, and what their steps recorded.
    """

    recipe: Recipe
    ending: Ending
    accounts: list[Account]
    lists: dict[str, list[dict[str, Any]]]
    models: list[dict[str, Any]]
    spent: dict[str, Any]
    contamination: list[dict[str, Any]]
    tables: list[str] = field(default_factory=list)
    dataset: dict[str, Any] | None = None
    losses: list[dict[str, Any]] = field(default_factory=list)
    bad_lines: list[dict[str, Any]] = field(default_factory=list)
    variants: Sequence[tuple[Recipe, Mapping[str, list[dict[str, Any]]]]] = ()


def collect(facts: Facts) -> dict[str, Any]:
    """What `report.json` holds: a `schema.Report`, as JSON has it."""
    lists = arms.join([(facts.recipe, facts.lists), *facts.variants])
    run = [facts.recipe, *facts.recipe.variants]
    found = {
        "schema_version": SCHEMA_VERSION,
        "recipe": facts.recipe.name,
        "paper": facts.recipe.head.paper,
        "seed": facts.recipe.head.seed,
        **({"variants": [each.marks for each in run], "arms": arms.tabulate(lists)} if run[1:] else {}),
        "scripted": [name for name, model in facts.recipe.models.items() if model.makes_up],
        "status": facts.ending.why,
        "ended": facts.ending.status.value,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "funnel": [account.entry() for account in facts.accounts],
        "bad_lines": facts.bad_lines,
        "losses": facts.losses,
        "tables": facts.tables,
        "dataset": facts.dataset,
        "models": facts.models,
        "spent": facts.spent,
        "evaluations": lists.get("evaluations", []),
        "comparisons": comparisons.price_gains(comparisons.correct(lists.get("comparisons", [])), facts.spent),
        "contamination": facts.contamination,
        "judges": judges.collect_judges(account.entry() for account in facts.accounts),
        **{k: v for k, v in lists.items() if k not in ("evaluations", "comparisons")},
        "environment": describe_environment(),
    }
    return Report.model_validate(found).write()


def write(folder: Path, report: Mapping[str, Any], samples: list[StoredTable]) -> None:
    """Writes both reports: `report.json`, and in words `report.md`, with its plots and rows of the tables of `samples`.

    Raises:
        OSError: one of them cannot be written.
    """
    write_whole(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, default=str) + "\n")
    under_way.write_plots(folder, report)
    write_whole(folder / "report.md", write_markdown(report, samples))


def describe_environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide results; nothing is imported for it."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
