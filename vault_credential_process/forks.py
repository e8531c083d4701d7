"""What begins anew in a child of ``fork``; on a system without ``fork`` there is no such child."""

from __future__ import annotations

import os
from collections.abc import Callable

HAS_FORK = hasattr(os, "register_at_fork")


def at_fork(after_in_child: Callable[[], object], *, before: Callable[[], object] | None = None) -> None:
    """Call something in every child of ``fork`` before anything else runs there, and ``before`` in the parent."""
    if not HAS_FORK:
        return
    if before is not None:
        os.register_at_fork(before=before)
    os.register_at_fork(after_in_child=after_in_child)
