"""What a recipe is: its top level as it is written, and the whole of it once it is checked."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from blackbox_kd.errors import FieldError
from blackbox_kd.models import ModelConfig
from blackbox_kd.models.http.aliases import Alias
from blackbox_kd.recipe.arm_config import ArmConfig
from blackbox_kd.recipe.budget import BudgetConfig
from blackbox_kd.recipe.loop_config import LoopConfig
from blackbox_kd.recipe.push import PushConfig
from blackbox_kd.recipe.yaml_source import Source
from blackbox_kd.sandbox.prompt import Prompt
from blackbox_kd.sdk.fields import Kind, Reference, resolve
from blackbox_kd.sdk.registry import Registry, Step
from blackbox_kd.sdk.step_config import StepConfig
from blackbox_kd.tables.sources import TableSource

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
"""Names of recipes, tables and models: they become names of files."""


class RecipeFile(BaseModel):
    """The top level of a recipe."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = Field(pattern=NAME, examples=["my_recipe"])
    """Name of the recipe and of its run folder: letters, digits, `_`, `-`, `.`."""
    description: str = ""
    """One sentence for the data card."""
    paper: str | None = None
    """Where the method is from, such as `arXiv:2212.08410`."""
    license: str | None = None
    """License of the data set that the recipe makes, as the Hub names it, such as `apache-2.0`."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is drawn."""
    seeds: list[int] | None = Field(default=None, min_length=2, examples=[[0, 1, 2]])
    """Seeds of training: training and what depends on it is repeated with each, and teachers are asked once."""
    arms: dict[str, ArmConfig] = Field(
        default_factory=dict, examples=[{"unfiltered": {"set": {"steps.4.input": "all"}}}]
    )
    """Other ways through the same chain, by their names, for comparison with it: each is trained on as many rows and
    with as many updates, in the same run and within the same budget."""
    data: dict[str, Any] = Field(min_length=1, examples=[{"train": {"path": "train.jsonl"}}])
    """Tables to start from, by name."""
    models: dict[str, Any] = Field(default_factory=dict)
    """Models by name."""
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    """What the run may spend."""
    terms: Literal["open"] | None = None
    """`open`: a model that rows are learnt from, and whose terms are not known to let outputs train any model, is a
    problem of the recipe; unknown is not open. Without it, what is known of terms is a note of `check`."""
    max_failed_share: float = Field(default=0.05, ge=0, le=1)
    """A run ends with exit status 1 when a larger share of a step's rows failed."""
    plugins: list[str] = Field(default_factory=list)
    """Files with steps of your own, relative to the recipe; they run only with `--allow-code`."""
    dataset: str | dict[str, str] | None = Field(default=None, examples=["TABLE"])
    """What the data set holds: a table, or several by the names of the configs that they become. Left out, the table
    that trained the model which the last `evaluate` is about; without training, what `format` wrote last."""
    push: PushConfig | None = None
    """Repositories of the Hub that a whole run sends what it has made to: models and the data set, with their cards. A
    run with `--limit`, `--until`, `--shard` or `--scripted` sends nothing."""
    steps: list[Any] = Field(
        min_length=1, examples=[[{"step": "generate", "model": "teacher", "prompt": "rationale/cot"}]]
    )
    """The chain."""

    @field_validator("budget", mode="before")
    @classmethod
    def _limits_something(cls, value: Any) -> Any:
        if (
            isinstance(value, dict)
            and value.keys() <= BudgetConfig.model_fields.keys()
            and not any(limit is not None for limit in value.values())
        ):
            raise FieldError(
                "it limits nothing", fix="write a number, such as usd: 5; for no limit take budget: out of the recipe"
            )
        return value

    @property
    def product(self) -> dict[str, str]:
        """The tables of `dataset:` by the names of their configs."""
        return {self.dataset: self.dataset} if isinstance(self.dataset, str) else self.dataset or {}


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of a recipe.

    Args:
        index: position in `steps:`, from 0.
        config: its fields.
        line: line in the recipe.
    """

    index: int
    config: LoopConfig
    line: int

    @property
    def label(self) -> str:
        """How messages name it: `steps[3] (loop)`."""
        return f"steps[{self.index}] (loop)"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a recipe.

    Args:
        index: position in `steps:`, from 0; of a step in a loop, the loop's.
        step: the step.
        config: its checked config.
        references: all that the config names.
        line: line in the recipe.
        loop: the loop that it is in.
        inner: position in the loop, from 0.
        round: round of the loop, from 1; 0 before it is run.
    """

    index: int
    step: Step
    config: StepConfig
    references: tuple[Reference, ...]
    line: int
    loop: Loop | None = None
    inner: int = 0
    round: int = 0

    def list_names(self, *kinds: Kind) -> list[str]:
        """What the step names of some kinds, in the order of its fields."""
        return [reference.value for reference in self.references if reference.kind in kinds]

    def list_models(self) -> list[str]:
        """The models that the step names, each once and without its version."""
        models = (reference.model.name for reference in self.references if reference.kind == "model")
        return list(dict.fromkeys(models))

    @property
    def outputs(self) -> list[str]:
        """Names of the tables that it writes; of one that it gives no name, `#3`."""
        return self.list_names("new table") or [self.unnamed]

    @property
    def merged(self) -> list[str]:
        """Names of the tables that it reads in place of one `input`; none of another step."""
        return resolve([f"{{{self.step.merges}}}"], self.config) if self.step.merges else []

    @property
    def trains(self) -> bool:
        """Whether it makes a new version of a model."""
        return bool(self.list_names("student"))

    @property
    def at(self) -> tuple[str | int, ...]:
        """Where it stands in the recipe."""
        return ("steps", self.index) if self.loop is None else ("steps", self.index, "loop", "steps", self.inner)

    @property
    def key(self) -> str:
        """Its position as text: `3`, or `5.0` for the first step of a loop."""
        return str(self.index) if self.loop is None else f"{self.index}.{self.inner}"

    @property
    def place(self) -> tuple[int, ...]:
        """What sets it apart from all other steps and rounds."""
        return (self.index,) if self.loop is None else (self.index, self.inner, self.round)

    @property
    def unnamed(self) -> str:
        """What its table is called where it has no name."""
        return f"#{self.key}"

    @property
    def label(self) -> str:
        """How messages name it: `steps[0] (generate)`, `steps[5].loop.steps[0] (train), round 2`."""
        at = f"steps[{self.index}]" if self.loop is None else f"steps[{self.index}].loop.steps[{self.inner}]"
        return f"{at} ({self.step.name})" + (f", round {self.round}" if self.round else "")

    @property
    def labels(self) -> list[str]:
        """How messages name it in each round of its loop."""
        rounds = range(1, self.loop.config.rounds + 1) if self.loop is not None else [0]
        return [replace(self, round=number).label for number in rounds]


@dataclass(slots=True)
class Recipe:
    """A recipe whose every field was checked.

    Args:
        file: as messages name it.
        folder: where its relative paths start.
        source: its values and lines, overrides applied.
        head: the top level.
        data: tables to start from.
        models: model configs by name.
        steps: the chain, those of loops in their place.
        loops: loops by their position in `steps:`.
        prompts: prompts by the name that steps use.
        registry: the steps it may use.
        allow_code: whether code named by the recipe may run.
        written: of each table, the columns that steps have written into it; its other columns are the data's.
        terms: of each model, what terms and licences say of training on its outputs; none where nothing is known.
        aliases: models that are named by what they are good for, by their names in the recipe.
        scripted: whether it is tried out with replies that are made up.
        arm: which of `arms:` it is, `main` for the chain as it stands; None where there are none.
        training_seed: which of `seeds:` it trains with; None where there are none.
        suffix: what the names of its own files end in; empty for the chain as it stands with the first seed.
        variants: the other arms and seeds, in the order in which they are run.
    """

    file: str
    folder: Path
    source: Source
    head: RecipeFile
    registry: Registry
    allow_code: bool = False
    data: dict[str, TableSource] = field(default_factory=dict)
    models: dict[str, ModelConfig] = field(default_factory=dict)
    steps: list[PlannedStep] = field(default_factory=list)
    loops: dict[int, Loop] = field(default_factory=dict)
    prompts: dict[str, Prompt] = field(default_factory=dict)
    written: dict[str, frozenset[str]] = field(default_factory=dict)
    terms: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    scripted: bool = False
    arm: str | None = None
    training_seed: int | None = None
    suffix: str = ""
    variants: list["Recipe"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.head.name

    @property
    def marks(self) -> dict[str, Any]:
        """What the report's entries say of the arm and the seed that they are of."""
        return {k: v for k, v in (("arm", self.arm), ("seed", self.training_seed)) if v is not None}

    @property
    def learnt_from(self) -> set[str]:
        """Models whose outputs end in rows or decide which rows there are; what `evaluate` alone asks only measures."""
        return {name for planned in self.steps if not planned.step.aside for name in planned.list_models()}
