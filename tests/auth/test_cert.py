"""TLS certificates: what is sent, and the whole way on a real server that asks its clients for one."""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import pytest
import requests

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.cert import Cert
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import VaultServer, free_port
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from ..certificates import DAY, Authority, Pair
from ..conftest import COMMAND, ENGINE, Run
from ..pages import Page
from ..test_sources import unprivileged
from .methods import document, log_in

LOOPBACK = "127.0.0.1"
NAME = "webapp.example.com"
HOUR = 3600


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the certificates of servers and clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that Vault knows nothing of."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def keys_of(pair: Pair, authority: Authority) -> dict[str, str]:
    """Return the keys of a profile that logs in with a certificate."""
    return {
        "vault_auth_method": "cert",
        "vault_auth_role": "webapp",
        "vault_cacert": str(authority.certificate),
        "vault_client_cert": str(pair.certificate),
        "vault_client_key": str(pair.key),
    }


class TestContract(AuthMethodContract):
    """The contract of every method, over a connection that takes only clients of the authority."""

    method: ClassVar[type[AuthMethod]] = Cert

    @pytest.fixture
    def settings(self, authority: Authority) -> dict[str, Any]:
        return dict(keys_of(authority.issue(NAME), authority))

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        """Nothing secret is sent: the key stays here."""
        return ()

    @pytest.fixture
    def vault_server(self, settings: dict[str, Any], authority: Authority) -> Iterator[ScriptedServer]:
        with ScriptedServer(context=authority.issue(LOOPBACK).listener(clients=authority)) as server:
            self._answer(server, settings, self.accepted)
            yield server

    def test_key_stays_here(
        self, settings: dict[str, Any], vault_server: ScriptedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No line of the key is sent, logged, or part of the identity."""
        caplog.set_level(logging.DEBUG)
        method = self._made(vault_server, settings)
        self._log_in(vault_server, settings)
        key = pathlib.Path(settings["vault_client_key"]).read_text()
        lines = tuple(line for line in key.splitlines() if "PRIVATE" not in line)

        assert len(lines) > 2
        assert self._found(lines, caplog.text, repr(method), str(method.identity()), repr(vault_server.requests)) == []


class TestWhatIsSent:
    """The body, and what is not sent at all."""

    @pytest.fixture
    def vault(self, authority: Authority) -> Iterator[ScriptedServer]:
        """A scripted server that takes only clients of the authority, and any login of theirs."""
        with ScriptedServer(context=authority.issue(LOOPBACK).listener(clients=authority)) as server:
            server.on("POST", "auth/cert/login", TestContract.accepted)
            yield server

    @pytest.mark.parametrize(("role", "body"), [("webapp", {"name": "webapp"}), ("", {})])
    def test_role(self, vault: ScriptedServer, authority: Authority, role: str, body: dict[str, str]) -> None:
        """The role is the name of a certificate's entry; without one Vault looks for one that fits."""
        log_in(vault.address, keys_of(authority.issue(NAME), authority) | {"vault_auth_role": role})

        assert [request.json for request in vault.requests] == [body]

    def test_identity_is_the_file(self, authority: Authority) -> None:
        """Role and file tell who it is; the certificate in the file is replaced from time to time."""
        keys = keys_of(authority.issue(NAME), authority)
        method = Cert.from_config(auth.configure({}, {}, Profile("webapp", keys)))

        assert method.identity() == (("cert", "cert", "webapp", keys["vault_client_cert"]), ())

    def test_only_by_name(self, authority: Authority) -> None:
        """A client certificate may be there for the listener alone: ``auto`` does not take it for a login."""
        keys = keys_of(authority.issue(NAME), authority) | {"vault_auth_method": "auto"}
        with pytest.raises(auth.AuthUnavailable, match="only by name"):
            Cert.from_config(auth.configure({}, {}, Profile("webapp", keys))).at_home()

    def test_answer_to_a_certificate_that_does_not_verify(self, vault: ScriptedServer, authority: Authority) -> None:
        """A 500 about the certificate is a refusal; any other 500 is a failure of the server."""
        keys = keys_of(authority.issue(NAME), authority)
        said = "failed to verify client's certificate: x509: certificate is revoked"
        vault.on("POST", "auth/cert/login", reply(500, {"errors": [said]}), reply(500, {"errors": ["broken"]}))
        with pytest.raises(AuthenticationError) as refused:
            log_in(vault.address, keys)
        with pytest.raises(UnreachableError, match=r"HTTP 500: broken; see Vault's log"):
            log_in(vault.address, keys)

        assert str(refused.value) == (
            f"{vault.address}/v1/auth/cert/login: login refused: {said}; check {keys['vault_client_cert']}: its CA, "
            "its names and its end, and vault_auth_role (from vault_auth_role in [profile webapp])"
        )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (
                {"vault_client_cert": "", "vault_client_key": ""},
                "vault_client_cert: missing (set --client-cert, vault_client_cert in [profile webapp], or VAULT_CLI",
            ),
            (
                {"vault_client_key": ""},
                "vault_client_key: missing; a client certificate needs both its file and its key",
            ),
            (
                {"vault_client_cert": "/no/such.crt"},
                "vault_client_cert: /no/such.crt: No such file or directory; check the path and its perm",
            ),
            (
                {"vault_client_key": "/no/such.key"},
                "vault_client_key: /no/such.key: No such file or directory; check the path and its",
            ),
        ],
    )
    def test_missing(self, vault: ScriptedServer, authority: Authority, change: dict[str, str], words: str) -> None:
        """A setting or a file that is not there is a matter of configuration, told before anything is sent."""
        keys = keys_of(authority.issue(NAME), authority)
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, keys | change)

        assert str(caught.value).startswith(
            words.format(certificate=keys["vault_client_cert"], key=keys["vault_client_key"])
        )
        assert vault.requests == []

    def test_key_of_another(self, vault: ScriptedServer, authority: Authority) -> None:
        """A key that does not fit, as while only one of the two was replaced, is named with its certificate."""
        keys = keys_of(authority.issue(NAME), authority)
        other = str(authority.issue(NAME).key)
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, keys | {"vault_client_key": other})

        assert str(caught.value) == (
            f"vault_client_cert: {keys['vault_client_cert']} with {other}: key values mismatch; name the key that "
            "belongs to it"
        )
        assert vault.requests == []

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_unreadable_key(self, vault: ScriptedServer, authority: Authority) -> None:
        """A key of another user is a matter of configuration; the control shows that its mode is the obstacle."""
        pair = authority.issue(NAME)
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory).chmod(0o711)
            files = {name: pathlib.Path(directory, name) for name in ("ca", "certificate", "key")}
            for name, source in zip(files, (authority.certificate, pair.certificate, pair.key), strict=True):
                shutil.copy(source, files[name])
                files[name].chmod(0o644)
            keys = keys_of(Pair(files["certificate"], files["key"]), authority) | {"vault_cacert": str(files["ca"])}
            with unprivileged():
                log_in(vault.address, keys)
            files["key"].chmod(0o600)
            with unprivileged(), pytest.raises(ConfigurationError) as caught:
                log_in(vault.address, keys)

        assert str(caught.value) == (
            f"vault_client_key: {files['key']}: Permission denied; check the path and its permissions"
        )
        assert len(vault.requests) == 1

    @pytest.mark.parametrize("address", ["http://127.0.0.1:1", "unix:///run/agent.sock"])
    def test_no_tls(self, authority: Authority, address: str) -> None:
        """Where no TLS is spoken no certificate can be shown; that is told before anything is sent."""
        with pytest.raises(ConfigurationError) as caught:
            log_in(address, keys_of(authority.issue(NAME), authority))

        assert str(caught.value) == (
            f"vault_addr: {address} is no TLS connection, which auth method cert shows its certificate in (from "
            "the argument vault_addr); write https://"
        ).replace("the argument vault_addr", "--vault-addr")


class Real(NamedTuple):
    """A real server with three listeners: one for the administrator, and two with TLS."""

    laboratory: Laboratory
    asking: str
    """Takes any client, and looks at the certificate of one that has it."""
    requiring: str
    """Takes only clients of the authority."""

    def get(self, run: Run, keys: dict[str, str], home: pathlib.Path, address: str | None = None) -> Any:
        """Run ``get`` on a profile with these keys; return the finished process."""
        settings = {"vault_aws_role": "webapp", **keys, "vault_addr": address or self.asking}
        path = home / "config"
        path.write_text(self.laboratory.profile("webapp", settings, command=COMMAND))
        return run(*COMMAND.split(), "get", "--profile", "webapp", AWS_CONFIG_FILE=str(path))


@pytest.fixture(scope="module")
def real(cloud: aws.LocalAWS, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """A real server that was set up as the page tells."""
    pair = authority.issue(LOOPBACK)
    ports = free_port(), free_port()
    tls = f'tls_cert_file = "{pair.certificate}"\n  tls_key_file = "{pair.key}"'
    strict = f'tls_require_and_verify_client_cert = true\n  tls_client_ca_file = "{authority.certificate}"'
    extra = "\n".join(
        f'listener "tcp" {{\n  address = "{LOOPBACK}:{port}"\n  {settings}\n}}'
        for port, settings in zip(ports, (tls, f"{tls}\n  {strict}"), strict=True)
    )
    with VaultServer(ENGINE, extra=extra) as server:
        laboratory = Laboratory(server, cloud, tmp_path_factory.mktemp("real"))
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        laboratory.assumed_role("webapp")
        shutil.copy(authority.certificate, laboratory.directory / "clients-ca.pem")
        Page("cert").set_up(server, laboratory.directory)
        yield Real(laboratory, *(f"https://{LOOPBACK}:{port}" for port in ports))


class TestRealServer:
    """The whole way, from the page's profile to AWS credentials."""

    @pytest.fixture
    def home(self, clean_environment: pathlib.Path) -> pathlib.Path:
        return clean_environment

    @pytest.mark.parametrize("listener", ["asking", "requiring"])
    def test_profile_of_the_page(
        self, run: Run, real: Real, authority: Authority, home: pathlib.Path, listener: str
    ) -> None:
        """The page's profile gives AWS credentials, whether the listener asks for a certificate or requires one."""
        pair = authority.issue(NAME)
        files = {"vault-ca.pem": authority.certificate, "tls.crt": pair.certificate, "tls.key": pair.key}
        keys = Page("cert").profile({f"/etc/webapp/{name}": str(path) for name, path in files.items()})

        assert document(real.get(run, keys, home, getattr(real, listener)))["Version"] == 1

    def test_no_role(self, run: Run, real: Real, authority: Authority, home: pathlib.Path) -> None:
        """Without a role Vault finds the one that the certificate fits."""
        keys = keys_of(authority.issue(NAME), authority) | {"vault_auth_role": ""}

        assert document(real.get(run, keys, home))["Version"] == 1

    @pytest.mark.parametrize(
        ("trouble", "listener", "code", "words"),
        [
            (
                "stranger",
                "asking",
                3,
                "no client certificate supplied; check {file}: its CA, its names and its end, and",
            ),
            ("expired", "asking", 3, "certificate has expired or is not yet valid: "),
            ("name", "asking", 3, "no chain matching all constraints could be found for this login certificate; check"),
            ("role", "asking", 3, "its end, and vault_auth_role (from vault_auth_role in [profile webapp])"),
            ("mount", "asking", 3, "either no auth method is mounted at nowhere"),
            ("stranger", "requiring", 5, "; does the server want another vault_client_cert and vault_client_key?"),
            ("expired", "requiring", 5, "; does the server want another vault_client_cert and vault_client_key?"),
            ("no certificate", "asking", 2, "vault_client_cert: missing (set --client-cert, "),
            ("no file", "asking", 2, "No such file or directory; check the path and its permissions"),
            ("key", "asking", 2, "key values mismatch; name the key that belongs to it"),
        ],
    )
    def test_refused(
        self,
        run: Run,
        real: Real,
        authority: Authority,
        stranger: Authority,
        home: pathlib.Path,
        trouble: str,
        listener: str,
        code: int,
        words: str,
    ) -> None:
        """Whatever is wrong, it is one line that names the file or the setting, with the exit code of its class."""
        pairs = {
            "stranger": lambda: stranger.issue(NAME),
            "expired": lambda: authority.issue(NAME, life=-DAY),
            "name": lambda: authority.issue("other.example.com"),
            "key": lambda: Pair(authority.issue(NAME).certificate, authority.issue(NAME).key),
        }
        changed = {
            "role": {"vault_auth_role": "other"},
            "mount": {"vault_auth_mount": "nowhere"},
            "no certificate": {"vault_client_cert": "", "vault_client_key": ""},
            "no file": {"vault_client_cert": "/no/such.crt"},
        }
        keys = keys_of(pairs.get(trouble, lambda: authority.issue(NAME))(), authority) | changed.get(trouble, {})
        done = real.get(run, keys, home, getattr(real, listener))

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        assert words.format(file=keys["vault_client_cert"]) in done.stderr

    def test_tls_that_ends_on_the_way(self, run: Run, real: Real, authority: Authority, home: pathlib.Path) -> None:
        """Behind a proxy that ends TLS, Vault sees no certificate, and says so."""

        def forward(connection: socket.socket, request: Request) -> None:
            url = real.asking + request.path
            asked = requests.post(
                url, request.body, verify=authority.certificate, proxies={"no_proxy": "*"}, timeout=10
            )
            connection.sendall(reply(asked.status_code, asked.content))

        with ScriptedServer(context=authority.issue(LOOPBACK).listener()) as proxy:
            proxy.otherwise = forward
            done = real.get(run, keys_of(authority.issue(NAME), authority), home, proxy.address)

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "login refused: no client certificate found; check " in done.stderr


class TestRotation:
    """A program that runs on, whose certificate is replaced."""

    @pytest.fixture
    def files(self, tmp_path: pathlib.Path) -> Pair:
        """Where the certificate lies."""
        return Pair(tmp_path / "tls.crt", tmp_path / "tls.key")

    @staticmethod
    def replace(files: Pair, by: Pair) -> None:
        """Put another certificate and its key there, as a tool does that renews them."""
        shutil.copy(by.certificate, files.certificate)
        shutil.copy(by.key, files.key)

    @staticmethod
    def admit(real: Real, name: str, authority: Authority) -> None:
        """Let certificates of this name alone log in."""
        role = {
            "certificate": authority.certificate.read_text(),
            "allowed_common_names": name,
            "token_policies": "webapp",
            "token_ttl": "1h",
        }
        real.laboratory.server.call("POST", "auth/cert/certs/rotating", role)

    def test_certificate_is_replaced(self, real: Real, authority: Authority, files: Pair) -> None:
        """The next login shows the certificate that the file holds then, not the one that the program began with."""
        skipped = 0.0
        keys = keys_of(files, authority) | {"vault_auth_role": "rotating"}
        config = auth.configure({"vault_addr": real.asking, "vault_aws_role": "webapp"}, {}, Profile("webapp", keys))
        fetcher = Fetcher(config, clock=lambda: time.time() + skipped)
        self.replace(files, authority.issue("one.example.com"))
        self.admit(real, "one.example.com", authority)
        fetcher.fetch()

        skipped = 2 * HOUR  # the token of Vault lives for one
        self.admit(real, "two.example.com", authority)
        real.laboratory.assumed_role("webapp")
        with pytest.raises(AuthenticationError, match="no chain matching all constraints"):
            fetcher.fetch()
        self.replace(files, authority.issue("two.example.com"))

        assert fetcher.fetch().seconds_left(fetcher.clock()) > 0

    def test_half_of_it_is_replaced(self, real: Real, authority: Authority, files: Pair) -> None:
        """While the two files do not fit together, what is held keeps being served; then it is refreshed."""
        skipped = 0.0
        config = auth.configure(
            {"vault_addr": real.asking, "vault_aws_role": "webapp"}, {}, Profile("webapp", keys_of(files, authority))
        )
        fetcher = Fetcher(config, clock=lambda: time.time() + skipped)
        self.replace(files, authority.issue(NAME))
        held = fetcher.fetch()
        renewed = authority.issue(NAME)
        shutil.copy(renewed.certificate, files.certificate)

        skipped = held.life - 100  # it is to be refreshed, and valid
        meanwhile = fetcher.fetched()
        assert meanwhile.credentials == held
        assert "key values mismatch; name the key that belongs to it" in (meanwhile.failure or "")
        self.replace(files, renewed)
        real.laboratory.assumed_role("webapp")
        skipped += 50  # past the pause after a failure

        assert fetcher.fetch().expiry > held.expiry
