"""The Vault token of one identity: kept between calls, renewed, judged, and ended."""

from __future__ import annotations

import contextlib
import dataclasses
import logging

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, TokenEntry, credentials_key, token_key
from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, PermissionDeniedError, VaultCredentialError, failure_of
from vault_credential_process.expiry import format_timestamp, refresh_margin
from vault_credential_process.models import Clock, VaultToken, origin_of
from vault_credential_process.refusals import RefusedError
from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

RELOGIN_INTERVAL = 60.0
"""Seconds between two fresh logins that a dead token may cause."""

SPARE = 30.0
"""Seconds that a kept token must have left to serve while somebody else renews it, or types a password."""

RESPITE = 3 / 4
"""The part of a live token's time for which a refused login is not tried again: a few wrong passwords lock a user."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grip:
    """A live token, whether it was kept from an earlier call, and whether it is kept for the next."""

    token: VaultToken
    from_cache: bool
    kept: bool


class Tokens:
    """The token of one auth method, whoever calls: threads and processes that share the cache share it.

    ``key`` is where it is kept, and ``credentials_key`` where the AWS credentials are that the configuration names.
    """

    def __init__(self, config: Config, cache: CacheBackend, clock: Clock, method: AuthMethod) -> None:
        """Ask the method whom it logs in as; nothing is asked of Vault yet.

        :raises ConfigurationError: when something that was configured is missing or malformed.
        """
        self.config = config
        self.cache = cache
        self.clock = clock
        self.method = method
        self.identity = method.identity()
        self.key = token_key(cache.place, config, self.identity)
        self.credentials_key = credentials_key(cache.place, config, self.identity)
        self.keeps = True
        self._new: str | None = None

    def get(self, vault: Vault, *, early: float = 0.0) -> Grip:
        """Return a live token: the kept one, renewed where it nears its end, else a new one.

        ``early`` are seconds before the moment of the rule at which it is renewed all the same: as many as for the
        credentials, for those of an IAM user end with it.

        :raises VaultCredentialError: when the login fails and no kept token is alive.
        """
        spare = self._alive(SPARE)
        with self.cache.place.locked(self.key, vault.deadline, wait=spare is None) as mine:
            if spare is not None and not mine:
                return Grip(spare, from_cache=True, kept=True)
            kept = self.kept()
            held = self._still_good(vault, kept, early) if kept else None
            if held is not None:
                return Grip(held, from_cache=held.value != self._new, kept=True)
            alive = self._alive()
            if alive is not None and self._rests():
                logger.debug("the last login was refused; going on with the kept token")
                return Grip(alive, from_cache=True, kept=True)
            try:
                return self._log_in(vault)
            except VaultCredentialError as error:
                alive = self._alive()
                if alive is None:
                    raise
                left = alive.seconds_left(self.clock())
                logger.warning("%s; going on with a token that lives for %.0f s", error, left)
                if isinstance(error, AuthenticationError):
                    self.cache.set(self._respite, b"%f" % (self.clock() + left * RESPITE))
                return Grip(alive, from_cache=True, kept=True)

    def log_in(self, vault: Vault) -> Grip:
        """Return a new token, whatever is kept; none of its uses is counted yet.

        :raises VaultCredentialError: when the login fails.
        """
        with self.cache.place.locked(self.key, vault.deadline):
            return self._log_in(vault, uses=0)

    def _alive(self, seconds: float = 0.0) -> VaultToken | None:
        """Return the kept token if it lives for more than so many seconds, and as often as anybody likes."""
        kept = self.kept()
        if kept is None or kept.token.uses_left is not None or kept.token.seconds_left(self.clock()) <= seconds:
            return None
        return kept.token

    @property
    def _respite(self) -> str:
        """Return the key of the moment before which a login that was refused is not tried again."""
        return self.cache.place.hash("respite", self.key)

    def _rests(self) -> bool:
        try:
            return self.clock() < float(self.cache.get(self._respite) or b"-inf")
        except ValueError:
            return False

    def _log_in(self, vault: Vault, *, uses: int = 1) -> Grip:
        token = auth.login(self.method, vault)
        self._new = token.value
        if self.method.identity() != self.identity:
            # A secret was replaced meanwhile, and nobody can tell whose answer this is: it serves this call alone.
            logger.debug("the identity changed during the call; nothing is kept")
            self.keeps = False
        return Grip(token, from_cache=False, kept=self._keep(token, uses=uses))

    def kept(self) -> TokenEntry | None:
        """Return what is kept, whatever its state."""
        return TokenEntry.load(self.cache.get(self.key), self.clock(), origin_of(self.clock))

    def entry(self, key: str) -> Entry | None:
        """Return the credentials that are kept under a key, whatever their state."""
        return Entry.load(self.cache.get(key), self.clock(), origin_of(self.clock))

    def _still_good(self, vault: Vault, kept: TokenEntry, early: float) -> VaultToken | None:
        token = kept.token
        left = token.seconds_left(self.clock())
        if token.uses_left is not None:
            # The use is counted before it happens, so that no two callers spend the same one.
            return token if left > 0 and token.uses_left >= 2 and self._keep(token) else None
        if not token.looked_up and left <= 0:
            raise AuthenticationError(
                f"{self.config.vault_addr}: vault_token_ttl has passed since the token was first used; get a new one"
            )
        if not token.looked_up or kept.life is None or left >= refresh_margin(kept.life) + early:
            return token
        if left <= 0 or token.external or not token.renewable:
            return None
        try:
            renewed = self._renewed(vault, token)
        except VaultCredentialError as error:
            logger.debug("the token was not renewed, but lives: %s", error)
            return token
        if renewed is None:
            return None
        if renewed.seconds_left(self.clock()) < refresh_margin(kept.life):
            logger.debug("the token nears its maximum; a new login")
            return None
        self._keep(renewed, life=kept.life)
        return renewed

    def keep_alive(self, vault: Vault) -> float | None:
        """Renew the kept token once two thirds of its life are gone.

        Return the seconds until that is to be looked at again; ``None`` where renewal would keep nothing alive: no
        token of ours, one without an end or a renewal, one near its maximum.

        :raises VaultCredentialError: when Vault is away.
        """
        with self.cache.place.locked(self.key, vault.deadline):
            kept = self.kept()
            if kept is None or kept.life is None or kept.token.external or not kept.token.renewable:
                return None
            token, third = kept.token, kept.life / 3
            left = token.seconds_left(self.clock())
            if left <= 0 or token.uses_left is not None:
                return None
            if left > third:
                return left - third
            renewed = self._renewed(vault, token)
            if renewed is None:
                return None
            left = renewed.seconds_left(self.clock())
            self._keep(renewed, life=kept.life)
            return left - third if left > third else None

    def _renewed(self, vault: Vault, token: VaultToken) -> VaultToken | None:
        """Return a token with a new life; ``None`` where Vault refuses it one. A dead one is forgotten.

        :raises VaultCredentialError: when Vault is away.
        """
        try:
            return vault.renew_token(token)
        except PermissionDeniedError:
            self.is_dead(vault, token)
        except RefusedError as error:
            logger.debug("the token was not renewed: %s", error)
        return None

    def _keep(self, token: VaultToken, *, life: float = 0.0, uses: int = 1) -> bool:
        """Keep a token for the next call, the coming use of a limited one already counted, unless there is none.

        ``life`` is the longest that it had: at its maximum a renewal leaves less, which must not pass for a whole life.
        """
        if token.uses_left is not None:
            token = dataclasses.replace(token, uses_left=token.uses_left - uses)
        kept = TokenEntry(
            token,
            life=None if token.expiry is None else max(life, token.seconds_left(self.clock())),
            profile=self.config.profile,
            path=f"auth/{self.method.mount}",
            vault_addr=self.config.vault_addr,
        )
        return self.keeps and self.method.keeps_token and self.cache.set(self.key, kept.dump(origin_of(self.clock)))

    def stays(self, vault: Vault, token: VaultToken) -> bool:
        """Tell whether a kept token that was denied shall stay: it is alive, so that a policy is what is missing.

        One dead token a minute leads to a new login; where neither reading nor looking up is allowed, dead and denied
        look alike, and more would be a storm.
        """
        mark = self.cache.place.hash("relogin", self.key)
        if self._is_recent(self.cache.get(mark)):
            return True
        if not self.is_dead(vault, token):
            return True
        self.cache.set(mark, b"%f" % self.clock())
        return False

    def is_dead(self, vault: Vault, token: VaultToken) -> bool:
        """Ask whether a token that was denied is dead; one of limited uses counts as dead. A dead one is forgotten."""
        if token.uses_left is None:
            with contextlib.suppress(PermissionDeniedError):
                vault.look_up(token.value, origin="an earlier login")
                return False
        logger.debug("the kept token is dead")
        self._bury(token)
        return True

    def _bury(self, token: VaultToken) -> None:
        """Forget a token that has ended, and every IAM user that ended with it."""
        kept = self.kept()
        if kept is not None and kept.token.value == token.value:
            self.cache.delete(self.key)
        ended = self.hash_of(token)
        for key in {self.credentials_key, *self.cache.keys()}:
            entry = self.entry(key)
            if entry is not None and entry.token_hash == ended and entry.credentials.credential_type == "iam_user":
                self.cache.delete(key)

    def hash_of(self, token: VaultToken) -> str:
        """Return what stands for a token in the entries of credentials that it asked for; nothing for an Agent's."""
        return "" if token.value is None else self.cache.place.hash("token value", token.value)

    def _is_recent(self, mark: bytes | None) -> bool:
        try:
            return 0 <= self.clock() - float(mark or b"-inf") < RELOGIN_INTERVAL
        except ValueError:
            return False

    def tidy(self, vault: Vault, grip: Grip) -> None:
        """End a token that nobody will use again: its STS credentials live on without it.

        Never one that is kept or came from outside, and never one of limited uses, whose last use would end its leases.
        """
        token = grip.token
        if grip.kept or token.external or token.uses_left is not None or token.token_type == "batch":  # noqa: S105
            return
        try:
            vault.revoke_token(token)
        except VaultCredentialError as error:
            logger.debug("the token was left to expire by itself: %s", error)

    def revoke(self, vault: Vault) -> str:
        """End the kept token, if it is ours and can be ended; return what came of it.

        :raises VaultCredentialError: when it cannot be ended, or nobody can tell whether it was: then it is forgotten,
            and every IAM user that ends with it.
        """
        kept = self.kept()
        if kept is None or kept.token.external:
            return "no token of ours is held, so nothing was revoked: a token from outside is its owner's to end"
        if kept.token.token_type == "batch":  # noqa: S105 - the kind of token
            done = "a batch token cannot be revoked: it ends by itself, and every IAM user with it"
        else:
            try:
                vault.revoke_token(kept.token)
                done = "revoked the Vault token, and with it every IAM user that it asked for"
            except PermissionDeniedError:
                if kept.token.seconds_left(self.clock()) > 0 and self._lives_on(vault, kept.token):
                    raise
                done = "the Vault token had ended already, and every IAM user with it"
            except VaultCredentialError as error:
                if error.undone:
                    raise
                raise self._in_doubt(kept.token, error) from None
        self._bury(kept.token)
        return done

    def _lives_on(self, vault: Vault, token: VaultToken) -> bool:
        """Tell whether a token that may not revoke itself is alive: an earlier try may have ended it."""
        try:
            return not self.is_dead(vault, token)
        except VaultCredentialError as error:
            raise self._in_doubt(token, error) from None

    def _in_doubt(self, token: VaultToken, error: VaultCredentialError) -> VaultCredentialError:
        """Forget a token that Vault may have ended, for the answer was lost; return what is to be said of it."""
        self._bury(token)
        return failure_of(
            error.exit_code,
            f"{error}; Vault may have ended the token all the same, so it is forgotten here, with every IAM user that "
            f"it asked for; if not, it {lives(token)}",
        )


def lives(token: VaultToken) -> str:
    """Return how long a token lives, in words."""
    if token.expiry is None:
        return "does not end" if token.expiry_known else "lives for nobody knows how long"
    return f"lives until {format_timestamp(token.expiry)}"
