"""What to do where the API server refuses a pod or another object of a namespace, by Kubernetes' own words.

The words are those of Kubernetes' admission plugins: they have no reason code.
"""

import re

_REQUIRED_LIMIT = {
    "limits.cpu": "spec.resources.cpuLimit",
    "requests.ephemeral-storage": "spec.resources.ephemeralStorage",
    "limits.ephemeral-storage": "spec.resources.ephemeralStorage",
}
"""What a ResourceQuota can require of each container, and the field that sets it. Memory and CPU requests are set."""

# Words of the API server -> what to do; {1} is what stands in the first parentheses. The first that matches counts.
_ADVICE = (
    (r"because it is being terminated", "The namespace is being deleted, and this LLMDeployment with it."),
    (r'serviceaccount "([^"]+)" not found', "Create ServiceAccount {1} or change spec.podTemplate.serviceAccountName."),
    (r"no PriorityClass with name (\S+) was found", "Create PriorityClass {1} or change "
     "spec.scheduling.priorityClassName."),
    (r'RuntimeClass "([^"]+)" not found', "Create RuntimeClass {1} or change spec.scheduling.runtimeClassName."),
    (r"must be less than or equal to cpu limit", "A LimitRange sets a CPU limit below the request: set "
     "spec.resources.cpuLimit."),
    (r"(?:maximum|minimum) \S+ (?:usage|limit) per|max limit to request ratio", "Change spec.resources to what the "
     "LimitRange of the namespace allows."),
    (r"exceeded quota", "Lower spec.replicas or spec.resources, or ask the owner of the namespace for a larger quota."),
    (r"violates PodSecurity", "The operator's containers meet the restricted Pod Security Standard: correct what adds "
     "the part that the message names, or ask the owner of the namespace to allow it."),
    (r"security context constraint", "Set the value serving.user of the operator's chart to assigned, or grant the "
     "ServiceAccount of the pods a SecurityContextConstraint."),
    (r'failed calling webhook "([^"]+)"', "Check whether the admission webhook {1} runs. It is tried again."),
    (r'admission webhook "([^"]+)" denied', "Do what the admission webhook {1} says, or ask its owner."),
    (r"ValidatingAdmissionPolicy '([^']+)'", "Do what the policy {1} says, or ask its owner."),
    (r"field not declared in schema", "The CustomResourceDefinition is older than the operator: upgrade it with the "
     "chart, or apply crds/llmdeployments.yaml of the operator's version."),
    (r"may not change once set|field is immutable", "The field cannot be changed: delete the object with kubectl "
     "delete; the operator creates it again. A Service gets another address by that."),
    (r"cannot (?:create|patch|delete|get|list) resource", "Grant the operator's ServiceAccount the right: helm upgrade "
     "restores the roles of its chart."),
)  # fmt: skip
_OTHERWISE = "Ask the owner of the namespace for the quota, permission or policy that the message names."


def advice(message: str, otherwise: str = _OTHERWISE) -> str:
    """Return what to do about the API server's refusal `message`; `otherwise` where the cause is not known."""
    if "must specify" in message and (fields := _required_fields(message)):
        return f"The quota of the namespace requires it: set {' and '.join(fields)}."
    for words, what in _ADVICE:
        if found := re.search(words, message):
            return what.replace("{1}", found.group(1) if found.groups() else "")
    return otherwise


def _required_fields(message: str) -> list[str]:
    required = message.partition("must specify")[2]
    return sorted({field for resource, field in _REQUIRED_LIMIT.items() if re.search(rf"\b{resource}\b", required)})
