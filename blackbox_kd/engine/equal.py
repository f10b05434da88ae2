"""How much an arm of a recipe is trained: on as many rows and with as many updates as the chain as it stands."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blackbox_kd.engine.state import RunState
from blackbox_kd.errors import StepError
from blackbox_kd.privacy import write_whole
from blackbox_kd.recipe.spec import PlannedStep


@dataclass(frozen=True, slots=True)
class Amount:
    """What a training of the chain as it stands was given.

    Args:
        rows: from which something could be learnt.
        updates: optimizer steps.
    """

    rows: int
    updates: int


def find_amount(shared: RunState, planned: PlannedStep) -> Amount | None:
    """What a training is to be given as another one was; None outside of an arm.

    Raises:
        StepError: the chain as it stands has not trained there.
    """
    lead = shared.lead
    if lead is None or shared.recipe.arm == lead.recipe.arm:
        return None
    found = lead.records.find("trainings", planned.place)
    if not found:
        raise StepError(
            f"{planned.label} of arm {shared.recipe.arm!r}: the chain as it stands has trained nothing there",
            fix="let the arm change what is trained on, not whether anything is",
        )
    rows = sum(found[-1][name] for name in ("rows", "rows_left_out", "rows_for_evaluation_loss"))
    return Amount(rows, found[-1]["steps"])


def fill_updates(shared: RunState, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a training with a number of updates, where they name a model that has had as many.

    Raises:
        StepError: it has had none.
    """
    if not isinstance(named := settings["max_steps"], Mapping):
        return settings
    made = {entry["model"]: entry for entry in shared.records.find("trainings")}
    updates, version = 0, shared.models.exact(named["of"])
    while version in made:
        updates, version = updates + made[version]["steps"], made[version].get("begun_from", "")
    if not updates:
        what = f"max_steps: {named['of']!r} is here as it came, so that there is no number of updates to take over"
        raise StepError(what, fix="write a number, or let it be trained before")
    return {**settings, "max_steps": updates}


def describe(shared: RunState, planned: PlannedStep) -> dict[str, Any]:
    """What arms and seeds decide of a step, for its fingerprint; nothing where a recipe has none."""
    if not planned.trains:
        main = shared.find_main_table(planned) if planned.step.held_out else None
        return {} if main is None else {"main": main.sha256}
    amount, seed = find_amount(shared, planned), shared.recipe.training_seed
    found: dict[str, Any] = {} if amount is None else {"amount": asdict(amount)}
    # The seed of the run is what trained before there were seeds: what is finished with it stands.
    return found if seed in (None, shared.recipe.head.seed) else {**found, "training_seed": seed}


def match(
    shared: RunState, planned: PlannedStep, data: Path, settings: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str]]:
    """The settings of a training with as many updates as there have to be, and what is to be said of its rows.

    Of more rows some are drawn; of fewer all are repeated as often as they go, and the rest is drawn.

    Args:
        shared: what the steps of the arm share.
        planned: the step.
        data: JSON lines, which are written anew.
        settings: of the training.
    """
    amount = find_amount(shared, planned)
    if amount is None:
        return settings, []
    settings = {**settings, "max_steps": amount.updates}
    lines = [f"{line}\n" for line in data.read_text(encoding="utf-8").split("\n") if line]
    if len(lines) == amount.rows:
        return settings, []
    times, rest = divmod(amount.rows, len(lines))
    drawn = sorted(random.Random(shared.recipe.head.seed).sample(range(len(lines)), rest))
    write_whole(data, "".join([*lines * times, *(lines[at] for at in drawn)]))
    if times:
        return settings, [f"its {len(lines):,} rows are repeated to the {amount.rows:,} of the chain as it stands"]
    return settings, [f"{amount.rows:,} of its {len(lines):,} rows are drawn, as many as the chain as it stands has"]
