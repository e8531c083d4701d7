"""Server and AWS joined: policies, AppRoles, AWS roles, and the AWS config files of programs that know neither."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import requests

from vault_credential_process.demo import aws
from vault_credential_process.demo.server import VaultServer

READ_POLICY = 'path "{mount}/{endpoint}/{role}" {{ capabilities = ["read"] }}\n'


class Laboratory:
    """One server whose AWS engine hands out credentials of one :class:`~.aws.LocalAWS`."""

    def __init__(self, server: VaultServer, cloud: aws.LocalAWS, directory: pathlib.Path) -> None:
        """Mount and configure the engine and AppRole; files go to ``directory``."""
        self.server = server
        self.cloud = cloud
        self.directory = directory
        server.call("POST", "sys/auth/approle", {"type": "approle"})
        self.mount()

    def mount(self) -> None:
        """Mount the engine, and tell the real one its keys."""
        self.server.mount_aws()
        if self.server.engine.real:
            self.server.call("POST", "aws/config/root", self.root())

    def root(self) -> dict[str, str]:
        """Return the settings of the real engine: its keys, and where AWS is."""
        return {
            "access_key": self.cloud.engine_keys["aws_access_key_id"],
            "secret_key": self.cloud.engine_keys["aws_secret_access_key"],
            "region": aws.REGION,
            "iam_endpoint": self.cloud.endpoint,
            "sts_endpoint": self.cloud.endpoint,
        }

    def assumed_role(self, role: str, *, ttl: int = 900) -> None:
        """Make a role whose credentials come from STS and live for ``ttl`` seconds, 900 at least on the real engine."""
        if self.server.engine.real:
            self.server.call(
                "POST",
                f"aws/roles/{role}",
                {"credential_type": "assumed_role", "role_arns": aws.ROLE_ARN, "default_sts_ttl": ttl},
            )
        else:
            self.write_sts(role, ttl=ttl)

    def write_sts(self, role: str, *, ttl: int, endpoint: str = "creds", mount: str = "aws") -> str:
        """Write fresh STS credentials into the stand-in, as the engine would answer them; return their key id."""
        issued = self.cloud.assume_role(max(ttl, 900))
        self.write(
            role,
            {
                "access_key": issued["AccessKeyId"],
                "secret_key": issued["SecretAccessKey"],
                "security_token": issued["SessionToken"],
                "arn": f"arn:aws:sts::{aws.ACCOUNT}:assumed-role/{aws.ROLE}/demo",
                "ttl": ttl,
            },
            endpoint=endpoint,
            mount=mount,
        )
        return issued["AccessKeyId"]

    def write(self, role: str, data: Mapping[str, Any], *, endpoint: str = "creds", mount: str = "aws") -> None:
        """Write an entry of the stand-in."""
        self.server.call("POST", f"{mount}/{endpoint}/{role}", dict(data))

    def iam_user(self, role: str) -> None:
        """Make a role of the real engine that creates an IAM user for each lease."""
        self.server.call("POST", f"aws/roles/{role}", {"credential_type": "iam_user", "policy_document": aws.POLICY})

    def allow(self, policy: str, hcl: str) -> None:
        """Write a policy."""
        self.server.call("PUT", f"sys/policies/acl/{policy}", {"policy": hcl})

    def app_role(self, name: str, *, policies: tuple[str, ...], **settings: Any) -> dict[str, str]:
        """Make an AppRole; return ``role_id``, ``secret_id`` and ``secret_id_file``, a file of mode 0600."""
        self.server.call("POST", f"auth/approle/role/{name}", {"token_policies": list(policies), **settings})
        role_id = self.server.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        secret_id = self.server.call("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]
        path = self.directory / f"{name}.secret-id"
        write_private(path, secret_id + "\n")
        return {"role_id": role_id, "secret_id": secret_id, "secret_id_file": str(path)}

    def profile(self, name: str, settings: Mapping[str, str], *, command: str | None = None) -> str:
        """Return the text of a profile that sends AWS requests to the laboratory."""
        lines = [f"[profile {name}]", f"region = {aws.REGION}", f"endpoint_url = {self.cloud.endpoint}"]
        if command:
            lines.append(f"credential_process = {command} get --profile {name}")
        lines += [f"{key} = {value}" for key, value in settings.items()]
        return "\n".join(lines) + "\n"


def write_private(path: pathlib.Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


class Renewer:
    """Plays the part of the engine for the stand-in: writes fresh STS credentials before the old ones end."""

    def __init__(self, laboratory: Laboratory, role: str, *, ttl: int) -> None:
        """Write the first credentials; each later pair comes after half of ``ttl``."""
        self._laboratory, self._role, self._ttl = laboratory, role, ttl
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewer", daemon=True)
        laboratory.write_sts(role, ttl=ttl)

    def __enter__(self) -> Renewer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(self._ttl / 2):
            # A server that has ended or is sealed is noticed by whoever asks it; this goes on when it is back.
            with contextlib.suppress(requests.RequestException):
                self._laboratory.write_sts(self._role, ttl=self._ttl)
