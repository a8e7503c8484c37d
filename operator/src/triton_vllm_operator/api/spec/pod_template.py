"""`spec.podTemplate`: additions to the pods."""

from typing import Annotated, Any

from pydantic import Field

from triton_vllm_operator.api import names
from triton_vllm_operator.api.schema import Model, cel, embedded, field


class VolumeSpec(Model):
    """An additional volume, from a source in the namespace."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.emptyDir), has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)]"
                ".filter(x, x).size() == 1",
                "a volume must have exactly one of emptyDir, configMap, secret and persistentVolumeClaim",
            ),
            (
                "!(self.name in ['repository', 'model', 'cache', 'shm', 'tmp'])",
                "the volume names repository, model, cache, shm and tmp belong to the operator. Use another name",
            ),
        )
    }

    name: str = Field(
        max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name of the volume, for volumeMounts."
    )
    empty_dir: Annotated[dict[str, Any], embedded("V1EmptyDirVolumeSource")] | None = field(
        description="An empty directory that is deleted with the pod."
    )
    config_map: Annotated[dict[str, Any], embedded("V1ConfigMapVolumeSource")] | None = field(
        description="A ConfigMap, with its keys as files."
    )
    secret: Annotated[dict[str, Any], embedded("V1SecretVolumeSource")] | None = field(
        description="A Secret, with its keys as files."
    )
    persistent_volume_claim: Annotated[dict[str, Any], embedded("V1PersistentVolumeClaimVolumeSource")] | None = field(
        description="A PersistentVolumeClaim of the same namespace."
    )


class ContainerSpec(Model):
    """A container beside the server. It gets the server's security context: no privileges, and a read-only root."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            ("self.name != 'server'", "the container name server belongs to the operator. Use another name")
        )
    }

    name: str = Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name of the container.")
    image: str = Field(min_length=1, max_length=512, pattern=r"^\S+$", description="Image of the container.")
    command: list[str] = field([], max_length=64, description="Program. Default: the image's entry point.")
    args: list[str] = field([], max_length=128, description="Arguments of the program.")
    env: list[Annotated[dict[str, Any], embedded("V1EnvVar")]] = field(
        [], max_length=128, description="Environment variables."
    )
    env_from: list[Annotated[dict[str, Any], embedded("V1EnvFromSource")]] = field(
        [], max_length=32, description="ConfigMaps and Secrets whose keys become environment variables."
    )
    volume_mounts: list[Annotated[dict[str, Any], embedded("V1VolumeMount")]] = field(
        [], max_length=32, description="Where volumes of the pod are mounted, for example model or cache."
    )
    resources: Annotated[dict[str, Any], embedded("V1ResourceRequirements")] | None = field(
        description="Requests and limits of the container."
    )


class InheritSpec(Model):
    """What pods get of the LLMDeployment's metadata. The other children have its labels anyway."""

    labels: list[str] = field(
        [],
        max_length=64,
        description="Names of labels of the LLMDeployment that its pods get, for example cost-center.",
    )
    annotations: list[str] = field(
        [], max_length=64, description="Names of annotations of the LLMDeployment that its pods get."
    )


class PodTemplateSpec(Model):
    """Additions to the pods."""

    labels: dict[str, str] = field(
        {},
        description="Additional labels of the pods. Labels that the operator owns are rejected. A change restarts the "
        "pods, one after the other.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/') || k.startsWith('app.kubernetes.io/'))",
                f"labels under {names.GROUP}/ and app.kubernetes.io/ belong to the operator. Use another prefix",
            )
        ),
        max_length=64,
    )
    annotations: dict[str, str] = field(
        {},
        description="Additional annotations of the pods, for example for a service mesh. Annotations that the operator "
        "owns are rejected. A change restarts the pods, one after the other.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/'))",
                f"annotations under {names.GROUP}/ belong to the operator. Use another prefix",
            )
        ),
        max_length=64,
    )
    inherit: InheritSpec = field(
        InheritSpec(),
        description="Labels and annotations of the LLMDeployment that its pods get. A change of their values restarts "
        "the pods.",
    )
    init_containers: list[ContainerSpec] = field(
        [],
        max_length=16,
        description="Containers that run to their end, one after the other, before the server starts.",
    )
    sidecars: list[ContainerSpec] = field(
        [],
        max_length=16,
        description="Containers that run beside the server: they start before it and end after it.",
    )
    env: list[Annotated[dict[str, Any], embedded("V1EnvVar")]] = field(
        [],
        max_length=128,
        description="Additional environment variables of the server. They override those that the operator sets.",
    )
    env_from: list[Annotated[dict[str, Any], embedded("V1EnvFromSource")]] = field(
        [], max_length=32, description="ConfigMaps and Secrets whose keys become environment variables of the server."
    )
    volumes: list[VolumeSpec] = field([], max_length=32, description="Additional volumes of the pods.")
    volume_mounts: list[Annotated[dict[str, Any], embedded("V1VolumeMount")]] = field(
        [], max_length=32, description="Where the additional volumes are mounted in the server's container."
    )
    image_pull_secrets: list[Annotated[dict[str, Any], embedded("V1LocalObjectReference")]] = field(
        [], max_length=16, description="Secrets for pulling the serving image."
    )
    service_account_name: str | None = field(
        max_length=253,
        description="Name of the ServiceAccount of the pods. Its token is never mounted. Default: the namespace's "
        "ServiceAccount default.",
    )
