"""What a recipe's header and the README's table say that it costs is what `estimate` says of it.

Where one differs, `python -m tests.promises.test_costs` writes it anew: what stands before MARK. What stands
behind it is a person's.
"""

import asyncio
import json
import re
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from blackbox_kd.engine.estimate.estimate import estimate
from blackbox_kd.engine.estimate.tables import AnyKey, EstimateOptions
from blackbox_kd.paths import find_bundled
from blackbox_kd.recipe.load import load_recipe
from tests.support.hub_rows import replace_hub

RECIPES = sorted(find_bundled("recipes").glob("*.yaml"))
README = find_bundled("recipes").parent / "README.md"
PRICE = r"^(\| `{name}` \| .* \| )(\$[\d.]+|no money)( \| .*)$"
MARK = "(`blackbox-kd estimate`)."
COSTS = re.compile(r"^# Costs   .*\n(?:#         .*\n)*", re.MULTILINE)
WIDTH = 120


def write_costs(path: Path, folder: Path) -> str:
    """The sentence on a recipe's costs; those of models on this machine are no money."""
    plain = load_recipe(path, env=AnyKey())
    changes = [f"{name}={json.dumps(value)}" for name, value in replace_hub(plain, folder).items()]
    recipe = load_recipe(path, overrides=changes, env=AnyKey())
    options = EstimateOptions(folder / "run", folder / "ledger.sqlite", AnyKey(), looked_up=100)
    told = asyncio.run(estimate(recipe, options))
    paid = [line for line in told["models"] if line["usd"] is None or line["usd"]["high"]]
    calls, tokens = (sum(line[name]["likely"] for line in paid or told["models"]) for name in ("calls", "tokens"))
    much = f"about {round_off(calls):,} replies and {write_millions(tokens)} tokens"
    if not paid:
        return f"no money: {much} of models on this machine {MARK}"
    low, likely = (max(0.01, told["total"]["usd"][case]) for case in ("low", "likely"))
    stop = f"the budget stops the run at ${recipe.head.budget.usd:.2f}"
    return (
        f"{much} of paid models, hidden reasoning among them: likely ${likely:.2f}, at least ${low:.2f}; {stop} {MARK}"
    )


def round_off(number: float) -> Any:
    """The number with two digits that count."""
    return type(number)(float(f"{number:.2g}"))


def write_millions(tokens: float) -> str:
    return f"{round_off(tokens / 1e6):,g} million" if tokens >= 1e6 else f"{round_off(tokens):,.0f}"


def read_price(told: str) -> str:
    """What the README's table says of a sentence on costs."""
    likely = re.search(r"likely (\$[\d.]+),", told)
    return likely[1] if likely else "no money"


def read_costs(text: str) -> str:
    """The part of a header on costs, as one line."""
    [part] = COSTS.findall(text)
    return re.sub(r"\n# +", " ", part.removeprefix("# Costs   ")).strip()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_header_says_what_the_estimate_says(path: Path, tmp_path: Path) -> None:
    told = write_costs(path, tmp_path)
    assert read_costs(path.read_text(encoding="utf-8")).startswith(told)
    found = re.search(PRICE.replace("{name}", path.stem), README.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found[2] == read_price(told)


def rewrite(path: Path) -> None:
    """Puts the sentence of the estimate in front of what a person wrote."""
    text = path.read_text(encoding="utf-8")
    with TemporaryDirectory() as folder:
        told = write_costs(path, Path(folder))
    _, _, rest = read_costs(text).partition(MARK)
    lines = textwrap.wrap(f"{told} {rest.strip()}", WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    part = "".join(f"{'# Costs   ' if not n else '#         '}{line}\n" for n, line in enumerate(lines))
    path.write_text(COSTS.sub(lambda _: part, text, count=1), encoding="utf-8")
    table = re.compile(PRICE.replace("{name}", path.stem), re.MULTILINE)
    put = table.sub(lambda row: row[1] + read_price(told) + row[3], README.read_text(encoding="utf-8"))
    README.write_text(put, encoding="utf-8")


if __name__ == "__main__":
    for file in RECIPES:
        rewrite(file)
