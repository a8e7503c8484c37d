"""References to Secrets."""

from pydantic import Field

from triton_vllm_operator.api.schema import Model, field


class SecretKeyRef(Model):
    """A key of a Secret in the LLMDeployment's namespace."""

    name: str = Field(min_length=1, max_length=253, description="Name of the Secret.")
    key: str = field("token", min_length=1, max_length=253, description="Key of the Secret. Default: token.")
