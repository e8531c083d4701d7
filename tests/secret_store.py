"""The system's secret store, played by a file: a keyring backend for the programs that a test runs."""

from __future__ import annotations

import pathlib

import pytest

STORE = '''
"""A keyring that is a file, for tests."""

import json
import os
import pathlib

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

FILE = pathlib.Path(os.environ["STORE_FILE"])


class Store(KeyringBackend):
    """Keeps all items in one file."""

    priority = 1

    def _items(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}

    def get_password(self, service, username):
        return self._items().get(f"{service}/{username}")

    def set_password(self, service, username, password):
        FILE.write_text(json.dumps(self._items() | {f"{service}/{username}": password}))

    def delete_password(self, service, username):
        items = self._items()
        if items.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("not there")
        FILE.write_text(json.dumps(items))


class Cutting(Store):
    """Keeps ten characters of each item."""

    def set_password(self, service, username, password):
        super().set_password(service, username, password[:10])


class Failing(Store):
    """Fails, with the item in its words."""

    def set_password(self, service, username, password):
        raise RuntimeError(f"cannot keep {password}")
'''


def plant(directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Let every program that is run take a file in a directory for the store; return the file."""
    (directory / "store_of_tests.py").write_text(STORE)
    monkeypatch.setenv("PYTHONPATH", str(directory))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "store_of_tests.Store")
    monkeypatch.setenv("STORE_FILE", str(directory / "store.json"))
    return directory / "store.json"
