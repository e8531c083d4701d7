"""Where a secret is read from at login time, so that rotation needs no restart.

A file, an entry of the system's keyring, the output of a command, or a variable of the environment: a method declares
which of them hold its secret with the four ``from_`` functions, and :func:`find` tells which goes first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vault_credential_process import fastpath
from vault_credential_process.config import Config
from vault_credential_process.errors import ConfigurationError, DeadlineError, UnreachableError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import option
from vault_credential_process.parsers import parse_command, parse_path, whole_path
from vault_credential_process.timed import in_time

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

logger = logging.getLogger(__name__)

MAX_SECRET = 64 * 1024
"""Bytes of the longest secret that is read."""

SERVICE = "vault-credential-process secrets"
"""The service under which the keyring holds what ``vault-credential-process secret set`` was given."""

KEYRING_TIMEOUT = 10.0
"""Seconds that the keyring may take: it may wait for somebody to unlock it, and nobody may be there."""

RUNNING = "VAULT_CREDENTIAL_PROCESS_RUNNING"
"""Variable that tells a program which of our commands run it, so that none runs itself."""

_T = TypeVar("_T")


def from_file(key: str, what: str) -> Any:
    """Declare the field ``<key>_file``."""
    return _reference(f"{key}_file", f"file that holds the {what}, read at each login", "FILE", parse_path)


def from_keyring(key: str, what: str) -> Any:
    """Declare the field ``<key>_keyring``."""
    told = f"keyring entry that holds the {what} (vault-credential-process secret set NAME)"
    return _reference(f"{key}_keyring", told, "NAME", str.strip)


def from_command(key: str, what: str) -> Any:
    """Declare the field ``<key>_command``."""
    told = f"command that prints the {what}, run without a shell at each login"
    return _reference(f"{key}_command", told, "COMMAND", parse_command)


def from_environment(key: str, what: str) -> Any:
    """Declare the field ``<key>`` itself, which no flag and no file carries."""
    return option(key.upper(), secret=True, help=f"the {what} itself")


def _reference(key: str, told: str, metavar: str, parse: Callable[[str], Any]) -> Any:
    flag = "--" + key.removeprefix("vault_").replace("_", "-")
    return option(key.upper(), flag=flag, help=told, metavar=metavar, parse=parse)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where a secret lies, not yet read; ``key`` is the setting that says so and ``origin`` where that stands."""

    key: str
    place: Any = dataclasses.field(repr=False)
    origin: str

    @property
    def is_fixed(self) -> bool:
        """Whether reading it costs nothing and asks nobody: a file, or the value itself."""
        return not self.key.endswith(("_keyring", "_command"))

    def read(self, deadline: Deadline) -> str:
        """Return the secret.

        :raises ConfigurationError: when it is not there.
        :raises DeadlineError: when that takes longer than the call may.
        """
        if self.key.endswith("_file"):
            return read_file(self.place, self.key)
        if self.key.endswith("_keyring"):
            return read_keyring(self.place, self.key)
        if self.key.endswith("_command"):
            return run_command(self.place, self.key, deadline)
        return str(self.place).strip()

    def told(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what it adds to an identity: its bytes where they are at hand, else the name of its place.

        :raises ConfigurationError: when a file is not there.
        """
        if self.is_fixed:
            return (), (self.read(Deadline(1)),)
        if self.key.endswith("_command"):
            # A word of it may name a file from here.
            return (self.key, whole_path("."), *self.place), ()
        return (self.key, str(self.place)), ()

    def __str__(self) -> str:
        """Tell where the secret was found, for an error."""
        return str(self.place) if self.key.endswith("_file") else self.origin


def find(config: Config, key: str) -> Source | None:
    """Return where the secret of a key lies; ``None`` where no setting says so.

    The origin decides, as for every setting; between equals a file goes before the keyring, and that before a command.
    A setting without a value says nothing, wherever it stands.
    """
    keys = (f"{key}_file", f"{key}_keyring", f"{key}_command", key)
    named = config.foremost(*(k for k in keys if k in config.settings and config.settings[k].value))
    if named is None:
        return None
    return Source(named, config.settings[named].value, str(config.origin(named)))


def read_keyring(name: str, key: str) -> str:
    """Return an entry of the system's keyring.

    :raises ConfigurationError: when there is no such entry, or no keyring.
    :raises UnreachableError: when the keyring does not answer.
    """
    try:
        value = ask_keyring(_password, SERVICE, name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error}") from None
    if value is None:
        raise ConfigurationError(
            f"{key}: the keyring holds no entry {one_line(name, limit=80)!r}; run: vault-credential-process secret set "
            f"{one_line(name, limit=80)}"
        )
    return single_line(value.encode(), key, "keyring")


def _password(service: str, name: str) -> str | None:
    require_store()
    import keyring

    return keyring.get_password(service, name)


def require_store() -> None:
    """Make sure that this machine has a secret store.

    :raises ConfigurationError: when it has none that keeps anything, or none that can be loaded.
    """
    found = load_store()
    if not keeps(found):
        raise ConfigurationError(
            f"keyring found no secret store ({name_of(found)}); install or start one (keyring diagnose), or name a "
            "file instead"
        )


def load_store() -> KeyringBackend:
    """Return the secret store that keyring uses, which may be one that keeps nothing.

    :raises ConfigurationError: when the one that is configured cannot be loaded.
    """
    try:
        import keyring

        return keyring.get_keyring()
    except Exception as error:  # it imports and makes whatever is named there
        kind = type(error).__name__
    named = os.environ.get("PYTHON_KEYRING_BACKEND")
    if named is not None:
        raise ConfigurationError(
            f"PYTHON_KEYRING_BACKEND: {one_line(named, limit=80)!r} cannot be loaded ({kind}); name one of those that "
            "keyring --list-backends shows, or unset it"
        )
    raise ConfigurationError(
        f"keyring cannot load its secret store ({kind}); mend its configuration file (keyring diagnose)"
    )


def name_of(store: KeyringBackend) -> str:
    """Return the name that ``PYTHON_KEYRING_BACKEND`` would have for a store."""
    return f"{type(store).__module__}.{type(store).__qualname__}"


def keeps(store: KeyringBackend) -> bool:
    """Tell whether a store keeps anything."""
    return type(store).__module__ not in ("keyring.backends.fail", "keyring.backends.null")


def ask_keyring(ask: Callable[..., _T], *arguments: str, seconds: float | None = None) -> _T:
    """Ask the keyring, but do not wait for ever: it may want to be unlocked by somebody who is not there.

    ``seconds`` is how long it may take where somebody is.

    :raises ConfigurationError: when that is what ``ask`` raises.
    :raises UnreachableError: when it fails or does not answer in time; its own words may repeat the item.
    """
    limit = KEYRING_TIMEOUT if seconds is None else seconds
    answers, failures = in_time(lambda: ask(*arguments), limit, "keyring")
    if answers:
        return answers[0]
    if failures:
        if isinstance(failures[0], ConfigurationError):
            raise failures[0]
        raise UnreachableError(f"keyring: {type(failures[0]).__name__}; check the store (keyring diagnose)") from None
    raise UnreachableError(f"keyring: no answer within {limit:g} s; unlock the store")


def read_file(path: str, key: str, *, private: bool = True) -> str:
    """Return the one secret in a file, without the white space around it.

    A file that others may read gets a warning, for the secret in it is theirs too; not where ``private`` is false: then
    somebody else answers for its mode.

    :raises ConfigurationError: when the file is missing, unreadable, empty, binary or too long; the message
        names ``key`` and the path, never the content.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigurationError(f"{key}: {one_line(path)}: {reason}; check the path and its permissions") from None
    if private and fastpath.HAS_OWNERS and stat.S_ISREG(mode) and mode & stat.S_IROTH:
        logger.warning("%s: %s can be read by others (mode %04o); chmod 600 it", key, path, stat.S_IMODE(mode))
    return single_line(content, key, path)


def run_command(
    command: tuple[str, ...],
    key: str,
    deadline: Deadline,
    *,
    environ: Mapping[str, str] | None = None,
    may_be_silent: bool = False,
) -> str:
    """Return what a command prints, without the white space around it; run without a shell or a terminal.

    ``environ`` are variables that it has besides ours. One that ``may_be_silent`` may print nothing. One that prints
    more than :data:`MAX_SECRET` bytes is ended.

    :raises ConfigurationError: when it cannot be started, fails, prints nothing usable, or is running already and has
        come back here. What it printed is not repeated: it may be the secret.
    :raises DeadlineError: when it takes longer than the call may.
    """
    from vault_credential_process import commands

    name = command[0]
    limit = deadline.remaining(f"the command of {key}")
    refuse_nested(command, key)
    running = " ".join((*_running(), _mark(command, key)))
    try:
        code, printed = commands.run(command, {**os.environ, **(environ or {}), RUNNING: running}, limit, MAX_SECRET)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a command"
        if isinstance(error, PermissionError):
            raise ConfigurationError(
                f"{key}: {one_line(name)}: {reason}; it must be a file that this user may execute (chmod +x)"
            ) from None
        raise ConfigurationError(f"{key}: {one_line(name)}: {reason}; write the command's absolute path") from None
    if printed is None:
        raise DeadlineError(f"{key}: {name} did not end within {deadline.seconds:g} s; run it by hand")
    if code and len(printed) <= MAX_SECRET:
        raise ConfigurationError(f"{key}: {name} ended with code {code}; run it by hand to see why")
    if may_be_silent and not printed.strip():
        return ""
    return single_line(printed, key, name)


def refuse_nested(command: tuple[str, ...], key: str) -> None:
    """Refuse a command that is running already and led here: it would wait for itself, or run itself without end.

    :raises ConfigurationError: when that is so.
    """
    if _mark(command, key) in _running():
        raise ConfigurationError(
            f"{key}: {one_line(command[0])} is running already, and what it runs wants what it is to print: it must "
            "not need this profile's AWS credentials, nor those of one that leads back here"
        )


def refuse_nested_of(config: Config) -> None:
    """Refuse every command that is configured and is running already.

    :raises ConfigurationError: when there is one.
    """
    if not _running():
        return
    general = {key: getattr(config, key) for key in ("vault_login_mfa_code_command", "vault_aws_mfa_code_command")}
    for key, command in {**general, **{k: setting.value for k, setting in config.settings.items()}}.items():
        if key.endswith("_command") and command:
            refuse_nested(command, key)


def _running() -> list[str]:
    return os.environ.get(RUNNING, "").split()


def _mark(command: tuple[str, ...], key: str) -> str:
    """Return what stands for a command in the environment of what it runs: of its words nothing is told there."""
    return hashlib.sha256("\0".join((key, *command)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def single_line(content: bytes, key: str, where: str) -> str:
    """Return the one secret in some bytes, without the white space around it.

    :raises ConfigurationError: when there is none, or more than one line; the message does not repeat it.
    """
    if len(content) > MAX_SECRET:
        raise ConfigurationError(f"{key}: {where}: longer than {MAX_SECRET} bytes: that is not a secret")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{key}: {where}: not text") from None
    if not text:
        raise ConfigurationError(f"{key}: {where}: empty")
    if "\n" in text or "\r" in text or "\0" in text:
        raise ConfigurationError(f"{key}: {where}: holds more than one line")
    return text
