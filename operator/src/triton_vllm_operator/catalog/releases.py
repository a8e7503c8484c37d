"""The vLLM version, CUDA and driver in each release, and the release in an image: data/releases.yaml.

`spec.server.release` names a row: NVIDIA's YY.MM, or `vllm-X.Y.Z` for our own image. The tag of an image names it
too, if it begins with `YY.MM-vllm-python-py3` (NVIDIA's, also mirrored or rebuilt), or with `vllm-X.Y.Z` in a
repository called `triton-vllm` (ours). Any other image needs `spec.server.release`.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.versions import DriverVersion, TritonRelease, VLLMVersion, parse_triton_release
from triton_vllm_operator.catalog.violations import Violation, violation

Line = Literal["nvidia", "own"]

NVIDIA_REPOSITORY = "nvcr.io/nvidia/tritonserver"
OWN_NAME = "triton-vllm"

_NVIDIA_TAG = re.compile(r"([0-9]{2}\.[0-9]{2})-vllm-python-py3(?:[-_.].*)?")
_NVIDIA_OTHER_TAG = re.compile(r"([0-9]{2}\.[0-9]{2})-(?:.*-)?py3(?:-.*)?")
_OWN_TAG = re.compile(r"(vllm-[0-9]+\.[0-9]+\.[0-9]+(?:\.[0-9]+|\.post[0-9]+)?)(?:[-_].*)?")


@dataclass(frozen=True, slots=True)
class Release:
    """One row; the data file explains the keys. None: no source names it."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    release: str
    line: Line
    server_code: TritonRelease
    checked: date
    source: str
    forward_compat: bool
    triton: str | None = None
    vllm: VLLMVersion | None = None
    build: str | None = None
    arguments_of: VLLMVersion | None = None
    cuda: str | None = None
    listed_driver: DriverVersion | None = None

    @property
    def arguments_version(self) -> str | None:
        """The published vLLM whose engine arguments this release supports."""
        return self.arguments_of or self.vllm

    @property
    def image(self) -> str | None:
        """NVIDIA's public image of this release; None for ours, which has no public registry."""
        return f"{NVIDIA_REPOSITORY}:{self.release}-vllm-python-py3" if self.line == "nvidia" else None


@dataclass(frozen=True, slots=True)
class Releases:
    """The whole table, in the order of the file. `minimum_driver`: CUDA major version -> driver version."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    sources: dict[str, str]
    minimum_driver: dict[int, DriverVersion]
    forward_compat_minimum_driver: DriverVersion
    releases: tuple[Release, ...]

    def find(self, name: str) -> Release | None:
        """The row of a release."""
        return next((row for row in self.releases if row.release == name), None)

    def usable(self, line: Line) -> list[Release]:
        """Rows of one line whose engine is known, newest first as in the file."""
        return [row for row in self.releases if row.line == line and row.vllm is not None]

    @property
    def newest(self) -> Release:
        """NVIDIA's newest release whose engine is known: what an empty `spec.server` means."""
        return max(self.usable("nvidia"), key=lambda row: parse_triton_release(row.release))


@dataclass(frozen=True, slots=True)
class ResolvedRelease:
    """The image that will run, and its release; `vllm_version` is the upstream version."""

    image: str
    release: str
    vllm_version: str
    arguments_version: str
    row: Release


@dataclass(frozen=True, slots=True)
class ImageName:
    """`repository` includes the registry; `tag` is "" where there is none."""

    repository: str
    tag: str

    @property
    def name(self) -> str:
        return self.repository.rsplit("/", 1)[-1]


def load() -> Releases:
    """The table of releases."""
    return loader.load_yaml("releases.yaml", Releases)


def parse_image(image: str) -> ImageName:
    """Splits `[registry[:port]/]path[:tag][@digest]`: a colon before the last slash belongs to the registry."""
    rest, _, _ = image.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return ImageName(head + slash + name, tag)


def release_of_image(image: str) -> str | None:
    """The release that the tag of an image names, in the table or not; None when it names none."""
    parsed = parse_image(image)
    found = _NVIDIA_TAG.fullmatch(parsed.tag)
    if found is None and parsed.name == OWN_NAME:
        found = _OWN_TAG.fullmatch(parsed.tag)
    return found.group(1) if found else None


def resolve(image: str | None, release: str | None, *, default_image: str | None = None) -> ResolvedRelease | Violation:
    """The release of `spec.server.image` and `spec.server.release`, or the first rule that they break.

    `default_image` is a setting of the operator, used where the user names no image: for an empty `spec.server`, and
    as the image of our own releases, which have no public registry.
    """
    if image is not None:
        return _with_image(image, release)
    if release is None:
        return _with_image(default_image, None) if default_image else _from_table(load().newest.release, None)
    if default_image and release_of_image(default_image) == release:
        return _from_table(release, default_image)
    return _from_table(release, None)


def _with_image(image: str, release: str | None) -> ResolvedRelease | Violation:
    named = release_of_image(image)
    if named is None and _NVIDIA_OTHER_TAG.fullmatch(parse_image(image).tag):
        return violation("spec.server.image", Reason.IMAGE_WITHOUT_VLLM, image=image, instead=load().newest.image)
    if release is None and named is None:
        return violation("spec.server.release", Reason.RELEASE_REQUIRED, image=image, newest=load().newest.release)
    if release is not None and named is not None and release != named:
        return violation(
            "spec.server.release", Reason.RELEASE_CONTRADICTS_IMAGE, image=image, named=named, written=release
        )
    return _from_table(release or named or "", image)


def _from_table(name: str, image: str | None) -> ResolvedRelease | Violation:
    table = load()
    row = table.find(name)
    newest = table.newest.release
    if row is None:
        known = " and ".join(_known_releases(table))
        return violation("spec.server.release", Reason.RELEASE_UNKNOWN, release=name, known=known, newest=newest)
    if row.vllm is None or row.arguments_version is None:
        checked = table.checked.isoformat()
        reason = Reason.ENGINE_VERSION_UNKNOWN
        return violation("spec.server.release", reason, release=name, checked=checked, newest=newest)
    found = image or row.image
    if found is None:
        return violation("spec.server.image", Reason.IMAGE_REQUIRED, release=name, name=OWN_NAME)
    return ResolvedRelease(found, row.release, row.vllm, row.arguments_version, row)


def _known_releases(table: Releases) -> list[str]:
    nvidia = sorted((row.release for row in table.usable("nvidia")), key=parse_triton_release)
    return [f"{nvidia[0]} to {nvidia[-1]}", *(row.release for row in table.usable("own"))]
