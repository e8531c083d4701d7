"""Word to the service manager (systemd, ``Type=notify``) of how a command is doing.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Tell a state such as ``READY=1``; where nobody has asked (``NOTIFY_SOCKET``) nothing happens.

    A failure is logged: the service manager will notice by itself.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1)
            sender.connect(address)
            sender.sendall(state.encode("utf-8"))
    except OSError as error:
        logger.warning("NOTIFY_SOCKET: the service manager was not told: %s", error.strerror or type(error).__name__)
