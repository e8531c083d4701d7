"""One call for credentials: what is kept, whether it may be handed out, and what is asked of Vault where it may not."""

from __future__ import annotations

import dataclasses
import logging

from vault_credential_process import auth, sources
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.entry import Entry, TokenEntry
from vault_credential_process.config import Config
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    VaultCredentialError,
)
from vault_credential_process.expiry import Deadline, format_timestamp, iam_user_expiry, refresh_margin
from vault_credential_process.models import AWSCredentials, Clock, Person, VaultToken, origin_of
from vault_credential_process.refusals import RefusedError
from vault_credential_process.tokens import Grip, Tokens, lives
from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

MAX_PAUSE = 30.0
"""Seconds that a failed refresh is not tried again while the held pair is valid."""

ARRIVAL = 1.0
"""Seconds that a pair must have left to be handed out, for it has a way to go; a quarter of a life under 4 s."""

PATIENCE = 10.0
"""Seconds that a refresh may take while a valid pair is held: nobody should wait long for what can be had later."""

GLIMPSE = 2.0
"""Seconds that new IAM users' keys are probed while the old pair can be served."""

LEAST_GAIN = 1.5
"""Seconds that a new IAM user must outlive the held one by, to be worth making; look-ups round to whole seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """Credentials with where they are kept and until when they may be handed out again without asking.

    ``failure`` is why they are not fresh, in words without a secret; ``None`` where they are.
    """

    credentials: AWSCredentials
    key: str
    good_until: float
    failure: str | None = None


class Flight:
    """One call: the token it asks with, its keys, its deadline.

    ``early`` are seconds before the moment of the rule at which what is kept is refreshed all the same.
    """

    def __init__(
        self, config: Config, cache: CacheBackend, clock: Clock, deadline: Deadline, *, early: float = 0.0
    ) -> None:
        """Choose the auth method; nothing is asked of Vault yet.

        :raises VaultCredentialError: when nobody can tell as whom a login would log in.
        """
        self.early = early
        self.config = config
        self.cache = cache
        self.clock = clock
        self.deadline = deadline
        self.tokens = Tokens(config, cache, clock, auth.choose(config))
        self.key = self.tokens.credentials_key

    def open(self, deadline: Deadline | None = None, *, person: Person | None = None) -> Vault:
        """Return a conversation with Vault, under the call's deadline if no other is given."""
        return Vault(self.config, deadline or self.deadline, self.clock, person=person, cache=self.cache)

    def load(self, instead_of: str | None = None) -> Entry | None:
        """Return what is kept; one with this access key is forgotten first."""
        entry = self.tokens.entry(self.key)
        if entry is not None and entry.credentials.access_key == instead_of:
            self.cache.delete(self.key)
            return None
        return entry

    def may_hand_out(self, entry: Entry) -> bool:
        """Tell whether the kept pair may be handed out without asking: by the rule, or in the pause after a failure."""
        left = entry.credentials.seconds_left(self.clock())
        if not entry.proven or not self._arrives(entry.credentials):
            return False
        return left >= refresh_margin(entry.credentials.life) + self.early or self.clock() < self.pause_end(entry)

    def pause_end(self, entry: Entry) -> float:
        """Return until when a failure puts off the next try: a quarter of what was left; 0 where there was none."""
        if entry.failed_at is None or entry.failed_at > self.clock():
            return 0.0
        return entry.failed_at + min(MAX_PAUSE, entry.credentials.seconds_left(entry.failed_at) / 4)

    def usable(self, entry: Entry | None) -> AWSCredentials | None:
        """Return the pair that is valid now: the kept one, or the one before it while the new one is unproven."""
        if entry is None:
            return None
        pair = entry.served
        return pair if pair is not None and self._arrives(pair) else None

    def _arrives(self, pair: AWSCredentials) -> bool:
        return pair.seconds_left(self.clock()) > min(ARRIVAL, pair.life / 4)

    def kept(self, entry: Entry) -> Fetched:
        """Return the kept pair, which may be handed out."""
        return self.fetched(entry.credentials, pause_until=self.pause_end(entry), failure=entry.failure)

    def fetched(self, credentials: AWSCredentials, *, pause_until: float = 0.0, failure: str | None = None) -> Fetched:
        """Return credentials with their place and how long they serve: by the rule, or as long as nobody is to ask."""
        rule = credentials.expiry - refresh_margin(credentials.life)
        good_until = rule if rule > self.clock() else min(pause_until, credentials.expiry - ARRIVAL)
        return Fetched(credentials, self.key, good_until, failure)

    def refresh(self, entry: Entry | None, failure: VaultCredentialError | None) -> Fetched:
        """Return fresh credentials; where that fails, the last good ones with the reason kept beside them."""
        deadline = self.deadline
        if self.usable(entry) is not None:
            deadline = deadline.at_most(PATIENCE)
        try:
            if failure is not None:
                raise failure
            with self.open(deadline) as vault:
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
            logger.debug("%s; going on with credentials that live for %.0f s", error, left)
            entry = dataclasses.replace(entry, failure=str(error), failed_at=self.clock())
            self._store(entry)
            return self.fetched(usable, pause_until=self.pause_end(entry), failure=str(error))

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
        # What was kept is looked at again: a token that died meanwhile took its IAM user along.
        entry = self.load()
        is_known = credentials.credential_type != "iam_user" or not self.config.vault_aws_probe
        if entry is not None and entry.proven and entry.credentials.access_key == credentials.access_key:
            # The cache of an Agent gave the held keys once more.
            credentials = dataclasses.replace(credentials, account_id=entry.credentials.account_id)
            is_known = True
        fresh = Entry(
            credentials,
            proven=is_known,
            previous=self.usable(entry),
            token_hash=self.tokens.hash_of(token),
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
        kept = self.tokens.kept()
        if kept is None or kept.token.uses_left is not None or not (held.renewable and held.lease_id):
            return None
        token = self.tokens.get(vault, early=self.early).token
        if self.tokens.hash_of(token) != entry.token_hash:
            logger.debug("the lease ends with an earlier token; a new pair is read")
            return None
        try:
            asked_at, duration = vault.renew_lease(token, held.lease_id)
        except PermissionDeniedError:
            self.tokens.is_dead(vault, token)
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
        grip = self.tokens.get(vault, early=self.early)
        self._refuse_in_vain(grip, entry)
        try:
            try:
                credentials = self._read_with(vault, grip.token, entry)
            except PermissionDeniedError:
                if not grip.from_cache or self.tokens.stays(vault, grip.token):
                    raise
                grip = self.tokens.get(vault, early=self.early)
                credentials = self._read_with(vault, grip.token, entry)
        except (ConfigurationError, PermissionDeniedError):
            self.tokens.tidy(vault, grip)
            raise
        if credentials.credential_type != "iam_user":
            self.tokens.tidy(vault, grip)
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

    def _store(self, entry: Entry) -> None:
        if self.tokens.keeps:
            self.cache.set(self.key, entry.dump(origin_of(self.clock)))

    def log_in(self, person: Person) -> TokenEntry:
        """Log in anew and end the pauses after failures; see :meth:`Fetcher.log_in`."""
        method = self.tokens.method
        if not method.keeps_token:
            raise ConfigurationError(
                f"vault_auth_method: {method.name}: the token is kept elsewhere, so there is nobody to log in here; "
                "run get"
            )
        with self.open(person=person) as vault:
            grip = self.tokens.log_in(vault)
            if not grip.token.looked_up:
                self.cache.delete(self.tokens.key)
                raise AuthenticationError(
                    f"{self.config.vault_addr}/v1/auth/token/lookup-self: permission denied: the token is unknown, "
                    "revoked or expired, or may not look itself up; get a new one, or run get to see whether it serves"
                )
            kept = self.tokens.kept()
            if not grip.kept or kept is None:
                self.tokens.tidy(vault, grip)
                raise ConfigurationError(
                    f"vault_aws_cache: {self.cache.name}: the token could not be kept, so nobody is logged in; "
                    "login -v tells why"
                )
        for key in {self.key, *self.cache.keys()}:
            # Whoever holds the lock is asking again already.
            with self.cache.place.locked(key, self.deadline, wait=False) as mine:
                entry = self.tokens.entry(key)
                if mine and entry is not None and entry.failed_at and entry.vault_addr == self.config.vault_addr:
                    self.cache.set(
                        key, dataclasses.replace(entry, failure=None, failed_at=None).dump(origin_of(self.clock))
                    )
        return kept

    def forget(self, *, revoke: bool, force: bool, roles: bool) -> list[str]:
        """Forget credentials and token, ending the token first if that is wanted."""
        kept = self.tokens.kept()
        keys = {self.key: self.load()}
        if roles and kept is not None:
            keys |= self._asked_for_with(kept.token)
        done = [self._revoke_first(kept, force=force)] if revoke else []
        pairs = [entry for entry in keys.values() if entry is not None]
        for entry in pairs if revoke else ():
            if entry.credentials.credential_type == "sts":
                until = format_timestamp(entry.credentials.expiry)
                done.append(f"STS credentials cannot be revoked by anyone: the pair just forgotten lives until {until}")
        for key in (*keys, self.tokens.key):
            self.cache.delete(key)
        done += [f"forgot the credentials of {entry.aws_path} at {entry.vault_addr}" for entry in pairs]
        if kept is not None:
            done.append(f"forgot the Vault token of {kept.path} at {self.config.vault_addr}")
        return done

    def _revoke_first(self, kept: TokenEntry | None, *, force: bool) -> str:
        """Revoke the kept token and return what came of it.

        IAM users that end with it are forgotten before: a call that is killed on the way must leave no dead keys. Where
        the token was not revoked they are kept again, but not where nobody can tell. With ``force`` a failure is no
        more than told.
        """
        doomed: dict[str, Entry] = {}
        if kept is not None and not kept.token.external:
            asked = self._asked_for_with(kept.token)
            doomed = {key: e for key, e in asked.items() if e and e.credentials.credential_type == "iam_user"}
        for key in doomed:
            self.cache.delete(key)
        try:
            with self.open() as vault:
                return self.tokens.revoke(vault)
        except VaultCredentialError as error:
            held = self.tokens.kept()
            is_alive = kept is not None and held is not None and held.token.value == kept.token.value
            if force and kept is not None:
                return f"the Vault token was not revoked and {lives(kept.token)} ({error})" if is_alive else str(error)
            for key, entry in doomed.items() if is_alive else ():
                if self.cache.get(key) is None:
                    self.cache.set(key, entry.dump(origin_of(self.clock)))
            raise

    def _asked_for_with(self, token: VaultToken) -> dict[str, Entry | None]:
        """Return all kept credentials that a token asked for, whatever their role."""
        wanted = self.tokens.hash_of(token)
        found = {key: self.tokens.entry(key) for key in tuple(self.cache.keys())}
        return {key: entry for key, entry in found.items() if entry is not None and entry.token_hash == wanted}
