"""The AWS config file as text: what is put in can be taken out again, and no byte of anything else changes."""

from __future__ import annotations

import configparser
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import threading

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_credential_process import awsconfig
from vault_credential_process.awsconfig import BEGIN, END, find, lines_of, with_profile, without_profile
from vault_credential_process.errors import ConfigurationError

KEYS = {"region": "eu-central-1", "credential_process": "/opt/vcp get --profile webapp", "vault_aws_role": "webapp"}


def ours(key: str) -> bool:
    """Tell whether a key is one of ours."""
    return key.startswith("vault_") or key == "credential_process"


def put(text: str, keys: dict[str, str] | None = None, profile: str = "webapp") -> str:
    """Put a profile into a text."""
    return with_profile(text, profile, KEYS if keys is None else keys, ours)


def read(text: str) -> dict[str, dict[str, str]]:
    """Return what ``configparser`` reads of a text, as from a file."""
    parser = configparser.RawConfigParser()
    parser.read_string(text.replace("\r\n", "\n").replace("\r", "\n"))
    return {section: dict(parser.items(section)) for section in parser.sections()}


PLAIN = st.text("abcXYZ019 _./:=#;[]\"'%$-\t\x0c\u2028é", max_size=12)
LINES = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(["region", "output", "Role_Arn", "s3", "vault_x"]), PLAIN),
    st.builds("  {} = {}".format, st.sampled_from(["max_x", "y"]), PLAIN),
    st.builds("# {}".format, PLAIN),
    st.builds("; {}".format, PLAIN),
    st.sampled_from(["", "   ", "[default]", "[profile a]", '[profile "b c"]', "[sso-session s]", "  [odd]", "x : y"]),
)
TEXTS = st.builds(
    lambda lines, newline, last: newline.join(lines) + (newline if last and lines else ""),
    st.lists(LINES, max_size=14),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)


class TestProperties:
    """Whatever is in the file."""

    @given(TEXTS)
    def test_taken_out_is_as_before(self, text: str) -> None:
        """A profile that was put in and taken out again leaves the text as it was, to the byte."""
        assert without_profile(put(text), "webapp") == text

    @given(TEXTS)
    def test_others_are_read_as_before(self, text: str) -> None:
        """What ``configparser`` reads of the other sections is the same, and of ours it is what was put in."""
        try:
            before = read(text)
        except configparser.Error:
            return
        after = read(put(text))

        assert after.pop("profile webapp").items() >= KEYS.items()
        assert after == before

    @given(TEXTS, TEXTS)
    def test_second_time_changes_nothing(self, text: str, more: str) -> None:
        """What is there already is not written anew, whatever somebody added below it."""
        once = put(text)

        assert put(once) == once
        assert find(lines_of(once), "webapp") is not None
        assert put(put(once + "\n" + more)) == put(once + "\n" + more)

    @given(TEXTS)
    def test_change_of_a_profile_leaves_the_rest(self, text: str) -> None:
        """Of a profile that somebody wrote, keys that are not ours keep their values, and so do all others."""
        try:
            before = read(text)
        except configparser.Error:
            return
        if "profile a" not in before:
            return
        keys = {"credential_process": "/x get", "vault_aws_role": "a"}
        after = read(put(text, keys, "a"))

        kept = {key: value for key, value in before.pop("profile a").items() if not ours(key)}
        assert after.pop("profile a") == {**kept, **keys}
        assert after == before

    @given(st.lists(st.sampled_from(["region", "output", "s3", "vault_x"]), unique=True), st.integers(0, 3), TEXTS)
    def test_change_of_an_indented_profile(self, names: list[str], indent: int, below: str) -> None:
        """However far its keys are indented, what is changed, added and taken out has no other key in it."""
        text = "".join([" " * indent + f"{name} = old\n" for name in names])
        text = f"[profile a]\n{text}[profile b]\nx = y\n{below}"
        try:
            before = read(text)
        except configparser.Error:
            return
        keys = {"region": "new", "vault_aws_role": "a"}
        after = read(put(text, keys, "a"))

        kept = {key: value for key, value in before.pop("profile a").items() if not ours(key)}
        assert after.pop("profile a") == {**kept, **keys}
        assert after == before

    @given(st.binary(max_size=200))
    def test_any_bytes_survive(self, content: bytes) -> None:
        """Bytes that are no text come back as they were."""
        text = content.decode("utf-8", "surrogateescape")

        assert "".join(line.text for line in lines_of(text)) == text
        assert without_profile(put(text), "webapp").encode("utf-8", "surrogateescape") == content


class TestText:
    """What exactly is written."""

    def test_new_profile(self) -> None:
        """It stands at the end, between two comments, a blank line above it."""
        assert put("[default]\noutput = json\n") == (
            f"[default]\noutput = json\n\n{BEGIN}\n[profile webapp]\nregion = eu-central-1\n"
            f"credential_process = /opt/vcp get --profile webapp\nvault_aws_role = webapp\n{END}\n"
        )

    def test_first_profile(self) -> None:
        """In an empty file nothing stands above it; ``default`` has a section without a word."""
        assert put("", {"region": "x"}, "default") == f"{BEGIN}\n[default]\nregion = x\n{END}\n"

    def test_line_ends_are_those_of_the_file(self) -> None:
        """A file with CRLF has nothing else afterwards, and one without a line break at its end has none there."""
        assert "\n" not in put("[default]\r\noutput = json\r\n").replace("\r\n", "")
        assert put("[default]\nx = y").endswith(f"x = y\n\n{BEGIN}\n" + put("").partition("\n")[2].rstrip("\n"))

    def test_changed_keys_stay_where_they_are(self) -> None:
        """A key keeps its place, a new one follows the last, one that is gone is taken out with all its lines."""
        text = put("", {**KEYS, "vault_role_id": "one"}).replace(
            "vault_role_id = one\n", "vault_role_id = one\n  two\noutput = json\n# mine\n"
        )
        changed = put(text, {**KEYS, "vault_aws_role": "other", "vault_addr": "https://v"})

        assert changed == text.replace("vault_aws_role = webapp", "vault_aws_role = other").replace(
            "vault_role_id = one\n  two\noutput = json\n", "output = json\nvault_addr = https://v\n"
        )

    def test_same_value_written_otherwise_stays(self) -> None:
        """``KEY:value`` says what ``key = value`` does."""
        text = "[profile webapp]\nVAULT_AWS_ROLE:webapp\n"

        assert put(text, {"vault_aws_role": "webapp"}) == text

    def test_indented_profile_stays_indented(self) -> None:
        """A key stands as far in as the one whose place it takes, or that it follows."""
        text = "[profile webapp]\n\tregion = a\n\tvault_aws_role = a\n\toutput = json\n[profile b]\n"

        assert put(text, {"region": "b", "vault_addr": "c"}) == (
            "[profile webapp]\n\tregion = b\n\toutput = json\n\tvault_addr = c\n[profile b]\n"
        )

    def test_profile_without_keys_above_an_indented_one(self) -> None:
        """The header below is none of the value's lines."""
        text = "[profile webapp]\n# empty\n  [profile b]\n"

        assert put(text, {"vault_addr": "c"}) == "[profile webapp]\n  vault_addr = c\n# empty\n  [profile b]\n"

    def test_last_of_two_spellings_counts(self) -> None:
        """As in botocore."""
        text = '[profile webapp]\nvault_aws_role = a\n[profile "webapp"]\nvault_aws_role = b\n'

        assert put(text, {"vault_aws_role": "c"}) == text.replace("= b", "= c")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[default]\n", "is not there"),
            ("[profile webapp]\nvault_aws_role = x\n", "was not put there by configure"),
            (f"{BEGIN}\n[profile webapp]\n", "was not put there by configure"),
            (f"[profile webapp]\n{END}\n", "was not put there by configure"),
        ],
    )
    def test_only_ours_is_taken_out(self, text: str, reason: str) -> None:
        """What we did not put in is refused."""
        with pytest.raises(ValueError, match=reason):
            without_profile(text, "webapp")

    @pytest.mark.system
    @pytest.mark.parametrize("below", ["", "[profile below]\noutput = json\n"])
    def test_aws_command_keeps_to_the_marks(self, aws_program: str, tmp_path: pathlib.Path, below: str) -> None:
        """What ``aws configure set`` adds to our profile goes with it; what it adds to the one above stays."""
        path = tmp_path / "config"
        path.write_text(put("[profile above]\noutput = json\n") + below)
        for name in ("webapp", "above"):
            subprocess.run(
                [aws_program, "configure", "set", "cli_pager", "cat", "--profile", name],
                env={**os.environ, "AWS_CONFIG_FILE": str(path)},
                check=True,
                timeout=60,
            )

        text = path.read_text()
        assert read(text)["profile webapp"] == {**KEYS, "cli_pager": "cat"}
        assert put(text) == text
        assert read(put(text, {**KEYS, "vault_addr": "x"}))["profile webapp"]["cli_pager"] == "cat"
        assert without_profile(text, "webapp") == "[profile above]\noutput = json\ncli_pager = cat\n" + below

    def test_botocore_reads_it(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The profile is in botocore's session, with its keys."""
        path = tmp_path / "config"
        path.write_text(put("[default]\ns3 =\n  addressing_style = path"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

        profiles = botocore.session.Session().full_config["profiles"]

        assert profiles["webapp"] == KEYS
        assert profiles["default"] == {"s3": {"addressing_style": "path"}}


class TestNamesAndValues:
    """What may stand in the file."""

    @pytest.mark.parametrize("name", ["webapp", "default", "123456789012:Admin", "a/b", "a.b@c", "büro", "a=b"])
    def test_names(self, name: str) -> None:
        """Names without anything that a shell or the file's format reads in its own way."""
        assert awsconfig.check_name(name) == name
        assert find(lines_of(put("", profile=name)), name) is not None

    @pytest.mark.parametrize(
        "name", ["", "a b", "a]", "a\n[x]", '"a"', "a'b", "a#b", "a;b", "-a", "a$b", "a\\b", "a%b"]
    )
    def test_other_names(self, name: str) -> None:
        """Any other is refused, and the message is one line."""
        with pytest.raises(ValueError, match="cannot be the name of a profile") as caught:
            awsconfig.check_name(name)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", ["x", "a = b", "a:b", "100%", "a#b", "a;b", "[x]", "%(x)s"])
    def test_values(self, value: str) -> None:
        """Values come back from the file as they were."""
        assert awsconfig.check_value(value) == value
        assert read(put("", {"vault_addr": value}))["profile webapp"]["vault_addr"] == value

    @pytest.mark.parametrize("value", [" x", "x ", "a\nb", "a\rb", "a\tb", "#x", ";x", "a #b", "a ;b", "a\x00b"])
    def test_other_values(self, value: str) -> None:
        """What some SDK would read in another way is refused."""
        with pytest.raises(ValueError, match="has "):
            awsconfig.check_value(value)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """An empty directory."""
    made = tmp_path / "place"
    made.mkdir()
    return made


class TestFile:
    """How the file is written."""

    def test_new_file_and_directory_are_private(self, place: pathlib.Path) -> None:
        """Nobody else may read them, and nothing else is left there."""
        path = place / "aws" / "config"

        assert awsconfig.read(str(path)) is None
        assert awsconfig.replace(str(path), None, b"new")

        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert os.listdir(path.parent) == ["config"]

    def test_mode_is_kept(self, place: pathlib.Path) -> None:
        """A file keeps the mode that it has."""
        path = place / "config"
        path.write_bytes(b"old")
        path.chmod(0o640)

        assert awsconfig.replace(str(path), b"old", b"new")

        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_owner_is_kept(self, place: pathlib.Path) -> None:
        """Root leaves a user's file to the user."""
        path = place / "config"
        path.write_bytes(b"old")
        os.chown(path, 12345, 12346)

        assert awsconfig.replace(str(path), b"old", b"new")

        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)

    @pytest.mark.parametrize("is_there", [True, False])
    def test_link_stays_a_link(self, place: pathlib.Path, is_there: bool) -> None:
        """What a link leads to is written, whether it is there or not; the link is left alone."""
        target, link = place / "dotfiles" / "aws", place / "config"
        target.parent.mkdir()
        if is_there:
            target.write_bytes(b"old")
        link.symlink_to(target)

        assert awsconfig.replace(str(link), b"old" if is_there else None, b"new")

        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        assert {entry.name for entry in place.iterdir()} == {"dotfiles", "config"}

    @pytest.mark.parametrize("kind", ["pipe", "directory"])
    def test_other_things_than_files(self, place: pathlib.Path, kind: str) -> None:
        """What is no file is neither waited for nor replaced, as root would replace ``/dev/null``."""
        path = place / "config"
        path.mkdir() if kind == "directory" else os.mkfifo(path)
        code = (
            "import sys\nfrom vault_credential_process import awsconfig, errors\n"
            "for ask in (lambda p: awsconfig.read(p), lambda p: awsconfig.replace(p, b'', b'new')):\n"
            "    try: ask(sys.argv[1])\n"
            "    except errors.ConfigurationError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
        )

        assert done.stdout == 2 * f"{path}: cannot be written: it is no regular file; nothing was changed\n"
        assert not path.is_file()
        assert os.listdir(place) == ["config"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_root_gives_nothing_else_away(self, place: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever owns the directory cannot have root give them another file, by a link in the draft's place."""
        path, victim = place / "config", place / "victim"
        path.write_bytes(b"old")
        victim.write_bytes(b"root's own")
        victim.chmod(0o600)
        os.chown(path, 12345, 12346)
        path.chmod(0o666)
        make = tempfile.mkstemp

        def swapped(**where: str) -> tuple[int, str]:
            descriptor, draft = make(**where)
            os.unlink(draft)
            os.symlink(victim, draft)
            return descriptor, draft

        monkeypatch.setattr(tempfile, "mkstemp", swapped)
        awsconfig.replace(str(path), b"old", b"new")

        assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o600)
        assert victim.read_bytes() == b"root's own"

    def test_what_has_changed_is_not_written_over(self, place: pathlib.Path) -> None:
        """Where the file is not what it was any more nothing is written."""
        path = place / "config"
        path.write_bytes(b"of somebody else")

        assert not awsconfig.replace(str(path), b"old", b"new")
        assert not awsconfig.replace(str(path), None, b"new")

        assert path.read_bytes() == b"of somebody else"
        assert os.listdir(place) == ["config"]

    def test_failure_leaves_nothing(self, place: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the new file cannot take the place of the old one, the old one is there and no draft is."""
        path = place / "config"
        path.write_bytes(b"old")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigurationError, match="cannot be written: No space left on device; nothing was changed"):
            awsconfig.replace(str(path), b"old", b"new")

        assert path.read_bytes() == b"old"
        assert os.listdir(place) == ["config"]

    @pytest.mark.parametrize("obstacle", ["directory", "file"])
    def test_forbidden(self, shm: pathlib.Path, obstacle: str) -> None:
        """Who may not write the directory, or the file itself, is told so; as an unprivileged user."""
        path = shm / "aws" / "config"
        path.parent.mkdir()
        path.write_bytes(b"old")
        path.chmod(0o444 if obstacle == "file" else 0o666)
        path.parent.chmod(0o755 if obstacle == "directory" else 0o777)
        code = (
            "import os, sys\nfrom vault_credential_process import awsconfig, errors\n"
            "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "try: awsconfig.replace(sys.argv[1], b'old', b'new')\n"
            "except errors.ConfigurationError as error: print(error)\n"
        )
        shm.chmod(0o711)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)

        assert "config: cannot be written: " in done.stdout, done.stderr
        assert path.read_bytes() == b"old"

    def test_runs_at_once_lose_nothing(self, place: pathlib.Path) -> None:
        """Of many that write at the same time each reads what it writes over: all their profiles are there."""
        path = str(place / "config")

        def write(name: str) -> None:
            while True:
                before = awsconfig.read(path)
                text = put((before or b"").decode(), {"vault_aws_role": name}, name)
                if awsconfig.replace(path, before, text.encode()):
                    return

        threads = [threading.Thread(target=write, args=(f"p{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert set(read(pathlib.Path(path).read_text())) == {f"profile p{n}" for n in range(8)}
        assert os.listdir(place) == ["config"]
