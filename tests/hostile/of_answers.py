"""What a server answers, as the JSON that it is: tokens, credentials, leases, second factors, refusals."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import strategies as st

from vault_credential_process import answers, mfa, refusals
from vault_credential_process.answers import Answer
from vault_credential_process.auth import bearer, metadata
from vault_credential_process.config import Config
from vault_credential_process.errors import one_line
from vault_credential_process.expiry import HUNDRED_YEARS, Deadline
from vault_credential_process.models import VaultToken
from vault_credential_process.refusals import Refusal

from . import material
from .kit import ACCEPTED, NOW, SECRET_KEY, SECRETS, TOKEN, assert_sound, outcome, refusal, target

WHERE = "https://vault.example/v1/aws/creds/webapp"
CONFIG = Config(vault_addr="https://vault.example", vault_aws_role="webapp")
LOGIN = {
    "auth": {
        "client_token": TOKEN, "lease_duration": 900, "renewable": True, "num_uses": 0, "token_type": "service",
        "policies": ["default", "app"],
    }
}  # fmt: skip
LOOK_UP = {"data": {"ttl": 900, "num_uses": 0, "type": "batch", "policies": ["default"], "expire_time": "2026-11-24T0"}}
STS = {
    "lease_id": "aws/creds/webapp/1", "lease_duration": 900, "renewable": False,
    "data": {
        "access_key": "ASIAIOSFODNN7EXAMPLE", "secret_key": SECRET_KEY, "security_token": "FwoGZXIvYXdz", "ttl": 900,
        "arn": "arn:aws:sts::123456789012:assumed-role/webapp/vault",
    },
}  # fmt: skip
USER = {**STS, "renewable": True, "data": {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": SECRET_KEY}}
STATIC = {"data": {"access_key": "AKIA", "secret_key": SECRET_KEY, "expiration": "2026-11-24T20:17:03Z"}}
WRAPPED = {"wrap_info": {"token": TOKEN, "ttl": 900, "creation_path": "aws/creds/webapp"}}
MFA = {
    "auth": {
        "client_token": "",
        "mfa_requirement": {
            "mfa_request_id": "d0c9eec7",
            "mfa_constraints": {
                "app": {"any": [{"type": "totp", "id": "8c1", "uses_passcode": True, "name": "phone"}]}
            },
        },
    }
}
REFUSED = {"errors": ["permission denied", '1 error occurred: * role "webapp" not found']}

age = st.sampled_from((0.0, 1.0, 899.0, 900.0, 1e9, HUNDRED_YEARS))


def loaded(content: bytes) -> dict[str, Any]:
    """Return a body as the wire hands it on: a JSON object, or none at all."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@target(
    "token of a login",
    ("answers.login_token", "answers._number", "answers._duration", "answers._kind", "answers._strings"),
    st.tuples(material.encoded(LOGIN, MFA, WRAPPED), age),
    examples=150,
)
def login(given: tuple[bytes, float]) -> str:
    """A login gives a token of one printable word, whose end is a number, or an error."""

    def call() -> None:
        assert_token(answers.login_token(Answer(loaded(given[0]), NOW, given[1]), WHERE))

    return outcome(call)


@target("token that was looked up", ("answers.looked_up_token",), st.tuples(material.encoded(LOOK_UP, WRAPPED), age))
def look_up(given: tuple[bytes, float]) -> str:
    """So does a look-up."""
    return outcome(lambda: assert_token(answers.looked_up_token(Answer(loaded(given[0]), NOW, given[1]), TOKEN)))


def assert_token(token: VaultToken) -> None:
    """Check what must hold for every token."""
    assert token.value is not None
    assert token.expiry is None or abs(token.expiry - NOW) <= 2 * HUNDRED_YEARS
    assert token.uses_left is None or token.uses_left >= -HUNDRED_YEARS
    assert token.token_type in ("batch", "service")
    assert all(policy.isprintable() and len(policy) <= 80 for policy in token.policies)


@target(
    "credentials of a read, and their document",
    (
        "answers.aws_credentials", "answers.data_of", "answers.text_of", "answers._account_of", "answers._rotation",
        "answers._refuse_wrapped", "answers.lease_duration", "answers.had_ended", "expiry.sts_expiry",
        "expiry.iam_user_expiry", "expiry.static_expiry", "expiry.format_timestamp", "process.document",
        "cache.entry.Entry.load",
    ),
    st.tuples(material.encoded(STS, USER, STATIC, WRAPPED), age, st.booleans(), st.sampled_from((None, 60.0, 1e12))),
    inputs=((material.dumped({"data": {**STATIC["data"], "expiration": "9999-12-31T23:59:59.999999Z"}}), 0, True,
        None),),
    examples=150,
)  # fmt: skip
def read(given: tuple[bytes, float, bool, float | None]) -> str:
    """Credentials that are accepted are sound: an end, one line of JSON, and botocore takes it. Else an error."""
    content, seconds, static, life = given
    token = VaultToken(TOKEN, expiry=None if life is None else NOW + life)

    def call() -> None:
        answer = Answer(loaded(content), NOW, seconds)
        found = answers.aws_credentials(answer, WHERE, token=token, static=static, static_interval=3600)
        assert found.account_id is None or len(found.account_id) == 12
        assert found.expiry > NOW
        assert_sound(found)

    return outcome(call)


@target(
    "lease of an answer from a cache",
    ("answers.with_lease_left", "answers.lease_in_cache", "answers.lease_duration"),
    st.tuples(material.encoded(STS), material.encoded({"data": {"ttl": 900, "id": "aws/creds/webapp/1"}})),
)
def lease(given: tuple[bytes, bytes]) -> str:
    """What is left of a lease is a span, or an error; the lease itself is one word."""

    def call() -> None:
        answer, found = Answer(loaded(given[0]), NOW, 5, from_cache=True), Answer(loaded(given[1]), NOW)
        lease_id = answers.lease_in_cache(answer)
        assert lease_id is None or lease_id.isprintable()
        left = answers.lease_duration(answers.with_lease_left(answer, found, WHERE))
        assert 0 <= left <= HUNDRED_YEARS

    return outcome(call)


@target(
    "second factor that a login wants",
    ("mfa.requirement", "mfa._methods", "mfa.payload", "mfa._choose"),
    material.encoded(MFA, LOGIN),
    must=(ACCEPTED, "AuthenticationError", "none"),
    examples=100,
)
def second_factor(content: bytes) -> str:
    """What a login wants is told in words fit for a terminal, and each method's id is one word or nothing."""
    required = mfa.requirement(Answer(loaded(content), NOW))
    if required is None:
        return "none"
    for method in (method for methods in required.constraints for method in methods):
        assert method.called.isprintable()
        assert len(method.called) <= 130
        assert method.id.isprintable()
    return outcome(lambda: _nobody(required))


def _nobody(required: mfa.Requirement) -> None:
    """Ask for a code where nobody can give one."""
    mfa.payload(required, CONFIG, None, Deadline(5))


_errors = material.mutated(REFUSED, {"errors": ["Vault is sealed", "* one use left"]}, {"errors": [TOKEN, SECRET_KEY]})


@target(
    "refusal",
    ("refusals.general", "refusals.login", "refusals.token", "refusals.read", "mfa.refusal_of", "errors.one_line"),
    st.tuples(st.sampled_from((400, 403, 404, 405, 412, 429, 472, 500, 501, 503, 599)), _errors | st.none()),
    must=("PermissionDeniedError", "ConfigurationError", "UnreachableError", "SealedError"),
    examples=150,
)
def refused(given: tuple[int, Any]) -> str:
    """Whatever a server says becomes one line without what was sent; each kind of request has its error."""
    status, body = given
    listed = body.get("errors") if isinstance(body, dict) else None
    words = None if not isinstance(listed, list) else tuple(str(text) for text in listed)
    refusal_ = Refusal("https://vault.example", "aws/creds/webapp", status, words, SECRETS)
    told = [
        refusals.login(refusal_, mount="approle", remedy="check vault_role_id"),
        refusals.token(refusal_, origin="VAULT_TOKEN"),
        refusals.read(refusal_, config=CONFIG, token=VaultToken(TOKEN, policies=("app", "\x1b[31m"))),
        mfa.refusal_of(refusal_),
    ]
    for error in told:
        refusal(error)
    return type(told[2]).__name__


@target(
    "text from elsewhere on one line", ("errors.one_line",), st.tuples(st.text() | material.text, st.text(max_size=9))
)
def one(given: tuple[str, str]) -> str:
    """Any text is one printable line of the length that is asked for, and stays as it is when it is made one again."""
    text, secret = given
    made = one_line(text + secret + text, secrets=(secret,), limit=80)
    assert made.isprintable()
    assert len(made) <= 80
    assert not secret.strip("* \t…").isalnum() or secret not in made
    assert one_line(made, limit=80) == made
    return ACCEPTED


@target(
    "huge answer that is mostly marks of quoting",
    ("errors.one_line", "refusals.Refusal.text"),
    st.tuples(st.sampled_from(("\\", "%", "&#", "&#0", "\\x", "A", "!", " ", "%2")), st.sampled_from((1, 50_000))),
    examples=18,
)
def huge(given: tuple[str, int]) -> str:
    """Looking for secrets in what a server says takes no longer than reading it, whatever it says."""
    unit, times = given
    secrets = ("!a b-secret/with+marks=", 'p"ss\\w0rd&;%', TOKEN)
    began = time.process_time()
    one_line(unit * times, secrets=secrets)
    assert time.process_time() - began < 10, "looking for a secret takes for ever"
    return ACCEPTED


_CLAIMS = ({"iss": "https://issuer", "sub": "default", "exp": 1_795_465_900, "iat": 900, "aud": ["a"]},)


@target(
    "JSON Web Token",
    ("auth.bearer._claims", "auth.bearer._check", "auth.bearer.bearer_of"),
    material.encoded(*_CLAIMS) | material.octets,
    examples=120,
)
def jwt(content: bytes) -> str:
    """A token that is none, or has ended, is an error that does not repeat it; what it claims tells bearers apart."""
    import base64

    proof = f"{'e30'}.{base64.urlsafe_b64encode(content).rstrip(b'=').decode()}.{SECRET_KEY}"
    assert bearer.bearer_of(proof)
    return outcome(lambda: bearer._check(proof, "a file", NOW), (SECRET_KEY, proof))


@target("document of a metadata service", ("auth.metadata.Reply.json",), material.encoded({"access_token": "default"}))
def metadata_document(content: bytes) -> str:
    """A body is a JSON object, or counts as an empty one."""
    found = metadata.Reply(200, content).json()
    assert isinstance(found, dict)
    return ACCEPTED if found else "empty"


@target("document that an SDK reads", ("process.document", "expiry.format_timestamp"), st.floats(-6e10, 2.5e11))
def end(moment: float) -> str:
    """Any moment of the calendar is stated in the one form, rounded down."""
    from vault_credential_process.expiry import format_timestamp, parse_timestamp

    stated = format_timestamp(moment)
    assert 0 <= moment - parse_timestamp(stated) <= 1, stated
    assert len(stated) == 20
    return ACCEPTED
