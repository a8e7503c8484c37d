"""kopf's settings, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator

import kopf

from triton_vllm_operator.backoff import Backoff

WATCH_SERVER_S = 15  # as long as the reflectors' own: kube/reflector.py has the reason
WATCH_CLIENT_S = 20


class CappedBackoffs:
    """0.5, 1, 2, 4, 5, 5, 5, ... seconds without end.

    kopf gives up after the last number of `error_backoffs` and takes the operator down with it, with its defaults
    after 54 s of 5xx. It accepts any iterable, and each request iterates it from the start.
    """

    def __iter__(self) -> Iterator[float]:
        return Backoff(0.5, 5.0).delays()


def kopf_settings() -> kopf.OperatorSettings:
    """Settings for one watch of LLMDeployments and nothing else."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # peering is not a lock: two operators freeze each other; we hold a Lease
    settings.scanning.disabled = True  # else kopf lists and watches CRDs and namespaces: permissions we do not want
    settings.posting.enabled = False  # events are ours (kube/events.py), de-duplicated
    settings.networking.connect_timeout = 5.0  # default none: a dropped SYN would hold a watch for minutes
    settings.networking.request_timeout = 20.0  # default 300
    settings.networking.error_backoffs = CappedBackoffs()  # default: exit after 54 s of 5xx or 403
    settings.watching.server_timeout = WATCH_SERVER_S  # default: the server's 5 to 10 minutes
    settings.watching.client_timeout = WATCH_CLIENT_S  # a half-open connection is noticed within 20 s, default 70
    settings.watching.connect_timeout = 5.0
    settings.watching.reconnect_backoff = 1.0  # default 0.1: a storm of lists when every watch answers 410
    settings.watching.chunk_size = 100  # default: one answer with every CR in it
    settings.queueing.idle_timeout = 0.5  # default 5: a task and a queue per CR stay in memory that long
    settings.persistence.consistency_timeout = 0.0  # kopf patches nothing, so there is no patch to wait for
    settings.process.ultimate_exiting_timeout = None  # kopf runs in a thread here: it must not kill the process
    return settings
