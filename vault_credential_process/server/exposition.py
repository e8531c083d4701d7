"""Metrics of the endpoint in Prometheus' text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from vault_credential_process.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PREFIX = "vault_credential_process"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_Samples = dict[str, float | None]


def text(requests: Mapping[int, int], roles: Mapping[str, tuple[Health, float | None]]) -> bytes:
    """Return all metrics: the requests that were answered, by status, and how each role does.

    With each role's health goes the moment at which its Vault token ends, in seconds since the epoch, as far as known.
    """
    counts: _Samples = {f'{{status="{status}"}}': count for status, count in sorted(requests.items())}
    lines = [*_metric("requests_total", "counter", "Requests that were answered.", counts)]
    now = time.time()
    of: dict[tuple[str, str, str], _Samples] = {}
    for name, (health, token_expiry) in roles.items():
        label = f'{{role="{name.translate(_ESCAPES)}"}}'
        for described, value in {
            ("credentials_valid", "gauge", "Whether a pair is held that is valid now."): float(health.authenticated),
            ("credentials_seconds_left", "gauge", "Seconds until the pair that is held ends."): health.seconds_left,
            ("token_seconds_left", "gauge", "Seconds until the Vault token that is kept ends."): (
                None if token_expiry is None or token_expiry == float("inf") else token_expiry - now
            ),
            ("failing", "gauge", "Whether the last fetch failed."): float(health.error is not None),
            ("fetches_total", "counter", "Times that a pair was asked for."): health.fetches,
            ("refreshes_total", "counter", "Fetches that brought a new pair."): health.refreshes,
            ("failures_total", "counter", "Fetches that failed."): health.failures,
            ("lease_ends_total", "counter", "Pairs that ended unreplaced."): health.lease_ends,
        }.items():
            of.setdefault(described, {})[label] = value
    for (name, kind, about), samples in of.items():
        lines += _metric(name, kind, about, samples)
    return ("\n".join(lines) + "\n").encode("utf-8")


def _metric(name: str, kind: str, about: str, samples: _Samples) -> Iterator[str]:
    """Yield the lines of one metric; what nobody knows has no sample."""
    yield f"# HELP {PREFIX}_{name} {about}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for labels, value in samples.items():
        if value is not None:
            yield f"{PREFIX}_{name}{labels} {value:.15g}"
