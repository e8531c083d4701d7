"""A lease that was revoked early costs one retry, not an outage.

botocore signs each try of a request anew (``botocore.endpoint.Endpoint._send_request``), and asks the handlers of
``needs-retry`` whether there shall be another. Where AWS refused keys of ours that should live, they are replaced once
and the request is sent again.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vault_credential_process.keeper import Keeper

if TYPE_CHECKING:
    import botocore.session

logger = logging.getLogger(__name__)

REFUSED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "AuthFailure",
    }
)
"""Codes with which AWS's services refuse keys that they do not know, or no longer."""

_MARK = "vault_credential_process"


def retry(response: Any, request_dict: Any, operation: Any, **_: Any) -> float | None:
    """Return 0, to try again at once, where there are other keys now that may do better."""
    refused = refused_by(response, request_dict, operation)
    if refused is None:
        return None
    keeper, access_key = refused
    return 0.0 if keeper.heal(access_key) else None


def register(session: botocore.session.Session, retry: Callable[..., Any] = retry) -> None:
    """Let the clients that a session makes from now on heal; ``retry`` may be a twin of ours for other clients."""
    handlers: dict[str, Any] = {"before-sign": _remember, "needs-retry": retry}
    for event, handler in handlers.items():
        session.register(event, handler, unique_id=f"{_MARK}-{event}")


def refused_by(response: Any, request_dict: Any, operation: Any) -> tuple[Keeper, str] | None:
    """Return which key of ours AWS refused, with its keeper, where the request can be sent again; once for each."""
    noted = request_dict.get("context", {}).get(_MARK)
    if response is None or not noted or noted.get("healed"):
        return None
    code = str(response[1].get("Error", {}).get("Code", ""))
    # An answer to HEAD has no body and so no code: S3's 400 there is that of keys that have ended.
    is_bare = code == "400" and operation.http.get("method") == "HEAD"
    if (code not in REFUSED and not is_bare) or not _can_be_sent_again(request_dict.get("body")):
        return None
    noted["healed"] = True
    logger.debug("%s: %s; other keys are looked for", operation.name, code)
    return noted["keeper"], noted["access_key"]


def _remember(request: Any, request_signer: Any, **_: Any) -> None:
    """Note which keys of ours a try is signed with: they may be replaced while it is on its way."""
    keeper = getattr(getattr(request_signer, "_credentials", None), "keeper", None)
    held = None if keeper is None else keeper.seen()
    if held is not None:
        request.context.setdefault(_MARK, {}).update(keeper=keeper, access_key=held.access_key)


def _can_be_sent_again(body: Any) -> bool:
    """Tell whether the body of a request can be read a second time."""
    if not hasattr(body, "read"):
        return True
    # botocore's wrapper for checksums can be rewound if what it wraps can, which nobody waits for.
    raw = getattr(body, "_raw", body)
    seekable = getattr(raw, "seekable", None)
    if inspect.iscoroutinefunction(seekable) or inspect.iscoroutinefunction(getattr(raw, "seek", None)):
        return False
    return bool(seekable()) if seekable is not None else hasattr(raw, "seek")
