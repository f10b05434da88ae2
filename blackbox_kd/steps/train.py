"""Fine-tunes a model on a table; the result is the model's next version.

Reads    nothing by name: TRL's prompt and completion, or any shape that `shapes` knows
Writes   nothing
Drops    nothing
Calls    none
Source   Hu et al. 2021, arXiv:2106.09685 (LoRA); defaults from TRL's "LoRA without regret"
"""

from collections.abc import AsyncIterator
from typing import Literal

from pydantic import Field

from blackbox_kd.registry import StepConfig, StudentName, table_step
from blackbox_kd.schema import Context, Outcome, Table


class Config(StepConfig):
    """Fields of `train`."""

    model: StudentName
    """Model that is trained; later steps find the result under the same name."""
    method: Literal["sft"] = "sft"
    """`sft`: supervised fine-tuning, loss on the completion only."""
    start: Literal["latest", "base"] = "latest"
    """Version that training starts from."""
    adapter: Literal["lora", "full"] = "lora"
    """LoRA on all linear layers, or all weights."""
    r: int = Field(default=32, ge=1, le=512)
    """Rank of the LoRA matrices."""
    alpha: int | None = Field(default=None, ge=1)
    """Scale of LoRA; twice the rank if left out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of LoRA."""
    layers: float | None = Field(default=None, gt=0, le=1)
    """Share of the layers, counted from the top, that LoRA is put on; all if left out. Fewer train faster."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Highest learning rate; 2e-4 for LoRA and 2e-5 for all weights if left out."""
    epochs: float = Field(default=2.0, gt=0, le=1000)
    """Passes over the rows."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps, in place of `epochs`."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per optimizer step, over all devices."""
    max_length: int | None = Field(default=None, ge=8)
    """Most tokens of a row; if left out, as long as the longest row and at most 4096."""
    long_rows: Literal["error", "drop"] = "error"
    """What happens to rows above `max_length`; they are never cut in silence."""
    packing: bool | None = None
    """Several rows in one sequence; if left out, on a GPU with enough rows."""
    eval_share: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the rows that is kept from training for the evaluation loss; the best checkpoint by it is kept."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of training; the run's seed if left out."""


PLAN = {"step", "input", "output", "model", "method"}
"""Fields that say what is trained, not how."""


@table_step()
async def run(table: Table, config: Config, ctx: Context) -> AsyncIterator[Outcome]:
    settings = config.model_dump(exclude=PLAN)
    settings["seed"] = ctx.seed if config.seed is None else config.seed
    await ctx.train(config.model, config.method, settings, table)
    for row in table:
        yield row
