"""The file from which clients of the endpoint read what they send as ``Authorization``.

SDKs read it at every request and send its bytes as they are: there must be no line end in it
(``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE``, ``botocore.credentials.ContainerProvider``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping

from vault_credential_process.errors import ConfigurationError
from vault_credential_process.fastpath import HAS_OWNERS, write_private
from vault_credential_process.server.endpoint import Tokens

logger = logging.getLogger(__name__)

GRACE = 60.0
"""Seconds for which the token before the last change is still taken: a client may have read it just before."""

_FLAG = "--authorization-token-file"
_FOR_A_GROUP = 0o711
"""Mode of a directory that members of a group find a file in: its name is known, and its own mode keeps others out."""

_LARGEST = 4096
_TOKEN = re.compile(rb"[\x21-\x7e]{16,}")
"""What may stand in a header and is hard to guess: 16 printable characters at least, no spaces."""


class TokenFile:
    """A file with a token, of mode 0600, or 0640 for the members of a group."""

    def __init__(self, path: str, *, group: str | None = None) -> None:
        """Take the path, and make its directory if need be; nothing is written yet.

        :raises ConfigurationError: when its directory is missing and cannot be made, others could put another file in
            its place, or there is no such group.
        """
        self.path = os.path.abspath(path)
        self._group = None if group is None else _group_id(group)
        self._own: str | None = None
        _check_directory(self.path, 0o700 if group is None else _FOR_A_GROUP)

    @classmethod
    def made(cls, environ: Mapping[str, str], *, group: str | None = None) -> TokenFile:
        """Return a file in a new directory, which :meth:`close` removes: in memory where the system has such a place.

        :raises ConfigurationError: when no directory can be made.
        """
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        places = [place for place in (runtime, "/dev/shm") if place.startswith("/") and os.path.isdir(place)]  # noqa: S108
        for place in (*places, None):
            with contextlib.suppress(OSError):
                directory = tempfile.mkdtemp(prefix="vault-credential-process-", dir=place)
                try:
                    if group is not None:
                        os.chmod(directory, _FOR_A_GROUP)
                    file = cls(os.path.join(directory, "token"), group=group)
                except BaseException:
                    os.rmdir(directory)
                    raise
                file._own = directory
                return file
        raise ConfigurationError(f"{_FLAG}: there is no place for one; name a file")

    def read(self) -> str | None:
        """Return the token that is there from before, so that clients need no other; ``None`` where there is no file.

        :raises ConfigurationError: when others may read or change the file, or it holds something else.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{_FLAG}: {self.path}: cannot be read: {error.strerror}; remove it") from None
        try:
            found = os.fstat(descriptor)
            content = os.read(descriptor, _LARGEST + 1) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(descriptor)
        if HAS_OWNERS and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & ~self._mode & 0o777):
            raise ConfigurationError(
                f"{_FLAG}: {self.path}: not ours alone (mode {stat.S_IMODE(found.st_mode):04o}); remove it, and it is "
                "made anew"
            )
        if len(content) > _LARGEST or not _TOKEN.fullmatch(content):
            raise ConfigurationError(
                f"{_FLAG}: {self.path}: holds no token (16 printable characters or more, without spaces or a line "
                "end); remove it, and it is made anew"
            )
        return content.decode("ascii")

    def write(self, token: str) -> None:
        """Replace the file in one step: whoever reads sees the old token or the new.

        :raises ConfigurationError: when it cannot be written.
        """
        self._write(token, os.replace)

    def begin(self) -> Tokens:
        """Return the token that clients send: the one that is there, else a new one, written.

        Of several processes that begin at once one writes, and the others take what it wrote.

        :raises ConfigurationError: as in :meth:`read` and :meth:`write`.
        """
        token = self.read()
        if token is None:
            made = Tokens.new()
            self._write(made, _place)
            token = self.read() or made
        return Tokens(token)

    def _write(self, token: str, move: Callable[[str, str], object]) -> None:
        made = f"{self.path}.{secrets.token_hex(4)}"
        try:
            write_private(made, token.encode("ascii"))
            try:
                if self._group is not None:
                    os.chown(made, -1, self._group)
                    os.chmod(made, self._mode)
                move(made, self.path)
            except OSError:
                os.unlink(made)
                raise
        except OSError as error:
            raise ConfigurationError(
                f"{_FLAG}: {self.path}: cannot be written: {error.strerror}; name one in a place of this user's"
            ) from None

    def rotate(self, tokens: Tokens) -> None:
        """Write a new token; the last one stays good for :data:`GRACE`. Where that fails all stays as it is, logged."""
        token = Tokens.new()
        tokens.offer(token)
        try:
            self.write(token)
        except ConfigurationError as error:
            tokens.withdraw()
            logger.warning("%s; the token stays the same", error)
        else:
            tokens.settle(GRACE)
            logger.info("the token was replaced; the last one is good for %.0f s more", GRACE)

    def close(self) -> None:
        """Remove the file if its directory was made for it; one that was named stays, for the next start."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    @property
    def _mode(self) -> int:
        return 0o600 if self._group is None else 0o640


def _place(made: str, path: str) -> None:
    """Give a file its name, unless there is one of that name by now: then that stays.

    :raises OSError: when it cannot be done; the file is where it was then.
    """
    try:
        os.link(made, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(made, path)
        return
    os.unlink(made)


def _check_directory(path: str, mode: int) -> None:
    """Make the directory if need be: a volume that containers share is open to all of them, one in it is ours."""
    directory = os.path.dirname(path)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
            os.chmod(directory, mode)
        found = os.stat(directory)
    except OSError as error:
        raise ConfigurationError(f"{_FLAG}: {directory}: {error.strerror}; make the directory first") from None
    if not HAS_OWNERS:
        return
    is_open = stat.S_IMODE(found.st_mode) & 0o022 and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (os.getuid(), 0) or is_open:
        raise ConfigurationError(
            f"{_FLAG}: {directory}: others may put another file in its place; name a directory that only this "
            "user or root can write to"
        )


def _group_id(group: str) -> int:
    try:
        import grp
    except ImportError:
        raise ConfigurationError(
            "--authorization-token-group: this system has no groups of that kind; leave it out"
        ) from None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"--authorization-token-group: there is no group {group!r}; write its name as getent shows it"
        ) from None
