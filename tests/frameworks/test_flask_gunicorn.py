"""The page on Flask and gunicorn: four prefork workers, of which none waits, fails, or logs in more than once."""

from __future__ import annotations

import concurrent.futures

import pytest

from .conftest import Environment, Place, Service

pytestmark = pytest.mark.system

WORKERS = 4


@pytest.mark.parametrize(
    ("flags", "values", "logins", "revocations"),
    [
        ((), {}, 1, 0),
        ((), {"vault_aws_cache": None}, WORKERS, WORKERS),
        (("--preload",), {}, 1, 0),
        (("--preload",), {"vault_aws_cache": None}, 1, 0),
    ],
    ids=["host's cache", "own memory", "preloaded, host's cache", "preloaded, own memory"],
)
def test_workers_share_what_they_can(
    plain: Environment, place: Place, flags: tuple[str, ...], values: dict[str, None], logins: int, revocations: int
) -> None:
    """Across lease ends every request to every worker succeeds; logins, and tokens given back, are as the page says."""
    page, service = place.prepare("flask-gunicorn", "vault_aws_revoke_on_exit = true\n", **values), Service()
    command = [*page.command("gunicorn"), "--bind", f"127.0.0.1:{service.port}", *flags]
    with (
        plain.running(
            *command, "--access-logfile", "-", "--access-logformat", "served by %(p)s", cwd=place.directory
        ) as gunicorn,
        concurrent.futures.ThreadPoolExecutor(2 * WORKERS) as pool,
    ):
        gunicorn.until(service.answers)
        statuses: set[int] = set()
        listed = []

        def all_have_refreshed() -> bool:
            answers = [*pool.map(service.get, ["/files"] * 2 * WORKERS), *pool.map(service.get, ["/health"] * WORKERS)]
            statuses.update(answer.status_code for answer in answers)
            listed.append(answers[0].json())
            served = {line.split()[-1] for line in gunicorn.log.splitlines() if line.startswith("served by")}
            return len(served) == WORKERS and place.saw_refreshes()

        gunicorn.until(all_have_refreshed)
        health = service.get("/health").json()

    assert command[:3] == ["gunicorn", "--workers", str(WORKERS)]
    assert statuses == {200}
    assert "hello.txt" in listed[0]
    assert (health["authenticated"], health["error"]) == (True, None)
    assert place.logins == logins
    assert place.revocations == revocations


def test_worker_without_credentials_does_not_start(plain: Environment, place: Place) -> None:
    """Where Vault is away at the start gunicorn ends, and its log tells why."""
    page = place.prepare("flask-gunicorn", vault_addr="http://127.0.0.1:1")
    done = plain.run(*page.command("gunicorn"), "--bind", f"127.0.0.1:{Service().port}", cwd=place.directory)

    assert done.returncode != 0
    assert "http://127.0.0.1:1" in done.stderr
    assert "connection refused" in done.stderr
