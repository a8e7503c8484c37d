"""What the API server says of a pod that it refuses has advice that fits the cause."""

from __future__ import annotations

import pytest

from triton_vllm_operator.observed import refusals

POD = 'pods "a-5d8b9c-x2x7v" is forbidden:'

# fmt: off
WORDS: list[tuple[str, str]] = [
    (f"{POD} exceeded quota: team, requested: requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=8", "Lower spec.replicas or spec.resources, or ask the owner of the namespace for a larger quota."),
    (f"{POD} failed quota: team: must specify limits.cpu for: server", "The quota of the namespace requires it: set spec.resources.cpuLimit."),
    (f"{POD} failed quota: team: must specify limits.cpu,limits.ephemeral-storage,requests.ephemeral-storage for: server", "set spec.resources.cpuLimit and spec.resources.ephemeralStorage."),
    (f"{POD} failed quota: team: must specify requests.storage for: server", "Ask the owner of the namespace"),
    ('Pod "a-5d8b9c-x2x7v" is invalid: spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 500m', "set spec.resources.cpuLimit."),
    (f"{POD} maximum memory usage per Container is 8Gi, but limit is 18Gi", "Change spec.resources to what the LimitRange"),
    (f"{POD} [minimum cpu usage per Pod is 4, but request is 2, cpu max limit to request ratio per Pod is 2, but provided ratio is 4.000000]", "LimitRange"),
    (f'{POD} violates PodSecurity "restricted:latest": unrestricted capabilities (container "istio-init" must set)', "correct what adds the part"),
    (f'{POD} error looking up service account team/runner: serviceaccount "runner" not found', "Create ServiceAccount runner or change spec.podTemplate.serviceAccountName."),
    (f"{POD} no PriorityClass with name batch was found", "Create PriorityClass batch or change spec.scheduling.priorityClassName."),
    (f'{POD} pod rejected: RuntimeClass "nvidia" not found', "Create RuntimeClass nvidia or change spec.scheduling.runtimeClassName."),
    (f"{POD} unable to validate against any security context constraint: [provider restricted-v2]", "serving.user"),
    ('Internal error occurred: failed calling webhook "sidecar-injector.example": no endpoints available for service "injector"', "Check whether the admission webhook sidecar-injector.example runs. It is tried again."),
    ('admission webhook "validation.gatekeeper.sh" denied the request: label owner is missing', "Do what the admission webhook validation.gatekeeper.sh says"),
    (f"{POD} ValidatingAdmissionPolicy 'images' with binding 'team' denied request: no", "Do what the policy images says"),
    (f"{POD} unable to create new content in namespace team because it is being terminated", "The namespace is being deleted, and this LLMDeployment with it."),
    ('deployments.apps is forbidden: User "system:serviceaccount:o:o" cannot create resource "deployments" in API group "apps" in the namespace "team"', "helm upgrade restores the roles"),
    ('apply-status LLMDeployment: failed to create typed patch object (team/a; serving.triton-vllm.dev/v1alpha1, Kind=LLMDeployment): .status.operator: field not declared in schema', "The CustomResourceDefinition is older than the operator"),
    ('Service "a" is invalid: spec.loadBalancerClass: Invalid value: "x": may not change once set', "A Service gets another address"),
    (f"{POD} words of tomorrow", "Ask the owner of the namespace"),
]
# fmt: on


@pytest.mark.parametrize(("message", "advice"), WORDS, ids=[advice for _, advice in WORDS])
def test_the_advice_fits_the_cause(message: str, advice: str) -> None:
    assert advice in refusals.advice(message)
