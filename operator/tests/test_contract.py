"""The facts that operator and serving image share: their order in time, their names in the API and in the documents."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from contract import files, limits, paths, ports, report, tensors, timing
from tests.desired.build import built
from triton_vllm_operator.api.spec import LimitsSpec
from triton_vllm_operator.api.status import ActualStatus, PerGPUActual
from triton_vllm_operator.plan import accuracy

ROOT = Path(__file__).parents[2]


def server(name: str) -> dict[str, Any]:
    """The server's container in the pod template of a sample."""
    deployment = next(one for one in yaml.safe_load_all(built(name)) if one["kind"] == "Deployment")
    template = deployment["spec"]["template"]["spec"]
    container: dict[str, Any] = template["containers"][0]
    return container | {"grace": template["terminationGracePeriodSeconds"]}


def test_a_frozen_engine_leaves_the_service_in_time() -> None:
    probe = server("every-field")["readinessProbe"]
    found_by_image = timing.STALL_SECONDS + 2 * timing.TICK_SECONDS
    found_by_kubelet = probe["failureThreshold"] * probe["periodSeconds"] + probe["timeoutSeconds"]
    assert found_by_image + found_by_kubelet <= timing.UNREADY_WITHIN_SECONDS
    assert probe["httpGet"] == {"path": paths.READY, "port": "health"}


def test_the_image_ends_itself_with_a_cause_before_the_liveness_probe_kills_it() -> None:
    probe = server("every-field")["livenessProbe"]
    assert timing.STALL_SECONDS < timing.GIVE_UP_SECONDS
    last = timing.GIVE_UP_SECONDS + 2 * timing.TICK_SECONDS + timing.FAREWELL_SECONDS
    assert last < probe["failureThreshold"] * probe["periodSeconds"]
    assert probe["httpGet"] == {"path": paths.LIVE, "port": "health"}


def test_a_pod_stops_its_engine_before_the_kubelet_kills_it() -> None:
    found = server("every-field")
    removal = found["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = next(int(flag.split("=")[1]) for flag in found["args"] if flag.startswith("--exit-timeout-secs="))
    assert removal + drain + timing.CLOSE_SECONDS < found["grace"]


def test_ports_of_the_pod() -> None:
    by_name = {port["name"]: port["containerPort"] for port in server("every-field")["ports"]}
    assert by_name == {"http": ports.HTTP, "grpc": ports.GRPC, "metrics": ports.METRICS, "health": ports.HEALTH}


def test_every_limit_but_the_timeout_is_a_field_of_the_spec() -> None:
    assert {*LimitsSpec.model_fields, limits.REQUEST_TIMEOUT} == set(limits.KEYS)


DOCUMENTED = re.compile(r"^\| `(?:limits\.)?(\w+)` \| `(\w+)` \| ([^|]*) \|", re.MULTILINE)


def test_the_table_of_limits_in_the_documents_has_the_defaults() -> None:
    _, _, section = (ROOT / "operator/docs/serving.md").read_text().partition("\n## Limits\n")
    table = DOCUMENTED.findall(section.partition("\n## ")[0])
    assert {key: field for field, key, _ in table} == {key: to_camel(key) for key in limits.KEYS}
    for _, key, text in table:
        default = getattr(limits.DEFAULTS, key)
        if default:
            assert text.startswith((f"{default:,}", f"{default >> 20} MiB")), key
        else:
            assert text in ("none", "the engine's `max_logprobs`"), key


@pytest.mark.parametrize("key", [report.DEVICE, report.MAX_MODEL_LEN, report.BLOCKS, report.BLOCK_SIZE])
def test_the_status_has_the_reports_names(key: str) -> None:
    assert key in {field.alias for field in ActualStatus.model_fields.values()}


def test_the_status_and_the_comparison_have_the_terms_of_the_report() -> None:
    terms = set(report.MEMORY_KEYS.values())
    assert {field.alias for field in PerGPUActual.model_fields.values()} == terms
    assert set(accuracy._TERMS) == terms - {report.MEMORY_KEYS["kv_cache"]}
    names = {field.alias for field in ActualStatus.model_fields.values()}
    assert {report.PER_GPU, report.KV_CACHE_TOKENS, report.CONCURRENCY} <= names


def test_names_are_unique() -> None:
    assert len(tensors.NAMES) == len(tensors.INPUTS) + len(tensors.OUTPUTS)
    names = [files.CONFIG, files.ENGINE, files.LORA, files.SAMPLING, files.OPENAI, files.LIMITS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", sorted((ROOT / "contract").glob("*.py")), ids=lambda path: path.name)
def test_the_contract_needs_nothing_but_the_standard_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert all(module.split(".")[0] in {*sys.stdlib_module_names, "contract"} for module in modules)
