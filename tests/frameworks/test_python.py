"""``docs/python.md``: its names, numbers, metrics and links are those of the code."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest

import vault_credential_process
from vault_credential_process import flight, healing, keeper
from vault_credential_process.health import Health

from ..conftest import ROOT
from .conftest import FRAMEWORKS, LIFE, Environment, Place

PAGE = ROOT / "docs" / "python.md"
TEXT = PAGE.read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return what stands below a heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title!r}"
    return " ".join(found.group(1).split())


def test_ways_in_exist() -> None:
    """Each way in of the first table is a name of the package."""
    ways = re.findall(r"^\| `(\w+)\(", TEXT, re.MULTILINE)

    assert set(ways) == {"install", "boto3_session", "aio_session", "VaultAWSCredentialManager"}
    assert set(ways) <= set(vault_credential_process.__all__)


def test_every_figure_of_health_is_told() -> None:
    """The table names each field of ``Health``, and no other."""
    told = re.findall(r"\| (`\w+`(?:, `\w+`)*) \|", section("Health"))

    assert [name.strip("`") for names in told for name in names.split(", ")] == [
        field.name for field in dataclasses.fields(Health)
    ]


def test_numbers_are_those_of_the_code() -> None:
    """Seconds that the page names are what the code keeps to."""
    refused = section("Keys that AWS refuses")

    assert f"for {flight.PATIENCE:.0f} s at most" in section("Refresh in the background")
    assert f"takes {keeper.GIVE_BACK:.0f} s at most" in section("The end of a program")
    assert f"younger than {keeper.YOUNG:.0f} s" in refused
    assert (keeper.HEAL_INTERVAL, "more than once a minute" in refused) == (60, True)
    assert (keeper.PAUSE, "about twice a minute" in section("While Vault is away")) == (30, True)
    assert set(re.findall(r"`(\w+)`", refused)) <= healing.REFUSED


@pytest.mark.parametrize("page", [PAGE, *sorted(FRAMEWORKS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files(page: pathlib.Path) -> None:
    """Each link leads to a file, and, where it names a heading, to one that is there."""
    text = page.read_text(encoding="utf-8")
    for link, heading in re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        target = page.parent / link if link else page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not heading or heading in {name.lower().replace(" ", "-") for name in headings}, heading


def test_hub_leads_to_every_page() -> None:
    """The hub links to each page of ``docs/frameworks``."""
    assert set(re.findall(r"\(frameworks/([\w-]+)\.md\)", TEXT)) == {page.stem for page in FRAMEWORKS.glob("*.md")}


FETCH = "from vault_credential_process import boto3_session; session = boto3_session('webapp')\n"
PROMETHEUS = """
import contextlib, botocore.exceptions, prometheus_client
with contextlib.suppress(botocore.exceptions.CredentialRetrievalError):
    session.get_credentials()
for line in prometheus_client.generate_latest().decode().splitlines():
    if line.startswith("vault_aws_") and "_created" not in line:
        print(line)
"""
OPENTELEMETRY = """
session.get_credentials()
for resource in reader.get_metrics_data().resource_metrics:
    for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
        for point in metric.data.data_points:
            print(metric.name, dict(point.attributes), point.value)
"""
READER = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader(); metrics.set_meter_provider(MeterProvider([reader]))
"""


def program(name: str) -> str:
    """Return the block for a system of metrics."""
    (found,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if name in block)
    return str(found)


@pytest.mark.system
@pytest.mark.parametrize("outcome", ["good", "failed"])
def test_prometheus(plain: Environment, place: Place, outcome: str) -> None:
    """Prometheus is shown the fetches, good or bad, and the seconds that are left."""
    place.prepare("celery", vault_aws_cache=None)
    if outcome == "failed":
        pathlib.Path(place.tenant.settings["vault_secret_id_file"]).write_text("wrong")
    done = plain.run("python", "-c", program("prometheus_client") + FETCH + PROMETHEUS, cwd=place.directory)
    shown = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    left = float(shown.pop("vault_aws_seconds_left"))

    assert done.stderr == ""
    assert 0 < left <= LIFE if outcome == "good" else left == 0
    path = f"aws/creds/{place.tenant.role}"
    assert shown == {f'vault_aws_fetches_total{{outcome="{outcome}",path="{path}"}}': "1.0"}


@pytest.mark.system
def test_opentelemetry(plain: Environment, place: Place) -> None:
    """OpenTelemetry is shown the fetches and the seconds that are left."""
    place.prepare("celery", vault_aws_cache=None)
    done = plain.run("python", "-c", READER + program("opentelemetry") + FETCH + OPENTELEMETRY, cwd=place.directory)
    shown = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    path = f"'path': 'aws/creds/{place.tenant.role}'"

    assert done.stderr == ""
    assert 0 < float(shown.pop(f"vault.aws.seconds_left {{{path}}}")) <= LIFE
    assert shown == {f"vault.aws.fetches {{{path}, 'outcome': 'good'}}": "1"}


EXITS = """
import multiprocessing, sys
from vault_credential_process import boto3_session

def use():
    boto3_session("webapp", vault_aws_revoke_on_exit=True).get_credentials()

if sys.argv[1] == "child":
    child = multiprocessing.get_context("fork").Process(target=use)
    child.start(); child.join(); sys.exit(child.exitcode)
use()
"""


@pytest.mark.system
@pytest.mark.parametrize(("where", "revocations"), [("child", 0), ("main", 1)])
def test_orderly_exit(plain: Environment, place: Place, where: str, revocations: int) -> None:
    """A program gives its token back at its end; a child of multiprocessing cannot."""
    place.prepare("celery", vault_aws_cache=None)
    done = plain.run("python", "-c", EXITS, where, cwd=place.directory)

    assert (done.returncode, done.stderr) == (0, "")
    assert (place.logins, place.revocations) == (1, revocations)
