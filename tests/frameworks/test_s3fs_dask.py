"""The page on s3fs and dask: files are listed and read by name of the profile, in this process and in dask's."""

from __future__ import annotations

import pytest

from .conftest import Environment, Place

pytestmark = pytest.mark.system


def test_program_of_the_page(asynchronous: Environment, place: Place) -> None:
    """s3fs lists and dask's processes read, all in the process itself, at the cost of one login."""
    page = place.prepare("s3fs-dask", credential_process=None)
    done = asynchronous.run(*page.command("python"), cwd=place.directory)

    assert done.stderr == ""
    assert "webapp-files/hello.txt 6" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].endswith(" lines")
    assert place.logins == 1


def test_processes_that_did_not_install(asynchronous: Environment, place: Place) -> None:
    """Where nobody called ``install()`` the same profile serves by its command."""
    place.prepare("s3fs-dask")
    program = "import s3fs; print(s3fs.S3FileSystem(profile='webapp').cat('webapp-files/hello.txt'))"
    done = asynchronous.run("python", "-c", program, cwd=place.directory)

    assert (done.stdout, done.stderr) == ("b'hello\\n'\n", "")
    assert place.logins == 1


def test_no_key_goes_along(asynchronous: Environment, place: Place) -> None:
    """A file system that has been used carries the name of its profile to another process, and no key."""
    place.prepare("s3fs-dask", credential_process=None)
    program = (
        "import pickle, s3fs, vault_credential_process as v; v.install()\n"
        "files = s3fs.S3FileSystem(profile='webapp'); files.cat('webapp-files/hello.txt')\n"
        "key = v.keepers()[0].seen().access_key.encode(); carried = pickle.dumps(files)\n"
        "print(b'webapp' in carried, key in carried)\n"
    )
    done = asynchronous.run("python", "-c", program, cwd=place.directory)

    assert (done.stdout, done.stderr) == ("True False\n", "")
