"""The architectures that are admitted without generating text, against the engine's own registry."""

from __future__ import annotations

import json
import runpy
import subprocess

import pytest

from triton_vllm_operator.catalog import pooling

from .conftest import ENVIRONMENT

REGISTRY = """
import json, vllm
from vllm.model_executor.models import registry
names = ("EMBEDDING", "LATE_INTERACTION", "REWARD", "TOKEN_CLASSIFICATION", "SEQUENCE_CLASSIFICATION")
found = {key for name in names for key in getattr(registry, f"_{name}_MODELS")}
print(json.dumps({"version": vllm.__version__.split("+")[0], "architectures": sorted(found)}))
"""
GENERATIVE = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_the_table_has_every_pooling_architecture_of_the_engine(variant: str) -> None:
    python = str(runpy.run_path(str(ENVIRONMENT))["ensure"](variant))
    done = subprocess.run([python, "-c", REGISTRY], check=True, capture_output=True, text=True, timeout=280)
    found = json.loads(done.stdout.splitlines()[-1])
    table = pooling.table()
    assert found["version"] in table.versions
    expected = {name for name in found["architectures"] if not name.endswith(GENERATIVE)}
    assert expected <= table.architectures
