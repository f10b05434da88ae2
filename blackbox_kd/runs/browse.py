"""What `show` tells of a run."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from blackbox_kd.errors import UserError, did_you_mean
from blackbox_kd.runs.dataset import count_rows
from blackbox_kd.runs.manifest import NAME, read_manifest

VERSION = re.compile(r"(@\d+)-\d+$")


def find_run(named: Path) -> Path:
    """A run folder by its path, or by its name in `runs/`.

    Raises:
        UserError: there is none.
    """
    root = Path("runs")
    for candidate in (named, root / named):
        if (candidate / NAME).is_file():
            return candidate
        if any((candidate / "shards").glob(f"*/{NAME}")):
            fix = "blackbox-kd merge RECIPE joins them, or name one of them"
            raise UserError(f"{candidate}: there are shards, which are not joined", fix=fix)
    manifests = [manifest for pattern in ("*", "*/trial", "*/until_*") for manifest in root.glob(f"{pattern}/{NAME}")]
    here = sorted(manifest.parent.relative_to(root).as_posix() for manifest in manifests)
    raise UserError(
        f"{named}: not a run folder", exists=f"runs here: {', '.join(here) or 'none'}", fix="name one of them"
    )


def _list_files(run: Path) -> Iterator[tuple[str, Path]]:
    own = {path.stem: path for path in (run / "tables").glob("*.jsonl")}
    # A shorter run works inside of a longer one, and has taken over tables of it.
    longer = {name: run.parent / "tables" / f"{name}.jsonl" for name in read_report(run).get("tables", [])}
    yield from sorted({**{name: path for name, path in longer.items() if path.is_file()}, **own}.items())
    for name in ("dropped", "failed"):
        if (run / f"{name}.jsonl").exists():
            yield name, run / f"{name}.jsonl"


def name_tables(run: Path) -> dict[str, Path]:
    """The files of a run's tables, each by the name that the recipe gives it, or else by its own."""
    files = dict(_list_files(run))
    names = {file: name for name, file in read_manifest(run).tables.items()}
    return {names.get(file, file): path for file, path in files.items()}


def list_dataset_files(run: Path) -> dict[str, Path]:
    """The JSON lines of a run's data set, by the names of its configs; empty if there is none."""
    told = read_manifest(run).dataset
    configs = {} if told is None else {config.name: run / "dataset" / config.files[0] for config in told.configs}
    return {name: path for name, path in configs.items() if path.is_file()}


def find_models(run: Path) -> dict[str, Path]:
    """The folders of what a run has trained, by versions such as `student@1`; those of a longer run included.

    Of the chain as it stands: arms and other seeds have folders of their own beside `models/`.
    """
    trained = [str(entry["model"]) for entry in read_report(run).get("trainings", [])]
    found: dict[str, Path] = {}
    for place in (run.parent, run):
        made = [Path(folder) for stage in read_manifest(place).stages.values() for _, folder in stage.trained]
        folders = {name: Path("models") / name for name in trained}
        folders |= {name_version(folder): folder for folder in made if folder.parent.name == "models"}
        found |= {name: place / folders[name] for name in trained if (place / folders[name]).is_dir()}
    return found


def name_version(folder: Path) -> str:
    """The version of a model that a folder holds: `student@1` may lie in `student@1-2`, beside an earlier training."""
    return VERSION.sub(r"\1", folder.name)


def choose_version(report: Mapping[str, Any], versions: Sequence[str]) -> str:
    """The one of a model's versions, in their order, that its bare name means when a run has ended.

    It is the last one, or the one that a loop has restored; where that is the model as it came, the last one again.
    """
    chosen = versions[-1]
    for loop in report.get("loops", []):
        rounds = [entry["version"] for entry in loop.get("values", [])]
        chosen = loop["restored"] if chosen in rounds and loop["restored"] in versions else chosen
    return chosen


def list_tables(run: Path) -> list[dict[str, Any]]:
    """The tables of a run, with their numbers of rows.

    `current` is false for those that the latest run in the folder has not come to: an earlier one wrote them.
    """
    current = read_report(run).get("tables")
    found = []
    for name, path in _list_files(run):
        with path.open("rb") as file:
            rows = sum(1 for _ in file)
        is_current = not current or name in ("dropped", "failed", *current)
        found.append({"table": name, "rows": rows, "path": str(path), "current": is_current})
    return found


def find_dataset(run: Path) -> dict[str, Any] | None:
    """The data set of a run, as `list_tables` describes tables, with its configs; None if there is none."""
    path, told = run / "dataset", read_manifest(run).dataset
    current = bool(read_report(run).get("dataset", True))
    if told is not None and all((path / name).exists() for config in told.configs for name in config.files):
        configs = [{"name": config.name, "table": config.table, "rows": config.rows} for config in told.configs]
        rows = sum(config.rows for config in told.configs)
        return {"path": str(path), "rows": rows, "current": current, "configs": configs}
    if not (path / "train.jsonl").exists():
        return None
    return {"path": str(path), "rows": count_rows(path), "current": current}


def read_report(run: Path) -> dict[str, Any]:
    """The report of the latest run in a folder; empty if it has not ended."""
    try:
        told = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def read_rows(run: Path, table: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a table, by the name that the recipe gives it, its file, or a part of that.

    Raises:
        UserError: the run has no such table.
    """
    with find_table(run, table).open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, max(0, count))]


def find_table(run: Path, table: str) -> Path:
    """The file of a table, by the name that the recipe gives it, its file, or a part of that.

    Raises:
        UserError: the run has no such table.
    """
    files = dict(_list_files(run))
    named = read_manifest(run).tables.get(table)
    name = next((name for name in (table, named) if name in files), None)
    name = name or next((name for name in reversed(files) if table in name), None)
    if name is None:
        fix = did_you_mean(table, list(files)) or "name one of them"
        raise UserError(f"{run} has no table {table!r}", exists=f"tables: {', '.join(files)}", fix=fix)
    return files[name]
