"""``doctor`` in broken set-ups: the first red line names the cause, and the exit code is that of its class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keyring.backends.fail
import keyring.core
import pytest

from vault_credential_process.testing.scripted import reply

from ..test_command import token_for
from .ward import LINE, STATE, Report, Ward, ahead, allow, examined, launcher

EVERYTHING = 'path "*" { capabilities = ["read"] }\n'
MINUTES = 60.0


@dataclasses.dataclass(frozen=True)
class Broken:
    """One broken set-up: what breaks it, what the first line of trouble says, and the exit code; 0 for a warning."""

    name: str
    code: int
    step: str
    words: str
    breaks: Callable[[Ward], object]


def wrong_secret_id(ward: Ward) -> None:
    """A Secret ID that Vault does not know."""
    ward.write(vault_secret_id_file=None)
    ward.patch.setenv("VAULT_SECRET_ID", "00000000-0000-4000-8000-000000000000")


def missing_role(ward: Ward) -> None:
    """A role that the engine does not have."""
    allow(ward, EVERYTHING)
    ward.write(vault_aws_role="nosuch")
    ward.read()


def missing_mount(ward: Ward) -> None:
    """A mount point where nothing is mounted."""
    allow(ward, EVERYTHING)
    ward.write(vault_aws_mount="nosuch")
    ward.read()


def keys_in_the_environment(ward: Ward) -> None:
    """Exported keys, and a profile that a variable names."""
    ward.patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    ward.patch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    ward.patch.setenv("AWS_PROFILE", "webapp")
    ward.flags = ()


def keys_beside_a_flag(ward: Ward) -> None:
    """The same, and a flag that names the profile."""
    keys_in_the_environment(ward)
    ward.flags = ("--profile=webapp",)


def keys_in_the_credentials_file(ward: Ward) -> None:
    """Keys of the same name in the other file."""
    path = ward.path / "credentials"
    path.write_text("[webapp]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = EXAMPLE\n")
    ward.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))


def web_identity(ward: Ward) -> None:
    """What a pod of EKS has, and a profile that a variable names."""
    ward.patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
    ward.patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    ward.patch.setenv("AWS_PROFILE", "webapp")
    ward.flags = ()


def shim(ward: Ward) -> None:
    """A shim as pyenv makes it."""
    real = ward.program("real/vault-credential-process", launcher())
    path = ward.program(".pyenv/shims/vault-credential-process", f'#!/bin/sh\nexec {real} "$@"\n')
    ward.write(line=f"{path} get --profile webapp")


def unquoted_space(ward: Ward) -> None:
    """A path with spaces and no quotes."""
    path = ward.program("opt of us/vault-credential-process", launcher())
    ward.write(line=f"{path} get --profile webapp")


def scripted_clocks(ward: Ward, vault: float, aws: float) -> None:
    """Clocks that are so many seconds ahead of ours."""
    ward.scripted(headers=ahead(vault))
    ward.cloud.otherwise = reply(302, b"", {"Location": "https://aws.amazon.com/iam", **ahead(aws)})
    ward.patch.setenv("AWS_ENDPOINT_URL", ward.cloud.address)


def revoked_token(ward: Ward) -> None:
    """A token that has ended."""
    token = token_for(ward.tenant)
    ward.tenant.laboratory.server.call("POST", "auth/token/revoke", {"token": token})
    handed_in(ward, token)


def handed_in(ward: Ward, token: str) -> None:
    """A token in the environment, and no AppRole."""
    ward.write(vault_role_id=None, vault_secret_id_file=None)
    ward.patch.setenv("VAULT_TOKEN", token)


def keys_that_aws_refuses(ward: Ward) -> None:
    """Credentials that AWS does not know."""
    keys = {"access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": "gone", "security_token": "gone", "ttl": 3600}
    ward.tenant.laboratory.write(ward.tenant.role, keys)
    ward.read()


def short_leases(ward: Ward) -> None:
    """A role of 15 minutes."""
    ward.tenant.laboratory.write_sts(ward.tenant.role, ttl=900)
    ward.read()


def no_file(ward: Ward) -> None:
    """No config file at all."""
    ward.patch.setenv("AWS_CONFIG_FILE", str(ward.path / "nowhere"))


def misnamed(ward: Ward) -> None:
    """A profile that is not in the file."""
    ward.flags = ("--profile=webap",)


def twice(ward: Ward) -> None:
    """The same section twice."""
    config = ward.write()
    config.write_text(config.read_text() * 2)


def no_store(ward: Ward) -> None:
    """A keyring without a store."""
    ward.patch.setattr(keyring.core, "_keyring_backend", keyring.backends.fail.Keyring())
    ward.write(vault_aws_cache="keyring")


NO_ACTIVE_NODE = reply(500, {"errors": ["local node not active but active cluster node not found"]})
LIMITED = reply(429, {"errors": ['request path "auth/approle/login": rate limit quota exceeded']})
HTML = reply(200, b"<html>hello</html>", {"Content-Type": "text/html"})
SEALED = reply(503, STATE | {"sealed": True, "standby": True})

TABLE = [
    Broken("wrong Secret ID", 3, "login", "login refused: invalid role or secret ID", wrong_secret_id),
    Broken("missing role", 2, "role", "no role 'nosuch' at mount 'aws'", missing_role),
    Broken("missing mount", 2, "role", "no AWS secrets engine at mount 'nosuch'", missing_mount),
    Broken("denied", 4, "login", "has no policy for aws/creds/denied", lambda w: w.write(vault_aws_role="denied")),
    Broken("sealed", 6, "server", "Vault is sealed", lambda w: w.scripted(health=SEALED)),
    Broken("standby", 5, "login", "a standby that finds no active node", lambda w: w.scripted(login=NO_ACTIVE_NODE)),
    Broken("wrong port", 5, "network", "connection refused", lambda w: w.write(vault_addr="http://127.0.0.1:1")),
    Broken("name", 5, "network", "name does not resolve", lambda w: w.write(vault_addr="https://vault.invalid")),
    Broken("not Vault", 5, "server", "in words that are not Vault's", lambda w: w.scripted(health=HTML)),
    Broken("rate limit", 5, "login", "too many requests", lambda w: w.scripted(login=LIMITED)),
    Broken("keys exported", 2, "other keys", "AWS_ACCESS_KEY_ID is set: its keys win over", keys_in_the_environment),
    Broken("keys exported, flag", 0, "other keys", "win wherever AWS_PROFILE names", keys_beside_a_flag),
    Broken("credentials file", 2, "other keys", "these keys win over credential_pr", keys_in_the_credentials_file),
    Broken("web identity", 2, "other keys", "AWS_WEB_IDENTITY_TOKEN_FILE is set: the cred", web_identity),
    Broken("SSO", 2, "other keys", "sso_session in [profile webapp]: SDKs do that", lambda w: w.write("sso_session=s")),
    Broken("shim", 0, "credential_process", "is a shim or a shell script", shim),
    Broken("space", 2, "credential_process", "has a space and no quotes", unquoted_space),
    Broken("quote", 2, "credential_process", "cannot be split: no closing", lambda w: w.write(line="'/opt/x get")),
    Broken(
        "~",
        2,
        "credential_process",
        "begins with a ~, which botocore does not",
        lambda w: w.write(line="~/bin/vcp get"),
    ),
    Broken("$HOME", 2, "credential_process", "puts in no variables", lambda w: w.write(line="$HOME/bin/vcp get")),
    Broken("gone", 2, "credential_process", "there is no such file", lambda w: w.write(line="/opt/gone/vcp get")),
    Broken("no line", 0, "credential_process", "there is no credential_process in", lambda w: w.write(line=None)),
    Broken(
        "profile in the line",
        2,
        "credential_process",
        "says --profile other, and stands in [profile webapp]",
        lambda w: w.write(line=LINE.replace("webapp", "other")),
    ),
    Broken(
        "our clock",
        2,
        "clock",
        "this host's clock is 20 min behind AWS's, as Vault's says too",
        lambda w: scripted_clocks(w, 20 * MINUTES, 20 * MINUTES),
    ),
    Broken(
        "both clocks",
        2,
        "clock",
        "the clocks of this host and of Vault are 20 min ahead of AWS's",
        lambda w: scripted_clocks(w, 0, -20 * MINUTES),
    ),
    Broken(
        "Vault's clock",
        0,
        "clock",
        "Vault's clock is 20 min ahead of this host's, which agrees with AWS's",
        lambda w: scripted_clocks(w, 20 * MINUTES, 0),
    ),
    Broken("short leases", 0, "role", "this role's leases of 15 min are short", short_leases),
    Broken("no store", 2, "cache", "keyring cannot be used here", no_store),
    Broken("misspelt key", 2, "settings", "did you mean vault_aws_role?", lambda w: w.write("vault_aws_rol = webapp")),
    Broken("unknown key", 0, "settings", "vault_colour in [profile webapp]: no", lambda w: w.write("vault_colour=red")),
    Broken("no address", 5, "network", "(the default, for vault_addr is not set)", lambda w: w.write(vault_addr=None)),
    Broken("no role", 2, "settings", "vault_aws_role: missing (set --role", lambda w: w.write(vault_aws_role=None)),
    Broken("revoked token", 3, "login", "it is dead, or has no policy for", revoked_token),
    Broken(
        "token without a policy",
        4,
        "login",
        "the token has no policy for",
        lambda w: handed_in(w, token_for(w.tenant, policies=["default"])),
    ),
    Broken("namespace", 2, "login", "no such namespace", lambda w: w.write(vault_namespace="nosuch")),
    Broken("refused keys", 3, "identity", "AWS refuses the credentials: InvalidClientTokenId", keys_that_aws_refuses),
    Broken(
        "unknown profile",
        2,
        "settings",
        "[profile webap] is not in",
        lambda w: setattr(w, "flags", ("--profile=webap",)),
    ),
    Broken("no config file", 2, "settings", "no such file, so there is no profile 'webapp'", no_file),
    Broken("section twice", 2, "settings", "section [profile webapp] stands twice", twice),
    Broken("secret in it", 2, "settings", "a secret must not stand in", lambda w: w.write("vault_secret_id = 5ec2e7")),
]


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_first_line_of_trouble_names_the_cause(ward: Ward, capsys: pytest.CaptureFixture[str], broken: Broken) -> None:
    """What is wrong is said first, with what to do; nothing before it fails, and no secret is repeated."""
    judge(ward, capsys, broken)


def judge(ward: Ward, capsys: pytest.CaptureFixture[str], broken: Broken) -> Report:
    """Break a set-up, and hold what is said of it against what it should be."""
    broken.breaks(ward)

    report = examined(capsys, *ward.flags)

    trouble = report.trouble
    assert broken.words in f"{trouble['found']}; {trouble['remedy']}"
    assert trouble["step"] == broken.step
    assert trouble["state"] == ("error" if broken.code else "warning")
    assert report.code == broken.code == report.document["exit_code"]
    assert trouble["remedy"] or "(set --role" in trouble["found"]
    said = str(report.document)
    assert "5ec2e7" not in said
    assert ward.tenant.approle["secret_id"] not in said
    return report
