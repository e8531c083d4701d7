"""Everything that can go wrong, each with the exit code of its class.

Every message is one line for a human: what happened, at which address and path, and what to do next. No
message ever holds a secret; :func:`one_line` is what makes text from elsewhere fit for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONGEST = 4000
"""Characters of the longest message. Names of files, profiles and settings in it may be of any length."""


class VaultCredentialError(Exception):
    """Root of every error this package raises on purpose.

    ``exit_code`` is what the command ends with; 70 (``EX_SOFTWARE``) would mean a bug. Whatever stands in the message,
    it is one printable line: a name of a file may hold what moves the cursor of a terminal. ``undone`` is whether it is
    certain that Vault did nothing of what it was asked for.
    """

    exit_code = 70
    undone = False

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, limit=LONGEST))


class ConfigurationError(VaultCredentialError):
    """A setting is missing, malformed, or names something that does not exist (role, mount point, namespace)."""

    exit_code = 2


class AuthenticationError(VaultCredentialError):
    """Vault did not accept the login, or the token is dead, used up or about to be."""

    exit_code = 3


class AuthUnavailable(AuthenticationError):  # noqa: N818 - a verdict that auto acts on, not a failure
    """An auth method has nothing to try here: it is absent, not broken, so ``auto`` goes on to the next."""


class PermissionDeniedError(VaultCredentialError):
    """The token is alive but no policy lets it read the path."""

    exit_code = 4


class UnreachableError(VaultCredentialError):
    """No usable answer: network, TLS, standby, rate limit, or a failure between Vault and AWS."""

    exit_code = 5


class SealedError(VaultCredentialError):
    """Vault is sealed or not initialized."""

    exit_code = 6


class DeadlineError(VaultCredentialError):
    """The call's own deadline (``vault_aws_timeout``) passed."""

    exit_code = 7


def failure_of(exit_code: int, message: str) -> VaultCredentialError:
    """Return the error of a class that is known by its exit code, as another process left word of it."""
    found = (kind for kind in VaultCredentialError.__subclasses__() if kind.exit_code == exit_code)
    return next(found, VaultCredentialError)(message)


def bare(error: VaultCredentialError) -> VaultCredentialError:
    """Return the same failure without its traceback and causes: what looks into their frames would find secrets."""
    return failure_of(error.exit_code, str(error))


def where(error: BaseException) -> str:
    """Return the file and line where an unforeseen error arose: its text may hold a secret, its place does not."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "nowhere"


def one_line(text: str, *, secrets: Iterable[str | None] = (), limit: int = 300) -> str:
    """Return foreign text as one printable line of at most ``limit`` characters, known secrets blotted out.

    In whatever case: a host name, for one, is put into lower case on its way here. And however it is quoted: as a URL,
    JSON, Go's ``%q`` and HTML do it, in base64, a part of something longer too, and in hexadecimal.
    """
    known = sorted(filter(None, secrets), key=len, reverse=True)
    is_cut, text = len(text) > _MOST_READ, text[:_MOST_READ]
    for secret in known:
        # No form of it is shorter than itself.
        if len(secret) <= len(text):
            text = _without(text, secret)
    if is_cut and known:
        # The cut may have gone through a secret, whose first half is not known for one.
        text = text[: max(len(text) - _WIDEST * len(known[0]), 0)]
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


BLOT = "***"
_MOST_READ = 64 * 1024
"""Characters of foreign text that are looked at: of more, nothing would be shown."""
_WIDEST = 12
"""Characters of the widest form of one: ``\\U0001f600``, say."""
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""What no way of quoting changes (RFC 3986, 2.3)."""
_SHORTEST = 6
"""Characters of the shortest secret whose encodings are looked for: those of a shorter one may stand anywhere."""
_MOST_QUOTED = 500
"""Characters that may be quoted in a secret that is looked for quoted: with more, that takes seconds."""
_LETTERS = {"\t": "t", "\n": "n", "\r": "r"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def _without(text: str, secret: str) -> str:
    """Return a text without a secret in any of its forms."""
    is_quoted = 0 < sum(character not in _PLAIN for character in secret) <= _MOST_QUOTED
    if is_quoted or secret.lower() in text.lower():
        pattern = "".join(map(_quoted, secret)) if is_quoted else re.escape(secret)
        if is_quoted and secret[0] not in _PLAIN:
            # A run of backslashes is looked at once, from its beginning: at each of them anew it would take for ever.
            pattern = rf"(?<!\\){pattern}"
        text = re.sub(pattern, BLOT, text, flags=re.IGNORECASE)
    if len(secret) >= _SHORTEST:
        for encoded in _encoded(secret.encode("utf-8", "surrogatepass")):
            if encoded.lower() in text.lower():
                text = re.sub(re.escape(encoded), BLOT, text, flags=re.IGNORECASE)
    return text


def _quoted(character: str) -> str:
    """Return a pattern for a character as it is or as it may be quoted, several times too as far as backslashes go."""
    if character in _PLAIN:
        return re.escape(character)
    octets = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass")
    ways = [
        re.escape(character),
        "".join(f"%{octet:02x}" for octet in octets),
        r"\\+".join(f"x{octet:02x}" for octet in octets),
        r"\\+".join(f"u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)),
        f"U{ord(character):08x}",
        f"&#(?:0*{ord(character)}|x0*{ord(character):x});",
    ]
    if character in _LETTERS:
        ways.append(_LETTERS[character])
    if character in _ENTITIES:
        ways.append(f"&{_ENTITIES[character]};")
    if character == " ":
        ways.append(r"\+")
    return rf"\\*(?:{'|'.join(ways)})"


def _encoded(content: bytes) -> Iterator[str]:
    """Yield what stays the same of some bytes in hexadecimal and base64, whatever stands before and behind them."""
    import base64

    yield content.hex()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + content).decode("ascii")
        # A character at the edge holds bits of what is beside it.
        inner = whole[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        yield from {inner, inner.translate({ord("+"): "-", ord("/"): "_"})}
