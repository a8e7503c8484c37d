"""A plan as text: the verdict, a plot of one GPU's memory, and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Plan = Mapping[str, Any]  # as status.plan holds it, with status.chosen as `chosen` where something was chosen

GIB = 2**30
WIDTH = 64
_COLOURS = {"Fits": "green", "Tight": "yellow", "DoesNotFit": "red"}
# (name, glyph, glyph where only ASCII can be printed, colour), in the order of the plot.
_USES = (
    ("weights", "█", "#", "blue"), ("activation", "▓", "a", "magenta"), ("CUDA graphs", "▒", "g", "yellow"),
    ("non-torch", "▚", "n", "red"), ("KV cache", "░", "-", "green"), ("outside the engine's share", "·", ".", "white"),
)  # fmt: skip


def show(console: Console, plan: Plan) -> None:
    """Print the plan."""
    console.print(Text(plan["verdict"], style=f"bold {_COLOURS[plan['verdict']]}"), Text(plan["message"]),
                  soft_wrap=True)  # fmt: skip
    if plan["perGPU"]["weightsBytes"]:
        console.print(bar(plan, ascii_only=not _unicode(console)), soft_wrap=True)
        console.print(memory(plan))
        console.print(host(plan))
    console.print(cache(plan))
    for suggestion in plan["suggestions"]:
        requests = suggestion["concurrencyAtMaxModelLen"]
        console.print(f"  would fit: {suggestion['message']} ({requests:.2f} concurrent full-length requests)",
                      soft_wrap=True, markup=False)  # fmt: skip


def _unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")


def uses(plan: Plan) -> list[int]:
    """Expected bytes by use, in the order of the plot. They add up to the GPU's memory."""
    gpu = plan["perGPU"]
    uncertain = [gpu[name]["expected"] for name in ("activationBytes", "cudaGraphBytes", "nonTorchBytes")]
    spent = [gpu["weightsBytes"], *uncertain, max(gpu["kvCacheBytes"]["expected"], 0)]
    return [*spent, max(gpu["totalBytes"] - sum(spent), 0)]


def bar(plan: Plan, *, ascii_only: bool = False) -> Text:
    """A bar of `WIDTH` cells, each a share of the GPU's memory, and a legend."""
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
    """Low, expected and high estimate of each use, in GiB per GPU."""
    table, gpu = Table("GiB per GPU", "low", "expected", "high", box=None, pad_edge=False), plan["perGPU"]
    exact = [("total", "totalBytes"), ("the engine's share", "requestedBytes"), ("weights", "weightsBytes")]
    for name, key in exact:
        table.add_row(name, "", f"{gpu[key] / GIB:.2f}", "")
    uncertain = [("activation", "activationBytes"), ("CUDA graphs", "cudaGraphBytes"), ("non-torch", "nonTorchBytes"),
                 ("KV cache", "kvCacheBytes")]  # fmt: skip
    for name, key in uncertain:
        table.add_row(name, *(f"{gpu[key][end] / GIB:.2f}" for end in ("low", "expected", "high")))
    return table


def host(plan: Plan) -> Table:
    """Low, expected and high estimate of what the container takes, in GiB, and what to set."""
    account = plan["host"]
    table = Table("GiB per container", "low", "expected", "high", box=None, pad_edge=False)
    if "limitBytes" in account:
        table.add_row("limit, with sharedMemory", "", f"{account['limitBytes'] / GIB:.2f}", "")
    terms = [("processes", "processesBytes"), ("loading", "loadingBytes"), ("KV offload, pinned", "kvOffloadBytes"),
             ("multimodal caches", "multimodalCacheBytes"), ("/dev/shm", "sharedMemoryBytes"),
             ("memory", "memoryBytes"), ("ephemeral storage", "storageBytes")]  # fmt: skip
    for name, key in terms:
        table.add_row(name, *(f"{account[key][end] / GIB:.2f}" for end in ("low", "expected", "high")))
    return table


def cache(plan: Plan) -> Table:
    """Size of the KV cache, the engine's version, and the values that were chosen."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("vLLM", plan["engineVersion"])
    if (judged := plan.get("host", {})).get("verdict"):
        table.add_row("container", f"{judged['verdict']}: {judged['message']}")
    table.add_row("GPUs per replica", str(plan["gpusPerReplica"]))
    table.add_row("maxModelLen", f"{plan['maxModelLen']} tokens")
    if plan["perGPU"]["weightsBytes"]:
        blocks = f"{plan['blocks']} blocks of {plan['blockSize']}"
        table.add_row("KV cache", f"{plan['kvCacheTokens']} tokens in {blocks}")
        table.add_row("concurrent full-length requests", f"{plan['concurrencyAtMaxModelLen']:.2f}")
    if "chosen" in plan:
        values = [f"{name} {value}" for name, value in plan["chosen"].items() if name != "basis"]
        table.add_row("chosen", ", ".join(values) or "nothing: the spec sets everything")
    return table
