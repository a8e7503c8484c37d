"""Builds the children of the samples. `cd operator && python -m tests.desired.build` rewrites the golden files.

A changed golden file means that an operator upgrade restarts pods or changes objects: say so in the changelog.
"""

from pathlib import Path
from typing import Any

import yaml

from tests.desired.samples import SAMPLES, resource
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.inspect_pod import inspect_pod

GOLDEN = Path(__file__).parent / "golden"
IMAGE = ServingImage("registry.example/triton-vllm:vllm-0.32.0", "vllm-0.32.0", stock=False)
STOCK = ServingImage("nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3", "26.07", stock=True)
DEFAULTS = Defaults(image_pull_policy="IfNotPresent", env={"HF_ENDPOINT": "http://hub.models"})


def llm(spec: dict[str, Any], name: str = "llama") -> LLMDeployment:
    """A parsed LLMDeployment."""
    return LLMDeployment.parse(resource(name, spec))


def built(name: str) -> str:
    """The children of a sample as YAML documents."""
    image = STOCK if name == "stock-image" else IMAGE
    return yaml.safe_dump_all(children(llm(SAMPLES[name]), image, DEFAULTS), sort_keys=False, width=120)


def inspection(name: str) -> str:
    """The inspection pod of a sample as a YAML document."""
    pod = inspect_pod(llm(SAMPLES[name]), "registry.example/triton-vllm-operator:1.0.0", "IfNotPresent", DEFAULTS)
    return yaml.safe_dump(pod, sort_keys=False, width=120)


if __name__ == "__main__":
    for sample in SAMPLES:
        (GOLDEN / "inspection" / f"{sample}.yaml").write_text(inspection(sample))
        (GOLDEN / f"{sample}.yaml").write_text(built(sample))
