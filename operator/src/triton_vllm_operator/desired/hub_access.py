"""With what the inspection pod reaches the hub: the server's own variables, and the files that they name.

All comes from the serving pod's environment, volumes and mounts, so that both reach the same hub in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.pod import environment, user_volumes

Objects = list[dict[str, Any]]

# Variables with which the hub is reached. Others could change what Python runs, so they are not passed on.
_NETWORK_VARIABLE = re.compile(
    r"HF_(?!HOME$)\w+|HUGGING_FACE_HUB_TOKEN|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE",
    re.IGNORECASE,
)
# Those that name files. The others of `HF_*` may name folders of a cache, which reading a model does not need.
_FILE_VARIABLE = re.compile(r"HF_TOKEN_PATH|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE", re.IGNORECASE)
_TOKEN_VARIABLES = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"})
_REFERENCE = re.compile(r"\$\(([^()]+)\)")
_OWN = {"HOME": "/tmp", "HF_HOME": "/tmp/huggingface"}
_SYSTEM_CERTIFICATES = (PurePosixPath("/etc/ssl"), PurePosixPath("/etc/pki"))


@dataclass(frozen=True, slots=True)
class HubAccess:
    """Parts of the inspection pod. `env_from`, `mounts`: of its container. `volumes`: of the pod."""

    env: Objects
    env_from: Objects
    mounts: Objects
    volumes: Objects


def hub_access(llm: LLMDeployment, defaults: Defaults, bound_claims: frozenset[str] = frozenset()) -> HubAccess:
    """What the inspection pod takes over from the serving pod.

    ConfigMaps and Secrets are mounted where a variable names a file of them, or may name one: the values of `envFrom`
    and `valueFrom` are not known here. A claim is mounted, read-only, where a variable names a file of it.

    Args:
        bound_claims: PersistentVolumeClaims that are bound to a volume. Others are not mounted: the first pod of a
            claim selects the volume's node, without regard to GPUs.
    """
    server = environment(llm, defaults)
    values = _values(server)
    known = [entry for entry in server if _NETWORK_VARIABLE.fullmatch(entry["name"])]
    cached = None if _has_token(known) or not _reaches_hub(llm) else _cached_token(values)
    mounts = [_read_only(mount, llm) for mount in _mounts(llm, known, values, cached, bound_claims)]
    if cached is not None and any(_overlap(cached, mount) for mount in mounts):
        known.append({"name": "HF_TOKEN_PATH", "value": str(cached)})
    passed = _with_references({entry["name"] for entry in known}, server, mounts)
    used = {mount["name"] for mount in mounts}
    return HubAccess(
        env=_ordered(llm, [e for e in server if e["name"] in passed] + [e for e in known if e not in server], values),
        env_from=llm.spec.pod_template.env_from,
        mounts=mounts,
        volumes=[volume for volume in user_volumes(llm) if volume["name"] in used],
    )


def claims_of_files(llm: LLMDeployment, defaults: Defaults) -> frozenset[str]:
    """Names of the claims that `hub_access` mounts if they are bound."""
    every = frozenset(v.persistent_volume_claim["claimName"] for v in _claims(llm).values())
    volumes = hub_access(llm, defaults, every).volumes
    return frozenset(v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v)


def _reaches_hub(llm: LLMDeployment) -> bool:
    return llm.spec.model.source.TOKEN_VARIABLE is not None


def _claims(llm: LLMDeployment) -> dict[str, Any]:
    return {v.name: v for v in llm.spec.pod_template.volumes if v.persistent_volume_claim}


def _mounts(
    llm: LLMDeployment, known: Objects, values: dict[str, str], cached: PurePosixPath | None, bound: frozenset[str]
) -> Objects:
    """The server's mounts with files that the hub's client reads."""
    template = llm.spec.pod_template
    hub = _reaches_hub(llm)
    contents = {volume.name for volume in template.volumes if volume.config_map or volume.secret}
    claims = {n for n, v in _claims(llm).items() if hub and v.persistent_volume_claim["claimName"] in bound}
    files = [*_paths((e["name"] for e in known if _FILE_VARIABLE.fullmatch(e["name"])), values)]
    files += [cached] if cached else []
    named = [*files, *_paths((e["name"] for e in known), values), *_SYSTEM_CERTIFICATES]
    # A file whose path is not known may be in any of them.
    hidden = (hub and bool(template.env_from)) or any(
        _FILE_VARIABLE.fullmatch(e["name"]) and (e["name"] not in values or _REFERENCE.search(values[e["name"]]))
        for e in known
    )
    return [
        mount
        for mount in template.volume_mounts
        if (mount["name"] in contents and (hidden or any(_overlap(path, mount) for path in named)))
        or (mount["name"] in claims and any(_overlap(path, mount) for path in files))
    ]


def _read_only(mount: dict[str, Any], llm: LLMDeployment) -> dict[str, Any]:
    return mount | {"readOnly": True} if mount["name"] in _claims(llm) else mount


def _overlap(path: PurePosixPath, mount: dict[str, Any]) -> bool:
    """Whether the path is in what is mounted, or contains it."""
    where = PurePosixPath(mount["mountPath"])
    return path.is_relative_to(where) or where.is_relative_to(path)


def _has_token(known: Objects) -> bool:
    return any(e["name"] in _TOKEN_VARIABLES and (e.get("value") or e.get("valueFrom")) for e in known)


def _cached_token(values: dict[str, str]) -> PurePosixPath | None:
    """Where the server's hub client reads the token of `hf auth login`; None where that is not known."""
    home = values.get("HF_HOME", "")
    return PurePosixPath(home) / "token" if home.startswith("/") and not _REFERENCE.search(home) else None


def _values(server: Objects) -> dict[str, str]:
    """The values that are known, with references to each other resolved in Kubernetes' order."""
    values: dict[str, str] = {}
    for entry in server:
        if "valueFrom" not in entry:
            text = str(entry.get("value", ""))
            values[entry["name"]] = _REFERENCE.sub(lambda found: values.get(found[1], found[0]), text)
    return values


def _paths(variables: Iterable[str], values: dict[str, str]) -> Iterator[PurePosixPath]:
    """The absolute paths in these values; `SSL_CERT_DIR` may have several, separated by colons."""
    for name in variables:
        for text in values.get(name, "").split(":"):
            if text.startswith("/") and not text.startswith("//"):  # not the rest of a URL
                yield PurePosixPath(text)


def _with_references(variables: set[str], server: Objects, mounts: Objects) -> set[str]:
    """The variables, and all to which their values and the mounts' `subPathExpr` refer."""
    texts = {entry["name"]: str(entry.get("value", "")) for entry in server}
    found = variables | {name for mount in mounts for name in _REFERENCE.findall(mount.get("subPathExpr", ""))}
    while more := {name for one in found for name in _REFERENCE.findall(texts.get(one, ""))} - found:
        found |= more
    return found


def _ordered(llm: LLMDeployment, entries: Objects, values: dict[str, str]) -> Objects:
    """The operator's variables by name, then the user's, which may refer to the others."""
    theirs = {entry["name"] for entry in llm.spec.pod_template.env}
    own = {entry["name"]: entry for entry in entries if entry["name"] not in theirs}
    own |= {name: {"name": name, "value": value} for name, value in _OWN.items()}
    users = [e for e in entries if e["name"] in theirs and e["name"] not in _OWN]
    return [_resolved(entry, values) for entry in [*(own[name] for name in sorted(own)), *users]]


def _resolved(entry: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """References to variables that have another value here are replaced by the server's values."""
    text = str(entry.get("value", ""))
    resolved = _REFERENCE.sub(lambda found: values.get(found[1], found[0]) if found[1] in _OWN else found[0], text)
    return entry if resolved == text else entry | {"value": resolved}
