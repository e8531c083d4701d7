"""Certificates for real TLS listeners: an authority of the test's own, and what it signs."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import itertools
import pathlib
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: pathlib.Path
    key: pathlib.Path

    def listener(self, *, clients: Authority | None = None) -> ssl.SSLContext:
        """Return the settings of a server; with ``clients`` it takes only clients whom that authority signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if clients:
            context.load_verify_locations(clients.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """A certificate authority that keeps its files in a directory."""

    def __init__(self, directory: pathlib.Path, name: str = "authority") -> None:
        """Make the authority's own certificate."""
        self._directory = directory
        self._numbers = itertools.count(1)
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key.public_key(), DAY)
        signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *names: str,
        life: datetime.timedelta = DAY,
        begins: datetime.timedelta = -2 * DAY,
        password: bytes | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Pair:
        """Sign a certificate for host names and addresses, from a moment to a moment; a negative life has expired."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = self._builder(subject, key.public_key(), life, begins).add_extension(alternatives, critical=False)
        stem = f"{self.certificate.stem}-{next(self._numbers)}"
        pair = Pair(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        pair.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
            )
        )
        return pair

    def itself(self, *names: str) -> Pair:
        """Sign a certificate with its own key, as a server makes one for itself."""
        own = Authority(self._directory, f"{self.certificate.stem}-itself-{next(self._numbers)}")
        own._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        return own.issue(*names, key=own._key)

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        life: datetime.timedelta,
        begins: datetime.timedelta = -2 * DAY,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + life)
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
