"""Writes `triton-kernels.jsonl` again: the Triton kernels that a start and each kind of request use on this GPU.

`python -m gpu.kernels` (`make record-triton-kernels`), after a change of vLLM's version.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu.exercise import GRAMMAR, exercise
from gpu.host import devices
from gpu.place import Place, started
from gpu.record import Record
from testing.server import HERE, end_cleanly_on_sigterm

# Kernels of the runner and the sampler do not depend on the model, but for whether its sizes are divisible by 16.
SHAPES = ("llama-3.1-8b",)
EXTENSION = "kernel_recorder.RecordingWorker"
OPTIONS = ("num_warps", "num_ctas", "num_stages")


def row(recorded: dict[str, Any]) -> dict[str, Any]:
    """What `compile-triton-kernels.py` needs of what Triton's hook reports."""
    found = json.loads(recorded["specialization"])
    return {
        "module": recorded["module"],
        "name": recorded["name"],
        "signature": found["signature"],
        "constants": list(zip(found["constant_keys"], found["constant_vals"], strict=True)),
        "attributes": [pair for pair in zip(found["attrs_keys"], found["attrs_vals"], strict=True) if pair[1]],
        "options": {name: found["options"][name] for name in OPTIONS},
    }


def lines(recorded: Iterable[dict[str, Any]]) -> list[str]:
    """A line per specialization of vLLM's own kernels, sorted; torch.compile's, which depend on the model, left out."""
    own = [each for each in recorded if each["module"].startswith("vllm.")]
    return sorted({json.dumps(row(each), separators=(",", ":")) for each in own})


def add_recorder(backends: Path) -> None:
    """Put the recorder where the engine finds it."""
    (backends / "vllm/kernel_recorder.py").symlink_to(HERE / "testing/kernel_recorder.py")


def main() -> int:
    """Start each shape, ask for everything, write the file."""
    end_cleanly_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="record-kernels-") as scratch:
        folder, recorded = Path(scratch), Path(scratch) / "recorded"
        first = str(devices()[0].index)
        place = Place(folder, "cuda", (first,), True, folder / "caches", folder / "rows.jsonl")
        for shape in SHAPES:
            record = Record()
            engine = {**place.engine(shape, **GRAMMAR), "worker_extension_cls": EXTENSION}
            with started(place, engine, record, prepare=add_recorder, RECORDED_KERNELS=str(recorded)) as found:
                exercise(found, record)
        found_lines = lines(map(json.loads, recorded.read_text().splitlines()))
    (HERE / "triton-kernels.jsonl").write_text("\n".join(found_lines) + "\n")
    sys.stdout.write(f"{len(found_lines)} specializations\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
