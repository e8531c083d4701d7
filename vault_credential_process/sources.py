"""Where a secret is read from at login time, so that rotation needs no restart: a file, or a command's output."""

from __future__ import annotations

import logging
import os
import stat

from vault_credential_process.errors import ConfigurationError, DeadlineError, one_line
from vault_credential_process.expiry import Deadline

logger = logging.getLogger(__name__)

MAX_SECRET = 64 * 1024
"""Bytes of the longest secret that is read."""


def read_file(path: str, key: str) -> str:
    """Return the one secret in a file, without the white space around it.

    A file that others may read gets a warning: the secret in it is theirs too.

    :raises ConfigurationError: when the file is missing, unreadable, empty, binary or too long; the message
        names ``key`` and the path, never the content.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigurationError(f"{key}: {one_line(path)}: {reason}; check the path and its permissions") from None
    if os.name == "posix" and stat.S_ISREG(mode) and mode & stat.S_IROTH:
        logger.warning("%s: %s can be read by others (mode %04o); chmod 600 it", key, path, stat.S_IMODE(mode))
    return _single_line(content, key, path)


def run_command(command: tuple[str, ...], key: str, deadline: Deadline) -> str:
    """Return what a command prints, without the white space around it; run without a shell or a terminal.

    :raises ConfigurationError: when it cannot be started, fails, or prints nothing usable. What it printed is
        not repeated: it may be the secret.
    :raises DeadlineError: when it takes longer than the call may.
    """
    import subprocess

    name = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=deadline.remaining(f"the command of {key}"),
            check=False,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a command"
        raise ConfigurationError(f"{key}: {one_line(name)}: {reason}; write the command's absolute path") from None
    except subprocess.TimeoutExpired:
        raise DeadlineError(f"{key}: {name} did not end within {deadline.seconds:g} s; run it by hand") from None
    if done.returncode:
        raise ConfigurationError(f"{key}: {name} ended with code {done.returncode}; run it by hand to see why")
    return _single_line(done.stdout, key, name)


def _single_line(content: bytes, key: str, where: str) -> str:
    if len(content) > MAX_SECRET:
        raise ConfigurationError(f"{key}: {where}: longer than {MAX_SECRET} bytes: that is not a secret")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{key}: {where}: not text") from None
    if not text:
        raise ConfigurationError(f"{key}: {where}: empty")
    if "\n" in text or "\r" in text or "\0" in text:
        raise ConfigurationError(f"{key}: {where}: holds more than one line")
    return text
