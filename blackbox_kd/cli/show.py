"""The commands that only read: show, report, steps, schema, path."""

from pathlib import Path
from typing import Any

import click

from blackbox_kd.cli.output import print_json, say, show_json
from blackbox_kd.errors import UserError
from blackbox_kd.paths import find_cache_folder, find_config_folder


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("table", required=False)
@click.option("-n", "count", default=5, show_default=True, help="Rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(run_dir: Path, table: str | None, count: int, as_json: bool) -> int:
    """Show what is in a run: its tables and evidence, or the first rows of one (dropped and failed are tables too)."""
    from blackbox_kd.runs import browse
    from blackbox_kd.runs.report import losses
    from blackbox_kd.runs.report.gains import describe_evidence

    if table is None:
        folder = browse.find_run(run_dir)
        tables, dataset = browse.list_tables(folder), browse.find_dataset(folder)
        report = browse.read_report(folder)
        if as_json:
            evidence = {name: report.get(name, []) for name in ("evaluations", "comparisons", "losses")}
            print_json({"run": str(run_dir), "tables": tables, "dataset": dataset, **evidence})
        else:
            for entry in [*tables, *_list_configs(dataset)]:
                earlier = "" if entry["current"] else "   of an earlier run"
                say(f"{entry['rows']:>8,}  {entry['table']}{earlier}")
            for line in [*describe_evidence(report), *losses.describe(report)]:
                say(line)
    else:
        rows = browse.read_rows(browse.find_run(run_dir), table, count)
        if as_json:
            print_json({"run": str(run_dir), "table": table, "rows": rows})
        else:
            for row in rows:
                show_json(row, indent=2)
    return 0


def _list_configs(dataset: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The lines of a data set: one, or one for each of its configs."""
    if dataset is None:
        return []
    configs = dataset.get("configs", [])
    if len(configs) < 2:
        return [{**dataset, "table": "dataset/"}]
    return [{**config, "table": f"dataset/ {config['name']}", "current": dataset["current"]} for config in configs]


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print report.json.")
def report(run_dir: Path, as_json: bool) -> int:
    """Print the report of a run."""
    from blackbox_kd.runs import browse

    file = browse.find_run(run_dir) / ("report.json" if as_json else "report.md")
    if not file.exists():
        raise UserError(f"{file}: the run has not written its report yet", fix="run it again; it goes on")
    say(file.read_text(encoding="utf-8"), end="")
    return 0


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def steps(name: str | None, as_json: bool) -> int:
    """List the steps, or tell all about one."""
    from blackbox_kd.sdk import docs

    if as_json:
        print_json({"steps": docs.document_steps(name), "answers": docs.document_answers()})
    else:
        say(docs.describe_step(name) if name else docs.list_steps())
    return 0


@click.command()
@click.option("--report", is_flag=True, help="Of report.json.")
def schema(report: bool) -> int:
    """Print the JSON Schema of recipes, for editors, or that of reports."""
    from blackbox_kd.recipe.json_schema import build_schema
    from blackbox_kd.runs.report.schema import Report

    show_json(Report.model_json_schema(by_alias=True) if report else build_schema(), indent=2)
    return 0


@click.command()
def path() -> int:
    """Print the folders that are used outside the runs."""
    from blackbox_kd.paths import find_bundled

    own = {"cache": str(find_cache_folder()), "config": str(find_config_folder())}
    print_json({**own, "recipes": str(find_bundled("recipes")), "prompts": str(find_bundled("prompts"))})
    return 0
