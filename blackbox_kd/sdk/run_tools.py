"""Tools that are run: a model is asked on with what its calls have brought, until it calls nothing more."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from blackbox_kd import json_text
from blackbox_kd.errors import ReplyFault, SetupError
from blackbox_kd.schema import Ask, Message, Reply, T, Usage
from blackbox_kd.sdk.context import Context
from blackbox_kd.sdk.offered_tools import ToolsConfig

GUESSED_CALLS = 2
"""Replies to a question that call tools, for the estimate."""
MOST_SECONDS = 60
"""That a tool may take, before the model is told that it took too long."""


class RunsToolsConfig(ToolsConfig):
    """Fields of a step that can run the tools that it offers."""

    run_tools: str | None = None
    """A Python file beside the recipe with a function for each of `tools`: what the model calls is run, with
    --allow-code, and the model is asked on with what came of it, an error too, until it calls nothing."""
    most_calls: int = Field(default=8, ge=1, le=1000)
    """With `run_tools`, how many replies to a question may call tools; then the row fails."""

    def files(self) -> dict[str, str]:
        """See `run_tools`."""
        return {} if self.run_tools is None else {"run_tools": self.run_tools}

    def runs_code(self) -> set[str]:
        """What is called is a function of the recipe's author."""
        return {"run_tools"}

    @property
    def guessed_replies(self) -> int:
        """Replies to a question, for the estimate: where calls are run, a few before the last one."""
        return 1 if self.run_tools is None else min(GUESSED_CALLS, self.most_calls) + 1

    def find_unrun(self) -> list[tuple[str, str, str]]:
        """Fields that nothing would read, for `problems`."""
        if self.run_tools is not None and self.tools is None:
            return [("run_tools", "run_tools: runs what tools: offers, and there are none.", "add tools: FILE.json")]
        if self.run_tools is None and "most_calls" in self.model_fields_set:
            return [("most_calls", "most_calls: means nothing without run_tools:.", "add run_tools: FILE.py")]
        return []

    async def converse(self, model: str, ask: Ask[T], ctx: Context) -> tuple[list[Reply[T]], list[Message]]:
        """The replies to a question, the last of which calls nothing if calls are run, and what was said from it on.

        Raises:
            CallError: a reply could not be had, or there are calls in more than `most_calls` of them.
            SetupError: there is no function for a tool.
        """
        replies, said = [await ctx.ask(model, ask)], list[Message]()
        while self.run_tools is not None:
            calls = [{name: call[name] for name in ("id", "type", "function")} for call in replies[-1].tool_calls]
            said.append({"role": "assistant", "content": replies[-1].text, **({"tool_calls": calls} if calls else {})})
            if not calls:
                break
            if len(replies) > self.most_calls:
                raise ReplyFault(f"it calls tools in more than {self.most_calls} replies", kind="tool_calls")
            said += await asyncio.gather(*(_run(call, self.run_tools, ctx) for call in calls))
            replies.append(await ctx.ask(model, replace(ask, messages=[*ask.messages, *said])))
        return replies, said


async def _run(call: dict[str, Any], file: str, ctx: Context) -> Message:
    """The message with what a call gives back."""
    name = call["function"]["name"]
    function = ctx.find_function(file, name)
    try:
        arguments = json_text.decode(call["function"]["arguments"])
        value = await asyncio.wait_for(asyncio.to_thread(function, **arguments), MOST_SECONDS)
    except SetupError:
        raise
    except TimeoutError:
        value = f"error: it took more than {MOST_SECONDS} seconds"
    except Exception as error:  # the model is told, and may call it rightly
        value = f"error: {type(error).__name__}: {error}"
    return {"role": "tool", "tool_call_id": call["id"], "name": name, "content": json_text.write_text(value)}


def add_up(replies: Sequence[Reply[Any]]) -> dict[str, Any]:
    """What several replies to one row took together, as columns of the row."""
    costs, ends = [reply.cost_usd for reply in replies], [reply.finish_reason for reply in replies]
    reasoning = [reply.reasoning for reply in replies if reply.reasoning]
    return {
        "finish_reason": next((end for end in ends if end not in ("stop", "tool_calls")), ends[-1] if ends else "stop"),
        "usage": sum((reply.usage for reply in replies), Usage()).entry(),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        **({"reasoning": "\n\n".join(reasoning)} if reasoning else {}),
    }
