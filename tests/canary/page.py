"""``docs/canary.md``, written from the tables: ``python -m tests.canary.page``."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from vault_credential_process import auth

from .caches import BACKENDS
from .commands import RUNS
from .evidence import MAY_STAND, PLACES
from .faces import FACES
from .failures import FAILURES
from .methods import PLAYS
from .plants import KINDS
from .plays import Play, Props
from .search import ENCODINGS, FORMS
from .test_methods import IN_SHORT, is_played

TARGET = pathlib.Path(__file__).parents[2] / "docs" / "canary.md"
TOP = """\
# The canary: planted secrets, looked for everywhere

Written by `python -m tests.canary.page` from the tables of `tests/canary`; do not edit it by hand.

Known secrets are planted wherever one can be, everything is run with all logs open, where all goes well and where
anything goes wrong, and then the secrets are looked for everywhere. Commands, auth methods, their options and the cache
backends come from the package's own tables: one that is added fails `tests/canary/test_growth.py` until it is played.
Each place and each form has a control: a secret that is leaked there on purpose is found
(`tests/canary/test_controls.py`).
"""
CORE_DUMPS = """\
## Core dumps

Every command but a `get` that finds its answer at once, and ends, sets the soft limit of its core dumps to 0
(`cli/coredump.py`), and what it starts inherits that. `tests/canary/test_processes.py` reads the limit of the running
process from `/proc/<pid>/limits`, in a call to Vault and while somebody types, started where dumps are allowed. Where
`core_pattern` hands dumps to a program, it is that program that has to heed the limit. A program that uses the provider
or the manager has limits of its own, which are left alone.
"""
NOT_SEARCHED = """\
## What is not searched

- The memory of a process, and what may be read of it with the rights of its user or of root.
- What other libraries log of requests of their own: botocore's debug log holds the session token of each request that a
  program signs. What is signed here, for a login or the probe of new keys, is kept out of it.
- What a program that a setting names does with its secret. It inherits the environment of the call, as from a shell,
  and nothing is added to that but the type and id of a second factor and which of our commands runs. A browser gets no
  variable that begins with `VAULT_` or `BAO_`.
- The keyring itself, in which `secret set` keeps what it was given.
"""


def text(props: Props) -> str:
    """Return the page."""
    plays = {method: list(PLAYS[method](props)) for method in auth.METHODS}
    moments = {moment: [f for f in FAILURES if f.moment == moment] for moment in ("login", "read")}
    short = [f for f in FAILURES if f.name in IN_SHORT]
    return "\n".join(
        [
            TOP,
            "## Kinds of secrets\n",
            *_table(("kind", "which"), KINDS.items()),
            _forms(),
            "## Places\n",
            f"{len(PLACES)} places are searched.\n",
            *_table(("place", "what is searched", "may hold"), _places()),
            "\n## Auth methods\n",
            _counts(len(moments["login"]), len(moments["read"]), len(short)),
            *_table(("method", "secrets come by", "runs"), _methods(plays)),
            "\n## Failures\n",
            *(f"- {moment}: {', '.join(f.name for f in failures)}." for moment, failures in moments.items()),
            "\n## Commands\n",
            *_table(("command", "as"), _commands()),
            "\n## Faces\n",
            *_table(("face", "names", "where it is tested"), _faces()),
            "\n## Caches\n",
            *_table(("backend", "what is searched"), ((f"`{name}`", b.where) for name, b in BACKENDS.items())),
            "",
            CORE_DUMPS,
            NOT_SEARCHED.rstrip("\n"),
            "",
        ]
    )


def _forms() -> str:
    """Tell how each secret is looked for."""
    return (
        f"\nEach is looked for in {len(FORMS)} forms ({', '.join(FORMS)}), and in {' and '.join(ENCODINGS)} at each of "
        "the three places in a group that it may begin at, so that `user:password` is found too.\n"
    )


def _counts(login: int, read: int, short: int) -> str:
    """Tell how often a method is played."""
    return (
        f"Each way is played to a success and {short} failures. The first way of each method has all {login} failures "
        f"of the login, and AppRole all {read} of the read, which sends the token, whoever brought it. The commands of "
        "a profile are run for the first way too, and for AppRole with each failure.\n"
    )


def _table(head: tuple[str, ...], rows: object) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:  # type: ignore[attr-defined]
        yield f"| {' | '.join(row)} |"


def _places() -> Iterator[tuple[str, ...]]:
    for name, what in PLACES.items():
        yield name, what, ", ".join(sorted(MAY_STAND.get(name, ()))) or "nothing"


def _methods(plays: dict[str, list[Play]]) -> Iterator[tuple[str, ...]]:
    for method, ways in plays.items():
        failures = sum(is_played(f, method, number) for number in range(len(ways)) for f in FAILURES)
        runs = len(ways) + failures
        yield f"`{method}`", ", ".join(play.way for play in ways), str(runs)


def _commands() -> Iterator[tuple[str, ...]]:
    for name, runs in RUNS.items():
        lines = [f"`{' '.join(run.words)}`" + (f" (apart: {run.apart})" if run.apart else "") for run in runs]
        yield f"`{name}`", ", ".join(lines)


def _faces() -> Iterator[tuple[str, ...]]:
    for name, face in FACES.items():
        names = ", ".join(f"`{public}`" for public in face.names)
        yield name, names or "-", face.elsewhere or "`tests/canary/test_faces.py`"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        os.environ["STORE_FILE"] = os.path.join(directory, "keyring")
        TARGET.write_text(text(Props(pathlib.Path(directory), stack)), encoding="utf-8")


if __name__ == "__main__":
    main()
