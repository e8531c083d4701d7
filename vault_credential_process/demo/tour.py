"""The demo: from nothing to a listed bucket and a refresh, on this machine alone, telling each step."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from vault_credential_process import fastpath
from vault_credential_process.demo.aws import LocalAWS
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory, Renewer, write_private
from vault_credential_process.demo.server import Engine, VaultServer
from vault_credential_process.doctor.installation import reads_endpoint
from vault_credential_process.errors import one_line

LEASE = 6
_SHORT = {"token_ttl": f"{LEASE}s", "token_max_ttl": f"{LEASE}s"}
"""Seconds that the credentials of the second part live, so that a refresh can be watched."""

_PROGRAMS = pathlib.Path(__file__).parent / "programs"

Say = Callable[[str], None]


class TourFailed(Exception):  # noqa: N818 - not an error of the package: the demo's own verdict
    """A step did not do what it should; the text is what it printed."""


def run(say: Say, *, engine: Engine, keep: bool, command: str) -> None:
    """Run the demo. ``command`` is the helper as it stands in the profile.

    :raises TourFailed: when the server does not start, or a program that should have listed a bucket did not.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="vault-credential-process-demo-", dir=_tmpfs())
        directory = pathlib.Path(stack.enter_context(made))
        laboratory = _start(say, stack, engine, directory)
        settings = _set_up(say, stack, laboratory)
        config = _write_config(say, laboratory, settings, command)
        _run_programs(say, config, laboratory.cloud.endpoint)
        say(f"Done in {time.monotonic() - started:.0f} s.")
        if keep:
            _stay(say, laboratory, config)
        say("Stopping both servers and removing every file.")


def _tmpfs() -> str | None:
    """Return where the demo's files go: on Linux to a tmpfs, for the cache is among them."""
    if not sys.platform.startswith("linux") or fastpath.is_tmpfs(os.stat(tempfile.gettempdir()).st_dev):
        return None
    return "/dev/shm"  # noqa: S108 - a private directory is made in it


def _start(say: Say, stack: contextlib.ExitStack, engine: Engine, directory: pathlib.Path) -> Laboratory:
    say("1. Starting a real server and an AWS of our own, on free ports of 127.0.0.1")
    cloud = stack.enter_context(LocalAWS())
    try:
        server = stack.enter_context(VaultServer(engine))
        laboratory = Laboratory(server, cloud, directory)
    except (OSError, RuntimeError) as error:
        raise TourFailed(f"{engine.description}: {one_line(str(error))}") from None
    say(f"   server:  {server.address}  ({pathlib.Path(engine.binary).name}, in memory)")
    say(f"   AWS:     {cloud.endpoint}  (moto: STS, IAM and S3, with its checks of keys and policies on)")
    say(f"   engine:  {engine.description}")
    if not engine.real:
        say("            It answers at the same paths, with STS credentials that the demo writes anew before they end:")
        say("            you see a refresh, but not Vault ending a lease. For the real engine, have vault on PATH, or")
        say("            name a directory with OpenBao's AWS plugin in AWS_ENGINE_PLUGIN_DIR.")
    return laboratory


def _set_up(say: Say, stack: contextlib.ExitStack, laboratory: Laboratory) -> dict[str, str]:
    """Return the settings of a profile, all but the role."""
    say("2. Setting up Vault: a policy, an AppRole, two roles of the AWS engine")
    real = laboratory.server.engine.real
    hcl = "".join(READ_POLICY.format(mount="aws", endpoint="creds", role=r) for r in ("webapp", "shortlived"))
    laboratory.allow("webapp", hcl)
    approle = laboratory.app_role("webapp", policies=("webapp",), **(_SHORT if real else {"token_ttl": "10m"}))
    laboratory.assumed_role("webapp", ttl=3600)
    if real:
        laboratory.iam_user("shortlived")
        say(f"   webapp gives STS credentials of an hour; shortlived makes IAM users, which die with a {LEASE} s token")
    else:
        stack.enter_context(Renewer(laboratory, "shortlived", ttl=LEASE))
        say(f"   webapp gives STS credentials of an hour; shortlived gives such that live for {LEASE} s")
    return {
        "vault_addr": laboratory.server.address,
        "vault_role_id": approle["role_id"],
        "vault_secret_id_file": approle["secret_id_file"],
    }


def _write_config(say: Say, laboratory: Laboratory, settings: dict[str, str], command: str) -> pathlib.Path:
    say("3. Writing the AWS config file. This is all that a program ever sees:")
    text = laboratory.profile("webapp", {**settings, "vault_aws_role": "webapp"}, command=command)
    # moto knows a new IAM user at once, so the demo need not wait as it must for AWS.
    short = {**settings, "vault_aws_role": "shortlived", "vault_aws_probe": "off"}
    config = laboratory.directory / "config"
    config.write_text(text + "\n" + laboratory.profile("shortlived", short, command=command))
    for line in text.splitlines():
        say(f"   | {line}")
    return config


def _run_programs(say: Say, config: pathlib.Path, endpoint: str) -> None:
    environ = {n: v for n, v in os.environ.items() if not _is_foreign(n)}
    environ |= {**_variables(config), "AWS_EC2_METADATA_DISABLED": "true"}
    say("4. An unmodified boto3 program, which knows only AWS_PROFILE and AWS_CONFIG_FILE")
    _show(say, [sys.executable, str(_PROGRAMS / "list_buckets.py")], environ)
    aws = shutil.which("aws")
    if aws:
        version = _version_of(aws, environ)
        say(f"5. The aws command ({version})")
        _show(say, [aws, *([] if reads_endpoint(version) else ["--endpoint-url", endpoint]), "s3", "ls"], environ)
    else:
        say("5. The aws command: there is none on PATH; install the AWS CLI to see it here")
    environ["AWS_PROFILE"] = "shortlived"
    turns = str(10 * LEASE)  # a busy machine may be slow to write the next credentials
    say("6. The same program again and again with the short-lived role: watch the access key change")
    _show(say, [sys.executable, str(_PROGRAMS / "list_buckets.py"), turns], environ, lines=LEASE)
    say("7. Once more, in the process: install() is the one line that was added, no subprocess is run")
    _show(say, [sys.executable, str(_PROGRAMS / "list_buckets_in_process.py"), turns], environ, lines=LEASE)


def _variables(config: pathlib.Path) -> dict[str, str]:
    """Return what a program is told.

    The user's own credentials file might have keys for a profile of this name, and the user's own cache must not
    remember the demo: the cache lies in the demo's directory where that is on a tmpfs, else there is none.
    """
    cache = {"XDG_RUNTIME_DIR": str(config.parent)} if sys.platform.startswith("linux") else {"VAULT_AWS_CACHE": "none"}
    return {
        **cache,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config.with_name("no-credentials")),
        "AWS_PROFILE": "webapp",
    }


def _is_foreign(name: str) -> bool:
    """Tell whether a variable would lead a program elsewhere than to the demo: to an account, a server, a proxy."""
    return name.startswith(("AWS_", "VAULT_", "BAO_")) or name.lower().endswith("_proxy")


def _show(say: Say, arguments: list[str], environ: dict[str, str], *, lines: int = 0) -> None:
    """Run a program and show what it prints as it comes.

    With ``lines`` it is ended after so many, once they are no longer all the same, which they must not stay.
    """
    shown = " ".join(os.path.basename(word) if os.path.isabs(word) else word for word in arguments)
    say(f"   $ {shown}")
    with tempfile.TemporaryFile("w+") as errors:
        with _running(arguments, environ, errors.fileno()) as process:
            printed: list[str] = []
            for line in process.stdout or ():
                printed.append(line)
                say(f"   {line.rstrip()}")
                if lines and len(printed) >= lines and len(set(printed)) > 1:
                    process.terminate()
                    return
        if process.returncode or not printed:
            errors.seek(0)
            raise TourFailed(f"{shown} ended with code {process.returncode}: {errors.read().strip()[-1500:]}")
    if lines and len(set(printed)) == 1:
        raise TourFailed(f"{shown} saw no refresh: its access key never changed")


@contextlib.contextmanager
def _running(arguments: list[str], environ: dict[str, str], errors: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    try:
        yield process
        process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _version_of(aws: str, environ: dict[str, str]) -> str:
    done = subprocess.run([aws, "--version"], env=environ, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout or done.stderr).split(" ")[0].strip()


def _stay(say: Say, laboratory: Laboratory, config: pathlib.Path) -> None:
    """Keep everything up until it is interrupted.

    :raises TourFailed: when the server ends by itself.
    """
    address, token = laboratory.server.address, laboratory.directory / "root-token"
    write_private(token, laboratory.server.root_token + "\n")
    with contextlib.suppress(KeyboardInterrupt):
        say("")
        say("Everything stays up until you press Ctrl-C. To play with it, in another shell:")
        say("")
        foreign = sorted(filter(_is_foreign, os.environ))
        if foreign:
            say(f"unset {' '.join(foreign)}")
        # For profiles that are written later: they do not say where this AWS is.
        told = {**_variables(config), "AWS_ENDPOINT_URL": laboratory.cloud.endpoint}
        say("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in told.items()))
        say(f"export VAULT_ADDR={address} BAO_ADDR={address}")
        read = f"$(cat {shlex.quote(str(token))})"
        say(f"export VAULT_TOKEN={read} BAO_TOKEN={read}   # the administrator's, for vault or bao")
        say("")
        while laboratory.server.is_running:
            time.sleep(1)
        raise TourFailed(f"the server at {address} has ended; start the demo again")
