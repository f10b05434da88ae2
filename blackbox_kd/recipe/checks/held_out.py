"""Held-out tables: none may be the training rows under another name, and few steps may read them."""

import filecmp
import glob
from pathlib import Path

from blackbox_kd.recipe.checks.flow import Flow
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.tables.sources import TableSource


def check(flow: Flow) -> None:
    """Reports held-out tables that read what a table to train on reads, too."""
    data = flow.recipe.data
    for name, table in data.items():
        for other, source in data.items():
            same = _find_same(table, source, flow.recipe.folder) if table.held_out and not source.held_out else ""
            if same:
                message = f"table {name!r} is held out, and {other!r} reads the same rows: {same}."
                fix = "give each table rows of its own: what was learnt by heart proves nothing"
                flow.add(("data", name), f"data.{name}", message, "", fix)
                break


def check_read(flow: Flow, planned: PlannedStep, source: str | None) -> None:
    """Reports held-out tables that a step reads and may not."""
    read = [(mention.value, mention.field) for mention in planned.references if mention.kind == "table"]
    if source in flow.apart and planned.config.input is None:
        read.append((str(source), "step"))
    for name, at in dict.fromkeys(read):
        is_input = name == source and at in ("input", "step")
        may = planned.config.keeps_held_out() if is_input else name in planned.config.list_compared()
        if name not in flow.held_out or planned.step.held_out or may:
            continue
        shown_name = "of the step before" if name.startswith("#") else repr(name)
        message = f"table {shown_name} is held out: only evaluate may read it, or the evidence would be worthless."
        fix = "add input: TABLE" if at == "step" else "read another table, or take held_out: true away"
        flow.report(planned, at, message, "", fix)
    _check_documents(flow, planned, source)


def _check_documents(flow: Flow, planned: PlannedStep, source: str | None) -> None:
    """Reports a step that parts chunks by lot: those of one document, which tell of each other, would come apart."""
    if source is None or not planned.config.draws_by_row():
        return
    tables = {name: flow.recipe.data[name] for name in flow.origins([source]) if name in flow.recipe.data}
    cut = next((name for name, table in sorted(tables.items()) if table.chunk is not None), None)
    if cut is not None:
        column = tables[cut].rename.get("source", "source")
        what = f"parts the chunks of {cut!r} by lot: those of one document would stand on both sides."
        flow.report(planned, "step", what, "", f"add per: {column}, so that a document stays together")


def _find_same(one: TableSource, other: TableSource, folder: Path) -> str:
    """What two tables both read, in words; empty if nothing is found at a glance."""
    if one.hub is not None and (one.hub, one.name, one.split) == (other.hub, other.name, other.split):
        return f"{one.hub}, split {one.split}"
    if one.generator is not None and _describe_making(one) == _describe_making(other):
        return f"task {one.task}, seed {one.seed}"
    if one.rows and other.rows:
        return "they hold a row that is the same" if any(row in other.rows for row in one.rows) else ""
    if one.path is None or other.path is None:
        return ""
    for file in _list_files(one.path, folder):
        for twin in _list_files(other.path, folder):
            if file.samefile(twin):
                return file.name
            if file.stat().st_size == twin.stat().st_size and filecmp.cmp(file, twin, shallow=False):
                return f"{file.name} and {twin.name} are alike, byte by byte"
    return ""


def _describe_making(source: TableSource) -> tuple[object, ...]:
    return source.generator, source.task, source.seed, source.options


def _list_files(pattern: str, folder: Path) -> list[Path]:
    """The files of a table; none where the check has told already what is wrong with them."""
    try:
        whole = folder / Path(pattern).expanduser()
        found = [whole] if whole.is_file() else map(Path, glob.glob(str(whole), recursive=True))  # noqa: PTH207
        return [path for path in found if path.is_file() and path.stat().st_size]
    except (OSError, ValueError, RuntimeError):
        return []
