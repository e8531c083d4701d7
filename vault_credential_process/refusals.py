"""What a bad answer of Vault means: status and text turned into an error that says what to do. Pure functions.

Vault answers 403 for an auth mount that does not exist, 400 for a role that does not, and says everything else
in words; these are the words of OpenBao 2.x and Vault 1.x, each of them met on a real server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vault_credential_process.config import Config
from vault_credential_process.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    SealedError,
    UnreachableError,
    VaultCredentialError,
    one_line,
)
from vault_credential_process.models import VaultToken

_AWS_FAILURES = (
    "error assuming role:",
    "error generating sts keys:",
    "error creating iam user:",
    "error creating access keys:",
    "error attaching user policy:",
    "error putting user policy:",
    "error adding user to group:",
    "error tagging iam user:",
)
"""How the engine's 400 begins when AWS, not Vault, was what failed (``builtin/logical/aws/secret_access_keys.go``)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not a success: where it came from, its status, and the texts in its ``errors``.

    ``errors`` is ``None`` when the body was not Vault's JSON: then a gateway spoke, not Vault. It is as the server
    wrote it, what was sent to it included; :attr:`text` is what may be shown. ``wait`` is for how many seconds the
    server wants to be left alone.
    """

    address: str
    path: str
    status: int
    errors: tuple[str, ...] | None = dataclasses.field(repr=False)
    secrets: Sequence[str] = dataclasses.field(default=(), repr=False)
    wait: float = 0.0

    @property
    def text(self) -> str:
        """The server's words on one line, without the secrets that were sent."""
        return one_line("; ".join(self.errors or ()), secrets=self.secrets)

    @property
    def where(self) -> str:
        """The full address of the request."""
        return f"{self.address}/v1/{self.path}"


class RefusedError(UnreachableError):
    """A refusal on its way to the code that knows what was asked for; never seen by a caller of ours."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.where}: HTTP {refusal.status} {refusal.text}")
        self.refusal = refusal


_STANDBY = (
    "active cluster node not found",
    "node is not active",
    "no active vault instance found",
    "vault is in standby mode",
)
"""What a standby says that has nobody to hand a request on to (``http/handler.go``, ``sdk/helper/consts``)."""


def general(refusal: Refusal) -> VaultCredentialError | None:
    """Return the error where the refusal has nothing to do with what was asked for; ``None`` where it has."""
    text, status = refusal.text.lower(), refusal.status
    if status >= 500 and "vault is sealed" in text:
        return SealedError(f"{refusal.where}: Vault is sealed; unseal it, or point vault_addr at a node that is not")
    if status == 501 or "not initialized" in text:
        return SealedError(f"{refusal.where}: Vault is not initialized; run vault operator init")
    if status == 429:
        said = refusal.text or "no reason given"
        return UnreachableError(f"{refusal.where}: too many requests: {said}; wait, or raise the quota")
    if status >= 500 and any(words in text for words in _STANDBY):
        return UnreachableError(f"{refusal.where}: a standby that finds no active node; check the cluster")
    if status == 472 or "disabled in replication dr secondary mode" in text:
        return UnreachableError(
            f"{refusal.where}: a DR secondary, which serves nobody; point vault_addr at the primary cluster"
        )
    if status == 473 or "please forward to the active node" in text:
        return UnreachableError(
            f"{refusal.where}: a performance standby that hands nothing on; point vault_addr at the active node"
        )
    if "http request to an https server" in text:
        return UnreachableError(f"{refusal.where}: the server speaks TLS there; write https:// in vault_addr")
    if "namespace not found" in text or "namespace_not_found" in text:
        return ConfigurationError(f"{refusal.where}: no such namespace; check vault_namespace and vault_auth_namespace")
    if status == 407:
        return UnreachableError(
            f"{refusal.where}: the proxy wants a password; write http://user:password@host in HTTP_PROXY"
        )
    if refusal.errors is None:
        return UnreachableError(
            f"{refusal.where}: HTTP {status} in words that are not Vault's: a proxy or another server answered; "
            "check vault_addr"
        )
    if status >= 500 or status in (408, 412, 425):
        said = refusal.text or "no reason given"
        return UnreachableError(f"{refusal.where}: HTTP {status}: {said}; see Vault's log, then try again")
    return None


def login(refusal: Refusal, *, mount: str, remedy: str) -> VaultCredentialError:
    """Return the error of a refused login. ``remedy`` is the method's own advice for wrong credentials."""
    error = general(refusal)
    if error is not None:
        return error
    said = refusal.text or f"HTTP {refusal.status}"
    if refusal.status == 403 and ("permission denied" in said.lower() or not refusal.text):
        return AuthenticationError(
            f"{refusal.where}: login refused: {said}; either no auth method is mounted at {mount} (Vault answers 403 "
            f"for that; check vault_auth_mount and vault_auth_namespace), or {remedy}"
        )
    if refusal.status == 404:
        return ConfigurationError(
            f"{refusal.where}: no auth method there: {said}; check vault_auth_mount and vault_auth_namespace"
        )
    if "could not load configuration" in said.lower():
        return ConfigurationError(f"{refusal.where}: {said}; write auth/{mount}/config in Vault")
    return AuthenticationError(f"{refusal.where}: login refused: {said}; {remedy}")


def token(refusal: Refusal, *, origin: str, is_agents: bool = False) -> VaultCredentialError:
    """Return the error for a token that Vault does not know; ``is_agents`` where an Agent was to add one."""
    error = general(refusal)
    if error is not None:
        return error
    if is_agents:
        said = refusal.text or f"HTTP {refusal.status}"
        return AuthenticationError(
            f"{refusal.where}: the Agent added no token that Vault takes: {said}; see the Agent's log for its auto-auth"
        )
    return AuthenticationError(
        f"{refusal.where}: the token from {origin} is unknown, revoked or expired ({refusal.text}); get a new one"
    )


def read(refusal: Refusal, *, config: Config, token: VaultToken) -> VaultCredentialError:
    """Return the error for AWS credentials that could not be read."""
    error = general(refusal)
    if error is not None:
        return error
    text, status = refusal.text.lower(), refusal.status
    role, mount = config.vault_aws_role, config.vault_aws_mount
    if status == 403:
        return _denied(refusal, config=config, token=token)
    if "no handler for route" in text or "unsupported path" in text or status == 405:
        namespace = f" in namespace {config.vault_namespace}" if config.vault_namespace else ""
        return ConfigurationError(
            f"{refusal.where}: no AWS secrets engine at mount {mount!r}{namespace}; "
            f"check vault_aws_mount, vault_aws_endpoint and vault_namespace"
        )
    if status == 404 or ("role" in text and "not found" in text):
        kind = "static-roles" if config.vault_aws_endpoint == "static-creds" else "roles"
        return ConfigurationError(
            f"{refusal.where}: no role {role!r} at mount {mount!r}; check vault_aws_role (vault list {mount}/{kind})"
        )
    if "one use left" in text:
        return AuthenticationError(
            f"{refusal.where}: the token had one use left, so Vault kept the credentials back; "
            "give tokens no token_num_uses, or more of them"
        )
    if "did not supply a role_arn" in text:
        return ConfigurationError(
            f"{refusal.where}: role {role!r} lists several AWS roles; choose with vault_aws_role_arn"
        )
    if "not in allowed role arns" in text:
        return ConfigurationError(
            f"{refusal.where}: role {role!r} does not list {config.vault_aws_role_arn}; check vault_aws_role_arn"
        )
    if "maxsessionduration" in text or ("durationseconds" in text and "less than or equal to" in text):
        return ConfigurationError(
            f"{refusal.where}: AWS allows the role no life as long as that; lower vault_aws_ttl, or the lives that "
            f"role {role!r} gives"
        )
    if "durationseconds" in text:
        return ConfigurationError(
            f"{refusal.where}: STS gives no less than 900 s; set vault_aws_ttl to 15m or more, or leave it out"
        )
    said = refusal.text or f"HTTP {status}"
    if text.startswith(_AWS_FAILURES):
        return UnreachableError(
            f"{refusal.where}: AWS did not give Vault what it asked for: {said}; "
            f"check what {mount}/config/root may do, and what role {role!r} asks for"
        )
    return ConfigurationError(f"{refusal.where}: Vault refused: {said}; check the settings of role {role!r}")


def _denied(refusal: Refusal, *, config: Config, token: VaultToken) -> VaultCredentialError:
    if token.value is None and not token.looked_up:
        return AuthenticationError(
            f"{refusal.where}: permission denied, and the Agent's token may not look itself up: the Agent is not "
            f"logged in, or its token has no policy for {config.aws_path}; see the Agent's log for its auto-auth, or "
            "allow the path"
        )
    if not token.expiry_known:
        return AuthenticationError(
            f"{refusal.where}: permission denied, and the token may not look itself up: it is dead, or has no policy "
            f"for {config.aws_path}; get a new token, or allow the path"
        )
    policies = one_line(", ".join(token.policies) or "none", secrets=(token.value,))
    return PermissionDeniedError(
        f"{refusal.where}: permission denied: the token has no policy for {config.aws_path} "
        f"(its policies: {policies}); "
        f'check vault_aws_role and vault_aws_mount, or add: path "{config.aws_path}" {{ capabilities = ["read"] }}'
    )
