"""The page on Celery: the children of a prefork pool, and the program that sends them tasks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Environment, Place

pytestmark = pytest.mark.system

CHILDREN = 2
SENDS = """
import time, tasks
while True:
    results = [tasks.size.delay("hello.txt") for _ in range(8)]
    print({result.get(timeout=30) for result in results}, flush=True)
    time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("flags", "values", "children", "logins"),
    [
        (("--max-tasks-per-child", "5"), {}, CHILDREN + 2, 1),
        ((), {"vault_aws_cache": None}, CHILDREN, CHILDREN),
    ],
    ids=["host's cache, children replaced", "own memory"],
)
def test_children_share_what_they_can(
    plain: Environment, place: Place, flags: tuple[str, ...], values: Any, children: int, logins: int
) -> None:
    """Across lease ends every task of every child succeeds, and who only sends tasks asks Vault for nothing."""
    page = place.prepare("celery", "vault_aws_revoke_on_exit = true\n", **values)
    # What one side of this broker writes the other reads: both directories are the same.
    (place.directory / "data_in").mkdir()
    (place.directory / "data_out").symlink_to("data_in")
    (place.directory / "results").mkdir()
    broker = {
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_RESULT_BACKEND": f"file://{place.directory / 'results'}",
        "PYTHONWARNINGS": "ignore",
    }
    command = [*page.command("celery"), *flags]
    with plain.running(*command, "--loglevel", "INFO", cwd=place.directory, **broker) as celery:
        celery.until(lambda: " ready." in celery.log)
        asked_before = sum(place.vault.requests.values())
        with plain.running("python", "-c", SENDS, cwd=place.directory, log="sender", **broker) as sender:
            sender.until(lambda: len(worked(celery.log)) >= children and place.saw_refreshes())
        failed = [line for line in celery.log.splitlines() if " raised " in line or "Traceback" in line]
        sizes = set(sender.log.splitlines())

    assert command[command.index("--concurrency") + 1] == str(CHILDREN)
    assert asked_before == 0
    assert (failed, sizes) == ([], {"{6}"})
    assert place.logins == logins
    assert place.revocations == 0


def worked(log: str) -> set[str]:
    """Return which children have done a task."""
    return set(re.findall(r"(ForkPoolWorker-\d+)\] Task tasks\.size\S+ succeeded", log))
