"""AWS, type ec2: what is asked of the metadata service, what is sent to Vault, and the nonce that must not be lost."""

from __future__ import annotations

import base64
import os
import pathlib
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth, cache
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.aws_ec2 import AWSEC2
from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.memory import Memory
from vault_credential_process.demo.laboratory import write_private
from vault_credential_process.demo.server import free_port
from vault_credential_process.errors import AuthenticationError, ConfigurationError, UnreachableError
from vault_credential_process.expiry import Deadline
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Reply, Request, ScriptedServer, replay, reply, reset, silence
from vault_credential_process.vault import Vault

from ..bench import READ
from ..conftest import COMMAND, Run
from ..test_sources import unprivileged
from .instance import SESSION_TOKEN, Instance, instance, notary
from .methods import document

__all__ = ["instance", "notary"]

LOGIN = "auth/aws/login"
ACCEPTED = reply(
    200,
    {
        "auth": {
            "renewable": True,
            "lease_duration": 1800000,
            "metadata": {
                "role_tag_max_ttl": "0",
                "instance_id": "i-de0f1344",
                "ami_id": "ami-fce36983",
                "role": "dev-role",
                "auth_type": "ec2",
            },
            "policies": ["default", "dev"],
            "accessor": "20b89871-e6f2-1160-fb29-31c2f6d4645e",
            "client_token": "c9368254-3f21-aded-8a6f-7c818e81b17a",
        }
    },
)
"""The sample response of https://developer.hashicorp.com/vault/api-docs/auth/aws#login."""

TOKEN = "c9368254-3f21-aded-8a6f-7c818e81b17a"
NONCE = "5defbf9e-a8f9-3063-bdfc-54b7a42a1f95"


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = AWSEC2
    accepted: ClassVar[bytes] = ACCEPTED
    token: ClassVar[str | None] = TOKEN

    @pytest.fixture
    def settings(self, instance: Instance, tmp_path: pathlib.Path) -> dict[str, Any]:
        write_private(tmp_path / "nonce", NONCE)
        return {"vault_auth_role": "dev-role", "vault_aws_ec2_nonce_file": str(tmp_path / "nonce")}

    @pytest.fixture
    def planted(self, instance: Instance) -> tuple[str, ...]:
        return NONCE, instance.shown("pkcs7")


@pytest.fixture
def nonce_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file that does not exist yet."""
    return tmp_path / "nonce"


@pytest.fixture
def shared() -> CacheBackend:
    """The cache of the host."""
    return cache.choose("runtime", os.environ)


def log_in(server: ScriptedServer, *, kept: CacheBackend | None = None, seconds: float = 20, **keys: str) -> str | None:
    """Log in to a server with keys of a profile and a cache; return the token."""
    given = {"vault_addr": server.address, "vault_max_retries": "0"}
    config = auth.configure(given, os.environ, Profile("webapp", {"vault_auth_method": "aws-ec2", **keys}))
    with Vault(config, Deadline(seconds), cache=kept) as vault:
        return auth.login(auth.choose(config), vault).value


class TestWhatIsSent:
    """The bytes on both wires."""

    def test_document_comes_over_a_session(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path
    ) -> None:
        """First a session token, by PUT and for a minute, then each document with it; nothing of Vault's goes there."""
        scripted.on("POST", LOGIN, ACCEPTED)
        assert log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file)) == TOKEN

        assert [(request.method, request.path) for request in instance.requests] == [
            ("PUT", "/latest/api/token"),
            ("GET", "/latest/dynamic/instance-identity/document"),
            ("GET", "/latest/dynamic/instance-identity/pkcs7"),
        ]
        first, *others = (request.headers for request in instance.requests)
        assert first["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
        assert {headers["x-aws-ec2-metadata-token"] for headers in others} == {SESSION_TOKEN}
        assert not any(name.startswith("x-vault") for headers in (first, *others) for name in headers)

    @pytest.mark.parametrize("proof", [None, "pkcs7", "rsa2048"])
    def test_pkcs7_goes_without_line_breaks(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path, proof: str | None
    ) -> None:
        """The signed document goes as the service shows it, on one line, with the nonce and the role."""
        write_private(nonce_file, NONCE + "\n")
        scripted.on("POST", LOGIN, ACCEPTED)
        keys = {"vault_aws_ec2_proof": proof} if proof else {}
        log_in(scripted, vault_auth_role="dev-role", vault_aws_ec2_nonce_file=str(nonce_file), **keys)

        name = proof or "pkcs7"
        assert scripted.requests[0].json == {"role": "dev-role", "pkcs7": instance.shown(name), "nonce": NONCE}
        assert instance.requests[-1].path.endswith(f"/{name}")

    def test_identity_goes_byte_by_byte(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path
    ) -> None:
        """The document itself is what was signed, line breaks and all; without a role none is sent."""
        write_private(nonce_file, NONCE)
        scripted.on("POST", LOGIN, ACCEPTED)
        log_in(scripted, vault_aws_ec2_proof="identity", vault_aws_ec2_nonce_file=str(nonce_file))
        body = scripted.requests[0].json

        assert base64.b64decode(body["identity"], validate=True) == instance.document
        assert body == {"identity": body["identity"], "signature": instance.shown("signature"), "nonce": NONCE}

    def test_command_prints_credentials(
        self, scripted: ScriptedServer, exchanges: dict[str, Any], instance: Instance, run: Run, tmp_path: pathlib.Path
    ) -> None:
        """``get`` logs in as the instance; later calls have the same nonce, of another profile or a cleared cache."""
        config = tmp_path / "config"
        config.write_text(
            "".join(
                f"[profile {role}]\nvault_addr = {scripted.address}\nvault_auth_method = aws-ec2\n"
                f"vault_auth_role = {role}\nvault_aws_role = webapp\n"
                for role in ("first", "second")
            )
        )
        scripted.on("POST", LOGIN, ACCEPTED)
        scripted.on("GET", READ, replay(exchanges["creds_assumed_role"]))
        for role in ("first", "second"):
            done = run(*COMMAND.split(), "get", "--profile", role, AWS_CONFIG_FILE=str(config))
            assert document(done)["Version"] == 1
        bodies = [request.json for request in scripted.requests if request.method == "POST"]
        listed = run(*COMMAND.split(), "cache", "list")
        cleared = run(*COMMAND.split(), "cache", "clear")
        run(*COMMAND.split(), "get", "--profile", "first", AWS_CONFIG_FILE=str(config))
        last = [request.json for request in scripted.requests if request.method == "POST"][-1]

        assert [body["role"] for body in bodies] == ["first", "second"]
        assert bodies[0]["nonce"] == bodies[1]["nonce"]
        assert "nonce" in listed.stdout
        assert "\nkept 1 entry that cannot be had again (nonce); " in cleared.stdout
        assert (last["role"], last["nonce"]) == ("first", bodies[0]["nonce"])
        assert bodies[0]["nonce"] not in listed.stdout
        assert instance.requests != []


class Slow(CacheBackend):
    """Another cache over the wire of a slow host."""

    name: ClassVar[str] = "slow"
    summary: ClassVar[str] = "slow"
    shared: ClassVar[bool] = True

    def __init__(self, behind: CacheBackend) -> None:
        self.place, self.reason, self._behind = behind.place, "slow", behind

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Slow:
        return cls(cache.choose("runtime", environ))

    def get(self, key: str) -> bytes | None:
        found = self._behind.get(key)
        time.sleep(0.05)
        return found

    def set(self, key: str, value: bytes) -> bool:
        return self._behind.set(key, value)

    def delete(self, key: str) -> None:
        self._behind.delete(key)

    def keys(self) -> Iterable[str]:
        return self._behind.keys()


def all_at_once(number: int, text: str) -> Reply:
    """Answer nobody before so many have asked."""
    together = threading.Barrier(number, timeout=20)

    def answer(connection: Any, request: Request) -> None:
        del request
        together.wait()
        connection.sendall(reply(200, text.encode()))

    return answer


class TestNonce:
    """Vault binds the first nonce to the instance, so it is kept before it is sent, or nothing is sent."""

    def test_is_kept_before_it_is_sent(
        self, scripted: ScriptedServer, instance: Instance, shared: CacheBackend
    ) -> None:
        """A login whose answer is lost leaves the nonce behind: the next one is the same instance."""
        scripted.on("POST", LOGIN, reset, ACCEPTED)
        with pytest.raises(UnreachableError):
            log_in(scripted, kept=shared)
        log_in(scripted, kept=shared)
        first, second = (request.json["nonce"] for request in scripted.requests)

        assert first == second
        assert len(first) >= 32
        assert instance.requests != []

    def test_is_one_for_profiles_that_begin_together(
        self, scripted: ScriptedServer, instance: Instance, shared: CacheBackend
    ) -> None:
        """Profiles with different roles hold different locks; their first logins have one nonce all the same."""
        scripted.on("POST", LOGIN, ACCEPTED)
        instance.answers["pkcs7"] = all_at_once(8, instance.shown("pkcs7"))
        slow = Slow(shared)

        def begin(number: int) -> None:
            log_in(scripted, kept=slow, vault_auth_role=f"role-{number}")

        threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({request.json["role"] for request in scripted.requests}) == 8
        assert len({request.json["nonce"] for request in scripted.requests}) == 1
        assert instance.requests != []

    def test_is_another_for_another_server_and_mount(
        self, scripted: ScriptedServer, instance: Instance, shared: CacheBackend
    ) -> None:
        """Each mount of each server keeps a list of its own, and need not know what another one was told."""
        scripted.on("POST", LOGIN, ACCEPTED)
        scripted.on("POST", "auth/other/login", ACCEPTED)
        with ScriptedServer() as another:
            another.on("POST", LOGIN, ACCEPTED)
            log_in(scripted, kept=shared)
            log_in(scripted, kept=shared, vault_auth_mount="other")
            log_in(another, kept=shared)
            nonces = {request.json["nonce"] for request in (*scripted.requests, *another.requests)}

        assert len(nonces) == 3
        assert instance.requests != []

    @pytest.mark.parametrize(
        ("kept", "reason"),
        [
            (None, "the cache of this call ends with it"),
            (cache.find("none").open({}), "the cache of this call ends with it"),
            (Memory(), "the cache of this call ends with it"),
        ],
        ids=["no cache", "none", "memory"],
    )
    def test_without_a_place_nothing_is_sent(
        self, scripted: ScriptedServer, instance: Instance, kept: CacheBackend | None, reason: str
    ) -> None:
        """A nonce that ends with the call or the process would lock the instance out: the login is refused before."""
        with pytest.raises(ConfigurationError) as caught:
            log_in(scripted, kept=kept)

        assert str(caught.value) == (
            "vault_aws_ec2_nonce_file: missing; without its nonce this instance logs in once and never again, and "
            f"{reason}: name a file"
        )
        assert scripted.requests == []
        assert instance.requests != []

    def test_cache_that_takes_nothing_is_noticed(
        self, scripted: ScriptedServer, instance: Instance, shared: CacheBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A directory that is full or gone keeps nothing, whatever it is called."""
        directory = pathlib.Path(shared.place.path("entry", "x")).parent  # type: ignore[attr-defined]
        monkeypatch.setattr(shared.place, "directory", str(directory / "gone"))
        monkeypatch.setattr(shared, "directory", str(directory / "gone"))

        with pytest.raises(ConfigurationError, match="the runtime cache does not keep it: name a file"):
            log_in(scripted, kept=shared)
        assert scripted.requests == []
        assert instance.requests != []

    def test_file_is_made_and_serves_again(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path
    ) -> None:
        """A file that is named is made, readable by its owner alone, and the same nonce is sent from then on."""
        scripted.on("POST", LOGIN, reset, ACCEPTED)
        with pytest.raises(UnreachableError):
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))
        log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert [request.json["nonce"] for request in scripted.requests] == [nonce_file.read_text().strip()] * 2
        assert stat.S_IMODE(nonce_file.stat().st_mode) == 0o600
        assert list(nonce_file.parent.glob(".nonce*")) == []
        assert instance.requests != []

    def test_file_is_made_once(self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path) -> None:
        """Of many that make it together, whoever is first decides."""
        scripted.on("POST", LOGIN, ACCEPTED)
        instance.answers["pkcs7"] = all_at_once(8, instance.shown("pkcs7"))

        def begin() -> None:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [request.json["nonce"] for request in scripted.requests] == [nonce_file.read_text().strip()] * 8
        assert instance.requests != []

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "empty"),
            ("two words", "not a nonce: one word of at most 128 characters"),
            ("x" * 129, "not a nonce: one word of at most 128 characters"),
            ("one\ntwo", "holds more than one line"),
        ],
    )
    def test_file_with_something_else(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path, content: str, message: str
    ) -> None:
        """What is no nonce is not sent, and never replaced: somebody may need it."""
        write_private(nonce_file, content)
        with pytest.raises(ConfigurationError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert str(caught.value) == f"vault_aws_ec2_nonce_file: {nonce_file}: {message}"
        assert nonce_file.read_text() == content
        assert scripted.requests == []
        assert instance.requests != []

    def test_file_where_there_is_no_directory(
        self, scripted: ScriptedServer, instance: Instance, tmp_path: pathlib.Path
    ) -> None:
        """A path that leads nowhere is told before anything is sent."""
        path = tmp_path / "no" / "nonce"
        with pytest.raises(ConfigurationError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(path))

        assert str(caught.value) == (
            f"vault_aws_ec2_nonce_file: {path}: No such file or directory; check the path and its permissions"
        )
        assert scripted.requests == []
        assert instance.requests != []


ADDRESS = "<address>"


class TestMetadataService:
    """A metadata service that does not answer as it should: one line with the cause and the remedy."""

    @pytest.mark.parametrize(
        ("name", "answer", "message"),
        [
            (
                "token",
                silence(10),
                (
                    f"the instance metadata: {ADDRESS}: no answer to it in time; in a container on EC2 raise "
                    "HttpPutResponseHopLimit to 2; elsewhere use another method"
                ),
            ),
            (
                "token",
                reply(403),
                (
                    f"{ADDRESS}/latest/api/token: HTTP 403: the instance metadata service is turned off; turn it on "
                    "(HttpEndpoint)"
                ),
            ),
            (
                "token",
                reply(404),
                (f"{ADDRESS}/latest/api/token: HTTP 404 and no session token: is this the metadata service of EC2?"),
            ),
            (
                "token",
                reply(200, b"<html>two words"),
                (f"{ADDRESS}/latest/api/token: HTTP 200 and no session token: is this the metadata service of EC2?"),
            ),
            (
                "document",
                reply(401),
                (
                    f"{ADDRESS}/latest/dynamic/instance-identity/document: HTTP 401: the session token of a moment ago "
                    "is refused; check what answers there for the metadata service"
                ),
            ),
            (
                "pkcs7",
                reply(404),
                (
                    f"{ADDRESS}/latest/dynamic/instance-identity/pkcs7: HTTP 404 and no document: is this the metadata "
                    "service of EC2?"
                ),
            ),
            (
                "pkcs7",
                reply(200, b"<html>"),
                (
                    f"{ADDRESS}/latest/dynamic/instance-identity/pkcs7: the answer is no signature: is this the "
                    "metadata service of EC2?"
                ),
            ),
            (
                "document",
                reset,
                (
                    f"the instance metadata: {ADDRESS}: the connection broke during it; check that its service can be "
                    "reached from here"
                ),
            ),
        ],
    )
    def test_says_what_to_do(
        self,
        scripted: ScriptedServer,
        instance: Instance,
        nonce_file: pathlib.Path,
        name: str,
        answer: Reply,
        message: str,
    ) -> None:
        """Turned off, a hop too far, something else: nothing is sent to Vault, and no nonce is made."""
        instance.answers[name] = answer
        with pytest.raises(UnreachableError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert str(caught.value) == message.replace(ADDRESS, instance.address)
        assert scripted.requests == []
        assert not nonce_file.exists()

    def test_elsewhere(
        self, scripted: ScriptedServer, instance: Instance, monkeypatch: pytest.MonkeyPatch, nonce_file: pathlib.Path
    ) -> None:
        """Where nothing listens there is no instance."""
        address = f"http://127.0.0.1:{free_port()}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        with pytest.raises(UnreachableError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert str(caught.value) == (
            f"the instance metadata: {address}: connection refused: nothing listens there; aws-ec2 logs in from an EC2 "
            "instance only"
        )
        assert instance.requests == []

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            (
                "AWS_EC2_METADATA_DISABLED",
                "True",
                (
                    "AWS_EC2_METADATA_DISABLED: true, but aws-ec2 logs in with what the instance metadata tells; "
                    "unset it"
                ),
            ),
            (
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                "imds",
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT: not the address of a metadata service; unset it"),
            ),
        ],
    )
    def test_variables_of_aws(
        self,
        scripted: ScriptedServer,
        instance: Instance,
        monkeypatch: pytest.MonkeyPatch,
        nonce_file: pathlib.Path,
        name: str,
        value: str,
        message: str,
    ) -> None:
        """A service that was switched off is not asked, and an address that is none is told."""
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert str(caught.value) == message
        assert instance.requests == []

    @pytest.mark.parametrize(
        ("environ", "address"),
        [
            ({}, "http://169.254.169.254"),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://10.0.0.1:1338/"}, "http://10.0.0.1:1338"),
        ],
    )
    def test_is_where_the_sdks_look(self, environ: dict[str, str], address: str) -> None:
        """The address is that of AWS's SDKs, IPv6 where they are told so."""
        config = auth.configure({"vault_auth_method": "aws-ec2"}, environ, None)

        assert AWSEC2.from_config(config)._address() == address


ANEW = "an administrator lets it begin anew: vault delete auth/aws/identity-accesslist/i-0abc"
CERTIFICATE = (
    "Vault does not know the key that AWS signs with here: try another vault_aws_ec2_proof, or register the "
    "certificate of the region at auth/aws/config/certificate"
)


class TestRefused:
    """Vault's refusals: what to do fits what it said. The texts are those of the real plugin."""

    @pytest.mark.parametrize(
        ("status", "said", "remedy"),
        [
            (
                400,
                "client nonce mismatch",
                (
                    "the first login of this instance had another nonce, of another user or program or one that was "
                    f"lost; {ANEW}"
                ),
            ),
            (
                400,
                "client nonce mismatch and instance meta-data incorrect",
                (
                    "the first login of this instance had another nonce, of another user or program or one that was "
                    f"lost; {ANEW}"
                ),
            ),
            (
                400,
                "reauthentication is disabled",
                f"this instance may log in once only, as its role, its role tag or its first login says; {ANEW}",
            ),
            (
                400,
                "instance meta-data is older than the one used for previous login",
                f"a later login of this instance had a newer identity document; {ANEW}",
            ),
            (
                400,
                'entry for role "nope" not found',
                "check vault_auth_role (not set, so Vault takes the id of the AMI)",
            ),
            (
                400,
                "auth method ec2 not allowed for role dev",
                "check vault_auth_role (not set, so Vault takes the id of the AMI): it is not of the type ec2",
            ),
            (500, "failed to verify the signature: pkcs7: No certificate for signer", CERTIFICATE),
            (500, "instance identity verification using SHA256 RSA signature is unsuccessful", CERTIFICATE),
            (
                400,
                "failed to verify instance ID: instance is not in 'running' state",
                "Vault asks EC2 whether this instance runs: check the keys and the endpoint in auth/aws/config/client",
            ),
            (
                400,
                'Region "us-east-1" does not satisfy the constraint on role "vm"',
                "check vault_auth_role (not set, so Vault takes the id of the AMI) and what it is bound to",
            ),
        ],
    )
    def test_advice_fits_what_vault_said(
        self,
        scripted: ScriptedServer,
        instance: Instance,
        nonce_file: pathlib.Path,
        status: int,
        said: str,
        remedy: str,
    ) -> None:
        """Each refusal is one of authentication, and the instance is named where its entry must be deleted."""
        scripted.on("POST", LOGIN, reply(status, {"errors": [said]}))
        with pytest.raises(AuthenticationError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))

        assert str(caught.value) == f"{scripted.address}/v1/auth/aws/login: login refused: {said}; {remedy}"
        assert instance.requests != []

    @pytest.mark.parametrize("proof", ["pkcs7", "identity"])
    def test_proof_is_not_repeated(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path, proof: str
    ) -> None:
        """A signed document logs in for ever, with the nonce: neither is shown, whatever the server says."""
        name = "signature" if proof == "identity" else "pkcs7"
        instance.answers[name] = reply(200, b"Y2FuYXJ5LXNpZ25h\ndHVyZQ==\n")
        write_private(nonce_file, NONCE)
        said = f"strange: Y2FuYXJ5LXNpZ25hdHVyZQ== and {NONCE}"
        scripted.on("POST", LOGIN, reply(400, {"errors": [said]}))

        with pytest.raises(
            AuthenticationError, match=r"login refused: strange: \*\*\* and \*\*\*; check vault_auth_role"
        ):
            log_in(scripted, vault_aws_ec2_proof=proof, vault_aws_ec2_nonce_file=str(nonce_file))
        assert instance.requests != []

    def test_odd_instance_id_is_not_repeated(
        self, scripted: ScriptedServer, instance: Instance, nonce_file: pathlib.Path
    ) -> None:
        """What the metadata service calls the instance stands in a command only if it is an id."""
        instance.answers["document"] = reply(200, b'{"instanceId": "$(reboot)"}')
        scripted.on("POST", LOGIN, reply(400, {"errors": ["client nonce mismatch"]}))

        with pytest.raises(AuthenticationError, match="vault delete auth/aws/identity-accesslist/<instance-id>"):
            log_in(scripted, vault_aws_ec2_nonce_file=str(nonce_file))


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"},
    ],
)
def test_another_metadata_service_is_another_instance(environ: dict[str, str]) -> None:
    """Where a variable says who tells of the instance, answers are kept apart by it."""
    profile = Profile("webapp", {"vault_auth_method": "aws-ec2"})
    first, second = (auth.choose(auth.configure({}, e, profile)).identity() for e in ({}, environ))

    assert first != second


def test_unknown_proof_is_told() -> None:
    """There are three forms of the document."""
    with pytest.raises(ConfigurationError, match=r"vault_aws_ec2_proof: write pkcs7, rsa2048 or identity \(from"):
        auth.configure({}, {}, Profile("webapp", {"vault_auth_method": "aws-ec2", "vault_aws_ec2_proof": "sha1"}))


def test_is_no_guess(instance: Instance) -> None:
    """``auto`` never asks a metadata service whether this is EC2."""
    config = auth.configure({"vault_auth_role": "x"}, os.environ, None)
    with pytest.raises(AuthenticationError, match=r"aws-ec2[a-z, ]*: only by name"):
        auth.choose(config)
    assert instance.requests == []


def test_nonce_file_that_cannot_be_read(scripted: ScriptedServer, instance: Instance) -> None:
    """A nonce that this user may not read is told with its path; nothing is sent, and no other nonce is made."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - the file is what must be closed
        path = pathlib.Path(directory) / "nonce"
        write_private(path, NONCE)
        path.chmod(0)
        with unprivileged(), pytest.raises(ConfigurationError) as caught:
            log_in(scripted, vault_aws_ec2_nonce_file=str(path))
    assert str(caught.value) == (
        f"vault_aws_ec2_nonce_file: {path}: Permission denied; check the path and its permissions"
    )
    assert scripted.requests == []
    assert instance.requests != []
