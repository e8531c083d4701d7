"""What values show of themselves: no dataclass of the package has a secret in its ``repr``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator

import vault_credential_process

MAY_HOLD_A_SECRET = re.compile(
    r"secret|token|password|passphrase|key|body|value|data|content|credential|payload|proxy|errors"
)
REFERENCE = re.compile(r"vault_\w+_(file|keyring|command|path)")
"""Settings that tell where a secret lies, not what it is."""
HARMLESS = {
    "key": "the name of a setting",
    "secret": "whether a setting is one",
    "token_key": "the name of a cache entry",
    "token_type": "service or batch",
    "vault_token_ttl": "a duration",
    "vault_client_key": "a path",
    "credential_type": "iam_user, sts or static",
}
SILENT = re.compile(r"\b(VaultToken|AWSCredentials)\b")
"""Types that are looked at themselves; a field of theirs shows what they show."""


def modules() -> Iterator[types.ModuleType]:
    """Yield every module of the package that can be imported without running a program, or aiobotocore."""
    for module in pkgutil.walk_packages(vault_credential_process.__path__, "vault_credential_process."):
        if not module.name.endswith(("__main__", ".aio")) and ".programs." not in module.name:
            yield importlib.import_module(module.name)


def shown(kind: type) -> set[str]:
    """Return the fields of a dataclass whose values its ``repr`` shows."""
    thing: object = object.__new__(kind)
    names = [field.name for field in dataclasses.fields(kind) if not SILENT.search(str(field.type))]
    for field in dataclasses.fields(kind):
        object.__setattr__(thing, field.name, f"<{field.name}>")
    return {name for name in names if f"<{name}>" in repr(thing)}


def test_no_dataclass_shows_what_may_be_a_secret() -> None:
    """Whatever may hold a secret is kept out of the ``repr`` of every dataclass in the package."""
    kinds: set[type] = {
        thing
        for module in modules()
        for thing in list(vars(module).values())
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and not inspect.isabstract(thing)
    }

    assert {"VaultToken", "AWSCredentials", "Answer", "Refusal", "AppRole", "Token"} <= {
        kind.__name__ for kind in kinds
    }
    leaks = {
        f"{kind.__module__}.{kind.__name__}.{name}"
        for kind in kinds
        for name in shown(kind)
        if MAY_HOLD_A_SECRET.search(name) and name not in HARMLESS and not REFERENCE.fullmatch(name)
    }
    assert leaks == set()


def test_dataclass_that_shows_a_secret_is_found() -> None:
    """The control: a dataclass that shows a secret would be found."""
    leaky = dataclasses.make_dataclass("leaky", ["secret_key", ("token", str, dataclasses.field(repr=False))])

    assert shown(leaky) == {"secret_key"}
