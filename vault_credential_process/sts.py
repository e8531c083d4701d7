"""A signed ``sts:GetCallerIdentity``: it tells who its keys belong to and needs no permission.

The probe of new keys sends it to STS; Vault's AWS auth method is handed it as the proof of an identity. It is signed by
botocore's signer without a session, because a session on the profile that runs us would run us again, without end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.regions

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
    with _unlogged():
        botocore.auth.SigV4Auth(keys, "sts", region).add_auth(request)
    return request


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep what this thread signs out of botocore's debug log: for 15 minutes it is as good as a login."""
    log, ours = logging.getLogger(botocore.auth.__name__), threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        del record
        return threading.get_ident() != ours

    log.addFilter(is_of_others)
    try:
        yield
    finally:
        log.removeFilter(is_of_others)
