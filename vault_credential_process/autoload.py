"""What ``autoload enable`` has every Python of an environment load: the provider for programs that know nothing of it.

Until a program imports botocore nothing happens, and of ours nothing is imported until a session is asked for the
credentials of a profile with ``vault_aws_role``. Whatever fails here, the program goes on as it would without.
"""

from __future__ import annotations

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    import botocore.session

WATCHED = "botocore"
"""The module that is waited for."""

VARIABLES = ("BAO_AWS_AUTOLOAD", "VAULT_AWS_AUTOLOAD")
"""Variables that switch it off for one process and its children; the first that is set holds."""

_OFF = frozenset({"0", "f", "false", "n", "no", "off"})


def is_off() -> bool:
    """Tell whether the environment of this process says that it wants none of this."""
    said = next(filter(None, map(os.environ.get, VARIABLES)), "")
    return said.strip().lower() in _OFF


def start() -> None:
    """Serve this process, unless it is switched off. Calling it again changes nothing."""
    if is_off() or _finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _finder)
    present = sys.modules.get(WATCHED)
    if present is not None:
        _serve(present)


def concerns(session: botocore.session.Session) -> bool:
    """Tell whether a profile of ours is in use, or leads to one by ``source_profile``."""
    profiles = session.full_config.get("profiles", {})
    name = session.get_config_variable("profile")
    if not name and (os.environ.get("BAO_AWS_ROLE") or os.environ.get("VAULT_AWS_ROLE")):
        return True
    name, seen = name or "default", set[str]()
    while name and name not in seen:
        seen.add(name)
        keys = profiles.get(name, {})
        if "vault_aws_role" in keys:
            return True
        name = keys.get("source_profile")
    return False


class _Finder:
    """Finds botocore as the finders around it do, and takes note of when it is there.

    It stays for the life of the process, so that a botocore that is loaded again is served again.
    """

    def __init__(self) -> None:
        self._searching: set[int] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != WATCHED:
            return None
        thread = _thread.get_ident()
        if thread in self._searching:  # another such finder asks all the others, too
            return None
        self._searching.add(thread)
        try:
            spec = self._found(name, path, target)
        finally:
            self._searching.discard(thread)
        if spec is not None:
            try:
                _watch(spec.loader)
            except Exception as error:
                _note(error)
        return spec

    def _found(self, *wanted: Any) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find and find(*wanted)
            if spec is not None:
                return spec
        return None


_finder: Any = _Finder()


def _watch(loader: Any) -> None:
    """Have a loader tell when it has run botocore. It stays what it is, for those who look at a module's loader."""
    own, execute = vars(loader), loader.exec_module

    def exec_module(module: ModuleType) -> None:
        if module.__name__ == WATCHED:
            own.pop("exec_module", None)  # the loader of a zip file is that of all that is in it
        execute(module)
        if module.__name__ == WATCHED:
            _serve(module)

    own["exec_module"] = exec_module


def _serve(botocore: ModuleType) -> None:
    """Ask botocore for every session that it makes from now on; one that has no way to ask is left alone."""
    try:
        names = vars(botocore)
        register, unregister = names.get("register_initializer"), names.get("unregister_initializer")
        if register is None or unregister is None:
            return
        try:
            unregister(_into)
        except ValueError:
            pass
        register(_into)
    except Exception as error:
        _note(error)


def _into(session: botocore.session.Session) -> None:
    """Have a session look whose profile it uses when it is first asked for credentials: it is not told before."""
    build: Callable[[], Any] | None = getattr(session, "_create_credential_resolver", None)
    register = getattr(getattr(session, "_components", None), "lazy_register_component", None)
    if build is None or register is None:
        return

    def chain() -> Any:
        try:
            if concerns(session):
                from vault_credential_process import chain, provider

                chain.share_by_default()
                provider.install_into(session)
                return session.get_component("credential_provider")
        except Exception as error:
            _note(error)
        return build()

    register("credential_provider", chain)


def _note(error: Exception) -> None:
    """Leave word for whoever looks for it; never of what an error says, which may be anything."""
    import logging

    logging.getLogger(__name__).debug("this program goes on without Vault: %s", type(error).__name__)
