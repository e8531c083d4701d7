"""Everything said to Vault, over hvac: log in, look up, read, renew, revoke; refusals become our errors.

hvac carries the token, namespace and paths. It neither retries nor tells a status, so both are added around it
here, after the wire of :mod:`~vault_credential_process.transport`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import random
import urllib.parse
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import hvac
import hvac.adapters
import requests

from vault_credential_process import answers, failures, refusals, transport
from vault_credential_process.answers import Answer
from vault_credential_process.config import Config
from vault_credential_process.errors import PermissionDeniedError, UnreachableError, VaultCredentialError, one_line
from vault_credential_process.expiry import HUNDRED_YEARS, Deadline
from vault_credential_process.models import AWSCredentials, Clock, VaultToken, wall_clock
from vault_credential_process.refusals import Refusal, RefusedError

logger = logging.getLogger(__name__)

RETRY_WAIT = 1.0
"""Seconds before the first new try, half as much again at random; Go's client waits 1 to 1.5 s."""

_REDIRECTS = (301, 302, 307, 308)


class Vault:
    """A conversation with one server, under one deadline. Use it as a context manager; it holds no token."""

    def __init__(self, config: Config, deadline: Deadline, clock: Clock = wall_clock) -> None:
        """Open nothing yet.

        :raises ConfigurationError: when a TLS file is missing or is not what it should be.
        """
        self.config = config
        self.deadline = deadline
        self._clock = clock
        self._session = transport.open_session(config, deadline)

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def now(self) -> float:
        """Return the time on the clock that expiries are counted on: seconds since the epoch, UTC."""
        return self._clock()

    def login(
        self, path: str, body: Mapping[str, Any], *, mount: str, remedy: str, secrets: Sequence[str] = ()
    ) -> VaultToken:
        """Log in by a ``POST`` to ``auth/<mount>/…`` and return the token.

        ``remedy`` is what the method advises when the credentials are wrong; ``secrets`` are blotted out of
        whatever the server says. Sent again only where that cannot spend a credential twice.

        :raises AuthenticationError: when Vault refuses.
        :raises UnreachableError: when no usable answer comes.
        """
        try:
            answer = self._ask(
                "post", path, json=dict(body), namespace=self.config.auth_namespace, repeatable=False, secrets=secrets
            )
        except RefusedError as error:
            raise refusals.login(error.refusal, mount=mount, remedy=remedy) from None
        token = answers.login_token(answer, f"{self.config.vault_addr}/v1/{path}")
        logger.debug("logged in at %s as %s token, policies %s", path, token.token_type, ", ".join(token.policies))
        return token

    def look_up(self, value: str, *, origin: str) -> VaultToken:
        """Return what Vault knows of a token that was handed in. This is a use of the token.

        :raises PermissionDeniedError: when Vault answers 403: the token is dead or may not look itself up.
        """
        try:
            answer = self._ask(
                "get",
                "auth/token/lookup-self",
                token=value,
                namespace=self.config.auth_namespace,
                secrets=(value,),
            )
        except RefusedError as error:
            if error.refusal.status == 403:
                raise PermissionDeniedError(f"{error.refusal.where}: permission denied") from None
            raise refusals.token(error.refusal, origin=origin) from None
        return answers.looked_up_token(answer, value)

    def read_credentials(
        self, token: VaultToken, *, mfa_code: str | None = None, known_type: str | None = None
    ) -> AWSCredentials:
        """Read the AWS credentials that the configuration names.

        A read may create an IAM user, so it is sent again after an ambiguous failure only where an earlier
        answer (``known_type``) told that this role's credentials come from STS.

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
                secrets=(token.value,),
            )
        except RefusedError as error:
            raise refusals.read(error.refusal, config=config, token=token) from None
        try:
            credentials = answers.aws_credentials(
                answer,
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
            return self._ask("post", path, token=token.value, json=body, namespace=namespace, secrets=(token.value,))
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
                secrets=(token.value,),
            )
        except RefusedError as error:
            if error.refusal.status == 403 and error.refusal.errors is not None:
                raise PermissionDeniedError(
                    f"{error.refusal.where}: permission denied: the token may not revoke itself, so nothing was "
                    'forgotten; add: path "auth/token/revoke-self" { capabilities = ["update"] }'
                ) from None
            raise refusals.general(error.refusal) or error from None

    def revoke_lease(self, token: VaultToken, lease_id: str) -> None:
        """End a lease. Few policies allow it (``default`` does not)."""
        self._ask(
            "post",
            "sys/leases/revoke",
            token=token.value,
            json={"lease_id": lease_id},
            namespace=self.config.vault_namespace,
            secrets=(token.value,),
        )

    def _give_back(self, token: VaultToken, answer: Answer) -> None:
        """End the lease of an answer that cannot be used, where the policy allows it: it may be an IAM user."""
        lease_id = answer.body.get("lease_id")
        if lease_id:
            try:
                self.revoke_lease(token, str(lease_id))
            except VaultCredentialError as error:
                logger.warning("lease %s was left behind: %s", lease_id, error)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        namespace: str | None = None,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
        secrets: Sequence[str] = (),
    ) -> Answer:
        """Send a request until it succeeds, may not be sent again, or the tries or the time run out.

        :raises RefusedError: when Vault answers with anything but success.
        :raises UnreachableError: when no usable answer comes.
        """
        what = f"{method.upper()} {path}"
        for attempt in itertools.count(1):
            asked_at = self._clock()
            wait = RETRY_WAIT * (1 + random.random() / 2)  # noqa: S311 - jitter, not a secret
            try:
                response = self._send(
                    method, path, token=token, namespace=namespace, json=json, params=params, secrets=secrets
                )
            except requests.RequestException as error:
                logger.debug("%s: try %d: %s", what, attempt, type(error).__name__)
                again = repeatable or not failures.was_sent(error)
                if not again or isinstance(error, requests.exceptions.SSLError) or self._is_last(attempt, wait, what):
                    raise failures.explain(error, self.config, what) from None
            else:
                logger.debug("%s: try %d: HTTP %d", what, attempt, response.status_code)
                if response.status_code < 300:
                    return Answer(_body(response, self.config, secrets), asked_at, _age(response))
                refusal = _refusal(response, self.config, path, secrets)
                wait = max(wait, _retry_after(response))
                if not _may_repeat(refusal, repeatable) or self._is_last(attempt, wait, what):
                    raise RefusedError(refusal)
            self.deadline.sleep(wait, what)
        raise AssertionError("unreachable: the last try returns or raises")

    def _is_last(self, attempt: int, wait: float, what: str) -> bool:
        """Tell whether the tries are used up, or the next would be too late: then the caller hears of this failure."""
        return attempt > self.config.vault_max_retries or wait >= self.deadline.remaining(what)

    def _send(
        self,
        method: str,
        path: str,
        *,
        token: str | None,
        namespace: str | None,
        json: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
        secrets: Sequence[str],
    ) -> requests.Response:
        """Send a request once, following one redirect where a standby may send it."""
        base = transport.base_url(self.config)
        for hop in (1, 2):
            adapter = hvac.adapters.RawAdapter(
                base_uri=base, token=token, namespace=namespace, session=self._session, allow_redirects=False
            )
            keywords: dict[str, Any] = {} if json is None else {"json": dict(json)}
            if params:
                keywords["params"] = dict(params)
            response: requests.Response = adapter.request(method, f"/v1/{path}", raise_exception=False, **keywords)
            if response.status_code not in _REDIRECTS:
                return response
            if hop == 1:
                base = self._redirected(response, path, secrets)
        raise UnreachableError(
            f"{self.config.vault_addr}: redirected a second time, from {one_line(base, secrets=secrets, limit=80)}; "
            "point vault_addr at the active node, or mend its api_addr"
        )

    def _redirected(self, response: requests.Response, path: str, secrets: Sequence[str]) -> str:
        """Return the base address of the node that a standby names.

        The token goes along, so the hop must not leave TLS, and without TLS not leave the host.
        """
        here = urllib.parse.urlsplit(response.url)
        try:
            there = urllib.parse.urlsplit(urllib.parse.urljoin(response.url, response.headers.get("Location", "")))
        except ValueError:
            there = urllib.parse.urlsplit("")
        base, found, _ = f"{there.scheme}://{there.netloc}{there.path}".partition(f"/v1/{path}")
        allowed = there.scheme == "https" or (there.scheme == here.scheme and there.hostname == here.hostname)
        if not found or not allowed or there.scheme not in ("http", "https"):
            target = one_line(f"{there.scheme or '?'}://{there.hostname or '?'}", secrets=secrets, limit=80)
            raise UnreachableError(
                f"{self.config.vault_addr}: redirected to {target}, where the "
                "token must not go; point vault_addr at the active node, or mend its api_addr"
            )
        logger.debug("redirected to %s", base)
        return base


def connected_client(config: Config, adapter: type[hvac.adapters.Adapter]) -> hvac.Client:
    """Return an hvac client over our wire, for a caller of his own; ``adapter`` tells where its token comes from."""
    return hvac.Client(
        url=transport.base_url(config),
        token="",
        session=transport.open_session(config, None),
        adapter=adapter,
        namespace=config.auth_namespace,
        allow_redirects=False,
        timeout=config.vault_client_timeout,
    )


def _may_repeat(refusal: Refusal, repeatable: bool) -> bool:
    """Tell whether a refused request may be sent again: 412 and 429 always, Vault's own 502 and 503 too.

    After a 500, a 504 or a gateway's page, what was asked for may have been done: only a request that can be
    repeated without harm is. A sealed server stays sealed until somebody comes.
    """
    if refusal.status in (412, 429):
        return True
    if refusal.status < 500 or refusal.status == 501 or "sealed" in refusal.text:
        return False
    return repeatable or (refusal.status in (502, 503) and refusal.errors is not None)


def _refusal(response: requests.Response, config: Config, path: str, secrets: Sequence[str]) -> Refusal:
    errors: tuple[str, ...] | None = None
    body = _json(response)
    if b"HTTP request to an HTTPS server" in response.content:
        errors = ("HTTP request to an HTTPS server",)
    if isinstance(body, Mapping) and isinstance(body.get("errors"), list):
        errors = tuple(str(text) for text in body["errors"])
    return Refusal(config.vault_addr, path, response.status_code, errors, tuple(secrets))


def _json(response: requests.Response) -> Any:
    """Return the body as JSON, ``None`` where it is none; requests would guess at encodings first."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _body(response: requests.Response, config: Config, secrets: Sequence[str]) -> Mapping[str, Any]:
    if response.status_code == 204 or not response.content:
        return {}
    body = _json(response)
    if not isinstance(body, Mapping):
        said = response.headers.get("Content-Type", "no content type").split(";")[0]
        kind = one_line(said, secrets=secrets, limit=80)
        raise UnreachableError(
            f"{config.vault_addr}: the answer is not Vault's JSON ({kind}): a proxy or another server answered; "
            "check vault_addr"
        )
    return body


def _age(response: requests.Response) -> float:
    """Return the seconds that an answer has lain in the cache of a Vault Agent or Proxy (its ``Age`` header)."""
    age = response.headers.get("Age", "")
    return min(float(age), HUNDRED_YEARS) if age.isascii() and age.isdigit() else 0.0


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that ``Retry-After`` asks for; 0 where it is absent or a date."""
    wait = response.headers.get("Retry-After", "")
    return float(wait) if wait.isascii() and wait.isdigit() else 0.0
