"""`hf://ORG/REPO[@REVISION]`: a repository of the Hugging Face Hub."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from triton_vllm_operator.api.model_source.base import ModelSource

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubSource(ModelSource):
    """A repository of the Hugging Face Hub. `repository`: ORG/REPO. `revision`: None for the default branch."""

    SCHEME: ClassVar[str] = "hf"
    FORM: ClassVar[str] = "hf://ORG/REPO[@REVISION]"
    WHAT: ClassVar[str] = "a Hugging Face repository"
    PATTERN: ClassVar[str] = rf"^hf://{_NAME}/{_NAME}(@[A-Za-z0-9][A-Za-z0-9._/-]{{0,199}})?$"
    TOKEN_VARIABLE: ClassVar[str | None] = "HF_TOKEN"
    HAS_REVISIONS: ClassVar[bool] = True

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, uri: str, revision: str | None = None) -> Self:
        """See `ModelSource.parse`; also takes ORG/REPO[@REVISION], without the scheme."""
        repository, _, inside = uri.removeprefix("hf://").partition("@")
        return cls(repository, inside or revision)

    @property
    def uri(self) -> str:
        return f"hf://{self.repository}"

    @property
    def pinned(self) -> bool:
        return _COMMIT.fullmatch(self.revision or "") is not None

    @property
    def display_name(self) -> str:
        return self.repository

    def engine_model(self, directory: str) -> str:
        return self.repository

    def inspection_arguments(self, directory: str) -> list[str]:
        return [f"--repository={self.repository}", *([f"--revision={self.revision}"] if self.revision else [])]


def is_repository(name: str) -> bool:
    """Whether `name` is a valid ORG/REPO of the Hub."""
    return ".." not in name and re.fullmatch(f"{_NAME}/{_NAME}", name) is not None
