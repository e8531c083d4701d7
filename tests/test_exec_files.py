"""The AWS files of a program under ``exec``: our credentials whatever the user's hold, and all other settings."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import stat
import sys
from collections.abc import Iterator

import botocore.configloader
import botocore.exceptions
import botocore.session
import pytest

from vault_credential_process import auth
from vault_credential_process.cli.exec import child_environment
from vault_credential_process.cli.exec.child_environment import ENDPOINT, TOKEN
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.keeper import Keeper
from vault_credential_process.profiles import find_profile

from .conftest import COMMAND, Run, Tenant, new_tenant
from .serving import served
from .test_command import config_of

KEYS = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = EXAMPLE\n"
PROCESS = "credential_process = sh -c 'touch trace; exit 1'\n"
SSO = (
    "sso_session = corp\nsso_account_id = 123456789012\nsso_role_name = admin\n"
    "[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://example.com/start\n"
)
ROLE = f"role_arn = {aws.CHAINED_ROLE_ARN}\nsource_profile = elsewhere\n[profile elsewhere]\n{KEYS}"
WEB_IDENTITY = f"role_arn = {aws.CHAINED_ROLE_ARN}\nweb_identity_token_file = /nowhere\n"
WHO = (
    "import boto3, os; credentials = boto3.Session().get_credentials(); "
    "boto3.client('s3').list_buckets(); print(credentials.method, credentials.access_key)"
)


def key_of(tenant: Tenant, command: Run, config: str) -> str:
    """Return the access key that the host's cache holds for the profile."""
    done = command("get", "--profile=webapp", AWS_CONFIG_FILE=config)
    return str(json.loads(done.stdout)["AccessKeyId"])


@pytest.fixture(scope="module")
def endpoint(laboratory: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an endpoint with the token ``token``, for all tests that look at the files alone."""
    made = new_tenant(laboratory, tmp_path_factory.mktemp("endpoint"))
    laboratory.assumed_role(made.role)
    config = auth.configure(made.settings, {}, None)
    with served(Keeper(Fetcher(config)), "token") as server:
        yield server.address + "/"


@dataclasses.dataclass
class Child:
    """Makes this process's environment that of a program which runs as ``webapp``."""

    home: pathlib.Path
    laboratory: Laboratory
    endpoint: str
    patch: pytest.MonkeyPatch

    def __call__(self, in_config: str, in_credentials: str = "", **further: str) -> botocore.session.Session:
        """Write the user's files, the config file beginning in ``[profile webapp]``; return a session of the program.

        ``further`` are the variables that bring the credentials, where they are not those of the endpoint.
        """
        ours = self.laboratory.profile("webapp", {"vault_aws_role": "webapp"}, command=COMMAND)
        user = {"AWS_CONFIG_FILE": self.home / "config", "AWS_SHARED_CREDENTIALS_FILE": self.home / "credentials"}
        user["AWS_CONFIG_FILE"].write_text(ours.replace("credential_process", "# ") + in_config)
        user["AWS_SHARED_CREDENTIALS_FILE"].write_text(in_credentials)
        environ = {**os.environ, **{name: str(path) for name, path in user.items()}}
        config = auth.configure({"profile": "webapp"}, environ, find_profile({"profile": "webapp"}, environ))
        directory = self.home / "private"
        directory.mkdir(exist_ok=True)
        further = further or {ENDPOINT: self.endpoint, TOKEN: "token"}
        made = child_environment.environment(config, environ, str(directory), further, keep_vault=False)
        for name in set(os.environ) - set(made):
            self.patch.delenv(name)
        for name, value in made.items():
            self.patch.setenv(name, value)
        return botocore.session.Session()


@pytest.fixture
def child(
    clean_environment: pathlib.Path, laboratory: Laboratory, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Child:
    """Return what makes this process's environment that of a program."""
    return Child(clean_environment, laboratory, endpoint, monkeypatch)


class TestOurs:
    """Whatever the files hold, the program has our credentials."""

    def test_default_profile_has_others(self, command: Run, tenant: Tenant, tmp_path: pathlib.Path) -> None:
        """Static keys in ``[default]`` and a process there, which the SDKs ask before a container's endpoint, lose."""
        config = config_of(tenant)
        with open(config, "a", encoding="utf-8") as file:
            file.write(f"[default]\nregion = eu-west-3\n{KEYS}{PROCESS}")

        done = command("exec", "--profile=webapp", "--", sys.executable, "-c", WHO, AWS_CONFIG_FILE=config)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == ["container-role", key_of(tenant, command, config)]
        assert not (tmp_path / "trace").exists()

    @pytest.mark.parametrize(
        ("in_config", "in_credentials"),
        [
            (f"[default]\n{KEYS}", ""),
            (f"[default]\n{PROCESS}", ""),
            (f"[default]\n{SSO}", ""),
            (f"[default]\n{ROLE}", ""),
            (f"[default]\n{WEB_IDENTITY}", ""),
            ("[default]\nlogin_session = arn:aws:iam::123456789012:user/somebody\n", ""),
            (f"[DEFAULT]\n{KEYS}", ""),
            ("", f"[default]\n{KEYS}"),
            ("", f"[webapp]\n{KEYS}"),
            ("", f"[default]\n{PROCESS}[webapp]\n{ROLE}"),
            (f"[default]\n{KEYS}{PROCESS}{SSO}", f"[default]\n{KEYS}[webapp]\n{KEYS}"),
        ],
    )
    def test_files(self, in_config: str, in_credentials: str, child: Child) -> None:
        """None of the ways in which a file brings credentials goes before ours, whatever name a program gives."""
        child(in_config, in_credentials)

        found = [botocore.session.Session(profile=name).get_credentials() for name in (None, "webapp", "default")]

        assert [credentials.method for credentials in found] == ["container-role"] * 3

    @pytest.mark.parametrize("keys", [SSO, ROLE, WEB_IDENTITY, f"{PROCESS}{KEYS}"])
    def test_profile_in_use_has_others_too(self, keys: str, child: Child) -> None:
        """What the profile in use says of credentials besides its own settings loses as well."""
        assert child(keys, "").get_credentials().method == "container-role"

    def test_files_of_old(self, child: Child, clean_environment: pathlib.Path) -> None:
        """Keys for boto 2, which botocore takes before an endpoint's, lose; a file of it without keys is kept."""
        (clean_environment / ".boto").write_text("[GSUtil]\ndefault_project_id = p\n")
        assert child("", "").get_credentials().method == "container-role"
        assert "BOTO_CONFIG" not in os.environ

        (clean_environment / ".boto").write_text(f"[Credentials]\n{KEYS}")
        assert child("", "").get_credentials().method == "container-role"

    def test_users_own_files_would_win(self, child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
        """The control: with the user's own config file, all else being equal, the keys of ``[default]`` win."""
        child(f"[default]\n{KEYS}")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(child.home / "config"))

        assert botocore.session.Session().get_credentials().access_key == "AKIAIOSFODNN7EXAMPLE"


class TestFiles:
    """The AWS files of a program: all that the user's say but credentials."""

    SETTINGS = (
        "output = yaml\ns3 =\n  addressing_style = path\n  max_concurrent_requests = 3\nservices = local\n"
        "[services local]\ndynamodb =\n  endpoint_url = http://127.0.0.1:1\n"
        "[sso-session corp]\nsso_region = us-east-1\n"
        "[plugins]\ncli_legacy_plugin_path = /opt/plugins\n"
        "[profile other]\nregion = eu-west-3\ncredential_process = /bin/true\nvault_aws_role = other\n"
        '[profile "with spaces"]\nregion = eu-west-1\n'
    )

    def test_settings_are_kept(self, child: Child) -> None:
        """Every setting of the profile and of the rest of the file is there, nested ones too; no ``vault_*`` key is."""
        session = child(self.SETTINGS)
        before = botocore.configloader.load_config(str(child.home / "config"))
        after = botocore.configloader.load_config(os.environ["AWS_CONFIG_FILE"])

        removed = {"vault_aws_role", "credential_process"}
        kept = {key: value for key, value in before["profiles"]["webapp"].items() if key not in removed}
        assert kept["s3"] == {"addressing_style": "path", "max_concurrent_requests": "3"}
        assert after["profiles"] == {**before["profiles"], "webapp": kept, "default": kept}
        assert {key: after[key] for key in before if key != "profiles"} == {
            key: before[key] for key in before if key != "profiles"
        }
        assert session.get_config_variable("region") == aws.REGION
        assert session.create_client("dynamodb").meta.endpoint_url == "http://127.0.0.1:1"

    def test_settings_in_the_credentials_file_are_kept(self, child: Child) -> None:
        """A profile that has its settings in the credentials file has them."""
        child("", "[webapp]\nregion = eu-west-3\n[other]\nregion = eu-west-1\n[it's]\nregion = eu-north-1\n")
        found = botocore.configloader.load_config(os.environ["AWS_CONFIG_FILE"])["profiles"]

        assert {name: keys["region"] for name, keys in found.items()} == {
            "webapp": "eu-west-3", "default": "eu-west-3", "other": "eu-west-1", "it's": "eu-north-1",
        }  # fmt: skip

    def test_no_key_is_written(self, child: Child) -> None:
        """No static key of any profile stands in a file of ours."""
        child(
            f"{KEYS}output = json\n  AWS_Secret_Access_Key: EXAMPLE\n[DEFAULT]\n{KEYS}aws_session_token = EXAMPLE\n"
            f"[preview]\na = b\n[profile other]\n{KEYS}"
            "[profile indented]\ns3 =\n  a = b\n  aws_session_token=EXAMPLE\n",
            f"[default]\n{KEYS}[more]\n{KEYS}",
        )

        for path in (child.home / "private").iterdir():
            assert "EXAMPLE" not in path.read_text()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        ("in_config", "in_credentials"),
        [
            (f"[profile other]\n{KEYS}", ""),
            ("[profile other]\nregion = eu-west-3\n", f"[other]\n{KEYS}"),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n[profile base]\n{KEYS}", ""),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = base\n", f"[base]\n{KEYS}"),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = other\n{KEYS}", ""),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\nsource_profile = default\n[default]\n{PROCESS}", ""),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\ncredential_source = Environment\n", ""),
            (f"[profile other]\nrole_arn = {aws.ROLE_ARN}\ncredential_source = EcsContainer\n", ""),
        ],
    )
    def test_profile_that_would_lose_its_keys_is_not_there(
        self, in_config: str, in_credentials: str, child: Child
    ) -> None:
        """Who names a profile that has static keys is told that there is none, instead of being given ours."""
        child(in_config, in_credentials)

        with pytest.raises(botocore.exceptions.ProfileNotFound, match="other"):
            botocore.session.Session(profile="other").get_credentials()

    def test_other_profiles_go_on(self, child: Child) -> None:
        """A profile with a process of its own, and a role that it assumes from there, are as before."""
        process = f'{sys.executable} -c "print(\'{{\\"Version\\": 1, \\"AccessKeyId\\": \\"AKIAIOSFODNN7EXAMPLE\\"'
        process += ', \\"SecretAccessKey\\": \\"EXAMPLE\\"}\')"'
        child(f"[profile other]\ncredential_process = {process}\n")
        credentials = botocore.session.Session(profile="other").get_credentials()

        assert (credentials.method, credentials.access_key) == ("custom-process", "AKIAIOSFODNN7EXAMPLE")

    @pytest.mark.parametrize("name", ["chained", "twice"])
    def test_role_from_the_profile_in_use(self, name: str, child: Child) -> None:
        """A profile that assumes a role from the one in use does so from ours, directly or by another one."""
        role = (
            f"region = us-east-1\nrole_arn = {aws.CHAINED_ROLE_ARN}\nendpoint_url = {child.laboratory.cloud.endpoint}\n"
        )
        child(f"[profile chained]\n{role}source_profile = webapp\n[profile twice]\n{role}source_profile = chained\n")
        session = botocore.session.Session(profile=name)

        assert session.get_credentials().method == "assume-role"
        assert f"assumed-role/{aws.CHAINED_ROLE}/" in session.create_client("sts").get_caller_identity()["Arn"]

    def test_file_that_cannot_be_read(self, child: Child) -> None:
        """A credentials file that botocore could not read is none: the program is better off with ours."""
        assert child("", "no header\n").get_credentials().method == "container-role"

    def test_role_from_the_keys(self, child: Child) -> None:
        """With ``--env`` a role is assumed from the keys; who names the profile itself is led to Vault anew."""
        pair = child.laboratory.cloud.assume_role()
        keys = {"AWS_ACCESS_KEY_ID": pair["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": pair["SecretAccessKey"]}
        role = f"role_arn = {aws.CHAINED_ROLE_ARN}\nendpoint_url = {child.laboratory.cloud.endpoint}\n"
        child(
            f"{KEYS}[profile chained]\nsource_profile = webapp\n{role}", AWS_SESSION_TOKEN=pair["SessionToken"], **keys
        )
        client = botocore.session.Session(profile="chained").create_client("sts", region_name=aws.REGION)

        assert f"assumed-role/{aws.CHAINED_ROLE}/" in client.get_caller_identity()["Arn"]
        found = botocore.configloader.load_config(os.environ["AWS_CONFIG_FILE"])["profiles"]["webapp"]
        assert found["vault_aws_role"] == "webapp"
        assert "aws_access_key_id" not in found
