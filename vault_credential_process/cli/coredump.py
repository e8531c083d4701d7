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
