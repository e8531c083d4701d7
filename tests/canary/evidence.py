"""What a run left where others may look, and what may stand there."""

from __future__ import annotations

import dataclasses
import gc
import os
import pathlib
import re
import traceback
from collections.abc import Iterator

from .search import Search

PLACES = {
    "stdout of get": "the document; AWS credentials may stand there, nothing else",
    "lines of env": "AWS credentials may stand there, nothing else",
    "address of console": "what `console --print` prints; a sign-in token may stand there, nothing else",
    "answer of serve": "the credentials, for who has its token; AWS credentials may stand there, nothing else",
    "other answer of serve": "health, metrics, refusals, and what it tells while Vault is away",
    "token file": "of `serve`; the token that its clients send may stand there",
    "stdout": "of every other command, and of one of these that fails",
    "stderr": "with `-v`",
    "terminal": "a pseudo-terminal on which somebody types",
    "log file": "`--log-file`",
    "log": "records of all loggers at DEBUG, with their arguments: ours, urllib3, requests, hvac, botocore",
    "error": "text, `repr`, `args` and attributes of an error and of all behind it",
    "traceback": "as Python prints it",
    "frame": "`repr` of each variable of each frame that an error leads to, ours and the libraries'",
    "repr": "of every object of ours that is alive",
    "command line": "of our processes and of those that they start, from the audit hook and `/proc/<pid>/cmdline`",
    "environment": "of what we start, from the audit hook and `/proc/<pid>/environ`: nothing that its caller had not",
    "environment under exec": "of a program that `exec` or `shell` runs; the token of its endpoint may stand there",
    "environment under exec --env": "the same with `--env`; AWS credentials may stand there",
    "variable": "what is put into the environment of a process while it runs",
    "file name": "of every file and directory that is made, in home, `TMPDIR`, `XDG_RUNTIME_DIR` and anywhere else",
    "file": "its content after the run, and whenever it is renamed or removed",
    "quick answer": "a file of the cache; AWS credentials may stand there",
    "cache entry": "AWS credentials, a Vault token, an unwrapped Secret ID and a nonce of ours may stand there",
}
"""Every place that is searched."""

MAY_STAND = {
    "stdout of get": {"AWS credentials"},
    "lines of env": {"AWS credentials"},
    "address of console": {"sign-in token"},
    "answer of serve": {"AWS credentials"},
    "token file": {"endpoint token"},
    "environment under exec": {"endpoint token"},
    "environment under exec --env": {"AWS credentials"},
    "quick answer": {"AWS credentials"},
    "cache entry": {"AWS credentials", "Vault token", "unwrapped Secret ID", "kept nonce"},
}
"""What may stand where; nothing anywhere else."""

HERE = str(pathlib.Path(__file__).parent.parent)
ENTRY = re.compile(r"(entry|quick)-[0-9a-f]{40}(\.[0-9]+)*")


@dataclasses.dataclass(frozen=True)
class Leak:
    """A secret where it may not stand; which one, only its kind tells."""

    place: str
    where: str
    kind: str


@dataclasses.dataclass
class Evidence:
    """Texts by place. What was searched without a find counts too: a search of nothing finds nothing."""

    texts: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    def add(self, place: str, where: str, text: str) -> None:
        """Note a text."""
        assert place in PLACES, place
        self.texts.append((place, where, text))

    def add_file(self, path: str, text: str) -> None:
        """Note a file, by what it is, and its name."""
        self.add("file name", "", path)
        kind = ENTRY.fullmatch(os.path.basename(path))
        self.add({"entry": "cache entry", "quick": "quick answer"}[kind[1]] if kind else "file", path, text)

    def add_error(self, error: BaseException) -> None:
        """Note an error, and all that hangs on it."""
        self.add("traceback", "", "".join(traceback.format_exception(error)))
        for one in chain(error):
            attributes = {name: value for name, value in vars(one).items() if name != "__notes__"}
            self.add("error", type(one).__name__, f"{one} {one!r} {one.args!r} {attributes!r}")
            for where, text in variables(one):
                self.add("frame", where, text)

    def add_alive(self) -> set[str]:
        """Note every object of ours that is alive; return the names of their types."""
        names = set()
        for thing in gc.get_objects():
            module = str(type(thing).__module__)
            if not module.startswith("vault_credential_process.") or isinstance(thing, type):
                continue
            if not module.startswith("vault_credential_process.testing."):
                names.add(type(thing).__name__)
                self.add("repr", type(thing).__name__, repr(thing))
        return names

    def add_witness(self, seen: list[tuple[str, str, str]]) -> None:
        """Note what a witness saw."""
        for kind, where, what in seen:
            if kind == "file":
                path, _, event = where.rpartition(" (")
                if what:
                    self.add_file(path, what)
                else:
                    self.add("file name", event, path)
            else:
                self.add(kind, where, what)

    def leaks(self, search: Search) -> set[Leak]:
        """Return what stands where it may not."""
        return {
            Leak(place, where, secret.kind)
            for place, where, text in self.texts
            for secret in search.found(text)
            if secret.kind not in MAY_STAND.get(place, ())
        }

    def kinds(self, search: Search, place: str) -> set[str]:
        """Return the kinds of secrets that stand at a place."""
        return {secret.kind for at, _, text in self.texts if at == place for secret in search.found(text)}

    @property
    def places(self) -> set[str]:
        """Where there was anything to search."""
        return {place for place, _, text in self.texts if text}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error with all that hides behind it, shown or not."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def variables(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield each variable of the frames of an error, but those of tests: what trackers of errors send away."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(HERE):
            for name, value in trace.tb_frame.f_locals.items():
                yield f"{code.co_filename}:{trace.tb_lineno} {name}", repr(value)
        trace = trace.tb_next
