"""Models that a step names: they exist at that point of the chain, and can learn from the rows that they get."""

from blackbox_kd import models
from blackbox_kd.errors import DataError, did_you_mean, list_names
from blackbox_kd.models import ModelConfig
from blackbox_kd.models.http.parameters import CAPS, EFFORT, NEUTRAL, THINKING_BUDGET
from blackbox_kd.recipe.checks.flow import Columns, Flow
from blackbox_kd.recipe.loop_config import UntilMetric
from blackbox_kd.recipe.spec import Loop, PlannedStep
from blackbox_kd.recipe.yaml_source import quote
from blackbox_kd.schema import ModelRef
from blackbox_kd.sdk.fields import Reference
from blackbox_kd.sdk.offered_tools import ToolsConfig
from blackbox_kd.tables import formats

OVERRIDE = "if the model does take it, write refuses: []"


def check_name(flow: Flow, planned: PlannedStep, mention: Reference) -> None:
    """Reports a model or a version that is not there, or cannot do what the step asks of it."""
    is_whole = mention.value in flow.recipe.head.models
    ref = ModelRef(mention.value) if is_whole else mention.model
    name = ref.name
    if name not in flow.recipe.head.models:
        flow.unknown.add("model")
        names = list(flow.recipe.head.models)
        if names or isinstance(flow.recipe.source.values.get("models", {}), dict):
            fix = did_you_mean(name, names) or f"add {name}: {{provider: NAME, model: NAME}} under models:"
            expected = f"models: {list_names(names)}"
            flow.report(planned, mention.field, f"unknown model {quote(mention.value)}.", expected, fix)
        return
    flow.used_models.add(name)
    if mention.kind == "student":
        _check_student(flow, planned, mention)
        flow.trained[name] = flow.trained.get(name, 0) + 1
    elif mention.kind == "trained model" and not _is_trained_before(flow, planned, name):
        message = f"{quote(name)} is trained by no step before this one."
        flow.report(planned, mention.field, message, "", "train it before this step, or name a model that is")
    elif name != mention.value and name not in flow.broken:
        _check_version(flow, planned, mention, ref)
    config = flow.recipe.models.get(name)
    if config is not None:
        _check_sampling(flow, planned, mention, config)
        if isinstance(planned.config, ToolsConfig) and planned.config.tools is not None:
            _check_tools(flow, planned, mention, config)
    if mention.weights and config is not None and not config.trainable:
        message = f"the weights of model {name!r} are not at hand: provider {config.provider!r} has none."
        able = [other for other in models.providers() if models.provider(other).Config.trainable]
        flow.report(planned, mention.field, message, "", f"a model of another provider: {', '.join(able)}")
    if mention.scores and config is not None and not config.scores:
        message = f"provider {config.provider!r} of model {name!r} offers no log-probabilities of given text."
        able = [other for other in models.providers() if models.provider(other).Config.scores]
        flow.report(planned, mention.field, message, "", f"a model of another provider: {', '.join(able)}")


def _is_trained_before(flow: Flow, planned: PlannedStep, name: str) -> bool:
    own = planned.list_names("student").count(name)
    return flow.trained.get(name, 0) > own or name in flow.unsure


def _check_tools(flow: Flow, planned: PlannedStep, mention: Reference, config: ModelConfig) -> None:
    """Reports a model whose chat template would leave out the tools that the step offers."""
    if config.leaves_tools_out(flow.recipe.folder):
        message = f"the chat template of model {mention.value!r} takes no tools, and the step offers some."
        fix = "take a model that was made for tools, or write chat_template: tools at the model"
        flow.report(planned, mention.field, message, "", fix)


def find_refused(config: ModelConfig) -> list[tuple[str, str, str]]:
    """What a model's entry sets for every request and the model does not take: the field, what is wrong, the fix."""
    known, own, found = config.parameters, config.own_fields, []
    refused = known.find_refused(own)
    for name, value in sorted(own.items()):
        at = "thinking" if name in (EFFORT, THINKING_BUDGET) and "thinking" in config.model_fields_set else "extra_body"
        said = "thinking" if at == "thinking" else name
        if name in known.absent:
            what = f"the field {said!r} cannot be told to {quote(config.model)}: its API has no such field."
            found.append((at, what, f"take {said} out"))
        elif name in refused:
            what = f"the field {said!r} is not taken by {quote(config.model)}: it would refuse every request."
            found.append((at, what, f"take {said} out; {OVERRIDE}"))
        elif (wrong := known.refuse_value(name, value)) is not None:
            what = f"this value of {said!r} is not taken by {quote(config.model)}: {wrong[0]}."
            found.append((at, what, wrong[1] if name in known.firm else f"{wrong[1]}; {OVERRIDE}"))
    return found


def _check_sampling(flow: Flow, planned: PlannedStep, mention: Reference, config: ModelConfig) -> None:
    """Reports what the step sets for the model and the model does not take; its defaults are left out then."""
    given = {name: entry for name, entry in planned.config.set_for(mention.field).items() if entry[1] is not None}
    known, asked = config.parameters, {**config.own_fields, **{name: value for name, (_, value) in given.items()}}
    refused, budget = known.find_refused(asked), known.find_budget(asked)
    for name, (at, value) in given.items():
        said = f"extra.{name}" if at == "extra" else at
        shown = f"{said}: {quote(value)}"
        model = f"model {mention.value!r} ({config.model})"
        if name in config.lacks:
            message = f"{at}: cannot be had of {model}: provider {config.provider!r} has no way to ask for it."
            flow.report(planned, at, message, "", config.lacks[name])
        elif name in known.absent:
            message = f"{shown} cannot be told to {model}: its API has no such field."
            fix = f"take {said} out{f', or write {known.instead} at the model' if known.instead else ''}"
            flow.report(planned, at, message, "", fix)
        elif name in refused - set(CAPS) and value != NEUTRAL.get(name):
            turned_off = ", or write thinking: off at the model" if name in known.refuses_reasoning else ""
            fix = f"take {said} out{turned_off}; {OVERRIDE} there"
            flow.report(planned, at, f"{shown} is not taken by {model}: it would refuse every request.", "", fix)
        elif name == "max_tokens" and known.most_tokens is not None and value > known.most_tokens:
            fix = f"write {at}: {known.most_tokens}; if the model lets more through, limits: {{max_tokens: N}} there"
            flow.report(planned, at, f"{shown} is more than {model} lets through.", "", fix)
        elif name == "max_tokens" and isinstance(budget, int) and value <= budget:
            level = asked[EFFORT] if THINKING_BUDGET not in asked else budget
            thinking = f"thinking: {level}" if level == budget else f"thinking: {level}, {budget} tokens there"
            message = f"{shown} leaves {model} no token for its reply beside {thinking}, which counts, too."
            flow.report(planned, at, message, "", f"write {at}: {budget + value}, or take it out")
        elif (wrong := known.refuse_value(name, value)) is not None:
            fix = wrong[1] if name in known.firm else f"{wrong[1]}; {OVERRIDE} there"
            flow.report(planned, at, f"{shown} is not taken by {model}: {wrong[0]}.", "", fix)


def _check_version(flow: Flow, planned: PlannedStep, mention: Reference, ref: ModelRef) -> None:
    name, rounds = ref.name, flow.trained.get(ref.name, 0)
    known = [ref.base, *(ModelRef(name, str(number + 1)) for number in range(rounds))]
    if ref in known:
        return
    message = f"model {mention.value!r} does not exist at this point of the chain."
    expected = f"versions here: {', '.join(map(str, known))}"
    fix = "name one of them, or train it before this step"
    more, loop = flow.unsure.get(name, (0, None))
    if loop is not None and ref.version in {str(rounds + number + 1) for number in range(more)}:
        message = f"model {mention.value!r} may not exist: {loop.label} can end before it is trained."
        fix = f"write {name}, which is then {_name_left(loop, name)}"
    flow.report(planned, mention.field, message, expected, fix)


def _name_left(loop: Loop, name: str) -> str:
    """What the bare name of a model means after a loop."""
    until = loop.config.until
    is_restored = isinstance(until, UntilMetric) and until.model == name
    return "the best round's version" if is_restored else "the latest version"


def _check_student(flow: Flow, planned: PlannedStep, mention: Reference) -> None:
    name = mention.model.name
    config = flow.recipe.models.get(name)
    if name != mention.value:
        message = f"{mention.value!r} is a version; training makes the next version of a model."
        flow.report(planned, mention.field, message, "", f"write {mention.field}: {name}")
    elif config is not None and not config.trainable:
        message = f"model {name!r} cannot be trained: provider {config.provider!r} has no weights to train."
        able = [other for other in models.providers() if models.provider(other).Config.trainable]
        fix = f"train a model of another provider: {', '.join(able)}"
        flow.report(planned, mention.field, message, "", fix)


def leave_loop(flow: Flow, loop: Loop, before: dict[str, int], in_a_round: dict[str, int]) -> None:
    """Sets how often models were trained once a loop has ended: as often as is certain, and the rest is noted.

    Args:
        flow: the walk.
        loop: the loop that it has left.
        before: how often each model was trained before the loop.
        in_a_round: how often each is trained in a round.
    """
    certain, most = loop.config.fewest, loop.config.rounds
    for name, number in in_a_round.items():
        flow.trained[name] = before.get(name, 0) + number * certain
        if most > certain:
            flow.unsure[name] = (flow.unsure.get(name, (0, loop))[0] + number * (most - certain), loop)


def check_rows(flow: Flow, planned: PlannedStep, columns: Columns) -> None:
    """Reports a table that a step trains on, and whose columns its method cannot learn from.

    Where the chain begins with the training, it says so itself, before anything was paid.
    """
    method = planned.config.learns_by()
    begins = planned.at == ("steps", 0)
    if columns is None or begins or method is None:
        return
    pairs = "put - {step: format, preference: true} before it, whose chosen: and rejected: name the two texts"
    plain = "put a step format before it, whose completion: names the text that is learnt"
    try:
        shape = formats.recognise(columns - {"id"})
    except DataError as error:
        flow.report(planned, "step", f"{error.what}.", error.exists, pairs if method == "dpo" else plain)
        return
    if method == "kto" and not columns.intersection(formats.LABELLED):
        what = f"no column says which answers are good: {' or '.join(formats.LABELLED)}."
        flow.report(planned, "method", what, "", "put a step check before it, or map: {label: EXPRESSION}")
    if wrong := formats.refuse_method(method, shape):
        fix = f"{pairs}; or method: sft" if method == "dpo" else "write method: dpo, or read a table without pairs"
        flow.report(planned, "method" if "method" in planned.config.model_fields_set else "step", f"{wrong}.", "", fix)
