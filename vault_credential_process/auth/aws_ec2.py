"""AWS, type ec2: the identity document of an EC2 instance, signed by AWS, with a nonce that only this instance knows.

https://developer.hashicorp.com/vault/api-docs/auth/aws#login, and for the document
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import sources
from vault_credential_process.auth import keepsakes, metadata
from vault_credential_process.auth.aws import AWSMethod
from vault_credential_process.errors import ConfigurationError, UnreachableError
from vault_credential_process.models import Identity, VaultToken, is_word, option
from vault_credential_process.parsers import parse_address, parse_path

if TYPE_CHECKING:
    from vault_credential_process.expiry import Deadline
    from vault_credential_process.vault import Vault

PROOFS = ("pkcs7", "rsa2048", "identity")
MOST_NONCE = 128
"""Characters of the longest nonce that Vault takes."""

_ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
_DISABLED = "AWS_EC2_METADATA_DISABLED"
_TOKEN = "latest/api/token"  # noqa: S105 - where the service gives one
_IDENTITY = "latest/dynamic/instance-identity"
_LIMIT = 2.0
"""Seconds that one request to the metadata service may take; it lies on the host."""

_INSTANCE = re.compile(r"i-[0-9a-f]{1,40}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def _parse_proof(text: str) -> str:
    if text not in PROOFS:
        raise ValueError("write pkcs7, rsa2048 or identity")
    return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AWSEC2(AWSMethod):
    """Log in as the instance that this runs on."""

    name: ClassVar[str] = "aws-ec2"
    summary: ClassVar[str] = "the identity document of an EC2 instance"
    ambient: ClassVar[tuple[str, ...]] = (_ENDPOINT, _MODE, _DISABLED)

    vault_aws_ec2_proof: str = option(
        "VAULT_AWS_EC2_PROOF",
        flag="--aws-ec2-proof",
        parse=_parse_proof,
        default="pkcs7",
        metavar="|".join(PROOFS),
        help="form of the signed identity document (default: pkcs7)",
    )
    vault_aws_ec2_nonce_file: str | None = option(
        "VAULT_AWS_EC2_NONCE_FILE",
        flag="--aws-ec2-nonce-file",
        parse=parse_path,
        metavar="FILE",
        help="file that holds the nonce of this instance, made if need be (default: it is kept in the cache)",
    )

    def identity(self) -> Identity:
        """Return the role and where the instance is told: it is always this one, unless a variable says otherwise."""
        ambient = self.config.ambient
        where = (ambient.get(_ENDPOINT, ""), ambient.get(_MODE, "").lower())
        return Identity((self.name, self.mount, self.config.vault_auth_role or "", *where))

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: the nonce must, unless a file holds it."""
        return self.vault_aws_ec2_nonce_file is None

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login`` with the nonce of the first login, which is kept before it is sent."""
        proof, instance = self._proof(vault.deadline)
        nonce = self._nonce(vault)
        otherwise = f"check {self._role('the id of the AMI')} and what it is bound to"
        hidden = (nonce, *proof.values())
        advice = self._advice(instance)
        return self._log_in(vault, {**proof, "nonce": nonce}, advice=advice, otherwise=otherwise, secrets=hidden)

    def _proof(self, deadline: Deadline) -> tuple[dict[str, str], str]:
        """Return the signed document as Vault takes it, and the id of the instance for an error."""
        address = self._address()
        token = self._session_token(address, deadline)
        document = self._get(f"{address}/{_IDENTITY}/document", token, deadline)
        instance = _instance(document)
        if self.vault_aws_ec2_proof == "identity":
            signature = self._signature(f"{address}/{_IDENTITY}/signature", token, deadline)
            return {"identity": base64.b64encode(document).decode("ascii"), "signature": signature}, instance
        signed = self._signature(f"{address}/{_IDENTITY}/{self.vault_aws_ec2_proof}", token, deadline)
        return {"pkcs7": signed}, instance

    def _address(self) -> str:
        ambient = self.config.ambient
        if ambient.get(_DISABLED, "").lower() == "true":
            raise ConfigurationError(
                f"{_DISABLED}: true, but aws-ec2 logs in with what the instance metadata tells; unset it"
            )
        if _ENDPOINT in ambient:
            try:
                return parse_address(ambient[_ENDPOINT])
            except ValueError:
                raise ConfigurationError(f"{_ENDPOINT}: not the address of a metadata service; unset it") from None
        return "http://[fd00:ec2::254]" if ambient.get(_MODE, "").lower() == "ipv6" else "http://169.254.169.254"

    def _session_token(self, address: str, deadline: Deadline) -> str:
        """Return a session token of the metadata service (IMDSv2).

        Its answer may take one hop only unless the instance says otherwise, so in a container the request is heard and
        the answer never comes.
        """
        url = f"{address}/{_TOKEN}"
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        try:
            reply = metadata.fetch(
                url, deadline=deadline, what="the instance metadata", method="PUT", headers=headers, limit=_LIMIT
            )
        except UnreachableError as error:
            reason = str(error).partition(";")[0]
            if "in time" in reason:
                raise UnreachableError(
                    f"{reason}; in a container on EC2 raise HttpPutResponseHopLimit to 2; elsewhere use another method"
                ) from None
            raise UnreachableError(f"{reason}; aws-ec2 logs in from an EC2 instance only") from None
        token = reply.body.decode("latin-1").strip()
        if reply.status == 403:
            raise UnreachableError(
                f"{url}: HTTP 403: the instance metadata service is turned off; turn it on (HttpEndpoint)"
            )
        if reply.status != 200 or not is_word(token):
            raise UnreachableError(
                f"{url}: HTTP {reply.status} and no session token: is this the metadata service of EC2?"
            )
        return token

    def _get(self, url: str, token: str, deadline: Deadline) -> bytes:
        headers = {"X-aws-ec2-metadata-token": token}
        reply = metadata.fetch(url, deadline=deadline, what="the instance metadata", headers=headers, limit=_LIMIT)
        if reply.status == 401:
            raise UnreachableError(
                f"{url}: HTTP 401: the session token of a moment ago is refused; check what answers there for the "
                "metadata service"
            )
        if reply.status != 200 or not reply.body:
            raise UnreachableError(f"{url}: HTTP {reply.status} and no document: is this the metadata service of EC2?")
        return reply.body

    def _signature(self, url: str, token: str, deadline: Deadline) -> str:
        """Return base64 without the line breaks that the service puts into it, as Vault takes it."""
        text = "".join(self._get(url, token, deadline).decode("latin-1").split())
        if not _BASE64.fullmatch(text):
            raise UnreachableError(f"{url}: the answer is no signature: is this the metadata service of EC2?")
        return text

    def _nonce(self, vault: Vault) -> str:
        """Return the nonce of this instance, a new one if there is none, after it was kept.

        Vault binds the first nonce to the instance; without it nobody logs in from here again.
        """
        if self.vault_aws_ec2_nonce_file:
            return _nonce_of(self.vault_aws_ec2_nonce_file)
        cache = vault.cache
        if cache is None or not cache.shared:
            raise self._nowhere_to_keep("the cache of this call ends with it")
        # Profiles with different roles log in side by side, and share the nonce.
        with cache.place.locked(cache.place.hash("nonce", self.mount, self.config.vault_addr), vault.deadline):
            kept = keepsakes.recall(vault, self)
            if kept is not None:
                return kept
            made = secrets.token_urlsafe(32)
            if not keepsakes.keep(vault, self, made, what="nonce", irreplaceable=True):
                raise self._nowhere_to_keep(f"the {cache.name} cache does not keep it")
            return made

    def _nowhere_to_keep(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            "vault_aws_ec2_nonce_file: missing; without its nonce this instance logs in once and never again, and "
            f"{reason}: name a file"
        )

    def _advice(self, instance: str) -> Mapping[str, str]:
        """Return what to do by words of Vault's answer."""
        auth = f"auth/{self.mount}"
        anew = f"an administrator lets it begin anew: vault delete {auth}/identity-accesslist/{instance}"
        role = self._role("the id of the AMI")
        certificate = (
            "Vault does not know the key that AWS signs with here: try another vault_aws_ec2_proof, or register the "
            f"certificate of the region at {auth}/config/certificate"
        )
        return {
            "client nonce mismatch": (
                "the first login of this instance had another nonce, of another user or program or one that was lost; "
                + anew
            ),
            "reauthentication is disabled": (
                f"this instance may log in once only, as its role, its role tag or its first login says; {anew}"
            ),
            "older than the one used": f"a later login of this instance had a newer identity document; {anew}",
            "entry for role": f"check {role}",
            "auth method ec2 not allowed": f"check {role}: it is not of the type ec2",
            "verify the signature": certificate,
            "signature is unsuccessful": certificate,
            "failed to verify instance ID": (
                f"Vault asks EC2 whether this instance runs: check the keys and the endpoint in {auth}/config/client"
            ),
        }


def _instance(document: bytes) -> str:
    try:
        found = str(json.loads(document)["instanceId"])
    except (ValueError, LookupError, TypeError, RecursionError):
        found = ""
    return found if _INSTANCE.fullmatch(found) else "<instance-id>"


def _nonce_of(path: str) -> str:
    """Return the nonce in a file, which is made with one in it where there is none.

    :raises ConfigurationError: when it can be neither read nor made, or holds something else.
    """
    key = "vault_aws_ec2_nonce_file"
    if not os.path.lexists(path):
        try:
            _make(path)
        except OSError as error:
            raise ConfigurationError(f"{key}: {path}: {error.strerror}; check the path and its permissions") from None
    nonce = sources.read_file(path, key)
    if not is_word(nonce) or len(nonce) > MOST_NONCE:
        raise ConfigurationError(f"{key}: {path}: not a nonce: one word of at most {MOST_NONCE} characters")
    return nonce


def _make(path: str) -> None:
    """Make the file of mode 0600, complete from its first moment; the one of whoever is first stays."""
    descriptor, made = tempfile.mkstemp(prefix=".nonce-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
