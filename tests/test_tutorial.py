"""``docs/tutorial.md``: each command, as it stands and in order, by somebody with an empty home."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

from .conftest import ROOT
from .pages import blocks_of, commands_of
from .test_demo import keep, left_behind, temporary

__all__ = ["temporary"]

INSTALL = ["python3 -m venv ~/vcp && . ~/vcp/bin/activate", 'pip install ".[demo]" awscli']
"""What CI does from its lock file, instead of asking the package index."""
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
START = "vault-credential-process demo --keep"


def answers(text: str) -> dict[str, str]:
    """Return what each command has printed, of a text that shows both."""
    return dict(re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE))


def blank(text: str) -> str:
    """Return a text without its figures: times, ports and what is left of a life."""
    return re.sub(r"\d+", "0", text)


def test_tutorial_works_as_it_is_told(
    aws_program: str, temporary: pathlib.Path, clean_environment: pathlib.Path
) -> None:
    """From a demo that stays up to a profile, a listed bucket, a doctor, a refresh; and nothing is left."""
    commands = commands_of(PAGE)
    assert commands[:3] == [*INSTALL, START]
    ours, theirs = pathlib.Path(sys.executable).parent, pathlib.Path(aws_program).parent
    programs = os.pathsep.join([str(ours), str(theirs), os.environ["PATH"]])
    environ = {"HOME": str(clean_environment), "PATH": programs, "TMPDIR": str(temporary)}

    with keep(temporary) as kept:
        assert kept.shell, kept.printed
        script = [kept.shell, *(f"echo '$ '{shlex.quote(one)}\n{one}" for one in commands[3:])]
        shell = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(script)],
            cwd=clean_environment,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        code, complaint = kept.end(signal.SIGINT)

    shown = answers(shell.stdout)
    text = "".join(text for language, text in blocks_of(PAGE) if language == "console")
    told = {one: answer for one, answer in answers(text.replace("\\\n", "")).items() if answer}
    statuses = re.findall(r"^aws/creds/shortlived .* until (\S+)$", shell.stdout, re.MULTILINE)
    assert shell.returncode == 0, shell.stdout + shell.stderr
    assert list(shown) == list(dict.fromkeys(commands[3:]))
    assert len(told) >= 2
    assert {one: blank(shown[one]) for one in told} == {one: blank(answer) for one, answer in told.items()}
    assert len(set(statuses)) == 2, shell.stdout
    assert (code, complaint) == (0, "")
    assert left_behind(temporary) == []
    # What the AWS CLI keeps for itself is none of ours.
    assert {path.name for path in clean_environment.iterdir()} <= {".aws", ".cache", ".config"}
    assert shutil.which("bao", path=programs)
