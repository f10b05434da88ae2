"""What terms and licences say of training on a model's outputs, by a dated table. It is no legal advice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache

from blackbox_kd import paths
from blackbox_kd.models.http.names import look_up, normalise

NO_ADVICE = "this is no legal advice"


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody's terms, or a licence, say.

    Args:
        whose: they are.
        says: what they say, summarised.
        source: where it stands.
        read: when that was read.
        known: how well it is known.
        names: of the models that they are about, see `names.normalise`.
        hosts: of the endpoints that they are about.
        alone: whether no others count there.
        open: whether outputs may be used to train any model.
    """

    whose: str
    says: str
    source: str
    read: date
    known: str
    names: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    alone: bool = False
    open: bool = False

    def describe(self) -> str:
        """What they say, and how that is known."""
        return f"{self.whose}: {self.says} (known {self.known}, {self.read}; {self.source})"


DISTILLABLE = Terms(
    whose="OpenRouter's flag",
    says="only models are asked whose authors allow training on their outputs",
    source="https://openrouter.ai/docs/guides/features/distillation",
    read=date(2026, 11, 28),
    known="by that page and openrouter 1.3; the flag is kept as well as OpenRouter can",
    open=True,
)


def find(model: str, host: str) -> list[Terms]:
    """The terms that hold for outputs of a model; none if nothing is known of them.

    Args:
        model: its name at the endpoint, or of its weights.
        host: of the endpoint; "" for weights on this machine.
    """
    table = read_table()
    theirs = [each for each in table if any(host == name or host.endswith(f".{name}") for name in each.hosts)]
    if any(each.alone for each in theirs):
        return theirs
    own = look_up(normalise(model), {name: each for each in table for name in each.names})
    return [*theirs, own] if own is not None else theirs


def has_vendor(model: str) -> bool:
    """Whether a model is one that its vendor alone has, whoever passes requests on to it."""
    return any(each.hosts for each in find(model, ""))


def is_open(found: Sequence[Terms]) -> bool:
    """Whether outputs are known to be free for the training of any model."""
    return bool(found) and all(each.open for each in found)


@cache
def read_table() -> list[Terms]:
    """All that is known."""
    return [Terms(**entry) for entry in paths.read_table(__file__)["terms"]]
