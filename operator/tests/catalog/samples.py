"""One real input for each reason that admission, status and command line give for what a user wrote, and for a plan.

`cd operator && python -m tests.catalog.samples` rewrites golden/messages.txt, which has them as they are shown.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from tests.builders.deployments import A10, H100, LLAMA_70B, decided, node
from tests.desired.samples import resource
from triton_vllm_operator.api.spec import LLMDeploymentSpec
from triton_vllm_operator.catalog import (
    advisories,
    arguments,
    drivers,
    environment,
    openai_arguments,
    own_image_fields,
    releases,
    server_flags,
)
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.plan.validation import Rejected, validate
from triton_vllm_operator.plan.verdict import PredictedPlan
from triton_vllm_operator.webhook import response

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"
TODAY = advisories.load().checked
NVIDIA = releases.NVIDIA_REPOSITORY


def row(name: str) -> releases.Release:
    found = releases.load().find(name)
    assert found is not None
    return found


def image(text: str | None, release: str | None = None) -> list[Violation]:
    found = releases.resolve(text, release)
    return [found] if isinstance(found, Violation) else []


def extra(version: str, **args: Any) -> list[Violation]:
    return arguments.check(args, version)


def openai(**args: Any) -> list[Violation]:
    return openai_arguments.check(args, {}, lambda name, value: arguments.advice(name, value, "0.32.0"))


SERVING: dict[str, Any] = {
    "model": {"uri": "hf://org/model"},
    "sampling": {"defaults": {"temperature": 0}},
    "server": {"openAI": {"enabled": True}, "requestTimeoutSeconds": 60, "limits": {"maxN": 1}},
}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def flag(text: str, server_code: str = "26.08") -> list[Violation]:
    return server_flags.check([text], server_code)


def cves(release: str, *, opted_out: bool = False, today: date = TODAY) -> list[Violation]:
    return advisories.all_violations(advisories.assess(row(release), today), opted_out=opted_out)


def stale() -> list[Violation]:
    return cves("26.08", today=date.fromordinal(TODAY.toordinal() + advisories.load().max_age_days + 1))


def driver(release: str, version: str, *, data_center: bool = True) -> list[Violation]:
    found = drivers.check_driver(row(release), version, "gpu-1", data_center=data_center)
    return [found] if found else []


def floor(driver: str, least: int) -> list[Violation]:
    found = drivers.check_driver_for_gpu(driver, least, "gpu-1", "NVIDIA-B200")
    return [found] if found else []


SAMPLES: tuple[Callable[[], list[Violation]], ...] = (
    lambda: image(f"{NVIDIA}:latest"),
    lambda: image(f"{NVIDIA}:24.12-vllm-python-py3"),
    lambda: image(f"{NVIDIA}:26.07-vllm-python-py3", "26.08"),
    lambda: image(None, "26.10"),
    lambda: image(f"{NVIDIA}:26.07-py3"),
    lambda: image(None, "vllm-0.32.0"),
    lambda: extra("0.27.1", **{"--tensor-parallel-size": 2}),
    lambda: extra("0.27.1", **{"enable-lora": True}),
    lambda: extra("0.27.1", hf_overrides=nested(40)),
    lambda: extra("0.27.1", trust_remote_code=True),
    lambda: extra("0.27.1", hf_overrides={"auto_map": {"AutoConfig": "evil.Config"}}),
    lambda: extra("0.27.1", model="org/model"),
    lambda: extra("0.27.1", download_dir="/models"),
    lambda: extra("0.27.1", tensor_parallel_size=2),
    lambda: extra("0.27.1", port=8000),
    lambda: extra("0.27.1", tool_call_parser="hermes"),
    lambda: extra("0.27.1", temperature=0.2),
    lambda: extra("0.10.1.1", disable_log_requests=True),
    lambda: extra("0.27.1", swap_space=4),
    lambda: extra("0.10.1.1", attention_config={}),
    lambda: extra("0.27.1", monokernel=True),
    lambda: extra("0.27.1", enable_lroa=True),
    lambda: extra("0.27.1", xyzzy=1),
    lambda: extra("0.27.1", enable_lora="true"),
    lambda: extra("0.27.1", distributed_executor_backend="rya"),
    lambda: extra("0.27.1", max_loras=0),
    lambda: extra("0.32.0", compilation_config={"cudagraph_modes": "FULL", "pass_config": {"fuse_act_quant": 1}}),
    lambda: extra("0.32.0", speculative_config={"num_speculative_token": 3}),
    lambda: extra("0.32.0", speculative_config={"method": "ngrams", "num_speculative_tokens": "3"}),
    lambda: extra("0.11.0", kv_transfer_config={"kv_conector": "LMCacheConnectorV1"}),
    lambda: list(environment.check(["VLLM_LOGING_LEVEL", "VLLM_ATTENTION_BACKEND", "VLLM_XYZZY"], "0.32.0")),
    lambda: arguments.check({}, "0.27.1", {"load_format": "dummy"}),
    lambda: extra("0.27.1", kv_transfer_config={"kv_connector": "NixlConnector"}),
    lambda: extra("0.27.1", enable_lora=True, max_loras=8, max_cpu_loras=4),
    lambda: extra("0.27.1", max_lora_rank=32),
    lambda: openai(tool_cal_parser="hermes"),
    lambda: openai(reasoning_parser="qwen3"),
    lambda: openai(api_key=["secret"]),
    lambda: openai(middleware=["a.b"]),
    lambda: openai(tool_call_parser="hermse"),
    lambda: openai(enable_auto_tool_choice=True),
    lambda: openai(trust_request_chat_template=True),
    lambda: own_image_fields.check(LLMDeploymentSpec.model_validate(SERVING), row("26.08")),
    lambda: flag("--xyzzy=1"),
    lambda: flag("--http-thread-cuont=4"),
    lambda: flag("--http-port=9000"),
    lambda: flag("--log-file=/tmp/log"),
    lambda: flag("--rate-limit=execution_count"),
    lambda: flag("--http-max-input-size=1", "24.10"),
    lambda: flag("--http-thread-count=many"),
    lambda: flag("--cuda-memory-pool-byte-size=0:67108864"),
    lambda: cves("25.07"),
    lambda: cves("25.12"),
    lambda: cves("25.12", opted_out=True),
    lambda: cves("26.07"),
    lambda: cves("vllm-0.32.0"),
    lambda: cves("26.08"),
    stale,
    lambda: driver("26.08", "570.86.10", data_center=False),
    lambda: driver("26.08", "580.95.05"),
    lambda: driver("26.08", "570.86.10"),
    lambda: driver("26.08", "unknown"),
    lambda: floor("565.57.01", 570),
)


def invalid() -> list[Violation]:
    try:
        validate(resource("llama", {"model": {"uri": "hf://org/model"}, "engine": {"noSuchField": 1}}), None, TODAY)
    except Rejected as refusal:
        return [response.problem_of_rejected(refusal)]
    return []


def planned(*nodes: dict[str, Any], mode: str = "Enforce", **engine: Any) -> list[Violation]:
    """Llama of 70 billion parameters on these nodes."""
    found = decided(LLAMA_70B, *nodes, engine=engine, planning={"mode": mode})
    return response.problems_of_plan(PredictedPlan(found, binding=mode == "Enforce"), {})


VERDICTS: tuple[Callable[[], list[Violation]], ...] = (
    invalid,
    lambda: planned(node(H100), tensorParallelSize=1),
    lambda: planned(node(A10, gpus=1), mode="Advise"),
    lambda: planned(node(H100), node(A10), tensorParallelSize=4),
    lambda: [response.not_checked("the review timed out after 2 s")],
)
"""What `webhook/response.py` adds to the violations of the catalog."""


def text() -> str:
    """Every violation of every sample: reject or warn, reason, field, and the message on a line of its own."""
    found = [violation for sample in (*SAMPLES, *VERDICTS) for violation in sample()]
    blocks = (f"{'reject' if p.rejects else 'warn'} {p.reason} {p.field}\n  {p.message}\n" for p in found)
    return "\n".join(blocks)


if __name__ == "__main__":
    GOLDEN.write_text(text(), encoding="utf-8")
