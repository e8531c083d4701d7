"""The AWS auth method of a real server, set up as the pages tell; AWS is moto with its checks on."""

from __future__ import annotations

import base64
import dataclasses
import http.server
import json
import os
import pathlib
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.demo.server import AUTH_PLUGIN, DIRECTLY

from ..conftest import COMMAND, Run
from ..pages import Page
from .instance import Instance, Notary, notary
from .methods import document, get
from .signers import exported, new_user

__all__ = ["notary"]

pytestmark = pytest.mark.real_engine

READS = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:Get*","ec2:*"],"Resource":"*"}]}'
SERVER_ID = "vault.example.com"
EC2 = "aws-ec2"
"""Where the type ec2 is mounted, beside the type iam at ``aws``."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A server on which both pages were followed, an IAM user that may log in, and an AMI."""

    laboratory: Laboratory
    user: Mapping[str, str]
    image: str
    compute: Any

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask the server as its administrator."""
        return self.laboratory.server.call(method, path, body)


@pytest.fixture(scope="module")
def sts(cloud: aws.LocalAWS) -> Iterator[str]:
    """The address of an STS whose refusals are of the type ``text/xml``, as AWS's are; moto's are not."""

    class Front(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            answer = requests.post(
                cloud.endpoint + self.path, data=content, headers=dict(self.headers), timeout=10, proxies=DIRECTLY
            )
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Keep silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def site(fresh: Laboratory, notary: Notary, sts: str) -> Site:
    """The server, set up as the pages tell: what is added points it to moto and to the certificate of the test."""
    server, cloud = fresh.server, fresh.cloud
    if server.engine.plugin_directory:
        if not os.path.isfile(os.path.join(server.engine.plugin_directory, AUTH_PLUGIN)):
            pytest.skip(f"no {AUTH_PLUGIN} in AWS_ENGINE_PLUGIN_DIR")
        server.register_plugin("auth", AUTH_PLUGIN)
    keys = new_user(cloud, READS)[1]
    compute = cloud.client(
        "ec2", aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"]
    )
    image = compute.describe_images()["Images"][0]["ImageId"]
    arn, user = new_user(cloud)
    client = (
        f"access_key={keys['AWS_ACCESS_KEY_ID']} secret_key={keys['AWS_SECRET_ACCESS_KEY']} max_retries=0 "
        f"sts_region=us-east-1 sts_endpoint={sts} iam_endpoint={cloud.endpoint} endpoint={cloud.endpoint}"
    )
    set_id = f"iam_server_id_header_value={SERVER_ID}"
    bound = f"arn:aws:iam::{aws.ACCOUNT}:role/webapp"
    Page("aws-iam").set_up(server, fresh.directory, {set_id: f"{set_id} {client}", bound: arn})
    Page("aws-ec2").set_up(
        server,
        fresh.directory,
        {
            "vault auth enable aws": f"vault auth enable -path={EC2} aws",
            "write -f auth/aws/config/client": f"write auth/{EC2}/config/client {client}",
            "auth/aws/role": f"auth/{EC2}/role",
            "ami-0abcdef1234567890": image,
        },
    )
    for kind in ("pkcs7", "identity"):
        server.call("POST", f"auth/{EC2}/config/certificate/{kind}", {"aws_public_cert": pem(notary), "type": kind})
    return Site(fresh, user, image, compute)


def pem(notary: Notary) -> str:
    """Return the certificate as the API takes it."""
    return base64.b64encode(notary.pem.encode()).decode()


def refusal(done: Any, code: int) -> str:
    """Return the one line of a call that failed."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


class TestIAM:
    """The type iam."""

    profile = Page("aws-iam").profile()

    def test_profile_of_the_page_logs_in(self, run: Run, site: Site, clean_environment: pathlib.Path) -> None:
        """The page's profile and a user's keys in the environment give AWS credentials."""
        done = get(run, site.laboratory, self.profile, clean_environment, **site.user)

        assert document(done)["AccessKeyId"] != site.user["AWS_ACCESS_KEY_ID"]

    def test_role_with_temporary_credentials(self, run: Run, site: Site, clean_environment: pathlib.Path) -> None:
        """A role logs in with its session token."""
        site.call(
            "POST",
            "auth/aws/role/deploy",
            {"auth_type": "iam", "token_policies": "webapp", "bound_iam_principal_arn": aws.ROLE_ARN},
        )
        issued = exported(site.laboratory.cloud.assume_role(name="it"))
        keys = self.profile | {"vault_auth_role": "deploy"}

        assert document(get(run, site.laboratory, keys, clean_environment, **issued))["Version"] == 1

    def test_source_profile(self, run: Run, site: Site, clean_environment: pathlib.Path) -> None:
        """A named profile signs, though the caller's own profile is exported."""
        credentials = clean_environment / "credentials"
        lines = [f"{name.lower()} = {value}" for name, value in site.user.items()]
        credentials.write_text("\n".join(["[company]", *lines, ""]))
        keys = self.profile | {"vault_aws_iam_profile": "company"}
        environ = {"AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_PROFILE": "webapp"}

        assert document(get(run, site.laboratory, keys, clean_environment, **environ))["Version"] == 1

    @pytest.mark.parametrize(
        ("keys", "environ", "words"),
        [
            (
                {"vault_auth_role": "nope"},
                {},
                "entry for role nope not found; check vault_auth_role (from vault_auth_role in [profile webapp])",
            ),
            (
                {"vault_auth_role": "others"},
                {},
                (
                    'does not belong to the role "others"; check vault_auth_role (from vault_auth_role in [profile '
                    "webapp]): its bound_iam_principal_arn must name this principal"
                ),
            ),
            (
                {"vault_aws_iam_server_id": ""},
                {},
                (
                    'missing header "X-Vault-AWS-IAM-Server-ID"; set vault_aws_iam_server_id (not set) to '
                    "the value that iam_server_id_header_value has in auth/aws/config/client"
                ),
            ),
            (
                {"vault_aws_iam_server_id": "evil"},
                {},
                (
                    f'expected "{SERVER_ID}" but got "evil"; set vault_aws_iam_server_id (from '
                    "vault_aws_iam_server_id in [profile webapp])"
                ),
            ),
            (
                {},
                {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
                "check these credentials, this host's clock",
            ),
            (
                {"vault_auth_mount": "nowhere"},
                {},
                "either no auth method is mounted at nowhere",
            ),
        ],
        ids=["no such role", "role of others", "no server id", "wrong server id", "wrong secret key", "no mount"],
    )
    def test_refused_login_says_what_to_do(
        self,
        run: Run,
        site: Site,
        clean_environment: pathlib.Path,
        keys: dict[str, str],
        environ: dict[str, str],
        words: str,
    ) -> None:
        """Each is one line and the code of authentication, without the secret key."""
        other = new_user(site.laboratory.cloud)[0]
        body = {"auth_type": "iam", "bound_iam_principal_arn": other}
        site.call("POST", "auth/aws/role/others", body)
        done = get(run, site.laboratory, self.profile | keys, clean_environment, **{**site.user, **environ})
        line = refusal(done, 3)

        assert words in line
        assert site.user["AWS_SECRET_ACCESS_KEY"] not in line

    def test_mount_without_a_client_configuration(self, run: Run, site: Site, clean_environment: pathlib.Path) -> None:
        """OpenBao's plugin fails at a mount that was never configured; the line tells the command that helps."""
        if site.laboratory.server.engine.plugin_directory is None:
            pytest.skip("only OpenBao's plugin fails there")
        site.call("POST", "sys/auth/bare", {"type": "aws"})
        keys = self.profile | {"vault_auth_mount": "bare"}
        line = refusal(get(run, site.laboratory, keys, clean_environment, **site.user), 3)

        assert "was never written: run vault write -f auth/bare/config/client" in line


@pytest.fixture
def machine(site: Site, notary: Notary, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """A running instance of the AMI that the page's role is bound to."""
    launched = site.compute.run_instances(ImageId=site.image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    with Instance(notary, instanceId=launched, imageId=site.image) as running:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", running.address)
        yield running
    site.compute.terminate_instances(InstanceIds=[launched])


class TestEC2:
    """The type ec2."""

    @pytest.fixture
    def profile(self, tmp_path: pathlib.Path) -> dict[str, str]:
        """The page's profile, for the mount and the nonce file of the test."""
        file = {"/var/lib/webapp/vault-nonce": str(tmp_path / "vault-nonce")}
        return Page("aws-ec2").profile(file) | {"vault_auth_mount": EC2, "vault_aws_cache": "none"}

    @pytest.mark.parametrize("proof", ["pkcs7", "rsa2048", "identity"])
    def test_profile_of_the_page_logs_in_again_and_again(
        self,
        run: Run,
        site: Site,
        machine: Instance,
        profile: dict[str, str],
        clean_environment: pathlib.Path,
        proof: str,
    ) -> None:
        """The document in each form gives AWS credentials, and so does the second login with the nonce in the file."""
        keys = profile | {"vault_aws_ec2_proof": proof}
        for _ in range(2):
            assert document(get(run, site.laboratory, keys, clean_environment))["Version"] == 1
        asked = [request.path.rpartition("/")[2] for request in machine.requests]

        assert asked == ["token", "document", "signature" if proof == "identity" else proof] * 2

    def test_nonce_in_the_cache(
        self, run: Run, site: Site, machine: Instance, profile: dict[str, str], clean_environment: pathlib.Path
    ) -> None:
        """Without a file the cache keeps the nonce: a login after a revoked token works, one after a lost nonce not."""
        keys = {
            key: value for key, value in profile.items() if key not in ("vault_aws_ec2_nonce_file", "vault_aws_cache")
        }
        name = self.name_of(site, machine)
        document(get(run, site.laboratory, keys, clean_environment))
        config = {"AWS_CONFIG_FILE": str(clean_environment / "config")}
        forgotten = run(*COMMAND.split(), "cache", "clear", "--profile", "webapp", "--revoke", **config)
        assert forgotten.returncode == 0, forgotten.stderr
        document(get(run, site.laboratory, keys, clean_environment))

        run(*COMMAND.split(), "cache", "clear", "--all")
        line = refusal(get(run, site.laboratory, keys, clean_environment), 3)
        assert "login refused: client nonce mismatch; the first login of this instance had another nonce" in line
        assert f"vault delete auth/{EC2}/identity-accesslist/{name}" in line

        site.call("DELETE", f"auth/{EC2}/identity-accesslist/{name}")
        document(get(run, site.laboratory, keys, clean_environment))

    def test_role_that_lets_in_once(
        self, run: Run, site: Site, machine: Instance, profile: dict[str, str], clean_environment: pathlib.Path
    ) -> None:
        """Where reauthentication is off the second login is refused, with the way out."""
        body = {"auth_type": "ec2", "bound_ami_id": site.image, "disallow_reauthentication": True}
        site.call("POST", f"auth/{EC2}/role/once", {**body, "token_policies": "webapp"})
        keys = profile | {"vault_auth_role": "once"}
        document(get(run, site.laboratory, keys, clean_environment))
        line = refusal(get(run, site.laboratory, keys, clean_environment), 3)

        assert "reauthentication is disabled; this instance may log in once only" in line
        assert f"identity-accesslist/{self.name_of(site, machine)}" in line

    @pytest.mark.parametrize(
        ("case", "words"),
        [
            ("stranger", "Vault does not know the key that AWS signs with here"),
            (
                "nope",
                'entry for role "nope" not found; check vault_auth_role (from vault_auth_role in [profile webapp])',
            ),
            ("others", "check vault_auth_role (from vault_auth_role in [profile webapp]) and what it is bound to"),
            ("stopped", "Vault asks EC2 whether this instance runs"),
            ("no mount", "either no auth method is mounted at nowhere"),
        ],
    )
    def test_refused_login_says_what_to_do(
        self,
        run: Run,
        site: Site,
        machine: Instance,
        profile: dict[str, str],
        clean_environment: pathlib.Path,
        case: str,
        words: str,
    ) -> None:
        """A strange signer, a role that is not there or not ours, an instance that does not run, a wrong mount."""
        keys = dict(profile)
        if case == "stranger":
            machine.sign(Notary("stranger"))
        elif case == "stopped":
            site.compute.stop_instances(InstanceIds=[self.name_of(site, machine)])
        elif case == "no mount":
            keys["vault_auth_mount"] = "nowhere"
        else:
            site.call(
                "POST", f"auth/{EC2}/role/others", {"auth_type": "ec2", "bound_ami_id": f"ami-{uuid.uuid4().hex}"}
            )
            keys["vault_auth_role"] = case

        assert words in refusal(get(run, site.laboratory, keys, clean_environment), 3)

    @staticmethod
    def name_of(site: Site, machine: Instance) -> str:
        """Return the id of an instance."""
        name: str = json.loads(machine.document)["instanceId"]
        assert site.compute.describe_instances(InstanceIds=[name])["Reservations"]
        return name
