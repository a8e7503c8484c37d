"""Why an LLMDeployment has no plan."""

from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class NotPlanned:
    """No plan can be made: the reason, and a message with what would allow one."""

    reason: Reason
    message: str
