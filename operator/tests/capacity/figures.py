"""Measures the figures of `docs/accuracy.md` and writes them between its markers: `make bench-capacity`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.capacity import samples
from tests.capacity.rows import GIB, Scored, scored
from tests.gpu.compare import compare, read
from tests.gpu.compare import table as gpu_table
from tests.oracle import test_kv, test_weights
from tests.oracle.conftest import VARIANTS, ask
from tests.oracle.engine import Answered
from tools.documents import DOCS, table, write
from triton_vllm_operator.capacity import (
    EngineSettings,
    gpu_by_product,
    plan,
    shape_from_config,
    with_suggestions,
)

#: Models generated for the oracle, each with four settings.
MODELS = 276
TIMED = {
    "Llama-3.1-8B": samples.LLAMA_31_8B, "Llama-3.3-70B": samples.LLAMA_33_70B, "Mixtral-8x7B": samples.MIXTRAL_8X7B,
    "Gemma-3-27B": samples.GEMMA3_27B, "Qwen3.8-27B (hybrid)": samples.QWEN38_27B,
    "DeepSeek-V2-Lite (MLA)": samples.DEEPSEEK_V2_LITE,
}  # fmt: skip


def oracle() -> str:
    """Cases and differences per vLLM version."""
    rows = [_compared(ask(variant, MODELS)) for variant in VARIANTS]
    head = ("vLLM", "KV cases", "refused by both", "KV differences", "weights cases", "architectures", "differences")
    return table(head, rows)


def _compared(answered: list[Answered]) -> list[object]:
    kv = [theirs for one in answered for theirs in one.answer["kv"]]
    weights = [one for one in answered if one.case["family"] in test_weights.COMPARED and test_weights.current(one)]
    return [
        answered[0].answer["version"],
        len(kv),
        sum("refused" in theirs for theirs in kv),
        sum(len(test_kv.differing(one)) for one in answered),
        len(weights),
        len({one.case["config"]["architectures"][0] for one in weights}),
        sum(len(test_weights.differing(one)) for one in weights),
    ]


#: Published rules for what is left to the KV cache, in GiB: (requested, weights) of one GPU -> available.
RULES: dict[str, Callable[[float, float], float]] = {
    "share less weights (accelerate, hf-mem)": lambda requested, weights: requested - weights,
    "KAITO's overhead (2.3 GiB + 5 % of weights)": lambda requested, weights: requested - 1.05 * weights - 2.3,
    "llm-d's constants (5.6 + 0.15 GiB)": lambda requested, weights: requested - weights - 5.75,
}


def logged_rows() -> str:
    """Error of each rule and of the plan on the rows that other people's engines logged."""
    rows = scored()
    head = ("row", "model", "logged GiB", "plan: low to high", "verdict", "plan", *RULES)
    return table(head, [*map(_row, rows), _worst(rows)])


def _row(row: Scored) -> list[object]:
    interval = row.answer.kv_bytes
    return [
        row.name, row.model, f"{row.logged_gib:.2f}", f"{interval.low / GIB:.2f} to {interval.high / GIB:.2f}",
        row.answer.verdict, f"{row.error:+.1%}", *(f"{error:+.1%}" for error in _rule_errors(row)),
    ]  # fmt: skip


def _rule_errors(row: Scored) -> list[float]:
    requested, weights = row.answer.requested_bytes / GIB, row.answer.weights_bytes / GIB
    return [rule(requested, weights) / row.logged_gib - 1 for rule in RULES.values()]


def _worst(rows: Sequence[Scored]) -> list[object]:
    by_row = [[row.error, *_rule_errors(row)] for row in rows]
    columns = [[abs(error) for error in column] for column in zip(*by_row, strict=True)]
    counted = Counter(row.answer.verdict for row in rows)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counted.items())
    bounds = [f"{median(errors):.1%} / {max(errors):.1%}" for errors in columns]
    return ["", "median / worst", "", "", verdicts, *bounds]


def gpu_rows() -> str:
    """Starts on a real GPU: each measured term with its planned interval."""
    rows = read(Path(__file__).with_name("gpu_rows.jsonl"))
    found = compare(rows)
    errors = [abs(one.error) for one in found if one.started]
    outside = sum(bool(one.wrong) for one in found)
    card = "{gpu}, driver {driver}, vLLM {vllm}, torch {torch}".format_map(rows[0])
    return (
        f"{len(found)} starts on one {card} (llama-tp2: on two), GiB with the planned interval in brackets:\n\n"
        f"{gpu_table(found)}\n"
        f"Outside their plan: {outside}. Error of the expected KV cache over the {len(errors)} that started: median "
        f"{median(errors):.2%}, worst {max(errors):.1%}.\n"
    )


def times() -> str:
    """Processor time of one plan and of one search for the smallest change, in milliseconds, warm."""
    small, others = gpu_by_product("NVIDIA-L4"), [gpu_by_product("NVIDIA-L40S"), gpu_by_product("NVIDIA-H200")]
    rows = []
    for name, config in TIMED.items():
        shape = shape_from_config(config)
        one = _milliseconds(partial(plan, shape, EngineSettings(), others[1]), 30)
        search = _milliseconds(partial(with_suggestions, shape, EngineSettings(), small, others), 5)
        rows.append([name, f"{one:.1f}", f"{search:.0f}"])
    return table(("model", "one plan (ms)", "one search (ms)"), rows)


def _milliseconds(work: Callable[[], object], times_run: int) -> float:
    work()
    taken = []
    for _ in range(times_run):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return 1000 * median(taken)


def main() -> None:
    """Measure all figures and write them into the document."""
    parts = [
        "Against vLLM's own code (`operator/tests/oracle`):\n", oracle(),
        "Available KV cache against logged rows (error of the expected size; the rules get our weights and the row's "
        "own share):\n", logged_rows(),
        gpu_rows(),
        "Processor time:\n", times(),
    ]  # fmt: skip
    write(DOCS / "accuracy.md", "make bench-capacity", "\n".join(parts))


if __name__ == "__main__":
    main()
