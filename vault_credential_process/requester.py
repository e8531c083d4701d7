"""Requests to one server under one deadline: tries, redirects, and what makes an answer or a refusal of a response.

hvac carries the token, namespace and paths. It neither retries nor tells a status, so both are added around it here,
on the wire of :mod:`~vault_credential_process.transport`.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import itertools
import json
import logging
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import hvac
import hvac.adapters
import requests

from vault_credential_process import failures, retries, transport
from vault_credential_process.answers import Answer
from vault_credential_process.config import Config
from vault_credential_process.errors import DeadlineError, UnreachableError, VaultCredentialError, one_line
from vault_credential_process.expiry import HUNDRED_YEARS, Deadline
from vault_credential_process.models import Clock, origin_of, set_back
from vault_credential_process.refusals import Refusal, RefusedError
from vault_credential_process.retries import Failure

logger = logging.getLogger(__name__)

RETRY_WAIT = 1.0
"""Seconds before the first new try, half as much again at random, twice that before the second: as Go's client."""

_REDIRECTS = (301, 302, 307, 308)

_KEYS = {
    *("errors", "data", "warnings", "request_id", "auth", "wrap_info"),
    *("lease_id", "lease_duration", "renewable", "mount_type"),
}
"""What stands in a refusal of Vault's (``RespondErrorAndData`` in ``sdk/logical/response_util.go``) or any answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, as often as need be."""

    method: str
    path: str
    token: str | None = dataclasses.field(repr=False)
    namespace: str | None
    json: Mapping[str, Any] | None = dataclasses.field(repr=False)
    params: Mapping[str, str] | None = dataclasses.field(repr=False)
    secrets: Sequence[str] = dataclasses.field(repr=False)

    @property
    def what(self) -> str:
        """Its name in messages."""
        return f"{self.method.upper()} {self.path}"


class Requester:
    """Sends requests to one server. It holds no token."""

    def __init__(self, config: Config, deadline: Deadline, clock: Clock) -> None:
        """Open nothing yet.

        :raises ConfigurationError: when a TLS file is missing or is not what it should be.
        """
        self.config = config
        self.deadline = deadline
        self._clock = clock
        self._session = transport.open_session(config, deadline)

    def close(self) -> None:
        """Close what connections there are."""
        self._session.close()

    def ask(
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

        An error tells in ``undone`` whether it is certain, after all tries, that nothing was done.

        :raises RefusedError: when Vault answers with anything but success.
        :raises UnreachableError: when no usable answer comes.
        """
        request = _Request(method, path, token, namespace, json, params, secrets)
        seen: list[Failure] = []
        try:
            return self._tried(request, repeatable, seen)
        except VaultCredentialError as error:
            error.undone = all(failure.value.undone for failure in seen)
            raise

    def _tried(self, request: _Request, repeatable: bool, seen: list[Failure]) -> Answer:
        """Return the answer of the first try that succeeds; add to ``seen`` what became of the others."""
        what = request.what
        for attempt in itertools.count(1):
            origin, asked_at = origin_of(self._clock), self._clock()
            try:
                response = self._send(request)
                logger.debug("%s: try %d: HTTP %d", what, attempt, response.status_code)
                # By the clock as it is now: where it was set back meanwhile, every end would be stated too late.
                back = set_back(self._clock, origin)
                return dataclasses.replace(self._answer(response, request, asked_at - back), set_back=back)
            except (requests.RequestException, UnreachableError) as error:
                failure = retries.failure_of(error)
                seen.append(failure)
                logger.debug("%s: try %d: %s", what, attempt, failure.name.lower().replace("_", " "))
                told = error.refusal.wait if isinstance(error, RefusedError) and failure.value.told else 0.0
                wait = retries.wait(attempt, RETRY_WAIT, told)
                if not failure.value.again(repeatable) or self._is_last(attempt, wait, what):
                    if isinstance(error, UnreachableError):
                        raise
                    raise failures.explain(error, self.config, what) from None
            except DeadlineError as error:
                # Where the deadline cut a request short it is raised in the handling of that.
                if isinstance(error.__context__, requests.RequestException):
                    seen.append(retries.failure_of(error.__context__))
                raise
            self.deadline.sleep(wait, what)
        raise AssertionError("unreachable: the last try returns or raises")

    def _answer(self, response: requests.Response, request: _Request, asked_at: float) -> Answer:
        if response.status_code >= 300:
            raise RefusedError(_refusal(response, self.config, request, asked_at))
        body, age = _body(response, self.config, request.secrets), _age(response)
        cache = response.headers.get("X-Cache", "").upper()
        from_cache = age > 0 or cache == "HIT"
        return Answer(body, asked_at, age, from_cache=from_cache, by_agent=from_cache or bool(cache))

    def _is_last(self, attempt: int, wait: float, what: str) -> bool:
        """Tell whether the tries are used up, or the next would be too late: then the caller hears of this failure."""
        return attempt > self.config.vault_max_retries or wait >= self.deadline.remaining(what)

    def _send(self, request: _Request) -> requests.Response:
        """Send a request once, following one redirect where a standby may send it."""
        base = transport.base_url(self.config)
        for hop in (1, 2):
            adapter = hvac.adapters.RawAdapter(
                base_uri=base,
                token=request.token,
                namespace=request.namespace,
                session=self._session,
                allow_redirects=False,
            )
            keywords: dict[str, Any] = {} if request.json is None else {"json": dict(request.json)}
            if request.params:
                keywords["params"] = dict(request.params)
            try:
                response: requests.Response = adapter.request(
                    request.method, f"/v1/{request.path}", raise_exception=False, **keywords
                )
            except requests.RequestException as error:
                failure = retries.failure_of(error)
                if hop == 1 or failure not in (Failure.NOT_CONNECTED, Failure.PROXY, Failure.UNSENDABLE):
                    raise
                named = one_line(base, secrets=request.secrets, limit=80)
                if failure is Failure.UNSENDABLE:
                    raise UnreachableError(
                        f"{self.config.vault_addr}: redirected to {named}, which is not an address; mend the api_addr "
                        "of the active node"
                    ) from None
                explained = UnreachableError(
                    f"{self.config.vault_addr}: a standby that names {named} as the active node, which cannot be "
                    "reached; check the cluster, and that node's api_addr"
                )
                raise failures.NodeAwayError(explained) from None
            if response.status_code not in _REDIRECTS:
                return response
            if hop == 1:
                base = self._redirected(response, request)
        named = one_line(base, secrets=request.secrets, limit=80)
        raise UnreachableError(
            f"{self.config.vault_addr}: redirected a second time, from {named}; "
            "point vault_addr at the active node, or mend its api_addr"
        )

    def _redirected(self, response: requests.Response, request: _Request) -> str:
        """Return the base address of the node that a standby names.

        The token goes along, so the hop must not leave TLS, and without TLS not leave the host.
        """
        here = urllib.parse.urlsplit(response.url)
        try:
            there = urllib.parse.urlsplit(urllib.parse.urljoin(response.url, response.headers.get("Location", "")))
            is_place = bool(there.hostname) and there.port != 0 and "@" not in there.netloc
        except ValueError:
            there, is_place = urllib.parse.urlsplit(""), False
        # A standby writes the path anew, with other characters escaped than we do; what is sent there is ours again.
        whole, own = urllib.parse.unquote(there.path), urllib.parse.unquote(f"/v1/{request.path}")
        allowed = there.scheme == "https" or (there.scheme == here.scheme == "http" and there.hostname == here.hostname)
        if not is_place or not allowed or not whole.endswith(own):
            target = one_line(f"{there.scheme or '?'}://{there.hostname or '?'}", secrets=request.secrets, limit=80)
            raise UnreachableError(
                f"{self.config.vault_addr}: redirected to {target}, where the "
                "token must not go; point vault_addr at the active node, or mend its api_addr"
            )
        base = f"{there.scheme}://{there.netloc}{urllib.parse.quote(whole.removesuffix(own))}"
        logger.debug("redirected to %s", one_line(base, secrets=request.secrets, limit=80))
        return base


def _refusal(response: requests.Response, config: Config, request: _Request, asked_at: float) -> Refusal:
    errors = _errors(response)
    if errors is None and b"HTTP request to an HTTPS server" in response.content:
        errors = ("HTTP request to an HTTPS server",)
    wait = _retry_after(response, asked_at)
    return Refusal(config.vault_addr, request.path, response.status_code, errors, tuple(request.secrets), wait)


def _errors(response: requests.Response) -> tuple[str, ...] | None:
    """Return the texts of a refusal, ``None`` where it is not Vault's: gateways write ``errors`` too (JSON:API)."""
    body = _json(response)
    if not isinstance(body, Mapping) or not body.keys() <= _KEYS:
        return None
    errors = body.get("errors")
    if not isinstance(errors, list) or not all(isinstance(text, str) for text in errors):
        return None
    # Vault lists none where there is nothing to be found; whatever else goes wrong, it says what.
    return tuple(errors) if errors or response.status_code < 500 else None


def _json(response: requests.Response) -> Any:
    """Return the body as JSON, ``None`` where it is none; requests would guess at encodings first."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _body(response: requests.Response, config: Config, secrets: Sequence[str]) -> Mapping[str, Any]:
    if response.status_code == 204:
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


def _retry_after(response: requests.Response, asked_at: float) -> float:
    """Return the seconds that ``Retry-After`` asks for, as a number or a date; 0 where there is neither.

    A date counts from the ``Date`` of the answer: the two clocks may differ.
    """
    wait = response.headers.get("Retry-After", "").strip()
    if wait.isascii() and wait.isdigit():
        return float(wait)
    moment = http_date(wait)
    if moment is None:
        return 0.0
    return max(moment - (http_date(response.headers.get("Date", "")) or asked_at), 0.0)


def http_date(text: str) -> float | None:
    """Return the date of an HTTP header as seconds since the epoch; ``None`` where it is none.

    One that says -0000, or nothing, has no zone to Python; HTTP's are all of Greenwich (RFC 9110, 5.6.7).
    """
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)).timestamp()
