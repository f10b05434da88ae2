"""What is learnt of a request that an endpoint refuses for one of its fields, which nobody had foreseen."""

from blackbox_kd.calls.call import Call
from blackbox_kd.errors import EndpointRefused, RequestRejected
from blackbox_kd.models.http.error_body import SYSTEM
from blackbox_kd.models.http.parameters import CAPS, NEUTRAL


def learn(call: Call, error: RequestRejected) -> str:
    """The field that a model does not take, if the call can do without it; else nothing.

    Raises:
        EndpointRefused: the recipe itself asks for it.
    """
    field, config, sampling = error.field, call.state.model.config, call.request.sampling
    body = call.wire.get("body", {})
    refused = config.parameters.find_refused(body) | call.request.refused
    if field == SYSTEM:
        has_role = any(message["role"] == SYSTEM for message in body.get("messages", ()))
        is_sent = is_asked = has_role and not config.folds_system
    elif field in CAPS:
        has_cap = call.request.cap is not None or not body.keys().isdisjoint(CAPS)
        is_sent, is_asked = has_cap and refused.isdisjoint(CAPS), field == config.parameters.cap
    else:
        is_sent = field in body and field not in refused and field not in ("model", "messages")
        is_default = field in sampling.defaults or (field in NEUTRAL and body.get(field) == NEUTRAL[field])
        is_asked = field in config.own_fields or field in sampling.extra or not is_default
    if is_sent and is_asked:
        what = f"model {call.state.counts.name!r} does not take {field!r}: {error.what}"
        raise EndpointRefused(what, fix=error.fix, kind="endpoint_refused")
    return field if is_sent else ""
