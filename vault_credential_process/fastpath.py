"""The quick answer of ``get``: one small file, checked and written to stdout, with next to nothing imported.

After a call has found its credentials, it leaves the finished document under a *quick key*: a keyed hash of the
arguments and of every environment variable that could matter. The next call with the same ones needs no
configuration, no parser and no library. It hands the document out only while

* the rule of :func:`~vault_credential_process.expiry.refresh_margin` holds, whose moment stands in the file, and
* the AWS config file and the files of secrets that went into it are unchanged (device, inode, size, time), and
* the clock has not been set back since it was written, and
* file and directory are ours alone, on the file system that was checked to be a tmpfs when the file was written.

Calls that find nothing queue here, so that of a hundred processes only one goes on to import anything.

Only what ``python -c pass`` has loaded anyway is imported at the top: see the test of the budget.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from vault_credential_process.lock import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FORMAT = "vcp2"
"""Part of every name and every key: versions that write another format never read this one."""

NAME = "vault-credential-process"
DEFAULT_WAIT = 45.0
"""Seconds that a call queues, until the call it waits for has told its deadline."""

FAILURE_MEMORY = 3.0
"""Seconds for which a failure answers those who waited for it."""

ABSENT = "- - -"
"""The state of a file that is not there."""

_PREFIXES = ("VAULT_", "BAO_", "AWS_", "XDG_", "ACTIONS_ID_TOKEN_", "IDENTITY_", "AZURE_POD_IDENTITY_", "GCE_METADATA_")
_NAMES = ("HOME", "USERPROFILE", "PYTHON_KEYRING_BACKEND", "K_SERVICE", "GITHUB_ACTIONS", "GITLAB_CI")
"""What could matter: our settings, AWS's, and what platforms set for those who log in from them."""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_LARGEST = 64 * 1024
# Windows has none of these; there the files lie in the user's own directory, which other users cannot enter.
_CAREFUL = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CAREFUL |= getattr(os, "O_BINARY", 0)  # without it Windows changes line ends and stops at a Ctrl-Z
HAS_OWNERS = hasattr(os, "getuid")
"""Whether files have an owner and a mode that keep others out."""

_CLOCK_SLACK = 5.0
_LONGEST_WAIT = 3600.0
_LEAST_LIFE = 10.0
_SKIP = b"skip"


def runtime_directory(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the private directory on tmpfs, made if need be, and why it is this one or none.

    ``$XDG_RUNTIME_DIR`` goes before ``/dev/shm``. The directory must be ours, of mode 0700, no link, and really on
    tmpfs; the mode and owner of what is there are never mended, for who got there first may look on.
    """
    if not sys.platform.startswith("linux"):
        return None, "no tmpfs on this system"
    reasons = []
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        path = os.path.join(runtime, NAME)
        reason = _trouble(path)
        if not reason:
            return path, f"{path} is private and on tmpfs"
        reasons.append(f"{path}: {reason}")
    path = f"/dev/shm/{NAME}-{os.getuid()}"  # noqa: S108 - made with mode 0700 and checked
    reason = _trouble(path)
    if not reason:
        return path, f"{path} is private and on tmpfs"
    reasons.append(f"{path}: {reason}")
    return None, "; ".join(reasons)


def _trouble(path: str) -> str:
    """Return what is wrong with a directory for secrets; nothing is wrong with one made just now on tmpfs."""
    try:
        parent = os.stat(os.path.dirname(path))
        if not _is_trusted_parent(parent):
            return "others may put another directory in its place"
        if not is_tmpfs(parent.st_dev):
            return "not on tmpfs"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(path)
    except OSError as error:
        return error.strerror or "cannot be made"
    return not_private(found) or ("" if is_tmpfs(found.st_dev) else "not on tmpfs")


def _is_trusted_parent(parent: os.stat_result) -> bool:
    """Tell whether nobody but us and root can rename what lies in a directory."""
    others_write = parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX
    return parent.st_uid in (os.getuid(), 0) and not others_write


def not_private(found: os.stat_result) -> str:
    """Return what keeps a directory from being ours alone; nothing where it is."""
    if not stat.S_ISDIR(found.st_mode):
        return "not a directory"
    if found.st_uid != os.getuid():
        return "owned by another user"
    if stat.S_IMODE(found.st_mode) != 0o700:
        return f"mode {stat.S_IMODE(found.st_mode):04o} instead of 0700"
    return ""


def is_tmpfs(device: int) -> bool:
    """Tell from ``/proc/self/mountinfo`` whether a device number is that of a tmpfs (or ramfs)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                fields, _, rest = line.decode("ascii", "replace").partition(" - ")
                if fields.split(" ", 3)[2] == wanted:
                    return rest.split(" ", 1)[0] in ("tmpfs", "ramfs")
    except (OSError, IndexError):
        pass
    return False


def uptime() -> float:
    """Return seconds on a clock that nobody sets; where the system has one that goes on in its sleep, on that."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def clock_origin() -> float:
    """Return what the wall clock would have shown when the machine started.

    It grows where the clock is set forward or, on systems whose other clock stops meanwhile, where the machine slept.
    It shrinks only where the clock is set back.
    """
    return time.time() - uptime()


def hash_key(directory: str) -> bytes:
    """Return the random key of a directory, made if need be: hashes of secrets are worth nothing without it.

    :raises OSError: when it can be neither read nor made.
    """
    path = os.path.join(directory, "key")
    for _ in range(3):
        content = read_private(path, 32)
        if content is not None and len(content) == 32:
            return content
        made = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
        write_private(made, os.urandom(32))
        try:
            if content is None:
                os.link(made, path)
            else:
                os.replace(made, path)
        except FileExistsError:
            pass
        finally:
            try:
                os.unlink(made)
            except OSError:
                pass
    raise OSError(0, "the random key cannot be made")


def keyed_hash(key: bytes, *parts: bytes) -> str:
    """Return 40 hexadecimal digits that tell nothing of the parts to who has not the key."""
    try:
        from _blake2 import blake2b
    except ImportError:  # another interpreter; hashlib costs a quarter of a start of Python
        from hashlib import blake2b
    digest = blake2b(key=key, digest_size=20)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return str(digest.hexdigest())


def read_private(path: str, limit: int = _LARGEST) -> bytes | None:
    """Return the content of a small regular file that is ours alone, else ``None``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and (not HAS_OWNERS or _is_ours_alone(found))
        return os.read(descriptor, limit + 1) if ours and found.st_size <= limit else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _is_ours_alone(found: os.stat_result) -> bool:
    return found.st_uid == os.getuid() and not found.st_mode & 0o077


def write_private(path: str, content: bytes) -> None:
    """Write a file of mode 0600 in one step: whoever reads sees the old content or the new.

    :raises OSError: when it cannot be written; nothing is left behind.
    """
    made = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        os.replace(made, path)
    except OSError:
        try:
            os.unlink(made)
        except OSError:
            pass
        raise


def write_failure(path: str, code: int, message: str) -> None:
    """Leave word of a failure for those who wait; where that cannot be done they try for themselves."""
    word = f"{time.monotonic():f} {code}\n{message}"
    try:
        write_private(path, word.encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def read_failure(path: str, since: float) -> tuple[int, str] | None:
    """Return code and message of a failure after ``since`` (monotonic seconds) that is still remembered."""
    head, _, message = (read_private(path) or b"").decode("utf-8", "replace").partition("\n")
    try:
        moment, code = head.split(" ")
        failed_at, exit_code = float(moment), int(code)
    except ValueError:
        return None
    is_fresh = failed_at >= since and 0 <= time.monotonic() - failed_at <= FAILURE_MEMORY
    if not is_fresh or not 0 < exit_code < 256:
        return None
    return exit_code, "".join(c if c.isprintable() else " " for c in message)


class Ticket:
    """The place of one call at the quick key: where its answer lies, and the lock while it is the one that fetches."""

    __slots__ = ("directory", "lock", "name", "started")

    def __init__(self, directory: str, name: str, started: float) -> None:
        """Name the files; nothing is opened yet."""
        self.directory = directory
        self.name = name
        self.started = started
        self.lock = FileLock(os.path.join(directory, f"quick-{name}.lock"))

    @property
    def waited(self) -> float:
        """Seconds since the call began, which its deadline has already lost."""
        return max(0.0, time.monotonic() - self.started)

    def answer(self, *, meanwhile: bool = False) -> bytes | None:
        """Return the document if it may be handed out now; ``meanwhile`` while another call refreshes it."""
        content = read_private(self._path("quick"))
        return None if content is None else _checked(content, self.directory, time.time(), meanwhile)

    def failure(self) -> tuple[int, str] | None:
        """Return the exit code and message of a failure that happened while this call waited, and is fresh."""
        return read_failure(self._path("failed"), self.started)

    def tell_deadline(self, seconds: float) -> None:
        """Let those who wait know how long a call with this configuration may take."""
        self._note(b"%f" % seconds)

    def stand_aside(self) -> None:
        """Let everybody pass from now on: with this configuration nothing is shared between processes."""
        self._note(_SKIP)
        self.lock.release()

    def _note(self, content: bytes) -> None:
        try:
            write_private(self._path("note"), content)
        except OSError:
            pass

    def note(self) -> bytes:
        """Return what the last call with this quick key left word of: ``skip``, its time limit, or nothing."""
        return read_private(self._path("note"), 64) or b""

    def store(
        self,
        document: bytes,
        *,
        good_from: float,
        good_until: float,
        ends: float,
        entry: str,
        watched: Mapping[str, str],
    ) -> None:
        """Leave the document for the next call. ``entry`` is the name of the cache entry that it came from.

        ``ends`` is when the credentials in it do. ``watched`` has the files that went into it, each with its
        :func:`path_state` of before it was read: a change since then must be noticed.

        :raises OSError: when it cannot be written.
        """
        lines = [f"{state} {path}" for path, state in watched.items()]
        if any("\n" in line for line in lines) or not all(line.split(" ", 3)[3].startswith("/") for line in lines):
            return
        device = os.stat(self.directory).st_dev
        head = f"{FORMAT} {device} {good_from:f} {good_until:f} {len(document)} {entry} {len(lines)} {ends:f}"
        head += f" {clock_origin():f}"
        content = "\n".join([head, *lines, ""]).encode("utf-8", "surrogateescape") + document
        write_private(self._path("quick"), content)

    def fail(self, code: int, message: str) -> None:
        """Leave word of a failure for those who wait."""
        write_failure(self._path("failed"), code, message)

    def _path(self, kind: str) -> str:
        return os.path.join(self.directory, f"{kind}-{self.name}")


def path_state(path: str) -> str:
    """Return what would change with a file; ``- - -`` where there is none.

    Device, inode, size, and two times: whoever puts the time of writing back cannot put back that of the change.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a name that no file can have
        return ABSENT
    return f"{found.st_dev}:{found.st_ino} {found.st_size} {found.st_mtime_ns}:{found.st_ctime_ns}"


def _checked(content: bytes, directory: str, now: float, meanwhile: bool) -> bytes | None:
    """Return the document in a quick file, if everything about it is as it was."""
    try:
        head, _, rest = content.partition(b"\n")
        magic, device, good_from, good_until, length, _, watched, ends, origin = head.decode("ascii").split(" ")
        until = float(ends) - _LEAST_LIFE if meanwhile else float(good_until)
        if magic != FORMAT or not float(good_from) - _CLOCK_SLACK <= now < until:
            return None
        # Since the clock was set back, what is stated of the end is too late.
        if not clock_origin() >= float(origin) - _CLOCK_SLACK:
            return None
        for _ in range(int(watched)):
            line, _, rest = rest.partition(b"\n")
            state, path = _split_state(line.decode("utf-8", "surrogateescape"))
            if path_state(path) != state:
                return None
        found = os.lstat(directory)
        if found.st_dev != int(device) or not_private(found):
            return None
        whole = len(rest) == int(length) and rest.startswith(b'{"Version":1,') and rest.endswith(b"}\n")
    except (ValueError, OSError):
        return None
    return rest if whole else None


def _split_state(line: str) -> tuple[str, str]:
    one, two, three, path = line.split(" ", 3)
    return f"{one} {two} {three}", path


def forget(directory: str, entry: str | None = None) -> int:
    """Remove the quick answers that came from one cache entry, or all; return how many there were."""
    removed = 0
    for name in listed(directory):
        if name.startswith("quick-") and not name.endswith(".lock"):
            path = os.path.join(directory, name)
            content = read_private(path)
            fields = (content or b"").partition(b"\n")[0].split(b" ")
            if entry is None or content is None or len(fields) < 6 or fields[5] == entry.encode():
                try:
                    os.unlink(path)
                    removed += 1
                except OSError:
                    pass
    return removed


def listed(directory: str) -> list[str]:
    """Return the names in a directory; none where it cannot be read."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def ticket(arguments: Sequence[str], environ: Mapping[str, str]) -> Ticket | None:
    """Return the place of a call at its quick key; ``None`` where there is no private directory."""
    directory = existing_directory(environ) or runtime_directory(environ)[0]
    if directory is None:
        return None
    relevant = sorted(f"{n}={v}" for n, v in environ.items() if n.startswith(_PREFIXES) or n in _NAMES)
    # From another directory a relative path, in the profile too, is another file.
    parts = [FORMAT, _directory(), *arguments, "\0", *relevant]
    try:
        name = keyed_hash(hash_key(directory), *(part.encode("utf-8", "surrogatepass") for part in parts))
    except OSError:
        return None
    return Ticket(directory, name, time.monotonic())


def _directory() -> str:
    """Return the working directory; nothing where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def existing_directory(environ: Mapping[str, str]) -> str | None:
    """Return the directory that an earlier call made, without reading the mounts: its answers name its device."""
    if not sys.platform.startswith("linux"):
        return None
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    path = os.path.join(runtime, NAME) if runtime.startswith("/") else f"/dev/shm/{NAME}-{os.getuid()}"  # noqa: S108
    try:
        is_ours = not not_private(os.lstat(path)) and _is_trusted_parent(os.stat(os.path.dirname(path)))
    except OSError:
        return None
    return path if is_ours else None


def serve(place: Ticket, before_waiting: Callable[[], None] | None = None) -> int | None:
    """Answer a call from the quick file, at once or after waiting for the call that is fetching.

    A call that is about to wait calls ``before_waiting``.

    Return the exit code; ``None`` when the call must find its answer itself. It then holds the lock of the quick
    key, unless nothing is shared with its configuration.
    """
    served = _hand_out(place)
    if served is not None:
        return served
    note = place.note()
    if note == _SKIP:
        return None
    limit = _limit(note)

    def settled() -> bool:
        # The call that is fetching may learn its limit only after we began to wait.
        nonlocal limit
        note = place.note()
        limit = _limit(note)
        return place.answer() is not None or place.failure() is not None or note == _SKIP or place.waited >= limit

    try:
        acquired = place.lock.try_acquire()
        if not acquired:
            # Somebody is at it: what is still valid serves, and nobody waits for a Vault that is slow.
            served = _hand_out(place, meanwhile=True)
            if served is not None:
                return served
            if before_waiting is not None:
                before_waiting()
            acquired = place.lock.acquire(_LONGEST_WAIT, settled)
    except OSError:
        return None
    served = _hand_out(place)
    if served is not None:
        place.lock.release()
        return served
    failed = place.failure()
    if failed is not None:
        place.lock.release()
        code, message = failed
        _complain(message)
        return code
    if not acquired and place.note() != _SKIP:
        _complain(f"gave up after {limit:g} s while another call was fetching; see vault_aws_timeout")
        return 7
    return None


def _limit(note: bytes) -> float:
    """Return for how many seconds a call may wait, as the last one with the same configuration left word of it."""
    try:
        return min(float(note), _LONGEST_WAIT)
    except ValueError:
        return DEFAULT_WAIT


def _complain(message: str) -> None:
    """Write one line to stderr, if there is one to write to."""
    try:
        os.write(2, f"{NAME}: {message}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def _hand_out(place: Ticket, *, meanwhile: bool = False) -> int | None:
    document = place.answer(meanwhile=meanwhile)
    if document is None:
        return None
    view = memoryview(document)
    try:
        while view:
            view = view[os.write(1, view) :]
    except OSError:
        return None  # the long way has words for it
    return 0
