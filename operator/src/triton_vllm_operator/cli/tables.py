"""The plan for people: the verdict, a plot of one GPU's memory, and the numbers behind it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from triton_vllm_operator.capacity import Interval, Plan

GIB = 2**30
WIDTH = 64
_COLOURS = {"Fits": "green", "Tight": "yellow", "DoesNotFit": "red"}
#: (name, glyph, glyph where only ASCII can be printed, colour), in the order of the plot.
_USES = (
    ("weights", "█", "#", "blue"), ("activation", "▓", "a", "magenta"), ("CUDA graphs", "▒", "g", "yellow"),
    ("non-torch", "▚", "n", "red"), ("KV cache", "░", "-", "green"), ("outside the engine's share", "·", ".", "white"),
)  # fmt: skip


def show(console: Console, plan: Plan) -> None:
    """Print the plan."""
    console.print(Text(f"{plan.verdict}", style=f"bold {_COLOURS[plan.verdict]}"), plan.message, soft_wrap=True)
    if plan.weights_bytes:
        console.print(bar(plan, ascii_only=not _unicode(console)), soft_wrap=True)
        console.print(memory(plan))
    console.print(cache(plan))
    for suggestion in plan.suggestions:
        console.print(f"  would fit: {suggestion.message} ({suggestion.concurrency:.2f} full-length requests at once)",
                      soft_wrap=True, markup=False)  # fmt: skip


def _unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")


def uses(plan: Plan) -> list[int]:
    """Expected bytes by use, in the order of the plot; together the card's memory."""
    spent = [plan.weights_bytes, plan.overhead.activation.expected, plan.overhead.cuda_graph.expected,
             plan.overhead.non_torch.expected, max(plan.kv_bytes.expected, 0)]  # fmt: skip
    return [*spent, max(plan.total_bytes - sum(spent), 0)]


def bar(plan: Plan, *, ascii_only: bool = False) -> Text:
    """One line of ``WIDTH`` cells, each a share of the card's memory, and the glyphs' meaning."""
    sizes, text = uses(plan), Text()
    whole, done, drawn = max(sum(sizes), 1), 0, 0
    for (_, glyph, plain, colour), size in zip(_USES, sizes, strict=True):
        done += size
        cells = round(done / whole * WIDTH) - drawn
        drawn += cells
        text.append((plain if ascii_only else glyph) * cells, style=colour)
    text.append("\n")
    for (name, glyph, plain, colour), size in zip(_USES, sizes, strict=True):
        text.append(f"{plain if ascii_only else glyph} ", style=colour)
        text.append(f"{name} {size / GIB:.2f}  ")
    return text


def memory(plan: Plan) -> Table:
    """Low, expected and high of each use, in GiB of one GPU."""
    table = Table("GiB of one GPU", "low", "expected", "high", box=None, pad_edge=False)
    exact = [("total", plan.total_bytes), ("the engine's share", plan.requested_bytes), ("weights", plan.weights_bytes)]
    for name, size in exact:
        table.add_row(name, "", f"{size / GIB:.2f}", "")
    uncertain = [("activation", plan.overhead.activation), ("CUDA graphs", plan.overhead.cuda_graph),
                 ("non-torch", plan.overhead.non_torch), ("KV cache", plan.kv_bytes)]  # fmt: skip
    for name, interval in uncertain:
        table.add_row(name, *_gib(interval))
    return table


def _gib(interval: Interval) -> list[str]:
    return [f"{value / GIB:.2f}" for value in (interval.low, interval.expected, interval.high)]


def cache(plan: Plan) -> Table:
    """What the KV cache holds, and for which engine."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("vLLM", plan.engine_version)
    table.add_row("GPUs a replica", str(plan.gpus_per_replica))
    table.add_row("maxModelLen", f"{plan.resolved.max_model_len} tokens")
    if plan.weights_bytes:
        table.add_row("KV cache", f"{plan.kv.tokens} tokens in {plan.kv.blocks} blocks of {plan.layout.block_size}")
        table.add_row("full-length requests at once", f"{plan.kv.concurrency:.2f}")
    return table
