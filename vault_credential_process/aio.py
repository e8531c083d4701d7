"""The same for aiobotocore: sessions of aioboto3, s3fs and the like share what the process keeps, and hold up no loop.

A task is handed a pair that lives at once. Whatever asks Vault, takes a lock or reads a file is done in a thread: for
all tasks of a loop together, so that none is more than a waiter, and whoever is cancelled stops nothing for the others.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import botocore.credentials
import botocore.session
from aiobotocore.credentials import AioRefreshableCredentials

from vault_credential_process import healing
from vault_credential_process.chain import METHOD, as_botocore, claimed, fetcher_of
from vault_credential_process.config import Config
from vault_credential_process.errors import VaultCredentialError, bare
from vault_credential_process.forks import at_fork
from vault_credential_process.keeper import Keeper
from vault_credential_process.registry import keeper_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[], Any]

NAME = "vault-credential-process-aio"
"""How our threads are called. They are daemons: the end of a program waits for none."""

_flights: dict[tuple[Any, ...], asyncio.Future[Any]] = {}
"""What is being done in a thread now, by the loop that waits for it and by what it is."""

_attended: dict[Keeper, object] = {}
"""The keepers whose pair lives and is being seen to now."""


class AioVaultCredentials(AioRefreshableCredentials):  # type: ignore[misc]
    """aiobotocore's refreshable credentials over a :class:`~vault_credential_process.keeper.Keeper`."""

    def __init__(self, keeper: Keeper) -> None:
        """Fetch nothing yet."""
        self.method = METHOD
        self.keeper = keeper

    async def get_frozen_credentials(self) -> botocore.credentials.ReadOnlyCredentials:
        """Return a pair that is valid now.

        :raises botocore.exceptions.CredentialRetrievalError: when there is none to be had, with our error as its cause.
        """
        pair = self.keeper.ready()
        if pair is not None:
            return pair
        held = self.keeper.living()
        if held is not None:
            _see_to(self.keeper)
            return held.frozen
        try:
            return await together(self.keeper.frozen, self.keeper)
        except VaultCredentialError as error:
            raise as_botocore(error) from error

    async def get_access_key(self) -> str | None:
        return (await self.get_frozen_credentials()).access_key

    async def get_secret_key(self) -> str | None:
        return (await self.get_frozen_credentials()).secret_key

    async def get_token(self) -> str | None:
        return (await self.get_frozen_credentials()).token

    async def get_account_id(self) -> str | None:
        return (await self.get_frozen_credentials()).account_id

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Tell whether less than ``refresh_in`` seconds are left; without a number, whether they have ended."""
        left = self.keeper.seconds_left()
        return left is None or left < (refresh_in or 0)

    @property
    def _expiry_time(self) -> datetime.datetime | None:
        """The end of the pair while it lives, which some programs read although botocore keeps the name to itself."""
        held = self.keeper.living()
        return None if held is None else datetime.datetime.fromtimestamp(held.credentials.expiry, datetime.timezone.utc)

    async def _refresh(self) -> None:
        await self.get_frozen_credentials()


class AioVaultProvider(botocore.credentials.CredentialProvider):
    """A credential provider for the chain of an ``AioSession``; see :class:`~.provider.VaultProvider`."""

    METHOD = METHOD
    CANONICAL_NAME = None

    def __init__(self, session: botocore.session.Session, *, profile_name: str | None = None, **settings: Any) -> None:
        """Remember where to look. ``settings`` are profile keys that go before the profile's."""
        super().__init__(session)
        self._profile_name = profile_name
        self._settings = settings

    async def load(self) -> AioVaultCredentials | None:
        """Return refreshable credentials for the profile in use, or ``None`` where it is not ours.

        :raises botocore.exceptions.CredentialRetrievalError: when it is ours and there are none.
        """
        configure = claimed(self.session, self._profile_name, self._settings)
        if configure is None:
            return None
        try:
            keeper = await together(functools.partial(_keeper, configure), self, hand_over=_crew.take)
        except VaultCredentialError as error:
            failure = bare(error)
        else:
            credentials = AioVaultCredentials(keeper)
            await credentials.get_frozen_credentials()
            return credentials
        raise as_botocore(failure) from failure


async def retry(response: Any, request_dict: Any, operation: Any, **_: Any) -> float | None:
    """Return 0, to try again at once, where there are other keys now; all whose keys were refused wait together."""
    refused = healing.refused_by(response, request_dict, operation)
    if refused is None:
        return None
    keeper, access_key = refused
    return 0.0 if await together(functools.partial(keeper.heal, access_key), keeper, access_key) else None


async def together(work: Callable[[], T], *what: object, hand_over: Callable[[Work], None] | None = None) -> T:
    """Do something in a thread, once for all tasks of this loop that want the same at the same time.

    A task that is cancelled leaves the work to the others, and so does a loop that is closed.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # trio's loop, which aiobotocore serves over anyio.
        import anyio.to_thread

        found: T = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        return found
    place = (loop, *what)
    flight = _flights.get(place)
    if flight is None:
        for stale in [other for other in list(_flights) if other[0].is_closed()]:
            _flights.pop(stale, None)
        flight = _flights[place] = loop.create_future()
        # Not before those have had their turn that stand in line with this task: the thread would slow them.
        loop.call_soon(_begin, hand_over or _thread, place, flight, work)
    await asyncio.wait([flight])
    result: T = flight.result()
    return result


def _begin(hand_over: Callable[[Work], None], place: tuple[Any, ...], flight: asyncio.Future[Any], work: Work) -> None:
    """Have the work done, or tell why it is not."""
    try:
        hand_over(functools.partial(_fly, place, flight, work))
    except RuntimeError as error:
        _flights.pop(place, None)
        _fail(flight, error)


def _fly(place: tuple[Any, ...], flight: asyncio.Future[Any], work: Work) -> None:
    """Do the work and tell the loop what came of it."""
    try:
        tell = functools.partial(flight.set_result, work())
    except BaseException as error:
        tell = functools.partial(_fail, flight, error)
    _flights.pop(place, None)
    try:
        place[0].call_soon_threadsafe(tell)
    except RuntimeError:
        logger.debug("the loop was closed meanwhile; nobody waits")


def _fail(flight: asyncio.Future[Any], error: BaseException) -> None:
    flight.set_exception(error)
    # Perhaps all who waited were cancelled, which is no reason for a word in the log.
    flight.exception()


def _see_to(keeper: Keeper) -> None:
    """Have a pair that lives replaced in a thread, if nobody is about it; it serves meanwhile."""
    mine = object()
    if not keeper.is_neglected() or _attended.setdefault(keeper, mine) is not mine:
        return

    def attend() -> None:
        try:
            keeper.frozen()
        except VaultCredentialError as error:
            logger.debug("the pair ended, and there is no other: %s", error)
        finally:
            del _attended[keeper]

    try:
        _thread(attend)
    except RuntimeError as error:
        del _attended[keeper]
        logger.debug("no thread could be started: %s", error)


def _thread(work: Work) -> None:
    threading.Thread(target=work, name=NAME, daemon=True).start()


def _keeper(configure: Callable[[], Config]) -> Keeper:
    return keeper_of(fetcher_of(configure()))


class _Crew:
    """Two threads at most, for what is short: many sessions that begin at once must not crowd out the loop."""

    def __init__(self) -> None:
        self._jobs: collections.deque[Work] = collections.deque()
        self._places = threading.Semaphore(2)

    def take(self, work: Work) -> None:
        self._jobs.append(work)
        if self._places.acquire(blocking=False):
            try:
                _thread(self._do)
            except RuntimeError:
                self._places.release()
                raise

    def _do(self) -> None:
        while True:
            try:
                self._jobs.popleft()()
            except IndexError:
                self._places.release()
                # Who came since that look found no place free.
                if not self._jobs or not self._places.acquire(blocking=False):
                    return


_crew = _Crew()


def _forked() -> None:
    """Begin anew in a child of ``fork``: our threads stayed behind."""
    global _crew  # noqa: PLW0603 - one for all
    _crew = _Crew()
    _flights.clear()
    _attended.clear()


at_fork(_forked)
