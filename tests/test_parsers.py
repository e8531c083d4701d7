"""How the text of a setting becomes its value."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import parsers
from vault_credential_process.errors import LONGEST, ConfigurationError, one_line


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True", "yes", "ON", " true "])
def test_true_is_true(text: str) -> None:
    """What Go's ``ParseBool`` takes for true, and yes and on, switch something on."""
    assert parsers.parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "no", "Off"])
def test_false_is_false(text: str) -> None:
    """What Go's ``ParseBool`` takes for false, and no and off, switch something off."""
    assert parsers.parse_bool(text) is False


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parsers.parse_seconds, "15m", 900.0),
        (parsers.parse_count, "0", 0),
        (parsers.parse_count, " 100 ", 100),
        (parsers.parse_address, "https://vault.example:8200/", "https://vault.example:8200"),
        (parsers.parse_address, "https://vault.example/prefix/", "https://vault.example/prefix"),
        (parsers.parse_address, "HTTPS://Vault.example:8200", "https://Vault.example:8200"),
        (parsers.parse_address, "http://[::1]:8200", "http://[::1]:8200"),
        (parsers.parse_address, "unix:///run/vault/agent.sock", "unix:///run/vault/agent.sock"),
        (parsers.parse_address, "unix:/run/agent.sock", "unix:///run/agent.sock"),
        (parsers.parse_address, "UNIX:///run/a@b.sock", "unix:///run/a@b.sock"),
        (parsers.parse_mount, "/team-a/aws/", "team-a/aws"),
        (parsers.parse_mount, "aws", "aws"),
        (parsers.parse_role, "web_app.v2@eu-1", "web_app.v2@eu-1"),
        (parsers.parse_endpoint, "static-creds", "static-creds"),
        (parsers.parse_role_arn, "arn:aws-cn:iam::123456789012:role/a/b", "arn:aws-cn:iam::123456789012:role/a/b"),
        (parsers.parse_session_name, "web@host,1", "web@host,1"),
        (parsers.parse_probe, "auto", 20.0),
        (parsers.parse_probe, "OFF", 0.0),
        (parsers.parse_probe, "5s", 5.0),
        (parsers.parse_proxy, "http://user:pw@proxy.example:3128", "http://user:pw@proxy.example:3128"),
        (parsers.parse_proxy, " https://proxy.example ", "https://proxy.example"),
        (parsers.parse_command, "/usr/bin/oathtool --base32 'a b'", ("/usr/bin/oathtool", "--base32", "a b")),
    ],
)
def test_good_text_becomes_its_value(parse: Callable[[str], Any], text: str, value: Any) -> None:
    """Each parser returns the value in its normal form."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parsers.parse_bool, "maybe", "write true or false"),
        (parsers.parse_seconds, "0", "must be more than 0 s"),
        (parsers.parse_seconds, "soon", "not a duration"),
        (parsers.parse_count, "-1", "a whole number from 0 to 100"),
        (parsers.parse_count, "101", "a whole number from 0 to 100"),
        (parsers.parse_count, "1.0", "a whole number from 0 to 100"),
        (parsers.parse_count, "٣", "a whole number from 0 to 100"),
        (parsers.parse_address, "", "is not an address; write https://host:8200"),
        (parsers.parse_address, "vault.example:8200", "is not an address; write https://host:8200"),
        (parsers.parse_address, "ftp://vault.example", "is not an address; write https://host:8200"),
        (parsers.parse_address, "https://", "is not an address"),
        (parsers.parse_address, "https://host:0", "is not an address"),
        (parsers.parse_address, "https://host:99999", "not an address; write https://host:8200"),
        (parsers.parse_address, "https://[::1", "not an address; write https://host:8200"),
        (parsers.parse_address, "https://host/?x=1", "no query, fragment or spaces"),
        (parsers.parse_address, "https://host/#x", "no query, fragment or spaces"),
        (parsers.parse_address, "https://ho st", "no query, fragment or spaces"),
        (parsers.parse_address, "https://host/?", "no query, fragment or spaces"),
        (parsers.parse_address, "https://host#", "no query, fragment or spaces"),
        (parsers.parse_address, "https://host\\.evil.example", "not an address; write https://host:8200"),
        (parsers.parse_address, "https://ho\nst", "no line breaks"),
        (parsers.parse_address, "unix:///run/a\n.sock", "no line breaks"),
        (parsers.parse_address, "unix://run/agent.sock", "unix:///absolute/path"),
        (parsers.parse_address, "unix:///", "unix:///absolute/path"),
        (parsers.parse_address, "unix:agent.sock", "unix:///absolute/path"),
        (parsers.parse_mount, "", "is not a path in Vault"),
        (parsers.parse_mount, "/", "is not a path in Vault"),
        (parsers.parse_mount, "aws//x", "is not a path in Vault"),
        (parsers.parse_mount, "../sys", "is not a path in Vault"),
        (parsers.parse_mount, "aws/./x", "is not a path in Vault"),
        (parsers.parse_mount, "aws?list=true", "is not a path in Vault"),
        (parsers.parse_mount, "aws%2fsys", "is not a path in Vault"),
        (parsers.parse_mount, "my aws", "is not a path in Vault"),
        (parsers.parse_role, "", "is not the name of a role"),
        (parsers.parse_role, "a/b", "is not the name of a role"),
        (parsers.parse_role, "..", "is not the name of a role"),
        (parsers.parse_role, "-a", "is not the name of a role"),
        (parsers.parse_role, "a\n", "is not the name of a role"),
        (parsers.parse_role, "rôle", "is not the name of a role"),
        (parsers.parse_endpoint, "roles", "write creds, sts or static-creds"),
        (parsers.parse_role_arn, "arn:aws:iam::123:role/x", "is not a role ARN"),
        (parsers.parse_role_arn, "arn:aws:iam::123456789012:user/x", "is not a role ARN"),
        (parsers.parse_session_name, "x", "2 to 64 letters"),
        (parsers.parse_session_name, "a b", "2 to 64 letters"),
        (parsers.parse_session_name, "a" * 65, "2 to 64 letters"),
        (parsers.parse_probe, "sometimes", "write auto, off or a duration"),
        (parsers.parse_proxy, "proxy.example:3128", "not the address of a proxy"),
        (parsers.parse_proxy, "ftp://proxy.example", "not the address of a proxy"),
        (parsers.parse_proxy, "http://[", "not the address of a proxy"),
        (parsers.parse_command, "", "not a command: empty"),
        (parsers.parse_command, "echo 'open", "not a command"),
    ],
)
def test_bad_text_is_refused_with_the_reason(parse: Callable[[str], Any], text: str, reason: str) -> None:
    """Each parser says in one printable line what it wants."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse(text)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "https://admin:hunter2@vault.example:8200",
        "https://hunter2@vault.example",
        "admin:hunter2@vault.example:8200",
        "https:/admin:hunter2@vault.example",
        "ftp://admin:hunter2@vault.example",
        "https://admin:hunter2@vault.example:port",
    ],
)
def test_address_with_a_password_is_refused_without_repeating_it(text: str) -> None:
    """An address that carries a user name or a password is an error, well-formed or not, and the text stays out."""
    with pytest.raises(ValueError, match="address") as caught:
        parsers.parse_address(text)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://user:hunter2@:3128", "hunter2", "user:hunter2@proxy"])
def test_proxy_is_never_repeated(text: str) -> None:
    """The message for a malformed proxy leaves its text out: it may carry a password."""
    with pytest.raises(ValueError, match="proxy") as caught:
        parsers.parse_proxy(text)

    assert "hunter2" not in str(caught.value)


def test_home_is_expanded_without_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` works in a path, though no shell reads a ``credential_process`` line."""
    monkeypatch.setenv("HOME", "/home/ana")

    assert parsers.parse_path("~/secret-id") == os.path.join("/home/ana", "secret-id")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1.example.com", False),
        ("localhost.example.com", False),
        ("vault.example", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_the_name_alone(host: str, loopback: bool) -> None:
    """Only ``localhost`` and the addresses of the loopback range are this host; no name is looked up."""
    assert parsers.is_loopback(host) is loopback


PATHS = st.text("/.ab-?#%\\ \n\u00e9\u200b", max_size=12)


@given(PATHS | st.text())
def test_mount_never_leads_elsewhere(text: str) -> None:
    """An accepted mount point has no empty, ``.`` or ``..`` segment and nothing that a URL would take for more."""
    try:
        path = parsers.parse_mount(text)
    except ValueError:
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not set("?#%\\ ") & set(path)
    assert path.isprintable()
    assert parsers.parse_mount(path) == path


@given(PATHS | st.text() | st.from_regex(r"\A[\w@.-]{1,20}\Z"))
def test_role_is_one_segment(text: str) -> None:
    """An accepted role is one ASCII path segment, passed on as it is."""
    try:
        role = parsers.parse_role(text)
    except ValueError:
        return
    assert role == text
    assert role.isascii()
    assert not set("/?#% \n") & set(role)
    assert role not in {".", ".."}


@given(st.text() | st.from_regex(r"\A(https?|unix|HTTP):/{0,3}[a-z@:0-9/.?# \n]{0,20}\Z"))
def test_address_is_sane_or_refused(text: str) -> None:
    """Whatever is accepted begins with a scheme that is known, in lower case, and stays what it is when read again."""
    try:
        address = parsers.parse_address(text)
    except ValueError:
        return
    assert address.startswith(("https://", "http://", "unix:///"))
    assert address.isprintable()
    assert parsers.parse_address(address) == address


@given(st.text(), st.integers(2, 50))
def test_foreign_text_becomes_one_printable_line(text: str, limit: int) -> None:
    """Line breaks, control characters and length of text from elsewhere cannot break a message."""
    line = one_line(text, limit=limit)

    assert line.isprintable()
    assert len(line) <= limit
    assert line == line.strip()


@given(st.text(), st.text("abc1", min_size=1, max_size=6), st.text("abc1", min_size=1, max_size=6), st.text())
def test_secrets_are_blotted_out(before: str, secret: str, other: str, after: str) -> None:
    """A known secret never shows, also where one secret is a part of another."""
    line = one_line(f"{before}{secret}{other}{secret}{after}", secrets=[secret, None, "", secret + other])

    assert secret not in line


def test_longer_secret_is_blotted_out_whole() -> None:
    """Of two secrets that begin alike, the rest of the longer one does not stay behind."""
    assert one_line("token hvs.EXAMPLE-more!", secrets=["hvs.EXAMPLE", "hvs.EXAMPLE-more"]) == "token ***!"


@pytest.mark.parametrize("text", ["\\" * 60_000, "\\" * 60_000 + "!", "&#0" * 20_000, "%" * 60_000, "x" * 4_000_000])
def test_secrets_are_looked_for_in_no_more_than_linear_time(text: str) -> None:
    """What a server says may be long and all marks of quoting: that is no reason to look for ever."""
    began = time.process_time()

    assert len(one_line(text, secrets=["!a b-secret/with+marks=", "hvs.Example"])) <= 300
    assert time.process_time() - began < 20


@pytest.mark.parametrize("quoted", ["\\\\!pass", "a\\%21pass", "\\u0021pass", "\\\\x21pass", "x&#33;pass"])
def test_secret_that_begins_with_a_mark_is_found_however_it_is_quoted(quoted: str) -> None:
    """Backslashes before it, or before what stands for it, do not hide a secret."""
    assert "pass" not in one_line(f"said: {quoted} again", secrets=["!pass"])


def test_message_is_one_printable_line_whatever_stands_in_it() -> None:
    """An error that names a file or a profile does not move the cursor of a terminal, and has a bounded length."""
    said = str(ConfigurationError("/tmp/\x1b[31m\n\ud800: cannot be read" + "x" * 9000))

    assert said.startswith("/tmp/ [31m : cannot be read")
    assert (said.isprintable(), len(said)) == (True, LONGEST)


def test_relative_path_without_a_working_directory_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the working directory was removed a relative path names nothing; a whole one does."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(ValueError, match="a relative path, and the working directory is gone"):
        parsers.parse_path("ca.pem")
    assert parsers.parse_path("/run/ca.pem") == "/run/ca.pem"
    assert parsers.whole_path("ca.pem") == "ca.pem"
