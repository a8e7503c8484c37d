"""Settings of the validating webhook."""

from __future__ import annotations

from dataclasses import dataclass

from triton_vllm_operator.http_server import ALL_ADDRESSES


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The validating webhook.

    Attributes:
        configuration: name of the ValidatingWebhookConfiguration whose caBundle is kept.
        hosts: how the API server calls this server: DNS names or IP addresses.
        certificate_hours: lifetime of a certificate. A week: a stolen key is of little use, renewals happen often
            enough to be known to work, and the certificates of deleted replicas soon leave the caBundle.
    """

    configuration: str
    hosts: tuple[str, ...]
    address: str = ALL_ADDRESSES  # the API server comes from outside the pod
    port: int = 9443
    certificate_hours: float = 168.0

    @property
    def check_s(self) -> float:
        """Seconds between two checks of the caBundle: the longest that one which others emptied stays so."""
        return min(30.0, self.certificate_hours * 3600 / 30)

    @property
    def settle_s(self) -> float:
        """Seconds that every API server may take to see a changed caBundle."""
        return min(20.0, self.certificate_hours * 3600 / 30)
