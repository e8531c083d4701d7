"""A program that runs the command in children of its own: killed at a step, short of something, or misled by a clock.

A child of ``fork`` has loaded everything, so that a hundred runs cost seconds. Each is a process of its own that runs
the command as its script does, from its arguments to its exit. The parent reads lists of orders, a line of JSON each,
runs those of a list side by side, and answers with a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

_real_time, _real_sleep, _real_gettime = time.time, time.sleep, time.clock_gettime
_shift, _passed, _longest_nap = 0.0, 0.0, float("inf")


def _shifted() -> float:
    return _real_time() + _shift


def _later(clock: int) -> float:
    return _real_gettime(clock) + (_passed if clock == time.CLOCK_BOOTTIME else 0.0)


def _hurried(seconds: float) -> None:
    _real_sleep(min(seconds, _longest_nap))


# Before anything of ours is loaded: a default argument keeps the function that it found.
time.time, time.sleep, time.clock_gettime = _shifted, _hurried, _later

from vault_credential_process.cli import command, main  # noqa: E402

POSIX = frozenset({"open", "read", "write", "close", "replace", "link", "unlink", "mkdir", "listdir"})
SOCKET = frozenset({"connect", "send", "sendall", "recv", "recv_into", "close"})


class Steps:
    """Counts what a call asks of files, locks and sockets, tells each, and kills the process before one of them."""

    def __init__(self, told: int, kill_at: list[Any] | None) -> None:
        """Kill before the step of a name that comes as the n-th of that name."""
        self._told = told
        self._kill_at = kill_at
        self._counts: dict[str, int] = {}

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if event != "c_call":
            return
        owner, name = getattr(arg, "__self__", None), arg.__name__
        kind = getattr(owner, "__name__", type(owner).__name__)
        if kind == "socket":
            watched = name in SOCKET
        elif kind in ("posix", "nt"):
            watched = name in POSIX
        else:
            watched = name == "flock" or arg is open
        if not watched:
            return
        path = frame.f_locals.get("path") or getattr(frame.f_locals.get("self"), "path", "")
        about = (
            os.path.basename(path).partition("-")[0].partition(".")[0]
            if isinstance(path, str) and len(path) < 200
            else ""
        )
        step = f"{kind}.{name} {about}".strip()
        os.write(self._told, f"{step}\n".encode())
        if [step, self._counts.setdefault(step, 0)] == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._counts[step] += 1


def _become(order: dict[str, Any], out: int, err: int, told: int) -> None:
    """Run the command in this child, which it ends."""
    global _shift, _passed, _longest_nap  # noqa: PLW0603 - of this child alone
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        keep = told if order.get("steps") else 2
        os.closerange(3, keep)
        os.closerange(max(keep + 1, 3), 256)
        os.environ.clear()
        os.environ.update(order["environ"])
        _shift, _passed = float(order.get("clock", 0)), float(order.get("passed", 0))
        _longest_nap = float(order.get("nap", "inf"))
        sys.argv = ["vault-credential-process", *order["argv"]]
        if order.get("limits"):
            import resource

            for name, value in order["limits"].items():
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        if order.get("steps"):
            sys.setprofile(Steps(told, order.get("kill")))
        command()
    except SystemExit as error:
        sys.setprofile(None)
        sys.stdout.flush()
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _start(order: dict[str, Any]) -> tuple[int, tuple[int, int, int]]:
    # What a call prints fits into a pipe, which no limit on files reaches.
    (out, to_out), (err, to_err), told = os.pipe(), os.pipe(), os.memfd_create("steps")
    pid = os.fork()
    if pid == 0:
        _become(order, to_out, to_err, told)
    os.close(to_out)
    os.close(to_err)
    return pid, (out, err, told)


def _content(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        return file.read().decode(errors="replace")


def serve() -> None:
    """Obey until the orders end."""
    answers = os.dup(1)
    for line in sys.stdin:
        orders = json.loads(line)
        done = []
        if isinstance(orders, dict):
            # A first call in this process itself loads what is loaded late.
            before = dict(os.environ)
            os.environ.update(orders["environ"])
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            done.append({"code": main(orders["argv"]), "out": "", "err": "", "steps": []})
            os.environ.clear()
            os.environ.update(before)
        else:
            running = [_start(order) for order in orders]
            for pid, (out, err, told) in running:
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.lseek(told, 0, os.SEEK_SET)
                steps = _content(told).splitlines()
                done.append({"code": code, "out": _content(out), "err": _content(err), "steps": steps})
        os.write(answers, json.dumps(done).encode() + b"\n")


if __name__ == "__main__":
    serve()
