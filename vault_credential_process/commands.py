"""A program that prints a secret, held to a length and a time."""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import cast

from vault_credential_process.errors import ConfigurationError, one_line

_CHUNK = 16 * 1024
_LONGEST_WAIT = 3600.0
_HAS_GROUPS = hasattr(os, "killpg")
"""Whether a program can be ended with its children, and its pipe be read with a time-out: not on Windows."""


def run(command: tuple[str, ...], environ: Mapping[str, str], seconds: float, size: int) -> tuple[int, bytes | None]:
    """Run a program without a shell, a terminal or a stderr; return its exit code and what it printed.

    What it printed is ``None`` where it did not end in time, and longer than ``size`` bytes where it was ended for
    having printed that much; its children are ended with it then. Where the program that we are part of ignores
    ``SIGCHLD`` the kernel keeps no exit code, and 0 is returned.

    :raises OSError: when it cannot be started.
    :raises ValueError: when it is no command.
    :raises ConfigurationError: when the system has no thread to read with.
    """
    until = time.monotonic() + seconds
    # Unbuffered: closing a buffered pipe would wait for the thread that reads it.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environ),
        bufsize=0,
        start_new_session=True,
    )
    pipe, is_over = cast("io.RawIOBase", process.stdout), False
    try:
        if _HAS_GROUPS:
            with pipe:
                printed = _read(pipe, until, size)
        else:
            printed = _read_in_thread(pipe, until, size, command[0])
        if printed is None:
            return 0, None
        if len(printed) > size:
            return 0, printed
        try:
            code = process.wait(max(until - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            return 0, None
        is_over = True
        return code, printed
    finally:
        if not is_over:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program, and what it started unless that has a session of its own."""
    if _HAS_GROUPS:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read(pipe: io.RawIOBase, until: float, size: int) -> bytes | None:
    """Return what comes through a pipe until all have closed it; ``None`` where that takes too long."""
    printed, descriptor = bytearray(), pipe.fileno()
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(printed) <= size:
            left = until - time.monotonic()
            if left <= 0:
                return None
            if selector.select(min(left, _LONGEST_WAIT)):
                with contextlib.suppress(BlockingIOError):
                    chunk = os.read(descriptor, _CHUNK)
                    if not chunk:
                        break
                    printed += chunk
    return bytes(printed)


def _read_in_thread(pipe: io.RawIOBase, until: float, size: int, name: str) -> bytes | None:
    """Do the same where a pipe has no time-out: a child that holds it open holds the thread, too."""
    printed = bytearray()

    def fill() -> None:
        with contextlib.suppress(OSError), pipe:
            while len(printed) <= size and (chunk := pipe.read(_CHUNK)):
                printed.extend(chunk)

    thread = threading.Thread(target=fill, name="command", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        pipe.close()
        raise ConfigurationError(
            f"{one_line(name)}: the system has no thread to read its output with; raise the limit of threads"
        ) from None
    thread.join(max(until - time.monotonic(), 0.0))
    return None if thread.is_alive() else bytes(printed)
