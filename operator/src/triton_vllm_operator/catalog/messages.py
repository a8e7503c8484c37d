"""The message of each reason for which a spec is rejected or warned about: what is wrong. What to do.

tests/catalog/golden/messages.txt shows each with real values.
"""

from typing import Final

from triton_vllm_operator.api.reasons import Reason

MESSAGES: Final[dict[Reason, str]] = {
    Reason.RELEASE_REQUIRED: (
        "The tag of image {image} does not name a Triton release, so its engine arguments and known CVEs cannot be "
        'checked. Set {field} to its release, for example "{newest}".'
    ),
    Reason.RELEASE_UNKNOWN: (
        'This version of the operator does not know release "{release}", only {known}. Set {field}: "{newest}", or '
        "upgrade the operator."
    ),
    Reason.RELEASE_CONTRADICTS_IMAGE: (
        'The tag of image {image} names release "{named}", but {field} is "{written}". Set {field}: "{named}", or '
        "remove it."
    ),
    Reason.ENGINE_VERSION_UNKNOWN: (
        'The vLLM version in release "{release}" is not known: no public source named it by {checked}. Its engine '
        'arguments and CVEs cannot be checked. Set spec.server.release: "{newest}".'
    ),
    Reason.IMAGE_WITHOUT_VLLM: (
        "Image {image} is a Triton image without the vLLM backend. Set spec.server.image: {instead}, or remove "
        "spec.server.image."
    ),
    Reason.IMAGE_REQUIRED: (
        'Release "{release}" is the operator\'s own image, which is not the default image of this operator. Set '
        "spec.server.image: REGISTRY/{name}:{release}."
    ),
    Reason.ARGUMENT_TOO_DEEP: (
        "{name} is nested more than {maximum} levels deep, and no engine argument needs that many. Remove {field}."
    ),
    Reason.ARGUMENT_SPELLING: "Engine arguments are spelled as in vLLM's Python API, not as {name}. Set {instead}.",
    Reason.ARGUMENT_UNSAFE: "{name} is not allowed in extraArgs. {why} {instead}",
    Reason.ARGUMENT_OWNED: "{name} is set by the operator. {why} {instead}",
    Reason.ARGUMENT_HAS_FIELD: "{name} has its own field in the spec. Set {instead}.",
    Reason.ARGUMENT_OF_SERVER: (
        "{name} is an option of vLLM's HTTP server and not an engine argument; the engine would fail to start. "
        "{instead}"
    ),
    Reason.ARGUMENT_OF_ENGINE: (
        "{name} is an argument of the engine and not of vLLM's OpenAI server; the server would fail to start. {instead}"
    ),
    Reason.ARGUMENT_OF_REQUEST: (
        "{name} is a parameter of each request and not an engine argument; the engine would fail to start. Remove "
        "{field}, and send it with the request."
    ),
    Reason.ARGUMENT_MOVED: (
        "{engine} no longer supports {name} (vLLM {last} was the last version that did); the engine would fail to "
        "start. {why} Set {instead}."
    ),
    Reason.ARGUMENT_REMOVED: (
        "{engine} no longer supports {name} (vLLM {last} was the last version that did); the engine would fail to "
        "start. {why} Remove {field}."
    ),
    Reason.ARGUMENT_TOO_NEW: (
        "{engine} does not support {name} yet (vLLM {first} is the first version that does); the engine would fail to "
        "start. Remove {field}."
    ),
    Reason.ARGUMENT_NEEDS_RELEASE: (
        "{engine} does not support {name} yet (vLLM {first} is the first version that does); the engine would fail to "
        'start. Set spec.server.release: "{release}" or newer, or remove {field}.'
    ),
    Reason.ARGUMENT_MISSPELT: (
        "{engine} does not support {name}; the server would fail to start. Did you mean {instead}?"
    ),
    Reason.ARGUMENT_UNKNOWN: "{engine} does not support {name}; the server would fail to start. Remove {field}.",
    Reason.ARGUMENT_TYPE: "{name} must be {type}, not {given}. {instead}",
    Reason.ARGUMENT_CHOICE: (
        "{given} is not a valid value of {name} in {engine}. {instead} (valid values: {choices})."
    ),
    Reason.ARGUMENT_BOUND: "{name} must be {bound}, not {given}. Set {field} to a number {bound}.",
    Reason.ARGUMENT_RISKY: "{name} is accepted, with a warning: {why}",
    Reason.VARIABLE_NOT_READ: (
        "vLLM {version} does not read the environment variable {name}{history}, so it has no effect. {instead}"
    ),
    Reason.ARGUMENTS_CONTRADICT: "{field} conflicts with {other}: {why}. Set {instead}.",
    Reason.ARGUMENT_IGNORED: "{field} has no effect: {why}. Set {instead}, or remove {field}.",
    Reason.FIELD_OF_OWN_IMAGE: (
        'NVIDIA\'s image of release "{release}" does not read {field}, so it would have no effect. Remove it, or set '
        'spec.server.release: "{newest}" with the operator\'s own image.'
    ),
    Reason.FLAG_UNKNOWN: "tritonserver does not support --{name}; it would fail to start. Remove {field}.",
    Reason.FLAG_MISSPELT: "tritonserver does not support --{name}; it would fail to start. Did you mean {instead}?",
    Reason.FLAG_OWNED: "--{name} is set by the operator. {why} {instead}",
    Reason.FLAG_REFUSED: "--{name} is not allowed. {why} {instead}",
    Reason.FLAG_WITHOUT_EFFECT: "--{name} would have no effect. {why} {instead}",
    Reason.FLAG_TOO_NEW: (
        "tritonserver of release {code} does not support --{name}, which came with release {since}; it would fail to "
        "start. Remove {field}."
    ),
    Reason.FLAG_VALUE: "--{name} {wrong}. Set --{name}=<{type}>.",
    Reason.FLAG_RISKY: "--{name} is accepted, with a warning: {why}",
    Reason.RELEASE_UNSAFE: (
        'Release "{release}" has {count} open CVEs and is never allowed: anyone who can reach its port can run code. '
        '{cves}. Set {field}: "{newest}".'
    ),
    Reason.RELEASE_NEEDS_OPT_OUT: (
        'Release "{release}" has {count} open CVEs. {cves}. Set {field}: "{newest}". (An administrator can allow it '
        'in this namespace with the annotation {annotation}: "true".)'
    ),
    Reason.RELEASE_OPTED_OUT: (
        'Release "{release}" has {count} open CVEs and is allowed by the annotation {annotation}: "true" of the '
        'namespace. {cves}. Set {field}: "{newest}".'
    ),
    Reason.RELEASE_OUTDATED: 'Release "{release}" has {count} open CVEs. {cves}. {instead}',
    Reason.CVES_REMAIN: (
        'Release "{release}" has {count} open CVEs, and no known release is without them. {cves}. Let only trusted '
        "clients reach its ports."
    ),
    Reason.ADVISORIES_STALE: (
        "The operator's list of CVEs was last checked on {checked}, so newer ones can be missing. Upgrade the operator."
    ),
    Reason.DRIVER_TOO_OLD: (
        'Driver {driver} on {node} cannot run CUDA {cuda} of release "{release}". Upgrade the driver to {minimum} or '
        "newer."
    ),
    Reason.DRIVER_OLDER_THAN_CUDA: (
        'Driver {driver} on {node} is older than {listed}, with which CUDA {cuda} of release "{release}" was '
        "published. It works by CUDA's minor version compatibility, but kernels that are compiled at run time can "
        "fail. Upgrade the driver to {listed} or newer."
    ),
    Reason.DRIVER_NEEDS_COMPATIBILITY: (
        'Driver {driver} on {node} runs CUDA {cuda} of release "{release}" only through the CUDA compatibility '
        "package in the image, and only on data center GPUs. Upgrade the driver to {minimum} or newer."
    ),
    Reason.DRIVER_UNREADABLE: (
        'The driver version "{driver}" of {node} is not a version number, so it was not checked against release '
        '"{release}". Check the driver labels of the node.'
    ),
    Reason.DRIVER_TOO_OLD_FOR_GPU: (
        "Driver {driver} on {node} does not support {gpu}. Upgrade the driver to {minimum} or newer."
    ),
}

# Reasons of warnings; a violation of any other reason rejects the spec.
WARNINGS: Final[frozenset[Reason]] = frozenset(
    {
        Reason.ARGUMENT_RISKY,
        Reason.ARGUMENT_IGNORED,
        Reason.VARIABLE_NOT_READ,
        Reason.FLAG_RISKY,
        Reason.RELEASE_OPTED_OUT,
        Reason.RELEASE_OUTDATED,
        Reason.CVES_REMAIN,
        Reason.ADVISORIES_STALE,
        Reason.DRIVER_OLDER_THAN_CUDA,
        Reason.DRIVER_NEEDS_COMPATIBILITY,
        Reason.DRIVER_UNREADABLE,
    }
)
