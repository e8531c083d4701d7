"""What the endpoint tells of itself: health and metrics."""

from __future__ import annotations

import re

import pytest

from vault_credential_process.keeper import Keeper
from vault_credential_process.server import EndpointServer

from .bench import DENIED, READ, Bench
from .endpoints import bench, keeper, server
from .serving import TOKEN, ask, served, wait_until

__all__ = ["bench", "keeper", "server"]


class TestHealth:
    """``/health``, for probes."""

    def test_before_and_after_the_first_fetch(self, server: EndpointServer) -> None:
        """It is a 503 while there is no valid pair, and a 200 from then on; nobody is asked for it."""
        before = ask(server.address, "/health", token=None)
        ask(server.address)
        after = ask(server.address, "/health", token=None)

        assert (before.status, before.json["status"]) == (503, "unavailable")
        assert (after.status, after.json["status"]) == (200, "ok")
        assert before.json["roles"] == {"webapp": {"valid": False, "seconds_left": None, "failing": False}}
        assert after.json["roles"]["webapp"].keys() == {"valid", "seconds_left", "failing"}
        assert 3500 < after.json["roles"]["webapp"]["seconds_left"] <= 3600

    def test_reason_is_for_who_has_the_token(self, server: EndpointServer, bench: Bench) -> None:
        """That a fetch failed is told to all; its words, which name addresses and paths, to who has the token."""
        bench.server.on("GET", READ, DENIED)
        ask(server.address)

        for_all = ask(server.address, "/health", token=None)
        for_us = ask(server.address, "/health")

        assert for_all.json["roles"]["webapp"]["failing"] is True
        assert bench.server.address not in for_all.body.decode()
        assert "permission denied" in for_us.json["roles"]["webapp"]["error"]


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')


def samples(text: str) -> dict[str, float]:
    """Return the samples of a text in Prometheus' format, after a look at all of its rules that matter here."""
    assert text.endswith("\n")
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    begun: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            begun.append(line.split(" ")[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == begun[-1]
            assert name not in kinds
            assert kind in ("counter", "gauge")
            assert (kind == "counter") == name.endswith("_total")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, _, value = match.groups()
            # All of one metric stand together, after what tells of it.
            assert name == begun[-1]
            assert line.rpartition(" ")[0] not in found
            found[line.rpartition(" ")[0].removeprefix("vault_credential_process_")] = float(value)
    assert len(begun) == len(set(begun)) == len(kinds)
    return found


class TestMetrics:
    """``/metrics``, for Prometheus."""

    def test_counts(self, server: EndpointServer, bench: Bench) -> None:
        """Requests by status, fetches, and the seconds that are left of the pair and of the Vault token."""
        ask(server.address)
        ask(server.address, token="other")
        answer = ask(server.address, "/metrics", token=None)
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = samples(answer.body.decode())

        assert found['requests_total{status="200"}'] == 1
        assert found['requests_total{status="403"}'] == 1
        assert found['fetches_total{role="webapp"}'] == found['refreshes_total{role="webapp"}'] == 1
        assert found['failures_total{role="webapp"}'] == found['failing{role="webapp"}'] == 0
        assert found['credentials_valid{role="webapp"}'] == 1
        assert 3500 < found['credentials_seconds_left{role="webapp"}'] <= 3600
        wait_until(lambda: 'token_seconds_left{role="webapp"}' in samples(metrics(server)))

    def test_names_that_must_be_quoted(self, keeper: Keeper) -> None:
        """Whatever a profile is called, the text stays one that Prometheus reads."""
        with served({'a"b\\c\nd': keeper}) as running:
            assert 'fetches_total{role="a\\"b\\\\c\\nd"}' in samples(metrics(running))

    def test_check_would_see_it(self) -> None:
        """The control: a quote that is not escaped, and a metric in two pieces, are seen."""
        for text in (
            '# HELP a b\n# TYPE a gauge\na{r="x"y"} 1\n',
            "# HELP a b\n# TYPE a gauge\nb 1\n",
            "# HELP a b\na 1",
        ):
            with pytest.raises(AssertionError):
                samples(text)

    def test_nothing_secret(self, server: EndpointServer, bench: Bench) -> None:
        """No key, token or address of Vault stands in health or metrics, where nobody needs a token."""
        pair = ask(server.address).json
        for path in ("/health", "/metrics"):
            text = ask(server.address, path, token=None).body.decode()
            secrets = [pair["AccessKeyId"], pair["SecretAccessKey"], pair["Token"], TOKEN, bench.server.address]

            assert [secret for secret in secrets if secret in text] == []


def metrics(server: EndpointServer) -> str:
    """Return the metrics."""
    return ask(server.address, "/metrics", token=None).body.decode()
