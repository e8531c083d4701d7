"""A plugin for the AWS CLI, v1 and v2: Vault's credentials in the ``aws`` command itself, without a subprocess.

The CLI imports the modules that ``[plugins]`` in its config file names, and calls ``awscli_initialize`` of each. It
emits ``session-initialized`` once the profile is known, before any credentials are (aws-cli, ``awscli/plugin.py`` and
``awscli/clidriver.py``). Version 2 brings a botocore of its own, and any that it imports is that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vault_credential_process.autoload import concerns
from vault_credential_process.errors import ConfigurationError, one_line

if TYPE_CHECKING:
    from types import ModuleType

    import botocore.session


def awscli_initialize(event_hooks: Any) -> None:
    """Join a run of the ``aws`` command, before what asks for its chain of credentials."""
    event_hooks.register_first("session-initialized", _join, unique_id="vault-credential-process")


def _join(session: botocore.session.Session, **_: Any) -> None:
    """Put the provider into the session of the command, where its profile is ours.

    :raises ConfigurationError: when this ``aws`` cannot load the provider, or has a botocore that cannot take it.
    """
    try:
        if not concerns(session):
            return
    except Exception:  # a config file that cannot be read is the command's to report
        return
    provider = _provider()
    from vault_credential_process import chain

    chain.share_by_default()
    provider.install_into(session)


def _provider() -> ModuleType:
    """Return the module of the provider, which may need what this ``aws`` does not have."""
    import botocore.credentials

    otherwise = "or take the plugin out of [plugins] and leave it to the credential_process line"
    if "account_id" not in botocore.credentials.ReadOnlyCredentials._fields:
        raise ConfigurationError(
            "vault-credential-process: this aws command is too old for the plugin; "
            f"get 1.38, 2.25 or later, {otherwise}"
        )
    try:
        from vault_credential_process import provider
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}", limit=120)
        raise ConfigurationError(
            f"vault-credential-process: this aws command cannot load the plugin ({reason}); "
            f"install vault-credential-process where it looks, {otherwise}"
        ) from None
    return provider
