"""How the text of a setting becomes its value. Each raises ``ValueError`` with a reason that repeats no secret."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import sys
import urllib.parse
from collections.abc import Sequence

from vault_credential_process.errors import one_line
from vault_credential_process.expiry import parse_duration

_ROLE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@-]*[A-Za-z0-9_])?", re.ASCII)
_ROLE_ARN = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+", re.ASCII)
_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}", re.ASCII)
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_SERVICE_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@:-]*", re.ASCII)
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def parse_bool(text: str) -> bool:
    """Return what Go's ``strconv.ParseBool`` would, and take yes/no and on/off too."""
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("write true or false")


def parse_seconds(text: str) -> float:
    """Return a duration of more than no seconds."""
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("must be more than 0 s")
    return seconds


def parse_count(text: str) -> int:
    """Return a whole number from 0 to 100."""
    if not re.fullmatch(r"\d{1,3}", text.strip(), re.ASCII) or int(text) > 100:
        raise ValueError("write a whole number from 0 to 100")
    return int(text)


def parse_port(text: str) -> int:
    """Return the number of a TCP port."""
    if not re.fullmatch(r"\d{1,5}", text.strip(), re.ASCII) or not 1 <= int(text) <= 65535:
        raise ValueError("write the number of a port, from 1 to 65535")
    return int(text)


def parse_path(text: str) -> str:
    """Return the whole path of a file, ``~`` expanded: a ``credential_process`` line is not read by a shell.

    What two directories call by the same name are two files.
    """
    try:
        return os.path.abspath(os.path.expanduser(text)) if text else text
    except OSError:
        raise ValueError("a relative path, and the working directory is gone; write it from the root") from None


def whole_path(path: str) -> str:
    """Return the whole path of a file that nobody configured, ``~`` expanded; where no directory is left, as it is."""
    path = os.path.expanduser(path)
    try:
        return os.path.abspath(path)
    except OSError:
        return path


def parse_address(text: str) -> str:
    """Return the address of the server without a trailing slash: ``https://…``, ``http://…`` or ``unix:///path``.

    The scheme comes back in lower case: what asks for TLS, or for a socket, goes by it.
    """
    address = text.strip().rstrip("/")
    if not address.isprintable():
        raise ValueError("an address has no line breaks or control characters")
    try:
        parts = urllib.parse.urlsplit(address)
        port_is_sane = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("not an address; write https://host:8200") from None
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise ValueError("a socket is written unix:///absolute/path")
        import socket

        if not hasattr(socket, "AF_UNIX"):  # Windows
            raise ValueError("Python has no Unix sockets on this system; write https://host:8200")
        return f"unix://{parts.path}"
    if "\\" in address:  # to some a slash, to others a part of the host's name
        raise ValueError("not an address; write https://host:8200")
    if "@" in address:
        raise ValueError("an address must not carry a user name or password")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sane:
        raise ValueError(f"{one_line(text, limit=80)!r} is not an address; write https://host:8200 or unix:///path")
    if set(address) & set("?# "):
        raise ValueError("an address has no query, fragment or spaces")
    return parts.scheme + address[len(parts.scheme) :]


def parse_mount(text: str) -> str:
    """Return a mount point or namespace without slashes at its ends, none of whose segments leads elsewhere."""
    path = text.strip().strip("/")
    segments = path.split("/")
    if any(s in ("", ".", "..") or not s.isprintable() or set(s) & set("?#%\\ ") for s in segments):
        raise ValueError(f"{one_line(text, limit=80)!r} is not a path in Vault")
    return path


def parse_role(text: str) -> str:
    """Return the name of a role: Vault allows letters, digits and ``_ . @ -`` (``GenericNameWithAtRegex``)."""
    if not _ROLE.fullmatch(text):
        raise ValueError(f"{one_line(text, limit=80)!r} is not the name of a role (letters, digits, _ . @ - only)")
    return text


def parse_auth_role(text: str) -> str:
    """Return the name of a role at a login: it travels in the body of the request, so any printable text will do."""
    name = text.strip()
    if not name or not name.isprintable():
        raise ValueError("not the name of a role: empty, or with line breaks or control characters")
    return name


def parse_username(text: str) -> str:
    """Return a user name, which becomes one segment of a path.

    Servers take the segment apart at slashes all the same: parts that are empty, ``.`` or ``..`` would lead elsewhere.
    """
    name = text.strip()
    if not name or not name.isprintable():
        raise ValueError("not a user name: empty, or with line breaks or control characters")
    if set(name.split("/")) & {"", ".", ".."}:
        raise ValueError("not a user name: a path that leads elsewhere")
    return name


def parse_okta_provider(text: str) -> str:
    """Return whose code a second factor of Okta is, as Vault calls them."""
    provider = text.strip().upper()
    if provider not in ("OKTA", "GOOGLE"):
        raise ValueError("write OKTA or GOOGLE")
    return provider


def parse_endpoint(text: str) -> str:
    """Return which of the engine's read paths is used."""
    if text not in ("creds", "sts", "static-creds"):
        raise ValueError("write creds, sts or static-creds")
    return text


def parse_role_arn(text: str) -> str:
    """Return the ARN of an IAM role."""
    if not _ROLE_ARN.fullmatch(text):
        raise ValueError(f"{one_line(text, limit=80)!r} is not a role ARN (arn:aws:iam::123456789012:role/name)")
    return text


def parse_session_name(text: str) -> str:
    """Return a role session name as STS takes it (``AssumeRole``, ``RoleSessionName``)."""
    if not _SESSION_NAME.fullmatch(text):
        raise ValueError("2 to 64 letters, digits and + = , . @ - _ only")
    return text


def parse_probe(text: str) -> float:
    """Return for how many seconds freshly made ``iam_user`` keys are probed: ``auto`` is 20, ``off`` is 0."""
    word = text.strip().lower()
    if word in ("auto", "off"):
        return 20.0 if word == "auto" else 0.0
    try:
        return parse_duration(word)
    except ValueError:
        raise ValueError("write auto, off or a duration") from None


def parse_proxy(text: str) -> str:
    """Return the address of a proxy; it may carry a password, so no message repeats it."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in ("http", "https"):
        raise ValueError("not the address of a proxy; write http://host:3128")
    return text.strip()


def parse_guid(text: str) -> str:
    """Return an identifier of Azure's, such as that of a subscription."""
    if not _GUID.fullmatch(text.strip()):
        raise ValueError("not a GUID; write 01234567-89ab-cdef-0123-456789abcdef")
    return text.strip()


def parse_service_account(text: str) -> str:
    """Return the e-mail address of a service account of Google Cloud, or ``default``: it becomes part of a path."""
    if not _SERVICE_ACCOUNT.fullmatch(text.strip()):
        raise ValueError("not a service account; write its e-mail address, or default")
    return text.strip()


def parse_oidc_mode(text: str) -> str:
    """Return how an OIDC login comes back: OpenBao's name for the ``callback_mode`` of a role."""
    if text not in ("client", "direct", "device"):
        raise ValueError("write client, direct or device")
    return text


def parse_redirect_uri(text: str) -> str:
    """Return the address that a provider sends the browser back to, as it stands: it is compared as text."""
    uri = text.strip()
    try:
        parts = urllib.parse.urlsplit(uri)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    is_plain = uri.isascii() and uri.isprintable() and not set(uri) & set(" @#")
    if not has_host or not is_plain or parts.scheme not in ("http", "https"):
        raise ValueError("not a redirect URI; write http://localhost:8250/oidc/callback")
    return uri


def parse_command(text: str) -> tuple[str, ...]:
    """Return the words of a command, split without a shell, as the system's programs are used to."""
    try:
        if sys.platform == "win32":
            from botocore.compat import compat_shell_split

            words = tuple(compat_shell_split(text, "win32"))
        else:
            words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"not a command: {error}") from None
    if not words:
        raise ValueError("not a command: empty")
    return words


def join_command(words: Sequence[str]) -> str:
    """Return a command as a person types it here: what :func:`parse_command` splits into the same words."""
    if sys.platform == "win32":
        from subprocess import list2cmdline

        return list2cmdline(words)
    return shlex.join(words)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this one, by its name alone: ``localhost`` or an address of the loopback range."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
