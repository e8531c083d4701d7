"""The fuzzer: every target with random seeds, each for its part of the time.

``python -m tests.hostile --minutes 5``; ``--target NAME`` runs those alone whose name holds it, ``--seed`` repeats a
run, ``--write`` puts the counts into the page.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
import platform
import re
import secrets
import sys
import time
import traceback
from collections.abc import Sequence

from . import kit, targets

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "hostile-input.md"
BEGIN, END = "<!-- counts: written by python -m tests.hostile --write -->", "<!-- end of counts -->"
BATCH = 100
"""Inputs that one seed gives."""


@dataclasses.dataclass
class Result:
    """What came of one target."""

    name: str
    met: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failure: str = ""

    @property
    def row(self) -> str:
        """Return the line of the table."""
        return f"| {self.name} | {sum(self.met.values()):,} | {len(self.met)} | {1 if self.failure else 0} |"


def fuzz(chosen: kit.Target, seconds: float, seed: int) -> Result:
    """Run one target with ever new seeds for so many seconds, once at least, or until it fails."""
    result = Result(chosen.name)
    end = time.monotonic() + seconds
    while True:
        met: collections.Counter[str] = collections.Counter()
        try:
            kit.run(chosen, BATCH, seed=seed, met=met)
        except Exception as error:  # what a property raises is what is looked for
            shown = "".join(traceback.format_exception(error.__cause__ or error, limit=-6))
            again = f"python -m tests.hostile --target {chosen.name!r} --seed {seed} --minutes 0"
            result.failure = f"{chosen.name}, seed {seed}:\n{shown}\nagain: {again}\n"
        result.met += met
        seed += 1
        if result.failure or time.monotonic() >= end:
            return result


def table(results: Sequence[Result]) -> str:
    """Return the results for people, as Markdown."""
    head = "| target | inputs tried | distinct outcomes | failures |\n|---|---|---|---|"
    inputs = sum(sum(result.met.values()) for result in results)
    failed = sum(bool(result.failure) for result in results)
    outcomes = sum(len(result.met) for result in results)
    return "\n".join([head, *(result.row for result in results), f"| **all** | {inputs:,} | {outcomes} | {failed} |"])


def write(text: str, page: pathlib.Path) -> None:
    """Put the counts of a run between the marks of the page."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(before):
        raise SystemExit(f"{page}: has no place for the counts ({BEGIN})")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", before), encoding="utf-8")


def main(arguments: Sequence[str] | None = None, *, page: pathlib.Path = PAGE) -> int:
    """Run the targets and print the table; return 1 where one failed, with what repeats it."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="time for all targets together (default: 5)")
    parser.add_argument("--target", metavar="NAME", default="", help="only targets whose name holds this")
    parser.add_argument("--seed", type=int, help="seed of the first inputs of each target (default: random)")
    parser.add_argument("--write", action="store_true", help=f"write the counts into {PAGE.name}")
    given = parser.parse_args(arguments)
    chosen = [one for name, one in targets.TARGETS.items() if given.target in name]
    if not chosen:
        parser.error(f"no target's name holds {given.target!r}; there are: {', '.join(targets.TARGETS)}")
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    sys.stdout.write(f"seed {seed}\n")
    results = []
    began = time.monotonic()
    with kit.tidy():
        for left, one in zip(range(len(chosen), 0, -1), chosen, strict=True):
            remaining = given.minutes * 60 - (time.monotonic() - began)
            results.append(fuzz(one, remaining / left, seed))
            sys.stdout.write(results[-1].row + "\n")
            sys.stdout.flush()
    for result in results:
        sys.stdout.write(f"\n{result.failure}" if result.failure else "")
    spent = f"{(time.monotonic() - began) / 60:.1f} min, seed {seed}, Python {platform.python_version()}"
    sys.stdout.write(f"\n{table(results)}\n\n{spent}\n")
    if given.write:
        write(f"{table(results)}\n\nThe last run took {spent}.", page)
    return int(any(result.failure for result in results))


if __name__ == "__main__":
    sys.exit(main())
