"""Obtains credentials: login, then read, then store; last good answer; one deadline for all of it."""

from __future__ import annotations

import logging
import threading

from vault_credential_process import auth, sources
from vault_credential_process.config import Config, missing_role
from vault_credential_process.errors import PermissionDeniedError, VaultCredentialError
from vault_credential_process.expiry import Deadline, refresh_margin
from vault_credential_process.models import AWSCredentials, Clock, VaultToken, wall_clock
from vault_credential_process.vault import Vault

logger = logging.getLogger(__name__)

MAX_PAUSE = 30.0
"""Seconds that a failed refresh is not tried again while the held pair is valid."""


class Fetcher:
    """Gets AWS credentials for one configuration, and a Vault token for whoever needs one.

    With ``keep`` it remembers both in memory, as a program that goes on needs it: a pair is handed out until it
    nears its end, a token is used until it nears its own, and while Vault is away a pair that is still valid keeps
    being served. Without, each call logs in, reads, and leaves no token behind that could be ended without harm.
    Safe to use from many threads.
    """

    def __init__(self, config: Config, *, keep: bool = False, clock: Clock = wall_clock) -> None:
        """Take a configuration; nothing is asked of Vault yet.

        :raises ConfigurationError: when no role is configured.
        """
        if not config.vault_aws_role:
            raise missing_role(config)
        self.config = config
        self.clock = clock
        self._keep = keep
        self._lock = threading.Lock()
        self._token: VaultToken | None = None
        self._token_life = float("inf")
        self._credentials: AWSCredentials | None = None
        self._pause_until = 0.0

    def fetch(self) -> AWSCredentials:
        """Return credentials that are valid now.

        :raises VaultCredentialError: when there are none to be had, in the class that tells why.
        """
        deadline = Deadline(self.config.vault_aws_timeout)
        with self._lock:
            held, now = self._credentials, self.clock()
            if held is not None and self._may_hand_out(held, now):
                return held
            try:
                with Vault(self.config, deadline, self.clock) as vault:
                    credentials = self._read(vault, held)
            except VaultCredentialError as error:
                left = held.seconds_left(self.clock()) if held else 0.0
                if held is None or left <= 0:
                    raise
                self._pause_until = self.clock() + min(MAX_PAUSE, left / 4)
                logger.warning("%s; going on with credentials that live for %.0f s", error, left)
                return held
            if self._keep:
                self._credentials = credentials
            return credentials

    def _may_hand_out(self, held: AWSCredentials, now: float) -> bool:
        left = held.seconds_left(now)
        return left >= refresh_margin(held.life) or (left > 0 and now < self._pause_until)

    def token(self) -> VaultToken:
        """Return a Vault token that is alive, by a login where none is held.

        :raises VaultCredentialError: when the login fails.
        """
        with self._lock, Vault(self.config, Deadline(self.config.vault_aws_timeout), self.clock) as vault:
            return self._live_token(vault)

    def _read(self, vault: Vault, held: AWSCredentials | None) -> AWSCredentials:
        token = self._live_token(vault)
        code = None
        command = self.config.vault_aws_mfa_code_command
        if command:
            code = sources.run_command(command, "vault_aws_mfa_code_command", vault.deadline)
        known_type = held.credential_type if held else None
        try:
            credentials = vault.read_credentials(token, mfa_code=code, known_type=known_type)
        except PermissionDeniedError:
            if token is not self._token or self._is_alive(vault, token):
                raise
            self._token = None
            credentials = vault.read_credentials(self._live_token(vault), mfa_code=code, known_type=known_type)
        if credentials.credential_type == "iam_user":
            return self._proven(vault, credentials)
        if not self._keep:
            self._tidy(vault, token)
        return credentials

    def _proven(self, vault: Vault, credentials: AWSCredentials) -> AWSCredentials:
        """Return the keys of a new IAM user once AWS knows them; their token must live on, or they die with it."""
        if not self.config.vault_aws_probe:
            return credentials
        # Imported here: botocore costs more than all the rest, and only new IAM users need it.
        from vault_credential_process import probe

        return probe.wait_until_known(credentials, self.config, vault.deadline)

    def _live_token(self, vault: Vault) -> VaultToken:
        if self._token is not None and not self._is_spent(self._token):
            return self._token
        token = auth.login(self.config, vault)
        if self._keep and token.uses_left is None:
            self._token = token
            self._token_life = token.seconds_left(self.clock())
        return token

    def _is_spent(self, token: VaultToken) -> bool:
        return token.expiry is not None and token.seconds_left(self.clock()) < refresh_margin(self._token_life)

    def _is_alive(self, vault: Vault, token: VaultToken) -> bool:
        """Tell whether a kept token that was denied is alive, so that a policy is what is missing."""
        try:
            vault.look_up(token.value, origin="an earlier login")
        except PermissionDeniedError:
            return False
        return True

    def _tidy(self, vault: Vault, token: VaultToken) -> None:
        """End a token that nobody will use again: its STS credentials live on without it.

        Never one that came from outside, and never one of limited uses, whose last use would end its leases.
        """
        if token.external or token.uses_left is not None or token.token_type == "batch":  # noqa: S105
            return
        try:
            vault.revoke_token(token)
        except VaultCredentialError as error:
            logger.debug("the token was left to expire by itself: %s", error)
