"""Every sentence of this package, one for each reason. A message ends with the line to write instead.

Reasons are the one-word CamelCase of Kubernetes conditions. tests/engine/golden/texts.txt shows each with real values.
"""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    RELEASE_REQUIRED = "ReleaseRequired"
    RELEASE_UNKNOWN = "ReleaseUnknown"
    RELEASE_CONTRADICTS_IMAGE = "ReleaseContradictsImage"
    ENGINE_VERSION_UNKNOWN = "EngineVersionUnknown"
    IMAGE_WITHOUT_VLLM = "ImageWithoutVllm"
    IMAGE_REQUIRED = "ImageRequired"


TEXTS: Final[dict[Reason, str]] = {
    Reason.RELEASE_REQUIRED: (
        "The tag of image {image} does not say which Triton release it is, so its engine arguments and known CVEs "
        'cannot be checked. Write {field}: "YY.MM" (for example "{newest}").'
    ),
    Reason.RELEASE_UNKNOWN: (
        'Release "{release}" is not in the table of this operator ({known}). Write {field}: "{newest}", '
        "or update the operator."
    ),
    Reason.RELEASE_CONTRADICTS_IMAGE: (
        'Image {image} is release "{named}" by its tag, but {field} says "{said}". Write {field}: "{named}" or '
        "leave it out."
    ),
    Reason.ENGINE_VERSION_UNKNOWN: (
        'Release "{release}" exists, but no public source named its vLLM version by {checked}, so nothing about it can '
        'be checked. Write spec.server.release: "{newest}".'
    ),
    Reason.IMAGE_WITHOUT_VLLM: (
        "Image {image} is a Triton image without the vLLM backend. Write spec.server.image: {instead}, or leave "
        "spec.server.image out."
    ),
    Reason.IMAGE_REQUIRED: (
        'Release "{release}" is the operator\'s own image, which is not the default image here. Write '
        "spec.server.image: REGISTRY/{name}:{release}."
    ),
}

# Reasons that only warn; all others refuse.
WARNINGS: Final[frozenset[Reason]] = frozenset()
