"""``autoload``: the provider in every program of a Python environment, for those that cannot be changed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import py_compile
import site
import sys
import sysconfig
import tempfile
from collections.abc import Mapping

import vault_credential_process
from vault_credential_process import autoload
from vault_credential_process.errors import ConfigurationError

NAME = "vault_credential_process_autoload"
"""How the files are called, without what follows the dot."""

_GUARDED = "try:\\n from vault_credential_process import autoload\\n autoload.start()\\nexcept Exception:\\n pass"
LINE = f'import os; exec("{_GUARDED}")\n'
"""The line of a ``.pth`` file. It is silent where the package has gone: uninstalling does not take the file along."""

MODULE = '''\
"""Written by vault-credential-process autoload enable; autoload disable removes it."""


def start():
    """Be silent where the package has gone: uninstalling it does not take this file along."""
    try:
        from vault_credential_process import autoload

        autoload.start()
    except Exception:
        pass
'''
"""What a ``.start`` file names, for such a file cannot say what is to be done where a module has gone."""

OLDER: Mapping[str, str] = {f"{NAME}.pth": LINE}
NEWER: Mapping[str, str] = {f"{NAME}.py": MODULE, f"{NAME}.start": f"{NAME}:start\n"}
"""What is written, by file name. What another file leads to comes first."""

HAS_START_FILES = sys.version_info >= (3, 15)
"""Whether Python knows the second form (PEP 829)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A directory whose files Python reads when it starts, and whether it is an environment of one's own."""

    directory: str
    is_own: bool

    @property
    def wanted(self) -> Mapping[str, str]:
        """What should be there, by path."""
        files = NEWER if HAS_START_FILES else OLDER
        return {os.path.join(self.directory, name): text for name, text in files.items()}

    @property
    def present(self) -> dict[str, str]:
        """What is there, by path: of either form, for an environment may have been moved to a newer Python."""
        found = {}
        for name in reversed([*OLDER, *NEWER]):
            path = os.path.join(self.directory, name)
            try:
                with open(path, encoding="utf-8", errors="replace", newline="") as file:
                    found[path] = file.read()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
        return found

    @property
    def state(self) -> str:
        """``on``, ``off``, or ``outdated``: on, but written by another version."""
        present, wanted = self.present, self.wanted
        if not present:
            return "off"
        return "on" if wanted.items() <= present.items() else "outdated"


def add_options(to: argparse.ArgumentParser) -> None:
    """Add ``enable``, ``disable`` and ``status`` with their flags."""
    to.epilog = "example: /opt/webapp/venv/bin/vault-credential-process autoload enable"
    to.add_argument(
        "action",
        choices=("enable", "disable", "status"),
        help="enable: have every program of the environment that this command is installed in use the provider, "
        "unchanged, for profiles with vault_aws_role; disable: undo it; status: tell whether, and where",
    )
    to.add_argument(
        "--force", action="store_true", help="enable: also in a Python that is not a virtual environment of its own"
    )
    to.add_argument("--json", action="store_true", help="status: as JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Enable, disable or tell.

    :raises ConfigurationError: when this is no environment of one's own, or a file is foreign or cannot be written.
    """
    places = _places()
    if arguments.action == "enable":
        told = _enable(places[0], force=arguments.force)
    elif arguments.action == "disable":
        told = _disable(places)
    else:
        told = _status(next((place for place in places if place.present), places[0]), as_json=arguments.json)
    sys.stdout.write(told + "\n")
    return 0


def _places() -> list[Place]:
    """Return where the files may lie, and first where they would be written."""
    shared = sysconfig.get_path("purelib")
    if sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
        return [Place(shared, is_own=True)]
    users = site.getusersitepackages()
    installed = importlib.metadata.distributions(name="vault-credential-process", path=[users])
    places = [Place(shared, is_own=False)]
    if site.ENABLE_USER_SITE:
        places.insert(0 if any(installed) else 1, Place(users, is_own=not _is_managed()))
    return places


def _is_managed() -> bool:
    """Tell whether this Python is the operating system's (PEP 668)."""
    return os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))


def _enable(place: Place, *, force: bool) -> str:
    if not place.is_own and not force:
        whose = "the operating system's own" if _is_managed() else "not a virtual environment"
        raise ConfigurationError(
            f"{sys.prefix}: this Python is {whose}, and autoload would reach every program that it runs; install "
            "vault-credential-process into a virtual environment and enable it there, or add --force"
        )
    _require_ours(place)
    _require_hook()
    for path, text in place.wanted.items():
        _write(path, text)
    for path in place.present:
        if path not in place.wanted:
            _remove(path)
    _compile()
    return f"autoload is on: programs of {_environment()} use Vault for profiles with vault_aws_role"


def _disable(places: list[Place]) -> str:
    for place in places:
        _require_ours(place)
    paths = [path for place in places for path in place.present]
    for path in paths:
        _remove(path)
    return f"autoload is off: removed {', '.join(paths)}" if paths else f"autoload is off in {_environment()}"


def _status(place: Place, *, as_json: bool) -> str:
    _require_ours(place)
    files = list(place.present)
    if as_json:
        told = {
            "state": place.state,
            "environment": sys.prefix,
            "python": platform.python_version(),
            "directory": place.directory,
            "files": files,
            "switched_off": autoload.is_off(),
        }
        return json.dumps(told, indent=2)
    lines = [f"autoload is {'off' if place.state == 'off' else 'on'} in {_environment()}"]
    lines += [f"written: {path}" for path in files]
    if place.state == "outdated":
        lines.append("written by another version: autoload enable writes it anew")
    if autoload.is_off():
        lines.append(f"switched off for processes with this environment, by {' or '.join(autoload.VARIABLES)}")
    return "\n".join(lines)


def _environment() -> str:
    return f"{sys.prefix} (Python {platform.python_version()})"


def _require_ours(place: Place) -> None:
    """Check that what lies there is ours to replace, of whatever version.

    :raises ConfigurationError: when it is somebody else's.
    """
    for path, text in place.present.items():
        if "vault_credential_process" not in text:
            raise ConfigurationError(f"{path}: autoload did not write this; look at it, and remove it by hand")


def _require_hook() -> None:
    """Check that the environment's botocore takes the provider.

    :raises ConfigurationError: when it does not.
    """
    from vault_credential_process import provider

    provider.install()
    provider.uninstall()


def _write(path: str, text: str) -> None:
    """Write a file whole or not at all: Python may start at any moment."""
    directory, name = os.path.split(path)
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(draft, 0o644)
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
        if path.endswith(".py"):
            os.unlink(importlib.util.cache_from_source(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be removed: {error.strerror}") from None


def _compile() -> None:
    """Compile what every start loads: some installers do not, and some environments forbid Python to do it later."""
    for path in (vault_credential_process.__file__, autoload.__file__):
        try:
            py_compile.compile(path or "", doraise=True)
        except (OSError, py_compile.PyCompileError):
            pass
