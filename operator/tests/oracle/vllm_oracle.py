"""Runs inside the engine's environment: asks vLLM's own code what a model costs. JSON lines in, JSON lines out.

Per case: real model classes are built on the meta device with a fake world of tensor and pipeline ranks; their
attention layers give the KV cache specs, and the engine's planning code turns those and the available bytes into
groups, blocks and concurrency. Weights are the bytes of all parameters and buffers of each stage.

Input: {"id", "config", "tp", "pp", "kv_dtype", "questions": [{max_model_len, batched, block_size, available,
in_flight, no_hybrid, prefix}], "mtp", "tensors"}. Output: {"id", "version", "weights": [..], "kv": [..],
"tensors": [..]} or {"id", "error"}.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

os.environ.update(
    VLLM_LOGGING_LEVEL="ERROR",
    HF_HUB_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_DO_NOT_TRACK="1",
    TORCHDYNAMO_DISABLE="1",
    CUDA_VISIBLE_DEVICES="",
)

import torch
import transformers
import vllm
from vllm.config import set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import get_model_architecture
from vllm.model_executor.models import registry
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.core import kv_cache_utils

logging.disable(logging.CRITICAL)
torch.set_num_threads(1)
# Where the processor has these, vLLM changes block sizes and the dtype of SSM states to suit its kernels for CPUs. Here
# it only stands in for an engine on GPUs, and has to answer the same on every machine.
torch.cpu._is_avx512_bf16_supported = lambda: False
torch.cpu._is_amx_tile_supported = lambda: False


def inspect_here(lazy: Any) -> Any:
    """A model class's traits, found in this process: the engine starts a process for each, only to spare the GPU."""
    return registry._ModelInfo.from_model_cls(lazy.load_model_cls())


registry._LazyRegisteredModel.inspect_model_cls = inspect_here


class FakeGroup:
    """Enough of a GroupCoordinator for building modules: ranks and sizes, no communication."""

    def __init__(self, size: int, rank: int) -> None:
        self.world_size, self.rank_in_group, self.rank = size, rank, rank
        self.ranks = list(range(size))
        self.local_rank = rank
        self.device_group = self
        self.cpu_group = self
        self.use_custom_op_call = False
        self.device_communicator = None
        self.unique_name = "fake"

    def size(self) -> int:
        """World size, as torch's process groups call it."""
        return self.world_size

    is_first_rank = property(lambda self: self.rank_in_group == 0)
    is_last_rank = property(lambda self: self.rank_in_group == self.world_size - 1)
    first_rank = property(lambda self: 0)
    last_rank = property(lambda self: self.world_size - 1)
    prev_rank = property(lambda self: (self.rank_in_group - 1) % self.world_size)
    next_rank = property(lambda self: (self.rank_in_group + 1) % self.world_size)


@contextlib.contextmanager
def world(tp: int, pp: int, stage: int) -> Iterator[None]:
    """One rank's view of a world of `tp` x `pp` ranks."""
    groups = {"_TP": FakeGroup(tp, 0), "_PP": FakeGroup(pp, stage), "_WORLD": FakeGroup(tp * pp, stage * tp)}
    groups.update({name: FakeGroup(1, 0) for name in ("_DP", "_DCP", "_PCP", "_EP", "_EPLB")})
    with contextlib.ExitStack() as stack:
        for name, group in groups.items():
            if hasattr(parallel_state, name):
                stack.enter_context(mock.patch.object(parallel_state, name, group))
        yield


def engine_config(folder: str, case: dict[str, Any]) -> Any:
    """The engine's own configuration object for the case's model."""
    arguments = EngineArgs(
        model=folder,
        skip_tokenizer_init=True,
        load_format="dummy",
        kv_cache_dtype=case["kv_dtype"],
        max_model_len=case["questions"][0]["max_model_len"] if case["questions"] else None,
        max_num_seqs=8,
        enforce_eager=True,
        enable_prefix_caching=False,  # each question sets it
        speculative_config={"method": "mtp", "num_speculative_tokens": case["mtp"]} if case.get("mtp") else None,
    )
    return arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)


def stage_model(config: Any, tp: int, pp: int, stage: int) -> tuple[dict[str, Any], int, dict[str, int]]:
    """(attention layers by name, bytes of parameters and buffers, those bytes by name) of one stage's first rank.

    Names are without the numbers in them: one for all layers.
    """
    config.compilation_config.static_forward_context = {}
    with world(tp, pp, stage), set_current_vllm_config(config, check_compile=False):
        torch.set_default_dtype(config.model_config.dtype)
        with torch.device("meta"):
            model = get_model_architecture(config.model_config)[0](vllm_config=config, prefix="")
            if config.speculative_config is not None and stage == pp - 1:
                draft = get_model_architecture(config.speculative_config.draft_model_config)[0]
                draft(vllm_config=config, prefix="draft")  # its layers register themselves beside the model's
    named = [*model.named_parameters(), *model.named_buffers()]  # views of one storage count once, as on a device
    storages = {t.untyped_storage()._cdata: (name, t.untyped_storage().nbytes()) for name, t in reversed(named)}
    by_name: dict[str, int] = {}
    for name, size in storages.values():
        key = re.sub(r"\d+", "*", name)
        by_name[key] = by_name.get(key, 0) + size
    return dict(config.compilation_config.static_forward_context), sum(by_name.values()), by_name


def specs_of(config: Any, layers: dict[str, Any], tp: int, pp: int, stage: int) -> dict[str, Any]:
    """KV cache specs of one stage's layers under the configuration's present values."""
    config.compilation_config.static_forward_context = layers
    with world(tp, pp, stage), set_current_vllm_config(config, check_compile=False):
        current_platform.update_block_size_for_backend(config)
        found = {}
        for name, layer in layers.items():
            if hasattr(layer, "get_kv_cache_spec") and not getattr(layer, "kv_sharing_target_layer_name", None):
                spec = layer.get_kv_cache_spec(config)
                if spec is not None:
                    found[name] = spec
    return found


def apply_question(config: Any, question: dict[str, Any]) -> None:
    """Set what one question asks about, and forget what an earlier one made the engine derive."""
    cache, model, scheduler = config.cache_config, config.model_config, config.scheduler_config
    model.max_model_len = question["max_model_len"]
    scheduler.max_num_batched_tokens = question["batched"]
    scheduler.max_num_encoder_input_tokens = question["batched"]
    scheduler.disable_hybrid_kv_cache_manager = question["no_hybrid"]
    cache.block_size, cache.user_specified_block_size = question["block_size"], True
    cache.mamba_page_size_padded = None
    cache.enable_prefix_caching = question["prefix"]
    cache.mamba_cache_mode = "align" if question["prefix"] else "none"
    cache.mamba_block_size = question["block_size"] if question["prefix"] else question["max_model_len"]
    if hasattr(cache, "kv_cache_layout"):
        cache.kv_cache_layout = "LBNHC"


def kv_answer(config: Any, specs: list[dict[str, Any]], available: int) -> dict[str, Any]:
    """What the engine's planning code makes of the specs and the available bytes."""
    try:
        configs = kv_cache_utils.get_kv_cache_configs(config, [dict(s) for s in specs], [available] * len(specs))
    except ValueError as error:
        return {"refused": str(error)[:400]}
    groups = configs[0].kv_cache_groups
    concurrency = kv_cache_utils.get_max_concurrency_for_kv_cache_config(config, configs[0]) if groups else 0.0
    sizes = [sum(len(c.kv_cache_groups[i].layer_names) for c in configs) for i in range(len(groups))]
    return {
        "blocks": configs[0].num_blocks,
        "concurrency": concurrency,
        "tokens": int(concurrency * config.model_config.max_model_len),
        "groups": sorted(sizes),
        "block_size": config.cache_config.block_size,
    }


def checkpoint_tensors(folder: str) -> list[list[Any]]:
    """[name, dtype, shape] of what a checkpoint of this configuration holds: the Transformers class, saved untied."""
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return [
        [name, {torch.float32: "F32"}.get(tensor.dtype, "BF16"), list(tensor.shape)]
        for name, tensor in model.state_dict().items()
        if name not in tied
    ]


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """Weights of every stage, and the answer to each question about the KV cache."""
    tp, pp = case["tp"], case["pp"]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(case["config"], file)
        config = engine_config(folder, case)
        parallel = config.parallel_config
        parallel.tensor_parallel_size, parallel.pipeline_parallel_size, parallel.world_size = tp, pp, tp * pp
        tensors = checkpoint_tensors(folder) if case["tensors"] else []
        stages = [stage_model(config, tp, pp, stage) for stage in range(pp)]
    kv = []
    for question in case["questions"]:
        apply_question(config, question)
        specs = []
        for stage, (layers, *_) in enumerate(stages):
            config.cache_config.block_size = question["block_size"]
            specs.append(specs_of(config, layers, tp, pp, stage))
        flight = mock.PropertyMock(return_value=question["in_flight"])
        with mock.patch.object(type(config), "max_concurrent_batches", flight), set_current_vllm_config(config):
            kv.append(kv_answer(config, specs, question["available"]))
    weights = [size for _, size, _ in stages]
    return {"id": case["id"], "version": vllm.__version__, "weights": weights, "kv": kv, "tensors": tensors}


def main() -> None:
    """Answer each line of standard input until it ends."""
    for line in sys.stdin:
        case = json.loads(line)
        try:
            result = answer(case)
        except Exception as error:  # noqa: BLE001 - one bad case must not end the run; the tests fail on it
            result = {"id": case["id"], "error": f"{type(error).__name__}: {str(error)[:500]}"}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
