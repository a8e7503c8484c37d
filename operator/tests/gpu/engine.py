"""Start one engine after another on this host's GPU and write down every term of its memory budget.

Runs where vLLM is installed; nothing here is imported by the unit tests. Each start is a forked child with dummy
weights, so nothing is downloaded and only shapes count. The terms are read in the worker itself.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.gpu.cases import CASES, Case
from tests.gpu.models import MODELS

Row = dict[str, Any]
MIB = 2**20
#: Seconds that one start may take; the first start of a kind may compile kernels that later ones find.
LIMIT_S = 600
#: What explains a row and is not a part of it.
_DETAIL = ("at_peak", "kept_by", "captures", "events")
_ESTIMATED = re.compile(r"Estimated (\w+) CUDA graph memory: (-?[\d.]+) MiB first-capture \+ \((\d+)-1\) . (-?[\d.]+)")


def environment(scratch: Path) -> None:
    """What must be set before vLLM is imported."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_WORKER_MULTIPROC_METHOD="fork", VLLM_LOGGING_LEVEL="DEBUG",
        HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", TOKENIZERS_PARALLELISM="false",
    )  # fmt: skip
    os.environ.setdefault("TRITON_CACHE_DIR", str(scratch / "triton"))


def run(case: Case, scratch: Path, rows: Path, until: float, about: Row) -> Row:
    """Start one case in a child process and return its row, which is also appended to `rows`."""
    folder = scratch / case.name
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(case, scratch, folder)
    ended = _wait(child, min(began + LIMIT_S, until))
    _end_group(child)
    row = _result(case, folder, "timeout" if not ended else "died")
    row["seconds"] = round(time.monotonic() - began, 1)
    detail = [{name: rank.pop(name) for name in _DETAIL if name in rank} for rank in row.get("ranks", [])]
    _append(rows, about | row)
    _append(rows.with_suffix(".detail.jsonl"), {"case": case.name, "ranks": detail})
    return row


def _append(path: Path, row: Row) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def _in_child(case: Case, scratch: Path, folder: Path) -> None:
    os.setpgid(0, 0)
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        _start(case, scratch, folder)
    except BaseException:  # noqa: BLE001 - the child must never return into the parent's loop
        traceback.print_exc()
    os._exit(0)


def _wait(child: int, until: float) -> bool:
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.1)
    _end_group(child)
    os.waitpid(child, 0)
    return False


def _end_group(child: int) -> None:
    with suppress(ProcessLookupError):  # workers of several ranks may outlive it
        os.killpg(child, signal.SIGKILL)


def _result(case: Case, folder: Path, otherwise: str) -> Row:
    row: Row = {"case": case.name, "model": case.model, "settings": case.settings, "outcome": otherwise}
    for part in sorted(folder.glob("*.json")):
        if part.name.startswith("rank"):
            row.setdefault("ranks", []).append(json.loads(part.read_text()))
        elif part.name == "engine.json":
            row.update(json.loads(part.read_text()))
    log = (folder / "log").read_text(errors="replace")
    captures = _ESTIMATED.findall(log)
    if captures:
        row["estimates"] = {
            mode: {"first": round(float(first) * MIB), "count": int(count), "each": round(float(each) * MIB)}
            for mode, first, count, each in captures
        }
    return row


def _start(case: Case, scratch: Path, folder: Path) -> None:
    if case.runner:
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1" if case.runner == "v2" else "0"
    os.environ["VLLM_CACHE_ROOT"] = str(scratch / (case.warm_after or case.name) / "cache")
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/config.json").write_text(json.dumps(MODELS[case.model]))
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.model_executor.models import registry
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    if case.set == "main":  # looks at the model's class here and not in a process that imports everything again
        registry._run_in_subprocess = lambda look: look()
    _watch_worker(case, folder)
    found: Row = {}
    try:
        arguments = AsyncEngineArgs(model=str(folder / "model"), load_format="dummy", skip_tokenizer_init=True,
                                    **case.engine_arguments())  # fmt: skip
        engine = LLMEngine.from_engine_args(
            arguments, usage_context=UsageContext.OPENAI_API_SERVER, enable_multiprocessing=False
        )
        found = {"outcome": "ok", **_engine_facts(engine.vllm_config)}
    except Exception as error:  # noqa: BLE001 - a refusal is a result
        traceback.print_exc()
        found = {"outcome": "refused", "message": str(error)[-600:]}
    (folder / "engine.json").write_text(json.dumps(found))


def _engine_facts(config: Any) -> Row:
    cache, scheduler, graphs = config.cache_config, config.scheduler_config, config.compilation_config
    return {
        "blocks": cache.num_gpu_blocks,
        "block_size": cache.block_size,
        "tokens": getattr(cache, "kv_cache_size_tokens", None),
        "concurrency": getattr(cache, "kv_cache_max_concurrency", None),
        "max_model_len": config.model_config.max_model_len,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_num_seqs": scheduler.max_num_seqs,
        "prefix_caching": cache.enable_prefix_caching,
        "dtype": str(config.model_config.dtype),
        "graph_mode": str(graphs.cudagraph_mode),
        "graph_sizes": len(graphs.cudagraph_capture_sizes or []),
    }


def _watch_worker(case: Case, folder: Path) -> None:
    """Make the worker write down what it measured, rank by rank, and skip the graphs where they do not matter."""
    from vllm.v1.worker.gpu_worker import CompilationTimes, Worker

    measure, finish = Worker.determine_available_memory, Worker.compile_or_warm_up_model

    def measured(self: Any) -> int:
        row: Row = {}
        try:
            row["before_profile"] = _memory()
            peaks = _watch_profile(self.model_runner)
            available: int = measure(self)
            row.update(peaks)
            row["after_profile"] = _memory()
            row["again"] = _profile_again(self.model_runner)
        except BaseException as error:
            row["error"] = repr(error)[-300:]
            raise
        finally:
            _write(folder, self, row)
        return available

    def finished(self: Any) -> Any:
        if not case.graphs:
            return CompilationTimes(language_model=0.0, encoder=0.0)
        row: Row = {"before_graphs": _memory(), "captures": _watch_captures()}
        result = finish(self)
        row["after_graphs"] = _memory()
        _write(folder, self, row)
        return result

    Worker.determine_available_memory, Worker.compile_or_warm_up_model = measured, finished


def _memory() -> Row:
    import torch

    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return {"free": free, "total": total, "reserved": torch.cuda.memory_reserved(),
            "allocated": torch.cuda.memory_allocated()}  # fmt: skip


def _write(folder: Path, worker: Any, more: Row) -> None:
    path = folder / f"rank{worker.rank}.json"
    row: Row = json.loads(path.read_text()) if path.exists() else {"rank": worker.rank}
    for name in ("non_torch_memory", "peak_activation_memory", "cudagraph_memory_estimate",
                 "available_kv_cache_memory_bytes", "requested_memory"):  # fmt: skip
        row[name] = getattr(worker, name, None)
    runner = worker.model_runner
    row["weights"] = int(runner.model_memory_usage)
    row["runner"] = "v2" if type(runner).__module__.endswith("gpu.model_runner") else "v1"
    start = worker.init_snapshot
    row["start"] = {"total": start.total_memory, "free": start.free_memory, "torch": start.torch_memory,
                    "non_torch": start.non_torch_memory}  # fmt: skip
    path.write_text(json.dumps(row | more))


def _watch_profile(runner: Any) -> Row:
    """Peaks of the forward pass and of the sampler apart, and what was live at the highest, from torch's history."""
    import torch

    found: Row = {}
    whole, sample = runner.profile_run, runner._dummy_sampler_run

    def sampled(*args: Any, **kwargs: Any) -> Any:
        torch.cuda.synchronize()
        found["sampler_from_us"] = time.time_ns() // 1000
        return sample(*args, **kwargs)

    def profiled(*args: Any, **kwargs: Any) -> Any:
        del runner.profile_run, runner._dummy_sampler_run
        runner._dummy_sampler_run = sampled
        torch.cuda.memory._record_memory_history(max_entries=400000, context="alloc", stacks="python")
        try:
            return whole(*args, **kwargs)
        finally:
            torch.cuda.synchronize()
            events = torch.cuda.memory._snapshot()["device_traces"]
            torch.cuda.memory._record_memory_history(enabled=None)
            del runner._dummy_sampler_run
            found.update(_peaks(events, found.pop("sampler_from_us", 2**62)))

    runner._dummy_sampler_run = sampled
    runner.profile_run = profiled
    return found


def _peaks(devices: list[list[Row]], sampler_from: int) -> Row:
    events = max(devices, key=len, default=[])
    live: dict[int, Row] = {}
    now, best = 0, {"forward": 0, "sampler": 0}
    at_best: list[Row] = []
    highest = 0
    for event in events:
        if event["action"] == "alloc":
            live[event["addr"]] = event
            now += event["size"]
            phase = "sampler" if event.get("time_us", 0) >= sampler_from else "forward"
            best[phase] = max(best[phase], now)
            if now > highest:
                highest, at_best = now, list(live.values())
        elif event["action"] == "free_completed" and event["addr"] in live:
            now -= live.pop(event["addr"])["size"]
    found: Row = {"peaks": best, "kept": now, "events": len(events)}
    found["at_peak"], found["kept_by"] = _largest(at_best, 12), _largest(list(live.values()), 6)
    return found


def _largest(events: list[Row], count: int) -> list[Row]:
    largest = sorted(events, key=lambda event: -int(event["size"]))[:count]
    return [{"size": event["size"], "where": list(_frames(event))} for event in largest]


def _frames(event: Row) -> Iterator[str]:
    shown = 0
    for frame in event.get("frames", []):
        name = frame["filename"].rsplit("site-packages/", 1)[-1]
        if "/torch/" in frame["filename"] and "_inductor" not in name:
            continue
        yield f"{'/'.join(name.split('/')[-3:])}:{frame['line']}:{frame['name']}"
        shown += 1
        if shown == 6:
            return


def _profile_again(runner: Any) -> Row:
    """Peak of a second profile run: nothing is compiled any more, so this is what a warm start needs."""
    import torch

    before = _memory()["allocated"]
    torch.cuda.reset_peak_memory_stats()
    try:
        runner.profile_run()
    except Exception as error:  # noqa: BLE001 - only a measurement is lost
        return {"error": repr(error)[-200:]}
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    return {"peak": peak - before, "kept": _memory()["allocated"] - before}


def _watch_captures() -> list[Row]:
    """Free memory before each capture of the V2 runner, and what each full graph took, as newer engines sample it."""
    import torch
    from vllm.v1.worker.gpu import cudagraph_utils as utils

    seen: list[Row] = []
    capture = utils.CudaGraphManager.capture
    real = torch.cuda.graph

    class Sampled(real):  # type: ignore[misc, valid-type]
        def __enter__(self) -> Any:
            torch.cuda.synchronize()
            self.free = torch.cuda.mem_get_info()[0]
            return super().__enter__()

        def __exit__(self, *problem: Any) -> Any:
            result = super().__exit__(*problem)
            torch.cuda.synchronize()
            if seen:
                seen[-1]["took"] = seen[-1].get("took", 0) + self.free - torch.cuda.mem_get_info()[0]
            return result

    def watched(self: Any, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def noted(desc: Any, warmup: bool) -> Any:
            if warmup:
                torch.cuda.synchronize()
                seen.append(
                    {"mode": desc.cg_mode.name, "tokens": desc.num_tokens, "free": torch.cuda.mem_get_info()[0]}
                )
            return make(desc, warmup)

        torch.cuda.graph = Sampled
        try:
            return capture(self, noted, *args, **kwargs)
        finally:
            torch.cuda.graph = real
            seen.append({"mode": "end", "tokens": 0, "free": torch.cuda.mem_get_info()[0]})

    utils.CudaGraphManager.capture = watched
    return seen


def facts() -> Row:
    """The card and the versions that the rows were made with."""
    import torch
    import vllm

    asked = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    gpu, driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    return {"gpu": gpu, "driver": driver, "vllm": vllm.__version__, "torch": torch.__version__}


def _claim(case: Case, scratch: Path) -> bool:
    """Whether this process takes the case: one process per GPU works through the same list."""
    try:
        os.close(os.open(scratch / f"{case.name}.claim", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main() -> None:
    """`ROWS SCRATCH SECONDS [CASE ...]`: cases that no process has taken yet, until the time is up."""
    rows, scratch, until = Path(sys.argv[1]), Path(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    named = {case.name: case for case in CASES}
    chosen = [named[name] for name in sys.argv[4:]] or [case for case in CASES if case.set == "main"]
    scratch.mkdir(parents=True, exist_ok=True)
    environment(scratch)
    import vllm.v1.worker.gpu.model_runner
    import vllm.v1.worker.gpu_model_runner
    import vllm.v1.worker.gpu_worker  # noqa: F401 - imported once, before the children are forked

    about, failed = facts(), 0
    for case in chosen:
        if not _claim(case, scratch):
            continue
        if time.monotonic() > until or failed > 4:
            print("stopped before", case.name, flush=True)
            return
        row = run(case, scratch, rows, until + 40, about)
        failed = 0 if row["outcome"] in {"ok", "refused"} else failed + 1
        print(row["case"], row["outcome"], row["seconds"], "s", str(row.get("message", ""))[-200:], flush=True)


if __name__ == "__main__":
    main()
