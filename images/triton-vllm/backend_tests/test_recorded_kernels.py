"""What Triton's hook reports of a kernel becomes a line from which the image's build can compile it."""

from __future__ import annotations

import json
from typing import Any

from gpu.kernels import lines

# As Triton 3.7 reports it, shortened.
SPECIALIZATION = {
    "name": "vllm.v1.worker.gpu.sample.gumbel._temperature_kernel",
    "signature": {"logits_ptr": "*bf16", "vocab_size": "i32", "BLOCK_SIZE": "constexpr"},
    "constant_keys": [[2]],
    "constant_vals": [8192],
    "attrs_keys": [[0], [1], [2]],
    "attrs_vals": [[["tt.divisibility", 16]], [], []],
    "options": {"num_warps": 4, "num_ctas": 1, "num_stages": 3, "arch": "sm90", "debug": False},
    "key": "...",
    "target": {"backend": "cuda", "arch": 90, "warp_size": 32},
}


def recorded(module: str = "vllm.v1.worker.gpu.sample.gumbel", **changed: Any) -> dict[str, Any]:
    """A row of the recorder."""
    specialization = json.dumps(SPECIALIZATION | changed)
    return {"module": module, "name": "_temperature_kernel", "specialization": specialization}


def test_a_line_has_what_the_compiler_needs_and_nothing_of_the_gpu() -> None:
    assert [json.loads(line) for line in lines([recorded()])] == [
        {
            "module": "vllm.v1.worker.gpu.sample.gumbel",
            "name": "_temperature_kernel",
            "signature": SPECIALIZATION["signature"],
            "constants": [[[2], 8192]],
            "attributes": [[[0], [["tt.divisibility", 16]]]],
            "options": {"num_warps": 4, "num_ctas": 1, "num_stages": 3},
        }
    ]


def test_each_specialization_has_one_line_and_kernels_of_the_model_none() -> None:
    again, other = recorded(), recorded(constant_vals=[4096])
    assert len(lines([recorded(), again, other, recorded(module="torch._inductor.runtime")])) == 2
