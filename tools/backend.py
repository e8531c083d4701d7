"""setuptools' build backend, whose archives depend on the sources and ``SOURCE_DATE_EPOCH`` alone.

setuptools writes owners, modes and times of the files into them as it finds them, and gzip the moment.
"""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import tarfile
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_DEFAULT_EPOCH = "315532800"
"""1980, where zip's time begins: without ``SOURCE_DATE_EPOCH`` a source archive has no better one."""


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """Build the wheel; the modes of its files are those of the source archive, whatever the umask."""
    before = os.umask(0o022)
    try:
        return str(build_meta.build_wheel(directory, settings, metadata))
    finally:
        os.umask(before)


def build_sdist(directory: str, settings: Any = None) -> str:
    """Build the source archive and pack it again: sorted, of nobody, of one time and two modes."""
    name = str(build_meta.build_sdist(directory, settings))
    path = pathlib.Path(directory) / name
    path.write_bytes(_packed_again(path.read_bytes(), int(os.environ.get("SOURCE_DATE_EPOCH", _DEFAULT_EPOCH))))
    return name


def _packed_again(content: bytes, epoch: int) -> bytes:
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as before,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as after,
    ):
        for member in sorted(before.getmembers(), key=lambda one: one.name):
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.size, clean.mtime = member.type, member.size, epoch
            clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            after.addfile(clean, before.extractfile(member) if member.isfile() else None)
    return packed.getvalue()
