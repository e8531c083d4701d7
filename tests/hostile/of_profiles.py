"""AWS's config file: profiles as botocore reads them, and who signs a login."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Container, Iterator
from unittest import mock

import botocore.configloader
import botocore.exceptions
from hypothesis import strategies as st

from vault_credential_process.auth import aws_iam
from vault_credential_process.cli import completers
from vault_credential_process.profiles import Profile, every_profile, find_profile

from . import material
from .kit import ACCEPTED, outcome, shared, target


@contextlib.contextmanager
def _directory() -> Iterator[pathlib.Path]:
    made = pathlib.Path(tempfile.mkdtemp(prefix="vcp-hostile-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def directory() -> pathlib.Path:
    """Return a directory that the targets share."""
    return shared("directory", _directory)


@st.composite
def config_file(draw: st.DrawFn) -> bytes:
    """An AWS config file of lines that belong into one, into another, or into none."""
    key = st.sampled_from(
        ("vault_aws_role", "region", "vault_addr", "A", "s3", "é", "%", "[", "vault_secret_id", "\x1b[31m")
    )
    value = material.line | st.sampled_from(
        ("webapp", "", "a = b", "%(x)s", "${x}", "'a'", '"', "x" * 70000, "\x1b[31m")
    )
    name = st.sampled_from(
        ("webapp", "default", "two words", "'two words'", '"webapp"', "é", "a/../b", "web\\ app", '""')
    )
    section = st.one_of(
        name.map(lambda found: f"[profile {found}]"),
        st.sampled_from((
            "[default]", "[ default ]", "[DEFAULT]", "[profiles webapp]", "[profilex y z]", "[profile]",
            "[profile  webapp]",
            "[profile\twebapp]", "[ profile webapp]", "['profile' webapp]", "[profile 'webapp]", "[webapp]", "[]", "[x",
            "[profile webapp] # c", "[profile webapp]x", "[sso-session webapp]", "[services webapp]",
            "[profile a b]", "[[x]]",
        )),
        material.line.map(lambda found: f"[profile {found}]"),
    )  # fmt: skip
    pair = st.tuples(key, st.sampled_from((" = ", "=", ":", " : ", "", " ")), value).map("".join)
    odd = st.sampled_from(
        ("  indented = 1", "\tx", "# c", "; c", "", "  ", "= x", "key", "\x0bx = 1", "\x85y = 2", "\u2028z = 3")
    )
    lines = [draw(section)] if draw(st.integers(0, 9)) else []
    if draw(st.integers(0, 3)) == 0:
        lines += draw(st.lists(st.one_of(pair, pair, section, odd), max_size=9))
    else:  # nothing twice, and nothing else that makes the whole file an error
        parts = draw(
            st.lists(st.tuples(section, st.dictionaries(key, value, max_size=3)), max_size=3, unique_by=lambda p: p[0])
        )
        lines = [
            text for head, keys in parts for text in (head, *(f"{name} = {found}" for name, found in keys.items()))
        ]
    end = draw(st.sampled_from(("\n", "\n", "\n", "\r\n", "\r")))
    content = end.join(lines).encode("utf-8", "surrogatepass")
    how = draw(st.integers(0, 29))
    broken = {
        0: b"\xef\xbb\xbf" + content,
        1: content + b"\xff",
        2: content + b"\0",
        3: content.replace(b"e", b"\xe9", 1),
    }
    return broken.get(how, content)


@target(
    "AWS config file, as botocore reads it",
    ("profiles.find_profile", "profiles.called", "profiles._nested", "profiles._without_values",
    "profiles.profile_name", "profiles.read", "profiles.every_profile", "cli.completers.profiles",
    "cli.completers.of_profiles", "cli.completers.keyring_names"),
    config_file(),
    must=(ACCEPTED, "both refuse", "ConfigurationError"),
    inputs=(
        b"[profile webapp]\r\nvault_aws_role = webapp\r\ns3 =\r\n  a = 1\r\n",
        b"[DEFAULT]\nregion = x\n[profiles webapp]\na = b\n",
        b"[ default ]\nregion = x\n", b"\xef\xbb\xbf[default]\n", b"[default]\na=1\na=2\n",
    ),
    examples=150,
)  # fmt: skip
def profile(content: bytes) -> str:
    """What botocore reads from a file is what we read, every profile with the same keys; other files are an error."""
    file = directory() / "config"
    file.write_bytes(content)
    environ = {"AWS_CONFIG_FILE": str(file)}
    try:
        known = botocore.configloader.load_config(str(file))["profiles"]
    except botocore.exceptions.ConfigParseError:
        met = outcome(lambda: assert_profile(find_profile({"profile": "webapp"}, environ)))
        return "both refuse" if met != ACCEPTED else "only botocore refuses"
    for name, keys in known.items():
        if name:
            found = find_profile({"profile": name}, environ)
            assert found is not None
            assert dict(found.keys) == keys
    assert {found.name: dict(found.keys) for found in every_profile(environ)} == known
    assert_offered(environ, known)
    unknown = next(name for name in ("webapp", "profile", "none", "other") if name not in known)
    missing = outcome(lambda: find_profile({"profile": unknown}, environ))
    assert missing != ACCEPTED, f"{unknown} is no profile to botocore"
    assert (find_profile({}, environ) is None) is ("default" not in known)
    return ACCEPTED if known else missing


def assert_offered(environ: dict[str, str], known: Container[str]) -> None:
    """Check that completion offers profiles that exist, and nothing that moves the cursor of a terminal."""
    with mock.patch.dict(os.environ, environ):
        names = completers.profiles()
        assert all(name and name in known for name in names)
        values = {value for key in ("vault_aws_role", "vault_addr") for value in completers.of_profiles(key)}
        assert all(word.isprintable() for word in (*names, *names.values(), *values, *completers.keyring_names()))


def assert_profile(found: Profile | None) -> None:
    """Check what must hold for every profile."""
    assert found is None or found.name == "webapp"


@target(
    "AWS's files, for who signs a login",
    ("auth.aws_iam._choices",),
    config_file() | config_file().map(lambda content: content + b"\nsource_profile = webapp\nrole_arn = x\n"),
)
def choices(content: bytes) -> str:
    """What AWS's files say of an identity is text; a file that cannot be read says nothing."""
    file = directory() / "credentials"
    file.write_bytes(content)
    found = aws_iam._choices([str(file), "/nonexistent"], "webapp")
    assert all(isinstance(word, str) for word in found)
    return ACCEPTED
