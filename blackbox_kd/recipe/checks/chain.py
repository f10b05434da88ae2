"""What is wrong between the fields of a recipe: names that lead nowhere, columns nobody writes, leaks.

The check walks the chain as a run would, with the columns of each table in place of its rows. It knows no step:
what a step's fields name is said by their marks, and what it reads and writes by its decorator.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from blackbox_kd import models
from blackbox_kd.errors import Problem, UserError, WrongRename, did_you_mean
from blackbox_kd.recipe.checks import advice as recipe_advice
from blackbox_kd.recipe.checks import answers as recipe_answers
from blackbox_kd.recipe.checks import columns as recipe_columns
from blackbox_kd.recipe.checks import dataset as recipe_dataset
from blackbox_kd.recipe.checks import held_out as recipe_held_out
from blackbox_kd.recipe.checks import learning as recipe_learning
from blackbox_kd.recipe.checks import loops as recipe_loops
from blackbox_kd.recipe.checks import metrics as recipe_metrics
from blackbox_kd.recipe.checks import models as recipe_models
from blackbox_kd.recipe.checks import passed_on as recipe_passed_on
from blackbox_kd.recipe.checks import prompts as recipe_prompts
from blackbox_kd.recipe.checks import redaction as recipe_redaction
from blackbox_kd.recipe.checks import reply_forms as recipe_reply_forms
from blackbox_kd.recipe.checks import reports as recipe_reports
from blackbox_kd.recipe.checks import values as recipe_values
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.entries import explain_bad_name
from blackbox_kd.recipe.notes import Notes
from blackbox_kd.recipe.spec import PlannedStep, Recipe
from blackbox_kd.recipe.yaml_source import Path as Place
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.sandbox.prompt import show_path
from blackbox_kd.schema import Row
from blackbox_kd.sdk.fields import Reference, resolve
from blackbox_kd.tables import sources


def check(
    recipe: Recipe,
    problems: list[Problem],
    env: Mapping[str, str] = os.environ,
    loaded: Mapping[str, Iterable[Row]] | None = None,
    filled: Mapping[str, set[str]] | None = None,
    notes: Notes | None = None,
) -> None:
    """Appends to `problems` all that is wrong between the fields of a recipe, and fills its prompts.

    Args:
        recipe: the recipe.
        problems: is added to.
        env: where keys are looked up.
        loaded: first rows of tables whose columns only loading tells, once they are loaded.
        filled: columns of tables in which any row holds something, once they are loaded.
        notes: is added to, too.
    """
    flow = Flow(recipe, problems)
    recipe_prompts.find_secrets(flow)
    for step in recipe.steps:
        for name in step.list_names("new table"):
            flow.writers.setdefault(name, []).append(step)
    _check_data(flow, loaded or {})
    for name, columns in (filled or {}).items():
        flow.filled.setdefault(name, set()).update(columns)
    recipe_held_out.check(flow)
    _check_models(flow, env)
    planned: dict[Place, PlannedStep] = {step.at: step for step in recipe.steps}
    for index, values in enumerate(recipe.head.steps):
        if index in recipe.loops:
            recipe_loops.walk(flow, recipe.loops[index], planned, _check_step)
        elif ("steps", index) in planned:
            _check_step(flow, planned["steps", index])
        else:
            flow.skip(index, values)
    recipe_learning.check_end(flow)
    recipe_dataset.check(flow)
    notes = Notes() if notes is None else notes
    recipe_advice.check(flow, env, notes)
    recipe_redaction.check(flow, notes)
    recipe_reply_forms.check(flow, notes)
    _check_unused(flow)


def _check_data(flow: Flow, loaded: Mapping[str, Iterable[Row]]) -> None:
    for name, values in flow.recipe.head.data.items():
        flow.tables[name] = None
        table = flow.recipe.data.get(name)
        if table.held_out if table else isinstance(values, dict) and values.get("held_out") is True:
            flow.held_out.add(name)
        elif flow.last is None:
            flow.last = name
        if table is None:
            continue
        try:
            seen = sources.look_at(loaded[name]) if name in loaded else sources.look_at_first(table, flow.recipe.folder)
        except (UserError, OSError) as error:
            at = "rename" if isinstance(error, WrongRename) else table.origins[0]
            found = _explain(error)
            fix = found.fix or "mend the file or the entry"
            flow.add(("data", name, at), f"data.{name}", f"{found.what.rstrip('.')}.", found.exists, fix)
        else:
            flow.tables[name] = None if seen is None else set(seen.columns)
            flow.filled[name] = set() if seen is None else seen.filled
            flow.examples[name] = [] if seen is None or table.generator else [dict(row) for row in seen.rows]


def _explain(error: UserError | OSError) -> UserError:
    return error if isinstance(error, UserError) else UserError(f"cannot be read: {error.strerror}")


def _check_models(flow: Flow, env: Mapping[str, str]) -> None:
    for name, config in flow.recipe.models.items():
        variable = config.key_variable
        if variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            message = "field 'key_env' is no name of a variable (not shown: it may be the key itself)."
            fix = "keep the key in an environment variable and write key_env: VARIABLE"
            flow.add(("models", name, "key_env"), f"models.{name}", message, "", fix)
            continue
        setup = models.Setup(name, show_path(flow.recipe.folder), Path(), env, flow.recipe.allow_code)
        try:
            found = config.missing(setup)
        except OSError as error:
            found = [("model", f"{quote(config.model)} {_explain(error).what}.", "name a model, a folder or a file")]
        for at, message, fix in [*found, *recipe_models.find_refused(config)]:
            flow.add(("models", name, at), f"models.{name}", message, "", fix)


def _check_names(flow: Flow, planned: PlannedStep) -> None:
    for mention in planned.references:
        if mention.kind in ("model", "student", "trained model"):
            recipe_models.check_name(flow, planned, mention)
        elif mention.kind in ("table", "reported table"):
            _check_table_name(flow, planned, mention)
        elif mention.kind == "answer":
            recipe_answers.check_kind(flow, planned, mention)


def _check_step(flow: Flow, planned: PlannedStep) -> None:
    for at, message, fix in [*planned.config.problems(), *recipe_prompts.find_missing_files(flow, planned)]:
        flow.report(planned, at, message, "", fix)
    recipe_passed_on.check(flow, planned)
    _check_names(flow, planned)
    source = _find_source(flow, planned)
    if source is None and not planned.step.merges:
        return  # what else there is to say would all follow from this
    recipe_held_out.check_read(flow, planned, source)
    columns = recipe_columns.read_by(flow, planned, source)
    tables = [source] if source is not None else planned.merged
    # The first rows of the data go along, as far as a step can be told without a call: an expression or a prompt is
    # tried on values, as the name of a column does not say whether it holds what the step takes.
    rows = recipe_values.join(flow.examples.get(name, []) for name in tables)
    made = recipe_values.write(planned, rows)
    recipe_columns.check(flow, planned, columns, recipe_values.select_seen(planned, rows, made))
    recipe_answers.check_references(flow, planned, tables, rows)
    recipe_prompts.check_leaks(flow, planned, source)
    recipe_redaction.note_step(flow, planned, tables)
    recipe_models.check_rows(flow, planned, columns if source not in flow.held_out else None)
    recipe_learning.check_shown(flow, planned, source, columns)
    if planned.trains:
        recipe_learning.check_answers(flow, planned, source, columns)
    recipe_reports.check(flow, planned)
    recipe_metrics.check(flow, planned, source, columns)
    if planned.step.held_out and source in flow.deciding and planned.loop is None:
        loop = flow.deciding[str(source)]
        message = f"table {source!r} decided what {loop} did: what is measured on it is no evidence."
        flow.report(planned, "input", message, "", "read a table that no earlier step was guided by")
    # Noted after what the step reads was checked: only later steps are guided by what it finds.
    for mention in planned.references:
        if mention.kind == "reported table":
            flow.deciding.setdefault(mention.value, planned.label)
    sources_read = flow.origins(tables)
    for mention in planned.references:
        if mention.kind == "student":
            flow.learnt.setdefault(mention.value, set()).update(sources_read)
    if planned.step.held_out and source is not None:
        flow.exams.append((planned, source))
    _write_columns(flow, planned, source, columns)
    for name in (*planned.list_names("new table"), *([] if planned.step.aside else [planned.unnamed])):
        flow.made_of[name] = sources_read
        flow.examples[name] = made


def _find_source(flow: Flow, planned: PlannedStep) -> str | None:
    """The table that a step reads; none where it puts several together, or where there is none, which is reported."""
    merges = planned.step.merges
    if merges and planned.config.input:
        message = f"input: {planned.config.input} would not be read: the step reads what {merges}: names."
        flow.report(planned, "input", message, "", f"take input: out, or name its table in {merges}:")
    source = None if merges else planned.config.input or flow.last
    if source is None and not merges and flow.recipe.head.data:
        flow.unknown.add("table")
        fix = "add input: NAME, or a table without held_out: true under data:"
        flow.report(planned, "step", "there is no table to read.", f"tables here: {flow.names()}", fix)
    return source


def _check_table_name(flow: Flow, planned: PlannedStep, mention: Reference) -> None:
    name = mention.value
    flow.used_tables.add(name)
    if name in flow.tables or name in flow.broken or not flow.recipe.head.data:
        return
    if flow.is_empty(name) and mention.field != "input":
        return
    here = (planned.index, planned.inner)
    later = [p.label for p in flow.writers.get(name, ()) if (p.index, p.inner) >= here]
    if later:
        itself = later[0] == planned.label
        message = f"table {name!r} is read here, but written only by {'this very step' if itself else later[0]}."
        fix = "read another table" if itself else f"move {later[0]} before this step, or read another table"
    else:
        flow.unknown.add("table")
        message = f"unknown table {quote(name)}."
        named = [table for table in flow.tables if not table.startswith("#")]
        fix = did_you_mean(name, named) or f"add it under data:, or output: {name} to an earlier step"
    flow.report(planned, mention.field, message, f"tables here: {flow.names()}", fix)


def _write_columns(flow: Flow, planned: PlannedStep, source: str | None, columns: Columns) -> None:
    unwritten = planned.config.unwritten()
    written = [name for name in resolve(planned.step.writes, planned.config) if name not in unwritten]
    twice = [name for name, count in Counter(written).items() if count > 1]
    named = [mention for mention in planned.references if mention.kind == "new column"]
    fixed = {name for name in planned.step.writes if not name.startswith("{")}
    new = [mention for mention in named if mention.value not in unwritten - fixed]
    for mention in new:
        at = mention.field
        if mention.value in twice:
            message = f"column {mention.value!r} is written by the step itself too; the second would hide the first."
            flow.report(planned, at, message, "", f"choose another name: {at}: {mention.value}_text")
        elif mention.value == "id" or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", mention.value):
            why = "it names the row" if mention.value == "id" else "prompts and expressions could not name it"
            message = f"column {quote(mention.value)} cannot be written: {why}."
            flow.report(planned, at, message, "", f"write {at}: NAME, with letters, digits and '_' only")
    after = None
    if columns is not None:
        made = {*written, *(mention.value for mention in new)} - planned.config.list_removed()
        after = planned.config.columns_after(columns) | made
    read = [source] if source is not None else planned.merged
    recipe_learning.note_written(flow, planned, read, [*written, *(mention.value for mention in new)], after)
    _write_tables(flow, planned, source, after)


def _write_tables(flow: Flow, planned: PlannedStep, source: str | None, columns: Columns) -> None:
    names = {mention.field: mention.value for mention in planned.references if mention.kind == "new table"}
    if "output" in names and len(names) > 1:
        branches = ", ".join(name for at, name in names.items() if at != "output")
        message = f"output: {names['output']} would stay empty: the step writes the tables {branches}."
        flow.report(planned, "output", message, "", "take output: out")
    _inherit(flow, planned, source, [*names.values(), *([] if planned.step.aside else [planned.unnamed])])
    for at, name in names.items():
        bad = explain_bad_name("table", name)
        if bad:
            flow.report(planned, at, bad[0], "", bad[1])
        elif name in flow.tables and not _is_carried(flow, name):
            message = f"table {name!r} exists already; the second would hide the first."
            flow.report(planned, at, message, f"tables here: {flow.names()}", "choose another name")
        if flow.loop is not None:
            flow.loop.written[name] = planned.label
        flow.tables[name] = columns
    if not planned.step.aside:
        own = planned.unnamed
        flow.tables[own] = columns
        flow.last = next(iter(names.values()), own)


def _inherit(flow: Flow, planned: PlannedStep, source: str | None, names: list[str]) -> None:
    """What is made of a held-out table is held out, and no evidence where that table is none."""
    if source in flow.held_out:
        flow.held_out.update(names)
        flow.apart.update(names if planned.config.keeps_held_out() else ())
        flow.deciding.update({name: flow.deciding[source] for name in names if source in flow.deciding})


def _is_carried(flow: Flow, name: str) -> bool:
    """Whether a step of a loop may write a table anew: once a round, and none that has to stay what it is."""
    if flow.loop is None or name in flow.loop.written:
        return False
    source = flow.recipe.data.get(name)
    return name in flow.loop.carried and not (source is not None and source.held_out)


def _check_unused(flow: Flow) -> None:
    if not flow.recipe.head.steps or flow.recipe.suffix:
        return
    for variant in flow.recipe.variants:  # what an arm alone names is used, and so is what an arm does without
        flow.used_models |= {name for planned in variant.steps for name in planned.list_models()}
        flow.used_tables |= {name for planned in variant.steps for name in planned.list_names("table")}
    for name in flow.recipe.head.models if "model" not in flow.unknown else ():
        if name not in flow.used_models | flow.broken:
            what = f"model {name!r} is used by no step."
            flow.add(("models", name), f"models.{name}", what, "", "remove it, or name it in a step")
    for name in flow.recipe.head.data if "table" not in flow.unknown else ():
        if name not in flow.used_tables | flow.broken:
            what = f"table {name!r} is read by no step."
            flow.add(("data", name), f"data.{name}", what, "", f"remove it, or read it: input: {name}")
