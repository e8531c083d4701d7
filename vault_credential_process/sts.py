"""A signed ``sts:GetCallerIdentity``: it tells who its keys belong to and needs no permission.

The probe of new keys sends it to STS; Vault's AWS auth method is handed it as the proof of an identity. It is signed by
botocore's signer without a session, because a session on the profile that runs us would run us again, without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.regions

from vault_credential_process import blotting

BODY = "Action=GetCallerIdentity&Version=2011-06-15"

GLOBAL = "https://sts.amazonaws.com/"
"""STS as it was before it had regions; it is signed for ``us-east-1``."""

_CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"


def endpoint(region: str) -> tuple[str, str]:
    """Return the address of STS in a region, in the region's own partition, and the region to sign for."""
    data = botocore.loaders.create_loader().load_data("endpoints")
    found = botocore.regions.EndpointResolver(data).construct_endpoint("sts", region)
    hostname = found["hostname"] if found else f"sts.{region}.amazonaws.com"
    return f"https://{hostname}/", (found or {}).get("credentialScope", {}).get("region", region)


def signed(
    access_key: str,
    secret_key: str,
    session_token: str | None,
    *,
    url: str,
    region: str,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Return the request, signed with all its headers, further ones included; its host is that of ``url``."""
    keys = botocore.credentials.Credentials(access_key, secret_key, session_token)
    request = botocore.awsrequest.AWSRequest(
        method="POST", url=url, data=BODY, headers={"Content-Type": _CONTENT_TYPE, **(headers or {})}
    )
    # For 15 minutes what is signed is as good as a login, and botocore logs it.
    with blotting.silenced(botocore.auth.__name__):
        botocore.auth.SigV4Auth(keys, "sts", region).add_auth(request)
    return request
