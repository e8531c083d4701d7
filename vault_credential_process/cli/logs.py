"""Logging of the command: our own logger only, to stderr with ``-v``, to a file with ``--log-file``."""

from __future__ import annotations

import logging
import os
import sys
import time

from vault_credential_process.errors import ConfigurationError

_FORMAT = "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"


def set_up(*, verbose: bool, file: str | None) -> None:
    """Send our log where it was asked for; without a wish, nowhere: stderr must stay empty on success.

    :raises ConfigurationError: when the file cannot be written.
    """
    root = logging.getLogger("vault_credential_process")
    root.propagate = False
    root.handlers[:] = [logging.NullHandler()]
    logging.raiseExceptions = False  # a full disk under the log must not put a traceback on stderr
    if verbose:
        _add(root, logging.StreamHandler(sys.stderr))
    if file:
        path = os.path.expanduser(file)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(f"--log-file: {path}: {error.strerror}") from None
        _add(root, logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8")))


def tell(message: str) -> None:
    """Put the line that the command ends with into the log files: whoever runs it may drop its stderr."""
    root = logging.getLogger("vault_credential_process")
    for handler in root.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is not sys.stderr:
            handler.handle(root.makeRecord(root.name, logging.ERROR, "", 0, message, (), None))


def _add(root: logging.Logger, handler: logging.Handler) -> None:
    formatter = logging.Formatter(_FORMAT, "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
