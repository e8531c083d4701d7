"""Secrets that libraries would log, kept out of their lines: those in the address of a request, and what is signed.

Vault takes the code of a second factor for AWS, what a browser came back with, and Okta's nonce in no other place.
urllib3 writes each address to its debug log, and programs that log everything keep that. Where the header of a reply
does not parse, it warns with the address and with what the server wrote, which may be what it was sent.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import urllib.parse
from collections.abc import Iterator, Sequence

_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "vault_credential_process.requester",
)
"""Who logs addresses, or replies."""


class _Blot(logging.Filter):
    """Stays on a logger for good, and changes what threads log that are in :func:`unlogged`, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        found: re.Pattern[str] | None = getattr(self.here, "secrets", None)
        if found is not None:
            message = record.getMessage()
            blotted = found.sub("***", message)
            if blotted != message:
                record.msg, record.args = blotted, ()
            if record.exc_info:
                # As text alone: programs that report errors look into the frames, where every secret stands.
                record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
                record.exc_info = None
            if record.exc_text:
                record.exc_text = found.sub("***", record.exc_text)
        return True


class _Hush(logging.Filter):
    """Stays on a logger for good, and drops what threads log that are in :func:`silenced`, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not getattr(self.here, "silent", False)


_blot = _Blot()
_hush = _Hush()


@contextlib.contextmanager
def unlogged(secrets: Sequence[str]) -> Iterator[None]:
    """Blot these secrets, as they are and as an address writes them, out of what this thread logs of its requests."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        yield
        return
    for name in _LOGGERS:
        # A filter that is there already is not added again; to take it off would hide others' from who reads the list.
        logging.getLogger(name).addFilter(_blot)
    outer = getattr(_blot.here, "secrets", None)
    _blot.here.secrets = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))
    try:
        yield
    finally:
        _blot.here.secrets = outer


@contextlib.contextmanager
def silenced(logger: str) -> Iterator[None]:
    """Keep all that this thread does out of a logger."""
    logging.getLogger(logger).addFilter(_hush)
    _hush.here.silent = True
    try:
        yield
    finally:
        _hush.here.silent = False


def _forms(secret: str) -> tuple[str, ...]:
    written = (urllib.parse.quote(secret, safe=""), urllib.parse.quote(secret), urllib.parse.quote_plus(secret))
    # A header is read as Latin-1, and what is left of one is told as ``repr`` shows it, in quotes of either kind.
    read = {secret, secret.encode().decode("latin-1")}
    shown = [form for text in read for form in (repr(text)[1:-1], repr(f"'\"{text}")[4:-1])]
    return (*read, *written, *shown)
