"""`spec.podTemplate`: additions to the pods."""

from typing import Annotated, Any

from pydantic import Field

from triton_vllm_operator.api import names
from triton_vllm_operator.api.schema import Model, cel, embedded, field


class VolumeSpec(Model):
    """One additional volume, from a source that belongs to the namespace."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.emptyDir), has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)]"
                ".filter(x, x).size() == 1",
                "a volume has exactly one of emptyDir, configMap, secret and persistentVolumeClaim",
            ),
            (
                "!(self.name in ['repository', 'model', 'cache', 'shm', 'tmp'])",
                "the volume names repository, model, cache, shm and tmp belong to the operator",
            ),
        )
    }

    name: str = Field(
        max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name that volumeMounts refer to."
    )
    empty_dir: Annotated[dict[str, Any], embedded("V1EmptyDirVolumeSource")] | None = field(
        description="An empty directory that lives as long as the pod."
    )
    config_map: Annotated[dict[str, Any], embedded("V1ConfigMapVolumeSource")] | None = field(
        description="Keys of a ConfigMap as files."
    )
    secret: Annotated[dict[str, Any], embedded("V1SecretVolumeSource")] | None = field(
        description="Keys of a Secret as files."
    )
    persistent_volume_claim: Annotated[dict[str, Any], embedded("V1PersistentVolumeClaimVolumeSource")] | None = field(
        description="A PersistentVolumeClaim of the same namespace."
    )


class PodTemplateSpec(Model):
    """A small typed set of additions to the pods."""

    labels: dict[str, str] = field(
        {},
        description="More labels for the pods. Labels of the operator are refused.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/') || k.startsWith('app.kubernetes.io/'))",
                f"labels under {names.GROUP}/ and app.kubernetes.io/ belong to the operator",
            )
        ),
        max_length=64,
    )
    annotations: dict[str, str] = field(
        {},
        description="More annotations for the pods. Annotations of the operator are refused.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/'))",
                f"annotations under {names.GROUP}/ belong to the operator",
            )
        ),
        max_length=64,
    )
    env: list[Annotated[dict[str, Any], embedded("V1EnvVar")]] = field(
        [],
        max_length=128,
        description="More environment variables of the server; they win over the operator's own.",
    )
    env_from: list[Annotated[dict[str, Any], embedded("V1EnvFromSource")]] = field(
        [], max_length=32, description="ConfigMaps and Secrets whose keys become environment variables of the server."
    )
    volumes: list[VolumeSpec] = field([], max_length=32, description="More volumes of the pods.")
    volume_mounts: list[Annotated[dict[str, Any], embedded("V1VolumeMount")]] = field(
        [], max_length=32, description="Where the server sees the additional volumes."
    )
    image_pull_secrets: list[Annotated[dict[str, Any], embedded("V1LocalObjectReference")]] = field(
        [], max_length=16, description="Secrets for pulling the image."
    )
    service_account_name: str | None = field(
        max_length=253,
        description="ServiceAccount of the pods. Its token is never mounted. Default: the namespace's default one.",
    )
