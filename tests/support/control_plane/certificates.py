"""A certificate authority for one control plane, and what it signs.

By `cryptography` and not by calling openssl: no program has to be installed, and names, groups and
addresses are arguments instead of configuration files. Keys are of P-256, which takes milliseconds.
Kubernetes reads the user from a client certificate's common name and the groups from its
organizations: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = timedelta(days=7)
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files, in PEM, of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for servers and clients of one control plane."""

    def __init__(self, folder: Path) -> None:
        """Make the authority; its certificate and all that it issues lie in `folder`."""
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("carpool-test-ca", ())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        signing = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        # Named explicitly: OpenSSL refuses a chain whose certificates lack their key's identifier.
        own = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .add_extension(signing, critical=True)
            .add_extension(self._identifier(), critical=False)
        )
        self.certificate = folder / "ca.crt"
        _write(self.certificate, _pem(own.sign(self._key, hashes.SHA256())))

    def server(self, name: str) -> Credentials:
        """Credentials of a server on the loopback address, which may be a client of others too."""
        hosts = [x509.IPAddress(ip_address(_LOOPBACK)), x509.DNSName("localhost")]
        usage = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(name, _name(name, ()), usage, hosts)

    def client(self, user: str, groups: Iterable[str] = ()) -> Credentials:
        """Credentials of a user of Kubernetes."""
        file = user.replace(":", "_").replace("/", "_")
        return self._issue(file, _name(user, groups), (ExtendedKeyUsageOID.CLIENT_AUTH,), ())

    def signing_key(self) -> Path:
        """The key that signs tokens of service accounts."""
        path = self._folder / "service-accounts.key"
        _write(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
        return path

    def _issue(
        self,
        file: str,
        subject: x509.Name,
        usage: Iterable[x509.ObjectIdentifier],
        hosts: Iterable[x509.GeneralName],
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(self._authority_identifier(), critical=False)
        )
        names = list(hosts)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issued = Credentials(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        _write(issued.certificate, _pem(builder.sign(self._key, hashes.SHA256())))
        _write(issued.key, _key_pem(key))
        return issued

    def _identifier(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def _authority_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier())


def _name(user: str, groups: Iterable[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _VALID)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        # SEC 1: the API server takes a service account key in no other form.
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
