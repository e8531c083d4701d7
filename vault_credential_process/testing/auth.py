"""What every auth method promises."""

from __future__ import annotations

import dataclasses
import logging
import os
import traceback
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.errors import AuthenticationError, SealedError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import Person, VaultToken, options_of
from vault_credential_process.testing.scripted import Reply, ScriptedServer, reply
from vault_credential_process.vault import Vault

TOKEN = "hvs.CONTRACTtokenCONTRACTtoken"  # noqa: S105 - no token of any server
OTHER = "another"


class AuthMethodContract:
    """Inherit, name :attr:`method`, and override :meth:`settings` and :meth:`planted`."""

    method: ClassVar[type[AuthMethod]]
    verb: ClassVar[str] = "POST"
    path: ClassVar[str] = "auth/{mount}/login"
    """The request that logs in; ``{mount}`` is where the method is mounted."""
    accepted: ClassVar[bytes] = reply(
        200, {"auth": {"client_token": TOKEN, "lease_duration": 600, "policies": ["app"], "renewable": True}}
    )
    """The answer to a login that succeeds."""
    token: ClassVar[str | None] = TOKEN
    """The token in it."""
    mountable: ClassVar[bool] = True
    """Whether ``vault_auth_mount`` says where the login goes."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        """Return arguments by key with which the method has all that it needs."""
        raise NotImplementedError

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        """Return the secrets in these settings, which must come up nowhere but in the body of the login."""
        raise NotImplementedError

    def person(self) -> Person | None:
        """Return who is at the terminal: nobody, unless the method is one for people."""
        return None

    @pytest.fixture
    def vault_server(self, settings: dict[str, Any]) -> Iterator[ScriptedServer]:
        """Return a server that accepts the login."""
        with ScriptedServer() as server:
            self._answer(server, settings, self.accepted)
            yield server

    def test_describes_itself(self) -> None:
        """A method has a name, a mount point and a summary, and bears the name that it is found by."""
        assert all(
            isinstance(text, str) and text
            for text in (self.method.name, self.method.default_mount, self.method.summary)
        )
        assert auth.find(self.method.name) is self.method

    def test_declares_its_options(self) -> None:
        """Each option has a key of our kind, a variable and a help; a secret has no flag and shows in no ``repr``."""
        for declared in options_of(self.method):
            assert declared.key.startswith("vault_")
            assert declared.environ
            assert declared.help
            assert not (declared.secret and declared.flag)
            (field,) = (f for f in dataclasses.fields(self.method) if f.name == declared.key)
            assert not (declared.secret and field.repr)

    def test_is_frozen(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """A method is a value: nothing about it changes after it was made."""
        method = self._made(vault_server, settings)

        assert type(method).__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert not hasattr(method, "__dict__")

    def test_identity_asks_nobody(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """Whom a login logs in as is told without a request, begins with the method's name, and stays the same."""
        method = self._made(vault_server, settings)

        assert method.identity() == method.identity()
        assert method.identity().parts[0] == self.method.name
        assert vault_server.requests == []

    def test_identity_tells_apart(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """Another mount point, and another role where the method asks for one, is another identity."""
        first = self._made(vault_server, settings).identity()

        if self.mountable:
            assert self._made(vault_server, settings | {"vault_auth_mount": OTHER}).identity() != first
        if self.method.takes_role:
            assert self._made(vault_server, settings | {"vault_auth_role": OTHER}).identity() != first

    def test_identity_shows_no_secret(
        self, settings: dict[str, Any], planted: tuple[str, ...], vault_server: ScriptedServer
    ) -> None:
        """Secrets stand in ``identity().secrets``, never among the names, and nowhere in a ``repr``."""
        method = self._made(vault_server, settings)
        identity = method.identity()

        assert all(secret not in part for secret in planted for part in identity.parts)
        assert self._found(planted, repr(method), repr(identity)) == []

    def test_watches_whole_paths(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """The files that decide as whom it logs in are named from the root."""
        assert all(os.path.isabs(path) for path in self._made(vault_server, settings).watched())

    def test_logs_in(self, settings: dict[str, Any], planted: tuple[str, ...], vault_server: ScriptedServer) -> None:
        """The token comes from one request to the method's path; no secret stands in its address."""
        token = self._log_in(vault_server, settings)

        assert token.value == self.token
        assert vault_server.asked(self.verb, self._path(settings)) == 1
        assert self._found(planted, *(request.path for request in vault_server.requests)) == []

    def test_goes_to_its_mount_and_namespace(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """``vault_auth_mount`` and ``vault_auth_namespace`` say where the login is."""
        elsewhere = settings | {"vault_auth_namespace": "logins", "vault_namespace": "work"}
        if self.mountable:
            elsewhere["vault_auth_mount"] = "team/machines"
        self._answer(vault_server, elsewhere, self.accepted)
        self._log_in(vault_server, elsewhere)

        assert vault_server.asked(self.verb, self._path(elsewhere)) == 1
        assert {request.headers.get("x-vault-namespace") for request in vault_server.requests} == {"logins"}

    @pytest.mark.parametrize("status", [400, 403])
    def test_refused(
        self,
        settings: dict[str, Any],
        planted: tuple[str, ...],
        vault_server: ScriptedServer,
        caplog: pytest.LogCaptureFixture,
        status: int,
    ) -> None:
        """A refusal is one line with the address and what to check; a secret that the server repeats is blotted out."""
        caplog.set_level(logging.DEBUG, logger="vault_credential_process")
        said = [f"no such thing: {secret}" for secret in planted] or ["no"]
        self._answer(vault_server, settings, reply(status, {"errors": said}))

        with pytest.raises(VaultCredentialError) as caught:
            self._log_in(vault_server, settings)
        message = str(caught.value)
        assert isinstance(caught.value, AuthenticationError)
        assert message.isprintable()
        assert vault_server.address in message
        assert ";" in message
        assert self._found(planted, message, caplog.text, *traceback.format_exception(caught.value)) == []

    def test_sealed(self, settings: dict[str, Any], vault_server: ScriptedServer) -> None:
        """A sealed server is not a wrong proof."""
        self._answer(vault_server, settings, reply(503, {"errors": ["Vault is sealed"]}))

        with pytest.raises(SealedError):
            self._log_in(vault_server, settings)

    def test_log_is_silent(
        self,
        settings: dict[str, Any],
        planted: tuple[str, ...],
        vault_server: ScriptedServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """At its most talkative the log tells of the login and of no secret."""
        caplog.set_level(logging.DEBUG, logger="vault_credential_process")
        self._log_in(vault_server, settings)

        assert caplog.records
        assert self._found((*planted, self.token or ""), caplog.text) == []

    def _path(self, settings: dict[str, Any]) -> str:
        return self.path.format(mount=settings.get("vault_auth_mount", self.method.default_mount))

    def _answer(self, server: ScriptedServer, settings: dict[str, Any], answer: Reply) -> None:
        server.on(self.verb, self._path(settings), answer)

    def _made(self, server: ScriptedServer, settings: dict[str, Any]) -> AuthMethod:
        given = {"vault_addr": server.address, "vault_max_retries": "0", "vault_auth_method": self.method.name}
        return auth.choose(auth.configure(given | settings, os.environ, None))

    def _log_in(self, server: ScriptedServer, settings: dict[str, Any]) -> VaultToken:
        method = self._made(server, settings)
        with Vault(method.config, Deadline(10), person=self.person()) as vault:
            return auth.login(method, vault)

    @staticmethod
    def _found(planted: tuple[str, ...], *texts: str) -> list[str]:
        return [secret for secret in planted if secret and any(secret in text for text in texts)]
