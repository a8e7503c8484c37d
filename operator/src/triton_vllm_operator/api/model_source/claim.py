"""`pvc://CLAIM[/PATH]`: a directory in a PersistentVolumeClaim."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from triton_vllm_operator.api.model_source.base import ModelSource, Objects

_VOLUME = "model"


@dataclass(frozen=True, slots=True)
class ClaimSource(ModelSource):
    """A directory in a PersistentVolumeClaim. `raw_uri`: as the user wrote it."""

    SCHEME: ClassVar[str] = "pvc"
    FORM: ClassVar[str] = "pvc://CLAIM[/PATH]"
    WHAT: ClassVar[str] = "a directory in a PersistentVolumeClaim of the same namespace"
    PATTERN: ClassVar[str] = r"^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[A-Za-z0-9._-]+)*/?$"

    raw_uri: str

    @classmethod
    def parse(cls, uri: str, revision: str | None = None) -> Self:
        return cls(uri)

    @classmethod
    def of(cls, claim_name: str) -> Self:
        """The root of a claim."""
        return cls(f"{cls.SCHEME}://{claim_name}")

    @property
    def uri(self) -> str:
        return self.raw_uri

    @property
    def claim_name(self) -> str:
        return self.raw_uri.removeprefix(f"{self.SCHEME}://").partition("/")[0]

    @property
    def path(self) -> str:
        """Path inside the claim; "" for its root."""
        return self.raw_uri.removeprefix(f"{self.SCHEME}://").partition("/")[2].strip("/")

    def engine_model(self, directory: str) -> str:
        return directory

    def inspection_arguments(self, directory: str) -> list[str]:
        folder = f"{directory}/{self.path}" if self.path else directory
        return [f"--folder={folder}", f"--display-name={self.raw_uri}"]

    def volumes(self) -> Objects:
        return [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": self.claim_name, "readOnly": True}}]

    def server_mounts(self, directory: str) -> Objects:
        return [self._mount(directory) | ({"subPath": self.path} if self.path else {})]

    def inspection_mounts(self, directory: str) -> Objects:
        """The whole claim: a subPath that does not exist would keep the pod from starting, with no clear message."""
        return [self._mount(directory)]

    def _mount(self, directory: str) -> dict[str, Any]:
        return {"name": _VOLUME, "mountPath": directory, "readOnly": True}
