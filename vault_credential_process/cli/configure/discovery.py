"""The login that ``configure`` tries, and what it shows: mounts and roles, and the credentials of a role."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from vault_credential_process import answers, auth, blotting, cache, caller
from vault_credential_process.answers import Answer
from vault_credential_process.auth.oidc import OIDC
from vault_credential_process.auth.password import PasswordMethod
from vault_credential_process.cli.configure.changes import public
from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, PermissionDeniedError, VaultCredentialError, one_line
from vault_credential_process.expiry import Deadline, format_timestamp
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import AWSCredentials, Person, VaultToken, options_of, wall_clock
from vault_credential_process.profiles import Profile
from vault_credential_process.refusals import RefusedError, general
from vault_credential_process.requester import Requester
from vault_credential_process.vault import Vault

PATIENCE = 120.0
"""Seconds that a person has for a password, a browser and a second factor, besides Vault's."""

LONGEST_NAME = 200
"""Characters of the longest mount or role that is listed."""

FAREWELL = 3.0
"""Seconds for ending a token that nobody needs, while somebody waits for the prompt."""

_STS_PATIENCE = 5.0
"""Seconds that STS may take to tell whose keys they are; without it the end of the keys is told."""


class Session:
    """One login and what is asked with its token. Use it as a context manager.

    Where the host has a cache the token is kept there, as by ``login``, so that whoever typed a password need not type
    it again; unless another is kept for the same login, on which IAM users may live: that one stays, and serves on.
    Without :meth:`keep` the token is revoked and forgotten at the end; one that came from outside never is.
    """

    def __init__(self, config: Config, person: Person | None, *, may_go_on: bool = False) -> None:
        """Log in, or ``may_go_on`` with what an earlier login left: a Secret ID may serve only once.

        :raises VaultCredentialError: when that fails.
        """
        self.config = config
        deadline = Deadline((PATIENCE if person else 0) + config.vault_aws_timeout)
        method = auth.choose(config)
        backend = cache.choose(config.vault_aws_cache or "auto", os.environ)
        fetcher = Fetcher(config, cache=backend, needs_role=False)
        present = fetcher.kept_token()
        if present is not None and _is_dead(config, present.token):
            present = None
        is_limited = present is not None and present.token.uses_left is not None
        kept = present if (may_go_on or wants_somebody(config)) and not is_limited else None
        self._fetcher: Fetcher | None = None
        self.is_kept = kept is not None
        """Whether ``get`` will find the token."""
        self.is_new = kept is None
        if kept is not None:
            self.token = kept.token
        elif person is None and wants_somebody(config):
            where = f"{config.vault_addr}/v1/auth/{method.mount}"
            raise AuthenticationError(f"{where}: the login wants somebody; run configure at a terminal, without --yes")
        elif backend.shared and method.keeps_token and method.name != auth.LAST and present is None:
            self._fetcher = fetcher
            self.token = fetcher.log_in(person or Nobody(), deadline).token
        else:
            with Vault(config, deadline, person=person, cache=backend) as vault:
                self.token = auth.login(method, vault)
        self._is_ours = kept is None and not self.token.external
        self.is_over = False
        """Whether the token was revoked."""
        self.method = method.name
        self.unlisted: set[str] = set()
        """Paths of which the server has no list, whoever asks; so far only those that were asked for."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_kept:
            self.end(FAREWELL)

    def keep(self) -> None:
        """Leave the token in the cache, where it is in one."""
        self.is_kept = self.is_kept or self._fetcher is not None

    def end(self, seconds: float | None = None) -> bool:
        """Revoke and forget a token of ours; tell whether Vault did, within so many seconds."""
        if not self._is_ours:
            return False
        try:
            if self._fetcher is not None:
                self._fetcher.forget(revoke=True, seconds=seconds)
            else:
                with Vault(self.config, Deadline(seconds or self.config.vault_aws_timeout)) as vault:
                    vault.revoke_token(self.token)
        except VaultCredentialError:
            return False
        self._fetcher, self._is_ours, self.is_kept, self.is_over = None, False, False, True
        return True

    def mounts(self) -> list[str] | None:
        """Return the mounts of AWS secrets engines that the token may see; ``None`` where it may not look.

        https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts
        """
        answer = self._seen("get", "sys/internal/ui/mounts")
        if answer is None:
            return None
        secret = answers.data_of(answer, "sys/internal/ui/mounts").get("secret")
        engines = secret if isinstance(secret, Mapping) else {}
        found = (str(m) for m, told in engines.items() if isinstance(told, Mapping) and told.get("type") == "aws")
        return sorted(mount.strip("/") for mount in found if _is_good(mount, "vault_aws_mount"))

    def roles(self, mount: str, *, static: bool = False) -> list[str] | None:
        """Return the roles of a mount, or its static ones; ``None`` where the token may not list them.

        Nor can anyone where the engine has no such list, as OpenBao's has none of static ones: see :attr:`unlisted`.
        """
        path = f"{mount}/{'static-roles' if static else 'roles'}"
        answer = self._seen("list", path)
        if answer is None:
            return None
        keys = answers.data_of(answer, path).get("keys") if answer.body else None
        names = keys if isinstance(keys, Sequence) and not isinstance(keys, str) else ()
        return sorted(name for name in map(str, names) if _is_good(name, "vault_aws_role"))

    def may_read(self, path: str) -> bool | None:
        """Tell whether the token may read a path; ``None`` where nobody says.

        https://developer.hashicorp.com/vault/api-docs/system/capabilities-self
        """
        answer = self._seen("post", "sys/capabilities-self", {"paths": [path]})
        may = None if answer is None else answer.body.get(path)
        if not isinstance(may, list):
            return None
        return not {"read", "sudo", "root"}.isdisjoint(map(str, may)) and "deny" not in may

    def _seen(self, method: str, path: str, json: Mapping[str, object] | None = None) -> Answer | None:
        """Return an answer; ``None`` where the token may not see it. One of limited uses is spared."""
        if self.token.uses_left is not None:
            return None
        secrets = () if self.token.value is None else (self.token.value,)
        requester = Requester(self.config, Deadline(self.config.vault_aws_timeout), wall_clock)
        try:
            with blotting.unlogged(secrets):
                return requester.ask(
                    method,
                    path,
                    token=self.token.value,
                    namespace=self.config.vault_namespace,
                    json=json,
                    secrets=secrets,
                )
        except RefusedError as error:
            if error.refusal.errors is not None and error.refusal.status == 404 and not error.refusal.errors:
                return Answer({}, wall_clock())
            if error.refusal.status in (404, 405) and any(
                "unsupported " in line for line in error.refusal.errors or ()
            ):
                self.unlisted.add(path)
                return None
            raised = general(error.refusal)
            if raised is not None:
                raise raised from None
            return None
        finally:
            requester.close()

    def read(self, config: Config) -> list[str]:
        """Read credentials as ``get`` will, say whose they are, and give back what can be given back; a line each.

        :raises VaultCredentialError: when they cannot be read.
        """
        with Vault(config, Deadline(config.vault_aws_timeout)) as vault:
            credentials = vault.read_credentials(self.token)
            told = [f"read {config.aws_path}: {_whose(credentials, config)}"]
            if credentials.credential_type == "sts":
                until = format_timestamp(credentials.expiry)
                told.append(
                    f"STS credentials cannot be revoked by anyone: this pair, kept nowhere, lives until {until}"
                )
            elif credentials.credential_type == "iam_user":
                told.append(self._given_back(vault, credentials))
        if self.token.uses_left is not None and self.end():
            told.append("the token of the login, which serves a few times only, was revoked after that")
        return told

    def _given_back(self, vault: Vault, credentials: AWSCredentials) -> str:
        """Have Vault delete the IAM user that the read made; return what became of it."""
        made = "the read made an IAM user in AWS"
        try:
            if credentials.lease_id:
                vault.revoke_lease(self.token, credentials.lease_id)
                return f"{made}; its lease was revoked, and the user with it"
        except VaultCredentialError:
            pass
        if self.end():
            return f"{made}; its token was revoked, and the user with it"
        lease = one_line(credentials.lease_id, limit=120) or "without a lease"
        return (
            f"{made}, and the token may not revoke it: it lives until {format_timestamp(credentials.expiry)}, "
            f"or until somebody revokes {lease}"
        )


class Nobody:
    """Whom a script has: asked for anything, the login fails."""

    def ask(self, question: str) -> str:
        """Answer nothing.

        :raises AuthenticationError: always.
        """
        raise AuthenticationError(f"{question.rstrip(': ')}: nobody is there to ask; run configure at a terminal")

    def tell(self, line: str) -> None:
        """Show nothing."""

    def browse(self, address: str) -> bool:
        """Open nothing."""
        del address
        return False


def is_logged_in(config: Config) -> bool:
    """Tell whether a token of an earlier login is kept."""
    return _fetcher(config).kept_token() is not None


def clearing(profile: Profile) -> str | None:
    """Return the command that ends what the cache holds for a profile, with the profile gone; ``None`` for nothing."""
    try:
        fetcher = _fetcher(auth.configure({}, {}, profile))
        if fetcher.kept_token() is None and fetcher.peek() is None:
            return None
    except VaultCredentialError:  # a profile that does not work
        return None
    flags = {o.key: o.flag for o in (*options_of(Config), *auth.options()) if o.flag}
    words = [f"{flag}={profile.keys[key]}" for key, flag in flags.items() if key in profile.keys and key in public()]
    return shlex.join(["vault-credential-process", "cache", "clear", "--revoke", *words])


def _fetcher(config: Config) -> Fetcher:
    return Fetcher(config, cache=cache.choose(config.vault_aws_cache or "auto", os.environ), needs_role=False)


def wants_somebody(config: Config) -> bool:
    """Tell whether the login needs somebody at the terminal or a browser; the configuration names the method."""
    method = auth.find(config.vault_auth_method).from_config(config)
    return isinstance(method, (PasswordMethod, OIDC)) and method.needs_host_cache


def _is_dead(config: Config, token: VaultToken) -> bool:
    """Ask Vault whether it has forgotten a token that is kept, where the token surely may ask."""
    if token.uses_left is not None or "default" not in token.policies:
        return False
    with Vault(config, Deadline(config.vault_aws_timeout)) as vault:
        try:
            vault.look_up(token.value, origin="an earlier login")
        except PermissionDeniedError:
            return True
    return False


def _is_good(name: str, key: str) -> bool:
    """Tell whether a name that a server returns can stand in a list, and in the file for some setting."""
    if not name.isprintable() or len(name) > LONGEST_NAME:
        return False
    try:
        next(declared for declared in options_of(Config) if declared.key == key).parse(name)
    except ValueError:
        return False
    return True


def _whose(credentials: AWSCredentials, config: Config) -> str:
    """Return whose the keys are, by STS where it answers, and until when they live."""
    until = f"they live until {format_timestamp(credentials.expiry)}"
    if credentials.credential_type == "iam_user":
        return f"keys of a new IAM user; {until}"  # which STS does not know for some seconds
    try:
        return f"keys of {caller.who(credentials, config, timeout=_STS_PATIENCE).arn}; {until}"
    except VaultCredentialError as error:
        return f"{until}; whose keys they are was not told ({error})"
