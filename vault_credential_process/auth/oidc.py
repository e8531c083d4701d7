"""OIDC: a person in the browser, through an OpenID Connect provider.

https://developer.hashicorp.com/vault/api-docs/auth/jwt#oidc-authorization-url-request; the modes ``direct`` and
``device``: https://openbao.org/docs/auth/jwt/oidc-providers/ and ``/api-docs/auth/jwt``.
"""

from __future__ import annotations

import dataclasses
import threading
import urllib.parse
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process import answers, refusals
from vault_credential_process.auth.base import AuthMethod
from vault_credential_process.config import require
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    UnreachableError,
    one_line,
)
from vault_credential_process.expiry import Deadline, parse_duration
from vault_credential_process.models import Identity, Person, VaultToken, option, options_of
from vault_credential_process.parsers import is_loopback, parse_oidc_mode, parse_port, parse_redirect_uri
from vault_credential_process.refusals import RefusedError

if TYPE_CHECKING:
    from vault_credential_process.vault import Vault

DEFAULT_PORT = 8250
"""Where ``vault login -method=oidc`` listens too."""

WAIT = 120.0
"""Seconds that a person has."""

DEFAULT_INTERVAL, LEAST_INTERVAL, MOST_INTERVAL, SLOWER = 5.0, 1.0, 60.0, 5.0
"""Seconds between two polls where nobody says, at least, at most whoever says so, and more after each ``slow_down``.

RFC 8628, 3.2 and 3.5.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Started:
    """A login that waits for its person: ``interval`` is ``None`` where the browser comes back to us."""

    address: str = dataclasses.field(repr=False)
    state: str = dataclasses.field(repr=False)
    nonce: str = dataclasses.field(repr=False)
    interval: float | None
    user_code: str = dataclasses.field(repr=False)

    @property
    def mode(self) -> str:
        """The ``callback_mode`` of the role, which nobody may ask for without a token."""
        if self.interval is None:
            return "client"
        return "direct" if "redirect_uri" in _query(self.address) else "device"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OIDC(AuthMethod):
    """Log in with a person in the browser, through an OpenID Connect provider."""

    name: ClassVar[str] = "oidc"
    default_mount: ClassVar[str] = "oidc"
    summary: ClassVar[str] = "a person in the browser, through an OpenID Connect provider"
    takes_role: ClassVar[bool] = True

    vault_oidc_mode: str | None = option(
        "VAULT_OIDC_MODE",
        flag="--oidc-mode",
        parse=parse_oidc_mode,
        metavar="client|direct|device",
        help="how the login comes back, as the role's callback_mode has it (default: client; the others: OpenBao)",
    )
    vault_oidc_callback_port: int | None = option(
        "VAULT_OIDC_CALLBACK_PORT",
        flag="--oidc-callback-port",
        parse=parse_port,
        metavar="PORT",
        help=f"port of this machine that the browser comes back to (default: {DEFAULT_PORT})",
    )
    vault_oidc_redirect_uri: str | None = option(
        "VAULT_OIDC_REDIRECT_URI",
        flag="--oidc-redirect-uri",
        parse=parse_redirect_uri,
        metavar="URL",
        help="redirect URI that the role and the provider allow (default: http://localhost:<port>/oidc/callback)",
    )

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: the person logged in in another one."""
        return True

    def identity(self) -> Identity:
        """Return the role: who the person is, the provider tells."""
        return Identity((self.name, self.mount, self.config.vault_auth_role or ""))

    def login(self, vault: Vault) -> VaultToken:
        """Log in as the person at the terminal, where there is one."""
        if vault.person is None:
            raise self.nobody_is_logged_in()
        if self.vault_oidc_mode in (None, "client"):
            return self._listen(vault, vault.person)
        started = self._start(vault, self._served_by_vault() if self.vault_oidc_mode == "direct" else None)
        return self._poll(vault, vault.person, started)

    def _listen(self, vault: Vault, person: Person) -> VaultToken:
        """Let the browser come back to us: the listener is there before anybody is sent to it."""
        from vault_credential_process.auth import callback

        redirect_uri = self._served_by_us()
        with callback.Listener(redirect_uri, self.vault_oidc_callback_port, self.config.vault_addr) as listener:
            started = self._start(vault, redirect_uri)
            limit = vault.deadline.at_most(WAIT)
            person.tell(f"Log in in the browser, within {limit.seconds:.0f} s.")
            _open(person, started.address, where="a browser of this machine")
            try:
                arrival = listener.wait(started.state, limit)
            except DeadlineError:
                raise self._nobody_came(limit) from None
            state = callback.bare(started.state)
            secrets = (started.state, state, started.nonce, arrival.code)
            with arrival:
                if arrival.error:
                    said = ": ".join(filter(None, (arrival.error, arrival.description)))
                    raise AuthenticationError(
                        f"{self._where('callback')}: the provider refused: {one_line(said, secrets=secrets)}; "
                        "try again, or ask who runs the provider"
                    )
                return vault.login(
                    self._path("callback"),
                    None,
                    params={"state": state, "code": arrival.code, "client_nonce": started.nonce},
                    mount=self.mount,
                    remedy=self._remedy(),
                    secrets=secrets,
                )

    def _poll(self, vault: Vault, person: Person, started: _Started) -> VaultToken:
        """Ask Vault, to which the browser or the provider comes back, until it has the login."""
        limit = vault.deadline.at_most(WAIT)
        if started.mode == "device":
            code = f" and enter the code {started.user_code}" if started.user_code else ""
            person.tell(f"On any device open {started.address}{code}, within {limit.seconds:.0f} s.")
            _open(person, started.address, where=None)
        else:
            person.tell(f"Log in in the browser, within {limit.seconds:.0f} s.")
            _open(person, started.address, where="any browser")
        interval = started.interval or DEFAULT_INTERVAL
        body = {"state": started.state, "client_nonce": started.nonce}
        while True:
            try:
                limit.sleep(interval, "the browser")
            except DeadlineError:
                raise self._nobody_came(limit) from None
            try:
                answer = vault.ask(self._path("poll"), body, secrets=(started.state, started.nonce))
            except RefusedError as error:
                said = error.refusal.errors or ()
                if "slow_down" in said:
                    interval = min(interval + SLOWER, MOST_INTERVAL)
                elif "authorization_pending" not in said:
                    raise refusals.login(error.refusal, mount=self.mount, remedy=self._remedy()) from None
            else:
                return vault.granted(answer, self._path("poll"), secrets=(started.state, started.nonce))

    def _start(self, vault: Vault, redirect_uri: str | None) -> _Started:
        """Begin a login; with a nonce, so that whoever sees the browser's address cannot end it in our place."""
        import secrets

        nonce = secrets.token_urlsafe(32)
        role = self.config.vault_auth_role
        body = {"client_nonce": nonce, **({"role": role} if role else {})}
        if redirect_uri is not None:
            body["redirect_uri"] = redirect_uri
        try:
            answer = vault.ask(self._path("auth_url"), body, repeatable=True, secrets=(nonce,))
        except RefusedError as error:
            raise refusals.login(error.refusal, mount=self.mount, remedy=self._remedy()) from None
        where = self._where("auth_url")
        data = answers.data_of(answer, where)
        if data.get("auth_url") == "":
            raise ConfigurationError(
                f"{where}: Vault gives no address to log in at; allowed_redirect_uris of the role must hold "
                f"{redirect_uri or 'a redirect URI'}, and its role_type must be oidc (Vault's log tells which)"
            )
        address, polled = answers.text_of(data.get("auth_url")), data.get("poll_interval") is not None
        state = answers.text_of(data.get("state") if polled else _query(address or "").get("state"))
        if address is None or not address.startswith(("https://", "http://")) or state is None:
            raise UnreachableError(f"{where}: the answer holds no address with a state; check vault_auth_mount")
        interval = _seconds(data["poll_interval"]) if polled else None
        started = _Started(address, state, nonce, interval, one_line(str(data.get("user_code") or ""), limit=40))
        if started.mode != (self.vault_oidc_mode or "client"):
            raise ConfigurationError(
                f"{where}: the role's callback_mode is {started.mode}; set vault_oidc_mode to {started.mode}"
            )
        return started

    def _served_by_us(self) -> str:
        """Return the redirect URI of mode ``client``, which leads to this machine."""
        uri = self.vault_oidc_redirect_uri
        if uri is None:
            return f"http://localhost:{self.vault_oidc_callback_port or DEFAULT_PORT}/oidc/callback"
        parts = urllib.parse.urlsplit(uri)
        if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
            raise ConfigurationError(
                f"vault_oidc_redirect_uri: {uri} does not lead to this machine; write "
                f"http://localhost:{DEFAULT_PORT}/oidc/callback, or set vault_oidc_mode to direct"
            )
        return uri

    def _served_by_vault(self) -> str:
        """Return the redirect URI of mode ``direct``, which leads to Vault."""
        if self.vault_oidc_redirect_uri is not None:
            return self.vault_oidc_redirect_uri
        if self.config.vault_addr.startswith("unix:"):
            raise require(self.config, "vault_oidc_redirect_uri", options_of(type(self)))
        namespace = f"{self.config.auth_namespace}/" if self.config.auth_namespace else ""
        return f"{self.config.vault_addr}/v1/{namespace}{self._path('callback')}"

    def _path(self, name: str) -> str:
        return f"auth/{self.mount}/oidc/{name}"

    def _where(self, name: str) -> str:
        return f"{self.config.vault_addr}/v1/{self._path(name)}"

    def _remedy(self) -> str:
        origin = self.config.origin("vault_auth_role")
        asked = f"from {origin}" if self.config.vault_auth_role else "not set: the mount's default_role"
        return f"check vault_auth_role ({asked}), what the role is bound to, and vault_oidc_mode, or log in again"

    def _nobody_came(self, limit: Deadline) -> DeadlineError:
        return DeadlineError(
            f"{self.config.vault_addr}/v1/auth/{self.mount}: nobody logged in within {limit.seconds:.0f} s; run: "
            f"{self.config.login_command}"
        )


def _open(person: Person, address: str, *, where: str | None) -> None:
    """Send a person to an address; ``where`` is what it is told for if there is no browser.

    A text browser, or a script in its place, comes back only when it ends: nobody waits for that.
    """

    def run() -> None:
        if not person.browse(address) and where is not None:
            person.tell(f"Open this address in {where}: {address}")

    threading.Thread(target=run, name="browser", daemon=True).start()


def _query(address: str) -> dict[str, str]:
    """Return the query of an address; nothing where it is none."""
    try:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    except ValueError:
        return {}


def _seconds(interval: object) -> float:
    """Return an interval, which OpenBao writes as text; 5 s is the default of RFC 8628 (3.2)."""
    try:
        return min(max(parse_duration(str(interval)), LEAST_INTERVAL), MOST_INTERVAL)
    except ValueError:
        return DEFAULT_INTERVAL
