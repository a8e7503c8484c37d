"""One AsyncLLM engine in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from backend.container import report
from backend.container.processes import signal_that_ended
from backend.engine import forkserver, memory, prefetch, proof
from backend.patches import checked_requests, early_engine_core, zmq_receive
from backend.settings import BadModel, closest
from contract.report import EngineReport

logger = logging.getLogger("triton_vllm")
T = TypeVar("T")


class EngineLoop:
    """The event loop in which the engine, the requests and the OpenAI server live."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine in the loop and wait for its result. Not to be called from the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def stop(self) -> None:
        """End the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def engine_arguments(values: dict[str, Any]) -> Any:
    """AsyncEngineArgs from model.json. Raises BadModel with the engine's own list of names."""
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {f.name for f in dataclasses.fields(AsyncEngineArgs)}
    unknown = sorted(set(values) - known)
    if unknown:
        close = closest(unknown[0], known)
        raise BadModel(f"model.json: unexpected engine argument '{unknown[0]}'{close} for vLLM {vllm_version()}")
    return AsyncEngineArgs(**values)


def vllm_version() -> str:
    """The version of the engine in this image."""
    import vllm

    return str(vllm.__version__)


async def start_engine(arguments: Any, *, chats: bool = False) -> Any:
    """Build the engine's configuration and start its processes; returns when it is warm.

    `chats`: whether vLLM's OpenAI server will be asked for as well.
    """
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    begun = time.monotonic()
    # A class of the user's own stays; the workers then do not say what they measured.
    arguments.worker_extension_cls = arguments.worker_extension_cls or memory.EXTENSION
    config = arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
    report.phase("EngineArguments", time.monotonic() - begun, vllm=vllm_version())
    begun = time.monotonic()
    on_renderer = prefetch.chat_template if chats else (lambda _: None)
    with early_engine_core.installed(config, not arguments.disable_log_stats, on_renderer):
        engine = AsyncLLM.from_vllm_config(
            vllm_config=config,
            usage_context=UsageContext.OPENAI_API_SERVER,
            enable_log_requests=arguments.enable_log_requests,
            disable_log_stats=arguments.disable_log_stats,
        )
    spent = await memory.phase_seconds(engine)
    for name in ("Download", "WeightsLoaded"):
        if name in spent:  # written by the worker itself, at once
            report.note({"phase": name, "seconds": round(spent[name], 2)})
    report.phase("KVCache", spent.get("KVCache", time.monotonic() - begun), **engine_report(engine).to_json())
    zmq_receive.install(engine)
    checked_requests.install(engine)
    if "Warmup" in spent:
        report.phase("Warmup", spent["Warmup"], compileSeconds=round(spent["compile"], 2))
    return engine


def finish_start() -> None:
    """Freeze what the start has made; the last step of a start.

    What it has made is taken out of the garbage collector's sight, as `vllm serve` does. vLLM's environment variables
    are read for the last time: its engine does so, but in the process of the front ends it parses one again for each
    request of each step, 15 % of what they do for full answers and 6 % for streams.
    """
    from vllm.envs import enable_envs_cache
    from vllm.utils.gc_utils import freeze_gc_heap

    enable_envs_cache()
    freeze_gc_heap()


def cause_of_death(engine: Any, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Why an engine has died: the signal that ended its core, or the fork server of `environment`, if one did."""
    manager = getattr(engine.engine_core.resources, "engine_manager", None)
    for process in getattr(manager, "processes", ()):
        if process.exitcode is not None and process.exitcode < 0:
            return f"the engine core was killed by signal {-process.exitcode}"
        address = forkserver.Address.of(environment)
        if process.exitcode == forkserver.UNKNOWN_EXIT and address and (number := signal_that_ended(address.pid)):
            return f"the engine's fork server was killed by signal {number}"
    return "the engine has died"


async def log_statistics(engine: Any) -> None:
    """Have the engine log its throughput every ten seconds in which it works, as `vllm serve` does; never ends.

    What vLLM keeps for these lines, with speculative decoding four entries per step, it drops only when it logs them.
    """
    from vllm import envs

    while True:
        await asyncio.sleep(envs.VLLM_LOG_STATS_INTERVAL)
        await engine.do_log_stats()


def engine_report(engine: Any) -> EngineReport:
    """Return what the engine runs with: the sizes on which its capacity depends."""
    config = engine.vllm_config
    cache, scheduler, parallel = config.cache_config, config.scheduler_config, config.parallel_config
    return EngineReport(
        vllm=vllm_version(),
        device=config.device_config.device_type,
        tensor_parallel_size=parallel.tensor_parallel_size,
        pipeline_parallel_size=parallel.pipeline_parallel_size,
        workers=parallel.world_size,
        max_model_len=config.model_config.max_model_len,
        max_num_seqs=scheduler.max_num_seqs,
        max_num_batched_tokens=scheduler.max_num_batched_tokens,
        gpu_memory_utilization=cache.gpu_memory_utilization,
        kv_cache_dtype=str(cache.cache_dtype),
        dtype=str(config.model_config.dtype).removeprefix("torch."),
        quantization=config.model_config.quantization,
        enable_prefix_caching=bool(cache.enable_prefix_caching),
        blocks=cache.num_gpu_blocks or 0,
        block_size=cache.block_size,
        # Of the groups of layers, not blocks times block size: a request may hold blocks of several groups.
        kv_cache_tokens=cache.kv_cache_size_tokens or 0,
        concurrency_at_max_model_len=round(cache.kv_cache_max_concurrency or 0.0, 4),
    )


def proven_task(engine: Any, tasks: tuple[str, ...]) -> str:
    """Return the task whose request proves that the engine works: the one that it serves."""
    if "generate" in tasks:
        return "generate"
    return str(engine.model_config.get_pooling_task(tasks) or tasks[0])


async def first_token(engine: Any, tasks: tuple[str, ...], request_id: str = "first-token") -> str:
    """Have the engine do the smallest request of its task, one token where it generates; returns the task."""
    prompt: Any = {"prompt_token_ids": [_any_token(engine)]}
    task = proven_task(engine, tasks)
    if task == "generate":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(max_tokens=1, temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY)
        async for _ in engine.generate(prompt, params, request_id):
            pass
        return task
    from vllm import PoolingParams

    async for _ in engine.encode(prompt, PoolingParams(task=task), request_id):
        pass
    return task


async def prove_all(engine: Any, tasks: tuple[str, ...], adapters: Mapping[str, str]) -> dict[str, Any]:
    """Have the engine do what requests may ask of it; the facts for the report, {} for a model that generates nothing.

    Raises the engine's error when it cannot.
    """
    if "generate" not in tasks:
        return {}
    return (await proof.prove(engine, {"prompt_token_ids": [_any_token(engine)]}, adapters)).facts()


def _any_token(engine: Any) -> int:
    """A token that every vocabulary has and that does not end a sequence."""
    eos = getattr(engine.model_config.hf_text_config, "eos_token_id", None)
    ends = set(eos) if isinstance(eos, list) else {eos}
    return next(token for token in range(3, 64) if token not in ends)
