"""Fine-tunes a model on a table; the result is the model's next version.

Reads    nothing by name: TRL's prompt and completion (chosen and rejected), or any shape that `shapes` knows
Writes   nothing
Drops    nothing
Calls    none that is paid: a teacher at hand is asked in the training's own process
Source   Hu et al. 2021, arXiv:2106.09685 (LoRA); of each method the paper that `training/METHOD.py` names
"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from blackbox_kd.sdk import (
    Adapter,
    Column,
    Context,
    Field,
    Outcome,
    StepConfig,
    StudentName,
    Table,
    TrainedName,
    WeightsModel,
    table_step,
)
from blackbox_kd.weights.methods import CONFIGS, DEFAULTS, ONLY, TAUGHT, Method, choose_rate


class Load(BaseModel):
    """How weights are held that are not trained themselves."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bits: Literal[4, 8]
    """Bits of a weight: 4 (NF4, quantised twice) or 8."""


class SameUpdates(BaseModel):
    """As many updates as another model has had, for a control arm."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    of: TrainedName = Field(alias="as")
    """The other model."""


class Config(StepConfig):
    """Fields of `train`."""

    model: StudentName
    """Model that is trained; later steps find the result under the same name."""
    method: Method = "sft"
    """`sft`: supervised fine-tuning, loss on the completion only. `dpo`: direct preference optimisation on rows with
    chosen and rejected, of a model that was fine-tuned before; the reference is that model as it was. `kto`: answers
    that are good or bad each for itself, as the column `label` says, or else `correct` (a step `format` leaves out
    answers of the data whose `label` is false). With a `teacher` whose weights are at hand, what it would say at each
    token: `distill` of texts that the student writes under way, `gkd` of these and of the rows' answers, `gold`
    likewise of a teacher with other tokens. `topk`: what a teacher told of the likeliest tokens when it wrote or read
    the rows' answers."""
    teacher: WeightsModel | None = None
    """Model whose probabilities are learnt, for `method: distill`, `gkd` and `gold`: one of provider transformers. For
    the first two it must have the tokens of the student."""
    start: Literal["latest", "base"] = "latest"
    """Version that training starts from."""
    adapter: Literal["lora", "full"] = "lora"
    """LoRA on all linear layers, or all weights."""
    r: int = Field(default=32, ge=1, le=512)
    """Rank of the LoRA matrices."""
    alpha: int | None = Field(default=None, ge=1)
    """Scale of LoRA; twice the rank if left out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of LoRA; for `method: sft`, `distill` and `topk`."""
    layers: float | None = Field(default=None, gt=0, le=1)
    """Share of the layers, counted from the top, that LoRA is put on; all if left out. Fewer train faster."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Highest learning rate. If left out, for LoRA 2e-4 with `method: sft`, `gkd` and `topk`, 5e-6 with `dpo`, 1e-5
    with `kto` and `distill`, 1e-6 with `gold`; for all weights a tenth of it."""
    epochs: float | None = Field(default=None, gt=0, le=1000)
    """Passes over the rows; if left out, 2 for `method: sft` and `topk`, 1 for all others."""
    max_steps: Annotated[int, Field(ge=1)] | SameUpdates | None = None
    """Optimizer steps, in place of `epochs`; `{as: student}` are as many as that model has learnt in, over all its
    trainings up to the version that its name means."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per optimizer step, over all devices."""
    max_length: int | None = Field(default=None, ge=8)
    """Most tokens of a row; if left out, as long as the longest row and at most 4096. With chosen and rejected, a row
    is as long as the longer of the two."""
    long_rows: Literal["error", "drop"] = "error"
    """What happens to rows above `max_length`; they are never cut in silence."""
    turns: Literal["last", "all"] = "last"
    """Which turns of the assistant are learnt, for `method: sft`: the last one of a conversation, or all. A turn whose
    own `weight` is 0 is never learnt."""
    packing: bool | None = None
    """Several rows in one sequence, for `method: sft`; if left out, on a GPU with enough rows."""
    eval_share: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the rows that is kept from training for the evaluation loss; the best checkpoint by it is kept. Rows of
    one prompt, and the turns of one conversation, are never on both sides."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without a better evaluation loss, after which training ends; with `eval_share`."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    beta: float | None = Field(default=None, ge=0, le=100)
    """How strongly the reference holds the model back, for `method: dpo` and `kto`; 0.1 if left out. For `distill` and
    `gkd` which divergence is learnt by, from 0 (that of the teacher from the student, which covers all that the teacher
    would say) to 1 (that of the student from the teacher, which keeps to what it would say most); 1 and 0.5 if left
    out."""
    loss: Literal["sigmoid", "hinge"] | None = None
    """What is made of the difference between the two texts of a pair, for `method: dpo`: `sigmoid` if left out; `hinge`
    learns no more from a pair once its difference is 1 / `beta`, as PLaD has it."""
    temperature: float | None = Field(default=None, gt=0, le=100)
    """Temperature at which the student writes, for `method: gkd` and `gold`; 0.9 if left out. For `distill` that of the
    two distributions as well, for `topk` that of what the teacher told; 1 if left out."""
    on_policy: float | None = Field(default=None, ge=0, le=1)
    """Probability that the student writes the texts of an update, in place of the rows' answers, for `method: gkd` and
    `gold`; 0.5 if left out."""
    top: Column | None = None
    """Column with the likeliest tokens at each token of the answer, for `method: topk`; `top_logprobs` if left out."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of a text that the student writes; if left out, 512 for `method: distill`, 128 for `gkd` and
    `gold`."""
    sft_weight: float | None = Field(default=None, ge=0, le=100)
    """Weight of the plain loss on the chosen text beside the preference loss, which has 1, for `method: dpo`; 0.2 if
    left out. Without it both texts can become less likely, the rejected one only faster."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of training; the run's seed if left out."""
    gpus: int | None = Field(default=None, ge=1)
    """Most GPUs that training uses; all if left out. What is learnt does not depend on it."""
    accelerate: str | None = None
    """A config of `accelerate launch`, as `accelerate config` writes it, relative to the recipe: for FSDP2, DeepSpeed
    or several machines."""
    continues: Literal["adapter", "merge"] = Field(default="adapter", alias="continue")
    """How a training of LoRA goes on from an adapter that is there already: it trains that one on, or merges it into
    the weights and puts a new one on them; what is left then is whole weights."""
    load: Load | None = None
    """Holds the weights under LoRA in fewer bits (QLoRA): `{bits: 4}`."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of the weights as they are loaded; if left out, bfloat16 for LoRA on a GPU and float32 elsewhere."""
    attn: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = None
    """How attention is computed; if left out, what transformers takes for the model."""
    checkpoint_minutes: float = Field(default=10, gt=0)
    """Minutes after which a checkpoint is written, besides those by steps: that much is lost at most by a kill."""
    report_to: list[Literal["trackio", "tensorboard", "wandb"]] = Field(default_factory=list)
    """Where losses and settings are shown as well. Nothing is sent anywhere if left out; `wandb` sends them to its
    account, `trackio` and `tensorboard` keep them on this machine, unless their own settings say otherwise."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Any other field of TRL's config for the method, such as SFTConfig, passed on as it is: `{optim: adafactor}`."""
    lora: dict[str, Any] = Field(default_factory=dict)
    """Any other field of PEFT's LoraConfig, passed on as it is: `{use_dora: true}`."""

    @model_validator(mode="after")
    def _name_top(self) -> Self:
        if self.method == "topk" and self.top is None:
            self.top = "top_logprobs"
        return self

    def problems(self) -> list[tuple[str, str, str]]:
        """Fields of other methods, and fields that do not go together."""
        found = list(self._find_idle())
        if self.method in TAUGHT and self.teacher is None:
            found.append(("teacher", f"method: {self.method} learns from a teacher.", "teacher: MODEL"))
        if self.beta is not None and self.method in TAUGHT and self.beta > 1:
            found.append(("beta", f"{self.beta} is no share of two divergences.", "write a number from 0 to 1"))
        if self.beta == 0 and self.method in ("dpo", "kto"):
            found.append(("beta", "0 would let nothing hold the model back, and teach nothing.", "beta: 0.1"))
        if self.method == "kto" and self.batch_size < 2:
            what = "method: kto measures an answer by others of its update, and there are none."
            found.append(("batch_size", what, "batch_size: 16"))
        if self.adapter == "full":
            whole = "has no effect with adapter: full, which trains all weights."
            given = self.model_dump(include={"lora", "continues"}, exclude_defaults=True, by_alias=True)
            found += [(name, f"{name}: {whole}", "take it out, or adapter: lora") for name in given]
            if self.load is not None:
                found.append(("load", "weights of few bits cannot be trained themselves.", "adapter: lora"))
        elif self.load is not None and self.continues == "merge":
            what = "an adapter cannot be merged into weights of few bits without loss."
            found.append(("continue", what, "take load: out, or continue: adapter"))
        if self.layers is not None and "layers_to_transform" in self.lora:
            found.append(
                ("layers", "layers: and lora.layers_to_transform: both choose layers.", "take one of them out")
            )
        if self.patience is not None and not self.eval_share:
            what = "patience: has no effect without eval_share: there is no evaluation loss to get better."
            found.append(("patience", what, "eval_share: 0.1, or take patience: out"))
        if self.patience is not None and (choosing := sorted(BEST & self.trl.keys())):
            what = f"patience: goes by the best checkpoint, which trl: {{{', '.join(choosing)}}} chooses otherwise."
            found.append(("patience", what, "take one of them out"))
        for name, value in (("sft_weight", self.sft_weight), ("loss", self.loss)):
            if value is not None and {"loss_type", "loss_weights"} & self.trl.keys():
                what = f"{name}: is a part of the loss, which trl: {{loss_type, loss_weights}} writes as a whole."
                found.append((name, what, "take one of them out"))
        return found

    def _find_idle(self) -> Iterator[tuple[str, str, str]]:
        """Fields that have no effect with the method."""
        for name, value in self.model_dump(include={*ONLY}, exclude_defaults=True).items():
            if self.method not in ONLY[name]:
                others = " or ".join(ONLY[name])
                what = f"{name}: {value} has no effect with method: {self.method}, only with method: {others}."
                yield name, what, f"take it out, or method: {ONLY[name][0]}"

    def passes_on(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Fields of TRL and of PEFT."""
        return {"trl": (CONFIGS[self.method], self.trl), "lora": ("peft.tuners.lora.config:LoraConfig", self.lora)}

    def new_adapter(self) -> Adapter | None:
        """What PEFT would make, where LoRA is not merged."""
        if self.adapter == "full" or self.continues == "merge":
            return None
        shape = {"r": self.r, "alpha": self.alpha or 2 * self.r, "dropout": self.dropout, "layers": self.layers}
        given = frozenset({*self.model_fields_set, *self.lora}) & {*shape, *self.lora}
        return Adapter(shape | self.lora, given, self.start == "base")

    def files(self) -> dict[str, str]:
        """See `accelerate`."""
        return {} if self.accelerate is None else {"accelerate": self.accelerate}

    def runs_on(self) -> set[str]:
        """See `gpus` and `accelerate`."""
        return RUNS_ON

    def amounts(self) -> dict[str, Any]:
        """Passes, updates, and rows of an update."""
        return self.model_dump(include={"epochs", "max_steps", "batch_size"})

    def training_seed(self) -> int | None:
        """See `seed`."""
        return self.seed

    def learns_by(self) -> str:
        """See `method`."""
        return self.method

    def same_tokens(self) -> dict[str, str]:
        """Student and teacher, where each token of a text is compared."""
        if self.teacher is None or self.method == "gold":
            return {}
        return {"model": self.model, "teacher": self.teacher}

    def calls_by_model(self) -> dict[str, float]:
        """None: a teacher's weights are read where the training runs."""
        return {}

    def needs(self) -> dict[str, str]:
        """What the training process imports."""
        quantises = {"bitsandbytes": "quantised"} if self.load is not None else {}
        return dict.fromkeys(PACKAGES, "train") | quantises | {name: name for name in self.report_to}

    def settings(self) -> dict[str, Any]:
        """How the method trains, with its numbers in place of what was left out."""
        chosen = self.model_dump(exclude=PLAN)
        defaults = {"learning_rate": choose_rate(self.method, self.adapter), **DEFAULTS[self.method]}
        chosen = {name: value for name, value in chosen.items() if value is not None or name not in RUNS_ON}
        # A job of an earlier version says nothing of these, and is the same job.
        given = self.model_dump(include=ADDED, exclude_defaults=True)
        chosen = {name: value for name, value in chosen.items() if name not in ADDED - given.keys()}
        adapter = self.new_adapter()
        chosen |= {"given": sorted(adapter.given)} if adapter is not None and adapter.given else {}
        return chosen | {name: value for name, value in defaults.items() if chosen.get(name) is None}


PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
RUNS_ON = {"gpus", "accelerate"}
"""Fields that say what training runs on; it learns the same anywhere."""
ADDED = {
    *("turns", "continues", "load", "dtype", "attn", "trl", "lora", "checkpoint_minutes", "patience", "report_to"),
    *("teacher", "loss", "temperature", "on_policy", "max_tokens", "top"),
}
"""Fields that came later: a job holds them only where they are not as they would be if left out."""
BEST = {"load_best_model_at_end", "metric_for_best_model", "greater_is_better", "eval_strategy", "save_strategy"}
"""Fields of TRL that say whether there is a best checkpoint, and which one it is."""
PLAN = {"step", "input", "output", "model", "method"}
"""Fields that say what is trained, not how."""


@table_step()
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    settings = config.settings()
    settings["seed"] = ctx.seed if config.seed is None else config.seed
    await ctx.train(config.model, config.method, settings, table)
    for row in table:
        yield row
