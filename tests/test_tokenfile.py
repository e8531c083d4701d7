"""The file from which clients of the endpoint read their token."""

from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys

import pytest

from vault_credential_process import fastpath
from vault_credential_process.errors import ConfigurationError
from vault_credential_process.server.endpoint import Tokens
from vault_credential_process.server.tokenfile import TokenFile


def own_group() -> str:
    """Return the name of a group of this user's."""
    grp = pytest.importorskip("grp")
    return str(grp.getgrgid(os.getgid()).gr_name)


def test_is_kept_for_the_next_start(tmp_path: pathlib.Path) -> None:
    """A file that was named stays, with its token, so that clients need no other; where none is, one is made."""
    path = tmp_path / "token"
    first = TokenFile(str(path))
    tokens = first.begin()
    token = path.read_bytes()
    first.close()

    assert tokens.accept(token)
    assert TokenFile(str(path)).begin().accept(token)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == token


@pytest.mark.parametrize("has_links", [True, False])
def test_two_that_begin_at_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    """Two processes that find no file both take what one of them writes, and leave nothing else behind.

    On a file system without links the last one that writes has the file.
    """
    path = tmp_path / "token"
    first, second = TokenFile(str(path)), TokenFile(str(path))
    look = first.read
    begun: list[Tokens] = []

    def read() -> str | None:
        if not begun:
            begun.append(second.begin())
            return None
        return look()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(first, "read", read)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    last = first.begin()

    assert last.accept(path.read_bytes())
    assert begun[0].accept(path.read_bytes()) is has_links
    assert [found.name for found in tmp_path.iterdir() if "token" in found.name] == ["token"]


@pytest.mark.skipif(not hasattr(os, "fchown"), reason="no owners on this system")
def test_directory_that_is_moved_away(tmp_path: pathlib.Path) -> None:
    """Who may rename what is above the directory puts another in its place in vain: nothing goes there."""
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    file = TokenFile(str(place / "token"), group=own_group())
    tokens = file.begin()
    place.rename(tmp_path / "moved")
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    file.rotate(tokens)

    assert list(elsewhere.iterdir()) == []
    assert tokens.accept((tmp_path / "moved" / "token").read_bytes())
    assert stat.S_IMODE((tmp_path / "moved" / "token").stat().st_mode) == 0o640
    file.close()


@pytest.mark.skipif(not hasattr(os, "fchown"), reason="no owners on this system")
def test_mode_is_given_to_the_open_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that takes the name of a new file before it has its group leads the group to nothing."""
    file = TokenFile(str(tmp_path / "place" / "token"), group=own_group())
    target = tmp_path / "target"
    target.write_text("root only")
    target.chmod(0o600)
    give = os.fchown

    def race(descriptor: int, user: int, group: int) -> None:
        (made,) = (tmp_path / "place").iterdir()
        made.unlink()
        made.symlink_to(target)
        give(descriptor, user, group)

    monkeypatch.setattr(os, "fchown", race)
    file.write("EXAMPLE-TOKEN-EXAMPLE")

    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    file.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc on this system")
def test_what_a_killed_server_left() -> None:
    """Its directory is removed by the next one; that of a server which runs stays."""
    begin = "import os; from vault_credential_process.server.tokenfile import TokenFile"
    words = (sys.executable, "-c", f"{begin}; print(TokenFile.made(os.environ).path)")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    left = pathlib.Path(done.stdout.strip())
    assert left.parent.is_dir()
    first, second = TokenFile.made(os.environ), TokenFile.made(os.environ)

    assert not left.parent.exists()
    assert pathlib.Path(first.path).parent.is_dir()
    first.close()
    second.close()


def test_file_that_was_closed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where it was, and not where the process works, should anybody write it yet."""
    file = TokenFile(str(tmp_path / "place" / "token"))
    file.close()
    monkeypatch.chdir(tmp_path)
    file.write("EXAMPLE-TOKEN-EXAMPLE")

    assert (tmp_path / "place" / "token").read_bytes() == b"EXAMPLE-TOKEN-EXAMPLE"
    assert not (tmp_path / "token").exists()


def test_group_finds_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A file for a group is not made in the user's own runtime directory, which is closed to it."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    file = TokenFile.made({"XDG_RUNTIME_DIR": str(runtime)}, group=own_group())

    assert list(runtime.iterdir()) == []
    file.close()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"a-token-that-others-see", 0o640, "not ours alone (mode 0640); remove it, and it is made anew"),
        (b"a-token-that-others-see", 0o602, "not ours alone (mode 0602)"),
        (b"a-token-with-a-line-end\n", 0o600, "holds no token (16 printable characters or more, without spaces"),
        (b"short", 0o600, "holds no token"),
        (b"", 0o600, "holds no token"),
        (b"a token with spaces in it", 0o600, "holds no token"),
        (b"\xff" * 40, 0o600, "holds no token"),
        (b"x" * 5000, 0o600, "holds no token"),
    ],
)
def test_what_is_no_token(tmp_path: pathlib.Path, content: bytes, mode: int, words: str) -> None:
    """A file that others see or change, or that SDKs could not send, is refused and stays as it is."""
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(mode)

    with pytest.raises(ConfigurationError) as caught:
        TokenFile(str(path)).begin()

    assert words in str(caught.value)
    assert path.read_bytes() == content
    assert "that-others-see" not in str(caught.value)


def test_what_is_no_file(tmp_path: pathlib.Path) -> None:
    """A link, a directory and a pipe are refused; none is waited for."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir(0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "directory", "pipe"):
        with pytest.raises(ConfigurationError, match="--authorization-token-file: "):
            TokenFile(str(tmp_path / name)).begin()


def test_directory_of_others(tmp_path: pathlib.Path) -> None:
    """A directory in which others could put another file in its place is refused; one like ``/tmp`` is not."""
    for mode, is_fine in ((0o777, False), (0o770, False), (0o755, True), (0o1777, True)):
        directory = tmp_path / f"{mode:o}"
        directory.mkdir()
        directory.chmod(mode)
        if is_fine:
            TokenFile(str(directory / "token")).begin()
        else:
            with pytest.raises(ConfigurationError, match="others may put another file in its place"):
                TokenFile(str(directory / "token"))


def test_directory_is_made(tmp_path: pathlib.Path) -> None:
    """A directory that is missing is made for this user alone; one that all may write to holds it, as a volume does."""
    tmp_path.chmod(0o777)
    TokenFile(str(tmp_path / "made" / "token")).begin()

    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700
    with pytest.raises(ConfigurationError, match="No such file or directory; make the directory first"):
        TokenFile(str(tmp_path / "neither" / "nor" / "token"))


def test_group(tmp_path: pathlib.Path) -> None:
    """Members of a group may read it, nobody else; a new start takes it as it is."""
    grp = pytest.importorskip("grp")
    group = grp.getgrgid(os.getgid()).gr_name
    path = tmp_path / "token"
    file = TokenFile(str(path), group=group)
    tokens = file.begin()
    file.rotate(tokens)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_gid == os.getgid()
    assert TokenFile(str(path), group=group).begin().accept(path.read_bytes())
    with pytest.raises(ConfigurationError, match="not ours alone"):
        TokenFile(str(path)).begin()
    made = TokenFile.made(os.environ, group=group)
    try:
        assert stat.S_IMODE(os.stat(os.path.dirname(made.path)).st_mode) == 0o711
    finally:
        made.close()


def test_rotation_that_fails(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the new token cannot be written the old one stays good, and the log says so; nothing is left."""
    file = TokenFile(str(tmp_path / "token"))
    tokens = file.begin()
    before = (tmp_path / "token").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    file.rotate(tokens)

    assert tokens.accept(before)
    assert (
        "cannot be written: No space left on device; name one in a place of this user's; the token stays the same"
        in caplog.text
    )
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["token"]


def test_place_of_its_own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes to the user's private directory in memory, else to ``/dev/shm``, else where temporary files go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = []

    def make() -> None:
        file = TokenFile.made(os.environ)
        found.append(os.path.dirname(os.path.dirname(file.path)))
        file.close()

    make()
    private, _ = fastpath.runtime_directory(os.environ)
    monkeypatch.setattr(fastpath, "runtime_directory", lambda _: (None, "none"))
    make()
    monkeypatch.setattr(os.path, "isdir", lambda _: False)
    make()

    memory = "/dev/shm" if os.path.exists("/dev/shm") else str(tmp_path)
    assert found == [private or memory, memory, str(tmp_path)]


def test_place_of_its_own_for_a_group_that_is_none(shm: pathlib.Path) -> None:
    """A start that fails leaves no directory behind."""
    with pytest.raises(ConfigurationError, match="nosuchgroup"):
        TokenFile.made({"XDG_RUNTIME_DIR": str(shm)}, group="nosuchgroup")

    assert list(shm.iterdir()) == []
