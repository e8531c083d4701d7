"""How ``autoload`` waits for botocore, and which sessions of a process it serves."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import botocore
import botocore.session
import pytest

import vault_credential_process
from vault_credential_process import autoload

from .conftest import NAME, ROOT
from .test_autoload import clean


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Autoload in this process, for one test."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    kept = list(botocore._INITIALIZERS)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    autoload.start()
    yield
    botocore._INITIALIZERS[:] = kept


def methods(session: Any) -> list[str]:
    """Return what stands in a session's chain."""
    return [provider.METHOD for provider in session.get_component("credential_provider").providers]


ROLE = "vault_addr = https://vault.example.com\nvault_aws_role = webapp\n"
CONFIG = (
    f"[default]\nregion = us-east-1\n[profile webapp]\n{ROLE}"
    "[profile chained]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = webapp\n"
    "[profile onwards]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = chained\n"
    "[profile lost]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = nowhere\n"
    "[profile circle]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = circle\n"
)


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a config file with all sorts of profiles."""
    path = tmp_path / "config"
    path.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


@pytest.mark.usefixtures("config", "started")
class TestSessions:
    """Sessions of a process that has begun to be served."""

    @pytest.mark.parametrize(
        ("profile", "is_ours"),
        [
            (None, False), ("default", False), ("webapp", True), ("chained", True), ("onwards", True),
            ("lost", False), ("circle", False),
        ],
    )  # fmt: skip
    def test_serves_profiles_of_ours(self, profile: str | None, is_ours: bool) -> None:
        """The provider stands in the chain where the profile has ``vault_aws_role``, or leads to one that has."""
        session = botocore.session.Session(profile=profile)

        assert ("vault" in methods(session)) is is_ours
        assert autoload.concerns(session) is is_ours

    @pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
    def test_profile_of_the_environment(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """A profile that the environment names is seen, after the session was made too."""
        session = botocore.session.Session()
        monkeypatch.setenv(variable, "webapp")

        assert "vault" in methods(session)

    def test_profile_that_is_named_later(self) -> None:
        """boto3 names the profile after the session was made."""
        assert "vault" in methods(boto3.Session(profile_name="webapp")._session)

    @pytest.mark.parametrize("variable", ["VAULT_AWS_ROLE", "BAO_AWS_ROLE"])
    def test_exported_role(self, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        """A role that is exported serves sessions that name no profile, and no others."""
        monkeypatch.setenv(variable, "webapp")

        assert "vault" in methods(botocore.session.Session())
        assert "vault" not in methods(botocore.session.Session(profile="default"))

    def test_refused_keys_are_replaced(self) -> None:
        """Its clients heal as those of ``install()`` do."""
        session = botocore.session.Session(profile="webapp")
        session.get_component("credential_provider")
        asked = session.emit("needs-retry", response=None, request_dict={}, operation=None)

        assert f"{NAME}.healing" in [handler.__module__ for handler, _ in asked]

    def test_together_with_install(self) -> None:
        """A program that calls ``install()`` itself has the provider once."""
        vault_credential_process.install()
        try:
            assert methods(botocore.session.Session(profile="webapp")).count("vault") == 1
        finally:
            vault_credential_process.uninstall()

    def test_together_with_a_session_of_its_own(self) -> None:
        """The settings of ``boto3_session`` hold."""
        session = vault_credential_process.boto3_session(vault_aws_role="other")

        assert methods(session._session).count("vault") == 1

    def test_own_chain_of_a_program_is_left_alone(self) -> None:
        """What a program puts in the place of the chain stays there."""
        session, own = botocore.session.Session(profile="webapp"), object()
        session.register_component("credential_provider", own)

        assert session.get_component("credential_provider") is own

    def test_botocore_that_changed_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where botocore has renamed what we lean on, sessions are made as without."""
        monkeypatch.delattr(botocore.session.ComponentLocator, "lazy_register_component")
        monkeypatch.setattr(botocore.session.Session, "_register_components", lambda self: None)

        assert botocore.session.Session(profile="webapp")

    def test_starting_again_changes_nothing(self) -> None:
        """The second start adds neither a finder nor an initializer."""
        before = list(sys.meta_path), list(botocore._INITIALIZERS)
        autoload.start()

        assert (list(sys.meta_path), list(botocore._INITIALIZERS)) == before


def program(*lines: str, **environ: str) -> list[str]:
    """Run a program that begins with ``start()``; return the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([f"from {NAME} import autoload", "autoload.start()", *lines])],
        env=clean(PYTHONPATH=os.pathsep.join([environ.pop("first", ""), str(ROOT)]).strip(os.pathsep), **environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


COUNT = "print(botocore._INITIALIZERS.count(autoload._into))"
WITH_HOOK = """\
made = []
def register_initializer(callback): made.append(callback)
def unregister_initializer(callback): made.remove(callback)
"""


class TestFinder:
    """How botocore is waited for."""

    def test_import(self) -> None:
        """Once botocore is there, every new session is told of; its loader is the one that it always has."""
        assert program(
            "import botocore", COUNT, "print(type(botocore.__loader__).__name__, vars(botocore.__loader__).keys())"
        ) == ["1", "SourceFileLoader dict_keys(['name', 'path'])"]

    def test_imported_before(self) -> None:
        """A botocore that was imported before is served at once."""
        assert program("autoload.start()", "import botocore", "autoload.start()", COUNT) == ["1"]
        assert program(
            "import sys, botocore",
            "sys.meta_path.remove(autoload._finder)",
            "botocore._INITIALIZERS.clear()",
            "autoload.start()",
            COUNT,
        ) == ["1"]

    def test_loaded_again(self) -> None:
        """A reload, or a second import, is served as well."""
        assert program(
            "import importlib, sys, botocore",
            "importlib.reload(botocore)",
            COUNT,
            "del sys.modules['botocore']",
            "import botocore",
            COUNT,
        ) == ["1", "1"]

    def test_threads(self) -> None:
        """Threads that import botocore and its parts at the same time get it, once served."""
        assert program(
            "import threading, importlib",
            "barrier, failed = threading.Barrier(8), []",
            "def work(name):",
            "    barrier.wait()",
            "    try: importlib.import_module(name)",
            "    except BaseException as error: failed.append(error)",
            "names = ['botocore', 'botocore.session', 'botocore.credentials', 'boto3'] * 2",
            "threads = [threading.Thread(target=work, args=(name,)) for name in names]",
            "[t.start() for t in threads]; [t.join() for t in threads]",
            "import botocore; print(failed)",
            COUNT,
        ) == ["[]", "1"]

    def test_zip_file(self, tmp_path: pathlib.Path) -> None:
        """A botocore in a zip file is served, and other modules of the same file are loaded as ever."""
        path = tmp_path / "all.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("botocore/__init__.py", "import neighbour\n" + WITH_HOOK)
            archive.writestr("neighbour.py", "")
            archive.writestr("later.py", "")

        assert program(
            "import importlib.util; importlib.util.find_spec('botocore')",
            "import botocore, later; print(botocore.made == [autoload._into], type(botocore.__loader__).__name__)",
            "print('exec_module' in vars(later.__loader__))",
            first=str(path),
        ) == ["True zipimporter", "False"]

    def test_lazy_loader(self) -> None:
        """The lazy loader of the library works, and serves when botocore is really loaded."""
        assert program(
            "import importlib.util, sys",
            "spec = importlib.util.find_spec('botocore')",
            "spec.loader = importlib.util.LazyLoader(spec.loader)",
            "botocore = sys.modules['botocore'] = importlib.util.module_from_spec(spec)",
            "spec.loader.exec_module(botocore)",
            COUNT,
        ) == ["1"]

    def test_finders_that_ask_all_others(self) -> None:
        """Beside another finder of the kind there is no endless circle, wherever it stands."""
        other = [
            "import sys",
            "class Other:",
            "    def find_spec(self, *wanted):",
            "        specs = (f.find_spec(*wanted) for f in sys.meta_path if f is not self)",
            "        return next(filter(None, specs), None)",
        ]

        for place in ("0", "1"):
            assert program(*other, f"sys.meta_path.insert({place}, Other())", "import botocore", COUNT) == ["1"]

    def test_loader_that_cannot_be_watched(self) -> None:
        """A loader that takes no attribute loads botocore as ever."""
        assert program(
            "import sys, importlib.machinery",
            "class Loader:",
            "    __slots__ = ()",
            "    def create_module(self, spec): return None",
            "    def exec_module(self, module): module.loaded = True",
            "class Finder:",
            "    def find_spec(self, name, *_):",
            "        return importlib.machinery.ModuleSpec(name, Loader()) if name == 'botocore' else None",
            "sys.meta_path.insert(1, Finder())",
            "import botocore; print(botocore.loaded)",
        ) == ["True"]

    def test_old_botocore_is_left_alone(self, tmp_path: pathlib.Path) -> None:
        """A botocore that has no hook, as an old one or that of the AWS CLI v2, is imported, and that is all."""
        (tmp_path / "botocore").mkdir()
        (tmp_path / "botocore" / "__init__.py").write_text("__version__ = '1.20.0'\n")

        assert program(
            "import botocore; print(botocore.__version__)",
            f"print([m for m in sorted(__import__('sys').modules) if m.startswith('{NAME}.')])",
            first=str(tmp_path),
        ) == ["1.20.0", f"['{NAME}.autoload']"]

    def test_hook_that_fails_breaks_nothing(self, tmp_path: pathlib.Path) -> None:
        """Where the hook itself fails the import goes on."""
        (tmp_path / "botocore").mkdir()
        (tmp_path / "botocore" / "__init__.py").write_text(WITH_HOOK.replace("made.append", "made.lost"))

        assert program("import botocore; print(botocore.made)", first=str(tmp_path)) == ["[]"]

    def test_botocore_that_is_not_there(self) -> None:
        """Where there is no botocore the error is Python's own."""
        assert program(
            "import sys; sys.path[:] = []",
            "try: import botocore",
            "except ModuleNotFoundError as error: print(error)",
        ) == ["No module named 'botocore'"]

    @pytest.mark.parametrize(
        ("said", "is_off"), [("off", True), (" OFF ", True), ("0", True), ("no", True), ("", False), ("on", False)]
    )
    def test_variable(self, monkeypatch: pytest.MonkeyPatch, said: str, is_off: bool) -> None:
        """Words for no switch it off; an empty variable is absent; ``BAO_`` goes before ``VAULT_``."""
        monkeypatch.setenv("VAULT_AWS_AUTOLOAD", said)
        assert autoload.is_off() is is_off

        monkeypatch.setenv("BAO_AWS_AUTOLOAD", "on")
        assert not autoload.is_off()
