"""A program that prints a secret, held to a length and a time."""

from __future__ import annotations

import contextlib
import io
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import cast

_CHUNK = 16 * 1024


def run(command: tuple[str, ...], environ: Mapping[str, str], seconds: float, size: int) -> tuple[int, bytes | None]:
    """Run a program without a shell, a terminal or a stderr; return its exit code and what it printed.

    What it printed is ``None`` where it did not end in time, and longer than ``size`` bytes where it was ended for
    having printed that much.

    :raises OSError: when it cannot be started.
    :raises ValueError: when it is no command.
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
    )
    pipe, printed = cast("io.RawIOBase", process.stdout), bytearray()

    def read() -> None:
        with contextlib.suppress(OSError), pipe:
            while len(printed) <= size and (chunk := pipe.read(_CHUNK)):
                printed.extend(chunk)

    # A pipe has no time-out on every system, and a child of the program may hold it open when that has ended.
    thread = threading.Thread(target=read, name="command", daemon=True)
    try:
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return 0, None
        if len(printed) > size:
            return 0, bytes(printed)
        try:
            return process.wait(max(until - time.monotonic(), 0.0)), bytes(printed)
        except subprocess.TimeoutExpired:
            return 0, None
    finally:
        process.kill()
        process.wait()
