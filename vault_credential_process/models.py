"""The values that travel between the layers: frozen, slotted, and silent about their secrets."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

from vault_credential_process.errors import one_line
from vault_credential_process.fastpath import clock_origin

CredentialType = Literal["iam_user", "sts", "static"]
"""What stands behind a pair of keys, as far as its life is concerned.

``sts`` covers ``assumed_role``, ``federation_token`` and ``session_token``: their life is fixed when they are
made and nobody can end it. An ``iam_user`` dies with the Vault token that asked for it. ``static`` keys are
rotated on a schedule and have no lease.
"""

OriginKind = Literal["argument", "profile", "environment", "default"]
ORIGIN_KINDS: tuple[OriginKind, ...] = ("argument", "profile", "environment", "default")
"""What goes first, first."""


class Origin(NamedTuple):
    """Where a setting's value came from; its text is fit for an error message."""

    kind: OriginKind
    name: str

    def __str__(self) -> str:
        return self.name


DEFAULT_ORIGIN = Origin("default", "default")


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One setting, declared once: its profile key, environment variables, flag, help and parser.

    ``key`` is the key in ``[profile x]`` and the field's name in its dataclass. ``environ`` lists the
    variables that are read, first one first; each ``VAULT_X`` is preceded by ``BAO_X``. ``flag`` is ``None``
    where the command line must not carry the value, which holds for every secret. ``parse`` turns the text
    into the value and raises ``ValueError`` with the reason, in words that repeat no secret.
    """

    key: str
    environ: tuple[str, ...]
    flag: str | None
    help: str
    parse: Callable[[str], Any]
    default: Any
    metavar: str
    secret: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables in the order in which they are looked at."""
        names: list[str] = []
        for name in self.environ:
            if name.startswith("VAULT_"):
                names.append("BAO_" + name.removeprefix("VAULT_"))
            names.append(name)
        return tuple(names)

    def remedy(self, profile: str | None) -> str:
        """Tell where the option can be set: ``set --role, vault_aws_role in [profile x], or VAULT_AWS_ROLE``."""
        places = [self.flag] if self.flag else []
        if not self.secret:
            places.append(f"{self.key} in {section_name(profile)}" if profile else f"{self.key} in the profile")
        places.extend(self.environ)
        return "set " + (", ".join(places[:-1]) + ", or " + places[-1] if len(places) > 1 else places[0])


def section_name(profile: str) -> str:
    """Return the section of the AWS config file that holds a profile, in brackets, fit for a message."""
    profile = one_line(profile, limit=80)
    name = f'"{profile}"' if " " in profile else profile
    return "[default]" if profile == "default" else f"[profile {name}]"


def option(
    *environ: str,
    help: str,
    flag: str | None = None,
    parse: Callable[[str], Any] = str,
    default: Any = None,
    metavar: str = "TEXT",
    secret: bool = False,
    redacted: bool = False,
) -> Any:
    """Declare a dataclass field that is also an :class:`Option`; the field's name is the profile key.

    A ``secret`` is taken from the environment or from an argument in the process, never from a flag or a
    file that is not its own. ``redacted`` only keeps a value that may hold a secret out of ``repr``.
    """
    declared = Option(
        key="",
        environ=environ,
        flag=flag,
        help=help,
        parse=parse,
        default=default,
        metavar=metavar,
        secret=secret,
    )
    return dataclasses.field(default=default, repr=not (secret or redacted), metadata={"option": declared})


def options_of(owner: type) -> Iterator[Option]:
    """Yield the options that a dataclass declares, in the order of its fields."""
    for field in dataclasses.fields(owner):
        declared = field.metadata.get("option")
        if declared is not None:
            yield dataclasses.replace(declared, key=field.name)


def is_word(text: str) -> bool:
    """Tell whether a text is one printable ASCII word, as tokens, keys and lease ids are."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclasses.dataclass(frozen=True, slots=True)
class VaultToken:
    """A Vault token and what is known of its life.

    ``expiry`` is seconds since the epoch, UTC; ``None`` means that the token does not expire. Where nobody
    could tell (a token handed in that may not look itself up) ``expiry_known`` is false. ``uses_left`` is
    ``None`` for a token without a limit. ``external`` marks a token that came from outside: it is never
    revoked by us. ``looked_up`` is false where its life is what somebody said (``vault_token_ttl``). ``value`` is
    ``None`` where a Vault Agent adds a token of its own to what we ask.
    """

    value: str | None = dataclasses.field(repr=False)
    expiry: float | None = None
    expiry_known: bool = True
    renewable: bool = False
    uses_left: int | None = None
    token_type: str = "service"  # noqa: S105 - the kind of token, not a token
    policies: tuple[str, ...] = ()
    external: bool = False
    looked_up: bool = True

    def __post_init__(self) -> None:
        if self.value is not None and not is_word(self.value):
            raise ValueError("not a Vault token: empty, or with spaces, line breaks or non-ASCII characters")

    def seconds_left(self, now: float) -> float:
        """Seconds until the token ends; infinite where it does not or nobody knows."""
        return float("inf") if self.expiry is None else self.expiry - now


@dataclasses.dataclass(frozen=True, slots=True)
class AWSCredentials:
    """AWS credentials with the truth about their life.

    ``issued`` and ``expiry`` are seconds since the epoch, UTC; ``issued`` is the moment before the request
    was sent. ``session_token`` is ``None`` for ``iam_user`` and static credentials.
    """

    access_key: str = dataclasses.field(repr=False)
    secret_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(repr=False)
    issued: float
    expiry: float
    credential_type: CredentialType
    lease_id: str = ""
    renewable: bool = False
    account_id: str | None = None

    @property
    def life(self) -> float:
        """Seconds that the credentials lived when they were read."""
        return self.expiry - self.issued

    def seconds_left(self, now: float) -> float:
        """Seconds until the credentials end, negative once they have."""
        return self.expiry - now


class Identity(NamedTuple):
    """Whom an auth method logs in as, as far as it changes the answer.

    ``parts`` are names: method, mount point, role or user. ``secrets`` are bytes that stand for an identity, a token
    or a Secret ID; they enter keys as keyed hashes. Proofs that rotate by themselves enter neither.
    """

    parts: tuple[str, ...]
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show the names and hide the secrets."""
        return f"Identity(parts={self.parts!r})"


class Person(Protocol):
    """Somebody at a terminal. There is one in ``login``; in ``get`` and in programs there is nobody to ask."""

    def ask(self, question: str) -> str:
        """Return the answer to a question, typed without an echo.

        :raises VaultCredentialError: when there is no answer.
        """

    def tell(self, line: str) -> None:
        """Show a line."""

    def browse(self, address: str) -> bool:
        """Open an address in the browser; tell whether there is one."""


Clock = Callable[[], float]
"""Returns seconds since the epoch, UTC. Time is a parameter, so that no test has to sleep."""


class WallClock:
    """The time of day, as the machine has it."""

    def __call__(self) -> float:
        return time.time()

    def origin(self) -> float:
        """Return what it would have shown when the machine started, which shrinks where it is set back."""
        return clock_origin()


wall_clock: Clock = WallClock()


def origin_of(clock: Clock) -> float | None:
    """Return the origin of a clock; ``None`` where it does not tell."""
    origin = getattr(clock, "origin", None)
    return None if origin is None else float(origin())


def set_back(clock: Clock, before: float | None) -> float:
    """Return the seconds by which a clock was set back since its origin was ``before``; 0 where it does not tell."""
    now = origin_of(clock)
    return 0.0 if before is None or now is None else max(before - now, 0.0)
