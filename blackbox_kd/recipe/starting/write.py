"""Writes a recipe for a job into a folder, with its prompts and tables: from somebody's data, or from rows of ours.

`jobs/NAME/` holds templates of its files, with `<< >>` and `<% %>` in place of the braces that recipes and prompts use.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from blackbox_kd.errors import DataError, UserError, did_you_mean, list_names
from blackbox_kd.json_text import write_text
from blackbox_kd.printable import escape_line
from blackbox_kd.recipe.spec import NAME
from blackbox_kd.recipe.starting import columns, forms
from blackbox_kd.recipe.starting.columns import Found, Rows
from blackbox_kd.recipe.starting.parting import Parts, hold_out
from blackbox_kd.tables import documents, sources
from blackbox_kd.tables.documents import Chunk
from blackbox_kd.tables.sources import TableSource

JOBS = Path(__file__).parent / "jobs"
MOST_ROWS = 20_000
"""Rows of a file that are taken."""
FEW = 500
"""Rows of training below which a small model needs more passes, and larger steps."""
CONVERSATIONS = ("chat", "traces")
PASSAGE = Chunk(words=250, overlap=30)
_NOT_PLAIN = re.compile(r"^\W|[\s{}\[\],#'\"&*!|>%@`]|: |:$")
"""What a text of YAML may not have where it stands without quotes; such texts are written in quotes."""
PLACEHOLDERS = ["first label", "second label", "other"]


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says of a job.

    Args:
        job: its name.
        data: a file, or for documents a folder; rows of ours if None.
        out: the folder that is written.
        teacher: entry of the teacher under `models:`.
        student: the same of the student.
        text: column with the text; guessed if None.
        right: the same of the right answer.
        labels: the labels, where the data has none or not all.
    """

    job: str
    data: Path | None
    out: Path
    teacher: Mapping[str, Any]
    student: Mapping[str, Any]
    text: str | None = None
    right: str | None = None
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Args:
        recipe: the recipe's file.
        files: names of all files, in the folder.
        told: what the user should know, a line each.
    """

    recipe: Path
    files: list[str]
    told: list[str]


def list_jobs() -> list[str]:
    """Names of the jobs that there are templates for."""
    return sorted(path.name for path in JOBS.iterdir() if path.is_dir())


def write(given: Given) -> Written:
    """Writes a recipe and what stands beside it.

    Raises:
        UserError: there is no such job, the data cannot be used, or a file is there already.
    """
    if given.job not in list_jobs():
        fix = did_you_mean(given.job, list_jobs()) or "name one of them"
        raise UserError(f"there is no job {given.job!r}", exists=f"jobs: {', '.join(list_jobs())}", fix=fix)
    found = _understand(_read(given), given)
    parts = hold_out(found.rows)
    files = _make_files(given, found, parts)
    if there := [name for name in files if (given.out / name).exists()]:
        what = f"{given.out} has {list_names(there)} already, and nothing is overwritten"
        raise UserError(what, fix="name another folder: --out FOLDER")
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (given.out / name).write_text(text, encoding="utf-8")
    return Written(given.out / "recipe.yaml", list(files), found.told)


def _read(given: Given) -> Rows:
    """The rows of the data as they are; our own if there is none.

    Raises:
        DataError: it cannot be read.
    """
    path = given.data or JOBS / given.job / "examples.jsonl"
    source = TableSource(path=str(path.absolute()), format="auto" if given.job == "traces" else None)
    if given.job == "documents_qa" and (path.is_dir() or documents.is_document(path)):
        found = sorted(each for each in path.rglob("*") if documents.is_document(each)) if path.is_dir() else [path]
        if not found:
            raise DataError(
                f"{path} has no documents", exists=f"known: {', '.join(documents.KINDS)}", fix="name another"
            )
        folder = path if path.is_dir() else path.parent
        every = [TableSource(path=str(each.absolute()), chunk=PASSAGE) for each in found]
        return [row for each in every for row in sources.read(each, folder.absolute(), limit=MOST_ROWS)]
    return list(sources.read(source, Path(), limit=MOST_ROWS))


def _understand(rows: Rows, given: Given) -> Found:
    if given.job in CONVERSATIONS:
        found = columns.read_conversations(rows, given.text, given.right)
    elif given.job == "documents_qa":
        found = columns.read_passages(rows, given.text)
    else:
        found = columns.read_asked(rows, given.text, given.right, given.labels if given.job == "classify" else None)
    if len(rows) == MOST_ROWS:
        found.told.append(f"the first {MOST_ROWS:,} rows are taken: write the others into train.jsonl yourself")
    return found


def _make_files(given: Given, found: Found, parts: Parts) -> dict[str, str]:
    """The texts of all files by their names."""
    every = {"train": parts.train, "dev": parts.dev, "test": parts.test}
    tables = {name: rows for name, rows in every.items() if rows}
    files = {f"{name}.jsonl": _write_rows(rows) for name, rows in tables.items()} if given.data else {}
    values: dict[str, Any] = {
        name: _describe_table(name, tables.get(name, []), given) for name in ("train", "dev", "test")
    }
    values |= _describe_job(given, found, files)
    said = [*(f"{name}: {len(rows):,} rows" for name, rows in tables.items())] if given.data else []
    found.told += [", ".join(said)] if said else []
    if len(parts.test) < 100 and given.data:
        found.told.append(f"{len(parts.test)} rows to test with are few: intervals will be wide")
    right = {name: bool(rows) and all("reference" in row for row in rows) for name, rows in tables.items()}
    values |= {
        "name": given.out.name if re.fullmatch(NAME, given.out.name) else given.job,
        "notes": "".join(f"\n#\n# {line}" if not n else f"\n# {line}" for n, line in enumerate(map(_note, found.told))),
        "teacher": _write_entry(given.teacher),
        "student": _write_entry(_fit_student(given)),
        "train_right": right["train"],
        "test_right": right.get("test", False),
        "small": len(parts.train) < FEW,
        "epochs": 2 if len(parts.train) >= FEW else 4 if len(parts.train) >= 100 else 6,
    }
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((JOBS / given.job).glob("*.[jy]*"))}
    texts = {name: text for name, text in texts.items() if not name.endswith(".jsonl")}
    return {name: _render(text, values, name) for name, text in texts.items()} | files


def _describe_job(given: Given, found: Found, files: dict[str, str]) -> dict[str, Any]:
    """What only some jobs have: labels, a schema, tools, a kind of answer. Files of its own are added to the others."""
    if given.job == "classify":
        seen = sorted({row["reference"] for row in found.rows if "reference" in row})
        labels = list(dict.fromkeys([*given.labels, *seen])) or PLACEHOLDERS
        found.told.append(
            f"labels: {list_names(labels)}" if seen or given.labels else "labels: none known; --labels A,B,C"
        )
        return {"labels": write_text(labels), "label_list": labels, "labelled": bool(seen or given.labels)}
    if given.job == "extract":
        objects = forms.read_objects(found.rows)
        schema: dict[str, Any] = forms.infer_schema(objects) if objects else forms.SKELETON
        found.told.append(
            "schema.json: " + ("as the right answers are" if objects else "edit its fields, and teacher.jinja")
        )
        files["schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        kinds = {name: each.get("description") or each["type"] for name, each in schema["properties"].items()}
        return {"fields": {name: kind if isinstance(kind, str) else " or ".join(kind) for name, kind in kinds.items()}}
    if given.job == "tools":
        own = all("tools" in row for row in found.rows)
        if not own:
            tools = forms.infer_tools(found.rows) or forms.TOOLS_SKELETON
            files["tools.json"] = json.dumps(tools, indent=2, ensure_ascii=False) + "\n"
            found.told.append("tools.json: edit what each function does")
        return {"own_tools": own, "tools": "tools" if own else "tools.json"}
    return {"answer": forms.guess_kind(found.rows)}


def _describe_table(name: str, rows: Rows, given: Given) -> str:
    """The entry of a table under `data:`: its file, or the rows themselves; nothing where there are none."""
    held_out = name != "train"
    if not rows:
        return ""
    if given.data:
        return f" {{path: {name}.jsonl{', held_out: true' if held_out else ''}}}"
    lines = "".join(f"\n      - {write_text(row)}" for row in rows)
    return ("\n    held_out: true" if held_out else "") + "\n    rows:" + lines


def _write_rows(rows: Rows) -> str:
    return "".join(f"{write_text(row)}\n" for row in rows)


def _fit_student(given: Given) -> Mapping[str, Any]:
    """The student's entry; SmolLM2's own chat template would leave tools out."""
    takes_none = given.job == "tools" and "smollm" in str(given.student.get("model")).lower()
    return {**given.student, "chat_template": "tools"} if takes_none else given.student


def _write_entry(entry: Mapping[str, Any]) -> str:
    """A model's entry as people write it, in YAML."""
    return (
        "{"
        + ", ".join(
            f"{name}: {json.dumps(value) if _NOT_PLAIN.search(str(value)) else value}" for name, value in entry.items()
        )
        + "}"
    )


def _note(line: str) -> str:
    """A line for a comment, whatever the columns are called."""
    return escape_line(" ".join(line.split()))


def _render(text: str, values: Mapping[str, Any], name: str) -> str:
    environment = jinja2.Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    if name.endswith(".jinja"):
        environment.finalize = _quote_braces
    return environment.from_string(text).render(values)


def _quote_braces(value: Any) -> Any:
    """A value of the data for a prompt: one with braces stands there as a text, and is no template."""
    return f"{{{{ {json.dumps(value)} }}}}" if isinstance(value, str) and re.search("[{}]", value) else value
