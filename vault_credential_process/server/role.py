"""One role of the endpoint: its credentials for an event loop that must not wait, or the reason why there are none."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import threading
from collections.abc import Callable

from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    PermissionDeniedError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
)
from vault_credential_process.fastpath import uptime
from vault_credential_process.keeper import Keeper
from vault_credential_process.models import AWSCredentials

logger = logging.getLogger(__name__)

PATIENCE = 0.8
"""Seconds that a request waits for the first credentials: the JavaScript SDK gives up after 1 s, and tries again."""

_STATUSES: dict[type[VaultCredentialError], int] = {
    UnreachableError: 503,
    SealedError: 503,
    DeadlineError: 503,
    ConfigurationError: 424,
    AuthenticationError: 424,
    PermissionDeniedError: 424,
}
"""The status for each class of failure: SDKs try again after a 5xx, which passes, and fail at once after a 4xx."""

LOOK_INTERVAL = 15.0
"""Seconds between two looks at the kept Vault token: for metrics that suffices, and reading it may take a while."""

_RETRY = (b"retry-after", b"1")


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that gets no credentials: the status, a word for programs, and the reason for people."""

    def __init__(self, status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def body(self) -> dict[str, str]:
        """Return the reason as SDKs look for it: Go and Java under ``message``, JavaScript under ``Message``."""
        return {"code": self.code, "message": self.message, "Code": self.code, "Message": self.message}


class Role:
    """What is served at one path. It never holds up the event loop that asks."""

    def __init__(self, keeper: Keeper) -> None:
        """Fetch nothing yet."""
        self.keeper = keeper
        self.token_expiry: float | None = None
        self._fetch: asyncio.Future[AWSCredentials] | None = None
        self._looked_at = float("-inf")

    async def credentials(self) -> AWSCredentials:
        """Return a pair that is valid now: at once where one is held, else after :data:`PATIENCE` at most.

        :raises Refused: when there is none.
        """
        held = self.keeper.living()
        if held is not None and self._lasts(held.credentials):
            if self.keeper.is_neglected():
                self._begin()
            return held.credentials
        fetch = self._begin()
        await asyncio.wait([fetch], timeout=PATIENCE)
        if not fetch.done():
            reason = self.keeper.health().error or "they are being fetched from Vault"
            raise Refused(503, "CredentialsPending", f"no credentials yet: {reason}; try again", _RETRY)
        try:
            fetched = fetch.result()
        except VaultCredentialError as error:
            raise _refusal(error) from None
        if not self._lasts(fetched):
            reason = self.keeper.health().error or "what there is ends within a second"
            raise Refused(503, "CredentialsPending", f"no credentials: {reason}; try again", _RETRY)
        return fetched

    def _lasts(self, credentials: AWSCredentials) -> bool:
        """Tell whether the ``Expiration`` that clients read, in whole seconds, is yet to come."""
        return math.floor(credentials.expiry) > self.keeper.fetcher.clock()

    def look(self) -> None:
        """Have the life of the Vault token looked up where it is kept, unless that was done a moment ago."""
        if uptime() - self._looked_at > LOOK_INTERVAL:
            self._looked_at = uptime()
            with contextlib.suppress(RuntimeError):  # the system has no more threads; the next look will tell
                _in_thread(self._look)

    def _look(self) -> None:
        try:
            kept = self.keeper.fetcher.kept_token()
        except VaultCredentialError as error:
            logger.debug("the token was not found: %s", error)
            kept = None
        self.token_expiry = None if kept is None else kept.token.expiry

    def _begin(self) -> asyncio.Future[AWSCredentials]:
        """Have the pair fetched, or seen to, in a thread: for all who ask at the same time together."""
        if self._fetch is None or self._fetch.done():
            loop = asyncio.get_running_loop()
            self._fetch = loop.create_future()
            try:
                _in_thread(functools.partial(self._run, loop, self._fetch))
            except RuntimeError:
                _fail(
                    self._fetch, UnreachableError("the system has no thread to fetch with; raise the limit of threads")
                )
        return self._fetch

    def _run(self, loop: asyncio.AbstractEventLoop, fetch: asyncio.Future[AWSCredentials]) -> None:
        try:
            tell = functools.partial(fetch.set_result, self.keeper.held())
        except VaultCredentialError as error:
            tell = functools.partial(_fail, fetch, error)
        except BaseException as error:  # a defect must not leave those waiting who ask
            logger.exception("a fetch ended in an unforeseen error")
            tell = functools.partial(_fail, fetch, VaultCredentialError(f"internal error: {type(error).__name__}"))
        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            logger.debug("the server was stopped meanwhile; nobody waits")


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="vault-credential-process-endpoint", daemon=True).start()


def _fail(fetch: asyncio.Future[AWSCredentials], error: VaultCredentialError) -> None:
    fetch.set_exception(error)
    # Perhaps nobody waits any more, which is no reason for a word in the log.
    fetch.exception()


def _refusal(error: VaultCredentialError) -> Refused:
    """Return the answer for credentials that are not to be had."""
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
    code = "InternalError" if status == 500 else type(error).__name__.removesuffix("Error")
    return Refused(status, code, str(error), *([_RETRY] if status == 503 else []))
