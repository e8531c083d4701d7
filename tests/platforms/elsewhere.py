"""Runs the package as if on Windows or macOS: ``python elsewhere.py win32 get …``, or code after ``-c``.

What Python does not have there is taken away, as the standard library's pages and typeshed tell: modules, and names
of ``os``, ``signal``, ``socket``, ``time`` and ``select``. All but the package itself was loaded before, for the
system that it really runs on. Of Windows, the traits that meet the package's files are imitated: no owners or modes,
files that change line ends unless they are opened as binary ones, and no removal of an open file. This shows what the
package does where something is missing; it does not show that the systems are like this.
"""

from __future__ import annotations

import errno
import importlib
import importlib.abc
import os
import pkgutil
import runpy
import socket
import sys
import types
import warnings
from typing import Any

NAME = "vault_credential_process"
EXTRA = (f"{NAME}.demo", f"{NAME}.testing")
"""Parts that need what the extras bring."""
LEFT_OUT = (f"{NAME}.__main__", f"{NAME}.aio", f"{NAME}.demo.programs")
"""What runs when it is imported, or needs aiobotocore."""

POSIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_NAMES = {
    "os": "O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC chown chroot ctermid fchdir fchmod fchown fork "
    "forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getuid killpg lchown major makedev minor "
    "mkfifo nice openpty pread pwrite register_at_fork sched_yield sendfile setgid setsid setuid statvfs sync "
    "sysconf uname wait wait3 wait4 waitid",
    "signal": "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 "
    "SIGWINCH alarm pause pthread_kill pthread_sigmask setitimer sigpending sigwait",
    "socket": "AF_NETLINK AF_UNIX SCM_RIGHTS SO_PEERCRED SO_REUSEPORT recv_fds send_fds",
    "time": "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns tzset",
    "select": "epoll poll",
}
LINUX_NAMES = {
    "os": "eventfd getrandom memfd_create pidfd_open posix_fallocate sched_getaffinity sched_setaffinity splice",
    "socket": "AF_NETLINK SO_PEERCRED",
    "time": "CLOCK_BOOTTIME",
    "select": "epoll",
}
LINUX_PATHS = ("/proc/", "/dev/shm")
POSIX_PATHS = (*LINUX_PATHS, "/dev/tty")

O_BINARY = os.O_NOCTTY
"""Says nothing of a regular file here, so the real ``open`` can be given it, and who looks on can see it."""


def become(system: str, *, extras: bool = False) -> None:
    """Turn this interpreter into one of ``win32`` or ``darwin``, as far as the package can tell."""
    windows = system == "win32"
    for module in ("asyncio", "getpass", "keyring.core", "multiprocessing", "subprocess", "tempfile", "webbrowser"):
        importlib.import_module(module)
    every_module(extras=extras)
    for name in [n for n in sys.modules if n.partition(".")[0] == NAME] + ["getpass"]:
        del sys.modules[name]
    for module, names in (POSIX_NAMES if windows else LINUX_NAMES).items():
        for name in names.split():
            vars(importlib.import_module(module)).pop(name, None)
    _forbid_paths(POSIX_PATHS if windows else LINUX_PATHS)
    if windows:
        _forbid_modules()
        _imitate_files()
        socket.socketpair = _socketpair  # type: ignore[assignment]
    sys.platform = system
    # Windows' own encoding is not UTF-8: a text file of ours says which one it has (with -X warn_default_encoding).
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=rf"{NAME}\b")


def every_module(*, extras: bool = False) -> list[str]:
    """Import every module of the package and return their names; ``extras`` are those of other programs' packages."""
    found = [module.name for module in pkgutil.walk_packages(importlib.import_module(NAME).__path__, f"{NAME}.")]
    found = [name for name in found if not name.startswith(LEFT_OUT if extras else LEFT_OUT + EXTRA)]
    for name in found:
        importlib.import_module(name)
    return found


class _Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in POSIX_MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _forbid_modules() -> None:
    sys.modules["msvcrt"] = _msvcrt(importlib.import_module("fcntl"))
    for name in POSIX_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Absent())


def _forbid_paths(paths: tuple[str, ...]) -> None:
    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.mkdir", "os.listdir", "os.scandir") and str(arguments[0]).startswith(paths):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])

    sys.addaudithook(refuse)


def _socketpair(*_: object) -> tuple[socket.socket, socket.socket]:
    """Return the ends of a connection: Windows has no pairs, and the standard library makes them so there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), timeout=60)
        one.settimeout(None)
        return one, listener.accept()[0]


def _msvcrt(fcntl: Any) -> types.ModuleType:
    """Return a stand-in for the C runtime's module: byte locks over ``flock``, and a keyboard that is stdin."""
    module = types.ModuleType("msvcrt")

    def locking(descriptor: int, mode: int, count: int) -> None:
        if (mode, count) not in ((2, 1), (0, 1)):
            raise ValueError(f"not imitated: {mode}, {count}")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if mode == 2 else fcntl.LOCK_UN)

    def getwch() -> str:
        return sys.stdin.read(1)

    def putwch(character: str) -> None:
        sys.stderr.write(character)

    members: dict[str, Any] = {"LK_UNLCK": 0, "LK_NBLCK": 2, "locking": locking, "getwch": getwch, "putwch": putwch}
    vars(module).update(members)
    return module


def _imitate_files() -> None:
    """Give files the traits of Windows: see the module."""
    real = types.SimpleNamespace(**vars(os))
    changed: set[int] = set()

    def is_open(path: Any) -> bool:
        try:
            wanted = real.stat(path)
        except OSError:
            return False
        for descriptor in range(3, 64):
            try:
                if os.path.samestat(real.fstat(descriptor), wanted):
                    return True
            except OSError:
                continue
        return False

    def open_file(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        descriptor: int = real.open(path, flags, 0o666 | mode, **rest)
        if not flags & O_BINARY:
            changed.add(descriptor)
        return descriptor

    def close(descriptor: int) -> None:
        changed.discard(descriptor)
        real.close(descriptor)

    def fdopen(descriptor: int, *arguments: Any, **rest: Any) -> Any:
        changed.discard(descriptor)  # Python's own files are binary below
        return real.fdopen(descriptor, *arguments, **rest)

    def read(descriptor: int, count: int) -> bytes:
        data: bytes = real.read(descriptor, count)
        return data.partition(b"\x1a")[0].replace(b"\r\n", b"\n") if descriptor in changed else data

    def write(descriptor: int, data: Any) -> int:
        if descriptor not in changed:
            return int(real.write(descriptor, data))
        real.write(descriptor, bytes(data).replace(b"\n", b"\r\n"))
        return len(data)

    def mkdir(path: Any, mode: int = 0o777, **rest: Any) -> None:
        real.mkdir(path, 0o777 | mode, **rest)

    def unless_open(name: str, *, which: int) -> Any:
        def changing(*paths: Any, **rest: Any) -> None:
            if any(is_open(path) for path in paths[:which]):
                raise PermissionError(errno.EACCES, "Access is denied", paths[0])
            getattr(real, name)(*paths, **rest)

        return changing

    os.umask(0)
    os.O_BINARY = O_BINARY  # type: ignore[attr-defined]
    os.open, os.close, os.fdopen, os.read, os.write, os.mkdir = open_file, close, fdopen, read, write, mkdir
    os.unlink = os.remove = unless_open("unlink", which=1)
    os.replace = unless_open("replace", which=2)
    os.rename = unless_open("rename", which=2)


def main() -> None:
    """Become another system and run the command, or some code; ``--extras`` loads what the extras bring before."""
    _, system, *arguments = sys.argv
    extras = arguments[0] == "--extras"
    del arguments[: int(extras)]
    become(system, extras=extras)
    if arguments[0] == "-c":
        sys.argv = arguments[:1] + arguments[2:]
        names = {"__name__": "__main__", "every_module": every_module}
        exec(compile(arguments[1], "<elsewhere>", "exec"), names)  # noqa: S102 - a test's own
        return
    sys.argv = [NAME, *arguments]
    runpy.run_module(NAME, run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # this directory is no place for modules
    main()
