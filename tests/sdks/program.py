"""A program of an SDK that lists a bucket for each line it is sent: it lives on while its credentials end."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping
from typing import IO, Any

PATIENCE = 60.0
"""Seconds that an answer may take, on a busy machine."""


class Program:
    """The program, with its streams. Use it as a context manager."""

    def __init__(self, *command: str, environ: Mapping[str, str], ask: str = "", merge: bool = False) -> None:
        """Start it; ``ask`` is the line that makes it list the bucket once; ``merge`` reads stderr as its answers."""
        self._ask = ask
        self._said: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        """All that it has said on stdout."""
        self.errors: list[str] = []
        """All that it has said on stderr."""
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._stdin: IO[str] = self.process.stdin
        self._streams = [stream for stream in (self.process.stdout, self.process.stderr) if stream]
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self.errors.extend, args=(self.process.stderr or (),), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stdin.close()
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait(PATIENCE)
            for reader in self._readers:
                reader.join(PATIENCE)
            for stream in self._streams:
                stream.close()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line)
            self._said.put(line)
        self._said.put("")

    def lists(self) -> str:
        """Let it list the bucket once, and return the line that it says."""
        self._stdin.write(f"{self._ask}\n")
        self._stdin.flush()
        line = self._said.get(timeout=PATIENCE)
        assert line, f"it ended: {''.join(self.errors)}"
        return line

    def answers(self) -> dict[str, Any]:
        """Let it list the bucket once; return ``objects``, or the ``error`` that its SDK shows."""
        found: dict[str, Any] = json.loads(self.lists())
        return found

    @property
    def shown(self) -> str:
        """All that it has said so far, on both streams."""
        return "".join([*self.lines, *self.errors])
