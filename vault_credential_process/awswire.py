"""One request to AWS itself, on a connection of its own, within a limit that holds for the whole answer."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import botocore.exceptions
import botocore.httpsession
import botocore.utils
import urllib3

from vault_credential_process.timed import in_time

_PIECE, _MAX_REPLY = 64, 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What AWS answered: the status, of the body 64 KiB at most, and its clock (the ``Date`` header)."""

    status_code: int
    content: bytes = dataclasses.field(repr=False)
    date: str = ""

    @property
    def text(self) -> str:
        """The body as text.

        Not what botocore takes for it: what answers there need not keep to the encoding that it states.
        """
        return self.content.decode("utf-8", "replace")


def send(request: Any, *, ca_bundle: str | None, timeout: float) -> Answer:
    """Send a prepared request of botocore's and wait for the whole answer no longer than ``timeout`` seconds.

    botocore would wait so long for each piece of it. ``ca_bundle`` is a PEM file to trust instead of botocore's own;
    proxies are those of the environment. No redirect is followed.

    :raises botocore.exceptions.BotoCoreError: when there is no answer in time.
    """
    answers, failures = in_time(lambda: _once(request, ca_bundle, timeout), timeout, "AWS")
    if answers:
        return answers[0]
    raise failures[0] if failures else botocore.exceptions.ReadTimeoutError(endpoint_url=request.url)


def _once(request: Any, ca_bundle: str | None, timeout: Any) -> Answer:
    """Send on a connection of its own, which may meet another of AWS's servers than the last one did."""
    verify: Any = ca_bundle or True
    proxies = botocore.utils.get_environ_proxies(request.url)
    session = botocore.httpsession.URLLib3Session(verify=verify, timeout=timeout, proxies=proxies)
    end = time.monotonic() + timeout
    request.stream_output = True
    content = bytearray()
    try:
        response = session.send(request)
        for piece in response.raw.stream(_PIECE):
            content += piece
            if len(content) > _MAX_REPLY or time.monotonic() > end:
                break
        response.raw.close()
    except urllib3.exceptions.HTTPError as error:
        raise botocore.exceptions.HTTPClientError(error=error) from None
    finally:
        session.close()
    return Answer(response.status_code, bytes(content), response.headers.get("Date", ""))
