"""A private directory for as long as a program runs under ``exec``: on tmpfs where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from vault_credential_process import fastpath

_PREFIX = "exec-"


@contextlib.contextmanager
def private_directory(environ: Mapping[str, str]) -> Iterator[str]:
    """Make one with mode 0700, and remove it in the end.

    Those that are left of processes that were killed, or became another program that has ended, are removed too. Where
    there is no private tmpfs it is one for temporary files: no secret is written there.

    :raises OSError: when it cannot be made.
    """
    path = _made(environ)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _made(environ: Mapping[str, str]) -> str:
    base = fastpath.runtime_directory(environ)[0]
    prefix = _PREFIX
    if base is None:
        base, prefix = tempfile.gettempdir(), f"{fastpath.NAME}-{_PREFIX}"
    _sweep(base, prefix)
    return tempfile.mkdtemp(prefix=f"{prefix}{_mark(os.getpid())}-", dir=base)


def _sweep(base: str, prefix: str) -> None:
    """Remove the directories of processes that are no more, as far as this one can see them."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(base):
            fields = entry.name.removeprefix(prefix).split("-")
            if not entry.name.startswith(prefix) or len(fields) != 4 or not fields[1].isdigit():
                continue
            is_ours = not fastpath.HAS_OWNERS or entry.stat(follow_symlinks=False).st_uid == os.getuid()
            if is_ours and fields[0] == _namespace() and _mark(int(fields[1])) != "-".join(fields[:3]):
                shutil.rmtree(entry.path, ignore_errors=True)


def _mark(pid: int) -> str:
    """Return what no other process has that this one can see, now or later: namespace, number and start.

    Where there is no ``/proc`` a process that lives has 0 for its start; one that does not has ``gone``.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            start = file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        start = "0" if _lives(pid) else "gone"
    return f"{_namespace()}-{pid}-{start}"


def _namespace() -> str:
    """Return the namespace of process numbers: containers that share a tmpfs cannot tell who lives in another one."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


def _lives(pid: int) -> bool:
    """Tell whether a process lives, where the system can be asked without harm."""
    if not fastpath.HAS_OWNERS:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
