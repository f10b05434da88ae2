"""Loops of a recipe, as the check walks them: once as round 1 finds the tables, and once as later rounds do."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from blackbox_kd.errors import Problem, did_you_mean, list_names
from blackbox_kd.recipe.checks import models as recipe_models
from blackbox_kd.recipe.checks import prompts as recipe_prompts
from blackbox_kd.recipe.checks.flow import Body, Flow
from blackbox_kd.recipe.loop_config import WIN_RATE, UntilMetric, UntilRows
from blackbox_kd.recipe.spec import Loop, PlannedStep
from blackbox_kd.recipe.yaml_source import Path, quote


def walk(
    flow: Flow, loop: Loop, steps: Mapping[Path, PlannedStep], check_step: Callable[[Flow, PlannedStep], None]
) -> None:
    """Checks a loop's steps in both states of its tables, and what ends it."""
    body = [planned for planned in steps.values() if planned.loop is loop]
    outputs = {name for planned in body for name in planned.list_names("new table")}
    _check_first(flow, loop, body)
    found, before = flow.problems, dict(flow.trained)
    flow.loop = Body(set(flow.tables), outputs - set(flow.tables))
    _round(flow, loop, steps, check_step)
    in_a_round = {name: n - before.get(name, 0) for name, n in flow.trained.items() if n != before.get(name, 0)}
    seen = {(problem.line, problem.message) for problem in found}
    for _ in range(loop.config.rounds - 2):  # what is made of what the round before has made
        known = len(flow.secrets)
        for planned in body:
            recipe_prompts.spread_secrets(flow, planned)
        if len(flow.secrets) == known:
            break
    flow.problems, flow.loop = [], Body(set(flow.tables), set())
    _round(flow, loop, steps, check_step)
    later = [problem for problem in flow.problems if (problem.line, problem.message) not in seen]
    flow.problems, flow.loop = found, None
    found += [_tell_round(problem) for problem in later]
    recipe_models.leave_loop(flow, loop, before, in_a_round)
    until = loop.config.until
    if isinstance(until, UntilMetric):
        _check_metric(flow, loop, until, body)
    elif isinstance(until, UntilRows) and until.table not in outputs:
        what = f"until.table: {quote(until.table)} is written by no step of the loop, so it cannot grow."
        fix = (
            did_you_mean(until.table, sorted(outputs)) or f"give the step that collects the rows output: {until.table}"
        )
        flow.add(_at(loop, "table"), loop.label, what, f"tables of the loop: {_list_sorted(outputs)}", fix)


def _round(
    flow: Flow, loop: Loop, steps: Mapping[Path, PlannedStep], check_step: Callable[[Flow, PlannedStep], None]
) -> None:
    for inner, values in enumerate(loop.config.steps):
        planned = steps.get(("steps", loop.index, "loop", "steps", inner))
        if planned is not None:
            check_step(flow, planned)
        else:
            flow.skip(f"{loop.index}.{inner}", values)


def _tell_round(problem: Problem) -> Problem:
    return replace(problem, expected="; ".join(filter(None, ("this is so from round 2 on", problem.expected))))


def _check_first(flow: Flow, loop: Loop, body: list[PlannedStep]) -> None:
    """The first step of a round could read what stands before the loop or what the last round wrote: it must say."""
    first = body[0] if body else None
    if first is None or first.inner or first.step.merges or first.config.input:
        return
    what = "the first step of a loop must name the table that it reads: each round begins with it."
    fix = "add input: NAME; a table that the loop writes anew under that name is carried to the next round"
    flow.report(first, "step", what, f"tables here: {flow.names()}", fix)


def _check_metric(flow: Flow, loop: Loop, until: UntilMetric, body: list[PlannedStep]) -> None:
    students = {name for planned in body for name in planned.list_names("student")}
    if until.model not in students and not flow.broken & {until.model}:
        what = (
            f"until.model: {quote(until.model)} is trained by no step of the loop, so its {until.metric} cannot rise."
        )
        fix = did_you_mean(until.model, sorted(students)) or "name a model that a train step of the loop trains"
        flow.add(_at(loop, "model"), loop.label, what, f"models that the loop trains: {_list_sorted(students)}", fix)
        return
    if until.on not in flow.tables and until.on not in flow.broken:
        what = f"until.on: unknown table {quote(until.on)}."
        fix = did_you_mean(until.on, [name for name in flow.tables if not name.startswith("#")])
        flow.add(_at(loop, "on"), loop.label, what, f"tables: {flow.names()}", fix or "name a table under data:")
        return
    if until.on not in flow.broken:
        _check_learnt(flow, loop, until)
        _check_exams(flow, loop, until, body)
    flow.deciding.setdefault(until.on, loop.label)


def _check_learnt(flow: Flow, loop: Loop, until: UntilMetric) -> None:
    if until.on in flow.learnt.get(until.model, ()):
        what = f"until.on: {until.model!r} learns from rows of {quote(until.on)}, so its answers there prove nothing."
        fix = "name a table that no train step reads, such as one with held_out: true under data:"
        flow.add(_at(loop, "on"), loop.label, what, "", fix)


def _check_exams(flow: Flow, loop: Loop, until: UntilMetric, body: list[PlannedStep]) -> None:
    """Reports a metric that no evaluate of the loop measures."""
    model, on = until.model, until.on
    known = [*flow.recipe.registry.metrics(), WIN_RATE]
    if until.metric not in known:
        what, fix = (
            f"until.metric: unknown metric {quote(until.metric)}.",
            did_you_mean(until.metric, known) or "name one of them",
        )
        flow.add(_at(loop, "metric"), loop.label, what, f"metrics: {', '.join(known)}", fix)
        return
    found = [(p, p.config.exam()) for p in body if p.step.held_out and p.config.input == on]
    exams = [(planned, exam) for planned, exam in found if exam is not None and model in exam.models]
    judged = [(planned, exam) for planned, exam in exams if exam.against is not None]
    what = fix = ""
    if not exams:
        what = f"no evaluate of the loop asks {model!r} about {on!r}, so its {until.metric} is not known."
        models, how = (f"{model}@base, {model}", ", judge: MODEL") if until.metric == WIN_RATE else (model, "")
        how = how if until.metric in ("accuracy", WIN_RATE) else f", metrics: [{until.metric}]"
        fix = f"add to the loop: - {{step: evaluate, input: {on}, models: [{models}]{how}}}"
    elif until.metric == "accuracy" and not any(exam.is_checked for _, exam in exams):
        what = f"metric: accuracy needs an evaluate with answer:, and {exams[0][0].label} has only a judge."
        fix = f"give {exams[0][0].label} answer: KIND, or metric: win_rate"
    elif until.metric != WIN_RATE and not any(until.metric in exam.metrics for _, exam in exams):
        what = f"metric: {quote(until.metric)} is measured by no evaluate that asks {model!r} about {on!r}."
        fix = f"give {exams[0][0].label} metrics: [{until.metric}]"
    elif until.metric == WIN_RATE and not judged:
        what = "metric: win_rate needs an evaluate with a judge."
        fix = f"give {exams[0][0].label} judge: MODEL, or metric: accuracy"
    elif until.metric == WIN_RATE and all(exam.against == model for _, exam in judged):
        planned, exam = judged[0]
        what = f"{planned.label} compares the others with {model!r}, so {model!r} has no win rate of its own."
        others = [name for name in exam.models if name != model]
        fix = f"write against_model: {others[0] if others else 'ANOTHER MODEL'} there"
    if what:
        flow.add(_at(loop, "metric"), loop.label, what, "", fix)


def _at(loop: Loop, name: str) -> Path:
    return ("steps", loop.index, "loop", "until", name)


def _list_sorted(names: set[str]) -> str:
    return list_names(sorted(names))
