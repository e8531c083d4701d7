"""AWS, type iam: the signed request as STS takes it, who it is for, and what is refused."""

from __future__ import annotations

import logging
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from vault_credential_process import auth
from vault_credential_process.auth import AuthMethod
from vault_credential_process.auth.aws_iam import AWSIAM
from vault_credential_process.demo import aws
from vault_credential_process.errors import (
    AuthenticationError,
    AuthUnavailable,
    ConfigurationError,
)
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.auth import AuthMethodContract
from vault_credential_process.testing.scripted import Request, ScriptedServer, replay, reply

from ..bench import READ
from ..conftest import Run
from .methods import document, log_in
from .signers import (
    EXAMPLE,
    KEYS,
    LOGIN,
    OURS,
    ask_sts,
    caller,
    decoded,
    export,
    exported,
    files,
    new_user,
    section,
    sent,
)

__all__ = ["files"]

ADMITTED = {
    "X-Amz-Algorithm", "X-Amz-Content-Sha256", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Security-Token",
    "X-Amz-Signature",
}  # fmt: skip
"""The headers that begin with ``X-Amz-`` and that Vault forwards."""


class TestContract(AuthMethodContract):
    """The contract of every method."""

    method: ClassVar[type[AuthMethod]] = AWSIAM

    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        export(monkeypatch, EXAMPLE)
        return {"vault_auth_role": "app", "vault_aws_iam_server_id": "vault.example.com"}

    @pytest.fixture
    def planted(self) -> tuple[str, ...]:
        return EXAMPLE["AWS_SECRET_ACCESS_KEY"], EXAMPLE["AWS_SESSION_TOKEN"]


class TestSignedRequest:
    """What is sent, and what STS makes of it."""

    @pytest.mark.parametrize("temporary", [False, True], ids=["user", "role"])
    @pytest.mark.parametrize(
        ("keys", "url", "region"),
        [
            ({}, "https://sts.amazonaws.com/", "us-east-1"),
            ({"vault_aws_iam_server_id": "vault.example.com"}, "https://sts.amazonaws.com/", "us-east-1"),
            ({"vault_aws_iam_region": "eu-central-1"}, "https://sts.eu-central-1.amazonaws.com/", "eu-central-1"),
            ({"vault_aws_iam_sts_endpoint": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566/", "us-east-1"),
        ],
    )
    def test_is_accepted_as_the_caller(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        temporary: bool,
        keys: dict[str, str],
        url: str,
        region: str,
    ) -> None:
        """STS takes the signer for who it is: with keys of a user and of a role, global, regional, with a server id."""
        arn, signer = new_user(cloud)
        if temporary:
            arn, signer = (
                f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/it",
                exported(cloud.assume_role(name="it")),
            )
        export(monkeypatch, signer)
        body = sent(scripted, exchanges, **keys)

        assert caller(cloud, body) == arn
        assert decoded(body)[0] == url
        scope = f"Credential={signer['AWS_ACCESS_KEY_ID']}/[0-9]{{8}}/{region}/sts/aws4_request"
        assert re.search(scope, decoded(body)[2]["Authorization"])

    def test_has_what_vault_admits_and_no_more(
        self, scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Method, address, body and headers, all headers but the signature signed; the role only if there is one."""
        export(monkeypatch, EXAMPLE)
        body = sent(scripted, exchanges, vault_aws_iam_server_id="vault.example.com")
        url, content, headers = decoded(body)

        assert {key: value for key, value in body.items() if key != "iam_request_headers"} == {
            "iam_http_request_method": "POST",
            "iam_request_url": "aHR0cHM6Ly9zdHMuYW1hem9uYXdzLmNvbS8=",
            "iam_request_body": "QWN0aW9uPUdldENhbGxlcklkZW50aXR5JlZlcnNpb249MjAxMS0wNi0xNQ==",
        }
        assert (url, content) == ("https://sts.amazonaws.com/", "Action=GetCallerIdentity&Version=2011-06-15")
        assert set(headers) == {
            "Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token", "X-Vault-AWS-IAM-Server-ID",
        }  # fmt: skip
        assert {name for name in headers if name.startswith("X-Amz-")} <= ADMITTED
        (signed,) = re.findall("SignedHeaders=([^,]+)", headers["Authorization"])
        assert set(signed.split(";")) == {name.lower() for name in headers if name != "Authorization"} | {"host"}
        assert sent(scripted, exchanges, vault_auth_role="app")["role"] == "app"

    @pytest.mark.parametrize("what", ["signature", "server id", "host"])
    def test_is_refused_once_it_is_changed(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        cloud: aws.LocalAWS,
        monkeypatch: pytest.MonkeyPatch,
        what: str,
    ) -> None:
        """One byte of the signature, another server id, another host: STS refuses each, so each is signed."""
        export(monkeypatch, exported(cloud.engine_keys))
        url, content, headers = decoded(sent(scripted, exchanges, vault_aws_iam_server_id="vault.example.com"))
        assert ask_sts(cloud, url, content, headers).status_code == 200
        if what == "signature":
            last = headers["Authorization"][-1]
            headers["Authorization"] = headers["Authorization"][:-1] + ("0" if last != "0" else "1")
        elif what == "server id":
            headers["X-Vault-AWS-IAM-Server-ID"] = "evil.example.com"
        else:
            url = "https://sts.eu-central-1.amazonaws.com/"
        answer = ask_sts(cloud, url, content, headers)

        assert answer.status_code == 403
        assert "SignatureDoesNotMatch" in answer.text

    @pytest.mark.parametrize(
        ("environ", "keys", "url", "region"),
        [
            ({}, {}, "https://sts.amazonaws.com/", "us-east-1"),
            ({"AWS_REGION": "eu-west-1"}, {}, "https://sts.eu-west-1.amazonaws.com/", "eu-west-1"),
            ({"AWS_DEFAULT_REGION": "eu-west-1"}, {}, "https://sts.eu-west-1.amazonaws.com/", "eu-west-1"),
            ({}, {"region": "us-gov-west-1"}, "https://sts.us-gov-west-1.amazonaws.com/", "us-gov-west-1"),
            ({"AWS_REGION": "us-east-1"}, {}, "https://sts.amazonaws.com/", "us-east-1"),
            (
                {"AWS_REGION": "eu-west-1"},
                {"vault_aws_iam_region": "cn-north-1"},
                "https://sts.cn-north-1.amazonaws.com.cn/",
                "cn-north-1",
            ),
        ],
    )
    def test_region_that_is_set(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        environ: dict[str, str],
        keys: dict[str, str],
        url: str,
        region: str,
    ) -> None:
        """``auto`` is the region of the environment or the profile, else that of the global STS; a named one stays."""
        export(monkeypatch, EXAMPLE | environ)
        found, _, headers = decoded(sent(scripted, exchanges, **{"vault_aws_iam_region": "auto", **keys}))

        assert found == url
        assert f"/{region}/sts/aws4_request" in headers["Authorization"]

    def test_is_in_no_log(
        self,
        scripted: ScriptedServer,
        exchanges: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With every logger of the process at its most talkative, botocore's too, no log tells what would log in."""
        caplog.set_level(logging.DEBUG)
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        export(monkeypatch, EXAMPLE)
        authorization = decoded(sent(scripted, exchanges))[2]["Authorization"]
        signature = authorization.rpartition("=")[2]

        assert len(signature) == 64
        assert [secret for secret in (signature, *list(EXAMPLE.values())[1:]) if secret in caplog.text] == []

    def test_other_threads_still_log_what_they_sign(
        self, scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The silence ends with the signature: nothing is left on botocore's logger."""
        export(monkeypatch, EXAMPLE)
        before = list(logging.getLogger("botocore.auth").filters)
        sent(scripted, exchanges)

        assert logging.getLogger("botocore.auth").filters == before


class TestIdentity:
    """Whom answers are kept apart by."""

    @staticmethod
    def of(environ: Mapping[str, str], **keys: str) -> Any:
        """Return the identity in an environment."""
        configuration = auth.configure({}, environ, Profile("webapp", KEYS | keys))
        return auth.choose(configuration).identity()

    @pytest.mark.parametrize(
        ("environ", "keys"),
        [
            ({}, {"vault_aws_iam_server_id": "other"}),
            ({}, {"vault_aws_iam_profile": "other"}),
            ({"AWS_SHARED_CREDENTIALS_FILE": "/other"}, {}),
            ({"AWS_CONFIG_FILE": "/other"}, {}),
            ({"AWS_ROLE_ARN": aws.ROLE_ARN}, {}),
            ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/other"}, {}),
            ({"AWS_ACCESS_KEY_ID": "AKIAI44QH8DHBEXAMPLE"}, {}),
            ({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "another"}, {}),
            ({"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/other"}, {}),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, {}),
            ({"AWS_ENDPOINT_URL_STS": "https://127.0.0.1:1"}, {}),
            ({}, {"vault_aws_iam_sts_endpoint": "https://127.0.0.1:1"}),
        ],
    )
    @pytest.mark.parametrize("source", [{}, {"vault_aws_iam_profile": "base"}])
    def test_tells_signers_apart(self, environ: dict[str, str], keys: dict[str, str], source: dict[str, str]) -> None:
        """Another source, another key and another server id make somebody else: a named profile may lead there too."""
        assert self.of(EXAMPLE | environ, **source | keys) != self.of(EXAMPLE, **source)

    def test_keys_of_the_environment_are_secrets(self) -> None:
        """The access key and what a container shows enter as secrets, each under its name."""
        shown = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "canary"}

        assert self.of(EXAMPLE).secrets == ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",)
        assert self.of(shown).secrets == ("AWS_CONTAINER_AUTHORIZATION_TOKEN=canary",)
        assert self.of({}).secrets == ()

    def test_another_home_has_other_files(self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        """Where AWS's files are the default ones the home directory tells which; both are watched."""
        first = self.of({})
        monkeypatch.setenv("HOME", str(tmp_path))
        configuration = auth.configure({}, {}, Profile("webapp", KEYS))

        assert self.of({}) != first
        assert auth.watched(configuration) == (f"{tmp_path}/.aws/config", f"{tmp_path}/.aws/credentials")

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("config", "role/webapp", "role/other"),
            ("credentials", "AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE"),
        ],
    )
    def test_files_tell_whose_the_keys_are(self, tmp_path: pathlib.Path, file: str, old: str, new: str) -> None:
        """Another role or key of the profile, or of the one that it leads to, is somebody else; a new secret is not."""
        paths = {name: tmp_path / name for name in ("config", "credentials")}
        paths["config"].write_text(
            "[profile ci]\nrole_arn = arn:aws:iam::123456789012:role/webapp\nsource_profile = base\n"
        )
        paths["credentials"].write_text(
            "[base]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = one\n"
        )
        environ = {"AWS_CONFIG_FILE": str(paths["config"]), "AWS_SHARED_CREDENTIALS_FILE": str(paths["credentials"])}
        first = self.of(environ, vault_aws_iam_profile="ci")
        paths["credentials"].write_text(paths["credentials"].read_text().replace("= one", "= two"))
        assert self.of(environ, vault_aws_iam_profile="ci") == first
        paths[file].write_text(paths[file].read_text().replace(old, new))

        assert self.of(environ, vault_aws_iam_profile="ci") != first

    def test_files_that_cannot_be_read_are_left_to_the_login(self, tmp_path: pathlib.Path) -> None:
        """What is no config file says nothing of whose the keys are, and fails nothing here."""
        (tmp_path / "config").write_bytes(b"no section\n\xff")

        assert self.of({"AWS_CONFIG_FILE": str(tmp_path / "config")}).secrets == ()

    def test_rotating_proofs_do_not_matter(self) -> None:
        """The secret key and the session token are replaced all the time."""
        assert self.of(EXAMPLE | {"AWS_SESSION_TOKEN": "another"}) == self.of(EXAMPLE)


class TestAtHome:
    """When ``auto`` takes the method by itself."""

    @pytest.mark.parametrize(
        "variable",
        [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_LAMBDA_FUNCTION_NAME",
        ],
    )
    def test_platform_and_role_are_enough(self, variable: str) -> None:
        """In ECS, EKS and Lambda a role for Vault is all that is missing."""
        configuration = auth.configure({}, {variable: "/x", "VAULT_AUTH_ROLE": "app"}, None)

        assert auth.choose(configuration).name == "aws-iam"

    @pytest.mark.parametrize(
        ("environ", "reason"),
        [
            ({"VAULT_AUTH_ROLE": "app"}, "not in ECS, EKS or Lambda"),
            ({"AWS_LAMBDA_FUNCTION_NAME": "f"}, "vault_auth_role is not set"),
        ],
    )
    def test_else_it_is_absent(self, environ: dict[str, str], reason: str) -> None:
        """Neither alone makes a guess; the reason stands in the list of what was passed over."""
        with pytest.raises(AuthUnavailable, match=rf"aws-iam[a-z0-9, -]*: {reason}|: {reason}"):
            auth.choose(auth.configure({}, environ, None))


WHERE = "the credentials of the default chain (env)"


class TestRefused:
    """Vault's refusals: what to do fits what it said."""

    @pytest.mark.parametrize("exchange", ["aws_iam_login_wrong_server_id", "aws_iam_login_wrong_role"])
    def test_recorded_refusals(
        self, scripted: ScriptedServer, exchanges: dict[str, Any], monkeypatch: pytest.MonkeyPatch, exchange: str
    ) -> None:
        """A wrong server id and a role that does not exist, as a real server answers."""
        said = exchanges[exchange]["response"]["body"]["errors"][0]
        remedy = {
            "aws_iam_login_wrong_server_id": (
                "set vault_aws_iam_server_id (from vault_aws_iam_server_id in [profile webapp]) to "
                "the value that iam_server_id_header_value has in auth/aws/config/client"
            ),
            "aws_iam_login_wrong_role": "check vault_auth_role (from vault_auth_role in [profile webapp])",
        }[exchange]
        message = self.refusal(
            scripted,
            monkeypatch,
            replay(exchanges[exchange]),
            vault_auth_role="nosuch",
            vault_aws_iam_server_id="evil.example.com",
        )

        assert message == f"{scripted.address}/v1/auth/aws/login: login refused: {said}; {remedy}"

    @pytest.mark.parametrize(
        ("status", "said", "remedy"),
        [
            (
                400,
                'IAM Principal "arn:aws:iam::123456789012:user/alice" does not belong to the role "app"',
                (
                    "check vault_auth_role (not set, so Vault takes the name of the IAM user or role): its "
                    f"bound_iam_principal_arn must name this principal; the login is signed with {WHERE}"
                ),
            ),
            (
                400,
                'error validating X-Vault-AWS-IAM-Server-ID header: missing header "X-Vault-AWS-IAM-Server-ID"',
                (
                    "set vault_aws_iam_server_id (not set) to the value that iam_server_id_header_value has in "
                    "auth/aws/config/client"
                ),
            ),
            (
                400,
                "auth method iam not allowed for role vm",
                (
                    "check vault_auth_role (not set, so Vault takes the name of the IAM user or role): it is not of "
                    "the type iam"
                ),
            ),
            (
                400,
                "error making upstream request: received error code 403 from STS: <ErrorResponse/>",
                (
                    f"the login is signed with {WHERE} for https://sts.amazonaws.com/: check these credentials, "
                    "this host's clock, and that auth/aws/config/client has that address as sts_endpoint "
                    "(see vault_aws_iam_region)"
                ),
            ),
            (
                400,
                "error making upstream request: error making request: dial tcp: i/o timeout",
                "Vault asks STS at sts_endpoint in auth/aws/config/client: check that it reaches it there",
            ),
            (
                400,
                "unable to get regional STS endpoint for region: xx-nope-1",
                "check vault_aws_iam_region: Vault takes the region of STS from the login",
            ),
            (
                500,
                "rpc error: code = Unavailable desc = error reading from server: connection reset by peer",
                (
                    "OpenBao's plugin fails at a login where auth/aws/config/client was never written: run vault "
                    "write -f auth/aws/config/client"
                ),
            ),
            (
                400,
                "something new",
                (
                    "check vault_auth_role (not set, so Vault takes the name of the IAM user or role); the login "
                    f"is signed with {WHERE}"
                ),
            ),
        ],
    )
    def test_advice_fits_what_vault_said(
        self, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, status: int, said: str, remedy: str
    ) -> None:
        """Texts of the real plugin, and one that nobody knows."""
        message = self.refusal(scripted, monkeypatch, reply(status, {"errors": [said]}))

        assert message == f"{scripted.address}/v1/auth/aws/login: login refused: {said}; {remedy}"

    def test_what_sts_repeats_is_blotted_out(self, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """STS repeats what it was sent where a signature is wrong, and Vault repeats STS: no proof is shown."""

        def repeat(connection: Any, request: Request) -> None:
            headers = decoded(request.json)[2]
            said = f"error code 403 from STS: {headers['X-Amz-Security-Token']} {headers['Authorization']}"
            connection.sendall(reply(400, {"errors": [said]}))

        message = self.refusal(scripted, monkeypatch, repeat)

        assert "error code 403 from STS: *** ***; the login is signed with" in message

    @staticmethod
    def refusal(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, answer: Any, **keys: str) -> str:
        """Log in with the keys of the environment and return what is said of the refusal."""
        export(monkeypatch, EXAMPLE)
        scripted.on("POST", LOGIN, answer)
        with pytest.raises(AuthenticationError) as caught:
            log_in(scripted.address, KEYS | keys, os.environ)
        return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"vault_aws_iam_region": "Frankfurt!"},
            (
                "vault_aws_iam_region: 'Frankfurt!' is not a region; write auto, or a name like eu-central-1 (from "
                "vault_aws_iam_region in [profile webapp])"
            ),
        ),
        (
            {"vault_aws_iam_sts_endpoint": "unix:///x"},
            (
                "vault_aws_iam_sts_endpoint: the address of an STS is written "
                "https://sts.eu-central-1.amazonaws.com (from vault_aws_iam_sts_endpoint in [profile webapp])"
            ),
        ),
        (
            {"vault_aws_iam_server_id": "a\r\nb"},
            (
                "vault_aws_iam_server_id: not the value of a header: empty, or with line breaks, double spaces "
                "or non-ASCII characters (from vault_aws_iam_server_id in [profile webapp])"
            ),
        ),
    ],
)
def test_malformed_settings(keys: dict[str, str], message: str) -> None:
    """What can be no region, no address and no header is told before anything else."""
    with pytest.raises(ConfigurationError) as caught:
        auth.configure({}, {}, Profile("webapp", KEYS | keys))

    assert str(caught.value) == message


def test_command_prints_credentials(
    scripted: ScriptedServer, exchanges: dict[str, Any], run: Run, cloud: aws.LocalAWS, files: pathlib.Path
) -> None:
    """``get`` signs with the source profile, though its caller's profile is exported, and is silent on success."""
    arn, keys = new_user(cloud)
    (files / "credentials").write_text(section("base", keys))
    (files / "config").write_text(
        f"[profile webapp]\ncredential_process = {OURS} webapp\nvault_addr = {scripted.address}\n"
        "vault_auth_method = aws-iam\nvault_aws_iam_profile = base\nvault_aws_role = webapp\n"
    )
    scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
    scripted.on("GET", READ, replay(exchanges["creds_assumed_role"]))

    assert document(run(*OURS.split(), "webapp", AWS_PROFILE="webapp"))["Version"] == 1
    assert caller(cloud, scripted.requests[0].json) == arn
