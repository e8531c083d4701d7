"""Directories for as long as a process runs: on tmpfs where there is one, and removed by a later one if need be."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping

from vault_credential_process import fastpath

_SHARED = "/dev/shm"  # noqa: S108 - a directory of mode 0700 is made in it


@contextlib.contextmanager
def private_directory(what: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Make one, as :func:`make` does, and remove it in the end.

    :raises OSError: when it cannot be made.
    """
    path = make(what, environ)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def make(what: str, environ: Mapping[str, str], *, in_private: bool = True) -> str:
    """Make a directory with mode 0700; ``what`` it is for is a word without a hyphen.

    Those for the same that are left of processes that were killed, or became another program that has ended, are
    removed. Where there is no private tmpfs, or it shall not be in there, it is in one that all users share; where
    there is no tmpfs at all it is one for temporary files.

    :raises OSError: when it cannot be made.
    """
    base = fastpath.runtime_directory(environ)[0] if in_private else None
    if base is None:
        is_shared = sys.platform.startswith("linux") and os.path.isdir(_SHARED) and os.access(_SHARED, os.W_OK)
        base = _SHARED if is_shared else tempfile.gettempdir()
        what = f"{fastpath.NAME}-{what}"
    _sweep(base, f"{what}-")
    return tempfile.mkdtemp(prefix=f"{what}-{_mark(os.getpid())}-", dir=base)


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
