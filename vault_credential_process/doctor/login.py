"""The login: which auth method, why not another, and what the token is that it gives.

A token that is kept and lives is used; otherwise this logs in as ``get`` does, and keeps the token for it. A wrapping
token is never spent here: it serves once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vault_credential_process import auth, cache, refusals, sources
from vault_credential_process.auth import AuthMethod, keepsakes
from vault_credential_process.auth.approle import AppRole
from vault_credential_process.cache.memory import Memory
from vault_credential_process.config import Config
from vault_credential_process.doctor.case import Case
from vault_credential_process.doctor.findings import Finding, failed, note, ok, skipped, warning
from vault_credential_process.doctor.questions import ask, data_of
from vault_credential_process.errors import AuthUnavailable, ConfigurationError, VaultCredentialError
from vault_credential_process.fetcher import Fetcher
from vault_credential_process.models import VaultToken, options_of
from vault_credential_process.refusals import Refusal, RefusedError
from vault_credential_process.tokens import Grip, Tokens, lives
from vault_credential_process.vault import Vault

_LOOK_UP = "auth/token/lookup-self"
_CAPABILITIES = "sys/capabilities-self"
_READING = {"read", "sudo", "root"}


def examine(case: Case) -> Iterator[Finding]:
    """Choose the method, have a token, and tell what it is and what it may do."""
    config = case.config
    if config is None or not case.can_say_whom:
        yield skipped(case.step, "the settings are not in order, and who would log in is not certain")
        return
    _open_cache(case, config)
    method = auth.choose(config)
    yield from _passed_over(case, config)
    case.fetcher = Fetcher(config, cache=case.cache, clock=case.clock, needs_role=False)
    yield ok(case.step, f"auth method {method.name} at auth/{method.mount}", _why(config, method))
    exported = next((name for name in ("BAO_TOKEN", "VAULT_TOKEN") if case.environ.get(name)), None)
    if exported and method.name != auth.LAST:
        yield note(case.step, f"{exported} is set, and is not used", f"{method.name} is what is configured")
    kept = case.fetcher.kept_token()
    reason = _reason_to_wait(case, is_kept=kept is not None)
    if reason is not None:
        yield reason
        return
    tokens = Tokens(config, case.fetcher.cache, case.clock, method)
    with Vault(config, case.deadline, case.clock, cache=case.fetcher.cache) as vault:
        if kept is None and _would_unwrap(vault, method):
            yield skipped(case.step, "a login would spend the wrapping token", "run get; then run doctor again")
            return
        is_only_looked_at = kept is not None and not case.logs_in
        grip = Grip(kept.token, True, True) if kept is not None and is_only_looked_at else tokens.get(vault)
        try:
            case.token = grip.token
            yield _had(case, grip)
            yield from _token(case, config, grip.token)
            yield from _allowed(case, config, grip)
            if case.may_read_role:
                _look_at_role(case, config, grip.token)
        finally:
            tokens.tidy(vault, grip)


def _why(config: Config, method: AuthMethod) -> str:
    """Tell why it is this method."""
    if config.vault_auth_method != "auto":
        return "vault_auth_method names it"
    given = config.foremost(*(option.key for option in options_of(type(method))))
    return f"chosen because {given} is set" if given else "the first that has something to log in with"


def _look_at_role(case: Case, config: Config, token: VaultToken) -> None:
    """Note what the role is, or that the engine has none of that name.

    An engine that has no role and no list of them may be another one, which knows credentials alone; there the read
    tells.
    """
    path = role_path(config)
    try:
        case.role = data_of(ask(case, config, path, token, config.vault_namespace))
        return
    except RefusedError as refused:
        if refused.refusal.status != 404 or refused.refusal.errors is None or refused.refusal.errors:
            return
    except VaultCredentialError:  # nobody knows more then than before
        return
    place = path.rpartition("/")[0]
    try:
        keys = data_of(ask(case, config, place, token, config.vault_namespace, verb="list")).get("keys")
        case.lacks_role = isinstance(keys, list) and bool(keys) and config.vault_aws_role not in keys
    except RefusedError as refused:
        case.lacks_role = refused.refusal.status == 403
    except VaultCredentialError:
        pass


def _open_cache(case: Case, config: Config) -> None:
    """Open the cache that ``get`` uses; where that cannot be, the memory of this process serves."""
    try:
        case.cache = cache.choose(config.vault_aws_cache or "auto", case.environ)
    except ConfigurationError as failure:
        case.cache_failure = failure
        case.cache = Memory()


def _passed_over(case: Case, config: Config) -> Iterator[Finding]:
    """Tell which methods were looked at before, and why they have nothing to try."""
    absent: dict[str, list[str]] = {}
    for method, is_guess in auth.candidates(config):
        try:
            if is_guess:
                method.at_home()
            method.identity()
        except AuthUnavailable as reason:
            absent.setdefault(str(reason), []).append(method.name)
        except VaultCredentialError:
            break
        else:
            break
    if absent and config.vault_auth_method == "auto":
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in absent.items())
        yield note(case.step, f"passed over: {told}")


def _reason_to_wait(case: Case, *, is_kept: bool) -> Finding | None:
    """Return why no token is asked for."""
    if not case.serves:
        return skipped(case.step, f"the server does not serve{'; a token is kept' if is_kept else ''}")
    if not is_kept and not case.logs_in:
        return skipped(case.step, "no token is kept, and --no-login forbids a login")
    return None


def _would_unwrap(vault: Vault, method: AuthMethod) -> bool:
    """Tell whether a login would spend a wrapping token; what ``get`` unwrapped before is kept, and serves again.

    :raises ConfigurationError: when its file cannot be read.
    """
    if not (isinstance(method, AppRole) and method.needs_host_cache and method.vault_secret_id_wrapped_file):
        return False
    wrapping = sources.read_file(method.vault_secret_id_wrapped_file, "vault_secret_id_wrapped_file")
    return keepsakes.recall(vault, method, "Secret ID", wrapping) is None


def _had(case: Case, grip: Grip) -> Finding:
    is_shared = case.cache is not None and case.cache.shared
    if grip.token.external:
        kept = "it is kept, as get keeps it, until cache clear" if grip.kept and is_shared else ""
        return ok(case.step, "the token comes from outside; nobody logged in", kept)
    if grip.from_cache:
        return ok(case.step, "a token is kept from an earlier login; nobody logged in again")
    if grip.kept and is_shared:
        return ok(case.step, "logged in; the token is kept for get")
    return ok(case.step, "logged in; the token is not kept for get")


def _token(case: Case, config: Config, token: VaultToken) -> Iterator[Finding]:
    """Tell how long the token lives, how often it serves, and what limits it."""
    uses = "any number of uses" if token.uses_left is None else f"{token.uses_left} uses left"
    renewable = "renewable" if token.renewable else "not renewable"
    told = f"{token.token_type} token, {lives(token)}, {renewable}, {uses}"
    policies = f"; policies: {', '.join(token.policies) or 'none told'}"
    data = _more_of(case, config, token)
    maximum = data.get("explicit_max_ttl")
    if isinstance(maximum, int) and maximum > 0:
        told += f", at most {maximum} s in all"
    if isinstance(data.get("period"), int) and data.get("period"):
        told += f", renewed for {data['period']} s each time"
    left = token.seconds_left(case.clock())
    if left < 60:
        yield warning(case.step, f"{told}{policies}", "", "a new login comes with the next call")
    else:
        yield ok(case.step, f"{told}{policies}")
    if token.expiry is None and token.expiry_known and "root" in token.policies:
        yield warning(
            case.step, "it is a root token", "it may do everything, for ever", "log in by an auth method instead"
        )


def _more_of(case: Case, config: Config, token: VaultToken) -> Mapping[str, Any]:
    """Return what Vault says of the token; nothing where it may not ask, or where asking is a use."""
    if token.value is None or token.uses_left is not None:
        return {}
    try:
        return data_of(ask(case, config, _LOOK_UP, token, config.auth_namespace))
    except VaultCredentialError:
        return {}


def _allowed(case: Case, config: Config, grip: Grip) -> Iterator[Finding]:
    """Tell whether the token may read the path of the credentials."""
    token = grip.token
    if not config.vault_aws_role:
        yield skipped(case.step, "no role is set, so there is no path to read")
        return
    if token.uses_left is not None:
        yield skipped(case.step, "what the token may do is not asked: that would be one of its uses")
        return
    try:
        may = _capabilities(case, config, token)
    except RefusedError as refused:
        failure = refusals.general(refused.refusal)
        if failure is not None:
            raise failure from None
        if token.external and not token.looked_up:
            yield failed(case.step, refusals.read(_denial(config), config=config, token=token))
        elif grip.from_cache:
            yield warning(
                case.step,
                "the kept token may neither look itself up nor ask what it may do: it is revoked, or has few policies",
                "get finds out, and logs in anew where it is revoked",
            )
        else:
            yield note(case.step, "the token may not ask what it may do", "the read tells")
        return
    if may is None:
        yield note(case.step, "what the token may do was not told", "the read tells")
        return
    if _is_reading(may):
        yield ok(case.step, f"it may read {config.aws_path}")
        return
    case.denied = True
    yield failed(case.step, refusals.read(_denial(config), config=config, token=token))


def _denial(config: Config) -> Refusal:
    """Return the answer that a read would get."""
    return Refusal(config.vault_addr, config.aws_path, 403, ("permission denied",))


def _capabilities(case: Case, config: Config, token: VaultToken) -> set[str] | None:
    """Return what the token may do at the path of the credentials; note whether it may read the role itself.

    ``None`` where the answer does not say.
    """
    paths = [config.aws_path, role_path(config)]
    body = ask(case, config, _CAPABILITIES, token, config.vault_namespace, {"paths": paths})
    found = {path: {str(word) for word in body[path]} for path in paths if isinstance(body.get(path), list)}
    case.may_read_role = _is_reading(found.get(paths[1], set()))
    return found.get(paths[0])


def _is_reading(may: set[str]) -> bool:
    return bool(may & _READING) and "deny" not in may


def role_path(config: Config) -> str:
    """Return the path of the role itself, below ``/v1/``."""
    kind = "static-roles" if config.vault_aws_endpoint == "static-creds" else "roles"
    return f"{config.vault_aws_mount}/{kind}/{config.vault_aws_role}"
