"""What was seen of the rows of a training, in lines for a screen or a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blackbox_kd.printable import escape_markdown, escape_text

WIDTH = 30
"""Characters of the longest bar."""
LEGEND = "x marks what is trained; the rest is read, and not learnt"


def describe(seen: Mapping[str, Any]) -> Iterator[str]:
    """The counts, each in a line."""
    yield f"rows: {seen['rows']:,}, tokens: {seen['tokens']:,}, of which {seen['trained_tokens']:,} are trained"
    longest = f"longest row: {seen['longest']:,} tokens, half of them up to {seen['median']:,}"
    yield f"{longest}; max_length: {seen['max_length']:,}; rows longer than that: {seen['too_long']:,}"
    ends = ", ".join(f"{end} ({count:,} answers)" for end, count in seen["ends"].items())
    yield f"end of turn that is trained: {ends or 'none'}"
    if seen["turns"]:
        yield f"turns of the assistant: {seen['turns']:,} learnt, {seen['turns_left_out']:,} read alone"
    tokens = ", ".join(f"{token} {count:,} times" for token, count in seen["control_tokens"].items())
    yield f"control tokens in the text of rows, made harmless: {tokens or 'none'}"
    yield f"rows that stand there more than once, token by token: {seen['duplicates']:,}"
    yield f"rows kept back for the evaluation loss: {seen['evaluation_rows']:,}"


def draw_lengths(seen: Mapping[str, Any]) -> Iterator[str]:
    """The histogram of lengths, with the limit marked."""
    bars: Sequence[Mapping[str, Any]] = seen["lengths"]
    most, limit = max((bar["rows"] for bar in bars), default=0), seen["max_length"]
    width = max((len(f"{bar['up_to']:,}") for bar in bars), default=0)
    for bar in bars:
        drawn = "#" * -(-WIDTH * bar["rows"] // most)
        mark = "  <- max_length" if bar["above"] < limit <= bar["up_to"] else ""
        mark = "  (too long)" if bar["above"] >= limit and bar["rows"] else mark
        yield f"{bar['above'] + 1:>{width},} to {bar['up_to']:>{width},}  {drawn} {bar['rows']:,}{mark}"


def draw_example(stretches: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row as it is trained on, a stretch a line."""
    for stretch in stretches:
        text = escape_text(stretch["text"]).replace("\n", "⏎")
        yield f"{'x' if stretch['trained'] else ' '} | {text}".rstrip()


def describe_memory(memory: Mapping[str, Any]) -> Iterator[str]:
    """What the training will take, as far as that can be told before."""
    gib = {name: f"{memory[f'{name}_mb'] / 1024:,.1f} GiB" for name in ("total", "free")}
    yield (
        f"memory: about {gib['total']} (an estimate from the config and the lengths; training measures it), of "
        f"{gib['free']} that are free on {memory['device']}"
    )
    share = 100 * memory["trained_parameters"] / memory["parameters"]
    yield (
        f"weights {memory['weights_mb']:,.0f} MiB ({memory['parameters'] / 1e6:,.0f} million parameters; "
        f"{memory['trained_parameters'] / 1e6:,.1f} million are trained, {share:.1f} %), gradients and optimizer "
        f"{memory['optimizer_mb']:,.0f} MiB, activations {memory['activations_mb']:,.0f} MiB for "
        f"{memory['tokens_a_pass']:,} tokens at once"
        + (", computed twice to save memory" if memory["checkpointing"] else "")
    )


def write_section(seen: Mapping[str, Any], told: Sequence[str]) -> Iterator[str]:
    """The lines of a training in report.md, below its item of a list, without warnings that are `told` there."""
    yield from (f"  - {escape_markdown(line)}" for line in describe(seen))
    yield from (f"  - warning: {escape_markdown(line)}" for line in seen["warnings"] if line not in told)
    for name, stretches in seen["example"].items():
        what = "a row" if len(seen["example"]) == 1 else f"{name} of a row"
        yield from (f"  - {what} as it was trained on; {LEGEND}:", "")
        yield from (f"        {line}" for line in draw_example(stretches))
        yield ""
