"""Lets a witness watch every Python that finds this directory first on its path; ``CANARY_WITNESS`` is where it writes.

The interpreter imports a module of this name before anything else.
"""

import os

if os.environ.get("CANARY_WITNESS"):
    import canary_witness  # type: ignore[import-not-found]

    canary_witness.Witness(
        os.open(
            os.path.join(os.environ["CANARY_WITNESS"], f"{os.getpid()}.witness"),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
    ).start()
