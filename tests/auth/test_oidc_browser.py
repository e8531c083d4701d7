"""OIDC with a real browser: the server's own provider and its pages, and the page that a person ends up on."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from vault_credential_process import auth
from vault_credential_process.demo.aws import LocalAWS
from vault_credential_process.demo.laboratory import READ_POLICY, Laboratory
from vault_credential_process.demo.server import VaultServer
from vault_credential_process.errors import AuthenticationError
from vault_credential_process.expiry import Deadline
from vault_credential_process.profiles import Profile
from vault_credential_process.vault import Vault

from .. import peers
from ..conftest import ENGINE, Run
from .methods import document, get
from .people import PASSWORD, People, Somebody, fetch, logging_in

pytestmark = [
    pytest.mark.system,
    peers.needs("chromium"),
    pytest.mark.skipif("bao" not in os.path.basename(ENGINE.binary), reason="the pages of OpenBao's own provider"),
]


@pytest.fixture(scope="module")
def people(cloud: LocalAWS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A server with its pages, its own identity provider, and alice."""
    with VaultServer(ENGINE, extra="ui = true") as server:
        laboratory = Laboratory(server, cloud, tmp_path_factory.mktemp("people"))
        laboratory.allow("webapp", READ_POLICY.format(mount="aws", endpoint="creds", role="webapp"))
        laboratory.assumed_role("webapp")
        yield People(laboratory)


@pytest.fixture
def browser() -> Iterator[peers.Browser]:
    """A browser that nobody has used."""
    with peers.Browser() as running:
        yield running


def log_in_as_alice(browser: peers.Browser, address: str) -> None:
    """Do what a person does: open the address, choose how to log in, type name and password, and press the button."""
    browser.visit(address, until="document.querySelector('#auth-submit')")
    browser.choose("[data-test-select='auth-method']", "userpass")
    browser.fill("input[name=username]", "alice")
    browser.fill("input[name=password]", PASSWORD)
    browser.click("#auth-submit")
    browser.wait("location.pathname === '/oidc/callback' && document.querySelector('footer')", timeout=60)


SEEN = """
({title: document.title,
  style: [document.querySelector("main").className, getComputedStyle(document.querySelector("main")).borderRadius],
  loaded: performance.getEntriesByType("resource").length,
  text: document.querySelector("main").innerText})
"""


def colours(browser: peers.Browser, scheme: str, picture: pathlib.Path) -> tuple[str, str]:
    """Return the colours of the page and its text in light or dark mode, and take its picture."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.screenshot(picture)
    of_body = "getComputedStyle(document.body)"
    return str(browser.run(f"{of_body}.backgroundColor")), str(browser.run(f"{of_body}.color"))


def test_person_logs_in(
    run: Run, people: People, browser: peers.Browser, clean_environment: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A person logs in at the provider's page and is told that it worked; then ``get`` gives AWS credentials."""
    assert get(run, people.laboratory, people.keys(), clean_environment).returncode == 3
    address = tmp_path / "address"
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$1" > {address}.new\nmv {address}.new {address}\n')
    opener.chmod(0o700)

    with logging_in(clean_environment, BROWSER=str(opener)) as process:
        while process.poll() is None and not address.exists():
            time.sleep(0.05)
        log_in_as_alice(browser, address.read_text().strip())
        stdout, stderr = process.communicate(timeout=60)
    seen = browser.run(SEEN)

    assert (process.returncode, stderr) == (0, "Log in in the browser, within 120 s.\n")
    assert f"logged in to {people.server.address} at auth/oidc" in stdout
    assert seen["title"] == "You are logged in"
    assert seen["style"] == ["good", "14px"]
    assert seen["loaded"] == 0
    assert f"{people.server.address} has accepted the login." in seen["text"]
    light, dark = (colours(browser, scheme, tmp_path / f"{scheme}.png") for scheme in ("light", "dark"))
    assert (light, dark) == (
        ("rgb(244, 245, 247)", "rgb(27, 31, 36)"),
        ("rgb(17, 20, 24)", "rgb(232, 234, 237)"),
    )
    assert document(get(run, people.laboratory, people.keys(), clean_environment))["Version"] == 1


def test_person_is_told_that_it_failed(people: People, browser: peers.Browser, tmp_path: pathlib.Path) -> None:
    """A login that Vault refuses after the provider accepted it ends on a page that says so and no more."""

    def spoil(address: str) -> None:
        back = people.authorize(address)
        fetch(f"{people.server.address}/v1/auth/oidc/oidc/callback", client_nonce="guess", **back)
        log_in_as_alice(browser, address)

    somebody = Somebody(spoil)
    config = auth.configure({"vault_addr": people.server.address}, {}, Profile("webapp", people.keys()))
    with (
        Vault(config, Deadline(100), person=somebody) as vault,
        pytest.raises(AuthenticationError, match="Expired or missing OAuth state"),
    ):
        auth.login(auth.choose(config), vault)
    assert somebody.done.wait(30)
    seen = browser.run(SEEN)

    assert seen["title"] == "The login failed"
    assert seen["style"] == ["bad", "14px"]
    assert "OAuth" not in seen["text"]
    assert len({colours(browser, scheme, tmp_path / f"{scheme}.png") for scheme in ("light", "dark")}) == 2
