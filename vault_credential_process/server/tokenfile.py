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
from collections.abc import Callable, Mapping

from vault_credential_process import directory
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.fastpath import HAS_OWNERS
from vault_credential_process.server.endpoint import Tokens

logger = logging.getLogger(__name__)

GRACE = 60.0
"""Seconds for which the token before the last change is still taken: a client may have read it just before."""

_FLAG = "--authorization-token-file"
_FOR_A_GROUP = 0o711
"""Mode of a directory that members of a group find a file in: its name is known, and its own mode keeps others out."""

_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LARGEST = 4096
_TOKEN = re.compile(rb"[\x21-\x7e]{16,}")
"""What may stand in a header and is hard to guess: 16 printable characters at least, no spaces."""


class TokenFile:
    """A file with a token, of mode 0600, or 0640 for the members of a group.

    Its directory is opened once, and looked at then: whoever may rename what is above it can put another one in its
    place, and what is written goes into ours all the same.
    """

    def __init__(self, path: str, *, group: str | None = None) -> None:
        """Take the path, and make its directory if need be; nothing is written yet.

        :raises ConfigurationError: when its directory is missing and cannot be made, others could put another file in
            its place, or there is no such group.
        """
        self.path = os.path.abspath(path)
        self._group = None if group is None else _group_id(group)
        self._own: str | None = None
        self._directory = _opened(os.path.dirname(self.path), 0o700 if group is None else _FOR_A_GROUP)
        self._name = self.path if self._directory is None else os.path.basename(self.path)

    @classmethod
    def made(cls, environ: Mapping[str, str], *, group: str | None = None) -> TokenFile:
        """Return a file in a new directory, which :meth:`close` removes: in memory where the system has such a place.

        :raises ConfigurationError: when no directory can be made.
        """
        try:
            # The user's own runtime directory is closed to a group.
            path = directory.make("serve", environ, in_private=group is None)
        except OSError as error:
            raise ConfigurationError(f"{_FLAG}: there is no place for one: {error.strerror}; name a file") from None
        try:
            if group is not None:
                os.chmod(path, _FOR_A_GROUP)
            file = cls(os.path.join(path, "token"), group=group)
        except BaseException:
            os.rmdir(path)
            raise
        file._own = path
        return file

    def read(self) -> str | None:
        """Return the token that is there from before, so that clients need no other; ``None`` where there is no file.

        :raises ConfigurationError: when others may read or change the file, or it holds something else.
        """
        try:
            descriptor = os.open(self._name, os.O_RDONLY | _CAREFUL, dir_fd=self._directory)
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
        self._write(token, self._move)

    def begin(self) -> Tokens:
        """Return the token that clients send: the one that is there, else a new one, written.

        Of several processes that begin at once one writes, and the others take what it wrote.

        :raises ConfigurationError: as in :meth:`read` and :meth:`write`.
        """
        token = self.read()
        if token is None:
            made = Tokens.new()
            self._write(made, self._place)
            token = self.read() or made
        return Tokens(token)

    def _write(self, token: str, move: Callable[[str], object]) -> None:
        made = f"{self._name}.{secrets.token_hex(4)}"
        try:
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o600, dir_fd=self._directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    if self._group is not None:
                        # The open file, not its name, which may be a link by now.
                        os.fchown(descriptor, -1, self._group)
                        os.fchmod(descriptor, self._mode)
                    file.write(token.encode("ascii"))
                move(made)
            except OSError:
                os.unlink(made, dir_fd=self._directory)
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
        if self._directory is not None:
            os.close(self._directory)
            self._directory, self._name = None, self.path
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    @property
    def _mode(self) -> int:
        return 0o600 if self._group is None else 0o640

    def _move(self, made: str) -> None:
        """Give a file its name, whatever has it."""
        os.replace(made, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _place(self, made: str) -> None:
        """Give a file its name, unless there is one of that name by now: then that stays.

        :raises OSError: when it cannot be done; the file is where it was then.
        """
        try:
            os.link(made, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            self._move(made)
            return
        os.unlink(made, dir_fd=self._directory)


def _opened(place: str, mode: int) -> int | None:
    """Return a directory, opened; ``None`` where the system opens none. It is made if need be.

    A volume that containers share is open to all of them, one in it is ours.
    """
    try:
        is_new = False
        with contextlib.suppress(FileExistsError):
            os.mkdir(place, 0o700)
            is_new = True
        if not HAS_OWNERS:
            return None
        # One that we made is no link, unless somebody else put it there.
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | (_CAREFUL if is_new else 0))
    except OSError as error:
        raise ConfigurationError(f"{_FLAG}: {place}: {error.strerror}; make the directory first") from None
    found = os.fstat(descriptor)
    is_open = stat.S_IMODE(found.st_mode) & 0o022 and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (os.getuid(), 0) or is_open:
        os.close(descriptor)
        raise ConfigurationError(
            f"{_FLAG}: {place}: others may put another file in its place; name a directory that only this "
            "user or root can write to"
        )
    if is_new:
        os.fchmod(descriptor, mode)
    return descriptor


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
