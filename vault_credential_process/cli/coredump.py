"""Core dumps of the command: none, for its memory holds secrets while it waits for Vault or for somebody who types."""

from __future__ import annotations


def forbid() -> None:
    """Set the soft limit of core dumps to 0, for this process and those that it starts.

    The hard limit stays: a program that a setting names may allow itself what it needs. Where the kernel hands dumps to
    a program (``core_pattern`` with a pipe), it is that program that heeds the limit. In the quick path of ``get`` only
    before a call waits: a hit reads one file and ends.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (OSError, ValueError):
        pass


def hide() -> None:
    """Forbid core dumps, and keep other processes of the same user out of this one's memory: for what runs for long.

    A process that is not dumpable can be traced by root alone, and the kernel writes no dump of it whatever the limit
    and ``core_pattern`` say (prctl(2), ``PR_SET_DUMPABLE``). A program that it starts is dumpable again. Linux only.
    """
    forbid()
    prctl(_PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> None:
    """Tell the kernel something about this process (prctl(2)); nothing happens where that is not possible."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError, TypeError, MemoryError):
        # No ctypes in this interpreter, no such call on this system, or a sandbox that forbids what ctypes begins with.
        pass


_PR_SET_DUMPABLE = 4
"""``linux/prctl.h``."""
