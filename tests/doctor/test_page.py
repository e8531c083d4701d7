"""``docs/doctor.md``: the samples are what the command prints, in shape, and the tables are what it has."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from vault_credential_process import doctor as package
from vault_credential_process.cli.doctor import JSON_VERSION, document
from vault_credential_process.doctor.case import Case
from vault_credential_process.testing.scripted import ScriptedServer, reply

from ..certificates import DAY, Authority
from ..conftest import ROOT, Run
from ..talk import LOGIN, LOOK_UP, LOOKED_UP, READ
from .ward import ALLOWED, CAPABILITIES, QUICK, STATE, Ward, ahead, command_line

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
LOGGED_IN = {"client_token": "hvs.t", "lease_duration": 3600, "renewable": True, "policies": ["default", "webapp"]}
_SHAPES = (
    (r"https?://[\w.:/-]+[\w/]", "<url>"),
    (r"arn:aws:sts::.*?(?=,|$)", "<arn>"),
    (r"\d{4}-\d\d-\d\dT[\d:]+Z", "<time>"),
    (r"(?<![\w<])/[\w./…-]+", "<path>"),
    (r"(?:CPython|PyPy) [\w.]+ on [\w.-]+", "<python>"),
    (r"\d[\w.]*", "<n>"),
    (r"certificate of [^,]+, signed by [^,]+", "certificate of <name>, signed by <name>"),
)
"""What differs from host to host."""


def shape(text: str) -> list[str]:
    """Return the lines of an output with what differs from host to host left out."""
    for pattern, instead in _SHAPES:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return [line for line in text.replace("python -m vault_credential_process", "").splitlines() if line]


@pytest.fixture
def examined_once(ward: Ward, run: Run, tmp_path: pathlib.Path) -> tuple[str, str]:
    """The output of an examination where all is well, and where Vault does not know the Secret ID."""
    authority = Authority(tmp_path)
    cloud = ward.tenant.laboratory.cloud
    issued = cloud.assume_role(3600, "webapp")
    pair = {"access_key": issued["AccessKeyId"], "secret_key": issued["SecretAccessKey"]}
    data = {**pair, "security_token": issued["SessionToken"], "ttl": 3600}
    program = "vault-credential-process"
    line = ward.program(f"opt/vcp/bin/{program}", QUICK)
    ward.program("bin/aws", "#!/bin/sh\necho 'aws-cli/2.25.1 Python/3.12.9 Linux/6.1 botocore/2.25.1'\n")
    with ScriptedServer(context=authority.issue("127.0.0.1", life=43 * DAY).listener()) as vault:
        vault.on("GET", "sys/health", reply(200, STATE, ahead(0)))
        vault.on("POST", LOGIN, reply(200, {"auth": LOGGED_IN}))
        vault.on("GET", LOOK_UP, LOOKED_UP)
        vault.on("POST", CAPABILITIES, ALLOWED)
        vault.on("GET", READ, reply(200, {"lease_duration": 3600, "data": data}))
        keys = {"vault_addr": vault.address, "vault_cacert": str(authority.certificate), "vault_aws_role": "webapp"}
        ward.write(line=f"{line} get --profile webapp", **keys)
        good = run(*command_line(ward, "--read"), PYTHONIOENCODING="utf-8")
        run(*command_line(ward)[:-2], "cache", "clear")
        vault.on("POST", LOGIN, reply(400, {"errors": ["invalid role or secret ID"]}))
        bad = run(*command_line(ward), PYTHONIOENCODING="utf-8")
    assert (good.returncode, bad.returncode) == (0, 3)
    return good.stdout, bad.stdout


def test_samples_are_what_it_prints(examined_once: tuple[str, str]) -> None:
    """The first sample is the whole output where all is well; the second is a part of that of a broken set-up."""
    good, bad = examined_once
    whole, part = SAMPLES

    assert shape(good) == shape(whole)
    assert "\n".join(shape(part)) in "\n".join(shape(bad))


def test_each_step_has_its_row() -> None:
    """The table of steps names each of them, in order."""
    assert re.findall(r"^\| \*\*(.+?)\*\* \|", PAGE, re.MULTILINE) == list(package.STEPS)


def test_json_is_as_described() -> None:
    """The fields of ``--json`` in the page are those that it prints, under the version that it prints."""
    (sample,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    described = json.loads(sample)
    printed = document(Case({}, {}, findings=list(package.examine(Case({}, {"PATH": "/nowhere"})))[:1]))

    assert list(described) == list(printed)
    assert described["version"] == JSON_VERSION
    assert described["cause"].keys() == described["findings"][0].keys() == printed["findings"][0].keys()
