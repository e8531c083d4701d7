"""How the profile in use is found in the AWS config file, and what a broken file says."""

from __future__ import annotations

import os
import pathlib

import botocore.configloader
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_credential_process.config import resolve
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.profiles import find_profile, profile_name

FILE = """
# comment
[default]
region = eu-west-1

[profile webapp]
Vault_AWS_Role = webapp
credential_process = /usr/bin/vault-credential-process get --profile webapp
s3 =
    max_queue_size = 10

[profile "two words"]
vault_aws_role = spaced

[profile 'unclosed]
vault_aws_role = never

[webapp2]
vault_aws_role = not-a-profile

[sso-session ours]
region = eu-west-1
"""


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """An AWS config file."""
    file = tmp_path / "config"
    file.write_text(FILE)
    return file


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ({"profile": "a"}, {"AWS_PROFILE": "b", "AWS_DEFAULT_PROFILE": "c"}, "a"),
        ({"profile": None}, {"AWS_PROFILE": "b"}, "b"),
        ({}, {"AWS_PROFILE": "b", "AWS_DEFAULT_PROFILE": "c"}, "c"),
        ({}, {"AWS_PROFILE": ""}, None),
        ({}, {}, None),
    ],
)
def test_profile_is_named_as_botocore_has_it(
    arguments: dict[str, str | None], environ: dict[str, str], expected: str | None
) -> None:
    """The argument goes first, then ``AWS_DEFAULT_PROFILE``, then ``AWS_PROFILE``."""
    assert profile_name(arguments, environ) == expected


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (
            "webapp",
            {
                "vault_aws_role": "webapp",
                "credential_process": "/usr/bin/vault-credential-process get --profile webapp",
                "s3": {"max_queue_size": "10"},
            },
        ),
        ("two words", {"vault_aws_role": "spaced"}),
        ("default", {"region": "eu-west-1"}),
    ],
)
def test_named_profile_is_found(path: pathlib.Path, name: str, keys: dict[str, str]) -> None:
    """A profile is found by its name, quoted or not, with its keys in lower case."""
    profile = find_profile({"profile": name}, {"AWS_CONFIG_FILE": str(path)})

    assert profile is not None
    assert (profile.name, profile.keys) == (name, keys)


def test_without_a_name_the_default_profile_is_taken(path: pathlib.Path) -> None:
    """Nobody names a profile: ``[default]`` is the one."""
    profile = find_profile({}, {"AWS_CONFIG_FILE": str(path)})

    assert profile is not None
    assert profile.name == "default"


def test_file_in_the_home_directory_is_the_usual_one(clean_environment: pathlib.Path) -> None:
    """Without ``AWS_CONFIG_FILE`` it is ``~/.aws/config``."""
    (clean_environment / ".aws").mkdir()
    (clean_environment / ".aws" / "config").write_text("[profile home]\nvault_aws_role = home\n")

    profile = find_profile({}, {"AWS_PROFILE": "home"})

    assert profile is not None
    assert profile.keys == {"vault_aws_role": "home"}


def test_tilde_in_the_path_is_expanded(clean_environment: pathlib.Path) -> None:
    """``AWS_CONFIG_FILE=~/x`` is read from the home directory, as botocore does."""
    (clean_environment / "x").write_text("[default]\nregion = eu-west-1\n")

    assert find_profile({}, {"AWS_CONFIG_FILE": "~/x"}) is not None


@pytest.mark.parametrize("content", [None, "", "[profile other]\n"], ids=["no file", "empty", "others only"])
def test_no_name_and_no_default_is_no_profile(tmp_path: pathlib.Path, content: str | None) -> None:
    """A machine without AWS configuration is fine as long as nobody asks for a profile."""
    if content is not None:
        (tmp_path / "config").write_text(content)

    assert find_profile({}, {"AWS_CONFIG_FILE": str(tmp_path / "config")}) is None


def test_section_as_in_the_credentials_file(path: pathlib.Path) -> None:
    """``[webapp2]`` in the config file is no profile, and the error says how it is written."""
    with pytest.raises(ConfigurationError, match=r"is written \[profile webapp2\], not \[webapp2\]"):
        find_profile({"profile": "webapp2"}, {"AWS_CONFIG_FILE": str(path)})


@pytest.mark.parametrize(
    ("name", "written"), [("nosuch", "nosuch"), ("unclosed", "unclosed"), ("profile webapp", '"profile webapp"')]
)
def test_profile_that_is_not_there_is_an_error(path: pathlib.Path, name: str, written: str) -> None:
    """A name that no ``[profile ...]`` section has is refused, with the path."""
    with pytest.raises(ConfigurationError) as caught:
        find_profile({"profile": name}, {"AWS_CONFIG_FILE": str(path)})

    assert str(caught.value) == f"[profile {written}] is not in {path}; name another with --profile or AWS_PROFILE"


def test_named_profile_without_a_file_is_an_error(tmp_path: pathlib.Path) -> None:
    """A profile was asked for and there is no file at all: the error has its path."""
    with pytest.raises(ConfigurationError, match=r"/config: no such file, so there is no profile 'webapp'; run "):
        find_profile({"profile": "webapp"}, {"AWS_CONFIG_FILE": str(tmp_path / "config")})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[default]\nhunter2\n", "line 2 is neither a key = value pair nor a [section]; mend the file"),
        (b"hunter2 = x\n[default]\n", "line 1 stands before any [section]; mend the file"),
        (b"[default]\na = 1\na = hunter2\n", "key 'a' stands twice in [default] (line 3); mend the file"),
        (b"[default]\n[x]\n[default]\n", "section [default] stands twice (line 3); mend the file"),
        (b"[\x01]\n[\x01]\n", "section [] stands twice (line 2); mend the file"),
        (b"[default]\n= hunter2\n", "line 2 is neither a key = value pair nor a [section]; mend the file"),
        (b"[default]\na = hunter2\xff\n", "cannot be read: not UTF-8 text"),
    ],
)
def test_garbage_in_the_file_is_one_line_without_its_text(tmp_path: pathlib.Path, content: bytes, reason: str) -> None:
    """The error tells the line's number, not the line: it may hold a key."""
    path = tmp_path / "config"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        find_profile({}, {"AWS_CONFIG_FILE": str(path)})
    assert str(caught.value) == f"{path}: {reason}"


def test_directory_in_place_of_the_file_is_an_error(tmp_path: pathlib.Path) -> None:
    """A path that is there and cannot be read is reported, even if no profile was named."""
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        find_profile({}, {"AWS_CONFIG_FILE": str(tmp_path)})


GARBAGE = st.binary(max_size=60) | st.text("[]=:#; \n\tdefaultprofile'\"\0x%", max_size=60).map(str.encode)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(GARBAGE)
def test_no_file_brings_anything_but_our_own_error(tmp_path: pathlib.Path, content: bytes) -> None:
    """Any bytes at all in the file give a profile, none, or one printable line."""
    path = tmp_path / "config"
    path.write_bytes(content)
    environ = {"AWS_CONFIG_FILE": os.fspath(path)}
    try:
        profile = find_profile({}, environ)
        resolve({}, environ, profile, ())
    except ConfigurationError as error:
        said = str(error)
    else:
        said = "" if profile is None else profile.name

    assert said.isprintable()


AS_BOTOCORE_HAS_IT = """
[DEFAULT]
vault_auth_role = everybody

[profiles webapp]
vault_aws_role = webapp

[ default ]
vault_aws_role = no-profile

[ profile spaces]
vault_aws_role = no-profile

["profile" quoted]
vault_aws_role = no-profile
"""


def test_sections_are_those_that_botocore_takes(tmp_path: pathlib.Path) -> None:
    """What stands in ``[DEFAULT]`` is in every profile; a section is one by how it begins, without spaces before it."""
    path = tmp_path / "config"
    path.write_text(AS_BOTOCORE_HAS_IT)
    environ = {"AWS_CONFIG_FILE": str(path)}
    profile = find_profile({"profile": "webapp"}, environ)

    assert profile is not None
    assert profile.keys == {"vault_auth_role": "everybody", "vault_aws_role": "webapp"}
    assert profile.keys == botocore.configloader.load_config(str(path))["profiles"]["webapp"]
    assert find_profile({}, environ) is None
    for name in ("spaces", "quoted"):
        with pytest.raises(ConfigurationError, match="is not in"):
            find_profile({"profile": name}, environ)


def test_variable_in_the_path_is_expanded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``AWS_CONFIG_FILE=$PLACE/config`` is read as botocore reads it."""
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("PLACE", str(tmp_path))

    assert find_profile({}, {"AWS_CONFIG_FILE": "$PLACE/config"}) is not None


def test_setting_that_is_indented_below_its_key_is_an_error(tmp_path: pathlib.Path) -> None:
    """To botocore such a block is a group of keys: a setting in it would not be found by every face."""
    path = tmp_path / "config"
    path.write_text("[default]\nvault_aws_role =\n  name = webapp\n")
    environ = {"AWS_CONFIG_FILE": str(path)}

    with pytest.raises(
        ConfigurationError, match=r"^vault_aws_role in \[default\]: its value is indented below it; write"
    ):
        resolve({}, environ, find_profile({}, environ), ())


def test_path_that_is_none_is_an_error() -> None:
    """A path with a NUL comes from a program; it is told in our words, too."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        find_profile({}, {"AWS_CONFIG_FILE": "a\0b"})
