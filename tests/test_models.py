"""The values that travel between the layers, and the error tree."""

from __future__ import annotations

import dataclasses
import math

import pytest

from vault_credential_process import errors, models
from vault_credential_process.config import Config, Profile, Setting, resolve
from vault_credential_process.models import AWSCredentials, Origin, VaultToken

NOW = 1_795_465_023.0
CREDENTIALS = AWSCredentials(
    access_key="ASIAIOSFODNN7EXAMPLE",
    secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    session_token="FwoGZXIvYXdzEXAMPLETOKEN==",
    issued=NOW,
    expiry=NOW + 900,
    credential_type="sts",
)


def test_section_of_a_profile_is_fit_for_a_message() -> None:
    """A name that would move the cursor of a terminal is shown without what does."""
    assert models.section_name("web\x1b[31mapp\n") == '[profile "web [31mapp"]'


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        (CREDENTIALS, (CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.session_token)),
        (VaultToken("hvs.EXAMPLE"), ("hvs.EXAMPLE",)),
        (Setting("hunter2", Origin("environment", "VAULT_SECRET_ID")), ("hunter2",)),
        (Profile("webapp", {"vault_role_id": "hunter2"}), ("hunter2",)),
        (resolve({}, {"VAULT_PROXY_ADDR": "http://u:hunter2@proxy.example"}, None, ()), ("hunter2",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_repr_and_str_hold_no_secret(value: object, secrets: tuple[str, ...]) -> None:
    """What carries a secret does not show it."""
    shown = repr(value) + str(value) + f"{value}"

    assert type(value).__name__ in shown
    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize(
    "value", [CREDENTIALS, VaultToken("hvs.EXAMPLE"), resolve({}, {}, None, ())], ids=lambda value: type(value).__name__
)
def test_values_are_frozen_and_slotted(value: object) -> None:
    """Nobody can change a value, or hang something on it."""
    field = dataclasses.fields(value)[0].name  # type: ignore[arg-type]

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, "changed")
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("text", ["", "hvs.EX AMPLE", "hvs.EXAMPLE\n", "hvs.\x00", "hvs.ÉXAMPLE", "\thvs.EXAMPLE"])
def test_text_that_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    """A token with spaces, line breaks or foreign letters would break a header; the message does not hold it."""
    with pytest.raises(ValueError, match="not a Vault token") as caught:
        VaultToken(text)

    assert "hvs" not in str(caught.value)


def test_life_is_counted_from_before_the_request() -> None:
    """``life`` is what the credentials had when they were read, ``seconds_left`` what they have now."""
    assert CREDENTIALS.life == 900
    assert CREDENTIALS.seconds_left(NOW + 600) == 300
    assert CREDENTIALS.seconds_left(NOW + 901) == -1


@pytest.mark.parametrize(("end", "left"), [(NOW + 20, 20), (NOW - 1, -1), (None, math.inf)])
def test_token_without_an_end_lives_for_ever(end: float | None, left: float) -> None:
    """A root token has no end; any other has its seconds."""
    assert VaultToken("hvs.EXAMPLE", expiry=end).seconds_left(NOW) == left


@pytest.mark.parametrize(
    ("key", "profile", "remedy"),
    [
        ("vault_aws_role", "webapp", "set --role, vault_aws_role in [profile webapp], or VAULT_AWS_ROLE"),
        ("vault_aws_role", "default", "set --role, vault_aws_role in [default], or VAULT_AWS_ROLE"),
        ("vault_aws_role", None, "set --role, vault_aws_role in the profile, or VAULT_AWS_ROLE"),
        ("vault_addr", "x", "set --vault-addr, vault_addr in [profile x], VAULT_AGENT_ADDR, or VAULT_ADDR"),
        ("vault_proxy_addr", "x", "set vault_proxy_addr in [profile x], VAULT_PROXY_ADDR, or VAULT_HTTP_PROXY"),
    ],
)
def test_remedy_names_every_place(key: str, profile: str | None, remedy: str) -> None:
    """The remedy lists flag, profile key and variables, as far as the option has them."""
    declared = next(o for o in models.options_of(Config) if o.key == key)

    assert declared.remedy(profile) == remedy


@dataclasses.dataclass(frozen=True)
class Example:
    """A method's options."""

    plain: int
    user: str = models.option("VAULT_EXAMPLE_USER", "EXAMPLE_USER", flag="--user", help="who")
    password: str = models.option("VAULT_EXAMPLE_PASSWORD", help="secret", secret=True)


def test_options_are_declared_once_on_the_dataclass() -> None:
    """Fields made with ``option`` are listed in order with their keys; others are not; defaults work."""
    assert [o.key for o in models.options_of(Example)] == ["user", "password"]
    assert (Example(1).user, Example(1).password) == (None, None)


def test_secret_option_names_neither_flag_nor_profile() -> None:
    """For a secret only the environment is advised, and its field stays out of ``repr``."""
    declared = list(models.options_of(Example))[1]

    assert declared.remedy("webapp") == "set VAULT_EXAMPLE_PASSWORD"
    assert "hunter2" not in repr(Example(1, password="hunter2"))


def test_bao_variables_go_before_vault_variables() -> None:
    """Each ``VAULT_X`` is preceded by ``BAO_X``; other names have no twin."""
    declared = next(models.options_of(Example))

    assert declared.variables == ("BAO_EXAMPLE_USER", "VAULT_EXAMPLE_USER", "EXAMPLE_USER")


def test_no_secret_has_a_flag() -> None:
    """No option of the configuration that is a secret, or may hold one, can be put on a command line."""
    from vault_credential_process import auth

    declared = [*models.options_of(Config), *auth.options()]

    secrets = {o.key for o in declared if o.secret}
    assert {"vault_token", "vault_secret_id", "vault_password"} <= secrets
    assert [o.key for o in declared if o.flag and (o.secret or o.key == "vault_proxy_addr")] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.VaultCredentialError, 70),
        (errors.ConfigurationError, 2),
        (errors.AuthenticationError, 3),
        (errors.AuthUnavailable, 3),
        (errors.PermissionDeniedError, 4),
        (errors.UnreachableError, 5),
        (errors.SealedError, 6),
        (errors.DeadlineError, 7),
    ],
)
def test_every_error_has_its_exit_code(error: type[errors.VaultCredentialError], code: int) -> None:
    """The class of an error tells the exit code, and one root catches them all."""
    assert (error.exit_code, issubclass(error, errors.VaultCredentialError)) == (code, True)
