"""What an auth method is: a frozen dataclass that declares its options once and logs in."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from vault_credential_process.config import Config
from vault_credential_process.errors import AuthenticationError, AuthUnavailable
from vault_credential_process.models import Identity, VaultToken, options_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from vault_credential_process.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuthMethod(abc.ABC):
    """Base of every auth method.

    A method is a frozen, slotted dataclass whose fields are made with
    :func:`vault_credential_process.models.option`: from them come the profile keys, the environment fallbacks,
    ``--help`` and the docs. Methods of other packages are found through the entry-point group
    ``vault_credential_process.auth_methods``.
    """

    name: ClassVar[str]
    """The value of ``vault_auth_method``."""
    default_mount: ClassVar[str]
    """Where Vault mounts the method if nobody says otherwise."""
    summary: ClassVar[str]
    """One line for ``--help`` and the docs."""
    ambient: ClassVar[tuple[str, ...]] = ()
    """Variables that a platform sets and the method reads, besides its options; they come in ``config.ambient``."""
    takes_role: ClassVar[bool] = False
    """Whether the login asks for a role (``vault_auth_role``)."""
    keeps_token: ClassVar[bool] = True
    """Whether the token is worth keeping for the next call; not where somebody else keeps it for us."""

    config: Config

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the method with its options as they are configured."""
        return cls(config=config, **{o.key: config.settings[o.key].value for o in options_of(cls)})

    @property
    def mount(self) -> str:
        """The mount point that is logged in at, without ``auth/``."""
        return self.config.vault_auth_mount or self.default_mount

    def at_home(self) -> None:
        """Return if ``auto`` may try the method where none of its own options is set.

        :raises AuthUnavailable: when it may not, with the reason. Only a method that can tell by itself that it is at
            home, from a file or a variable that its platform provides, overrides this.
        """
        raise AuthUnavailable("only by name")

    @property
    def needs_host_cache(self) -> bool:
        """Whether what a login brings must outlive the process: it cannot be had a second time without somebody.

        Programs then keep it where the command does, in the host's cache, instead of in their own memory.
        """
        return False

    @abc.abstractmethod
    def identity(self) -> Identity:
        """Return whom a login would log in as; answers are kept apart by it. Nothing is asked of Vault.

        :raises AuthUnavailable: when there is nothing to try here, with the reason: absent is not broken, and
            ``auto`` goes on to the next method. Never raised once something was found.
        :raises ConfigurationError: when something that was configured is missing or malformed.
        """

    def watched(self) -> tuple[str, ...]:
        """Return the files whose change makes another identity, whether they exist or not.

        A proof that rotates by itself (a projected token, a certificate) is not one of them.
        """
        return ()

    @abc.abstractmethod
    def login(self, vault: Vault) -> VaultToken:
        """Log in and return the token.

        :raises AuthUnavailable: as :meth:`identity` does.
        :raises AuthenticationError: when Vault refuses.
        :raises ConfigurationError: when something that was configured is missing or malformed.
        """

    def nobody_is_logged_in(self) -> AuthenticationError:
        """Return the error of a login that needs a person where there is none."""
        return AuthenticationError(
            f"{self.config.vault_addr}/v1/auth/{self.mount}: nobody is logged in; run: {self.config.login_command}"
        )
