"""Whose credentials they are: AWS's own answer, by ``sts:GetCallerIdentity``, which needs no permission."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from vault_credential_process import probe
from vault_credential_process.awswire import Answer
from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, UnreachableError, VaultCredentialError, one_line
from vault_credential_process.models import AWSCredentials

PATIENCE = 10.0
"""Seconds that STS has to answer."""

_FIELD = "<{0}>([^<]*)</{0}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Whom AWS takes the holder of credentials for; each value is one printable line."""

    account: str
    arn: str
    user_id: str


def who(credentials: AWSCredentials, config: Config, *, timeout: float = PATIENCE) -> Caller:
    """Return whose credentials they are, asked of STS once, in the profile's region and partition.

    :raises AuthenticationError: when AWS refuses the credentials.
    :raises UnreachableError: when STS does not answer in ``timeout`` seconds, or not with an answer of its own.
    """
    answer = _asked(credentials, config, timeout)
    if isinstance(answer, VaultCredentialError):
        raise answer
    text = answer.text
    if answer.status_code == 200 and all(_field(text, name) for name in ("Account", "Arn", "UserId")):
        return Caller(_field(text, "Account"), _field(text, "Arn"), _field(text, "UserId"))
    secrets = (credentials.access_key, credentials.secret_key, credentials.session_token)
    code, said = _field(text, "Code", secrets), _field(text, "Message", secrets)
    if code and 400 <= answer.status_code < 500 and answer.status_code != 429 and not code.startswith("Throttl"):
        raise AuthenticationError(
            f"STS: AWS refuses the credentials: {code}: {said}; check the clock of this machine, or forget them with "
            "cache clear: the lease may have been revoked"
        )
    raise UnreachableError(
        f"STS: HTTP {answer.status_code} {code}: not an answer to GetCallerIdentity; try again, and check the region, "
        "the proxy variables and AWS_ENDPOINT_URL_STS"
    )


def _asked(credentials: AWSCredentials, config: Config, timeout: float) -> Answer | UnreachableError:
    """Return the answer or the error to raise, whose frames do not lead to what botocore held."""
    try:
        return probe.ask(credentials, config, timeout=timeout)
    except Exception as error:  # botocore raises what it likes at an endpoint or a region that is none
        return UnreachableError(
            f"STS: no answer ({type(error).__name__}); check the network, the region, the proxy variables and "
            "AWS_ENDPOINT_URL_STS"
        )


def _field(text: str, name: str, secrets: Iterable[str | None] = ()) -> str:
    """Return a field of STS's XML as one printable line; nothing where it is not there."""
    found = re.search(_FIELD.format(name), text)
    return one_line(found.group(1), secrets=secrets) if found else ""
