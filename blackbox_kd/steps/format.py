"""Writes TRL's columns: the messages that the student will see, and what it shall say.

Reads    {completion}, the prompt's variables
Writes   prompt, completion
Drops    empty completion
Calls    none
Source   TRL, conversational prompt-completion data: the loss is on the completion only
"""

from blackbox_kd.registry import Column, PromptName, StepConfig, row_step
from blackbox_kd.schema import Context, Dropped, Row


class Config(StepConfig):
    """Fields of `format`."""

    prompt: PromptName = "student/plain"
    """Template of what the student sees; give `evaluate` the same one. What the teacher saw besides is left out."""
    completion: Column = "response"
    """Column with what the student shall say."""


@row_step(reads=["{completion}"], writes=["prompt", "completion"], drops=["empty completion"])
async def run(row: Row, config: Config, ctx: Context) -> Row | Dropped:
    text = str(row[config.completion]).strip()
    if not text:
        return Dropped(row, "empty completion")
    completion = [{"role": "assistant", "content": text}]
    return row | {"prompt": ctx.render(config.prompt, row), "completion": completion}
