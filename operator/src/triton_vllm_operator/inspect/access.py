"""How each kind of model source is read: its files, and the failures to report when it does not answer in time.

A new scheme of `spec.model.uri` gets a reader module beside `hub` and `folder`, and a case in the functions below.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from triton_vllm_operator.api.model_source import HubSource, ModelSource
from triton_vllm_operator.inspect import folder, hub
from triton_vllm_operator.inspect.model import ModelFiles
from triton_vllm_operator.plan.inspection_protocol import Failure


@dataclass(frozen=True, slots=True)
class Access:
    """A model that can be read.

    Attributes:
        display_name: the model in messages.
        open: finds the model. Raises `InspectionError`.
        too_slow: the failure to report after this many seconds without the whole answer.
        no_answer: the failure to report after this many seconds without any answer; None for local files.
    """

    display_name: str
    open: Callable[[], ModelFiles]
    too_slow: Callable[[float], Failure]
    no_answer: Callable[[float], Failure] | None = None


def of_options(options: Namespace) -> Access:
    """The model that the inspection's command line names."""
    if options.repository:
        return _of_repository(options.repository, options.revision, hub.own_token())
    name = options.display_name or str(options.folder)
    return Access(name, lambda: folder.Folder.open(options.folder, name), partial(folder.too_slow, name))


def of_source(source: ModelSource) -> Access | None:
    """A model that can be read from this machine, with the user's own token; None for one in a cluster."""
    if isinstance(source, HubSource):
        return _of_repository(source.repository, source.revision, hub.own_token())
    return None


def _of_repository(repository: str, revision: str | None, token: str | None) -> Access:
    return Access(
        repository,
        lambda: hub.HubRepository.open(repository, revision, token),
        partial(hub.too_slow, repository),
        partial(hub.no_answer, repository),
    )
