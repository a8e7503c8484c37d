"""The typed `spec` of an LLMDeployment, one module per block.

Field names are those of vLLM, Triton and Kubernetes in camelCase. `make gen` copies the descriptions into the CRD,
where `kubectl explain` shows them.
"""

from triton_vllm_operator.api.spec.autoscaling import AutoscalingSpec, ScalingPolicy, ScalingRules
from triton_vllm_operator.api.spec.deployment import LLMDeployment, LLMDeploymentSpec
from triton_vllm_operator.api.spec.engine import EngineSpec
from triton_vllm_operator.api.spec.limits import LimitsSpec
from triton_vllm_operator.api.spec.sampling import SamplingValues
from triton_vllm_operator.api.spec.server import ServerSpec, StartupCheck

__all__ = [
    "AutoscalingSpec",
    "EngineSpec",
    "LLMDeployment",
    "LLMDeploymentSpec",
    "LimitsSpec",
    "SamplingValues",
    "ScalingPolicy",
    "ScalingRules",
    "ServerSpec",
    "StartupCheck",
]
