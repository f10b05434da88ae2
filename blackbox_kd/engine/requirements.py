"""Whether the models that a step has measured reach what it requires of them: the run ends where one does not."""

from typing import Any

from blackbox_kd.engine.state import RunState
from blackbox_kd.errors import StepError
from blackbox_kd.recipe.spec import PlannedStep
from blackbox_kd.runs.report import comparisons
from blackbox_kd.runs.report.format import format_interval, format_percent
from blackbox_kd.schema import ModelRef
from blackbox_kd.sdk.step_config import FEWEST, Required


def check(planned: PlannedStep, shared: RunState, *, is_trial: bool) -> None:
    """Records what a step that has ended requires of its models, and what they reach.

    What a script says measures nobody, nor do the few rows of a trial: then the run goes on.

    Args:
        planned: the step.
        shared: has what it has measured.
        is_trial: whether the run takes a part of its rows only.

    Raises:
        StepError: a model is below, or too few rows were answered to say so.
    """
    required = planned.config.requires()
    if required is None:
        return
    measured = shared.records.find("evaluations", planned.place)
    found = [_judge(entry, required, shared) for entry in measured]
    shared.records.add("requirements", planned.place, found)
    for entry in found:
        if entry["is_met"] is None and entry["n"] < FEWEST and not is_trial:
            what = f"{planned.label}: only {entry['n']} rows of {entry['table']!r} tell what {entry['model']!r} can do"
            fix = "see why the others failed or are not there, then run the same command"
            raise StepError(what, exists=f"require: needs {FEWEST}", fix=fix)
    below = [entry for entry in found if entry["is_met"] is False]
    if below:
        raise StepError(
            f"{planned.label}: {'; '.join(map(_tell_value, below))}; {format_percent(required.at_least)} is required",
            exists=f"what was answered: {shared.folder.path / 'report.md'}",
            fix="mend its prompt or take another model, then run the same command: what is paid for is kept; "
            "or lower require.at_least",
        )


def _judge(entry: dict[str, Any], required: Required, shared: RunState) -> dict[str, Any]:
    metric = comparisons.list_measures(entry)[required.metric]
    is_measured = entry["n"] >= FEWEST and metric["value"] is not None and not _is_canned(entry["model"], shared)
    trained = {name for planned in shared.recipe.steps for name in planned.list_names("student")}
    teachers = shared.recipe.learnt_from - trained
    return {
        **{key: entry[key] for key in ("step", "table", "model", "version", "round", "n") if key in entry},
        "metric": required.metric,
        "at_least": required.at_least,
        **metric,
        "is_met": metric["value"] >= required.at_least if is_measured else None,
        "is_ceiling": ModelRef.parse(entry["model"]).name in teachers,
    }


def _is_canned(measured: str, shared: RunState) -> bool:
    """Whether a script has said it: the model, or one of those that a step has asked for the column."""
    models = shared.recipe.models
    writers = [each for each in shared.recipe.steps if measured in each.list_names("new column")]
    said_by = [measured, *(name for each in writers for name in each.list_models())]
    return any(model.canned for name in said_by if (model := models.get(ModelRef.parse(name).name)) is not None)


def _tell_value(entry: dict[str, Any]) -> str:
    reached = f"{format_percent(entry['value'])} {entry['metric']} on {entry['table']!r}"
    return f"{entry['model']!r} reaches {reached} (95 % interval {format_interval(entry['ci95'])})"
