"""Obtains credentials: cache, then lock, then cache again, then login, then read, then store; last good answer."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time

from vault_credential_process import auth, sources
from vault_credential_process.auth import AuthMethod
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, TokenEntry, credentials_key, token_key
from vault_credential_process.cache.memory import Memory
from vault_credential_process.config import Config, missing_role
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline, format_timestamp, iam_user_expiry, refresh_margin
from vault_credential_process.models import AWSCredentials, Clock, VaultToken, wall_clock
from vault_credential_process.refusals import RefusedError
from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

MAX_PAUSE = 30.0
"""Seconds that a failed refresh is not tried again while the held pair is valid."""

PATIENCE = 10.0
"""Seconds that a refresh may take while a valid pair is held: nobody should wait long for what can be had later."""

GLIMPSE = 2.0
"""Seconds that new IAM users' keys are probed while the old pair can be served."""

LEAST_GAIN = 1.5
"""Seconds that a new IAM user must outlive the held one by, to be worth making; look-ups round to whole seconds."""

RELOGIN_INTERVAL = 60.0
"""Seconds between two fresh logins that a dead token may cause."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """Credentials with where they are kept and until when they may be handed out again without asking."""

    credentials: AWSCredentials
    key: str
    good_until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Grip:
    """A live token, whether it was kept from an earlier call, and whether it is kept for the next."""

    token: VaultToken
    from_cache: bool
    kept: bool


class Fetcher:
    """Gets AWS credentials for one configuration, and a Vault token for whoever needs one.

    What it gets is kept in a cache, and fetched once for all who share it. While Vault is away a pair that is still
    valid keeps being served. Safe to use from many threads and processes.
    """

    def __init__(self, config: Config, *, cache: CacheBackend | None = None, clock: Clock = wall_clock) -> None:
        """Take a configuration and a cache (default: the memory of this object); nothing is asked of Vault yet.

        :raises ConfigurationError: when no role is configured.
        """
        if not config.vault_aws_role:
            raise missing_role(config)
        self.config = config
        self.clock = clock
        self.cache = cache if cache is not None else Memory()

    def fetch(self) -> AWSCredentials:
        """Return credentials that are valid now.

        :raises VaultCredentialError: when there are none to be had, in the class that tells why.
        """
        return self.fetched().credentials

    def fetched(self, *, waited: float = 0.0) -> Fetched:
        """Return the same with its place in the cache; ``waited`` are seconds of the deadline that are gone already.

        :raises VaultCredentialError: when there are none to be had, in the class that tells why.
        """
        deadline = Deadline(self.config.vault_aws_timeout, already=waited)
        began = time.monotonic() - waited
        flight = _Flight(self, auth.choose(self.config), deadline)
        entry = flight.load()
        if entry is not None and flight.may_hand_out(entry):
            return flight.fetched(entry.credentials, pause_until=flight.pause_end(entry))
        # While somebody else refreshes, a pair that is valid serves; without one there is nothing to do but wait.
        with self.cache.place.locked(flight.key, deadline, wait=flight.usable(entry) is None) as mine:
            entry = flight.load()
            usable = flight.usable(entry)
            if entry is not None and flight.may_hand_out(entry):
                return flight.fetched(entry.credentials, pause_until=flight.pause_end(entry))
            if not mine and usable is not None:
                return flight.fetched(usable, pause_until=self.clock() + GLIMPSE)
            return flight.refresh(entry, self.cache.place.failure_since(flight.key, began))

    def token(self) -> VaultToken:
        """Return a Vault token that is alive, by a login where none is kept.

        :raises VaultCredentialError: when the login fails.
        """
        deadline = Deadline(self.config.vault_aws_timeout)
        flight = _Flight(self, auth.choose(self.config), deadline)
        with Vault(self.config, deadline, self.clock) as vault:
            return flight.token(vault).token

    def peek(self) -> Entry | None:
        """Return what is kept, whatever its state, without asking Vault."""
        return _Flight(self, auth.choose(self.config), Deadline(self.config.vault_aws_timeout)).load()

    def forget(self, *, revoke: bool = False) -> list[str]:
        """Forget what is kept; with ``revoke`` end the Vault token too. Return what was done, a line each.

        :raises VaultCredentialError: when the token cannot be revoked; everything is still kept then.
        """
        deadline = Deadline(self.config.vault_aws_timeout)
        flight = _Flight(self, auth.choose(self.config), deadline)
        with self.cache.place.locked(flight.key, deadline):
            return flight.forget(revoke=revoke)


class _Flight:
    """One call of :meth:`Fetcher.fetch`: the method it logs in with, its keys, its deadline."""

    def __init__(self, fetcher: Fetcher, method: AuthMethod, deadline: Deadline) -> None:
        self.config = fetcher.config
        self.cache = fetcher.cache
        self.clock = fetcher.clock
        self.method = method
        self.deadline = deadline
        self.identity = method.identity()
        self.token_key = token_key(self.cache.place, self.config, self.identity)
        self.key = credentials_key(self.cache.place, self.config, self.identity)
        self._keeps = True

    def load(self) -> Entry | None:
        return Entry.load(self.cache.get(self.key), self.clock())

    def may_hand_out(self, entry: Entry) -> bool:
        """Tell whether the kept pair may be handed out without asking: by the rule, or in the pause after a failure."""
        left = entry.credentials.seconds_left(self.clock())
        if not entry.proven or left <= 0:
            return False
        return left >= refresh_margin(entry.credentials.life) or self.clock() < self.pause_end(entry)

    def pause_end(self, entry: Entry) -> float:
        """Return until when a failure puts off the next try: a quarter of what was left; 0 where there was none."""
        if entry.failed_at is None or entry.failed_at > self.clock():
            return 0.0
        return entry.failed_at + min(MAX_PAUSE, entry.credentials.seconds_left(entry.failed_at) / 4)

    def usable(self, entry: Entry | None) -> AWSCredentials | None:
        """Return the pair that is valid now: the kept one, or the one before it while the new one is unproven."""
        if entry is None:
            return None
        pair = entry.credentials if entry.proven else entry.previous
        return pair if pair is not None and pair.seconds_left(self.clock()) > 0 else None

    def fetched(self, credentials: AWSCredentials, *, pause_until: float = 0.0) -> Fetched:
        """Return credentials with their place and how long they serve: by the rule, or as long as nobody is to ask."""
        rule = credentials.expiry - refresh_margin(credentials.life)
        return Fetched(credentials, self.key, rule if rule > self.clock() else min(pause_until, credentials.expiry))

    def refresh(self, entry: Entry | None, failure: VaultCredentialError | None) -> Fetched:
        """Return fresh credentials; where that fails, the last good ones with the reason kept beside them."""
        deadline = self.deadline
        if self.usable(entry) is not None:
            deadline = deadline.at_most(PATIENCE)
        try:
            if failure is not None:
                raise failure
            with Vault(self.config, deadline, self.clock) as vault:
                found = self._renew_or_read(vault, entry)
            kept = self.load()
            # Where the old pair serves until a new one is known, nobody need ask again at once.
            is_old = kept is not None and not kept.proven
            return self.fetched(found, pause_until=self.clock() + GLIMPSE if is_old else 0.0)
        except VaultCredentialError as error:
            # What is kept may have changed: a new pair is stored before it is proven, a dead one is forgotten.
            entry = self.load()
            usable = self.usable(entry)
            if failure is None:
                self.cache.place.remember_failure(self.key, error)
            if entry is None or usable is None:
                raise
            left = usable.seconds_left(self.clock())
            logger.warning("%s; going on with credentials that live for %.0f s", error, left)
            entry = dataclasses.replace(entry, failure=str(error), failed_at=self.clock())
            self._store(entry)
            return self.fetched(usable, pause_until=self.pause_end(entry))

    def _renew_or_read(self, vault: Vault, entry: Entry | None) -> AWSCredentials:
        is_valid = entry is not None and entry.credentials.seconds_left(self.clock()) > 0
        if entry is not None and is_valid and not entry.proven:
            return self._prove(vault, entry)
        if entry is not None and is_valid and entry.credentials.credential_type == "iam_user":
            renewed = self._renewed(vault, entry)
            if renewed is not None:
                self._store(dataclasses.replace(entry, credentials=renewed, failure=None, failed_at=None))
                return renewed
            entry = self.load()
        credentials, token = self._read(vault, entry)
        fresh = Entry(
            credentials,
            proven=credentials.credential_type != "iam_user" or not self.config.vault_aws_probe,
            # What was kept is looked at again: a token that died meanwhile took its IAM user along.
            previous=self.usable(self.load()),
            token_hash=self._token_hash(token),
            profile=self.config.profile,
            aws_path=self.config.aws_path,
            vault_addr=self.config.vault_addr,
        )
        if fresh.proven:
            fresh = dataclasses.replace(fresh, previous=None)
        self._store(fresh)
        return credentials if fresh.proven else self._prove(vault, fresh)

    def _prove(self, vault: Vault, entry: Entry) -> AWSCredentials:
        """Return the keys of a new IAM user once AWS knows them; the old pair while it can be served.

        They were stored before: a call that was killed here is resumed by the next one, not repeated.
        """
        # Imported here: botocore costs more than all the rest, and only new IAM users need it.
        from vault_credential_process import probe

        seconds = entry.credentials.issued + self.config.vault_aws_probe - self.clock()
        previous = self.usable(entry)
        patience = min(seconds, GLIMPSE) if previous else seconds
        found, known = probe.wait_until_known(entry.credentials, self.config, vault.deadline, seconds=patience)
        if previous is not None and not known and seconds > patience:
            return previous
        self._store(
            dataclasses.replace(entry, credentials=found, proven=True, previous=None, failure=None, failed_at=None)
        )
        return found

    def _renewed(self, vault: Vault, entry: Entry) -> AWSCredentials | None:
        """Return the held keys with a longer life, or ``None`` where renewal does not extend it enough.

        It keeps the IAM user, so there is no new one and no wait. At the maximum of token or lease renewal adds
        ever less; what it leaves must be enough to be handed out for a while. While Vault is away the held keys
        serve: another IAM user is made only where Vault refuses to renew this one.

        :raises VaultCredentialError: when Vault is away.
        """
        held = entry.credentials
        kept = self._kept_token()
        if kept is None or kept.token.uses_left is not None or not (held.renewable and held.lease_id):
            return None
        token = self.token(vault).token
        if self._token_hash(token) != entry.token_hash:
            logger.debug("the lease ends with an earlier token; a new pair is read")
            return None
        try:
            asked_at, duration = vault.renew_lease(token, held.lease_id)
        except PermissionDeniedError:
            self._is_dead(vault, token)
            return None
        except RefusedError as error:
            logger.debug("the lease was not renewed: %s", error)
            return None
        if not duration:
            logger.debug("the renewal does not say for how long; a new pair is read")
            return None
        expiry = iam_user_expiry(
            asked_at=asked_at, age=0, lease_duration=duration, token_expiry=token.expiry, fallback=held.life
        )
        if expiry - asked_at < refresh_margin(held.life):
            logger.debug("renewal leaves only %.0f s; a new pair is read", expiry - asked_at)
            return None
        logger.debug("renewed lease %s for %.0f s", held.lease_id, expiry - asked_at)
        return dataclasses.replace(held, issued=asked_at, expiry=expiry)

    def _read(self, vault: Vault, entry: Entry | None) -> tuple[AWSCredentials, VaultToken]:
        """Return fresh credentials and the token that asked for them."""
        grip = self.token(vault)
        self._refuse_in_vain(grip, entry)
        try:
            try:
                credentials = self._read_with(vault, grip.token, entry)
            except PermissionDeniedError:
                if not grip.from_cache or self._judge(vault, grip.token):
                    raise
                grip = self.token(vault)
                credentials = self._read_with(vault, grip.token, entry)
        except (ConfigurationError, PermissionDeniedError):
            self._tidy(vault, grip)
            raise
        if credentials.credential_type != "iam_user":
            self._tidy(vault, grip)
        return credentials, grip.token

    def _refuse_in_vain(self, grip: Grip, entry: Entry | None) -> None:
        """Refuse to make an IAM user that would end when the held one does, with a token that is not a new one."""
        usable, end = self.usable(entry), grip.token.expiry
        is_new = not grip.from_cache and not grip.token.external
        if usable is None or usable.credential_type != "iam_user" or is_new or end is None:
            return
        if end < usable.expiry + LEAST_GAIN:
            raise AuthenticationError(
                f"{self.config.vault_addr}/v1/{self.config.aws_path}: the token ends at {format_timestamp(end)}, and a "
                "new IAM user would end with it; renew the token, or get a new one"
            )

    def _read_with(self, vault: Vault, token: VaultToken, entry: Entry | None) -> AWSCredentials:
        code = None
        command = self.config.vault_aws_mfa_code_command
        if command:
            code = sources.run_command(command, "vault_aws_mfa_code_command", vault.deadline)
        known_type = entry.credentials.credential_type if entry else None
        return vault.read_credentials(token, mfa_code=code, known_type=known_type)

    def token(self, vault: Vault) -> Grip:
        """Return a live token: the kept one, renewed where it nears its end, else a new one."""
        with self.cache.place.locked(self.token_key, vault.deadline):
            kept = self._kept_token()
            held = self._still_good(vault, kept) if kept else None
            if held is not None:
                return Grip(held, from_cache=True, kept=True)
            token = auth.login(self.method, vault)
            if self.method.identity() != self.identity:
                # A secret was replaced meanwhile, and nobody can tell whose answer this is: it serves this call alone.
                logger.debug("the identity changed during the call; nothing is kept")
                self._keeps = False
            return Grip(token, from_cache=False, kept=self._keep(token))

    def _kept_token(self) -> TokenEntry | None:
        return TokenEntry.load(self.cache.get(self.token_key), self.clock())

    def _still_good(self, vault: Vault, kept: TokenEntry) -> VaultToken | None:
        token = kept.token
        left = token.seconds_left(self.clock())
        if token.uses_left is not None:
            # The use is counted before it happens, so that no two callers spend the same one.
            return token if left > 0 and token.uses_left >= 2 and self._keep(token) else None
        if not token.looked_up and left <= 0:
            raise AuthenticationError(
                f"{self.config.vault_addr}: vault_token_ttl has passed since the token was first used; get a new one"
            )
        if not token.looked_up or kept.life is None or left >= refresh_margin(kept.life):
            return token
        if left <= 0 or token.external or not token.renewable:
            return None
        try:
            renewed = vault.renew_token(token)
        except PermissionDeniedError:
            self._is_dead(vault, token)
            return None
        except RefusedError as error:
            logger.debug("the token was not renewed: %s", error)
            return None
        except VaultCredentialError as error:
            logger.debug("the token was not renewed, but lives: %s", error)
            return token
        if renewed.seconds_left(self.clock()) < refresh_margin(kept.life):
            logger.debug("the token nears its maximum; a new login")
            return None
        self._keep(renewed, life=kept.life)
        return renewed

    def _keep(self, token: VaultToken, *, life: float = 0.0) -> bool:
        """Keep a token for the next call, the coming use of a limited one already counted.

        ``life`` is the longest that it had: at its maximum a renewal leaves less, which must not pass for a whole life.
        """
        if token.uses_left is not None:
            token = dataclasses.replace(token, uses_left=token.uses_left - 1)
        kept = TokenEntry(
            token,
            life=None if token.expiry is None else max(life, token.seconds_left(self.clock())),
            profile=self.config.profile,
            path=f"auth/{self.method.mount}",
            vault_addr=self.config.vault_addr,
        )
        return self._keeps and self.cache.set(self.token_key, kept.dump())

    def _judge(self, vault: Vault, token: VaultToken) -> bool:
        """Tell whether a kept token that was denied shall stay: it is alive, so that a policy is what is missing.

        One dead token a minute leads to a new login; where neither reading nor looking up is allowed, dead and denied
        look alike, and more would be a storm.
        """
        mark = self.cache.place.hash("relogin", self.token_key)
        if self._is_recent(self.cache.get(mark)):
            return True
        if not self._is_dead(vault, token):
            return True
        self.cache.set(mark, b"%f" % self.clock())
        return False

    def _is_dead(self, vault: Vault, token: VaultToken) -> bool:
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
        kept = self._kept_token()
        if kept is not None and kept.token.value == token.value:
            self.cache.delete(self.token_key)
        ended = self._token_hash(token)
        for key in {self.key, *self.cache.keys()}:
            entry = Entry.load(self.cache.get(key), self.clock())
            if entry is not None and entry.token_hash == ended and entry.credentials.credential_type == "iam_user":
                self.cache.delete(key)

    def _token_hash(self, token: VaultToken) -> str:
        return self.cache.place.hash("token value", token.value)

    def _is_recent(self, mark: bytes | None) -> bool:
        try:
            return 0 <= self.clock() - float(mark or b"-inf") < RELOGIN_INTERVAL
        except ValueError:
            return False

    def _store(self, entry: Entry) -> None:
        if self._keeps:
            self.cache.set(self.key, entry.dump())

    def _tidy(self, vault: Vault, grip: Grip) -> None:
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

    def forget(self, *, revoke: bool) -> list[str]:
        """Forget credentials and token, ending the token first if that is wanted."""
        entry, kept, done = self.load(), self._kept_token(), []
        if revoke:
            done += self._revoked(entry, kept)
        for key, held, what in ((self.key, entry, "credentials"), (self.token_key, kept, "Vault token")):
            self.cache.delete(key)
            if held is not None:
                done.append(f"forgot the {what} of {self.config.aws_path} at {self.config.vault_addr}")
        return done or ["nothing was held"]

    def _revoked(self, entry: Entry | None, kept: TokenEntry | None) -> list[str]:
        """End the kept token, if it is ours and can be ended; return what came of it, a line each."""
        done = []
        if kept is None or kept.token.external:
            done.append("no token of ours is held, so nothing was revoked: a token from outside is its owner's to end")
        elif kept.token.token_type == "batch":  # noqa: S105 - the kind of token
            done.append("a batch token cannot be revoked: it ends by itself, and every IAM user with it")
        else:
            with Vault(self.config, self.deadline, self.clock) as vault:
                try:
                    vault.revoke_token(kept.token)
                    done.append("revoked the Vault token, and with it every IAM user that it asked for")
                except PermissionDeniedError:
                    if kept.token.seconds_left(self.clock()) > 0 and not self._is_dead(vault, kept.token):
                        raise
                    done.append("the Vault token had ended already, and every IAM user with it")
            self._bury(kept.token)
        if entry is not None and entry.credentials.credential_type == "sts":
            until = format_timestamp(entry.credentials.expiry)
            done.append(f"STS credentials cannot be revoked by anyone: the pair just forgotten lives until {until}")
        return done
