"""Inputs of the builders other than the custom resource: the resolved image and the operator's settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServingImage:
    """The serving image.

    Attributes:
        reference: REPOSITORY[:TAG][@DIGEST].
        release: its row in the table of releases.
        stock: whether it is NVIDIA's image, which has neither the operator's launcher nor an init process.
    """

    reference: str
    release: str
    stock: bool


@dataclass(frozen=True, slots=True)
class Defaults:
    """Settings of the operator that apply to all pods.

    Attributes:
        image_pull_policy: of the serving image; "" for Kubernetes' default.
        env: environment variables of every server, for example HF_ENDPOINT for a mirror.
        fixed_user: whether the pods set their user and groups, and do not leave them to the namespace.
        image_pull_secrets: names of Secrets for pulling the serving image, in each namespace.
    """

    image_pull_policy: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    image_pull_secrets: tuple[str, ...] = ()
    fixed_user: bool = True
