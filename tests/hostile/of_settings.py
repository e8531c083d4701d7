"""What people write: settings in flags, variables and profiles, durations and times, files and commands of secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from vault_credential_process import auth, parsers, sources
from vault_credential_process.auth import aws_ec2, aws_iam, token_helper
from vault_credential_process.config import Config
from vault_credential_process.expiry import HUNDRED_YEARS, format_timestamp, parse_duration, parse_timestamp
from vault_credential_process.models import options_of
from vault_credential_process.profiles import Profile

from . import material
from .kit import ACCEPTED, SECRET_KEY, clean_log, outcome, refused_text, target
from .of_profiles import directory

PARSERS: dict[str, Callable[[str], Any]] = {
    name: found for name, found in vars(parsers).items() if name.startswith("parse_") and name != "parse_duration"
} | {
    "aws_ec2._parse_proof": aws_ec2._parse_proof,
    "aws_iam._parse_region": aws_iam._parse_region,
    "aws_iam._parse_sts_endpoint": aws_iam._parse_sts_endpoint,
    "aws_iam._parse_server_id": aws_iam._parse_server_id,
}
GOOD = {
    "parse_bool": "yes", "parse_seconds": "15m", "parse_count": "7", "parse_port": "8250", "parse_path": "/run/secret",
    "parse_address": "https://vault.example:8200/prefix", "parse_mount": "team-a/aws", "parse_role": "web.app@eu-1",
    "parse_auth_role": "web app", "parse_username": "alice@example.org", "parse_okta_provider": "okta",
    "parse_endpoint": "sts", "parse_role_arn": "arn:aws:iam::123456789012:role/a/b", "parse_session_name": "web@host",
    "parse_probe": "auto", "parse_proxy": "http://user:pw@proxy:3128",
    "parse_guid": "01234567-89ab-cdef-0123-456789abcdef",
    "parse_service_account": "app@project.iam.gserviceaccount.com", "parse_oidc_mode": "direct",
    "parse_redirect_uri": "http://localhost:8250/oidc/callback", "parse_command": "/usr/bin/code --of 'a b'",
    "aws_ec2._parse_proof": "pkcs7", "aws_iam._parse_region": "eu-central-1",
    "aws_iam._parse_sts_endpoint": "https://sts.eu-central-1.amazonaws.com",
    "aws_iam._parse_server_id": "vault.example",
}  # fmt: skip


@st.composite
def setting(draw: st.DrawFn) -> tuple[str, str]:
    """The name of a parser and a text for it: a good one with something inserted, or anything."""
    name = draw(st.sampled_from(sorted(PARSERS)))
    good = GOOD.get(name, "")
    at = draw(st.integers(0, len(good)))
    cut = draw(st.integers(0, 2))
    return name, draw(
        st.just(good) | material.text.map(lambda found: good[:at] + found + good[at + cut :]) | material.text
    )


@target(
    "text of a setting",
    tuple(f"parsers.{name}" for name in PARSERS if "." not in name)
    + tuple(f"auth.{name}" for name in PARSERS if "." in name)
    + ("parsers.is_loopback", "expiry.parse_duration"),
    setting(),
    inputs=tuple(GOOD.items()),
    examples=200,
)
def parsed(given: tuple[str, str]) -> str:
    """A parser gives a value that means one thing and parses to itself, or a ``ValueError`` of one short line."""
    name, text = given
    value, met = refused_text(PARSERS[name], text)
    if met != ACCEPTED or value is None:
        return met
    if isinstance(value, str):
        assert refused_text(PARSERS[name], value)[0] == value, f"{value!r} does not parse to itself"
    if name == "parse_address" and not value.startswith("unix:"):
        import urllib3.util

        try:
            parts = urllib3.util.parse_url(f"{value}/v1/aws/creds/webapp")
        except urllib3.exceptions.LocationParseError:  # a name that no host can have: the request says so
            return "accepted, without a host"
        assert str(parts.path).endswith("/v1/aws/creds/webapp"), value
        assert (parts.query, parts.fragment, parts.auth) == (None, None, None), value
    if name in ("parse_seconds", "parse_probe"):
        assert 0 <= value <= HUNDRED_YEARS
    parsers.is_loopback(text)
    return ACCEPTED


@target(
    "duration",
    ("expiry.parse_duration",),
    material.text | st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?(ms|s|m|h|d)?", fullmatch=True),
)
def duration(text: str) -> str:
    """A duration is a number of seconds, no negative and no endless one; its own text means the same."""
    seconds, met = refused_text(parse_duration, text)
    if seconds is not None:
        assert 0 <= seconds <= HUNDRED_YEARS
        assert parse_duration(f"{seconds:.6f}s") == round(seconds, 6)
    return met


@st.composite
def moment(draw: st.DrawFn) -> str:
    """A time much like RFC 3339 has it, of any year and zone."""
    number = st.integers(0, 99).map(lambda n: f"{n:02d}")
    year = draw(st.sampled_from(("0000", "0001", "1969", "1970", "2026", "9998", "9999", "10000")))
    parts = [draw(number if draw(st.booleans()) else st.sampled_from(("01", "02", "11", "23"))) for _ in range(5)]
    fraction = draw(st.sampled_from(("", ".0", ".999999", ".999999999999", ".1234567890123", ".", ",5")))
    zone = draw(
        st.sampled_from(("Z", "z", "", "+00:00", "-23:59", "+24:00", "+14:00", "-00:60", "+0100", " Z", "\u0660"))
    )
    return f"{year}-{parts[0]}-{parts[1]}T{parts[2]}:{parts[3]}:{parts[4]}{fraction}{zone}"


@target("timestamp", ("expiry.parse_timestamp", "expiry.format_timestamp"), material.text | moment(), examples=150)
def timestamp(text: str) -> str:
    """A time is one that can be stated again, and then is the same second; one without a zone is none."""
    found, met = refused_text(parse_timestamp, text)
    if found is not None:
        stated = format_timestamp(found)
        assert (len(stated), stated[-1]) == (20, "Z")
        assert 0 <= found - parse_timestamp(stated) <= 1
    return met


@target(
    "secret in a file, or printed by a command",
    ("sources.single_line", "sources.read_file"),
    material.octets
    | st.sampled_from((b"\xef\xbb\xbfhvs.x\r\n", b"x" * 70000, b"\xff\xfeh\0v\0", b"hvs.ok\n", b"a\vb", b"\n\n")),
    inputs=(b"hvs.ok\n",),
)
def secret(content: bytes) -> str:
    """A secret is one line without a control of the line, or an error that does not repeat it."""

    def call() -> None:
        found = sources.single_line(content + b"", "vault_token_file", "/run/token")
        assert found
        assert found == found.strip()
        assert not set(found) & set("\r\n\0")

    return outcome(call, secrets=[content.decode("latin-1").strip()] if len(content) > 12 else [])


@st.composite
def helper_file(draw: st.DrawFn) -> str:
    """A file of a token helper in HCL or JSON, nearly."""
    pieces = (
        "token_helper", '"token_helper"', " = ", "=", ":",
        '"/usr/bin/helper"', '"/x\\u001b[31m"', '"\\ud800"', '"', "\\",
        "{", "}", "null", "[", "]", "# c\n", "// c\n", "/* c */", "/*", "*" * 40, "\n", ",", " " * 60, "\0", "\ufeff",
    )  # fmt: skip
    return "".join(draw(st.lists(st.sampled_from(pieces), max_size=9)))


@target(
    "file that names a token helper",
    ("auth.token_helper.parse", "auth.token_helper.find", "auth.token_helper._named_in"),
    helper_file(),
    must=(ACCEPTED, "ConfigurationError"),
    inputs=('token_helper = "/usr/bin/helper"\n', '{"token_helper": "/usr/bin/helper"}', '{"token_helper": {}}'),
    examples=120,
)
def token_helpers(text: str) -> str:
    """A file names a helper by its absolute path, names none, or is an error."""
    file = directory() / "helper"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))

    def call() -> None:
        found = token_helper.find({"VAULT_CONFIG_PATH": str(file)}, "https://vault.example")
        assert found is None or found.path.startswith("/")

    return outcome(call)


_FILES = tuple(o for o in (*options_of(Config), *auth.options()) if o.key.endswith(("_file", "_keyring", "_command")))
_VARIABLES = tuple(name for o in (*options_of(Config), *auth.options()) for name in o.environ if o not in _FILES)


@st.composite
def environment(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Variables and keys of a profile with hostile values, two or three of them, beside good ones."""
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AWS_ROLE": "webapp", "VAULT_ROLE_ID": "role"}
    names = draw(st.lists(st.sampled_from(_VARIABLES), max_size=3))
    environ |= {name: draw(st.sampled_from(tuple(GOOD.values())) | material.text).replace("\0", "") for name in names}
    key = st.sampled_from([o.key for o in (*options_of(Config), *auth.options())]) | material.text.map(
        "vault_{}".format
    )
    keys = draw(st.none() | st.dictionaries(key, material.text | st.just({"a": "b"}), max_size=3))
    if draw(st.booleans()):
        del environ["VAULT_ROLE_ID"]
    return environ, keys


@target(
    "environment and profile, up to who logs in",
    (
        "auth.configure",
        "config.resolve",
        "config.lookup",
        "config._check_keys",
        "auth.choose",
        "auth.base.AuthMethod.from_config",
    ),
    environment(),
    must=(ACCEPTED, "ConfigurationError"),
    inputs=(({"VAULT_ADDR": "http://127.0.0.1:1"}, None), ({"VAULT_ROLE_ID": "r"}, {"vault_aws_role": {"a": "b"}})),
    examples=150,
)
def configured(given: tuple[dict[str, str], dict[str, Any] | None]) -> str:
    """Any settings make a configuration and an identity, or one line; no secret of the environment is in it."""
    environ, keys = given
    environ = {**environ, "VAULT_SECRET_ID": SECRET_KEY}
    named = None if keys is None else Profile("web\x1b[31mapp", keys)

    def call() -> None:
        config = auth.configure({}, environ, named)
        auth.choose(config).identity()
        assert config.login_command

    with clean_log():
        return outcome(call)
