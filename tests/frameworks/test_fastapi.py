"""The page on FastAPI: one aioboto3 client for the life of the service, across lease ends."""

from __future__ import annotations

import pytest

from .conftest import Environment, Place, Service

pytestmark = pytest.mark.system


def test_workers_share_one_lease(asynchronous: Environment, place: Place) -> None:
    """Every request across lease ends succeeds, the health route tells of the pair, and two workers log in once."""
    page, service = place.prepare("fastapi"), Service()
    command = [*page.command("uvicorn"), "--port", str(service.port)]
    with asynchronous.running(*command, cwd=place.directory) as uvicorn:
        uvicorn.until(lambda: uvicorn.log.count("Application startup complete") == 2)
        statuses: set[int] = set()
        listed = []

        def have_refreshed() -> bool:
            answers = [service.get("/files"), service.get("/health")]
            statuses.update(answer.status_code for answer in answers)
            listed.append(answers[0].json())
            return place.saw_refreshes()

        uvicorn.until(have_refreshed)
        health = service.get("/health").json()

    assert command[command.index("--workers") + 1] == "2"
    assert statuses == {200}
    assert "hello.txt" in listed[0]
    assert (health["authenticated"], health["error"]) == (True, None)
    assert health["refreshes"] > 1
    assert place.logins == 1


def test_service_without_credentials_does_not_start(asynchronous: Environment, place: Place) -> None:
    """Where Vault is away at the start uvicorn ends, and its log tells why."""
    page = place.prepare("fastapi", vault_addr="http://127.0.0.1:1")
    command = page.command("uvicorn")
    done = asynchronous.run(command[0], command[-1], "--port", str(Service().port), cwd=place.directory)

    assert done.returncode != 0
    assert "connection refused" in done.stderr
