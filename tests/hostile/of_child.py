"""AWS's files as ``exec`` writes them for its program, and as ``configure`` changes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import botocore.configloader
import botocore.exceptions
from hypothesis import strategies as st

from vault_credential_process.cli import installed
from vault_credential_process.cli.configure import changes
from vault_credential_process.cli.exec import child_config, child_environment
from vault_credential_process.cli.paint import Paint
from vault_credential_process.config import resolve

from .kit import ACCEPTED, SECRETS, clean_log, outcome, target
from .of_profiles import config_file, directory

_ROLE = b"role_arn = arn:aws:iam::123456789012:role/a\nsource_profile = webapp\n"
_KEYS = b"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = " + SECRETS[0].encode() + b"\n"


def _profiles(path: str) -> dict[str, dict[str, Any]] | None:
    """Return the profiles of a file as botocore reads them; ``None`` where it cannot, or there is no file."""
    try:
        return dict(botocore.configloader.load_config(path)["profiles"])
    except (botocore.exceptions.ConfigParseError, botocore.exceptions.ConfigNotFound):
        return None


def _with_more(more: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(config_file(), more).map(lambda two: two[0] + b"\n" + two[1])


@target(
    "AWS's files, for a program under exec",
    ("cli.exec.child_config.child_config", "cli.exec.child_config._from_ours", "cli.exec.child_config.text_of",
    "cli.exec.child_environment.environment", "cli.exec.child_environment._has_keys"),
    st.tuples(
        config_file() | _with_more(st.sampled_from((_ROLE, _KEYS, b"[profile other]\n" + _ROLE))),
        config_file() | st.just(b"[webapp]\n" + _KEYS),
        st.sampled_from((b"", b"[Credentials]\n" + _KEYS, b"x", b"\xff")),
        st.booleans(),
    ),
    inputs=(
        (b"[profile webapp]\n" + _KEYS + b"s3 =\n  a = 1\n[profile b]\n" + _ROLE, b"", b"", True),
        (b"[profile webapp]\nregion = x\n[profile keys]\n" + _KEYS, b"[default]\n" + _KEYS, b"", False),
    ),
    examples=100,
)  # fmt: skip
def child(given: tuple[bytes, bytes, bytes, bool]) -> str:
    """The program's file can be read, its profile leads to no other credentials, and no key of a file is in it."""
    environ, made = {}, directory() / "child"
    made.mkdir(exist_ok=True)
    names = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG")
    for name, content in zip(names, given[:3], strict=True):
        environ[name] = str(directory() / f"child-{name}")
        (directory() / f"child-{name}").write_bytes(content)
    further = {child_environment.ENDPOINT: "http://127.0.0.1:1/"} if given[3] else {"AWS_ACCESS_KEY_ID": "x"}
    known = _profiles(environ["AWS_CONFIG_FILE"]) or {}
    config = resolve({"profile": "webapp", "vault_aws_role": "webapp"}, environ | _NO_FILE, None, ())
    with clean_log():
        found = child_environment.environment(config, environ, str(made), further, keep_vault=False)
    has_boto = b"aws_access_key_id" in given[2]
    assert (found["BOTO_CONFIG"] != environ["BOTO_CONFIG"]) is has_boto
    profiles = _profiles(found["AWS_CONFIG_FILE"])
    if profiles is None:
        read = [_profiles(environ[name]) for name in names[:2]]
        assert None in read, "botocore reads what the user has"
        return "botocore reads neither"
    assert os.stat(found["AWS_CONFIG_FILE"]).st_mode & 0o777 == 0o600
    assert os.stat(found["AWS_SHARED_CREDENTIALS_FILE"]).st_size == 0
    assert not [name for name, keys in profiles.items() if child_config.KEYS & keys.keys()]
    of_others = child_config.OF_CREDENTIALS if given[3] else child_config.KEYS
    assert not of_others & profiles.get("webapp", {}).keys()
    assert not child_config.OF_CREDENTIALS & profiles["default"].keys()
    for name, keys in profiles.items():
        if name in known and name not in ("webapp", "default") and "role_arn" not in keys:
            assert known[name].items() <= keys.items()
    return ACCEPTED if known else "nothing is there"


_NO_FILE = {"AWS_CONFIG_FILE": "/nonexistent"}
_PUT = {"webapp": {"vault_aws_role": "webapp", "credential_process": "/bin/vcp get --profile webapp"}}


@target(
    "AWS config file that configure changes",
    ("awsconfig.read", "awsconfig.lines_of", "awsconfig.find", "awsconfig.with_profile", "awsconfig.without_profile",
    "cli.configure.changes.File.put", "cli.configure.changes.File.take_out", "cli.configure.changes.difference",
    "cli.configure.changes._profiles_in", "cli.configure.changes._shown", "cli.installed.rivals"),
    config_file() | _with_more(st.sampled_from((_KEYS, b"[profile webapp]\n" + _KEYS, b"[profile webapp]"))),
    must=(ACCEPTED, "ConfigurationError"),
    inputs=(
        b"[profile webapp]\r\nvault_aws_role = old\r\ns3 =\r\n  a = 1\r\n# a note\r\n[profile b]\r\n" + _KEYS,
        b"[profile a]\n" + _KEYS, b"", b"[profile webapp]\n  region = x",
    ),
    examples=100,
)  # fmt: skip
def changed(content: bytes) -> str:
    """The new keys are in the profile, all others are as they were, what is shown has no secret; else nothing is."""
    path = directory() / "configured"
    path.write_bytes(content)
    before = _profiles(str(path))
    texts: list[str] = []

    def change() -> None:
        file = changes.File(str(path))
        texts.append(file.put(_PUT, replace=True))
        _assert_shown(file.text, texts[0])

    met = outcome(change)
    profiles = {"webapp": (before or {}).get("webapp", {})}
    warnings = list(installed.rivals(profiles, {"AWS_SHARED_CREDENTIALS_FILE": str(path)}))
    assert all(line.isprintable() for line in warnings)
    assert not [secret for secret in SECRETS if secret in "".join(warnings)]
    assert path.read_bytes() == content
    if not texts:
        return met
    path.write_bytes(texts[0].encode("utf-8", "surrogateescape"))
    after = _profiles(str(path))
    assert before is not None
    assert after is not None
    assert _PUT["webapp"].items() <= after["webapp"].items()
    _assert_others(before, after)
    if "webapp" not in before:
        _assert_undone(changes.File(str(path)), content)
    return met


def _assert_others(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that all but the keys of ours are what they were; a new profile has those of ``[DEFAULT]`` besides."""
    then, now = ({name: dict(keys) for name, keys in found.items()} for found in (before, after))
    if "webapp" not in then:
        del now["webapp"]
    for found in (then, now):
        own = found.pop("webapp", {})
        found[""] = {key: value for key, value in own.items() if not changes.is_ours(key)}
    assert then == now


def _assert_undone(file: changes.File, content: bytes) -> None:
    """Check that what was put in can be taken out: the file is what it was."""
    text = file.take_out("webapp")
    assert text.encode("utf-8", "surrogateescape") == content
    _assert_shown(file.text, text)


class _Plain:
    """A stream that is no terminal."""

    def isatty(self) -> bool:
        return False


def _assert_shown(before: str, after: str) -> None:
    """Check what somebody would see of a change."""
    told = changes.difference("/home/a/.aws/config", before, after, Paint(_Plain()))  # type: ignore[arg-type]
    assert all(line.isprintable() for line in told.split("\n"))
    assert not [secret for secret in SECRETS if secret in told]
