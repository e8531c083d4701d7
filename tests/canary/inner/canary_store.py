"""A keyring that is a file, for programs that are told of it by ``PYTHON_KEYRING_BACKEND`` and ``STORE_FILE``."""

from __future__ import annotations

import json
import os
import pathlib

from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import PasswordDeleteError


class Store(KeyringBackend):
    """Keeps all items in one file; nobody who is not told of one finds it."""

    @properties.classproperty  # type: ignore[untyped-decorator, unused-ignore]
    def priority(cls) -> float:  # noqa: N805 - a property of the class
        """Tell how much it wants to be chosen."""
        if "STORE_FILE" not in os.environ:
            raise RuntimeError("no file")
        return 1

    def _file(self) -> pathlib.Path:
        return pathlib.Path(os.environ["STORE_FILE"])

    def items(self) -> dict[str, dict[str, str]]:
        """Return what is kept, by service."""
        found: dict[str, dict[str, str]] = json.loads(self._file().read_text()) if self._file().exists() else {}
        return found

    def get_password(self, service: str, username: str) -> str | None:
        return self.items().get(service, {}).get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        items = self.items()
        items.setdefault(service, {})[username] = password
        self._file().write_text(json.dumps(items))

    def delete_password(self, service: str, username: str) -> None:
        items = self.items()
        if items.get(service, {}).pop(username, None) is None:
            raise PasswordDeleteError("not there")
        self._file().write_text(json.dumps(items))
