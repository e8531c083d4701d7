"""The table of faults: one row for each fault at a moment, compared with ``docs/faults.md`` or written into it.

A test module declares its rows as data and measures each one::

    CASES = (Case("the server is sealed", "login", within=10), Case("the server is sealed", "read", within=10))

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_server_fault(case: Case, table: Table) -> None:
        ...
        table.check(case, Outcome(sees=plain(line, {role: "webapp"}), code=6, requests={"login": 1}, seconds=0.2))

``CASES`` must be a module's global of that name, in a ``test_*.py`` of this folder: the page has exactly the rows of
all of them. A subclass of :class:`Case` may carry more than the row's name. ``moment`` is a key of :data:`MOMENTS`,
which are the page's sections: take one that fits, or add one of your own there. ``plain``
takes ports, times and random names out of what the caller sees; :func:`kind_of` names a request for ``requests``;
``left`` is in words, :data:`NOTHING` where there is nothing. What takes time is held to ``within`` alone, the seconds
that the row promises.

``AWS_ENGINE_PLUGIN_DIR=… pytest tests/faults -n0 -m "soak or not soak" --write-faults`` writes the rows that it
measures into the page; rows that it did not measure stay. Without the flag each row must be what the page says.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "faults.md"
NOTHING = "nothing"
FRESH = "new credentials"
OLD = "the credentials that it has"
"""What a caller sees where all is well in the end: those just made, or those that are still valid."""

MOMENTS = {
    "login": "Nothing is kept yet; the fault meets the login with AppRole.",
    "first read": "The login was good; the fault meets the read of `aws/creds/<role>`. The role makes an IAM user for "
    "each read, and the client cannot know that yet.",
    "read (IAM user)": "A pair is held that nears its end, and it is known that each read makes an IAM user.",
    "read (STS)": "A pair is held that nears its end, and it is known to come from STS.",
    "renewal (token)": "The Vault token nears its end, and a new pair is wanted; the fault meets the token's renewal.",
    "renewal (lease)": "The lease of an IAM user nears its end; the fault meets its renewal. (The real engine only.)",
    "revocation (logout)": "`logout` ends the Vault token; the fault meets `auth/token/revoke-self`.",
    "revocation (tidy)": "No cache: after a read from STS the token serves nobody any more and is ended.",
}
"""The moments, each with what it is; a section of the page each, in this order."""

KINDS = ("login", "look-up", "read", "renewal (token)", "renewal (lease)", "revocation", "other")
"""The requests that are told apart, in the order in which they are told."""

_PATHS = {
    "auth/token/lookup-self": "look-up",
    "auth/token/renew-self": "renewal (token)",
    "sys/leases/renew": "renewal (lease)",
    "auth/token/revoke-self": "revocation",
}
_HEAD = (
    "| fault | what the caller sees | exit code | requests the server got | ended within | left behind |\n"
    "|---|---|---|---|---|---|\n"
)
TOP = """\
# What happens when something breaks

Written by `pytest tests/faults -n0 -m "soak or not soak" --write-faults` from what it measured; do not edit it by hand.
The ordinary run measures again what befalls logins and `logout`, and every fault of the server itself;
`-m soak` the others. A test fails where a row is not what this page says.

A proxy between the client and a real server brings each fault about at one moment; a fault of the server itself is
brought about there. Faults that end alike share a line. A fault meets one request, and the next would have gone
through, unless it says *always*. `VAULT_MAX_RETRIES` is 1, so a request that may be sent again is sent twice at most.

- **What the caller sees**: credentials and exit code 0, or the one line on stderr (`vault:8200` stands for the address
  of the server, `webapp` for the role). There is never a traceback.
- **Requests the server got**: what reached the server itself, not what the proxy kept back. Where a cluster is asked
  *until* another node leads, with 100 retries, only what it answered is counted.
- **Ended within**: the time limit that was set, `vault_aws_timeout` or `vault_client_timeout` with its tries; most rows
  end at once. No row ends later.
- **Left behind**: what the call made on the server that lives on although nobody holds it, until it ends by itself. A
  token that is kept for the next call is held, so it is not listed; a dead one that is kept is. No row leaves a held
  lock, an open connection, a temporary file or a damaged entry, and in each the next call after the fault gets
  credentials, unless Vault refused the Secret ID: that is noted, and it is not sent again.
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: a fault at a moment, and the seconds within which the caller must have its answer."""

    fault: str
    moment: str
    within: float

    @property
    def name(self) -> tuple[str, str]:
        """What the row is known by."""
        return self.moment, self.fault

    def __str__(self) -> str:
        return f"{self.moment}: {self.fault}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a row measured."""

    sees: str
    code: int
    requests: Mapping[str, int]
    seconds: float
    left: str = NOTHING


@dataclasses.dataclass(frozen=True)
class Row:
    """What the page says of a case, cell by cell."""

    sees: str
    code: str
    requests: str
    within: str
    left: str

    @classmethod
    def of(cls, case: Case, outcome: Outcome) -> Row:
        """Return the row of a case that was measured."""
        sees = f"`{outcome.sees}`" if outcome.code else outcome.sees
        for text in (sees, case.fault, outcome.left):
            assert text.isprintable(), text
            assert "|" not in text, text
        return cls(sees, str(outcome.code), counted(outcome.requests), f"{case.within:g} s", outcome.left)

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the line but its first."""
        return self.sees, self.code, self.requests, self.within, self.left


Rows = dict[tuple[str, str], Row]
"""Rows by moment and fault."""


class Table:
    """What the page says, and what this run measured."""

    def __init__(self, page: pathlib.Path = PAGE, *, writing: bool = False) -> None:
        """Read the page; in a run that writes it a row may say what it likes."""
        self.page = page
        self.writing = writing
        self.said = parse(page.read_text(encoding="utf-8")) if page.is_file() else {}
        self.measured: Rows = {}

    def check(self, case: Case, outcome: Outcome) -> None:
        """Compare a measured row with the page, or take it down for it; too late is too late in both."""
        assert case.moment in MOMENTS, case.moment
        assert outcome.code != 70, f"{case}: {outcome.sees}"
        row = Row.of(case, outcome)
        assert outcome.seconds <= case.within, f"{case}: took {outcome.seconds:.2f} s, more than {case.within:g} s"
        assert case.name not in self.measured, f"{case}: measured twice"
        self.measured[case.name] = row
        if not self.writing:
            assert row == self.said.get(case.name), f"{case}: not what {self.page.name} says; see tests/faults/table.py"

    def write(self, declared: Iterable[Case]) -> None:
        """Write the page: what was measured, else what it says now, of every row that is declared."""
        said = parse(self.page.read_text(encoding="utf-8")) if self.page.is_file() else {}
        rows = {**said, **self.measured}
        self.page.write_text(render({c.name: rows[c.name] for c in declared if c.name in rows}), encoding="utf-8")


def kind_of(method: str, path: str) -> str:
    """Return which of :data:`KINDS` a request is; ``path`` begins below ``/v1/`` and may have a query."""
    path = path.partition("?")[0]
    if method in ("POST", "PUT") and path.startswith("auth/") and "/login" in path:
        return "login"
    if method == "GET" and "/creds/" in path:
        return "read"
    return _PATHS.get(path, "other")


def counted(requests: Mapping[str, int]) -> str:
    """Return numbers of requests in words."""
    assert set(requests) <= set(KINDS), requests
    return ", ".join(several(requests[kind], kind) for kind in KINDS if requests.get(kind)) or "none"


def several(number: int, what: str) -> str:
    """Return a number of things, in the plural where there are more than one."""
    noun, space, rest = what.partition(" (")
    return f"{number} {noun if number == 1 else noun + 's'}{space}{rest}"


def plain(text: str, names: Mapping[str, str] | None = None) -> str:
    """Return a line of a message without what changes from run to run: the command's name, ports, times, names."""
    text = text.strip().removeprefix("vault-credential-process: ")
    text = re.sub(r"(https?://)(?:127\.0\.0\.1|localhost):\d+", r"\1vault:8200", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)
    for name, word in (names or {}).items():
        text = text.replace(name, word)
    return text


def render(rows: Rows) -> str:
    """Return the page."""
    parts = [TOP]
    for moment, what in MOMENTS.items():
        alike: dict[Row, list[str]] = {}
        for (of, fault), row in rows.items():
            if of == moment:
                alike.setdefault(row, []).append(fault)
        ordered = sorted(alike.items(), key=lambda pair: (int(pair[0].code), pair[0].cells))
        if ordered:
            count = sum(map(len, alike.values()))
            lines = (f"| {'<br>'.join(faults)} | {' | '.join(row.cells)} |\n" for row, faults in ordered)
            title = moment[0].upper() + moment[1:]
            parts.append(f"## {title}\n\n{what} {count} faults.\n\n{_HEAD}{''.join(lines)}")
    return "\n".join(parts)


def parse(page: str) -> Rows:
    """Return the rows of a page."""
    titles = {moment[0].upper() + moment[1:]: moment for moment in MOMENTS}
    rows: Rows = {}
    moment = ""
    for line in page.splitlines():
        if line.startswith("## "):
            moment = titles.get(line[3:], "")
        elif moment and line.startswith("| ") and line + "\n" != _HEAD.partition("\n")[0] + "\n":
            faults, *cells = line[2:-2].split(" | ")
            for fault in faults.split("<br>"):
                rows[moment, fault] = Row(*cells)
    return rows
