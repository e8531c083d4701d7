"""``doctor`` where a file, an address or a name was written as people write them: the first line names the cause."""

from __future__ import annotations

import os

import pytest

from vault_credential_process.testing.scripted import reply

from .test_broken import Broken, judge, scripted_clocks
from .ward import QUICK, Ward, examined

MINUTES = 60.0


def rewritten(ward: Ward, content: bytes) -> None:
    """Write the config file anew; ``%s`` is what stood in it."""
    path = ward.write()
    path.write_bytes(content.replace(b"%s", path.read_bytes()))


def in_utf_16(ward: Ward) -> None:
    """The file as an editor of Windows stores it."""
    path = ward.write()
    path.write_bytes(path.read_text().encode("utf-16"))


def without_prefix(ward: Ward) -> None:
    """A section as the credentials file has it."""
    path = ward.write()
    path.write_text(path.read_text().replace("[profile webapp]", "[webapp]"))


def directory(ward: Ward) -> None:
    """A variable that names the directory of the file."""
    ward.patch.setenv("AWS_CONFIG_FILE", str(ward.path))


def no_source(ward: Ward) -> None:
    """A profile that assumes a role with the credentials of one that is not there."""
    ward.write("[profile admin]", "role_arn = arn:aws:iam::123456789012:role/admin", "source_profile = wepapp")
    ward.flags = ("--profile=admin",)


def each_other(ward: Ward) -> None:
    """Two profiles that lead to each other."""
    role = "role_arn = arn:aws:iam::123456789012:role/admin"
    ward.write(role, "source_profile = admin", "[profile admin]", role, "source_profile = webapp")


def refusing_proxy(ward: Ward) -> None:
    """A proxy where nothing listens."""
    ward.write(vault_addr="https://vault.example:8200")
    ward.patch.setenv("https_proxy", "http://user:5ec2e7@127.0.0.1:1")


def half_of_the_keys(ward: Ward) -> None:
    """An exported access key without its secret."""
    ward.patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")


def bearer_token(ward: Ward) -> None:
    """An exported key of Bedrock's."""
    ward.patch.setenv("AWS_BEARER_TOKEN_BEDROCK", "5ec2e7")


def spent_secret_id(ward: Ward) -> None:
    """A Secret ID that serves once, and did."""
    server, role = ward.tenant.laboratory.server, ward.tenant.approle["role_id"]
    made = server.call("POST", f"auth/approle/role/{ward.tenant.role}/secret-id", {"num_uses": 1})["data"]
    server.call("POST", "auth/approle/login", {"role_id": role, "secret_id": made["secret_id"]})
    ward.write(vault_secret_id_file=secret(ward, made["secret_id"]))


def secret(ward: Ward, content: str) -> str:
    """Write a private file and return its path."""
    path = ward.path / "secret"
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def spent_token(ward: Ward) -> None:
    """A token of one use, which is spent by looking at it."""
    made = ward.tenant.laboratory.server.call(
        "POST", "auth/token/create", {"policies": [ward.tenant.role], "num_uses": 1}
    )
    ward.write(vault_role_id=None, vault_secret_id_file=None)
    ward.patch.setenv("VAULT_TOKEN", made["auth"]["client_token"])


def address_with(ward: Ward, end: str) -> None:
    """An address that was copied with more than it should have."""
    ward.scripted()
    ward.server.otherwise = reply(404, b"<html>404</html>", {"Content-Type": "text/html"})
    ward.write(vault_addr=f"{ward.server.address}{end}", vault_aws_role="webapp")


def indented(ward: Ward, above: str, inner: str) -> None:
    """Lines that were pasted with blanks before them."""
    path = ward.write()
    text = path.read_text().replace(f"\n{inner}", f"\n  {inner}")
    path.write_text(text.replace(f"\n  {inner}", f"\n{above}  {inner}", 1))


def credentials_file(ward: Ward, content: bytes) -> None:
    """Another file of AWS's, with something in it."""
    path = ward.path / "credentials"
    path.write_bytes(content)
    ward.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))


def handed_in(ward: Ward, token: str) -> None:
    """A token in the environment."""
    ward.write(vault_role_id=None, vault_secret_id_file=None)
    ward.patch.setenv("VAULT_TOKEN", token)


def quick_line(ward: Ward, flags: str) -> None:
    """A line that runs this version, with some flags more."""
    ward.write(line=ward.program("vault-credential-process", QUICK) + f" get --profile webapp {flags}")


TABLE = [
    Broken("no prefix", 2, "settings", "is written [profile webapp], not [webapp]; write it like that", without_prefix),
    Broken(
        "mark",
        2,
        "settings",
        "begins with a byte-order mark; store it as UTF-8 without one",
        lambda w: rewritten(w, b"\xef\xbb\xbf%s"),
    ),
    Broken("UTF-16", 2, "settings", "begins with a byte-order mark; store it as UTF-8 without one", in_utf_16),
    Broken("Latin", 2, "settings", "not UTF-8 text; store it as UTF-8", lambda w: rewritten(w, b"# caf\xe9\n%s")),
    Broken("directory", 2, "settings", "Is a directory; name a file there, not a directory", directory),
    Broken("no source", 2, "settings", "[profile wepapp] is not in ", no_source),
    Broken("each other", 2, "other keys", "role_arn in [profile webapp]: SDKs do that first", each_other),
    Broken("no scheme", 2, "settings", "is not an address; write https://", lambda w: w.write(vault_addr="vault:8200")),
    Broken("plain http", 2, "settings", "over plain http to", lambda w: w.write(vault_addr="http://vault.example")),
    Broken("/v1", 2, "server", "no Vault answers there; take /v1 out of vault_addr", lambda w: address_with(w, "/v1")),
    Broken("/ui/", 2, "server", "no Vault answers there; take /ui out of vault_addr", lambda w: address_with(w, "/ui")),
    Broken(
        "path as role",
        2,
        "settings",
        "is not the name of a role (letters, digits, _ . @ - only)",
        lambda w: w.write(vault_aws_role="aws/creds/webapp"),
    ),
    Broken("proxy", 5, "network", "the proxy refused or failed; check VAULT_PROXY_ADDR or HTTPS_PROXY", refusing_proxy),
    Broken(
        "half", 0, "other keys", "is set, and AWS_SECRET_ACCESS_KEY is not; unset AWS_ACCESS_KEY_ID", half_of_the_keys
    ),
    Broken(
        "bearer token", 0, "other keys", "AWS_BEARER_TOKEN_BEDROCK is set: requests to that service carry", bearer_token
    ),
    Broken("spent", 3, "login", "invalid role or secret ID; check vault_role_id (from", spent_secret_id),
    Broken("empty", 2, "login", ": empty; put the secret there", lambda w: w.write(vault_secret_id_file=secret(w, ""))),
    Broken("one use", 3, "login", "the token from VAULT_TOKEN has 0 uses left; reading credentials", spent_token),
    Broken(
        "word too many",
        2,
        "settings",
        '[profile "profile webapp"] is not in ',
        lambda w: setattr(w, "flags", ("--profile=profile webapp",)),
    ),
    Broken(
        "indented",
        2,
        "settings",
        "vault_aws_role in [profile webapp]: indented, so it is taken for a part of vault_secret_id_file above it; "
        "begin the line in the first column",
        lambda w: indented(w, "", "vault_aws_role"),
    ),
    Broken(
        "below s3",
        2,
        "settings",
        "indented, so it is taken for a part of s3 above it; begin the line in the first column",
        lambda w: indented(w, "s3 =\n", "vault_"),
    ),
    Broken(
        "user in it", 2, "settings", "must not carry a user", lambda w: w.write(vault_addr="https://u:5ec2e7@vault")
    ),
    Broken("blank in it", 2, "settings", "no query, frag", lambda w: w.write(vault_addr="https://vault .example")),
    Broken(
        "credentials, mark",
        2,
        "other keys",
        "credentials: cannot be parsed; mend the file",
        lambda w: credentials_file(w, b"\xef\xbb\xbf[x]\n"),
    ),
    Broken(
        "credentials, twice",
        2,
        "other keys",
        "credentials: cannot be parsed; mend the file",
        lambda w: credentials_file(w, b"[x]\n[x]\n"),
    ),
    Broken(
        "credentials, UTF-16",
        2,
        "other keys",
        "credentials: cannot be parsed; mend the file",
        lambda w: credentials_file(w, "[x]\n".encode("utf-16")),
    ),
    Broken(
        "two lines", 2, "login", "more than one line; put", lambda w: w.write(vault_secret_id_file=secret(w, "a\nb"))
    ),
    Broken("bearer", 2, "login", "is not a Vault token: empty, or", lambda w: handed_in(w, "Bearer hvs.5ec2e7")),
    Broken(
        "unknown flag",
        2,
        "credential_process",
        "the line is refused: unknown --secret; write: credential_process = ",
        lambda w: quick_line(w, "--secret=5ec2e7"),
    ),
    Broken(
        "unknown letter",
        2,
        "credential_process",
        "the line is refused: unknown -p; write: credential_process = ",
        lambda w: quick_line(w, "-p5ec2e7"),
    ),
    Broken("help", 2, "credential_process", "it prints no credentials; write: ", lambda w: quick_line(w, "--help")),
    Broken(
        "1970",
        2,
        "clock",
        "this host's clock is 20787 days behind AWS's, as Vault's says too",
        lambda w: scripted_clocks(w, 20787 * 1440 * MINUTES, 20787 * 1440 * MINUTES),
    ),
]


@pytest.mark.parametrize("broken", TABLE, ids=lambda broken: broken.name)
def test_first_line_of_trouble_names_the_cause(ward: Ward, capsys: pytest.CaptureFixture[str], broken: Broken) -> None:
    """What is wrong is said first, with what to do; and of what does not follow from it nothing is called missing."""
    report = judge(ward, capsys, broken)

    if broken.step == "settings":
        assert not report.says("settings", "vault_addr is not set")
        assert not report.says("settings", "vault_aws_role: missing")
    if broken.name == "word too many":
        assert report.trouble["remedy"].endswith("; there is webapp")
    if broken.name == "proxy":
        assert report.says("network", "through the proxy 127.0.0.1:1")


def test_no_profile_is_named(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no profile is named and there is no default, it names those that there are."""
    report = examined(capsys)

    assert report.says("settings", "name one with --profile: webapp")
    assert report.code == 2


def test_program_of_another(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a line that runs another program it says that, and does not judge how the other one is made."""
    ward.write(line=ward.program("aws-vault", "#!/bin/sh\n") + " exec webapp")

    report = examined(capsys, *ward.flags)

    assert [f["found"] for f in report.of("credential_process") if f["state"] == "warning"] == [
        "the line runs aws-vault, not vault-credential-process"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipe_is_not_waited_for(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    """A credentials file that is a pipe, into which nobody writes, keeps nobody."""
    pipe = ward.tenant.home / "pipe"
    os.mkfifo(pipe)
    ward.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(pipe))

    assert examined(capsys, *ward.flags).code == 0
