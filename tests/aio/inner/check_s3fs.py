"""s3fs, whose loop runs in a thread of its own."""

from __future__ import annotations

import pytest
import s3fs
from stage import BUCKET, GOOD, Vault, lease


def test_s3fs_lists_a_bucket(vault: Vault) -> None:
    """A file system that was given a session of ours lists the bucket, from a program that knows no loop."""
    vault.gives(lease(3600, GOOD))
    files = s3fs.S3FileSystem(session=vault.session(), skip_instance_cache=True)

    assert f"{BUCKET}/hello.txt" in files.ls(BUCKET)
    assert vault.asked == (1, 1)


@pytest.mark.usefixtures("installed")
def test_s3fs_after_install(vault: Vault) -> None:
    """After ``install()`` the profile's name is enough."""
    vault.gives(lease(3600, GOOD))
    files = s3fs.S3FileSystem(profile="webapp", skip_instance_cache=True)

    assert files.cat(f"{BUCKET}/hello.txt") == b"hello\n"
    assert vault.asked == (1, 1)
