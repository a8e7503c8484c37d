"""Options of the operator that reach the pods, as its command line gives them."""

from dataclasses import dataclass, field

from triton_vllm_operator.desired.inputs import Defaults


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Images of the pods, and defaults of the serving pods.

    Attributes:
        serving_image: of an LLMDeployment that sets none; None for NVIDIA's newest release.
        operator_image: of the inspection pods; None where it is not known: then nothing is inspected.
        operator_image_pull_policy: of the inspection pods; "" leaves it to Kubernetes.
        architecture: of the operator's own node, as in the label kubernetes.io/arch; "" where it is not known.
    """

    serving_image: str | None = None
    operator_image: str | None = None
    operator_image_pull_policy: str = ""
    architecture: str = ""
    defaults: Defaults = field(default_factory=Defaults)
