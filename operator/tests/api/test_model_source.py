"""The source of a model: what its URI means, and that only its own modules know a scheme."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from triton_vllm_operator.api import model_source
from triton_vllm_operator.api.model_source import SOURCES, ClaimSource, HubSource, ModelSource
from triton_vllm_operator.api.secret_ref import SecretKeyRef

PACKAGE = Path(model_source.__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = SecretKeyRef(name="hub", key="token")


def parsed(uri: str, revision: str | None = None) -> ModelSource:
    return model_source.parse(uri, revision)


@pytest.mark.parametrize(
    ("uri", "revision", "identity"),
    [
        ("hf://org/model", None, {"uri": "hf://org/model"}),
        ("hf://org/model@v1", None, {"uri": "hf://org/model", "revision": "v1"}),
        ("hf://org/model", "v1", {"uri": "hf://org/model", "revision": "v1"}),
        ("pvc://models/a/b/", None, {"uri": "pvc://models/a/b/"}),
    ],
)
def test_the_identity_is_the_uri_and_the_revision(uri: str, revision: str | None, identity: dict[str, str]) -> None:
    assert parsed(uri, revision).identity() == identity


@pytest.mark.parametrize(
    "uri", ["", "hf://org", "hf://org/model@", "hf://org/../x", "pvc://Claim", "pvc://", "s3://b/k"]
)
def test_other_uris_are_invalid(uri: str) -> None:
    with pytest.raises(ValueError, match=r"uri must be hf://ORG/REPO\[@REVISION\] or pvc://CLAIM\[/PATH\]"):
        parsed(uri)


def test_a_repository_is_loaded_by_its_name_and_needs_no_volume() -> None:
    source = parsed("hf://org/model@v1")
    assert source.engine_model("/model") == "org/model"
    assert source.inspection_arguments("/model") == ["--repository=org/model", "--revision=v1"]
    assert source.volumes() == source.server_mounts("/model") == source.inspection_mounts("/model") == []
    assert source.claim_name is None
    assert source.display_name == "org/model"


def test_a_claim_is_mounted_read_only_at_the_models_directory() -> None:
    source = parsed("pvc://models/llama/7b")
    mount = {"name": "model", "mountPath": "/model", "readOnly": True}
    assert source.engine_model("/model") == "/model"
    assert source.server_mounts("/model") == [{**mount, "subPath": "llama/7b"}]
    assert source.inspection_mounts("/model") == [mount]
    folder, name = source.inspection_arguments("/model")
    assert folder == "--folder=/model/llama/7b"
    assert name.endswith("=pvc://models/llama/7b")
    assert source.claim_name == "models"
    root = parsed("pvc://models/")
    assert root.server_mounts("/model") == [mount]
    assert root.inspection_arguments("/model")[0] == "--folder=/model"


def test_only_a_full_commit_is_pinned() -> None:
    assert parsed("hf://org/model", COMMIT).pinned
    assert not any(parsed("hf://org/model", name).pinned for name in (None, "main", COMMIT[:7], COMMIT + "0"))
    assert not parsed("pvc://models").pinned


def test_only_a_source_with_a_token_gets_one() -> None:
    [entry] = parsed("hf://org/model").environment(TOKEN)
    assert entry == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert parsed("hf://org/model").environment(None) == []
    assert parsed("pvc://models").environment(TOKEN) == []


def test_a_uri_belongs_to_one_source() -> None:
    for source, example in ((HubSource, "hf://org/model"), (ClaimSource, "pvc://models/a")):
        assert isinstance(parsed(example), source)
    assert len({source.SCHEME for source in SOURCES}) == len(SOURCES)


def test_no_other_module_knows_a_scheme() -> None:
    schemes = [f"{source.SCHEME}://" for source in SOURCES]
    own = Path(model_source.__file__).parent
    files = [file for file in PACKAGE.rglob("*.py") if own not in file.parents]
    assert len(files) > 100
    found = {
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(one in node.value for one in schemes)
    }
    assert found == set(), "ask spec.model.source instead"
