"""``secret``: an entry of the system's keyring is made, looked for and forgotten; no secret is ever shown."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from typing import Any

import pytest

from .conftest import Run, Tenant
from .secret_store import plant
from .test_command import config_of, document, refusal
from .typist import Typist

SECRET = "canary-secret-4f5e"


@pytest.fixture
def store(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A keyring in a file, for every program that is run; return the file."""
    return plant(tmp_path, monkeypatch)


def piped(*arguments: str, secret: str | bytes = SECRET) -> subprocess.CompletedProcess[str]:
    """Run ``secret`` with something on stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "vault_credential_process", "secret", *arguments],
        input=secret if isinstance(secret, bytes) else secret.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def told(done: Any) -> str:
    """Return what a success printed, which is one line without the secret."""
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1), done.stderr
    assert SECRET not in done.stdout
    return str(done.stdout)


def test_set_check_delete(command: Run, store: pathlib.Path) -> None:
    """What came through a pipe is kept under its name, found there, and forgotten."""
    assert "the keyring holds no entry 'webapp'; secret set webapp makes it" in refusal(
        command("secret", "check", "webapp"), 2
    )
    said = told(piped("set", "webapp", secret=f"{SECRET}\n"))
    assert said.startswith("kept as webapp; write vault_secret_id_keyring = webapp")
    assert f'"vault-credential-process secrets/webapp": "{SECRET}"' in store.read_text()
    assert told(command("secret", "check", "webapp")) == "the keyring holds webapp\n"
    assert told(command("secret", "delete", "webapp")) == "forgot webapp\n"

    assert store.read_text() == "{}"
    assert "the keyring holds no entry 'webapp'" in refusal(command("secret", "delete", "webapp"), 2)


def test_typed_secret_is_not_shown(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """At a terminal it is asked for, and neither shown nor logged."""
    log = tmp_path / "log"
    arguments = ["secret", "set", "webapp", "-v", f"--log-file={log}"]
    with Typist(sys.executable, "-m", "vault_credential_process", *arguments) as typist:
        typist.answers("Secret to keep as webapp: ", SECRET)
        done = typist.ends()
        shown = done.stdout + done.stderr + typist.shown + log.read_text()

    assert done.returncode == 0
    assert SECRET not in shown
    assert SECRET in store.read_text()


def test_secret_id_of_a_profile(command: Run, tenant: Tenant, store: pathlib.Path) -> None:
    """A profile whose Secret ID lies in the keyring gives credentials, and another set replaces it at once."""
    secret_id = pathlib.Path(tenant.approle["secret_id_file"]).read_text()
    environ = {"AWS_CONFIG_FILE": config_of(tenant, vault_secret_id_file=None, vault_secret_id_keyring="our app")}
    assert "vault_secret_id_keyring: the keyring holds no entry 'our app'" in refusal(
        command("get", "--profile=webapp", **environ), 2
    )
    told(piped("set", "our app", secret="wrong"))
    assert "invalid role or secret ID" in refusal(command("get", "--profile=webapp", **environ), 3)
    told(piped("set", "our app", secret=secret_id))

    document(command("get", "--profile=webapp", **environ))
    assert store.exists()


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (b"", "secret set webapp: the secret: empty"),
        (b" \n", "secret set webapp: the secret: empty"),
        (b"canary-1\ncanary-2\n", "secret set webapp: the secret: holds more than one line"),
        (b"canary\xff\xfe", "secret set webapp: the secret: not text"),
        (b"canary" * 20_000, "secret set webapp: the secret: longer than 65536 bytes"),
    ],
)
def test_no_secret_in_the_pipe(store: pathlib.Path, secret: bytes, words: str) -> None:
    """What is not one line of text is refused, is not repeated, and nothing is kept."""
    said = refusal(piped("set", "webapp", secret=secret), 2)

    assert words in said
    assert "canary" not in said
    assert not store.exists()


@pytest.mark.parametrize("name", ["", " padded", "two\nlines", "n" * 201])
@pytest.mark.parametrize("action", ["set", "check", "delete"])
def test_name_that_cannot_stand_in_a_profile(store: pathlib.Path, action: str, name: str) -> None:
    """A name that a profile could not hold as it is, is refused before anything is asked."""
    assert "is not the name of an entry: at most 200 printable characters" in refusal(piped(action, name), 2)
    assert not store.exists()


def test_secret_is_no_argument(store: pathlib.Path) -> None:
    """A secret on the command line, where others can see it, is refused and not repeated."""
    said = refusal(piped("set", "webapp", SECRET), 2)

    assert "an argument that belongs to no flag" in said
    assert SECRET not in said
    assert not store.exists()


@pytest.mark.parametrize("backend", ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring"])
def test_machine_without_a_keyring(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Where there is no store, or one that forgets, that is said in one line, with another way."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    said = refusal(piped("set", "webapp"), 2)

    assert f"keyring found no secret store ({backend}); install or start one (keyring diagnose), or name a file" in said


@pytest.mark.parametrize("backend", ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring"])
def test_profile_on_a_machine_without_a_keyring(
    command: Run, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """``get`` says the same as ``secret``, with the same code, and names the setting that wants a keyring."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    config = config_of(tenant, vault_secret_id_file=None, vault_secret_id_keyring="webapp")
    said = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 2)
    checked = refusal(command("secret", "check", "webapp"), 2)

    words = f"keyring found no secret store ({backend}); install or start one (keyring diagnose), or name a file"
    assert f": vault_secret_id_keyring: {words} instead\n" in said
    assert f": {words} instead\n" in checked


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("nosuch.B", "ModuleNotFoundError"),
        ("keyring.backends.fail.Nothing", "AttributeError"),
        ("B", "ValueError"),
        ("", "ValueError"),
        ("pathlib.Path", "AttributeError"),
    ],
)
def test_keyring_that_cannot_be_loaded(
    command: Run, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, backend: str, kind: str
) -> None:
    """A wrong ``PYTHON_KEYRING_BACKEND`` is one line that names it, wherever the keyring is wanted."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    words = f"PYTHON_KEYRING_BACKEND: {backend!r} cannot be loaded ({kind}); name one of those that keyring --list-b"
    plain = config_of(tenant)

    assert f": {words}" in refusal(command("secret", "check", "x"), 2)
    said = refusal(command("get", "--profile=webapp", "--cache=keyring", AWS_CONFIG_FILE=plain), 2)
    assert f": vault_aws_cache: keyring cannot be used here: {words}" in said
    config = config_of(tenant, vault_secret_id_file=None, vault_secret_id_keyring="webapp")
    said = refusal(command("get", "--profile=webapp", AWS_CONFIG_FILE=config), 2)
    assert f": vault_secret_id_keyring: {words}" in said


def test_configuration_file_that_names_no_keyring(command: Run, tmp_path: pathlib.Path) -> None:
    """A wrong name in keyring's own file is one line that leads to it."""
    path = tmp_path / "xdg" / "python_keyring" / "keyringrc.cfg"
    path.parent.mkdir(parents=True)
    path.write_text("[backend]\ndefault-keyring=nosuch.B\n")
    said = refusal(command("secret", "check", "x", XDG_CONFIG_HOME=str(tmp_path / "xdg")), 2)

    assert "keyring cannot load its secret store (ModuleNotFoundError); mend its configuration file" in said


@pytest.mark.parametrize(
    ("backend", "code", "words"),
    [
        ("Cutting", 2, "the keyring did not keep the secret as it is; name a file instead"),
        ("Failing", 5, "keyring: RuntimeError; check the store (keyring diagnose)"),
    ],
)
def test_store_that_does_not_keep(
    store: pathlib.Path, monkeypatch: pytest.MonkeyPatch, backend: str, code: int, words: str
) -> None:
    """A store that cuts a secret or fails is found out; its own words, which may hold the secret, are not repeated."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"store_of_tests.{backend}")
    said = refusal(piped("set", "webapp", "-v"), code)

    assert words in said
    assert SECRET not in said
    assert not store.exists() or store.read_text() == "{}"
