"""What the builders need besides the custom resource: the resolved image and the operator's own settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServingImage:
    """The image to run.

    Attributes:
        reference: REPOSITORY[:TAG][@DIGEST].
        release: row of the release table.
        stock: NVIDIA's own image, without the launcher and init of ours.
    """

    reference: str
    release: str
    stock: bool


@dataclass(frozen=True, slots=True)
class Defaults:
    """Settings of the operator that reach the pods.

    Attributes:
        image_pull_policy: for the serving image; empty leaves it to Kubernetes.
        env: environment variables of every server, for example HF_ENDPOINT of a mirror.
        image_pull_secrets: names of Secrets for the serving image, in each namespace.
    """

    image_pull_policy: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
