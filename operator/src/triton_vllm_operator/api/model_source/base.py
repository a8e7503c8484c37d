"""What a model source is: the interface that each scheme of `spec.model.uri` implements."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from triton_vllm_operator.api.secret_ref import SecretKeyRef

Objects = list[dict[str, Any]]


class ModelSource(ABC):
    """Where a model's files are.

    Attributes:
        SCHEME: scheme of the URI, without "://".
        FORM: the URI as help texts write it.
        WHAT: what FORM names, for `kubectl explain`.
        PATTERN: regular expression (RE2) of the whole URI.
        TOKEN_VARIABLE: environment variable of the access token; None where a source takes no token.
        HAS_REVISIONS: whether `spec.model.revision`, or @REVISION in the URI, selects a version of the files.
    """

    SCHEME: ClassVar[str]
    FORM: ClassVar[str]
    WHAT: ClassVar[str]
    PATTERN: ClassVar[str]
    TOKEN_VARIABLE: ClassVar[str | None] = None
    HAS_REVISIONS: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def parse(cls, uri: str, revision: str | None) -> Self:
        """The source of a URI that matches PATTERN; `revision` is `spec.model.revision`."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """The URI without a revision."""

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit; None for the default one."""
        return None

    @property
    def pinned(self) -> bool:
        """Whether the files can never change, so that reading them once is enough."""
        return False

    @property
    def display_name(self) -> str:
        """The model in messages."""
        return self.uri

    @property
    def claim_name(self) -> str | None:
        """The PersistentVolumeClaim that must be bound before a pod mounts it; None without one."""
        return None

    @abstractmethod
    def engine_model(self, directory: str) -> str:
        """vLLM's argument `model`. `directory`: where `server_mounts` mounts the files."""

    @abstractmethod
    def inspection_arguments(self, directory: str) -> list[str]:
        """Arguments of `python3 -m triton_vllm_operator.inspect`; `directory` as in `inspection_mounts`."""

    def volumes(self) -> Objects:
        """Volumes of the serving pod and of the inspection pod."""
        return []

    def server_mounts(self, directory: str) -> Objects:
        """The server's volumeMounts: the model's own files at `directory`."""
        return []

    def inspection_mounts(self, directory: str) -> Objects:
        """The inspection container's volumeMounts, at or below `directory`."""
        return []

    def environment(self, token: SecretKeyRef | None) -> Objects:
        """Environment variables with which both pods reach the source; `token` is `spec.model.tokenSecretRef`."""
        if self.TOKEN_VARIABLE is None or token is None:
            return []
        reference = {"secretKeyRef": {"name": token.name, "key": token.key}}
        return [{"name": self.TOKEN_VARIABLE, "valueFrom": reference}]

    def identity(self) -> dict[str, str]:
        """What identifies the files, as the first fields of `status.model`."""
        return {"uri": self.uri} | ({"revision": self.revision} if self.revision else {})
