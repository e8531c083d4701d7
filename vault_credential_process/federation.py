"""The address that signs somebody in to the AWS console with the credentials that Vault gave.

AWS's federation endpoint takes temporary credentials, and gives a sign-in token for them, which is good for 15 minutes:
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html
The credentials are sent in the body of a POST, which that page allows, so that they stand in no address and no log of
one. The endpoint is AWS's own in the partition of the region: no variable and no setting sends them elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from typing import Any, NamedTuple

import botocore.awsrequest
import botocore.exceptions
import botocore.loaders
import botocore.regions

from vault_credential_process import awswire
from vault_credential_process.awswire import Answer
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    UnreachableError,
    VaultCredentialError,
    one_line,
)
from vault_credential_process.models import AWSCredentials, is_word

PATIENCE = 10.0
"""Seconds that the endpoint has to answer."""

SHORTEST, LONGEST = 900, 43200
"""Seconds of the shortest and the longest console session that may be asked for (``SessionDuration``)."""

ISSUER = "vault-credential-process"


class Console(NamedTuple):
    """The console of a partition: the address of the federation endpoint, and the host of its pages."""

    endpoint: str
    host: str


CONSOLES = {
    "aws": Console("https://signin.aws.amazon.com/federation", "console.aws.amazon.com"),
    "aws-cn": Console("https://signin.amazonaws.cn/federation", "console.amazonaws.cn"),
    "aws-us-gov": Console("https://signin.amazonaws-us-gov.com/federation", "console.amazonaws-us-gov.com"),
}
"""By partition (https://docs.aws.amazon.com/general/latest/gr/signin-service.html)."""

_SERVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class SignIn:
    """An address that signs in whoever has it; it shows itself to nobody but who asks for ``address``."""

    address: str = dataclasses.field(repr=False)


def console_of(region: str | None) -> Console:
    """Return the console of a region's partition; without a region that of the partition ``aws``.

    :raises ConfigurationError: when the region is in no partition whose console is known.
    """
    partition: str | None = "aws"
    if region:
        data = botocore.loaders.create_loader().load_data("endpoints")
        try:
            partition = botocore.regions.EndpointResolver(data).get_partition_for_region(region)
        except botocore.exceptions.UnknownRegionError:
            partition = None
    if partition not in CONSOLES:
        raise ConfigurationError(
            f"region: {one_line(region or '', limit=80)!r} is in no partition whose console is known here "
            f"({', '.join(CONSOLES)}); correct AWS_REGION, or region in the profile"
        )
    return CONSOLES[partition]


def destination(console: Console, wanted: str | None, region: str | None) -> str:
    """Return the address of the page to open: the home of a service, ``s3`` say, or a page of the console itself.

    :raises ConfigurationError: when it is neither.
    """
    query = f"?region={urllib.parse.quote(region, safe='')}" if region else ""
    if not wanted:
        return f"https://{console.host}/console/home{query}"
    if _SERVICE.fullmatch(wanted):
        return f"https://{console.host}/{wanted}/home{query}"
    if _is_of(console, wanted):
        return wanted
    raise ConfigurationError(
        f"--destination: {one_line(wanted, limit=80)!r} is neither the name of a service nor a page of "
        f"https://{console.host}; write s3, say"
    )


def _is_of(console: Console, wanted: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(wanted)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    ours = host == console.host or host.endswith(f".{console.host}")
    return parts.scheme == "https" and ours and port is None and parts.netloc.lower() == host and is_word(wanted)


def check(credential_type: str, where: str) -> None:
    """Refuse what has no session token: AWS signs in with temporary credentials alone.

    :raises ConfigurationError: for the keys of an IAM user; ``where`` is the path that they are read at.
    """
    if credential_type != "sts":
        raise ConfigurationError(
            f"console: {where} gives keys of an IAM user, which have no session token, and AWS signs in with temporary "
            "credentials alone; use a role of Vault with credential_type assumed_role or federation_token"
        )


def sign_in(
    credentials: AWSCredentials,
    console: Console,
    page: str,
    *,
    seconds: int | None,
    ca_bundle: str | None,
    timeout: float = PATIENCE,
) -> SignIn:
    """Return the address that signs in and leads to a page of the console.

    ``seconds`` is the life of the console session (``None``: that of the credentials); AWS takes it only for a role
    that was assumed with the keys of an IAM user.

    :raises AuthenticationError: when AWS does not sign in with these credentials.
    :raises UnreachableError: when the endpoint does not answer in time, or not as it should.
    """
    answer = _asked(credentials, console, seconds, ca_bundle, timeout)
    if isinstance(answer, VaultCredentialError):
        raise answer
    token = _token(answer)
    if token is not None:
        query = {"Action": "login", "Issuer": ISSUER, "Destination": page, "SigninToken": token}
        return SignIn(f"{console.endpoint}?{urllib.parse.urlencode(query)}")
    if answer.status_code not in (400, 401, 403):
        raise UnreachableError(
            f"{console.endpoint}: HTTP {answer.status_code} without a sign-in token; try again, and check the proxy "
            "variables"
        )
    if seconds is not None:
        raise AuthenticationError(
            f"{console.endpoint}: HTTP {answer.status_code}: AWS gives no console session of {seconds} s for these "
            "credentials; leave out --duration, which is for roles that were assumed with the keys of an IAM user"
        )
    raise AuthenticationError(
        f"{console.endpoint}: HTTP {answer.status_code}: AWS does not sign in with these credentials; it does with "
        "those of assumed_role and federation_token, not with those of session_token or such as have ended"
    )


def _asked(
    credentials: AWSCredentials, console: Console, seconds: int | None, ca_bundle: str | None, timeout: float
) -> Answer | UnreachableError:
    """Return the answer or the error to raise, whose frames do not lead to what was sent."""
    try:
        return awswire.send(_request(credentials, console, seconds), ca_bundle=ca_bundle, timeout=timeout)
    except Exception as error:  # botocore raises what it likes
        return UnreachableError(
            f"{console.endpoint}: no answer ({type(error).__name__}); check the network, the proxy variables and "
            "AWS_CA_BUNDLE"
        )


def _request(credentials: AWSCredentials, console: Console, seconds: int | None) -> Any:
    session = {
        "sessionId": credentials.access_key,
        "sessionKey": credentials.secret_key,
        "sessionToken": credentials.session_token,
    }
    form = {"Action": "getSigninToken", "Session": json.dumps(session)}
    if seconds is not None:
        form["SessionDuration"] = str(seconds)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode(form).encode("ascii")
    return botocore.awsrequest.AWSRequest(method="POST", url=console.endpoint, data=body, headers=headers).prepare()


def _token(answer: Answer) -> str | None:
    """Return the sign-in token; ``None`` where the answer is not what it should be."""
    try:
        found = json.loads(answer.text)
    except (ValueError, RecursionError):
        return None
    token = found.get("SigninToken") if isinstance(found, dict) and answer.status_code == 200 else None
    return token if isinstance(token, str) and is_word(token) else None
