"""A proxy in front of a server that counts what passes: how many logins, how many reads."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import urllib.parse
from collections import Counter

_REQUEST = re.compile(rb"(?:^|\r\n\r\n|\})((?:GET|POST|PUT|LIST|DELETE) /v1/[^ ?]*)[^ ]* HTTP/1\.1\r\n")


class CountingProxy:
    """Forwards TCP to a plain-http server on this machine. Use it as a context manager."""

    def __init__(self, address: str) -> None:
        """Take a free port; ``address`` is the server's."""
        parts = urllib.parse.urlsplit(address)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: Counter[str] = Counter()
        self.delay = 0.0
        """Seconds that each connection is held back, to widen the moment in which callers meet."""
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="counting proxy", daemon=True)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def count(self, method: str, path: str) -> int:
        """Return how many requests of a method for a path (below ``/v1/``) have passed."""
        with self._guard:
            return self.requests[f"{method} /v1/{path}"]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        time.sleep(self.delay)
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65536):
                with self._guard:
                    self.requests.update(match.decode() for match in _REQUEST.findall(data))
                server.sendall(data)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
