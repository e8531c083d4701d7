"""Token helpers: which file names one, what it is told, and what becomes of what it prints."""

from __future__ import annotations

import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from vault_credential_process.auth import token_helper
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import AuthUnavailable, ConfigurationError, DeadlineError
from vault_credential_process.expiry import Deadline
from vault_credential_process.testing.scripted import ScriptedServer, replay

from ..bench import Bench, Clock
from ..conftest import Run
from .methods import document, get
from .test_auto import log_in
from .test_token import LOOK_UP, new_token

PRINTED = "hvs.HELPERtokenHELPERtoken"
AGREED = [
    ('token_helper = "/h"', "/h"),
    ('token_helper="/h"\r\n', "/h"),
    ('"token_helper" = "/h"', "/h"),
    ('token_helper\n=\n"/h"', "/h"),
    ('token_helper = "/h",', "/h"),
    ('# one\n// two\n/* three\n * four **/ token_helper = "/h" # "five"', "/h"),
    ('#!x\ntoken_helper = "/a b\\u002fc\\"d"', '/a b/c"d'),
    ('{"token_helper": "/h"}', "/h"),
    (' \n{"token_helper": "/h"}\n', "/h"),
    ('{"token_helper": null}', None),
    ("{}", None),
    ("", None),
    ("# nothing", None),
    ("/* nothing */", None),
    ('token_helper = ""', ""),
]
"""What ``bao`` 2.7 understands, as it was tried out; an empty value is none."""
REFUSED = [
    'foo = "x"\ntoken_helper = "/h"',
    'TOKEN_HELPER = "/h"',
    'token_helper "/h"',
    'token_helper: "/h"',
    "token_helper = /h",
    "token_helper = '/h'",
    'token_helper = "/h',
    'token_helper = "/h";',
    'token_helper = ["/h"]',
    "token_helper { a = 1 }",
    '{"token_helper": "/h", "x": 1}',
    '{"token_helper": ["/h"]}',
    '# c\n{"token_helper": "/h"}',
    "[]",
    "/* open",
    '\ufefftoken_helper = "/h"',
    "$ANSIBLE_VAULT;1.1;AES256\n6138\n",
    # Here we differ from bao, which takes the last one, the text of a number, nothing, a document, or half of one.
    'token_helper = "/h"\ntoken_helper = "/i"',
    '{"token_helper": "/h", "token_helper": "/i"}',
    '{"token_helper": "/h"',
    "token_helper = 5",
    "token_helper = ",
    "token_helper = <<EOF\n/h\nEOF\n",
]

Helper = Callable[..., pathlib.Path]


@pytest.fixture
def helper(clean_environment: pathlib.Path) -> Helper:
    """Write a helper and the file that names it; the helper notes how it was run."""

    def make(*lines: str, config: str = ".vault", name: str = "helper") -> pathlib.Path:
        path = clean_environment / name
        noted = f'{{ echo "$@"; echo "$VAULT_ADDR $BAO_ADDR"; cat | wc -c; }} >> "{path}.runs"'
        path.write_text("\n".join(["#!/bin/sh", noted, *(lines or [f"printf %s {PRINTED}"]), ""]))
        path.chmod(0o700)
        (clean_environment / config).write_text(f'token_helper = "{path}"\n')
        return path

    return make


def runs(path: pathlib.Path) -> list[str]:
    """Return what a helper noted."""
    noted = pathlib.Path(f"{path}.runs")
    return noted.read_text().splitlines() if noted.exists() else []


@pytest.fixture
def vault(scripted: ScriptedServer, exchanges: dict[str, Any]) -> ScriptedServer:
    """A server that knows every token."""
    scripted.on("GET", LOOK_UP, replay(exchanges["token_lookup_self"]))
    return scripted


def test_helper_is_told_the_address_and_gives_the_token(vault: ScriptedServer, helper: Helper) -> None:
    """It gets ``get`` and no more, the address under both names, and nothing to read; the token is its owner's."""
    path = helper("printf '%s\\n' " + PRINTED, "echo noise >&2")
    token = log_in(vault, {"BAO_ADDR": vault.address, "VAULT_ADDR": "http://127.0.0.1:1"})

    assert (token.value, token.external) == (PRINTED, True)
    assert runs(path) == ["get", f"{vault.address} {vault.address}", "0"]


@pytest.mark.parametrize(
    ("environ", "written", "used"),
    [
        ({}, [".vault"], ".vault"),
        ({}, [".bao"], ".bao"),
        ({}, [".bao", ".vault"], ".bao"),
        ({"BAO_CONFIG_PATH": "{home}/b"}, ["b", "v", ".bao", ".vault"], "b"),
        ({"VAULT_CONFIG_PATH": "~/v"}, ["b", "v", ".bao", ".vault"], "v"),
        ({"BAO_CONFIG_PATH": "{home}/b", "VAULT_CONFIG_PATH": "{home}/v"}, ["b", "v"], "b"),
    ],
)
def test_file_that_names_the_helper(
    vault: ScriptedServer,
    helper: Helper,
    clean_environment: pathlib.Path,
    environ: dict[str, str],
    written: list[str],
    used: str,
) -> None:
    """``~/.bao`` goes before ``~/.vault``; a variable names one file instead of the two, BAO's before VAULT's."""
    for config in written:
        helper(f"echo hvs.from-{config.strip('.')}", config=config, name=f"helper-{config}")
    found = log_in(vault, {name: value.format(home=clean_environment) for name, value in environ.items()})

    assert found.value == f"hvs.from-{used.strip('.')}"
    assert [config for config in written if runs(clean_environment / f"helper-{config}")] == [used]


@pytest.mark.parametrize("content", ["# no helper", 'token_helper = ""', None, "directory"])
def test_file_without_a_helper_leaves_the_token_file(
    vault: ScriptedServer, helper: Helper, clean_environment: pathlib.Path, content: str | None
) -> None:
    """With no helper in ``~/.bao`` the next file is looked at, and with none at all ``~/.vault-token``."""
    (clean_environment / ".vault-token").write_text("hvs.FILE")
    if content == "directory":
        (clean_environment / ".bao").mkdir()
    elif content is not None:
        (clean_environment / ".bao").write_text(content)
    first = log_in(vault, {}).value
    helper()

    assert (first, log_in(vault, {}).value) == ("hvs.FILE", PRINTED)


@pytest.mark.parametrize("source", [{"VAULT_TOKEN": "hvs.SET"}, {"VAULT_TOKEN_FILE": "{home}/file"}])
def test_helper_is_not_asked_where_a_token_is_set(
    vault: ScriptedServer, helper: Helper, clean_environment: pathlib.Path, source: dict[str, str]
) -> None:
    """What is set goes first, and the helper is not even run."""
    path = helper()
    (clean_environment / "file").write_text("hvs.SET")
    found = log_in(vault, {name: value.format(home=clean_environment) for name, value in source.items()})

    assert (found.value, runs(path)) == ("hvs.SET", [])


@pytest.mark.parametrize("role", [{"VAULT_SECRET_ID": "s"}, {"VAULT_AUTH_ROLE": "app"}, {"VAULT_AUTH_METHOD": "cert"}])
def test_helper_does_not_answer_for_another_method(vault: ScriptedServer, helper: Helper, role: dict[str, str]) -> None:
    """An administrator's helper is not run where anything tells that another method is meant."""
    path = helper()
    with pytest.raises((ConfigurationError, AuthUnavailable)):
        log_in(vault, role)

    assert (runs(path), vault.requests) == ([], [])


@pytest.mark.parametrize("content", ["", "echo", "printf ' \\n'"])
@pytest.mark.parametrize("method", ["auto", "token"])
def test_helper_that_prints_nothing_has_no_token(
    vault: ScriptedServer, helper: Helper, clean_environment: pathlib.Path, content: str, method: str
) -> None:
    """It is absent, not broken: the error lists it beside the others, and ``~/.vault-token`` is not looked at."""
    path = helper(content or ":")
    (clean_environment / ".vault-token").write_text("hvs.FILE")
    with pytest.raises(AuthUnavailable) as caught:
        log_in(vault, {"VAULT_AUTH_METHOD": method})
    message = str(caught.value)

    assert f"VAULT_TOKEN is not set and the token helper {path} holds no token" in message
    assert ("approle: vault_role_id is not set; " in message) is (method == "auto")
    assert vault.requests == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"echo {PRINTED}", f"echo {PRINTED} >&2", "exit 3"], "{helper} ended with code 3; run it by hand to see why"),
        ([f"echo {PRINTED}", "echo more"], "{helper}: holds more than one line"),
        (["printf '\\377\\376'"], "{helper}: not text"),
    ],
)
def test_helper_that_fails_is_broken(
    vault: ScriptedServer, helper: Helper, clean_environment: pathlib.Path, lines: list[str], words: str
) -> None:
    """It stops the call with one line that names the helper and its file, and repeats nothing of what it printed."""
    path = helper(*lines)
    with pytest.raises(ConfigurationError) as caught:
        log_in(vault, {})

    assert str(caught.value) == f"token_helper in {clean_environment}/.vault: {words.format(helper=path)}"


def test_helper_that_prints_no_token(vault: ScriptedServer, helper: Helper) -> None:
    """What could not stand in a header is refused with its origin, without the text."""
    path = helper("echo two words")
    with pytest.raises(ConfigurationError) as caught:
        log_in(vault, {})

    assert str(caught.value).startswith(f"the token from the token helper {path} is not a Vault token: ")
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("helper.sh", "token_helper in {file}: 'helper.sh' is not an absolute path; write it from the root"),
        ("~/helper.sh", "token_helper in {file}: '~/helper.sh' is not an absolute path; write it from the root"),
        ("/no/such", "token_helper in {file}: /no/such: No such file or directory; write the command's absolute path"),
        (
            "{file}",
            (
                "token_helper in {file}: {file}: Permission denied; "
                "it must be a file that this user may execute (chmod +x)"
            ),
        ),
    ],
)
def test_helper_that_cannot_be_run(
    vault: ScriptedServer, clean_environment: pathlib.Path, named: str, words: str
) -> None:
    """Neither ``PATH`` nor the current directory is searched; a program that is not there or not one is told."""
    file = clean_environment / ".bao"
    file.write_text(f'token_helper = "{named.format(file=file)}"')
    with pytest.raises(ConfigurationError) as caught:
        log_in(vault, {})

    assert str(caught.value) == words.format(file=file)


@pytest.mark.parametrize("content", [*REFUSED, "x" * 70_000, b"\xff\xfe", "directory"])
def test_file_that_is_not_understood_stops_the_call(
    vault: ScriptedServer, clean_environment: pathlib.Path, content: str | bytes
) -> None:
    """One line names the file, not what stands in it; ``~/.vault-token`` does not answer instead."""
    (clean_environment / ".vault-token").write_text("hvs.FILE")
    file = clean_environment / "config"
    if content == "directory":
        file.mkdir()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as caught:
        log_in(vault, {"BAO_CONFIG_PATH": str(file)})

    assert str(caught.value) == (
        f"token_helper: {file}: Is a directory; check the path and its permissions"
        if content == "directory"
        else f'{file}: nothing but token_helper = "/path" may stand in this file; mend it'
    )
    assert vault.requests == []


@pytest.mark.parametrize(("text", "value"), AGREED)
def test_text_is_understood_as_bao_does(text: str, value: str | None) -> None:
    """Comments, quotes, escapes and JSON mean what they mean to ``bao``."""
    assert token_helper.parse(text) == value


def quoted(text: str) -> str:
    """Return a text as HCL writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


GAPS = strategies.sampled_from(["", " ", "\t\n", "# \"'*/\n", '// token_helper = "/no"\n', "/* ** / # */", "\r\n\r\n"])


@hypothesis.given(
    strategies.text(strategies.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f")),
    strategies.lists(GAPS, min_size=4, max_size=4),
)
def test_any_path_comes_back(path: str, gaps: list[str]) -> None:
    """Whatever stands between the words, and whatever the path, the path comes back."""
    first, second, third, fourth = gaps

    assert token_helper.parse(f"{first}token_helper{second}={third}{quoted(path)}{fourth}") == path


@pytest.mark.parametrize("piece", ["# x \n", "/* x */ ", "   ", "/**/", "#\n", "//"])
def test_long_file_is_refused_at_once(piece: str) -> None:
    """A text that is nearly right is not tried in every way there is."""
    began = time.monotonic()
    with pytest.raises(ValueError, match="token_helper"):
        token_helper.parse(f"{piece * 5000}\ntoken_helper{piece * 5000}\n!")

    assert time.monotonic() - began < 5


def test_helper_is_not_asked_again_while_its_token_lives(
    vault: ScriptedServer, exchanges: dict[str, Any], helper: Helper
) -> None:
    """Its place stands for it: of three calls that share a cache, the first alone runs it."""
    path = helper()
    bench = Bench(vault, exchanges, Clock())
    vault.on("GET", "aws/creds/webapp", bench.lease(3600))
    fetcher = bench.fetcher(environ={})
    for _ in range(3):
        fetcher.fetch()

    assert runs(path).count("get") == 1
    assert bench.asked() == [f"GET {LOOK_UP}", "GET aws/creds/webapp"]


def test_slow_helper_ends_with_the_deadline(helper: Helper, clean_environment: pathlib.Path) -> None:
    """A helper that waits for somebody is ended when the call's time is over, and the error names it."""
    path = helper("exec sleep 60")
    began = time.monotonic()
    found = token_helper.Helper(str(path), str(clean_environment / ".vault"), "http://127.0.0.1:8200")
    with pytest.raises(DeadlineError, match=r"token_helper in .*/\.vault: .*/helper did not end within 0.5 s"):
        found.read(Deadline(0.5))

    assert time.monotonic() - began < 5


@pytest.fixture
def keeper(clean_environment: pathlib.Path, helper: Helper) -> pathlib.Path:
    """A helper that really keeps what ``bao login`` gives it, for each address one, as the example of the docs does."""
    path = helper(
        'file="$HOME/kept-$(printf %s "$BAO_ADDR" | tr -c A-Za-z0-9 _)"',
        'case "$1" in store) printf %s "$(cat)" > "$file";; get) test ! -f "$file" || cat "$file";; esac',
        config=".bao",
    )
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "wc -c" not in line))
    return path


def bao(run: Run, laboratory: Laboratory, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the real ``bao`` command against a laboratory."""
    return run(laboratory.server.engine.binary, *words, BAO_ADDR=laboratory.server.address)


@pytest.mark.usefixtures("keeper")
def test_helper_of_the_bao_command_gives_credentials(
    run: Run, fresh: Laboratory, clean_environment: pathlib.Path
) -> None:
    """Before a ``bao login`` there is nothing to log in with; after it the token that the helper keeps gives keys."""
    before = get(run, fresh, {}, clean_environment)
    login = bao(run, fresh, "login", "-no-print", new_token(fresh))
    after = get(run, fresh, {}, clean_environment)

    assert (before.returncode, before.stderr.count("\n")) == (3, 1)
    assert f"the token helper {clean_environment}/helper holds no token" in before.stderr
    assert (login.returncode, login.stderr) == (0, "")
    assert document(after)["Version"] == 1
    assert not (clean_environment / ".vault-token").exists()


@pytest.mark.parametrize(("text", "value"), AGREED)
def test_bao_command_agrees_on_what_is_understood(
    run: Run, fresh: Laboratory, clean_environment: pathlib.Path, text: str, value: str | None
) -> None:
    """The real command runs the helper from the same texts, and none where there is none."""
    helper = clean_environment / "h"
    helper.write_text(f"#!/bin/sh\ntouch {clean_environment}/ran\n")
    helper.chmod(0o700)
    (clean_environment / ".bao").write_text(text.replace('"/h"', f'"{helper}"').replace('"/a b', f'"{helper} b'))
    done = bao(run, fresh, "token", "lookup")

    assert "error parsing config file" not in done.stderr
    assert (clean_environment / "ran").exists() is (value == "/h")


@pytest.mark.parametrize("text", REFUSED[: REFUSED.index('token_helper = "/h"\ntoken_helper = "/i"')])
def test_bao_command_agrees_on_what_is_refused(
    run: Run, fresh: Laboratory, clean_environment: pathlib.Path, text: str
) -> None:
    """The real command refuses the same texts."""
    (clean_environment / ".bao").write_text(text)
    done = bao(run, fresh, "token", "lookup")

    assert (done.returncode, "failed to get token helper: error parsing config file" in done.stderr) == (2, True)
