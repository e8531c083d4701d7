"""Known secrets and aiobotocore: they stand in no log, error or frame, also where Vault repeats them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest
from stage import LOGIN, READ, Vault, lease, run

from vault_credential_process.testing.scripted import reply

TOKEN, SECRET_ID, PASSWORD = "hvs.EXAMPLE", "canary-secret-id-5f1c", "canary-proxy-password"
KEYS = {"AccessKeyId": "ASIACANARYCANARY", "SecretAccessKey": "canarySecretKey", "SessionToken": "canarySession"}
SECRETS = (TOKEN, SECRET_ID, PASSWORD, *KEYS.values())


def found(*texts: str) -> list[str]:
    """Return the secrets that stand in texts."""
    return [secret for secret in SECRETS for text in texts if secret in text]


def hung_on(error: BaseException | None) -> Iterator[str]:
    """Yield what an error says, and each variable of the frames that it leads to, but those of tests."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        yield f"{one} {one!r} {vars(one)!r}"
        yield from traceback.format_exception(one)
        trace = one.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                yield from map(repr, trace.tb_frame.f_locals.values())
            trace = trace.tb_next


def get(vault: Vault, **settings: str) -> Any:
    """Return the frozen credentials of a session."""

    async def main() -> Any:
        session = vault.session(vault_secret_id=SECRET_ID, **settings)
        return await (await session.get_credentials()).get_frozen_credentials()

    return run(main())


@pytest.fixture
def vault(vault: Vault) -> Vault:
    """A Vault whose session is given the Secret ID itself."""
    vault.settings.pop("vault_secret_id_file")
    return vault


def test_success_shows_no_secret(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    """All loggers are at their most talkative, and none tells of a secret."""
    caplog.set_level(logging.DEBUG)
    vault.gives(lease(900, KEYS))

    assert get(vault).secret_key == KEYS["SecretAccessKey"]
    assert caplog.records
    assert found(caplog.text) == []


@pytest.mark.parametrize("path", [("POST", LOGIN), ("GET", READ)], ids=["login", "read"])
def test_failure_leads_to_no_secret(vault: Vault, caplog: pytest.LogCaptureFixture, path: tuple[str, str]) -> None:
    """Nor does what hangs on the error of a program."""
    caplog.set_level(logging.DEBUG)
    secret = SECRET_ID if path[1] == LOGIN else TOKEN
    vault.server.on(*path, reply(400, {"errors": [f"cannot use {secret}"]}))

    with pytest.raises(botocore.exceptions.CredentialRetrievalError) as caught:
        get(vault)
    assert found(caplog.text, *hung_on(caught.value)) == []


def test_setting_that_is_malformed_leads_to_no_secret(vault: Vault) -> None:
    """An error of the configuration holds neither the arguments nor the environment."""
    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="vault_proxy_addr") as caught:
        get(vault, vault_proxy_addr=f"htp://user:{PASSWORD}@127.0.0.1")
    texts = list(hung_on(caught.value))

    assert len(texts) > 3
    assert found(*texts) == []


def test_secret_would_be_found() -> None:
    """The control: what an error and its frames hold is looked at."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int(SECRET_ID)

    assert set(found(*hung_on(caught.value))) == {SECRET_ID}
