"""What is learnt of a request that an endpoint refuses for one of its fields, which nobody had foreseen."""

from dataclasses import replace

from blackbox_kd.calls.call import Call
from blackbox_kd.errors import EndpointRefused, RequestRejected
from blackbox_kd.models.http.error_body import ANY, SYSTEM
from blackbox_kd.models.http.parameters import CAPS, NEUTRAL


def learn(call: Call, error: RequestRejected) -> str:
    """The field that a model does not take, if the call can do without it; else nothing.

    Raises:
        EndpointRefused: the recipe itself asks for it.
    """
    field, config = error.field, call.state.model.config
    body = call.wire.get("body", {})
    refused = call.state.parameters.find_refused(body) | call.request.refused
    if field == ANY:  # it may be what the recipe does not ask for
        spare = call.request.sampling.defaults - set(CAPS)
        return next((each for each in sorted(spare) if each in body and each not in refused), "")
    if field == SYSTEM:
        has_role = any(message["role"] == SYSTEM for message in body.get("messages", ()))
        is_sent = has_role and not config.folds_system
    elif field in CAPS:
        has_cap = call.request.cap is not None or not body.keys().isdisjoint(CAPS)
        is_sent = has_cap and refused.isdisjoint(CAPS)
    else:
        is_known = field in body or field in config.added_fields
        is_sent = is_known and field not in refused and field not in ("model", "messages")
    if is_sent and _is_asked(call, field):
        what = f"it does not take {field!r}: {error.what}"
        by_prompt = f"write refuses: [{field}] at the model, which is then asked for the form by its prompt alone"
        fix = by_prompt if field in call.request.form else error.fix
        raise EndpointRefused(what, fix=fix, kind="endpoint_refused")
    return field if is_sent else ""


def describe(field: str) -> str:
    """What is done about a field that a model does not take."""
    return f"it is sent as {CAPS[field == CAPS[0]]}" if field in CAPS else "it is asked without it"


def prepare(call: Call) -> None:
    """Makes a call ready to be sent, without what its model was found not to take and nobody asked for."""
    if call.state.refused:
        refused = frozenset(field for field in call.state.refused if not _is_asked(call, field))
        call.request = replace(call.request, refused=refused)


def _is_asked(call: Call, field: str) -> bool:
    """Whether the recipe itself asks for a field, so that the user is told where it is refused."""
    state, sampling, body = call.state, call.request.sampling, call.wire.get("body", {})
    if field in CAPS:
        return field == state.parameters.cap
    if field not in body and field in state.model.config.added_fields:
        return False
    if field not in body or field in state.own_fields or field in sampling.extra:
        return True
    return field not in sampling.defaults and not (field in NEUTRAL and body[field] == NEUTRAL[field])
