"""The cache: which one and why, whether it can keep anything, and why what it holds was last not refreshed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from collections.abc import Iterator

from vault_credential_process.cache import CacheBackend
from vault_credential_process.cache.runtime import Runtime
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, failed, ok, skipped, warning
from vault_credential_process.expiry import format_timestamp

LEAST_SPACE = 1024 * 1024
"""Bytes that should be free; an entry has a few thousand."""

_TRIAL = b'{"doctor": "a trial"}'


def examine(case: Case) -> Iterator[Finding]:
    """Tell of the backend, try it, and tell of the last failure."""
    if case.cache_failure is not None:
        found = failed(case.step, case.cache_failure, "get ends with this, whatever else is well")
        yield dataclasses.replace(found, remedy=found.remedy or "leave vault_aws_cache out, or name another")
        return
    backend = case.cache
    if backend is None:
        yield skipped(case.step, "the settings are not in order")
        return
    if backend.name == "none":
        yield from _nothing(case, backend)
    else:
        yield ok(case.step, f"{backend.name} cache", backend.reason)
    if isinstance(backend, Runtime):
        yield from _directory(case, backend)
    entry, _ = case.held()
    if entry is not None and entry.failure and entry.failed_at:
        yield warning(
            case.step,
            f"the last refresh failed, at {format_timestamp(entry.failed_at)}",
            entry.failure,
            "mend that before the kept credentials end",
        )


def _nothing(case: Case, backend: CacheBackend) -> Iterator[Finding]:
    """Tell that nothing is kept, which somebody may have wanted."""
    config = case.config
    if config is not None and config.vault_aws_cache == "none":
        yield ok(case.step, "nothing is kept between calls", f"from {config.origin('vault_aws_cache')}")
        return
    remedy = "set XDG_RUNTIME_DIR to a private directory on a tmpfs, or name another vault_aws_cache"
    if "for keyring" in backend.reason:
        remedy = "start the system's secret store (keyring diagnose), or name another vault_aws_cache"
    found = f"nothing is kept between calls: {backend.reason}"
    yield warning(case.step, found, "each call logs in and reads anew", remedy)


def _directory(case: Case, backend: Runtime) -> Iterator[Finding]:
    """Tell of the directory, and try to keep something in it."""
    place = backend.directory
    mode = stat.S_IMODE(os.stat(place).st_mode)
    free = shutil.disk_usage(place).free
    told = f"mode {mode:04o}, {free // LEAST_SPACE} MiB free"
    if free < LEAST_SPACE:
        yield warning(case.step, f"{place}: full", "nothing more can be kept", "make room on that tmpfs")
        return
    key = backend.place.hash("doctor", str(os.getpid()))
    is_kept = backend.set(key, _TRIAL) and backend.get(key) == _TRIAL
    backend.delete(key)
    if is_kept:
        yield ok(case.step, f"it can be written and read back ({told})")
    else:
        yield warning(
            case.step,
            f"{place}: nothing can be written there ({told})",
            "each call logs in and reads anew",
            "see who may write, and the limits on files (ulimit -f)",
        )
