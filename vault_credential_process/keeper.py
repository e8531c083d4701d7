"""One pair of credentials for all of a process: read without a wait, and replaced before it ends.

botocore's own class blocks every caller in its mandatory window, storms when leases are short, deadlocks a child that
was forked in the middle of a refresh, and does nothing when a lease is revoked early (``botocore.credentials``,
``RefreshableCredentials``). Here a call for credentials reads one attribute. The thread of
:mod:`~vault_credential_process.background` refreshes ahead of the window, with jitter; only who finds no valid pair
waits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Iterator

from botocore.credentials import ReadOnlyCredentials

from vault_credential_process.background import background
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    PermissionDeniedError,
    VaultCredentialError,
    bare,
    failure_of,
)
from vault_credential_process.expiry import format_timestamp, refresh_margin
from vault_credential_process.fastpath import uptime
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.health import Health, tell_hooks
from vault_credential_process.models import AWSCredentials
from vault_credential_process.timed import jitter

logger = logging.getLogger(__name__)

PAUSE = 30.0
"""Seconds until a chore that failed is tried again, where nothing else says when."""

PAUSE_AFTER_THE_END = (0.5, 2.0)
"""Seconds, at least and at most, between two tries once the pair has ended: each tries several times by itself, so
that no 4 s pass without a request and Vault's return is noticed at once."""

PAUSE_AFTER_REFUSAL = (5.0, 300.0)
"""Seconds between two tries after a refusal, the first and the longest: each time twice as long. Vault is there, so
nothing is gained by haste, and wrong secrets lock users and roles out."""

PAUSE_OF_CALLERS = 5.0
"""Seconds after a refusal until a caller's call tries anew, so that a secret that was mended is noticed soon."""

HEAL_INTERVAL = 60.0
"""Seconds between two replacements of pairs that AWS refused before their end."""

HEAL_INTERVAL_AT_MOST = 3600.0
"""The same where each new pair is refused as well: the pause doubles up to this, for each may be a new IAM user."""

GIVE_BACK = 5.0
"""Seconds that the end of a program may take longer for it."""

HEAL_PAUSE = 5.0
"""Seconds until the same is tried again where there were no others to be had."""

YOUNG = 60.0
"""Seconds for which AWS may not know the keys of a new IAM user yet; a refusal of them means nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A pair with the moments that matter, on two clocks: the wall's, and the one that nobody sets (:func:`uptime`).

    ``refresh_at`` and ``calm_until`` are when it should be replaced; its end is ``credentials.expiry`` and ``over``.
    ``early`` are the seconds, different for each pair, by which that goes before the moment of the rule.
    """

    frozen: ReadOnlyCredentials = dataclasses.field(repr=False)
    credentials: AWSCredentials
    early: float
    refresh_at: float
    calm_until: float
    over: float


class Keeper:
    """Keeps one pair. Safe to use from every thread, and from children of ``fork``."""

    def __init__(self, fetcher: Fetcher) -> None:
        """Fetch nothing yet."""
        self.fetcher = fetcher
        self._clock = fetcher.clock
        self._in_background = fetcher.config.vault_aws_background
        self._held: Held | None = None
        self._tried_for: Held | None = None
        self._due = float("inf")
        self._token_due = float("inf")
        self._failure: VaultCredentialError | None = None
        self._trouble: str | None = None
        self._trouble_since = 0.0
        self._tries = 0
        self._refusals = 0
        self._told_until = float("-inf")
        self._healed_at = float("-inf")
        self._healed_key: str | None = None
        self._heal_interval = HEAL_INTERVAL
        self._untold: Health | None = None
        self.is_shared = fetcher.cache.shared
        """Whether other processes have what is held, by a cache or by ``fork``."""
        self._fetches = self._refreshes = self._failures = self._hits = self._waits = self._lease_ends = 0
        self.forked()

    def __repr__(self) -> str:
        """Tell what is kept, and no secret."""
        return f"<Keeper of {self.fetcher.config.aws_path} at {self.fetcher.config.vault_addr}>"

    def forked(self) -> None:
        """Begin with a new lock: a thread that held the old one lives on in the parent only."""
        self._lock = threading.Lock()
        self._scheduled = False
        held = self._held
        if held is not None:
            # Not all children at the same moment.
            self._held = self._dated(held.frozen, held.credentials, held.over)
            self._due = self._held.calm_until

    def frozen(self) -> ReadOnlyCredentials:
        """Return a pair that is valid now, as botocore signs with it.

        :raises VaultCredentialError: when there is none to be had.
        """
        self._hits += 1
        held = self._held
        if held is not None and self._clock() < held.refresh_at and uptime() < held.calm_until:
            return held.frozen
        return self._attend(held)

    def ready(self) -> ReadOnlyCredentials | None:
        """Return the pair if it lives and its time has not come, else ``None``. It never waits, nor do the next two."""
        held = self._held
        if held is not None and self._clock() < held.refresh_at and uptime() < held.calm_until:
            self._hits += 1
            return held.frozen
        return None

    def living(self) -> Held | None:
        """Return the pair if it lives, whether or not its time has come."""
        held = self._held
        return None if held is None or self._left(held) <= 0 else held

    def is_neglected(self) -> bool:
        """Tell whether the time of the pair has come and it takes a call of :meth:`frozen` to have it replaced."""
        held = self._held
        return held is not None and self._is_neglected(held)

    def held(self) -> AWSCredentials:
        """Return the same pair with what is known of its life.

        :raises VaultCredentialError: when there is none to be had.
        """
        frozen, held = self.frozen(), self._held
        if held is None or held.frozen is not frozen:
            return self.held()
        return held.credentials

    def seen(self) -> ReadOnlyCredentials | None:
        """Return what the last call was given, whatever its state; ``None`` before the first."""
        held = self._held
        return None if held is None else held.frozen

    def seconds_left(self) -> float | None:
        """Return the seconds until the pair ends, negative once it has; ``None`` while there is none."""
        held = self._held
        return None if held is None else self._left(held)

    def health(self) -> Health:
        """Return how it does, without asking anybody."""
        left = self.seconds_left()
        return Health(
            authenticated=left is not None and left > 0,
            seconds_left=left,
            error=self._trouble,
            fetches=self._fetches,
            refreshes=self._refreshes,
            failures=self._failures,
            hits=self._hits,
            waits=self._waits,
            lease_ends=self._lease_ends,
        )

    def heal(self, access_key: str) -> bool:
        """Replace a pair that AWS refused before its end; tell whether there is another one to sign with now.

        Once a minute at most, ever more seldom while the new ones are refused too, and not for keys of an IAM user that
        AWS may not know yet: then it is not the pair.
        """
        held = self._held
        if held is None or held.frozen.access_key != access_key:
            return held is not None
        pair = held.credentials
        if pair.credential_type == "iam_user" and self._clock() - pair.issued < YOUNG:
            return False
        with self._alone():
            in_vain = access_key == self._healed_key
            interval = self._heal_interval if in_vain else HEAL_INTERVAL
            if self._held is held and uptime() - self._healed_at >= interval:
                self._healed_at = uptime()
                logger.warning("AWS refuses keys that should live for %.0f s more; others are read", self._left(held))
                try:
                    self._fetch(instead_of=access_key)
                except VaultCredentialError as error:
                    logger.debug("no others were to be had: %s", error)
                    self._healed_at -= interval - HEAL_PAUSE
                else:
                    if self._held is not held:
                        self._healed_key = self._held.frozen.access_key
                        self._heal_interval = min(2 * interval, HEAL_INTERVAL_AT_MOST) if in_vain else HEAL_INTERVAL
                self._schedule()
            current = self._held
        return current is not None and current.frozen.access_key != access_key

    def give_back(self) -> None:
        """End the Vault token, and IAM users with it, where ``vault_aws_revoke_on_exit`` wants it, unless it is shared.

        STS credentials cannot be ended by anyone. A failure is logged: the token ends by itself.
        """
        if not self.fetcher.config.vault_aws_revoke_on_exit or self.is_shared or self._held is None:
            return
        try:
            for line in self.fetcher.forget(revoke=True, seconds=GIVE_BACK):
                logger.debug("%s", line)
        except VaultCredentialError as error:
            logger.warning("the token was left to end by itself: %s", error)

    def tend(self) -> float:
        """Refresh the pair and renew the token if it is time; return the :func:`uptime` of the next look."""
        try:
            with self._alone():
                held = self._held
                if uptime() >= self._due or (held is not None and self._is_late(held)):
                    self._fetch()
        except VaultCredentialError as error:
            logger.debug("the refresh failed: %s", error)
        except Exception:
            # A defect must not end the thread that serves other pairs too.
            logger.exception("a refresh ended in an unforeseen error")
            self._due = uptime() + PAUSE
        self._tend_token()
        return min(self._due, self._token_due)

    def _tend_token(self) -> None:
        """Renew the token while it lives: a Secret ID that serves once cannot log in again."""
        if uptime() < self._token_due:
            return
        try:
            again = self.fetcher.keep_token()
        except Exception as error:  # as above; the token is wanted only at the next refresh
            logger.debug("the token was not renewed: %s", type(error).__name__)
            again = PAUSE
        self._token_due = float("inf") if again is None else uptime() + again * jitter(0.9, 1.0)

    def _attend(self, held: Held | None) -> ReadOnlyCredentials:
        """Return the pair although its time has come: refreshed by the thread, by this call, or not at all."""
        if held is None or self._left(held) <= 0:
            return self._wait()
        if not self._is_neglected(held):
            pass
        elif self._in_background:
            self._due = min(self._due, uptime()) if self._is_late(held) else self._due
            self._schedule()
        else:
            # Without the thread one caller refreshes, and the others go on with what there is.
            try:
                with self._alone(seconds=0) as alone:
                    if alone and self._held is held:
                        self._fetch()
            except VaultCredentialError as error:
                logger.debug("the refresh failed, but the pair is valid: %s", error)
        current = self._held
        return held.frozen if current is None else current.frozen

    def _wait(self) -> ReadOnlyCredentials:
        """Return a pair where there is no valid one: one caller fetches, and what becomes of it holds for all."""
        self._waits += 1
        seconds = self.fetcher.config.vault_aws_timeout
        with self._alone(seconds) as alone:
            if not alone:
                raise DeadlineError(f"gave up after {seconds:g} s while waiting for another thread's fetch; try again")
            held = self._held
            if held is None or self._left(held) <= 0:
                if self._failure is not None and uptime() < self._told_until:
                    raise self._told(self._failure)
                try:
                    self._fetch()
                except VaultCredentialError as error:
                    raise self._told(error) from None
                finally:
                    self._schedule()
                held = self._held
        if held is None:
            raise AssertionError("a fetch that did not fail left no pair")
        return held.frozen

    def _told(self, error: VaultCredentialError) -> VaultCredentialError:
        """Return an error for one more caller: what went wrong, and what was tried."""
        text = str(error)
        if self._tries > 1:
            text += f" (tried {self._tries} times since {format_timestamp(self._trouble_since)}; it goes on trying)"
        told = failure_of(error.exit_code, text)
        told.__cause__ = error
        return told

    def _schedule(self) -> None:
        """Let the thread look after what is held from now on."""
        if self._in_background and self._held is not None:
            self._scheduled = True
            background.schedule(self, min(self._due, self._token_due))

    def _fetch(self, instead_of: str | None = None) -> None:
        """Fetch, with the lock held, and take note of what came of it.

        :raises VaultCredentialError: when there is no valid pair.
        """
        held = self._held
        self._fetches += 1
        try:
            # A second more, so that a pair whose moment has come is not found to be good for another instant.
            found = self.fetcher.fetched(early=held.early + 1 if held else 0.0, instead_of=instead_of)
        except VaultCredentialError as error:
            # Without its traceback, which would keep alive what the call held, secrets among it.
            self._failure, self._tried_for = bare(error), held
            self._note_trouble(str(error))
            self._pause_after(error)
            raise
        else:
            if held is None or found.credentials != held.credentials:
                self._take(found.credentials)
            else:
                self._tried_for = held
                pause = max(found.good_until - self._clock(), PAUSE_AFTER_THE_END[0])
                self._due = uptime() + min(pause, PAUSE) * jitter(1.0, 1.2)
            if found.failure is not None:
                self._note_trouble(found.failure)
            elif self._trouble is not None:
                logger.warning("Vault gives credentials again, after %.0f s", self._clock() - self._trouble_since)
                self._trouble, self._failure, self._tries, self._refusals = None, None, 0, 0
        finally:
            self._untold = self.health()

    def _pause_after(self, error: VaultCredentialError) -> None:
        """Set when a fetch that failed is tried again: by the thread, and for a caller."""
        if not isinstance(error, (AuthenticationError, ConfigurationError, PermissionDeniedError)):
            self._due = self._told_until = uptime() + jitter(*PAUSE_AFTER_THE_END)
            return
        first, longest = PAUSE_AFTER_REFUSAL
        pause = min(first * 2 ** min(self._refusals, 20), longest)
        self._refusals += 1
        self._due = uptime() + pause * jitter(1.0, 1.2)
        self._told_until = uptime() + PAUSE_OF_CALLERS

    def _take(self, pair: AWSCredentials) -> None:
        """Hold a new pair."""
        before, now, moment = self._held, self._clock(), uptime()
        if before is not None and self._left(before) <= 0:
            self._lease_ends += 1
        frozen = ReadOnlyCredentials(pair.access_key, pair.secret_key, pair.session_token, pair.account_id)
        # No pair has more left than it lives, whatever the clock was set to on the way.
        self._held = self._dated(frozen, pair, moment + min(pair.expiry - now, pair.life))
        # Each read makes an IAM user: those that live for seconds are not read on stock, only for who asks.
        is_costly = pair.credential_type == "iam_user" and pair.life < PAUSE
        self._due = max(self._held.calm_until, moment + (PAUSE if is_costly else PAUSE_AFTER_THE_END[0]))
        self._token_due = moment
        self._refreshes += 1

    @staticmethod
    def _dated(frozen: ReadOnlyCredentials, pair: AWSCredentials, over: float) -> Held:
        """Return a pair with its moments, the one of its refresh with jitter."""
        margin = refresh_margin(pair.life)
        early = margin * jitter(0.05, 0.25)
        return Held(
            frozen=frozen,
            credentials=pair,
            early=early,
            refresh_at=pair.expiry - margin - early,
            calm_until=over - margin - early,
            over=over,
        )

    def _note_trouble(self, text: str) -> None:
        """Log the first failure of a row, and count the others."""
        self._failures += 1
        self._tries += 1
        if self._trouble is None:
            self._trouble_since = self._clock()
            held = self._held
            left = self._left(held) if held is not None else 0.0
            state = f"going on with credentials that live for {left:.0f} s" if left > 0 else "there are no valid ones"
            logger.warning("%s; %s", text, state)
        self._trouble = text

    @contextlib.contextmanager
    def _alone(self, seconds: float = -1) -> Iterator[bool]:
        """Yield whether nobody else fetches now, after so many seconds at most; then let the hooks hear of a fetch.

        They hear of it after the lock was released: one that signs with the same pair must not wait for itself.
        """
        lock = self._lock
        if not lock.acquire(timeout=seconds):
            yield False
            return
        try:
            yield True
        finally:
            untold, self._untold = self._untold, None
            lock.release()
            if untold is not None:
                tell_hooks(self, untold)

    def _is_neglected(self, held: Held) -> bool:
        """Tell whether a pair whose time has come is in nobody's hands."""
        late, due = self._is_late(held), uptime() >= self._due
        if self._in_background:
            return not (self._scheduled and background.running) or (late and not due)
        return late or due

    def _is_late(self, held: Held) -> bool:
        """Tell whether the moment of a pair has come and nobody has tried to replace it: after a jump of the clock."""
        return self._tried_for is not held and (self._clock() >= held.refresh_at or uptime() >= held.calm_until)

    def _left(self, held: Held) -> float:
        """Return the seconds until a pair ends, by the clock that says the less."""
        return min(held.credentials.expiry - self._clock(), held.over - uptime())
