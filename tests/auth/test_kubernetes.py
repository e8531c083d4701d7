"""Kubernetes: what it sends, and the whole way on a real server that asks a cluster's TokenReview."""

from __future__ import annotations

import os
import pathlib
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod, kubernetes
from vault_credential_process.auth.kubernetes import Kubernetes
from vault_credential_process.demo.laboratory import Laboratory, write_private
from vault_credential_process.errors import AuthenticationError, ConfigurationError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, reply

from ..certificates import Authority
from ..conftest import Run
from ..pages import Page
from ..test_sources import unprivileged
from .methods import NOW, document, get, log_in
from .tokens import Signer

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
REVIEWER = "reviewer-of-the-cluster"
HOUR = 3600
SIGNER = Signer()


def projected(account: str = "webapp", *, ends: float, audience: str = "vault", namespace: str = "shop") -> str:
    """Return a token as the kubelet projects it for a service account."""
    return SIGNER.sign(
        aud=[audience],
        exp=int(ends),
        iat=int(NOW),
        iss="https://kubernetes.default.svc.cluster.local",
        kubernetes_io={"namespace": namespace, "serviceaccount": {"name": account, "uid": f"uid-{account}"}},
        nbf=int(NOW),
        sub=f"system:serviceaccount:{namespace}:{account}",
    )


class Cluster(ScriptedServer):
    """The API server of a cluster, as far as Vault asks it: TokenReview, for the tokens in ``accounts``.

    https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
    """

    def __init__(self, authority: Authority) -> None:
        """Listen with TLS on a free loopback port."""
        super().__init__(context=authority.issue("127.0.0.1").listener())
        self.authority = authority
        self.accounts: dict[str, str] = {}
        self.otherwise = self._review

    def admit(self, account: str = "webapp", **options: Any) -> str:
        """Return a token that the cluster knows, good for some hours."""
        token = projected(account, **{"ends": time.time() + 4 * HOUR, **options})
        self.accounts[token] = account
        return token

    @property
    def reviewed(self) -> list[str]:
        """The tokens that were asked about."""
        return [request.json["spec"]["token"] for request in self.requests]

    def _review(self, connection: socket.socket, request: Request) -> None:
        if (request.path, request.headers.get("authorization")) != (REVIEWS, f"Bearer {REVIEWER}"):
            connection.sendall(reply(401, {"kind": "Status", "status": "Failure", "code": 401}))
            return
        spec = request.json["spec"]
        account = self.accounts.get(spec["token"])
        user = {"username": f"system:serviceaccount:shop:{account}", "uid": f"uid-{account}"}
        good = {"authenticated": True, "user": user, "audiences": spec["audiences"]}
        bad = {"user": {}, "error": "[invalid bearer token, service account token has been invalidated]"}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": good if account else bad}
        connection.sendall(reply(201, review))


@pytest.fixture
def token_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """The file that the kubelet writes, with the mode that it gives it where the pod names no user."""
    path = tmp_path / "token"
    path.write_text(projected(ends=NOW + HOUR))
    path.chmod(0o644)
    return path


@pytest.fixture
def keys(token_file: pathlib.Path) -> dict[str, str]:
    """The keys of a profile."""
    return {
        "vault_auth_method": "kubernetes",
        "vault_auth_role": "webapp",
        "vault_kubernetes_token_file": str(token_file),
    }


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = Kubernetes

    @pytest.fixture
    def settings(self, keys: dict[str, str], token_file: pathlib.Path) -> dict[str, Any]:
        token_file.write_text(projected(ends=time.time() + HOUR))
        return keys

    @pytest.fixture
    def planted(self, settings: dict[str, Any]) -> tuple[str, ...]:
        return (pathlib.Path(settings["vault_kubernetes_token_file"]).read_text(),)


class TestWhatIsSent:
    """The request, and what is not sent at all."""

    @pytest.fixture
    def vault(self, scripted: ScriptedServer) -> ScriptedServer:
        scripted.on("POST", "auth/kubernetes/login", TestContract.accepted)
        return scripted

    def test_token_and_role(self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path) -> None:
        """The body holds the token without the line break of its file, and the role; nothing else."""
        expected = {"jwt": token_file.read_text(), "role": "webapp"}
        token_file.write_text(token_file.read_text() + "\n")
        log_in(vault.address, keys)

        assert [request.json for request in vault.requests] == [expected]

    def test_token_is_read_at_each_login(
        self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path
    ) -> None:
        """The kubelet replaces the file by moving a link; the next login sends the new token."""
        tokens = [projected(ends=NOW + life) for life in (HOUR, 2 * HOUR)]
        for number, token in enumerate(tokens):
            target = token_file.with_name(f"..data-{number}")
            target.write_text(token)
            link = token_file.with_name("..new")
            link.symlink_to(target)
            link.replace(token_file)
            log_in(vault.address, keys)

        assert [request.json["jwt"] for request in vault.requests] == tokens

    def test_mode_of_the_kubelet_is_no_warning(
        self, vault: ScriptedServer, keys: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody in a pod can change the mode of a projected file, so nobody is told to."""
        log_in(vault.address, keys)

        assert [record for record in caplog.records if record.levelname == "WARNING"] == []

    @pytest.mark.parametrize(
        ("content", "error", "words"),
        [
            (projected(ends=NOW), AuthenticationError, "expired at 2026-11-23T20:17:03Z; have it replaced, or check"),
            ("", ConfigurationError, "empty"),
            ("no-token", ConfigurationError, "is not a JSON Web Token; check what is written there"),
            ("a.b.c", ConfigurationError, "is not a JSON Web Token"),
            ("e30.W10.x", ConfigurationError, "is not a JSON Web Token"),  # the claims are a list
            (f"e30.{'W' * 9000}.x", ConfigurationError, "is not a JSON Web Token"),
            ("e30.e30", ConfigurationError, "is not a JSON Web Token"),
            ("e30.e30.\u00e9", ConfigurationError, "is not a JSON Web Token"),
        ],
    )
    def test_token_that_cannot_serve_is_not_sent(
        self,
        vault: ScriptedServer,
        keys: dict[str, str],
        token_file: pathlib.Path,
        content: str,
        error: type[Exception],
        words: str,
    ) -> None:
        """An expired token, and what is none, end in one line with the file and without the token."""
        token_file.write_text(content)
        with pytest.raises(error) as caught:
            log_in(vault.address, keys)

        message = str(caught.value)
        assert (words in message, str(token_file) in message, message.isprintable()) == (True, True, True)
        assert not content or content not in message
        assert vault.requests == []

    @pytest.mark.parametrize("claims", [{}, {"exp": NOW + 1}, {"exp": 10**40}, {"exp": "tomorrow"}, {"exp": None}])
    def test_what_only_vault_can_judge_is_sent(
        self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path, claims: dict[str, Any]
    ) -> None:
        """A token without an end (a legacy one), or with one that says nothing, goes to Vault."""
        token_file.write_text(SIGNER.sign(**claims))
        log_in(vault.address, keys)

        assert len(vault.requests) == 1

    @pytest.mark.parametrize("exp", [0, -1e300, float("-inf"), True])
    def test_end_outside_the_calendar(
        self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path, exp: float
    ) -> None:
        """An end that no calendar has is in the past all the same."""
        token_file.write_text(SIGNER.sign(exp=exp))
        with pytest.raises(AuthenticationError, match="expired at 1970-01-01T00:00:0"):
            log_in(vault.address, keys)

    def test_missing_file(self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path) -> None:
        """A named file that is not there is a matter of configuration."""
        token_file.unlink()
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, keys)

        assert str(caught.value) == (
            f"vault_kubernetes_token_file: {token_file}: No such file or directory; check the path and its permissions"
        )

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    def test_unreadable_file(self, vault: ScriptedServer, keys: dict[str, str], token_file: pathlib.Path) -> None:
        """A file of another user is a matter of configuration; the control shows that its mode is the obstacle."""
        with tempfile.TemporaryDirectory() as directory:
            pathlib.Path(directory).chmod(0o711)
            path = pathlib.Path(directory, "token")
            path.write_text(token_file.read_text())
            path.chmod(0o644)
            with unprivileged():
                log_in(vault.address, keys | {"vault_kubernetes_token_file": str(path)})
            path.chmod(0o600)
            with unprivileged(), pytest.raises(ConfigurationError, match=r"token: Permission denied; check the path"):
                log_in(vault.address, keys | {"vault_kubernetes_token_file": str(path)})

        assert len(vault.requests) == 1

    def test_role_is_required(self, vault: ScriptedServer, keys: dict[str, str]) -> None:
        """The mount has no default role, so the want of one is told before anything is sent."""
        with pytest.raises(ConfigurationError) as caught:
            log_in(vault.address, keys | {"vault_auth_role": ""})

        assert str(caught.value) == (
            "vault_auth_role: missing (set --auth-role, vault_auth_role in [profile webapp], or VAULT_AUTH_ROLE)"
        )
        assert vault.requests == []


class TestAtHome:
    """What ``auto`` takes for a pod."""

    @pytest.fixture
    def pod(self, token_file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        """A pod's own token, at another path than in a pod."""
        monkeypatch.setattr(kubernetes, "DEFAULT_FILE", str(token_file))
        return token_file

    def test_pod_with_a_role(self, pod: pathlib.Path, scripted: ScriptedServer) -> None:
        """The file that every pod has is used where a role is set."""
        scripted.on("POST", "auth/kubernetes/login", TestContract.accepted)
        log_in(scripted.address, {"vault_auth_role": "webapp"})

        assert scripted.requests[0].json == {"jwt": pod.read_text(), "role": "webapp"}

    @pytest.mark.parametrize(
        ("role", "is_pod", "reason"),
        [("", True, "vault_auth_role is not set"), ("webapp", False, "not in a pod: there is no {path}")],
    )
    def test_elsewhere(self, pod: pathlib.Path, role: str, is_pod: bool, reason: str) -> None:
        """Without a role, or without the file, the method is passed over with its reason."""
        if not is_pod:
            pod.unlink()
        config = auth.configure({}, {}, Profile("webapp", {"vault_auth_role": role}))
        with pytest.raises(auth.AuthUnavailable) as caught:
            Kubernetes.from_config(config).at_home()

        assert str(caught.value) == reason.format(path=pod)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with an authority of its own."""
    authority = Authority(tmp_path_factory.mktemp("cluster"), "cluster-ca")
    with Cluster(authority) as running:
        yield running


@pytest.fixture(scope="module")
def vault(fresh: Laboratory, cluster: Cluster) -> Laboratory:
    """A real server that was set up as the page tells, for that cluster."""
    (fresh.directory / "cluster-ca.pem").write_bytes(cluster.authority.certificate.read_bytes())
    write_private(fresh.directory / "reviewer.jwt", REVIEWER)
    replacing = {"https://kubernetes.example.com:6443": cluster.address}
    Page("kubernetes").set_up(fresh.server, fresh.directory, replacing)
    return fresh


class TestRealServer:
    """The whole way, from the page's profile to AWS credentials."""

    @pytest.fixture
    def profile(self, token_file: pathlib.Path) -> dict[str, str]:
        """The profile of the page."""
        return Page("kubernetes").profile({"/var/run/secrets/vault/token": str(token_file)})

    def test_profile_of_the_page(
        self,
        run: Run,
        vault: Laboratory,
        cluster: Cluster,
        profile: dict[str, str],
        token_file: pathlib.Path,
        clean_environment: pathlib.Path,
    ) -> None:
        """A pod's token gives AWS credentials; the cluster was asked about that token, for the audience ``vault``."""
        token_file.write_text(cluster.admit())

        assert document(get(run, vault, profile, clean_environment))["Version"] == 1
        assert cluster.requests[-1].json["spec"] == {"token": token_file.read_text(), "audiences": ["vault"]}

    @pytest.mark.parametrize(
        ("trouble", "code", "words"),
        [
            (
                "invalidated",
                3,
                "bound to, and that Vault reaches the cluster (its log says why not); the token came from {path}",
            ),
            ("expired", 3, "the token from {path} expired at "),
            ("account", 3, "login refused: service account name not authorized; check vault_auth_role (from "),
            ("namespace", 3, "namespace not authorized"),
            ("audience", 3, "audience claim does not match"),
            ("role", 3, 'login refused: invalid role name "other"; check vault_auth_role (from vault_auth_role in '),
            ("no role", 2, "vault_auth_role: missing (set --auth-role, "),
            ("mount", 3, "either no auth method is mounted at nowhere"),
            ("no file", 2, "{path}: No such file or directory; check the path and its permissions"),
        ],
    )
    def test_refused(
        self,
        run: Run,
        vault: Laboratory,
        cluster: Cluster,
        profile: dict[str, str],
        token_file: pathlib.Path,
        clean_environment: pathlib.Path,
        trouble: str,
        code: int,
        words: str,
    ) -> None:
        """Whatever is wrong, it is one line that names the file or the setting, with the exit code of its class."""
        options: dict[str, dict[str, Any]] = {
            "expired": {"ends": time.time() - 1},
            "account": {"account": "other"},
            "namespace": {"namespace": "other"},
            "audience": {"audience": "https://kubernetes.default.svc"},
        }
        token = cluster.admit(**options.get(trouble, {}))
        token_file.write_text(token)
        if trouble == "invalidated":
            del cluster.accounts[token]
        if trouble == "no file":
            token_file.unlink()
        changed = {
            "role": {"vault_auth_role": "other"},
            "no role": {"vault_auth_role": ""},
            "mount": {"vault_auth_mount": "nowhere"},
        }
        done = get(run, vault, profile | changed.get(trouble, {}), clean_environment)

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        assert words.format(path=token_file) in done.stderr
        assert token not in done.stderr

    def test_rotation(
        self, vault: Laboratory, cluster: Cluster, profile: dict[str, str], token_file: pathlib.Path
    ) -> None:
        """A program that runs on logs in with the token that the file holds then, not with the one it began with."""
        skipped = 0.0
        config = auth.configure({"vault_addr": vault.server.address}, {}, Profile("webapp", profile))
        fetcher = Fetcher(config, clock=lambda: time.time() + skipped)
        first = cluster.admit()
        token_file.write_text(first)
        before = len(cluster.requests)
        fetcher.fetch()

        skipped = 2 * HOUR  # the token of Vault lives for one
        del cluster.accounts[first]
        vault.assumed_role("webapp")
        with pytest.raises(AuthenticationError, match="permission denied"):
            fetcher.fetch()
        second = cluster.admit(ends=time.time() + 5 * HOUR)
        token_file.write_text(second)

        assert fetcher.fetch().seconds_left(fetcher.clock()) > 0
        assert cluster.reviewed[before:] == [first, first, second]
