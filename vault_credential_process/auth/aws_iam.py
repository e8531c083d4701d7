"""AWS, type iam: a signed ``sts:GetCallerIdentity``, which Vault sends to STS to hear who signed it.

https://developer.hashicorp.com/vault/api-docs/auth/aws#login
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.auth.aws import AWSMethod
from vault_credential_process.errors import AuthenticationError, AuthUnavailable, one_line
from vault_credential_process.models import Identity, VaultToken, option
from vault_credential_process.parsers import parse_address, whole_path

if TYPE_CHECKING:
    from vault_credential_process.auth.aws_chain import Keys
    from vault_credential_process.vault import Vault

SERVER_ID = "X-Vault-AWS-IAM-Server-ID"

NESTED = "VAULT_AWS_IAM_NESTED"
"""Set for the programs that botocore's chain runs for us: one that comes back here is stopped."""

DEFAULT_REGION = "us-east-1"

_PLATFORMS = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_LAMBDA_FUNCTION_NAME",
)
"""What ECS, EKS and Lambda set for a program that has an identity of its own."""

_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
"""What names AWS's files, and where they are without it."""

_PLACES = (
    *_PLATFORMS,
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
)
"""Where a container or an instance gets its identity; a named profile may send there too (``credential_source``)."""

_SIGNERS = ("AWS_ACCESS_KEY_ID", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
"""What tells apart who finds the AWS identity at the same place."""

_CHOICES = (
    "aws_access_key_id",
    "role_arn",
    "source_profile",
    "credential_source",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_account_id",
    "sso_role_name",
)
"""Keys of a profile that choose an AWS identity."""

_REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+", re.ASCII)


def _parse_region(text: str) -> str:
    word = text.strip().lower()
    if word != "auto" and not _REGION.fullmatch(word):
        raise ValueError(f"{one_line(text, limit=80)!r} is not a region; write auto, or a name like eu-central-1")
    return word


def _parse_sts_endpoint(text: str) -> str:
    address = parse_address(text)
    if address.startswith("unix:"):
        raise ValueError("the address of an STS is written https://sts.eu-central-1.amazonaws.com")
    return address


def _parse_server_id(text: str) -> str:
    value = text.strip()
    if not value or not value.isascii() or not value.isprintable() or "  " in value:
        raise ValueError("not the value of a header: empty, or with line breaks, double spaces or non-ASCII characters")
    return value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AWSIAM(AWSMethod):
    """Log in as an IAM user or role."""

    name: ClassVar[str] = "aws-iam"
    summary: ClassVar[str] = "an AWS identity: a signed sts:GetCallerIdentity"
    ambient: ClassVar[tuple[str, ...]] = (*_PLACES, *_FILES, *_SIGNERS, NESTED)

    vault_aws_iam_profile: str | None = option(
        "VAULT_AWS_IAM_PROFILE",
        flag="--aws-iam-profile",
        metavar="PROFILE",
        help="profile whose AWS credentials sign the login (default: the environment, [default], container, instance)",
    )
    vault_aws_iam_server_id: str | None = option(
        "VAULT_AWS_IAM_SERVER_ID",
        flag="--aws-iam-server-id",
        parse=_parse_server_id,
        metavar="ID",
        help=f"value of the header {SERVER_ID}, where Vault wants it",
    )
    vault_aws_iam_region: str = option(
        "VAULT_AWS_IAM_REGION",
        flag="--aws-iam-region",
        parse=_parse_region,
        default=DEFAULT_REGION,
        metavar="auto|REGION",
        help=f"region whose STS the login is signed for; auto: that of the profile or the environment "
        f"(default: {DEFAULT_REGION}, at the global sts.amazonaws.com)",
    )
    vault_aws_iam_sts_endpoint: str | None = option(
        "VAULT_AWS_IAM_STS_ENDPOINT",
        flag="--aws-iam-sts-endpoint",
        parse=_parse_sts_endpoint,
        metavar="URL",
        help="address of another STS, signed for vault_aws_iam_region",
    )

    def at_home(self) -> None:
        """Take the identity that ECS, EKS or Lambda gives, where a role says that it is meant for Vault."""
        if not self.config.vault_auth_role:
            raise AuthUnavailable("vault_auth_role is not set")
        if not any(name in self.config.ambient for name in _PLATFORMS):
            raise AuthUnavailable("not in ECS, EKS or Lambda")

    def identity(self) -> Identity:
        """Return the role and where the keys come from; as secrets what tells whose they are."""
        ambient = self.config.ambient
        parts = [
            self.config.vault_auth_role or "",
            self.vault_aws_iam_server_id or "",
            self.vault_aws_iam_sts_endpoint or "",
            self.config.aws_sts_endpoint or "",
            self.vault_aws_iam_profile or "",
            *self.watched(),
            *(ambient.get(name, "") for name in _PLACES),
        ]
        secrets = [f"{name}={ambient[name]}" for name in _SIGNERS if name in ambient]
        secrets += _choices(self.watched(), self.vault_aws_iam_profile or "default")
        return Identity((self.name, self.mount, *parts), tuple(secrets))

    def watched(self) -> tuple[str, ...]:
        paths = (self.config.ambient.get(name, default) for name, default in _FILES.items())
        return tuple(whole_path(os.path.expandvars(path)) for path in paths)

    def login(self, vault: Vault) -> VaultToken:
        """Log in at ``auth/<mount>/login`` with a request that is signed now."""
        # Imported here: botocore costs more than all the rest, and only a login needs it.
        from vault_credential_process.auth import aws_chain

        if NESTED in self.config.ambient:
            raise AuthenticationError(
                f"{self.config.vault_addr}/v1/auth/{self.mount}: this login was started by a program that gets the AWS "
                "credentials of another one; name a profile in vault_aws_iam_profile that gets them elsewhere"
            )
        keys = aws_chain.find(self.config, self.vault_aws_iam_profile, vault.deadline)
        proof, secrets = self._proof(keys)
        otherwise = f"check {self._role('the name of the IAM user or role')}; the login is signed with {keys.origin}"
        return self._log_in(vault, proof, advice=self._advice(keys), otherwise=otherwise, secrets=secrets)

    def _proof(self, keys: Keys) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the signed request as Vault takes it, and what in it nobody may repeat.

        Of the headers Vault admits only its own and a few of AWS's; it adds the host, which is that of the address.
        """
        from vault_credential_process import sts

        url, region = self._endpoint()
        request = sts.signed(
            keys.access_key,
            keys.secret_key,
            keys.session_token,
            url=url,
            region=region,
            headers={SERVER_ID: self.vault_aws_iam_server_id} if self.vault_aws_iam_server_id else {},
        )
        headers = {name: str(value) for name, value in request.headers.items()}
        encoded = _base64(json.dumps(headers))
        authorization = headers["Authorization"]
        proof = {
            "iam_http_request_method": request.method,
            "iam_request_url": _base64(url),
            "iam_request_body": _base64(sts.BODY),
            "iam_request_headers": encoded,
        }
        signature = authorization.rpartition("=")[2]
        return proof, (encoded, authorization, signature, keys.secret_key, keys.session_token or "")

    def _endpoint(self) -> tuple[str, str]:
        """Return the address that the request is signed for, which must be that at which Vault asks, and its region."""
        from vault_credential_process import sts

        region = self.vault_aws_iam_region
        if region == "auto":
            region = self.config.aws_region or DEFAULT_REGION
        if self.vault_aws_iam_sts_endpoint:
            return f"{self.vault_aws_iam_sts_endpoint}/", region
        return (sts.GLOBAL, region) if region == DEFAULT_REGION else sts.endpoint(region)

    def _advice(self, keys: Keys) -> dict[str, str]:
        """Return what to do by words of Vault's answer."""
        client = f"auth/{self.mount}/config/client"
        role = self._role("the name of the IAM user or role")
        server_id = (
            f"from {self.config.origin('vault_aws_iam_server_id')}" if self.vault_aws_iam_server_id else "not set"
        )
        return {
            SERVER_ID: (
                f"set vault_aws_iam_server_id ({server_id}) to the value that iam_server_id_header_value has in "
                f"{client}"
            ),
            "entry for role": f"check {role}",
            "does not belong to the role": (
                f"check {role}: its bound_iam_principal_arn must name this principal; the login is signed with "
                f"{keys.origin}"
            ),
            "auth method iam not allowed": f"check {role}: it is not of the type iam",
            "from STS": (
                f"the login is signed with {keys.origin} for {self._endpoint()[0]}: check these credentials, this "
                f"host's clock, and that {client} has that address as sts_endpoint (see vault_aws_iam_region)"
            ),
            "upstream request": f"Vault asks STS at sts_endpoint in {client}: check that it reaches it there",
            "regional STS endpoint": "check vault_aws_iam_region: Vault takes the region of STS from the login",
            "reading from server": (
                f"OpenBao's plugin fails at a login where {client} was never written: run vault write -f {client}"
            ),
        }


def _choices(paths: Iterable[str], name: str) -> list[str]:
    """Return what AWS's files say of who a profile is, with those that it leads to.

    botocore would tell exactly, and costs more than all the rest; a file that it cannot read says nothing here.
    """
    profiles: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(OSError, UnicodeError, configparser.Error):
            parser.read(path, encoding="utf-8")
        for section in parser.sections():
            kind, _, rest = section.partition(" ")
            bare = rest.strip(" \"'") if kind == "profile" else section
            profiles.setdefault(bare, []).extend(parser.items(section))
    found: list[str] = []
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            keys = [(key, value) for key, value in profiles.get(name, ()) if key in _CHOICES]
            found += [f"{name}.{key}={value}" for key, value in keys]
            waiting += [value for key, value in keys if key == "source_profile"]
    return found


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
