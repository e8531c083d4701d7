"""``serve``: the container-credentials endpoint, for as long as it is not stopped."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import shlex
import signal
import sys
import threading
import time
from socket import gethostname
from typing import Any, NoReturn
from urllib.parse import urlsplit

from vault_credential_process.cli import complain, coredump, parser, serve_check
from vault_credential_process.cli.notify import notify
from vault_credential_process.errors import ConfigurationError, VaultCredentialError, one_line
from vault_credential_process.expiry import parse_duration
from vault_credential_process.keeper import Keeper
from vault_credential_process.parsers import is_loopback
from vault_credential_process.server import EndpointServer, source_of
from vault_credential_process.server.endpoint import RESERVED, path_of
from vault_credential_process.server.sockets import allow_connections, listen, listener
from vault_credential_process.server.tokenfile import GRACE, TokenFile

LOGGER = "vault_credential_process"

ENOUGH = 2048
"""Connections below which a word is said about the limit of open files."""

_LOOK = 1.0
"""Seconds between two looks at whether the server still runs."""


def add_options(to: argparse.ArgumentParser) -> None:
    """Add the flags of the endpoint, and those of every setting."""
    to.epilog = "example: vault-credential-process serve --profile webapp --port 9911; see docs/serve.md for services"
    to.add_argument("--host", default="127.0.0.1", help="where to listen; another than the loopback wants TLS")
    to.add_argument("--port", type=int, default=0, help="port to listen on (default: 0, one that is free)")
    to.add_argument(
        "--authorization-token-file",
        metavar="FILE",
        help="where clients find the token (default: a new file in memory)",
    )
    to.add_argument(
        "--authorization-token-group", metavar="GROUP", help="let members of a group read the token file (mode 0640)"
    )
    to.add_argument(
        "--rotate-authorization-token",
        metavar="SECONDS",
        help="replace the token that often, as SIGHUP does (default: never)",
    )
    to.add_argument("--tls-cert", metavar="FILE", help="PEM file of the certificate to serve with, and its chain")
    to.add_argument("--tls-key", metavar="FILE", help="PEM file of its key")
    to.add_argument(
        "--check", action="store_true", help="ask /health of the one that runs at --port, and end with 0 or 5"
    )
    parser.add_settings(to, profiles=True)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it: 0 after ``SIGTERM``.

    :raises VaultCredentialError: when it cannot begin: what is served is fetched once before.
    """
    if arguments.check:
        return serve_check.check(arguments)
    coredump.hide()
    tls, interval = listener(arguments.tls_cert, arguments.tls_key), _interval(arguments.rotate_authorization_token)
    try:
        with contextlib.ExitStack() as stack:
            asked = _signals(stack)
            socket = stack.enter_context(listen(arguments.host, arguments.port))
            _refuse_loop(socket.getsockname()[1])
            _say_what_fits(allow_connections())
            roles = _roles(arguments)
            file = _token_file(arguments)
            stack.callback(file.close)
            tokens = file.begin()
            server = EndpointServer(roles, token=tokens, socket=socket, tls=tls)
            _fetch(list(roles.values()))
            if not arguments.verbose:
                _warn_on_stderr()
            stack.callback(_stop, server)
            server.start()
            for role in server.endpoint.roles.values():
                role.look()
            _tell(_address(server, arguments.host if tls else None), list(roles), file)
            notify(f"READY=1\nSTATUS=serving at {server.address}")
            due = time.monotonic() + interval
            while server.running:
                if _is_asked(asked) or time.monotonic() >= due:
                    file.rotate(tokens)
                    due = time.monotonic() + interval
            raise VaultCredentialError("the endpoint ended by itself; start it again, with -v")
    except _Terminated:
        return 0


class _Terminated(BaseException):
    """The wish of a signal that this process ends; no error, so nothing that catches those must catch it."""


def _signals(stack: contextlib.ExitStack) -> queue.SimpleQueue[int]:
    """Let ``SIGTERM`` end the command, and return where each ``SIGHUP`` is put; at a terminal that ends it too.

    As process 1 of a container it gets no signal that it does not handle.
    """
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def end(*_: object) -> NoReturn:
        raise _Terminated

    def put(number: int, _: object) -> None:
        asked.put(number)

    if threading.current_thread() is threading.main_thread():
        handlers: dict[str, Any] = {"SIGTERM": end, "SIGHUP": end if _has_terminal() else put}
        for name, handler in handlers.items():
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, handler))
    return asked


def _has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def _is_asked(asked: queue.SimpleQueue[int]) -> bool:
    """Wait a moment; tell whether a signal came."""
    try:
        asked.get(timeout=_LOOK)
    except queue.Empty:
        return False
    return True


def _stop(server: EndpointServer) -> None:
    """Stop, whatever signal comes meanwhile: it takes some seconds at most."""
    notify("STOPPING=1")
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)):
                stack.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        server.stop()


def _roles(arguments: argparse.Namespace) -> dict[str, Keeper]:
    """Return what is served by its name: that of the profile, or of the Vault role where no profile is in use."""
    roles: dict[str, Keeper] = {}
    for profile in arguments.profile or [None]:
        config = parser.configuration(argparse.Namespace(**{**vars(arguments), "profile": profile}))
        name = config.profile or config.vault_aws_role
        if name in RESERVED:
            raise ConfigurationError(
                f"--profile: {name} is a path of the endpoint's own; give the profile another name"
            )
        if name in roles:
            raise ConfigurationError(f"--profile: {name} is named twice; name each profile once")
        roles[name] = source_of(config)
    return roles


def _fetch(keepers: list[Keeper]) -> None:
    """Fetch everything once, all at the same time.

    :raises VaultCredentialError: the first failure there was.
    """
    failures: list[BaseException] = []

    def fetch(keeper: Keeper) -> None:
        try:
            keeper.held()
        except BaseException as error:  # whatever it is, it is raised where somebody catches it
            failures.append(error)

    threads = [threading.Thread(target=fetch, args=(keeper,), name="first-fetch", daemon=True) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _token_file(arguments: argparse.Namespace) -> TokenFile:
    if arguments.authorization_token_file:
        return TokenFile(
            os.path.expanduser(arguments.authorization_token_file), group=arguments.authorization_token_group
        )
    return TokenFile.made(os.environ, group=arguments.authorization_token_group)


def _refuse_loop(port: int) -> None:
    """Refuse an environment that sends an AWS login to this endpoint: it would wait for itself.

    :raises ConfigurationError: when that is so.
    """
    variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    try:
        uri = urlsplit(os.environ.get(variable, ""))
        leads_here = is_loopback(uri.hostname or "") and uri.port == port
    except ValueError:
        return
    if leads_here:
        raise ConfigurationError(f"{variable} leads to this endpoint itself; unset it where serve runs")


def _say_what_fits(connections: int) -> None:
    if connections < ENOUGH:
        complain(
            f"the limit of open files leaves room for {connections} connections only; "
            "raise it with ulimit -n, or LimitNOFILE in the unit"
        )


def _interval(text: str | None) -> float:
    """Return the seconds between two changes of the token, infinite where there are none.

    :raises ConfigurationError: when the text is no such time.
    """
    if text is None:
        return float("inf")
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"--rotate-authorization-token: {error}") from None
    if seconds < GRACE:
        raise ConfigurationError(
            f"--rotate-authorization-token: the token before is good for {GRACE:g} s; write a longer time"
        )
    return seconds


def _address(server: EndpointServer, host: str | None) -> str:
    """Return where clients find it; with TLS by the name that the certificate should have."""
    if host is None:
        return server.address
    name = gethostname() if server.is_everywhere else host
    return f"https://{f'[{name}]' if ':' in name else name}:{server.address.rpartition(':')[2]}"


def _tell(address: str, names: list[str], file: TokenFile) -> None:
    """Print what clients need in their environment, for each profile its own lines."""
    if sys.stdout is None:
        return
    for name in names:
        if len(names) > 1:
            sys.stdout.write(f"# {one_line(name)}\n")
        sys.stdout.write(f"export AWS_CONTAINER_CREDENTIALS_FULL_URI={shlex.quote(address + path_of(name))}\n")
        sys.stdout.write(f"export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={shlex.quote(file.path)}\n")
    sys.stdout.flush()


class _OneLine(logging.Formatter):
    """What went wrong, without the traceback that ``-v`` shows."""

    def format(self, record: logging.LogRecord) -> str:
        return f"vault-credential-process: {record.getMessage()}"


def _warn_on_stderr() -> None:
    """Tell on stderr, where a service manager keeps it, when Vault is away and when it is back."""
    if sys.stderr is not None:
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(_OneLine())
        logging.getLogger(LOGGER).addHandler(handler)
