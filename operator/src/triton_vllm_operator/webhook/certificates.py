"""The webhook's certificate: self-signed, made in this process, its key never on a disk and never in the cluster.

It signs only itself. So the `caBundle` has this certificate alone, and there is no key of an authority that could be
stolen. See docs/adr/0003-webhook.md.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = timedelta(hours=1)  # the API server's clock may be behind ours
MAXIMUM = 16  # certificates in a bundle: of deleted replicas, the oldest are dropped first
_PEM = serialization.Encoding.PEM
_NAME_LENGTH = 64  # the longest text of a name in a certificate


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate and its key, both PEM. `renew_at`: when two thirds of its life are over."""

    certificate: bytes
    key: bytes = field(repr=False)
    renew_at: datetime
    expires_at: datetime


def make(hosts: Sequence[str], holder: str, lifetime: timedelta, now: datetime) -> Certificate:
    """A new certificate for servers named `hosts` (DNS names or IP addresses).

    Args:
        holder: the process that has the key; it replaces certificates of the same holder only.
        now: with a time zone.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(holder)
    # The old and the new one of a holder have the same name: by these a client finds the right one in the bundle.
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(own, critical=False)
        .add_extension(signer, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    return Certificate(
        made.public_bytes(_PEM),
        key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain),
        renew_at=now + lifetime * 2 / 3,
        expires_at=now + lifetime,
    )


def present(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Present this certificate in every handshake from now on. Open connections continue.

    OpenSSL reads files only; this one is unnamed and in memory.
    """
    with os.fdopen(os.memfd_create("webhook"), "wb") as file:
        file.write(certificate.certificate + certificate.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def bundle(live: bytes, ours: Iterable[Certificate], holder: str, now: datetime) -> bytes:
    """The caBundle: our certificates, and those of other replicas that have not expired.

    Args:
        live: the present caBundle, as PEM; anything that is not a certificate is dropped.
        ours: all that this holder presents or is about to present; its others are dropped.
    """
    others = [one for one in _read(live) if one.expires_at > now and one.holder != _name(holder)]
    own = [one for mine in ours for one in _read(mine.certificate)]
    newest = sorted(others, key=lambda one: one.begins_at, reverse=True)[: MAXIMUM - len(own)]
    kept = sorted([*newest, *own], key=lambda one: (one.begins_at, one.pem))
    return b"".join(one.pem for one in kept)


@dataclass(frozen=True, slots=True)
class _Trusted:
    holder: x509.Name
    begins_at: datetime
    expires_at: datetime
    pem: bytes


def _read(pem: bytes) -> list[_Trusted]:
    """The certificates of a PEM text. All fields are read here: a damaged certificate is detected only then."""
    try:
        return [
            _Trusted(one.subject, one.not_valid_before_utc, one.not_valid_after_utc, one.public_bytes(_PEM))
            for one in x509.load_pem_x509_certificates(pem)
        ]
    except ValueError:
        return []


def _name(holder: str) -> x509.Name:
    """The end of a pod's name, which differs between the pods of a Deployment."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, holder[-_NAME_LENGTH:])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
