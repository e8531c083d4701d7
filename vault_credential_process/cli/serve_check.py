"""``serve --check``: is the endpoint of this machine well? For the probes of containers."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import ssl
import sys

from vault_credential_process.errors import ConfigurationError, UnreachableError
from vault_credential_process.parsers import is_loopback

LIMIT = 3.0
"""Seconds that an answer may take."""

_OF_THE_WIRE = (OSError, http.client.HTTPException)
_OF_THE_FORM = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What becomes of an answer that is something else's: no JSON, or not in the form of ours."""

MOST_READ = 1024 * 1024
"""Bytes of it that are read."""


def check(arguments: argparse.Namespace) -> int:
    """Ask the health of an endpoint that runs on this machine.

    :raises ConfigurationError: when it is not said which.
    :raises UnreachableError: when it does not answer, or a role has no valid credentials.
    """
    if not arguments.port:
        raise ConfigurationError("--check: name the --port of the endpoint that runs")
    host = arguments.host if is_loopback(arguments.host) else "127.0.0.1"
    where = f"{host}:{arguments.port}"
    connection: http.client.HTTPConnection
    if arguments.tls_cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The certificate is for the names that clients use; it must be this one, whoever signed it.
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(arguments.tls_cert)
        except OSError as error:
            raise ConfigurationError(f"--tls-cert: {arguments.tls_cert}: {error.strerror}; check the path") from None
        connection = http.client.HTTPSConnection(host, arguments.port, timeout=LIMIT, context=context)
    else:
        connection = http.client.HTTPConnection(host, arguments.port, timeout=LIMIT)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            answer = connection.getresponse()
            roles = json.loads(answer.read(MOST_READ))["roles"]
            bad = sorted(name for name, role in roles.items() if not role["valid"])
    except (*_OF_THE_WIRE, *_OF_THE_FORM) as error:
        raise UnreachableError(f"{where}: no endpoint answers ({type(error).__name__}); is serve running?") from None
    if bad:
        raise UnreachableError(f"{where}: no valid credentials for {', '.join(bad)}; see what serve says on stderr")
    sys.stdout.write(f"{where}: ok\n")
    return 0
