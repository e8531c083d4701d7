"""The page on Lambda: a function with a role of its own, frozen between two invocations."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time
from typing import Any

import pytest

from vault_credential_process.demo import aws
from vault_credential_process.testing.scripted import ScriptedServer, replay, reply

from ..auth.signers import EXAMPLE, LOGIN, decoded
from .conftest import Environment, Page

pytestmark = pytest.mark.system

READ = "aws/creds/webapp"
RUNTIME = """
import json, sys, threading, app
for event in sys.stdin:
    print(json.dumps([app.handler(json.loads(event), None), [t.name for t in threading.enumerate()]]), flush=True)
"""


def lease(cloud: aws.LocalAWS, life: float) -> tuple[str, bytes]:
    """Return the id of a new key, and Vault's answer with it."""
    issued = cloud.assume_role()
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "security_token": "SessionToken"}
    data = {ours: issued[theirs] for ours, theirs in names.items()} | {"ttl": life}
    return issued["AccessKeyId"], reply(200, {"lease_duration": life, "data": data})


def test_function_is_frozen_between_invocations(
    plain: Environment,
    scripted: ScriptedServer,
    exchanges: dict[str, Any],
    cloud: aws.LocalAWS,
    tmp_path: pathlib.Path,
) -> None:
    """It logs in once, with its role; thawed after its pair ended it reads another; warm it asks nobody. No thread."""
    first, short = lease(cloud, 2)
    second, long = lease(cloud, 3600)
    scripted.on("POST", LOGIN, replay(exchanges["aws_iam_login"]))
    scripted.on("GET", READ, short, long)
    page = Page("lambda")
    page.write_program(tmp_path)
    config = tmp_path / "aws-config"
    profile = page.profile({"vault_addr": scripted.address, "region": aws.REGION})
    config.write_text(f"{profile}endpoint_url = {cloud.endpoint}\n")
    begin = len(cloud.requests)
    function = subprocess.Popen(
        [str(plain.programs / "python"), "-c", RUNTIME],
        cwd=tmp_path,
        env=plain.variables({**EXAMPLE, "AWS_CONFIG_FILE": str(config)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with function:
        events, answered = function.stdin, function.stdout
        assert events is not None
        assert answered is not None

        def invoke() -> Any:
            events.write(json.dumps({"prefix": "hello"}) + "\n")
            events.flush()
            return json.loads(answered.readline())

        answers = [invoke()]
        os.kill(function.pid, signal.SIGSTOP)
        time.sleep(2.1)
        os.kill(function.pid, signal.SIGCONT)
        answers += [invoke(), invoke()]
        events.close()
        assert function.wait(10) == 0

    assert answers == [[["hello.txt"], ["MainThread"]]] * 3
    assert [key for key, _ in cloud.requests[begin:]] == [first, second, second]
    assert (scripted.asked("POST", LOGIN), scripted.asked("GET", READ)) == (1, 2)
    body = next(request for request in scripted.requests if request.path.endswith("login")).json
    assert EXAMPLE["AWS_ACCESS_KEY_ID"] in decoded(body)[2]["Authorization"]
    assert body["role"] == "webapp"
