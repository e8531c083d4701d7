"""The unit of systemd, the sidecar of Kubernetes and the Dockerfile: flags exist, and what they say fits together."""

from __future__ import annotations

import argparse
import configparser
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from vault_credential_process import auth
from vault_credential_process.cli import parser
from vault_credential_process.config import Config
from vault_credential_process.models import options_of
from vault_credential_process.profiles import find_profile

from .auth.tokens import Signer
from .bench import READ, Bench, Clock
from .conftest import ROOT
from .serving import TOKEN_FILE, URI, Serving

EXAMPLES = ROOT / "examples"
UNIT = EXAMPLES / "systemd" / "vault-credential-process.service"
SIDECAR = EXAMPLES / "kubernetes" / "sidecar.yaml"
DOCKERFILE = EXAMPLES / "container" / "Dockerfile"
COMMAND = "/opt/vcp/bin/vault-credential-process"


def parsed(words: list[str]) -> argparse.Namespace:
    """Return what the command makes of a command line.

    :raises ConfigurationError: when it has a flag that there is not.
    """
    return parser.build(words).parse_args(words)


class TestUnit:
    """``examples/systemd``."""

    @pytest.fixture
    def service(self) -> dict[str, list[str]]:
        """The settings of the service, each with its values."""
        text = UNIT.read_text(encoding="utf-8").replace("\\\n", "")
        (section,) = re.findall(r"^\[Service\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        found: dict[str, list[str]] = {}
        for line in section.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
        return found

    def test_command(self, service: dict[str, list[str]]) -> None:
        """Each flag exists; it waits for READY=1, and its reload is the signal that replaces the token."""
        words = shlex.split(service["ExecStart"][0])
        found = parsed(words[1:])

        assert words[0] == COMMAND
        assert found.profile == ["webapp"]
        assert found.authorization_token_file == "${RUNTIME_DIRECTORY}/token"
        assert [found.authorization_token_group] == service["SupplementaryGroups"]
        assert service["Type"] == ["notify"]
        assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        limit = float(service["TimeoutStartSec"][0])
        assert limit > {option.key: option.default for option in options_of(Config)}["vault_aws_timeout"] + 20

    def test_variables(self, service: dict[str, list[str]]) -> None:
        """The Secret ID is the credential that systemd loads; every variable of ours is one."""
        variables = dict(line.partition("=")[::2] for line in service["Environment"])
        known = {name for option in (*options_of(Config), *auth.options()) for name in option.environ}

        assert {name for name in variables if name.startswith("VAULT_")} <= known
        assert variables["VAULT_SECRET_ID_FILE"] == f"%d/{service['LoadCredential'][0].partition(':')[0]}"
        assert variables["XDG_RUNTIME_DIR"] == f"%t/{service['RuntimeDirectory'][0]}"

    def test_what_its_clients_are_told(self, service: dict[str, list[str]]) -> None:
        """The variables that the comment has for a client's unit are those of this endpoint."""
        told = dict(re.findall(r"^# +Environment=(\w+)=(\S+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE))
        found = parsed(shlex.split(service["ExecStart"][0])[1:])

        assert told == {
            URI: f"http://127.0.0.1:{found.port}/webapp",
            TOKEN_FILE: f"/run/{service['RuntimeDirectory'][0]}/token",
        }

    def test_profile_of_the_comment(self, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
        """The profile in the comment resolves, together with the unit's variables."""
        text = UNIT.read_text(encoding="utf-8")
        (block,) = re.findall(r"^#   (\[profile webapp\]\n(?:#   .*\n)+)", text, re.MULTILINE)
        path = tmp_path / "config"
        path.write_text(re.sub(r"^#   ", "", block, flags=re.MULTILINE))
        environ = {"AWS_CONFIG_FILE": str(path), "VAULT_SECRET_ID_FILE": "/run/credentials/x/secret-id"}

        config = auth.configure({}, environ, find_profile({"profile": "webapp"}, environ))

        assert [method.name for method, _ in auth.candidates(config)] == ["approle"]
        assert caplog.records == []

    def test_is_hardened(self, service: dict[str, list[str]]) -> None:
        """It runs as nobody in particular, without rights, without a dump, with files enough."""
        assert [service[name] for name in ("DynamicUser", "NoNewPrivileges", "MemoryDenyWriteExecute")] == [["yes"]] * 3
        assert service["CapabilityBoundingSet"] == [""]
        assert service["ProtectSystem"] == ["strict"]
        assert service["LimitCORE"] == ["0"]
        assert int(service["LimitNOFILE"][0]) >= 4096 + 128

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
    def test_systemd_takes_it(self, tmp_path: pathlib.Path) -> None:
        """There is nothing that systemd has to say about the unit, and little about its exposure."""
        path = tmp_path / UNIT.name
        path.write_text(UNIT.read_text(encoding="utf-8").replace(COMMAND, sys.executable))

        def run(*words: str) -> str:
            done = subprocess.run(
                [str(shutil.which("systemd-analyze")), *words, str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            return done.stdout + done.stderr

        assert [line for line in run("verify").splitlines() if UNIT.name in line] == []
        exposure = re.search(
            r"Overall exposure level for \S+: (\d+\.\d)", run("security", "--offline=true", "--no-pager")
        )
        if exposure:  # older ones cannot tell without a running systemd
            assert float(exposure[1]) < 2.5

    def test_check_of_flags_would_fail(self) -> None:
        """The control: a flag that there is not is an error."""
        with pytest.raises(Exception, match="--no-such-flag"):
            parsed(["serve", "--no-such-flag"])


class TestSidecar:
    """``examples/kubernetes``."""

    @pytest.fixture
    def objects(self) -> dict[str, Any]:
        """The objects of the manifest by their kind."""
        return {found["kind"]: found for found in yaml.safe_load_all(SIDECAR.read_text(encoding="utf-8"))}

    @pytest.fixture
    def pod(self, objects: dict[str, Any]) -> dict[str, Any]:
        """What runs in the pod."""
        found: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
        return found

    def test_names_fit(self, objects: dict[str, Any], pod: dict[str, Any]) -> None:
        """Labels, volumes, mounts, the service account and the config map name each other as they are called."""
        deployment = objects["Deployment"]["spec"]
        assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
        assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {m["name"] for c in (*pod["initContainers"], *pod["containers"]) for m in c["volumeMounts"]}
        assert mounted == set(volumes)
        assert volumes["aws-config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]

    def test_sidecar(self, pod: dict[str, Any]) -> None:
        """It is a native sidecar with probes whose flags exist, and neither root nor writable."""
        (sidecar,) = pod["initContainers"]
        found = parsed(sidecar["args"])

        assert sidecar["restartPolicy"] == "Always"
        for probe in ("startupProbe", "readinessProbe"):
            words = sidecar[probe]["exec"]["command"]
            checked = parsed(words[1:])
            assert words[0] == COMMAND
            assert (checked.check, checked.port) == (True, found.port)
            assert sidecar[probe]["timeoutSeconds"] > 3
        patience = sidecar["startupProbe"]["failureThreshold"] * sidecar["startupProbe"]["periodSeconds"]
        assert patience > {option.key: option.default for option in options_of(Config)}["vault_aws_timeout"] + 20
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True
        assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"]}

    def test_program_finds_it(self, pod: dict[str, Any]) -> None:
        """The program has the variables of the sidecar; the token lies in memory, and the sidecar alone writes it."""
        (sidecar,), (program,) = pod["initContainers"], pod["containers"]
        found = parsed(sidecar["args"])
        environ = {variable["name"]: variable["value"] for variable in program["env"]}
        mount = next(m for m in program["volumeMounts"] if m["name"] == "credentials")
        theirs = next(m for m in sidecar["volumeMounts"] if m["name"] == "credentials")
        volume = next(v for v in pod["volumes"] if v["name"] == "credentials")

        assert environ[URI] == f"http://127.0.0.1:{found.port}/{found.profile[0]}"
        assert environ[TOKEN_FILE] == found.authorization_token_file
        assert environ[TOKEN_FILE].startswith(f"{mount['mountPath']}/")
        assert (mount["mountPath"], mount["readOnly"]) == (theirs["mountPath"], True)
        assert volume["emptyDir"]["medium"] == "Memory"
        assert [m["name"] for m in program["volumeMounts"]] == ["credentials"]

    def test_profile(
        self, objects: dict[str, Any], pod: dict[str, Any], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The profile resolves, and reads its token where the pod mounts it, for the audience that Vault wants."""
        path = tmp_path / "config"
        path.write_text(objects["ConfigMap"]["data"]["config"])
        (sidecar,) = pod["initContainers"]
        (place,) = (variable["value"] for variable in sidecar["env"] if variable["name"] == "AWS_CONFIG_FILE")
        mounts = {m["name"]: m["mountPath"] for m in sidecar["volumeMounts"]}

        config = auth.configure({}, {}, find_profile({"profile": "webapp"}, {"AWS_CONFIG_FILE": str(path)}))

        assert place == f"{mounts['aws-config']}/{next(iter(objects['ConfigMap']['data']))}"
        assert [method.name for method, _ in auth.candidates(config)] == ["kubernetes"]
        assert config.settings["vault_kubernetes_token_file"].value == f"{mounts['vault']}/token"
        assert caplog.records == []

    def test_it_serves(
        self, objects: dict[str, Any], pod: dict[str, Any], tmp_path: pathlib.Path, scripted: Any,
        exchanges: dict[str, Any]
    ) -> None:  # fmt: skip
        """The very arguments and profile, with this machine's paths and port, serve what the program asks for."""
        bench = Bench(scripted, exchanges, Clock())
        scripted.on_login(exchanges["approle_login"], mount="kubernetes")
        scripted.on("GET", READ, bench.lease(3600))
        volume = tmp_path / "volume"
        volume.mkdir()
        volume.chmod(0o777)
        (tmp_path / "token").write_text(Signer().sign(aud="vault", exp=4e9))
        text = objects["ConfigMap"]["data"]["config"].replace("https://vault.example.com:8200", scripted.address)
        config = tmp_path / "config"
        config.write_text(text.replace("/var/run/secrets/vault", str(tmp_path)))
        words = [word.replace("/run/credentials", str(volume)) for word in pod["initContainers"][0]["args"][1:]]
        words[words.index("--port=9911")] = "--port=0"
        with Serving(*words, AWS_CONFIG_FILE=str(config)) as serving:
            answer = serving.ask("/webapp")

        assert serving.exports(TOKEN_FILE) == [f"{volume}/endpoint/token"]
        assert (answer.status, answer.json["AccessKeyId"]) == (200, "ASIAIOSFODNN7EXAMPLE")
        assert os.stat(volume / "endpoint").st_mode & 0o777 == 0o700


class TestDockerfile:
    """``examples/container``."""

    @pytest.fixture
    def steps(self) -> list[tuple[str, str]]:
        """The instructions, each with what stands behind it."""
        text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", "")
        return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]

    def test_base_is_pinned(self, steps: list[tuple[str, str]]) -> None:
        """Both stages begin with the same small image, of one exact version."""
        bases = [value.split()[0] for name, value in steps if name == "FROM"]

        assert len(bases) == 2
        assert len(set(bases)) == 1
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])

    def test_runs_as_nobody(self, steps: list[tuple[str, str]]) -> None:
        """The last user is none of root's, whom Kubernetes can check: a number; its directory is its own."""
        user = [value for name, value in steps if name == "USER"][-1]

        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
        assert any(f"-o {user.partition(':')[0]} " in value for name, value in steps if name == "RUN")

    def test_commands(self, steps: list[tuple[str, str]]) -> None:
        """What is run by default, and by the health check, has flags that exist, and the same port."""
        words = {name: json.loads(value[value.index("[") :]) for name, value in steps if name in ("ENTRYPOINT", "CMD")}
        (health,) = (value for name, value in steps if name == "HEALTHCHECK")
        check = json.loads(health[health.index("[") :])
        served, checked = parsed(words["CMD"]), parsed(check[1:])

        assert words["ENTRYPOINT"] == [check[0]] == [COMMAND]
        assert checked.check
        assert checked.port == served.port > 1023
        assert os.path.dirname(served.authorization_token_file) in DOCKERFILE.read_text(encoding="utf-8")

    def test_holds_no_secret(self, steps: list[tuple[str, str]]) -> None:
        """No secret is an argument or a variable of the image, and it takes none at build time."""
        assert [name for name, _ in steps if name in ("ARG", "ADD")] == []
        secret = {name for o in (*options_of(Config), *auth.options()) if o.secret for name in o.environ}
        assert [name for name in secret if name in DOCKERFILE.read_text(encoding="utf-8")] == []


def test_profiles_are_read_as_the_sdk_reads_them() -> None:
    """The control: the config map is an AWS config file and nothing else."""
    (text,) = (
        o["data"]["config"] for o in yaml.safe_load_all(SIDECAR.read_text(encoding="utf-8")) if o["kind"] == "ConfigMap"
    )
    found = configparser.RawConfigParser()
    found.read_string(text)

    assert found.sections() == ["profile webapp"]
