"""What ``doctor`` tells of the role and the cache, and what it reads."""

from __future__ import annotations

import os
import sys
import time

import pytest

from vault_credential_process import auth, cache
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.profiles import find_profile
from vault_credential_process.testing.scripted import reply

from ..bench import Clock
from ..conftest import Run
from ..talk import LOGIN, READ, STS
from .ward import CAPABILITIES, Ward, command_line, examined

IAM_USER = reply(
    200,
    {
        "lease_id": "aws/creds/webapp/1",
        "lease_duration": 3600,
        "renewable": True,
        "data": {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI", "security_token": None},
    },
)


def aged(ward: Ward) -> None:
    """Keep credentials that live, and whose time to be refreshed has come."""
    ward.scripted()
    config = auth.configure({"profile": "webapp"}, os.environ, find_profile({"profile": "webapp"}, os.environ))
    clock = Clock(time.time() - 800)
    Fetcher(config, cache=cache.choose("auto", os.environ), clock=clock).fetch()


class TestRole:
    """The kind of credentials, and what is read."""

    @pytest.fixture
    def user(self, ward: Ward) -> Ward:
        """A role that makes IAM users."""
        may = reply(200, {READ: ["read"], "aws/roles/webapp": ["read"]})
        ward.scripted(read=IAM_USER, capabilities=may)
        ward.server.on("GET", "aws/roles/webapp", reply(200, {"data": {"credential_type": "iam_user"}}))
        ward.write(vault_addr=ward.server.address, vault_aws_role="webapp", vault_aws_probe="off")
        return ward

    def test_iam_user_is_made_on_demand_only(self, user: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Nobody makes an IAM user to look at it; with ``--read`` it is made, and kept for ``get``."""
        report = examined(capsys, *user.flags)
        assert report.says("role", "that would make an IAM user")
        assert report.says("role", "gives keys of a new IAM user (iam_user)")
        assert user.server.asked("GET", READ) == 0

        examined(capsys, *user.flags, "--read")
        assert user.server.asked("GET", READ) == 1
        assert examined(capsys, *user.flags, "--read").says("role", "an IAM user ends with the Vault token")
        assert user.server.asked("GET", READ) == 1

    def test_kind_that_is_known_is_read(self, user: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """STS credentials harm nobody, so they are read where the role says that it gives them."""
        user.server.on("GET", "aws/roles/webapp", reply(200, {"data": {"credential_type": "assumed_role"}}))
        user.server.on("GET", READ, STS)

        report = examined(capsys, *user.flags)

        assert report.says("role", "gives STS credentials (assumed_role)")
        assert user.server.asked("GET", READ) == 1

    def test_without_a_cache(self, user: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Where nothing is kept the role is asked for before the token is ended; no token is left behind."""
        report = examined(capsys, *user.flags, "--no-cache")

        assert report.says("login", "the token is not kept for get")
        assert report.says("role", "gives keys of a new IAM user (iam_user)")
        assert user.server.asked("POST", "auth/token/revoke-self") == user.server.asked("POST", LOGIN) == 1

    def test_what_is_not_told_denies_nothing(self, user: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """A server that does not say what the token may do has not said that it may not."""
        user.server.on("POST", CAPABILITIES, reply(200, {"data": {}}))

        report = examined(capsys, *user.flags)

        assert report.code == 0
        assert report.says("login", "what the token may do was not told")

    def test_unknown_kind_is_not_read(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Where nobody tells the kind it might be an IAM user."""
        assert examined(capsys, *ward.flags).says("role", "it might make an IAM user")

    @pytest.mark.parametrize(
        ("listed", "code"),
        [
            (reply(200, {"data": {"keys": ["webapp", "other"]}}), 0),
            (reply(200, {"data": {"keys": ["webapp2"]}}), 2),
            (reply(403, {"errors": ["permission denied"]}), 2),
            (reply(404, {"errors": []}), 0),
        ],
    )
    def test_role_that_is_not_there(
        self, user: Ward, capsys: pytest.CaptureFixture[str], listed: bytes, code: int
    ) -> None:
        """A role that the engine does not know is an error, unless nobody can tell: an engine without any role."""
        user.server.on("GET", "aws/roles/webapp", reply(404, {"errors": []}))
        user.server.on("LIST", "aws/roles", listed)

        report = examined(capsys, *user.flags)

        assert report.code == code
        assert report.says("role", "no role 'webapp' at mount 'aws'") == bool(code)
        assert report.says("role", "vault list aws/roles") == bool(code)
        assert user.server.asked("GET", READ) == 0
        assert report.document["complete"] is False

    def test_ending_where_the_role_was_not_tried(self, ward: Ward, run: Run) -> None:
        """Nothing claims to work that nobody tried: the last line tells how to, and that is true."""
        first = run(*command_line(ward))
        whole = run(*command_line(ward), "--read")
        after = run(*command_line(ward))

        command = "vault-credential-process doctor --read --profile webapp"
        assert first.stdout.splitlines()[-1].endswith(f"the role and AWS were not tried: {command}")
        assert first.stdout.splitlines()[-1].startswith("nothing wrong so far")
        assert first.returncode == 0
        # Kept credentials that are valid are used from then on.
        for done in (whole, after):
            assert done.stdout.splitlines()[-1].startswith(("all is well", "it works, with "))

    def test_ending_where_aws_is_not_reached(self, ward: Ward, run: Run) -> None:
        """Nor where AWS did not answer."""
        ward.patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

        done = run(*command_line(ward), "--read")

        last = done.stdout.splitlines()[-1]
        assert last.startswith("nothing wrong so far, with ")
        assert last.endswith("AWS was not reached, so whether it takes the credentials is not known")

    def test_endpoint_of_sts(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """What comes from ``sts/`` is of STS, so it is read."""
        ward.tenant.laboratory.write_sts(ward.tenant.role, ttl=3600, endpoint="sts")
        ward.write(vault_aws_endpoint="sts")

        assert examined(capsys, *ward.flags).says("role", "gives STS credentials vault_aws_endpoint says so")

    def test_static(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """Static keys are read: nothing is made."""
        keys = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "gone"}
        ward.tenant.laboratory.write(ward.tenant.role, keys, endpoint="static-creds")
        ward.write(vault_aws_endpoint="static-creds")

        assert examined(capsys, *ward.flags).says("role", "static keys, until")


class TestCache:
    """Where things are kept, and why not."""

    def test_last_failure(self, ward: Ward, capsys: pytest.CaptureFixture[str], run: Run) -> None:
        """Why kept credentials were last not refreshed is told."""
        aged(ward)
        ward.server.on("GET", READ, reply(429, {"errors": ["rate limit quota exceeded"]}))
        get = (sys.executable, "-m", "vault_credential_process", "get", *ward.flags)
        assert run(*get).returncode == 0

        report = examined(capsys, *ward.flags)

        assert report.says("cache", "the last refresh failed, at ")
        assert report.says("cache", "too many requests: rate limit quota exceeded")

    def test_none_by_name(self, ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
        """``--no-cache`` is somebody's wish, and no warning."""
        report = examined(capsys, *ward.flags, "--no-cache")

        assert report.says("cache", "nothing is kept between calls")
        assert {finding["state"] for finding in report.of("cache")} == {"ok"}

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the runtime cache is Linux's")
    def test_nothing_can_be_written(self, ward: Ward, run: Run) -> None:
        """A host on which no file can be written keeps nothing: a warning, and everything else goes on."""
        limited = ("/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh")

        done = run(*limited, *command_line(ward), PYTHONIOENCODING="utf-8", PYTHONDONTWRITEBYTECODE="1")

        assert done.returncode == 0
        assert "! nothing is kept between calls: no place for runtime: " in done.stdout
        assert "each call logs in and reads anew" in done.stdout
