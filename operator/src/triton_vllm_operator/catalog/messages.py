"""Every sentence of this package, one for each reason. A message ends with the line to write instead.

Reasons are the one-word CamelCase of Kubernetes conditions. tests/catalog/golden/texts.txt shows each with real values.
"""

from typing import Final

from triton_vllm_operator.api.reasons import Reason

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
    Reason.ARGUMENT_TOO_DEEP: (
        "{name} is nested more than {most} levels deep, which no engine argument needs. Leave {field} out."
    ),
    Reason.ARGUMENT_SPELLING: "Engine arguments are written as in Python, not as {name}. Write {instead}.",
    Reason.ARGUMENT_UNSAFE: "{name} is not taken from extraArgs. {why} {instead}",
    Reason.ARGUMENT_OWNED: "{name} belongs to the operator. {why} {instead}",
    Reason.ARGUMENT_HAS_FIELD: "{name} has a field of its own. Write {instead}.",
    Reason.ARGUMENT_OF_SERVER: (
        "{name} is an option of vLLM's own HTTP server and not of the engine, which would stop at it. {instead}"
    ),
    Reason.ARGUMENT_OF_REQUEST: (
        "{name} is a parameter of each request and not of the engine: vLLM would stop at it. Leave {field} out and "
        "send it with the request."
    ),
    Reason.ARGUMENT_MOVED: (
        "{engine} no longer takes {name} (the last version that did is {last}) and would stop at it. {why} "
        "Write {instead}."
    ),
    Reason.ARGUMENT_REMOVED: (
        "{engine} no longer takes {name} (the last version that did is {last}) and would stop at it. {why} "
        "Leave {field} out."
    ),
    Reason.ARGUMENT_TOO_NEW: (
        "{engine} does not take {name} yet (vLLM {first} does), and would stop at it. Leave {field} out."
    ),
    Reason.ARGUMENT_NEEDS_RELEASE: (
        "{engine} does not take {name} yet (vLLM {first} does), and would stop at it. Write "
        'spec.server.release: "{release}" or newer, or leave {field} out.'
    ),
    Reason.ARGUMENT_MISSPELT: (
        "{engine} has no argument {name} and would stop at it. If this is what you mean, write {instead}."
    ),
    Reason.ARGUMENT_UNKNOWN: "{engine} has no argument {name} and would stop at it. Leave {field} out.",
    Reason.ARGUMENT_TYPE: "{name} takes {takes}, not {given}. {instead}",
    Reason.ARGUMENT_CHOICE: (
        "{name} of {engine} takes one of {choices}; {given} is none of them. Write {field}: {instead}."
    ),
    Reason.ARGUMENT_BOUND: "{name} must be {bound}, and {given} is not. Write {field}: with a number {bound}.",
    Reason.ARGUMENT_RISKY: "{name} is taken, but mind this. {why}",
    Reason.ARGUMENTS_CONTRADICT: "{field} contradicts {other}: {why}. Write {instead}.",
    Reason.ARGUMENT_IGNORED: "{field} does nothing beside {other}: {why}. Write {instead}, or leave it out.",
    Reason.FIELD_OF_OWN_IMAGE: (
        'NVIDIA\'s image of release "{release}" does not read {field}: it would do nothing. Leave it out, or write '
        'spec.server.release: "{newest}" with the operator\'s own image.'
    ),
    Reason.FLAG_UNKNOWN: "tritonserver has no flag --{name} and would exit at it. Leave {field} out.",
    Reason.FLAG_MISSPELT: (
        "tritonserver has no flag --{name} and would exit at it. If this is what you mean, write {instead}."
    ),
    Reason.FLAG_OWNED: "--{name} belongs to the operator. {why} {instead}",
    Reason.FLAG_REFUSED: "--{name} is not taken. {why} {instead}",
    Reason.FLAG_WITHOUT_EFFECT: "--{name} would do nothing. {why} {instead}",
    Reason.FLAG_TOO_NEW: (
        "tritonserver of release {code} has no flag --{name} (it came by {since}) and would exit at it. "
        "Leave {field} out."
    ),
    Reason.FLAG_VALUE: "--{name} takes {takes}. Write --{name}= and {takes} behind it.",
    Reason.FLAG_RISKY: "--{name} is taken, but mind this. {why}",
    Reason.RELEASE_UNSAFE: (
        'Release "{release}" has {count} open CVEs and is never run: anybody who reaches its port can run code. '
        '{cves}. Write {field}: "{newest}".'
    ),
    Reason.RELEASE_NEEDS_OPT_OUT: (
        'Release "{release}" has {count} open CVEs. {cves}. Write {field}: "{newest}". (An administrator can allow it '
        'in this namespace with the annotation {annotation}: "true".)'
    ),
    Reason.RELEASE_OPTED_OUT: (
        'Release "{release}" has {count} open CVEs and runs because the namespace says {annotation}: "true". {cves}. '
        'Write {field}: "{newest}".'
    ),
    Reason.RELEASE_OUTDATED: 'Release "{release}" has {count} open CVEs. {cves}. Write {field}: "{newest}".',
    Reason.CVES_REMAIN: (
        'Release "{release}" has {count} open CVEs, and no release of the table is without them. {cves}. Let only '
        "clients that you trust reach its ports."
    ),
    Reason.ADVISORIES_STALE: (
        "The operator's table of CVEs was last checked on {checked}: newer ones can be missing. Update the operator."
    ),
    Reason.DRIVER_TOO_OLD: (
        'Driver {driver} on {node} cannot run CUDA {cuda} of release "{release}": the least is {least}. Update it to '
        "{least} or newer."
    ),
    Reason.DRIVER_OLDER_THAN_CUDA: (
        'Driver {driver} on {node} is older than {listed}, with which CUDA {cuda} of release "{release}" came. It '
        "runs by CUDA's minor version compatibility; kernels compiled at run time can fail. Update it to "
        "{listed} or newer."
    ),
    Reason.DRIVER_NEEDS_COMPATIBILITY: (
        'Driver {driver} on {node} runs CUDA {cuda} of release "{release}" only through the compatibility package in '
        "the image, and only on data center GPUs. Update it to {least} or newer."
    ),
    Reason.DRIVER_UNREADABLE: (
        "The driver version {driver} of {node} cannot be read, so it is not checked against release {release}."
    ),
    Reason.DRIVER_TOO_OLD_FOR_GPU: (
        "Driver {driver} on {node} does not know {gpu}: the first that does is {least}. Update it to {least} or newer."
    ),
}

# Reasons that only warn; all others refuse.
WARNINGS: Final[frozenset[Reason]] = frozenset(
    {
        Reason.ARGUMENT_RISKY,
        Reason.ARGUMENT_IGNORED,
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
