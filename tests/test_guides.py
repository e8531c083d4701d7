"""The guides say what the code does: their profiles are read, their policies are the README's, their messages exist."""

from __future__ import annotations

import configparser
import logging
import pathlib
import re

import botocore.exceptions
import pytest

from vault_credential_process import auth, errors, healing
from vault_credential_process.cli import BUG
from vault_credential_process.config import Config
from vault_credential_process.models import options_of
from vault_credential_process.probe import _UNKNOWN_KEY
from vault_credential_process.profiles import Profile

from .conftest import ROOT
from .pages import blocks_of
from .test_docs import plain, rows

DOCS = ROOT / "docs"
GUIDES = [*sorted((DOCS / "how-to").glob("*.md")), *sorted((DOCS / "explanation").glob("*.md")), *DOCS.glob("*.md")]
TROUBLE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
KNOWN = {declared.key for declared in (*options_of(Config), *auth.options())}
BOTOCORE = "".join(
    pathlib.Path(botocore.__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("exceptions.py", "credentials.py")
)
SAID_BY_OTHERS = {
    # AWS's own codes, of its documents: docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
    "RequestExpired", "SignatureDoesNotMatch", "AccessDenied", "ACCESS_DENIED",
    # packages/credential-provider-node and -process of aws-sdk-js-v3
    "CredentialsProviderError", "Could not load credentials from any providers",
    # credentials/processcreds/provider.go of aws-sdk-go-v2
    "process provider error", "credential process timed out",
    # aws-smithy-runtime-api, http/auth and timeouts
    "identity resolver timed out",
    # ProcessAWSCredentials.cs of aws-sdk-net, CredentialProvider.php of aws-sdk-php, process_credentials.rb of -ruby
    "ProcessAWSCredentialException", "credential_process does not return valid credentials",
    "InvalidProcessCredentialsPayload",
    # the provider aws of Terraform
    "No valid credential sources found",
}  # fmt: skip
"""What programs say that are not here, with where it was read."""


def profiles() -> list[tuple[str, str]]:
    """Return each profile of the guides with its page."""
    found = []
    for path in GUIDES:
        texts = (text for language, text in blocks_of(path.read_text(encoding="utf-8")) if language == "ini")
        found += [(path.relative_to(DOCS).as_posix(), text) for text in texts if text.startswith("[profile")]
    return found


class TestProfiles:
    """The profiles that the guides show."""

    @pytest.mark.parametrize(("page", "text"), profiles(), ids=lambda value: value.partition("\n")[0])
    def test_is_understood(self, page: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
        """Each key is ours or AWS's, none makes a warning, and the method that is named would log in."""
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        for section in parser.sections():
            keys = {key: value for key, value in parser.items(section) if key.startswith("vault_")}
            name = section.removeprefix("profile ").strip('"')
            with caplog.at_level(logging.WARNING, "vault_credential_process"):
                config = auth.configure({}, {}, Profile(name, keys))

            named = keys.get("vault_auth_method")
            assert set(keys) <= KNOWN
            assert caplog.records == [], page
            assert named is None or [method.name for method, _ in auth.candidates(config)] == [named]

    @pytest.mark.parametrize(("page", "text"), profiles(), ids=lambda value: value.partition("\n")[0])
    def test_line_names_its_own_profile(self, page: str, text: str) -> None:
        """The ``credential_process`` line of a profile carries that profile's name."""
        for name, body in re.findall(r"^\[profile (\S+)\]\n(.*?)(?=^\[|\Z)", text, re.DOTALL | re.MULTILINE):
            lines = re.findall(r"^credential_process = (.*vault-credential-process .*)$", body, re.MULTILINE)

            assert [line for line in lines if f"get --profile {name}" not in line] == [], page

    def test_settings_that_are_named_exist(self) -> None:
        """Whatever a guide calls ``vault_...`` is a setting."""
        named = {
            (path.name, key)
            for path in GUIDES
            if path.parent != DOCS or path.name in ("index.md", "tutorial.md", "troubleshooting.md", "comparison.md")
            for key in re.findall(r"`(vault_[a-z0-9_]+)", path.read_text(encoding="utf-8"))
        }

        of_terraform = "vault_aws_access_credentials"

        assert {(page, key) for page, key in named if key not in {*KNOWN, of_terraform}} == set()


def test_policies_are_those_of_the_readme() -> None:
    """The guide for Vault's administrator has the same policies, which the README's tests hold against a server."""
    guide, readme = (
        [text for language, text in blocks_of(path.read_text(encoding="utf-8")) if language == "hcl"]
        for path in (DOCS / "how-to" / "vault.md", ROOT / "README.md")
    )

    assert guide == readme != []


def table(title: str) -> list[list[str]]:
    """Return the cells of the rows below a heading of the page on trouble."""
    section = TROUBLE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert found, title
    return found


class TestGlossary:
    """``docs/glossary.md``."""

    WORDS = ("canary", "held", "pair", "probe", "soak", "STS credentials", "window", "wire")
    """What a newcomer does not know, and some page says all the same."""

    def test_has_the_words(self) -> None:
        """Each is there, in the order of the alphabet."""
        words = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)

        assert set(self.WORDS) - set(words) == set()
        assert words == sorted(words, key=str.casefold)

    @pytest.mark.parametrize("path", [DOCS / "tutorial.md", DOCS / "index.md", *sorted((DOCS / "how-to").glob("*.md"))])
    def test_first_pages_do_without_them(self, path: pathlib.Path) -> None:
        """Who follows the tutorial or a guide meets none of them; STS credentials are explained."""
        text = re.sub(r"```.*?```|`[^`\n]+`|\]\([^)]*\)", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        told = re.findall(r"\b(pair|held|probe|canary|soak|wire)s?\b", text)

        assert told == []
        assert "STS credentials" not in text or "[STS credentials" in text


class TestTroubleshooting:
    """``docs/troubleshooting.md``."""

    def test_has_a_row_for_each_class_of_error(self) -> None:
        """Every error of ``errors.py`` is there, with its exit code, and leads to the messages of that code."""
        kinds = {
            name: found.exit_code
            for name, found in vars(errors).items()
            if isinstance(found, type) and issubclass(found, errors.VaultCredentialError)
        }
        told = {row[1].strip("`"): row for row in table("What our line says") if row[0].isdigit()}

        assert {name: int(row[0]) for name, row in told.items()} == kinds
        assert [name for name, row in told.items() if f"(errors.md#{row[0]}-" not in row[2]] == []
        assert kinds["VaultCredentialError"] == BUG

    def test_our_messages_exist(self) -> None:
        """Each line of ours that is quoted is a part of one that the errors' page has."""
        quoted = [row[0].strip("`") for row in table("What our line says") if row[0].startswith("`")]
        known = [plain(text) for _, text in rows()]

        assert len(quoted) >= 6
        assert [text for text in quoted if not any(plain(text).strip() in one for one in known)] == []

    def test_words_of_others_exist(self) -> None:
        """What botocore, AWS and other SDKs are said to say is said by them."""
        quoted = [text for row in table("What the SDK says") for text in re.findall(r"`([^`]+)`", row[0])]
        codes = set(healing.REFUSED) | _UNKNOWN_KEY
        asked = [text for text in quoted if text not in SAID_BY_OTHERS | codes]

        assert set(quoted) >= SAID_BY_OTHERS
        assert [text for text in asked if re.sub(r"\((\w+)\)", "({profile})", text) not in BOTOCORE] == []
