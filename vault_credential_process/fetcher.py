"""Obtains credentials: cache, then lock, then cache again, then login, then read, then store; last good answer."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, TokenEntry
from vault_credential_process.cache.memory import Memory
from vault_credential_process.config import Config, missing_role
from vault_credential_process.errors import VaultCredentialError, bare
from vault_credential_process.expiry import Deadline
from vault_credential_process.flight import GLIMPSE, PATIENCE, Fetched, Flight
from vault_credential_process.models import AWSCredentials, Clock, Person, VaultToken, wall_clock

__all__ = ["Fetched", "Fetcher"]

P = ParamSpec("P")
T = TypeVar("T")


def _told_bare(call: Callable[P, T]) -> Callable[P, T]:
    """Let a method raise its errors without what hangs on them (:func:`~.errors.bare`)."""

    @functools.wraps(call)
    def told(*arguments: P.args, **keywords: P.kwargs) -> T:
        try:
            return call(*arguments, **keywords)
        except VaultCredentialError as error:
            failure = bare(error)
        raise failure

    return told


class Fetcher:
    """Gets AWS credentials for one configuration, and a Vault token for whoever needs one.

    What it gets is kept in a cache, and fetched once for all who share it. While Vault is away a pair that is still
    valid keeps being served. Safe to use from many threads and processes.
    """

    def __init__(
        self,
        config: Config,
        *,
        cache: CacheBackend | None = None,
        clock: Clock = wall_clock,
        needs_role: bool = True,
    ) -> None:
        """Take a configuration and a cache (default: the memory of this object); nothing is asked of Vault yet.

        Without ``needs_role`` only the Vault token is of interest.

        :raises ConfigurationError: when a role is needed and none is configured.
        """
        if needs_role and not config.vault_aws_role:
            raise missing_role(config)
        self.config = config
        self.clock = clock
        self.cache = cache if cache is not None else Memory()

    def key(self) -> str:
        """Return the key under which the credentials are kept: who has the same wants the same.

        :raises VaultCredentialError: when nobody can tell as whom a login would log in.
        """
        return self._flight(Deadline(self.config.vault_aws_timeout)).key

    def fetch(self) -> AWSCredentials:
        """Return credentials that are valid now.

        :raises VaultCredentialError: when there are none to be had, in the class that tells why.
        """
        return self.fetched().credentials

    @_told_bare
    def fetched(self, *, waited: float = 0.0, early: float = 0.0, instead_of: str | None = None) -> Fetched:
        """Return the same with its place in the cache.

        ``waited`` are seconds of the deadline that are gone already; ``early`` are seconds before the rule's moment
        at which the kept pair is refreshed all the same; ``instead_of`` is an access key that AWS does not take any
        more, whatever its stated end: where it is the kept one it is forgotten.

        :raises VaultCredentialError: when there are none to be had, in the class that tells why.
        """
        deadline = Deadline(self.config.vault_aws_timeout, already=waited)
        began = time.monotonic() - waited
        flight = self._flight(deadline, early=early)
        entry = flight.load(instead_of)
        if entry is not None and flight.may_hand_out(entry):
            return flight.kept(entry)
        # While somebody else refreshes, a pair that is valid serves; without one there is nothing to do but wait.
        with self.cache.place.locked(flight.key, deadline, wait=flight.usable(entry) is None) as mine:
            entry = flight.load(instead_of)
            usable = flight.usable(entry)
            if entry is not None and flight.may_hand_out(entry):
                return flight.kept(entry)
            if not mine and usable is not None:
                return flight.fetched(usable, pause_until=self.clock() + GLIMPSE)
            return flight.refresh(entry, self.cache.place.failure_since(flight.key, began))

    @_told_bare
    def token(self) -> VaultToken:
        """Return a Vault token that is alive, by a login where none is kept.

        :raises VaultCredentialError: when the login fails.
        """
        flight = self._flight(Deadline(self.config.vault_aws_timeout))
        with flight.open() as vault:
            return flight.tokens.get(vault).token

    @_told_bare
    def keep_token(self) -> float | None:
        """Renew the kept token once two thirds of its life are gone.

        Return the seconds until that is to be looked at again; ``None`` where there is no token that renewal would keep
        alive.

        :raises VaultCredentialError: when Vault is away.
        """
        flight = self._flight(Deadline(self.config.vault_aws_timeout).at_most(PATIENCE))
        with flight.open() as vault:
            return flight.tokens.keep_alive(vault)

    def peek(self) -> Entry | None:
        """Return what is kept, whatever its state, without asking Vault."""
        return self._flight(Deadline(self.config.vault_aws_timeout)).load()

    def kept_token(self) -> TokenEntry | None:
        """Return the Vault token that is kept, while it lives, without asking Vault."""
        kept = self._flight(Deadline(self.config.vault_aws_timeout)).tokens.kept()
        return kept if kept is not None and kept.token.seconds_left(self.clock()) > 0 else None

    @_told_bare
    def log_in(self, person: Person, deadline: Deadline) -> TokenEntry:
        """Log in anew, with a person to ask, and return the token as it is kept for the next call.

        What a failure left behind ends with it: the next call asks Vault again.

        :raises ConfigurationError: when the token is not kept, so that the login would be lost.
        :raises VaultCredentialError: when the login fails; what was kept is still kept then.
        """
        return self._flight(deadline).log_in(person)

    @_told_bare
    def forget(
        self, *, revoke: bool = False, force: bool = False, roles: bool = False, seconds: float | None = None
    ) -> list[str]:
        """Forget what is kept; with ``revoke`` end the Vault token too. Return what was done, a line each.

        With ``force`` it is forgotten where it cannot be revoked, too; with ``roles`` the credentials of every role
        are that the token asked for. ``seconds`` is a deadline of its own.

        :raises VaultCredentialError: when the token cannot be revoked; everything is still kept then, but for the token
            and its IAM users where Vault may have ended them and the answer was lost.
        """
        deadline = Deadline(seconds or self.config.vault_aws_timeout)
        flight = self._flight(deadline)
        with self.cache.place.locked(flight.key, deadline):
            return flight.forget(revoke=revoke, force=force, roles=roles)

    def _flight(self, deadline: Deadline, *, early: float = 0.0) -> Flight:
        return Flight(self.config, self.cache, self.clock, deadline, early=early)
