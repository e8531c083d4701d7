"""An EC2 instance for tests: its metadata service, and an identity document that a certificate of the test signs."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, reply

SESSION_TOKEN = "AQAEimdsSessionTokenEXAMPLE=="
PENDING = "2025-01-01T00:00:00Z"


class Notary:
    """Signs identity documents, as AWS does in a region."""

    def __init__(self, name: str = "region") -> None:
        """Make a key and its certificate."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """The certificate, as it is handed to Vault."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def pkcs7(self, document: bytes) -> str:
        """Return the document with its signature as the metadata service shows it: base64 in lines."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(document)
        signer = builder.add_signer(self._certificate, self._key, hashes.SHA256())
        signed = signer.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
        return base64.encodebytes(signed).decode()

    def signature(self, document: bytes) -> str:
        """Return the signature alone, as the metadata service shows it."""
        return base64.encodebytes(self._key.sign(document, padding.PKCS1v15(), hashes.SHA256())).decode()


class Instance:
    """The metadata service of an instance, which insists on session tokens (IMDSv2). Use it as a context manager.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    """

    def __init__(self, notary: Notary | None = None, **document: str) -> None:
        """Make the document; ``document`` are fields of it."""
        fields = {
            "accountId": "123456789012",
            "imageId": "ami-1",
            "instanceId": "i-0abc",
            "pendingTime": PENDING,
            "region": "us-east-1",
            **document,
        }
        self.document = json.dumps(fields, indent=2).encode()
        self.answers: dict[str, Reply] = {}
        self._server = ScriptedServer()
        self._server.otherwise = self._answer
        self.sign(notary or Notary())

    def sign(self, notary: Notary) -> None:
        """Let somebody sign the document."""
        self._texts = {
            "document": self.document,
            "pkcs7": notary.pkcs7(self.document).encode(),
            "rsa2048": notary.pkcs7(self.document).encode(),
            "signature": notary.signature(self.document).encode(),
        }

    def __enter__(self) -> Instance:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    @property
    def address(self) -> str:
        """Where the service answers."""
        return self._server.address

    @property
    def requests(self) -> list[Request]:
        """What it was asked."""
        return self._server.requests

    def shown(self, name: str) -> str:
        """Return a text of the service without its line breaks, as Vault takes it."""
        return "".join(self._texts[name].decode().split())

    def _answer(self, connection: Any, request: Request) -> None:
        name = request.path.rpartition("/")[2]
        answer = self.answers.get(name)
        if answer is None and request.method == "PUT" and request.path == "/latest/api/token":
            asked = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            answer = reply(200, SESSION_TOKEN.encode()) if asked.isdigit() else reply(400)
        elif answer is None and request.headers.get("x-aws-ec2-metadata-token") != SESSION_TOKEN:
            answer = reply(401)
        elif answer is None and request.path.startswith("/latest/dynamic/instance-identity/"):
            text = self._texts.get(name)
            answer = reply(404) if text is None else reply(200, text, {"Content-Type": "text/plain"})
        if callable(answer):
            answer(connection, request)
        else:
            connection.sendall(answer or reply(404))


@pytest.fixture(scope="session")
def notary() -> Notary:
    """Whoever signs identity documents in the region."""
    return Notary()


@pytest.fixture
def instance(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """The instance that this runs on."""
    with Instance(notary) as running:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", running.address)
        yield running
