"""The table of cache backends: where each keeps what, and what of it is searched."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Backend:
    """How a backend is searched."""

    keeps: bool
    """Whether another process finds what was kept."""
    where: str


BACKENDS = {
    "runtime": Backend(True, "files of the runtime directory: every entry, and its name"),
    "keyring": Backend(True, "items of the keyring: every entry, and its name"),
    "memory": Backend(False, "nothing outside of the process: `repr` of what is alive"),
    "none": Backend(False, "nothing"),
}
"""Each backend of the table of backends."""
