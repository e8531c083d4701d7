"""Login MFA: the second factor on the real server, at the terminal and from a command; what only a script can play."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
import pathlib
import shlex
import struct
import sys
import time
import urllib.parse
import uuid
from typing import Any

import pytest

from vault_credential_process import auth, mfa
from vault_credential_process.cache.memory import Memory
from vault_credential_process.demo.laboratory import Laboratory
from vault_credential_process.errors import AuthenticationError, VaultCredentialError
from vault_credential_process.expiry import Deadline
from vault_credential_process.profiles import Profile
from vault_credential_process.testing.scripted import ScriptedServer, reply
from vault_credential_process.vault import Vault

from .auth.methods import log_in
from .bench import Clock
from .conftest import Run
from .desk import ASKED, PASSWORD, Desk, with_users
from .pages import Page
from .test_cache_command import cache_files, kept_token
from .test_command import document, refusal

CODE_ASKED = "Code of the second factor (totp "
REFUSED_BEFORE = "The code was refused. A code serves once: wait for the next one.\n"


@dataclasses.dataclass(frozen=True)
class Factor:
    """A TOTP method of the server with the secret of one user."""

    id: str
    name: str
    secret: str

    def code(self, step: int = 0) -> str:
        """Return the code of now; those of the step before and after (-1, 1) are accepted too."""
        counter = struct.pack(">Q", int(time.time()) // 30 + step)
        digest = hmac.new(base64.b32decode(self.secret), counter, "sha1").digest()
        offset = digest[-1] & 15
        number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
        return f"{number % 10**6:06}"

    def wrong(self) -> str:
        """Return a code that is not accepted."""
        right = {self.code(step) for step in range(-3, 4)}
        return next(code for code in ("000000", "111111", *map(str, range(100000, 100010))) if code not in right)


@dataclasses.dataclass
class Guarded(Desk):
    """A place whose logins want second factors: of a mount point, a user and methods of its own."""

    mount: str = ""
    entity: str = ""
    accessor: str = ""

    def wants(self, name: str, *, enrolled: bool = True, others: tuple[str, ...] = ()) -> Factor:
        """Make a TOTP method and a rule that wants it, or one of other methods."""
        call = self.laboratory.server.call
        unique = f"{name}-{uuid.uuid4().hex[:6]}"
        made = call("POST", "identity/mfa/method/totp", {"issuer": "acme", "method_name": unique})["data"]["method_id"]
        secret = ""
        if enrolled:
            body = {"method_id": made, "entity_id": self.entity}
            url = call("POST", "identity/mfa/method/totp/admin-generate", body)["data"]["url"]
            (secret,) = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["secret"]
        rule = {"mfa_method_ids": [made, *others], "auth_method_accessors": [self.accessor]}
        call("POST", f"identity/mfa/login-enforcement/{unique}", rule)
        return Factor(made, unique, secret)

    def tries(self, *answers: tuple[str, str], flags: tuple[str, ...] = ()) -> tuple[Any, str]:
        """Log in with the password and answers to further questions; return the end and what the terminal showed."""
        with self.login(*flags) as typist:
            typist.answers(ASKED, PASSWORD)
            for question, answer in answers:
                typist.answers(question, answer)
            return typist.ends(), typist.shown


@pytest.fixture
def guarded(fresh: Laboratory, clean_environment: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    """The place of a user of a mount point of its own, who has logged in once, and no rule yet."""
    mount = f"people-{uuid.uuid4().hex[:6]}"
    call = fresh.server.call
    call("POST", f"sys/auth/{mount}", {"type": "userpass"})
    call("POST", f"auth/{mount}/users/alice", {"password": PASSWORD, "token_policies": "webapp", "token_ttl": "8h"})
    entity = call("POST", f"auth/{mount}/login/alice", {"password": PASSWORD})["auth"]["entity_id"]
    accessor = call("GET", "sys/auth")["data"][f"{mount}/"]["accessor"]
    monkeypatch.setenv("AWS_CONFIG_FILE", str(clean_environment / "config"))
    made = Guarded.of_alice(fresh, clean_environment, run, vault_auth_mount=mount)
    return dataclasses.replace(made, mount=mount, entity=entity, accessor=accessor)


def test_password_and_code_at_the_terminal(guarded: Guarded, tmp_path: pathlib.Path) -> None:
    """Password and code are asked for in turn, shown and logged nowhere, and ``get`` works from then on."""
    factor = guarded.wants("phone")
    log = tmp_path / "log"
    code = factor.code()
    done, shown = guarded.tries((f"{CODE_ASKED}{factor.name}): ", code), flags=("-v", f"--log-file={log}"))

    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    logged_in = f" at auth/{guarded.mount} as {guarded.mount}-alice, policies default, webapp; the token lives until 20"
    assert logged_in in done.stdout
    told = done.stdout + done.stderr + shown + log.read_text()
    assert [secret for secret in (PASSWORD, code, kept_token()) if secret in told] == []
    assert "logged in at sys/mfa/validate" in told
    document(guarded.get())


def test_code_as_an_app_shows_it(guarded: Guarded) -> None:
    """A code that is typed in two groups is taken as one."""
    factor = guarded.wants("phone")
    code = factor.code()

    done, _ = guarded.tries((CODE_ASKED, f"{code[:3]} {code[3:]}"))
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_code_may_be_typed_again(guarded: Guarded) -> None:
    """A wrong code does not cost the login: another one is asked for, without the password."""
    factor = guarded.wants("phone")
    wrong = factor.wrong()
    done, shown = guarded.tries((CODE_ASKED, wrong), (CODE_ASKED, factor.code()))

    assert (done.returncode, done.stderr) == (0, REFUSED_BEFORE)
    assert shown.count(ASKED) == 1
    assert wrong not in shown + done.stderr


def test_three_wrong_codes(guarded: Guarded) -> None:
    """The third wrong code ends the login, with the code of authentication; nothing is kept."""
    factor = guarded.wants("phone")
    wrong = factor.wrong()
    done, _ = guarded.tries(*[(CODE_ASKED, wrong)] * 3)

    assert (done.returncode, done.stdout) == (3, "")
    *before, last = done.stderr.splitlines(keepends=True)
    assert before == [REFUSED_BEFORE] * 2
    assert "/v1/sys/mfa/validate: the second factor was refused: failed to satisfy enforcement phone-" in last
    assert last.endswith("a code serves once and for a short time: wait for a new one, then log in again\n")
    assert wrong not in done.stderr
    assert cache_files("entry-*") == []


def test_two_rules(guarded: Guarded) -> None:
    """Each rule wants its code, and both go together."""
    factors = [guarded.wants("phone"), guarded.wants("key")]
    questions = [(f"{CODE_ASKED}{f.name}): ", f.code()) for f in sorted(factors, key=lambda f: f.name)]
    done, shown = guarded.tries(*questions)

    assert (done.returncode, done.stderr) == (0, "")
    assert shown.count(CODE_ASKED) == 2


def test_second_of_two_codes_is_wrong(guarded: Guarded) -> None:
    """After a wrong code both are asked for anew, for the one that was right is used up; two new ones log in."""
    first, second = sorted([guarded.wants("phone"), guarded.wants("key")], key=lambda f: f.name)
    asked = [(f"{CODE_ASKED}{f.name}): ", code) for f, code in ((first, first.code()), (second, second.wrong()))]
    done, _ = guarded.tries(*asked, (asked[0][0], first.code(1)), (asked[1][0], second.code(1)))

    assert (done.returncode, done.stderr) == (0, REFUSED_BEFORE)


def test_too_many_wrong_codes(guarded: Guarded) -> None:
    """Vault stops listening after five wrong codes: that is said, and no further code is asked for."""
    factor = guarded.wants("phone")
    call = guarded.laboratory.server.call
    pending = call("POST", f"auth/{guarded.mount}/login/alice", {"password": PASSWORD})["auth"]["mfa_requirement"]
    body = {"mfa_request_id": pending["mfa_request_id"], "mfa_payload": {factor.id: [factor.wrong()]}}
    for _ in range(5):
        with pytest.raises(OSError, match="403"):
            call("POST", "sys/mfa/validate", body)
    done, shown = guarded.tries((CODE_ASKED, factor.code()))

    assert "too many wrong codes: failed to satisfy enforcement" in refusal(done, 3)
    assert done.stderr.endswith("; wait a minute, then log in again\n")
    assert shown.count(CODE_ASKED) == 1


def test_nobody_set_the_factor_up(guarded: Guarded) -> None:
    """A user for whom the factor was never set up hears that, and not that the code was wrong."""
    guarded.wants("phone", enrolled=False)
    done, _ = guarded.tries((CODE_ASKED, "123456"))

    said = refusal(done, 3)
    assert "this user has no second factor yet: failed to satisfy enforcement" in said
    assert said.rstrip().endswith("have one set up (vault write identity/mfa/method/totp/admin-generate)")


def test_page_sets_a_factor_up(fresh: Laboratory, guarded: Guarded, tmp_path: pathlib.Path) -> None:
    """The page's commands make a rule, and a factor of which the address that they print is the secret."""
    with_users(fresh)
    end = "method_id=$method entity_id=$entity"
    Page("../login").set_up(fresh.server, tmp_path, {end: f"{end} > url"})
    url = urllib.parse.urlsplit((tmp_path / "url").read_text().strip())
    (secret,) = urllib.parse.parse_qs(url.query)["secret"]
    guarded.profile(vault_auth_mount=None)
    done, _ = guarded.tries(("Code of the second factor (totp phone): ", Factor("", "", secret).code()))

    assert " at auth/userpass as userpass-alice, policies default, webapp; " in done.stdout


def printing(directory: pathlib.Path, code: str) -> str:
    """Return a command that prints a code, and notes what it was told and how often it was run."""
    script = directory / "code.py"
    script.write_text(
        "import json, os\n"
        f"with open({str(directory / 'told')!r}, 'a') as file:\n"
        "    file.write(json.dumps({k: v for k, v in os.environ.items() if k.startswith('VAULT_MFA_')}) + '\\n')\n"
        f"print({code!r})\n"
    )
    return shlex.join([sys.executable, "-I", str(script)])


def test_get_takes_the_code_from_a_command(guarded: Guarded, tmp_path: pathlib.Path) -> None:
    """``get`` logs in with a password and a command's code, which is told for which method; one code a token life."""
    factor = guarded.wants("phone")
    guarded.profile(vault_login_mfa_code_command=printing(tmp_path, factor.code()))
    document(guarded.get(VAULT_PASSWORD=PASSWORD))
    document(guarded.get("--role-session-name=ana", VAULT_PASSWORD=PASSWORD))

    (told,) = (tmp_path / "told").read_text().splitlines()
    assert json.loads(told) == {"VAULT_MFA_METHOD_TYPE": "totp", "VAULT_MFA_METHOD_ID": factor.id}


def test_command_prints_a_used_code(guarded: Guarded, tmp_path: pathlib.Path) -> None:
    """A code that has served already is tried once, not again and again; the line says to wait for a new one."""
    factor = guarded.wants("phone")
    code = factor.code()
    guarded.profile(vault_login_mfa_code_command=printing(tmp_path, code))
    environ = {"VAULT_PASSWORD": PASSWORD, "VAULT_AWS_CACHE": "none"}
    document(guarded.get(**environ))
    said = refusal(guarded.get(**environ), 3)

    assert "a code serves once and for a short time: wait for a new one, then log in again" in said
    assert code not in said
    assert len((tmp_path / "told").read_text().splitlines()) == 2


def test_get_without_a_command(guarded: Guarded) -> None:
    """Where nobody can give the code ``get`` says what to set and what to run, and asks nobody."""
    guarded.wants("phone")
    said = refusal(guarded.get(VAULT_PASSWORD=PASSWORD), 3)

    assert said.rstrip().endswith(
        "/v1/sys/mfa/validate: the login wants a second factor (totp); set vault_login_mfa_code_command, or run: "
        "vault-credential-process login --profile webapp"
    )


def test_login_takes_the_code_from_the_command_too(guarded: Guarded, tmp_path: pathlib.Path) -> None:
    """Where a command is configured ``login`` asks for the password alone; a code of it that is refused is the end."""
    factor = guarded.wants("phone")
    guarded.profile(vault_login_mfa_code_command=printing(tmp_path, factor.wrong()))
    done, shown = guarded.tries()
    assert "the second factor was refused" in refusal(done, 3)
    guarded.profile(vault_login_mfa_code_command=printing(tmp_path, factor.code()))
    done, again = guarded.tries()

    assert done.returncode == 0
    assert CODE_ASKED not in shown + again
    assert len((tmp_path / "told").read_text().splitlines()) == 2


PUSH = {"type": "duo", "id": "push-id", "uses_passcode": False, "name": "duo1"}
TOTP = {"type": "totp", "id": "totp-id", "uses_passcode": True, "name": "totp1"}
LOGGED_IN = {"client_token": "hvs.ALICE", "lease_duration": 600, "policies": ["app"]}
KEYS = {"vault_auth_method": "userpass", "vault_username": "alice"}
LOGIN, VALIDATE = "auth/userpass/login/alice", "sys/mfa/validate"


@dataclasses.dataclass
class Person:
    """Somebody who answers each question with the next of some answers, and hears what is told."""

    answers: list[str]
    heard: list[str] = dataclasses.field(default_factory=list)

    def ask(self, question: str) -> str:
        """Return the next answer."""
        self.heard.append(question)
        return self.answers.pop(0)

    def tell(self, line: str) -> None:
        """Hear it."""
        self.heard.append(line)

    def browse(self, address: str) -> bool:
        """Have no browser."""
        raise AssertionError(address)


def wanting(server: ScriptedServer, *constraints: list[dict[str, Any]]) -> None:
    """Let the login want a second factor of each constraint."""
    requirement = {
        "mfa_request_id": "canary-request-id",
        "mfa_constraints": {f"rule{number}": {"any": methods} for number, methods in enumerate(constraints)},
    }
    server.on("POST", LOGIN, reply(200, {"auth": {"client_token": "", "mfa_requirement": requirement}}))
    server.on("POST", VALIDATE, reply(200, {"auth": LOGGED_IN}))


def test_code_goes_before_a_push(scripted: ScriptedServer) -> None:
    """Of the methods of one rule the one with a code is taken, and one of each rule is sent, under its id."""
    wanting(scripted, [PUSH, TOTP], [PUSH])
    person = Person([PASSWORD, "123456"])
    assert log_in(scripted.address, KEYS, person=person).value == "hvs.ALICE"

    sent = scripted.requests[-1].json
    assert sent == {
        "mfa_request_id": "canary-request-id",
        "mfa_payload": {"totp-id": ["123456"], "push-id": []},
    }
    assert "x-vault-token" not in scripted.requests[-1].headers
    assert person.heard[1:] == [
        "Code of the second factor (totp totp1): ",
        "Confirm the login with your second factor (duo duo1).",
    ]


def test_push_is_waited_for(scripted: ScriptedServer) -> None:
    """A push may take longer than other requests: as long as somebody has for the login."""
    wanting(scripted, [PUSH])

    def confirmed(connection: Any, _: Any) -> None:
        time.sleep(1)
        connection.sendall(reply(200, {"auth": LOGGED_IN}))

    scripted.on("POST", VALIDATE, confirmed)
    person = Person([PASSWORD])

    assert log_in(scripted.address, KEYS, arguments={"vault_client_timeout": "0.3"}, person=person).value == "hvs.ALICE"


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([PUSH], "(duo); run: vault-credential-process login --profile webapp"),
        ([PUSH, TOTP], "(duo, totp); set vault_login_mfa_code_command, or run: vault-credential-process login"),
        ([], "(of no kind); run: vault-credential-process login"),
    ],
)
def test_no_push_is_sent_without_somebody(scripted: ScriptedServer, methods: list[dict[str, Any]], words: str) -> None:
    """Where nobody is there no push goes to anybody's telephone; the line says what to run."""
    wanting(scripted, methods)

    with pytest.raises(AuthenticationError) as caught:
        log_in(scripted.address, KEYS, {"VAULT_PASSWORD": PASSWORD})
    assert words in str(caught.value)
    assert scripted.asked("POST", VALIDATE) == 0


WRONG = reply(403, {"errors": ["failed to satisfy enforcement rule0. error: MFA credentials not supplied: 7"]})
REFUSALS = {
    "expired": (
        reply(400, {"errors": ["invalid request ID"]}),
        "/v1/sys/mfa/validate: the login was over before its second factor came: invalid request ID; log in again",
    ),
    "sealed": (reply(503, {"errors": ["Vault is sealed"]}), "Vault is sealed; unseal it"),
    "gateway": (reply(502, b"<html>7</html>"), "in words that are not Vault's"),
    "repeated": (
        reply(403, {"errors": ["failed to satisfy: canary-request-id 654321 no"]}),
        "the second factor was refused: failed to satisfy: *** *** no; a code serves once",
    ),
    "no token": (reply(200, {"auth": {"client_token": ""}}), "/v1/sys/mfa/validate: the answer holds no usable token"),
}


@pytest.mark.parametrize(("answer", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_that_another_code_does_not_mend(scripted: ScriptedServer, answer: bytes, words: str) -> None:
    """A login that is over, a server that fails or one that says something else: one line, and no further question."""
    wanting(scripted, [TOTP])
    scripted.on("POST", VALIDATE, answer)
    person = Person([PASSWORD, "654321"])

    with pytest.raises(VaultCredentialError) as caught:
        log_in(scripted.address, KEYS, person=person)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert [secret for secret in ("654321", "canary-request-id", PASSWORD) if secret in message] == []
    assert len(person.heard) == 2


def test_refused_code_is_not_sent_again(scripted: ScriptedServer) -> None:
    """A command that prints the same refused code has it sent once in 90 s; another code goes at once."""
    wanting(scripted, [TOTP])
    scripted.on(
        "POST", VALIDATE, reply(403, {"errors": ["login MFA validation failed: failed to satisfy enforcement"]})
    )
    clock, cache = Clock(), Memory()

    def logs_in(code: str) -> str:
        keys = {**KEYS, "vault_addr": scripted.address, "vault_login_mfa_code_command": f"echo {code}"}
        config = auth.configure({}, {"VAULT_PASSWORD": PASSWORD}, Profile("webapp", keys))
        with Vault(config, Deadline(20), clock, cache=cache) as vault, pytest.raises(AuthenticationError) as caught:
            auth.login(auth.choose(config), vault)
        return str(caught.value)

    told = [logs_in("123456") for _ in range(3)]
    assert scripted.asked("POST", VALIDATE) == 1
    assert "the second factor was refused: " in told[0]
    assert told[1] == told[2]
    assert "/v1/sys/mfa/validate: the second factor was refused before: login MFA validation failed: " in told[1]
    assert told[1].endswith(
        "; its code is not sent again until 2026-11-23T20:18:33Z: wait for a new one, or run: vault-credential-process "
        "login --profile webapp"
    )
    assert "123456" not in "".join(told)

    logs_in("654321")
    clock.now += mfa.WAIT
    logs_in("123456")
    codes = [r.json["mfa_payload"]["totp-id"] for r in scripted.requests if r.path == f"/v1/{VALIDATE}"]
    assert codes == [["123456"], ["654321"], ["123456"]]


def test_code_of_one_letter(scripted: ScriptedServer) -> None:
    """What is blotted out of the server's words does not change what they mean: another code is asked for."""
    wanting(scripted, [TOTP])
    scripted.on("POST", VALIDATE, WRONG, reply(200, {"auth": LOGGED_IN}))
    person = Person([PASSWORD, "e", "123456"])

    assert log_in(scripted.address, KEYS, person=person).value == "hvs.ALICE"
    assert [request.json["mfa_payload"] for request in scripted.requests[1:]] == [
        {"totp-id": ["e"]},
        {"totp-id": ["123456"]},
    ]
