"""``configure`` as a conversation."""

from __future__ import annotations

import json
import pathlib
import termios
import time
import uuid

import pytest

from vault_credential_process.cli.configure import discovery
from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.sources import SERVICE
from vault_credential_process.testing.scripted import ScriptedServer, reply, silence

from ..conftest import Run, Tenant
from ..desk import PASSWORD, with_users
from ..secret_store import plant
from ..test_command import document
from ..typist import PATIENCE
from .newcomer import LIST, SOMEBODYS, flags, listed, newcomer, refused, tokens, told


class TestQuestions:
    """At a terminal."""

    @pytest.mark.system
    def test_new_user(
        self, run: Run, aws_program: str, teams: Tenant, config: pathlib.Path, cloud: aws.LocalAWS
    ) -> None:
        """Who knows nothing of all this answers a few questions, chooses by numbers, and has a profile that works."""
        with newcomer(VAULT_ADDR="http://127.0.0.1:1") as typist:
            typist.does(Name_of_the_profile="a profile")
            typist.sees("cannot be the name of a profile here")
            typist.does(Name_of_the_profile="webapp", Address_of_Vault="")
            typist.sees("connection refused")
            typist.does(Address_of_Vault=teams.laboratory.server.address, Auth_method="17")
            typist.sees("write a number from 1 to 16, or a name of the list")
            typist.does(Auth_method="1", Mount_point="", Role_ID=teams.approle["role_id"], The_Secret_ID="1")
            typist.does(File=teams.approle["secret_id_file"], Mount_of="")
            typist.sees("Roles:")
            typist.sees("Role: ")
            listed = typist.shown.rpartition("Roles:")[2].splitlines()
            (number,) = (line.split()[0] for line in listed if line.endswith(f"  {teams.role}-b"))
            typist.types(number)
            typist.does(AWS_region=aws.REGION)
            typist.sees(f"+vault_aws_role = {teams.role}-b")
            assert not config.exists()
            typist.does(Write_this="y")
            assert "next: aws --profile webapp s3 ls\n" in told(typist.ends())
        done = run(aws_program, "--profile", "webapp", "s3", "ls", AWS_ENDPOINT_URL=cloud.endpoint)
        assert aws.BUCKET in told(done)

    @pytest.mark.parametrize("end", ["no", "Ctrl-C", "Ctrl-D"])
    def test_nothing_is_left_behind(self, tenant: Tenant, config: pathlib.Path, end: str) -> None:
        """Who says no, or goes away, has no file, and no token of the login that was tried."""
        before = tokens(tenant.laboratory)
        with newcomer("--profile=webapp", *flags(tenant)) as typist:
            typist.sees("Write this? (y/n) [y]: ")
            if end == "no":
                typist.types("n")
            else:
                typist.presses(termios.VINTR if end == "Ctrl-C" else termios.VEOF)
            done = typist.ends()

        assert done.returncode == {"no": 0, "Ctrl-C": 130, "Ctrl-D": 2}[end], done.stderr
        assert not config.parent.exists()
        assert tokens(tenant.laboratory) == before

    def test_goes_although_vault_is_silent(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """Who goes away does not wait for a Vault that does not answer any more as long as a login would."""
        scripted.on("POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 60}}))
        scripted.on("LIST", "aws/roles", reply(403, {"errors": ["permission denied"]}))
        scripted.on("POST", "auth/token/revoke-self", silence(PATIENCE))
        words = (f"--vault-addr={scripted.address}", "--role-id=x", "--auth=approle", "--role=webapp", "--region=")
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False}))
        with newcomer("--profile=webapp", *words) as typist:
            typist.does(The_Secret_ID="6")
            typist.sees("Write this?")
            typist.presses(termios.VINTR)
            began = time.monotonic()
            assert typist.ends().returncode == 130

        assert time.monotonic() - began < discovery.FAREWELL + 10

    def test_wrong_secret_is_asked_for_again(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        """A refused login is shown, and the questions of the login come again, with what was answered."""
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong\n")
        wrong.chmod(0o600)
        with newcomer("--profile=webapp", *flags(tenant, role_id=None, secret_id_file=None)) as typist:
            typist.does(Auth_method="approle", Mount_point="", Role_ID=tenant.approle["role_id"], The_Secret_ID="file")
            typist.does(File=str(wrong))
            typist.sees("login refused: invalid role or secret ID")
            typist.does(Answer_the_questions="y", Auth_method="", Mount_point="", Role_ID="", The_Secret_ID="1")
            typist.does(File=tenant.approle["secret_id_file"], Write_this="y")
            told(typist.ends())

        assert f"vault_role_id = {tenant.approle['role_id']}\n" in config.read_text()

    @pytest.mark.parametrize("is_written", [True, False])
    def test_typed_secret_goes_to_the_keyring(
        self,
        command: Run,
        tenant: Tenant,
        config: pathlib.Path,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        is_written: bool,
    ) -> None:
        """A Secret ID that is typed is neither shown nor written to the file; unwritten, it is forgotten again."""
        store = plant(tmp_path, monkeypatch)
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="")
            typist.answers("Secret to keep as webapp-secret-id: ", tenant.approle["secret_id"])
            typist.does(Write_this="y" if is_written else "n")
            said = told(typist.ends()) + typist.shown

        assert tenant.approle["secret_id"] not in said
        if not is_written:
            assert store.read_text() == "{}"
            return
        assert tenant.approle["secret_id"] not in config.read_text()
        assert "vault_secret_id_keyring = webapp-secret-id\n" in config.read_text()
        document(command("get", "--profile=webapp"))

    def test_entry_that_was_there_is_put_back(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who replaces an entry of the keyring, mistypes the secret, and gives up, has the entry as it was."""
        store = plant(tmp_path, monkeypatch)
        store.write_text(json.dumps({f"{SERVICE}/mine": "of another profile"}))
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="mine")
            typist.answers("The keyring holds mine already: replace it? (y/n) [n]: ", "y")
            typist.answers("Secret to keep as mine: ", "wrong")
            typist.sees("login refused: invalid role or secret ID")
            typist.does(Answer_the_questions="y", The_Secret_ID="4", Name_of_the_entry="mine")
            typist.answers("Secret to keep as mine: ", tenant.approle["secret_id"])
            typist.does(Write_this="n")
            told(typist.ends())

        assert json.loads(store.read_text()) == {f"{SERVICE}/mine": "of another profile"}

    def test_written_profile_keeps_its_secret(
        self, tenant: Tenant, config: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where nobody can be told that the profile was written, the entry that it names is there all the same."""
        store = plant(tmp_path, monkeypatch)
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4", Name_of_the_entry="")
            typist.answers("Secret to keep as webapp-secret-id: ", tenant.approle["secret_id"])
            typist.sees("Write this?")
            process = typist.process
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            typist.types("y")
            assert process.wait(PATIENCE) == 70
            process.stderr.close()

        assert "vault_secret_id_keyring = webapp-secret-id\n" in config.read_text()
        assert tenant.approle["secret_id"] in store.read_text()

    def test_without_a_keyring(self, tenant: Tenant, config: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no keyring can keep what is typed, another way may be chosen; what was answered is not lost."""
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        with newcomer("--profile=webapp", *flags(tenant, secret_id_file=None), "--auth=approle") as typist:
            typist.does(The_Secret_ID="4")
            typist.sees("keyring found no secret store")
            typist.does(The_Secret_ID="1", File=tenant.approle["secret_id_file"], Write_this="y")
            told(typist.ends())

        assert f"vault_secret_id_file = {tenant.approle['secret_id_file']}\n" in config.read_text()

    def test_names_from_a_hostile_server(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """What moves the cursor of a terminal, or fills it, or can be nothing's name, is neither shown nor written."""
        engines = {f"{name}/": {"type": "aws"} for name in ("aws", "\x1b]0;x\x07", "m" * 5000)}
        names = [
            "web\x1b[2Japp",
            "r" * 5000,
            "a\u202eb",
            "b\nvault_addr = http://evil",
            "x #y",
            "../sys",
            "team/",
            "webapp",
        ]
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False}))
        scripted.on(
            "POST", "auth/approle/login", reply(200, {"auth": {"client_token": "hvs.x", "policies": ["\x1b[2J"]}})
        )
        scripted.on("GET", "sys/internal/ui/mounts", reply(200, {"data": {"secret": engines}}))
        scripted.on("LIST", "aws/roles", reply(200, {"data": {"keys": names}}))
        scripted.on("LIST", "aws/static-roles", reply(200, {"data": {"keys": 7}}))
        scripted.on("POST", "auth/token/revoke-self", reply(204))
        with newcomer("--profile=webapp", "--region=", f"--vault-addr={scripted.address}", "--role-id=x") as typist:
            typist.does(The_Secret_ID="6", Mount_of="")
            typist.answers("Role [webapp]: ", "1")
            typist.does(Write_this="y")
            done = typist.ends()

        assert typist.shown.rpartition("Roles:")[2].split("Role [")[0].split() == ["1", "webapp"]
        assert "\x1b" not in typist.shown + told(done)
        assert "vault_aws_role = webapp\n# end" in config.read_text()

    def test_person(self, command: Run, laboratory: Laboratory, tenant: Tenant, config: pathlib.Path) -> None:
        """A user types the password once, and ``get`` goes on with the token."""
        with_users(laboratory)
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role=tenant.role))
        address = laboratory.server.address
        with newcomer("--profile=webapp", f"--vault-addr={address}", f"--role={tenant.role}") as typist:
            typist.does(Auth_method="userpass", Mount_point="", User_name="alice", The_password="")
            typist.answers("Password of alice at ", PASSWORD)
            typist.does(AWS_region="-", Write_this="y")
            said = told(typist.ends())

        assert PASSWORD not in said + typist.shown + config.read_text()
        assert "vault_auth_method = userpass\nvault_username = alice\n" in config.read_text()
        assert "vault-credential-process login" not in said
        document(command("get", "--profile=webapp"))

    def test_person_in_a_script(self, command: Run, config: pathlib.Path, laboratory: Laboratory) -> None:
        """Where a login wants somebody, a script writes the profile untried and says how to go on."""
        said = told(
            command(
                *("configure", "--profile=webapp", f"--vault-addr={laboratory.server.address}", "--auth=userpass"),
                *("--username=alice", "--role=webapp", "--yes"),
            )
        )
        assert "the login was not tried: userpass wants somebody at a terminal\n" in said
        assert "next: vault-credential-process login --profile webapp\nnext: aws --profile webapp s3 ls\n" in said
        assert "the login wants somebody; run configure at a terminal" in refused(
            command("configure", "--profile=webapp", "--read", "--yes"), 3
        )

    def test_profile_of_somebody_else(self, tenant: Tenant, config: pathlib.Path) -> None:
        """Before it changes a profile that is there, it asks."""
        config.parent.mkdir()
        config.write_text(SOMEBODYS)
        for answer in ("n", "y"):
            with newcomer("--profile=webapp", *flags(tenant)) as typist:
                typist.answers("and keep the rest? (y/n) [n]: ", answer)
                if answer == "y":
                    typist.answers("Write this?", "y")
                told(typist.ends())
            assert (config.read_text() == SOMEBODYS) == (answer == "n")

    def test_flags_that_leave_the_method_open(self, tenant: Tenant, config: pathlib.Path) -> None:
        """A user name serves several methods, so it asks which; a role that is not in the list is asked for anew."""
        tenant.laboratory.allow(tenant.role, LIST)
        listed(tenant.laboratory, tenant.role)
        with newcomer(
            *("--profile=webapp", *flags(tenant, role=None, role_id=None, secret_id_file=None), "--username=alice"),
            PYTHONIOENCODING="ascii",
        ) as typist:
            typist.does(Auth_method="approle", Mount_point="", Role_ID=tenant.approle["role_id"], The_Secret_ID="1")
            typist.does(File=tenant.approle["secret_id_file"], Mount_of="", Role__="nothing-here")
            typist.sees("or a name of the list")
            typist.does(Role__=tenant.role, Write_this="y")
            told(typist.ends())

        assert "vault_username" not in config.read_text()

    def test_edit_in_between(self, tenant: Tenant, config: pathlib.Path) -> None:
        """Where the file changes between the difference and the answer, nothing is written over that."""
        with newcomer("--profile=webapp", *flags(tenant)) as typist:
            typist.sees("Write this?")
            config.parent.mkdir()
            config.write_text("[profile other]\n")
            typist.types("y")
            done = typist.ends()

        assert "another program changed it meanwhile; nothing was written: run the command again" in refused(done, 2)
        assert config.read_text() == "[profile other]\n"

    def test_defaults_are_those_of_the_profile(self, command: Run, tenant: Tenant, config: pathlib.Path) -> None:
        """Who presses Enter at every question changes nothing."""
        told(command("configure", "--profile=webapp", *flags(tenant), "--yes"))
        with newcomer("--profile=webapp") as typist:
            typist.does(Address_of_Vault="", Auth_method="", Mount_point="", Role_ID="", The_Secret_ID="", File="")
            typist.does(Mount_of="", Role="", AWS_region="")
            assert "[profile webapp]: nothing to change in " in told(typist.ends())

    @pytest.mark.real_engine
    def test_lists_of_the_real_engine(
        self, command: Run, laboratory: Laboratory, clean_environment: pathlib.Path, config: pathlib.Path
    ) -> None:
        """Of two engines one is chosen, of its roles the static one, which OpenBao's engine does not list."""
        name, server, cloud = f"team-{uuid.uuid4().hex[:6]}", laboratory.server, laboratory.cloud
        mount, root = f"{name}/aws", cloud.client("iam", **cloud.engine_keys)
        root.create_user(UserName=name)
        server.call("POST", f"sys/mounts/{mount}", {"type": "aws"})
        try:
            server.call("POST", f"{mount}/config/root", laboratory.root())
            server.call("POST", f"{mount}/roles/webapp", {"credential_type": "assumed_role", "role_arns": aws.ROLE_ARN})
            server.call("POST", f"{mount}/static-roles/batch", {"username": name, "rotation_period": "1h"})
            lists = "".join(
                f'path "{mount}/{kind}" {{ capabilities = ["list"] }}\n' for kind in ("roles", "static-roles")
            )
            reads = [READ_POLICY.format(mount=mount, endpoint="static-creds", role="batch")]
            reads += [READ_POLICY.format(mount="aws", endpoint="creds", role="webapp")]
            laboratory.allow(name, lists + "".join(reads))
            approle = laboratory.app_role(name, policies=(name,))
            tenant = Tenant(laboratory, name, approle, clean_environment)
            with newcomer("--profile=webapp", *flags(tenant, role=None), "--auth=approle") as typist:
                typist.sees("AWS secrets engines:")
                typist.does(Mount=mount)
                typist.sees("The server has no list of static roles; the name of one can be typed.")
                typist.sees("1  webapp")
                typist.answers("Role [webapp]: ", "webap")
                typist.answers("Is webap a static role? (y/n) [n]: ", "")
                typist.answers("Role [webapp]: ", "batch")
                typist.answers("Is batch a static role? (y/n) [n]: ", "y")
                typist.does(Write_this="y")
                said = told(typist.ends())

            assert f"the token may read {mount}/static-creds/batch" in said
            assert f"vault_aws_role = batch\nvault_aws_mount = {mount}\nvault_aws_endpoint = static-creds\n" in (
                config.read_text()
            )
            assert "SessionToken" not in document(command("get", "--profile=webapp"))
            line = refused(command("configure", "--profile=webapp", "--roles=b*", "--yes"), 2)
            assert f"/v1/{mount}/static-roles: the server has no such list; write the profiles one by one" in line
        finally:
            server.call("DELETE", f"sys/mounts/{mount}")

    def test_mounts_and_static_roles(self, scripted: ScriptedServer, config: pathlib.Path) -> None:
        """AWS mounts that the token sees are a choice, and so are static roles, which set their endpoint."""
        engines = {"aws/": {"type": "aws"}, "kv/": {"type": "kv"}, "team/aws/": {"type": "aws"}}
        scripted.on("GET", "sys/health", reply(200, {"initialized": True, "sealed": False, "enterprise": True}))
        scripted.on("POST", "auth/jwt/login", reply(200, {"auth": {"client_token": "hvs.x", "lease_duration": 60}}))
        scripted.on("GET", "sys/internal/ui/mounts", reply(200, {"data": {"secret": engines}}))
        scripted.on("LIST", "team/aws/roles", reply(200, {"data": {"keys": ["webapp"]}}))
        scripted.on("LIST", "team/aws/static-roles", reply(200, {"data": {"keys": ["batch"]}}))
        scripted.on("POST", "auth/token/revoke-self", reply(204))
        token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.x"
        with newcomer("--profile=webapp", "--region=", VAULT_JWT=token) as typist:
            typist.does(Address_of_Vault=scripted.address, Namespace="admin", Auth_method="", Mount_point="jwt")
            typist.does(Role_to_log_in_with="ci", The_JSON_Web_Token="", Mount="2", Role="2", Write_this="y")
            told(typist.ends())

        text = config.read_text()
        assert "vault_namespace = admin\nvault_auth_method = jwt\nvault_auth_role = ci\n" in text
        assert "vault_aws_role = batch\nvault_aws_mount = team/aws\nvault_aws_endpoint = static-creds\n" in text
        assert token not in text + typist.shown
        assert {r.headers.get("x-vault-namespace") for r in scripted.requests if "roles" in r.path} == {"admin"}
