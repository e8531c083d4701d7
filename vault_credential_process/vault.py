"""Everything said to Vault, over hvac: log in, look up, unwrap, read, renew, revoke; refusals become our errors."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import hvac
import hvac.adapters

from vault_credential_process import answers, blotting, mfa, refusals, transport
from vault_credential_process.answers import Answer
from vault_credential_process.config import Config
from vault_credential_process.errors import PermissionDeniedError, VaultCredentialError, one_line
from vault_credential_process.expiry import Deadline
from vault_credential_process.models import AWSCredentials, Clock, Person, VaultToken, wall_clock
from vault_credential_process.refusals import RefusedError
from vault_credential_process.requester import Requester

if TYPE_CHECKING:
    from vault_credential_process.cache.base import CacheBackend

logger = logging.getLogger(__name__)


class Vault:
    """A conversation with one server, under one deadline. Use it as a context manager; it holds no token.

    ``person`` is who can be asked for a password or a code, ``None`` where nobody may be. ``cache`` is where an auth
    method may keep what only it knows (an unwrapped Secret ID, a nonce), ``None`` where nothing is kept.
    """

    def __init__(
        self,
        config: Config,
        deadline: Deadline,
        clock: Clock = wall_clock,
        *,
        person: Person | None = None,
        cache: CacheBackend | None = None,
    ) -> None:
        """Open nothing yet.

        :raises ConfigurationError: when a TLS file is missing or is not what it should be.
        """
        self.config = config
        self.deadline = deadline
        self.person = person
        self.cache = cache
        self._clock = clock
        if person is not None:
            # A request may wait for a person, too: Vault answers a login by push when it has been confirmed.
            patience = max(config.vault_client_timeout, deadline.seconds)
            config = dataclasses.replace(config, vault_client_timeout=patience)
        self._requester = Requester(config, deadline, clock)

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requester.close()

    def now(self) -> float:
        """Return the time on the clock that expiries are counted on: seconds since the epoch, UTC."""
        return self._clock()

    def login(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        mount: str,
        remedy: str,
        secrets: Sequence[str] = (),
        params: Mapping[str, str] | None = None,
    ) -> VaultToken:
        """Log in at ``auth/<mount>/…`` and return the token: by a ``POST``, or a ``GET`` where there is no body.

        ``remedy`` is what the method advises when the credentials are wrong; ``secrets`` are blotted out of
        whatever the server says. Sent again only where that cannot spend a credential twice. A second factor that
        the login wants is given on the way.

        :raises AuthenticationError: when Vault refuses.
        :raises UnreachableError: when no usable answer comes.
        """
        try:
            answer = self.ask(path, body, params=params, secrets=secrets)
        except RefusedError as error:
            raise refusals.login(error.refusal, mount=mount, remedy=remedy) from None
        return self.granted(answer, path, secrets=secrets)

    def granted(self, answer: Answer, path: str, *, secrets: Sequence[str] = ()) -> VaultToken:
        """Return the token in the answer to a login at ``path``; a second factor that it wants is given on the way.

        ``secrets`` are what was sent: a server that repeats them does not bring them into what people are shown.

        :raises AuthenticationError: when there is no token in it, or the second factor is refused.
        :raises UnreachableError: when no usable answer comes.
        """
        required = mfa.requirement(answer)
        if required is not None:
            answer = mfa.validate(self, required, path)
            path = mfa.PATH
        token = answers.login_token(answer, f"{self.config.vault_addr}/v1/{path}")
        shown = tuple(one_line(policy, secrets=(*secrets, token.value)) for policy in token.policies)
        token = dataclasses.replace(token, policies=shown)
        if answer.by_agent:
            # Others have it from the Agent's cache too, or will: who is first gets it without a sign of that.
            token = dataclasses.replace(token, external=True)
        if answer.from_cache and token.uses_left is None:
            with contextlib.suppress(PermissionDeniedError):
                token = self.look_up(token.value, origin="an Agent's cache")
        logger.debug("logged in at %s as %s token with %d policies", path, token.token_type, len(token.policies))
        return token

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        token: str | None = None,
        repeatable: bool = False,
        secrets: Sequence[str] = (),
    ) -> Answer:
        """Send what a login needs to the namespace of the login: a ``POST``, or a ``GET`` where there is no body.

        :raises RefusedError: when Vault answers with anything but success.
        :raises UnreachableError: when no usable answer comes.
        """
        return self._ask(
            "get" if body is None else "post",
            path,
            json=body,
            params=params,
            token=token,
            namespace=self.config.auth_namespace,
            repeatable=repeatable,
            secrets=secrets,
        )

    def _ask(self, method: str, path: str, *, secrets: Sequence[str], **request: Any) -> Answer:
        """Send any request; what may not be repeated stays out of the log lines that tell of its address, too."""
        with blotting.unlogged(secrets):
            return self._requester.ask(method, path, secrets=secrets, **request)

    def look_up(self, value: str | None, *, origin: str) -> VaultToken:
        """Return what Vault knows of a token that was handed in; ``None`` for the one that an Agent adds.

        This is a use of the token.

        :raises PermissionDeniedError: when Vault answers 403: the token is dead or may not look itself up.
        """
        secrets = (value,) if value is not None else ()
        try:
            answer = self.ask("auth/token/lookup-self", token=value, repeatable=True, secrets=secrets)
        except RefusedError as error:
            if error.refusal.status == 403:
                raise PermissionDeniedError(f"{error.refusal.where}: permission denied") from None
            raise refusals.token(error.refusal, origin=origin, is_agents=value is None) from None
        return answers.looked_up_token(answer, value)

    def wrapping_path(self, token: str) -> str | None:
        """Return the path whose answer a wrapping token holds; ``None`` where the token is spent or unknown.

        This does not spend the token. https://developer.hashicorp.com/vault/api-docs/system/wrapping-lookup
        """
        answer = self._of_wrapping(token, "sys/wrapping/lookup", {"token": token}, header=None, repeatable=True)
        return (
            None if answer is None else str(answers.data_of(answer, "sys/wrapping/lookup").get("creation_path") or "")
        )

    def unwrap(self, token: str) -> Mapping[str, Any] | None:
        """Spend a wrapping token; return the data that it held, ``None`` where the token is spent or unknown.

        https://developer.hashicorp.com/vault/api-docs/system/wrapping-unwrap
        """
        answer = self._of_wrapping(token, "sys/wrapping/unwrap", {}, header=token, repeatable=False)
        return None if answer is None else answers.data_of(answer, "sys/wrapping/unwrap")

    def _of_wrapping(
        self, token: str, path: str, body: Mapping[str, Any], *, header: str | None, repeatable: bool
    ) -> Answer | None:
        """Ask about a wrapping token. In the header it serves once, whatever is asked; in the body it is not spent."""
        try:
            return self.ask(path, body, token=header, repeatable=repeatable, secrets=(token,))
        except RefusedError as error:
            if error.refusal.status == 400 and "wrapping token" in error.refusal.text:
                return None
            raise refusals.general(error.refusal) or error from None

    def read_credentials(
        self, token: VaultToken, *, mfa_code: str | None = None, known_type: str | None = None
    ) -> AWSCredentials:
        """Read the AWS credentials that the configuration names.

        A read may create an IAM user, so it is sent again after an ambiguous failure only where an earlier
        answer (``known_type``) told that this role's credentials come from STS. It is a ``GET`` with ``mfa_code`` in
        its address: for a ``POST`` a policy would need ``update``, and most say ``read``.

        :raises ConfigurationError: for a role, mount or parameter that is not right.
        :raises PermissionDeniedError: when no policy of the token allows the path.
        :raises UnreachableError: when no usable answer comes.
        """
        config = self.config
        parameters = {
            "role_arn": config.vault_aws_role_arn,
            "role_session_name": config.vault_aws_role_session_name,
            "ttl": f"{config.vault_aws_ttl:.0f}s" if config.vault_aws_ttl else None,
            "mfa_code": mfa_code,
        }
        static = config.vault_aws_endpoint == "static-creds"
        try:
            answer = self._ask(
                "get",
                config.aws_path,
                token=token.value,
                namespace=config.vault_namespace,
                params={name: value for name, value in parameters.items() if value is not None},
                repeatable=static or known_type == "sts",
                secrets=(*_secrets(token), *filter(None, (mfa_code,))),
            )
        except RefusedError as error:
            raise refusals.read(error.refusal, config=config, token=token) from None
        try:
            credentials = answers.aws_credentials(
                self._up_to_date(token, answer),
                f"{config.vault_addr}/v1/{config.aws_path}",
                token=token,
                static=static,
                static_interval=config.vault_aws_static_interval,
            )
        except VaultCredentialError:
            self._give_back(token, answer)
            raise
        logger.debug("read %s: %s, %.0f s to live", config.aws_path, credentials.credential_type, credentials.life)
        return credentials

    def _up_to_date(self, token: VaultToken, answer: Answer) -> Answer:
        """Return an answer from the cache of an Agent, who renews the lease meanwhile, with what is left of it.

        Where the lease may not be looked up, its age tells how long it lives at least.
        """
        lease_id = answers.lease_in_cache(answer)
        if lease_id is None or token.uses_left is not None:
            return answer
        where, path = f"{self.config.vault_addr}/v1/{self.config.aws_path}", "sys/leases/lookup"
        body, namespace = {"lease_id": lease_id}, self.config.vault_namespace
        try:
            lease = self._ask("post", path, token=token.value, json=body, namespace=namespace, secrets=_secrets(token))
        except RefusedError as error:
            if error.refusal.status == 400 and "invalid lease" in error.refusal.text:
                raise answers.had_ended(where) from None
            logger.debug("the lease was not looked up: %s", error)
            return answer
        return answers.with_lease_left(answer, lease, where)

    def display_name(self, token: VaultToken) -> str | None:
        """Return the name that Vault has for the holder of a token; ``None`` where it does not tell.

        A token of limited uses is not asked about: that is a use.
        """
        if token.value is None or token.uses_left is not None:
            return None
        path, secrets = "auth/token/lookup-self", _secrets(token)
        try:
            data = answers.data_of(self.ask(path, token=token.value, repeatable=True, secrets=secrets), path)
        except VaultCredentialError as error:
            logger.debug("whose token it is was not told: %s", error)
            return None
        name = data.get("display_name")
        return (one_line(name, secrets=secrets, limit=80) or None) if isinstance(name, str) else None

    def renew_token(self, token: VaultToken) -> VaultToken:
        """Return a token with its life extended, as far as its maximum allows.

        :raises PermissionDeniedError: when Vault answers 403: the token is dead or may not renew itself.
        :raises RefusedError: when Vault refuses otherwise: a batch token, say.
        :raises VaultCredentialError: when Vault is away.
        """
        path = "auth/token/renew-self"
        answer = self._renew(token, path, {}, self.config.auth_namespace)
        renewed = answers.login_token(answer, f"{self.config.vault_addr}/v1/{path}")
        # In the last second of its maximum the answer says 0, which means "for ever" only of a token without an end.
        return dataclasses.replace(renewed, external=token.external, expiry=renewed.expiry or token.expiry)

    def renew_lease(self, token: VaultToken, lease_id: str) -> tuple[float, float]:
        """Extend a lease; return when that was asked for and the seconds it lives from then on.

        :raises PermissionDeniedError: when Vault answers 403: the token is dead or may not renew leases.
        :raises RefusedError: when Vault refuses otherwise: the lease is gone, say.
        :raises VaultCredentialError: when Vault is away.
        """
        answer = self._renew(token, "sys/leases/renew", {"lease_id": lease_id}, self.config.vault_namespace)
        return answer.asked_at, answers.lease_duration(answer)

    def _renew(self, token: VaultToken, path: str, body: Mapping[str, Any], namespace: str | None) -> Answer:
        try:
            return self._ask("post", path, token=token.value, json=body, namespace=namespace, secrets=_secrets(token))
        except RefusedError as error:
            if error.refusal.status == 403 and error.refusal.errors is not None:
                raise PermissionDeniedError(f"{error.refusal.where}: permission denied") from None
            raise refusals.general(error.refusal) or error from None

    def revoke_token(self, token: VaultToken) -> None:
        """End a token of ours. This ends its ``iam_user`` leases too; STS credentials live on.

        :raises PermissionDeniedError: when Vault answers 403: the token is dead or may not revoke itself.
        :raises UnreachableError: when Vault refuses otherwise or does not answer.
        """
        try:
            self._ask(
                "post",
                "auth/token/revoke-self",
                token=token.value,
                namespace=self.config.auth_namespace,
                secrets=_secrets(token),
            )
        except RefusedError as error:
            if error.refusal.status == 403 and error.refusal.errors is not None:
                raise PermissionDeniedError(
                    f"{error.refusal.where}: permission denied: the token may not revoke itself, so nothing was "
                    'forgotten; add: path "auth/token/revoke-self" { capabilities = ["update"] }'
                ) from None
            raised = refusals.general(error.refusal) or error
            raised.undone = error.undone
            raise raised from None

    def revoke_lease(self, token: VaultToken, lease_id: str) -> None:
        """End a lease. Few policies allow it (``default`` does not)."""
        self._ask(
            "post",
            "sys/leases/revoke",
            token=token.value,
            json={"lease_id": lease_id},
            namespace=self.config.vault_namespace,
            secrets=_secrets(token),
        )

    def _give_back(self, token: VaultToken, answer: Answer) -> None:
        """End the lease of an answer that cannot be used, where the policy allows it: it may be an IAM user.

        Not one that is an Agent's, or that others have from its cache too.
        """
        lease_id = answers.text_of(answer.body.get("lease_id"))
        if lease_id and token.value is not None and not answer.from_cache:
            try:
                self.revoke_lease(token, lease_id)
            except VaultCredentialError as error:
                logger.warning("lease %s was left behind: %s", one_line(lease_id, secrets=_secrets(token)), error)


def connected_client(
    config: Config, adapter: type[hvac.adapters.Adapter], *, client: type[hvac.Client] = hvac.Client
) -> hvac.Client:
    """Return an hvac client over our wire, for a caller of his own; ``adapter`` tells where its token comes from."""
    return client(
        url=transport.base_url(config),
        token="",
        session=transport.open_session(config, None),
        adapter=adapter,
        namespace=config.auth_namespace,
        allow_redirects=False,
        timeout=config.vault_client_timeout,
    )


def _secrets(token: VaultToken) -> tuple[str, ...]:
    """Return what must not be repeated; an Agent's token is not ours to know."""
    return () if token.value is None else (token.value,)
